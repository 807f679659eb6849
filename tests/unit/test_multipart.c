#include "catalog/upload_multipart.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct body {
    const char *text;
    size_t size;
    size_t most; /* bytes one read gives */
};

static int64_t read_some(void *user, int64_t offset, void *ret, size_t size)
{
    struct body *b = user;
    if ((size_t)offset >= b->size) return 0;
    size_t n = b->size - (size_t)offset;
    if (n > size) n = size;
    if (n > b->most) n = b->most;
    memcpy(ret, b->text + offset, n);
    return (int64_t)n;
}

static enum err parse(const char *type, const char *text, size_t size, size_t most, struct multipart_part *p, int *n, struct error *err)
{
    struct body b = {text, size, most};
    *err = (struct error)ERROR_INIT;
    return multipart_parse(type, read_some, &b, p, n, err);
}

static void test_multipart__quoted_boundary_and_leading_crlf(void **state)
{
    (void)state;
    static const char type[] = "multipart/form-data; boundary=\"<<<---9f;a---\\>>>\"";
    static const char body[] = "\r\n--<<<---9f;a--->>>\r\nContent-Disposition: form-data; name=\"LANG\"\r\n\r\nADQL\r\n"
                               "--<<<---9f;a--->>>  \r\nContent-Disposition: form-data; filename=\"a;name=x.vot\"; name=\"UP\"\r\n"
                               "Content-Type: application/x-votable+xml\r\n\r\n<V>\r\n--<<<\r\n</V>\r\n"
                               "--<<<---9f;a--->>>\r\ncontent-disposition: form-data; name=empty\r\n\r\n\r\n--<<<---9f;a--->>>--\r\ntrailer";
    struct multipart_part p[MULTIPART_PARTS_MAX];
    struct error err;
    int n;
    for (size_t most = 1; most < 1000; most += 97) {
        assert_int_equal(parse(type, body, sizeof body - 1, most, p, &n, &err), ERR_OK);
        assert_int_equal(n, 3);
        assert_string_equal(p[0].name, "LANG");
        assert_false(p[0].is_file);
        assert_int_equal(p[0].size, 4);
        assert_memory_equal(body + p[0].offset, "ADQL", 4);
        assert_string_equal(p[1].name, "UP");
        assert_true(p[1].is_file);
        assert_int_equal(p[1].size, strlen("<V>\r\n--<<<\r\n</V>"));
        assert_string_equal(p[2].name, "empty");
        assert_int_equal(p[2].size, 0);
    }
}

static void test_multipart__large_parts_across_windows(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    char *body = malloc(SIZE + 1000);
    for (int shift = 0; shift < 40; shift++) { /* the delimiter falls on every place around the end of a window */
        size_t at = (size_t)sprintf(body, "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\n");
        size_t data = 65536 * 3 - at - 20 + (size_t)shift;
        memset(body + at, '-', data);
        at += data;
        at += (size_t)sprintf(body + at, "\r\n--B\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nv\r\n--B--\r\n");
        struct multipart_part p[MULTIPART_PARTS_MAX];
        struct error err;
        int n;
        assert_int_equal(parse("multipart/form-data; boundary=B", body, at, 1 << 20, p, &n, &err), ERR_OK);
        assert_int_equal(n, 2);
        assert_int_equal(p[0].size, data);
        assert_int_equal(p[1].size, 1);
    }
    free(body);
}

static void test_multipart__refuses(void **state)
{
    (void)state;
    static const struct {
        const char *type, *body, *words;
    } cases[] = {
        {"multipart/form-data", "--B--", "names no boundary"},
        {"multipart/form-data; boundary=", "--B--", "names no boundary"},
        {"multipart/form-data; boundary=B", "hello", "does not hold"},
        {"multipart/form-data; boundary=B", "", "does not hold"},
        {"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx", "ends inside part 'a'"},
        {"multipart/form-data; boundary=B", "--B\r\n\r\nx\r\n--B--", "has no name"},
        {"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", "has no name"},
        {"multipart/form-data; boundary=B", "--BX", "cut at a boundary"},
        {"multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--B", "cut at a boundary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct multipart_part p[MULTIPART_PARTS_MAX];
        struct error err;
        int n;
        assert_int_equal(parse(cases[i].type, cases[i].body, strlen(cases[i].body), 1 << 20, p, &n, &err), ERR_USAGE);
        if (!strstr(err.message, cases[i].words)) fail_msg("case %zu: '%s'", i, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multipart__quoted_boundary_and_leading_crlf),
        cmocka_unit_test(test_multipart__large_parts_across_windows),
        cmocka_unit_test(test_multipart__refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
