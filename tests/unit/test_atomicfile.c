#include "common/atomicfile.h"
#include "common/digest.h"
#include "tests/support/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int entries(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static void test_atomicfile__writes_whole_files_and_leaves_nothing_else(void **state)
{
    (void)state;
    char *folder = test_make_folder(), path[300], hex[DIGEST_HEX_SIZE];
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/a/b//c", folder);
    assert_int_equal(make_folders(path, &err), ERR_OK);
    assert_int_equal(make_folders(path, &err), ERR_OK);
    snprintf(path, sizeof path, "%s/a/b/c/[1] x+y.txt", folder);
    assert_int_equal(atomicfile_write(path, "old", 3, &err), ERR_OK);
    assert_int_equal(atomicfile_write(path, "abc", 3, &err), ERR_OK);
    assert_int_equal(digest_file(path, hex, &err), ERR_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-4, B.1 */
    *strrchr(path, '/') = '\0';
    assert_int_equal(entries(path), 1);
    test_remove_folder(folder);
}

/* Several drafts get their names in order or, when one is missing, none does. */
static void test_atomicfile__drafts_are_committed_together(void **state)
{
    (void)state;
    char *folder = test_make_folder(), draft[3][300], name[3][300];
    const char *from[3], *to[3];
    struct error err = ERROR_INIT;
    for (int i = 0; i < 3; i++) {
        snprintf(draft[i], sizeof draft[i], "%s/draft%d", folder, i);
        snprintf(name[i], sizeof name[i], "%s/%sname%d", folder, i == 1 ? "sub/" : "", i);
        from[i] = draft[i];
        to[i] = name[i];
        assert_int_equal(atomicfile_draft(draft[i], "abc", 3, &err), ERR_OK);
    }
    assert_int_equal(atomicfile_commit_all(from, to, 3, &err), ERR_NOT_FOUND); /* sub/ is not there */
    assert_string_equal(err.path, name[1]);
    assert_int_equal(entries(folder), 1); /* name0 was named before; the drafts are gone */
    char sub[300];
    snprintf(sub, sizeof sub, "%s/sub", folder);
    assert_int_equal(make_folders(sub, &err), ERR_OK);
    assert_int_equal(atomicfile_draft(draft[1], "abc", 3, &err), ERR_OK);
    assert_int_equal(atomicfile_commit_all(from, to, 3, &err), ERR_NOT_FOUND); /* the first draft is missing: none is named */
    assert_int_equal(entries(sub), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(atomicfile_draft(draft[i], "abcd", 4, &err), ERR_OK);
    assert_int_equal(atomicfile_commit_all(from, to, 3, &err), ERR_OK);
    assert_int_equal(entries(folder), 3); /* name0, name2, sub */
    assert_int_equal(entries(sub), 1);
    test_remove_folder(folder);
}

static void test_atomicfile__failures_name_the_family(void **state)
{
    (void)state;
    char *folder = test_make_folder(), path[300], hex[DIGEST_HEX_SIZE] = "same";
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/none/x", folder);
    assert_int_equal(atomicfile_write(path, "x", 1, &err), ERR_NOT_FOUND);
    assert_int_equal(digest_file(path, hex, &err), ERR_NOT_FOUND);
    assert_string_equal(err.path, path);
    assert_int_equal(digest_file(folder, hex, &err), ERR_UNREADABLE); /* a folder */
    assert_string_equal(hex, "same");
    assert_int_equal(atomicfile_write(folder, "x", 1, &err), ERR_UNREADABLE);
    assert_int_equal(entries(folder), 0);
    assert_int_equal(error_from_errno(&err, ENOSPC, "p", "write"), ERR_NO_SPACE);
    assert_int_equal(error_from_errno(&err, EACCES, "p", "write"), ERR_UNREADABLE);
    assert_int_equal(error_from_errno(&err, EIO, "p", "write"), ERR_IO);
    snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(atomicfile_write(path, "x", 1, &err), ERR_OK);
    assert_int_equal(make_folders(path, &err), ERR_UNREADABLE);
    test_remove_folder(folder);
}

static void test_digest__lists_do_not_run_together(void **state)
{
    (void)state;
    char a[DIGEST_HEX_SIZE], b[DIGEST_HEX_SIZE], c[DIGEST_HEX_SIZE];
    struct digest *d = digest_new();
    digest_add_str(d, "ab");
    digest_add_str(d, "c");
    digest_finish(d, a);
    d = digest_new();
    digest_add_str(d, "a");
    digest_add_str(d, "bc");
    digest_finish(d, b);
    assert_string_not_equal(a, b);
    digest_buffer("", 0, c);
    assert_string_equal(c, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_true(digest_u64("") == 0xe3b0c44298fc1c14u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atomicfile__writes_whole_files_and_leaves_nothing_else),
        cmocka_unit_test(test_atomicfile__drafts_are_committed_together),
        cmocka_unit_test(test_atomicfile__failures_name_the_family),
        cmocka_unit_test(test_digest__lists_do_not_run_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
