#include "common/cli.h"
#include "common/cpus.h"
#include "common/text.h"
#include "tests/support/check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <omp.h>

static const struct verb verb = {"reduce", NULL, "FILE... [--out DIR]", "reduce frames"};

/* Runs a parse with stdout and stderr caught in text (one after the other). */
struct caught {
    char text[65536];
};

static int parse(struct cli *c, const struct cli_option *options, int (*foreign)(void *, int, char **), struct caught *caught,
                 const char *const *words)
{
    char *argv[20];
    int argc = 0;
    argv[argc++] = (char *)(uintptr_t) "reduce";
    for (; words[argc - 1]; argc++) argv[argc] = (char *)(uintptr_t)words[argc - 1];
    FILE *file = tmpfile();
    fflush(stdout);
    int out = dup(1), err = dup(2);
    dup2(fileno(file), 1);
    dup2(fileno(file), 2);
    int code = cli_parse_foreign(c, &verb, argc, argv, options, foreign, NULL);
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    rewind(file);
    size_t n = fread(caught->text, 1, sizeof caught->text - 1, file);
    caught->text[n] = '\0';
    fclose(file);
    return code;
}

#define WORDS(...) (const char *const[]){__VA_ARGS__, NULL}

static void test_cli__options_settings_and_operands(void **state)
{
    (void)state;
    struct cli c;
    struct caught caught;
    const char *out = NULL;
    int n = 0;
    double x = 0;
    bool flag = false;
    struct cli_strings many = {0};
    const struct cli_option options[] = {
        {"--out,-o", CLI_STRING, &out, "DIR", "where"}, {"--count", CLI_INT, &n, "N", ""}, {"--scale", CLI_DOUBLE, &x, "X", ""},
        {"--force", CLI_FLAG, &flag, NULL, ""},         {"--bias", CLI_STRINGS, &many, "FILE", ""}, {0}};
    int code = parse(&c, options, NULL, &caught,
                     WORDS("a.fits", "-o", "dir", "--count=3", "--scale", "-1.5", "--force", "--bias", "x", "--bias=y", "--bias", "z",
                           "--detect-thresh", "2.5", "--threads=2", "--", "--b.fits", "-"));
    assert_int_equal(code, -1);
    assert_string_equal(out, "dir");
    assert_int_equal(n, 3);
    assert_close(x, -1.5, 0);
    assert_true(flag);
    assert_int_equal(many.n, 3);
    assert_string_equal(many.v[2], "z");
    assert_int_equal(c.operands.n, 3);
    assert_string_equal(c.operands.v[1], "--b.fits");
    assert_close(settings_double(c.settings, SET_DETECT_THRESH), 2.5, 0);
    assert_int_equal(c.threads, 2);
    assert_int_equal(omp_get_max_threads(), 2);
    cli_release(&c);
    assert_null(many.v);
}

static void test_cli__usage_errors_are_one_line_and_exit_2(void **state)
{
    (void)state;
    static const struct {
        const char *words[4], *says;
    } cases[] = {
        {{"--detect-thersh", "2"}, "unknown option '--detect-thersh'; did you mean '--detect-thresh'?"},
        {{"--outt", "2"}, "unknown option '--outt'; did you mean '--out'?"},
        {{"--wxyzzzz"}, "unknown option '--wxyzzzz'; 'nightshift reduce --help' lists the options"},
        {{"--out"}, "option '--out' needs a value"},
        {{"--count", "many"}, "'many' is no whole number for option '--count'"},
        {{"--count=99999999999"}, "'99999999999' is no whole number for option '--count'"},
        {{"--force=1"}, "option '--force' takes no value"},
        {{"--detect-thresh=-1"}, "--detect-thresh: '-1' is out of range for 'detect.thresh': 0.01 to 1e+09 sigma"},
        {{"--config", "/nonexistent.yaml"}, "/nonexistent.yaml: cannot read the file"},
        {{"--print-settings=xml"}, "expected yaml or text"},
    };
    const char *out = NULL;
    int n = 0;
    bool flag = false;
    const struct cli_option options[] = {
        {"--out", CLI_STRING, &out, "DIR", "where"}, {"--count", CLI_INT, &n, "N", ""}, {"--force", CLI_FLAG, &flag, NULL, ""}, {0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli c;
        struct caught caught;
        setenv("LOG_FORMAT", "console", 1);
        assert_int_equal(parse(&c, options, NULL, &caught, cases[i].words), EXIT_USAGE);
        if (!strstr(caught.text, cases[i].says)) fail_msg("said: %s wanted: %s", caught.text, cases[i].says);
        assert_memory_equal(caught.text, "nightshift reduce: ", 19);
        assert_ptr_equal(strchr(caught.text, '\n'), caught.text + strlen(caught.text) - 1);
        setenv("LOG_FORMAT", "json", 1);
        assert_int_equal(parse(&c, options, NULL, &caught, cases[i].words), EXIT_USAGE);
        assert_memory_equal(caught.text, "{\"timestamp\":", 13);
    }
    unsetenv("LOG_FORMAT");
}

static int take_dash(void *user, int argc, char **argv)
{
    (void)user;
    if (!strcmp(argv[0], "-BAD")) return -1;
    return argv[0][0] == '-' && argv[0][1] >= 'A' && argv[0][1] <= 'Z' && argc > 1 ? 2 : 0;
}

static void test_cli__foreign_options(void **state)
{
    (void)state;
    struct cli c;
    struct caught caught;
    assert_int_equal(parse(&c, NULL, take_dash, &caught, WORDS("a.fits", "-DETECT_THRESH", "2", "b.fits")), -1);
    assert_int_equal(c.operands.n, 2);
    cli_release(&c);
    assert_int_equal(parse(&c, NULL, take_dash, &caught, WORDS("-BAD")), EXIT_USAGE);
    assert_string_equal(caught.text, "");
    assert_int_equal(parse(&c, NULL, take_dash, &caught, WORDS("-x")), EXIT_USAGE);
}

static void test_cli__help_version_and_settings(void **state)
{
    (void)state;
    struct cli c;
    struct caught caught;
    assert_int_equal(parse(&c, NULL, NULL, &caught, WORDS("--help")), 0);
    assert_non_null(strstr(caught.text, "usage: nightshift reduce FILE... [--out DIR]"));
    assert_non_null(strstr(caught.text, "--detect-thresh X"));
    assert_int_equal(parse(&c, NULL, NULL, &caught, WORDS("--version")), 0);
    assert_non_null(strstr(caught.text, nightshift_version));
    assert_int_equal(parse(&c, NULL, NULL, &caught, WORDS("--threads", "3", "--print-settings=yaml")), 0);
    assert_non_null(strstr(caught.text, "threads: 3  # --threads"));
}

static void test_cli__log_level_and_threads_default(void **state)
{
    (void)state;
    struct cli c;
    struct caught caught;
    assert_int_equal(parse(&c, NULL, NULL, &caught, WORDS("--log-level", "error")), -1);
    assert_true(c.threads >= 1);
    cli_release(&c);
}

static void put(const char *root, const char *folder, const char *name, const char *text)
{
    char path[400];
    snprintf(path, sizeof path, "%s%s", root, folder);
    for (char *p = path + strlen(root) + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            mkdir(path, 0777);
            *p = '/';
        }
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_cpus__control_groups_limit(void **state)
{
    (void)state;
    char *root = test_make_folder();
    put(root, "/a/b", "cpu.max", "max 100000\n");
    put(root, "/a", "cpu.max", "250000 100000\n");
    assert_int_equal(cpus_cgroup_limit("0::/a/b\n", root), 3); /* 2.5 CPUs of the parent, rounded up */
    assert_int_equal(cpus_cgroup_limit("0::/gone/far\n", root), 0);
    assert_int_equal(cpus_cgroup_limit("0::/a/b/not/seen/here\n", root), 3);
    put(root, "/cpu/pod", "cpu.cfs_quota_us", "150000\n");
    put(root, "/cpu/pod", "cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpus_cgroup_limit("7:memory:/x\n2:cpuacct,cpu:/pod/container\n0::/\n", root), 2);
    put(root, "/cpu/pod", "cpu.cfs_quota_us", "-1\n");
    assert_int_equal(cpus_cgroup_limit("2:cpuacct,cpu:/pod\n", root), 0);
    assert_int_equal(cpus_cgroup_limit("garbage\n::\n:", root), 0);
    assert_true(cpus_available() >= 1);
    test_remove_folder(root);
}

static void test_text__nearest_and_clean(void **state)
{
    (void)state;
    char clean[64];
    assert_int_equal(text_distance("detect.thresh", "DETECT_THRESH"), 0);
    assert_int_equal(text_distance("abcd", "acbd"), 1);
    assert_int_equal(text_distance("", "abc"), 3);
    assert_string_equal(text_clean(clean, sizeof clean, "a\tb\xe9 \xc3\xa9 \xf0\x9f\x98"), "a?b? \xc3\xa9 ???");
    assert_string_equal(text_clean(clean, 3, "a\xc3\xa9"), "a");
    assert_string_equal(text_trim(clean, 4, "  abcdef "), "abc");
    assert_true(text_matches("light*", "Light Frame"));
    assert_false(text_matches("light", "Light Frame"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli__options_settings_and_operands),
        cmocka_unit_test(test_cli__usage_errors_are_one_line_and_exit_2),
        cmocka_unit_test(test_cli__foreign_options),
        cmocka_unit_test(test_cli__help_version_and_settings),
        cmocka_unit_test(test_cli__log_level_and_threads_default),
        cmocka_unit_test(test_cpus__control_groups_limit),
        cmocka_unit_test(test_text__nearest_and_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
