#include "common/settings.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum err load(struct settings *s, const char *yaml, struct error *err)
{
    return settings_load_yaml(s, yaml, strlen(yaml), "night.yaml", err);
}

/* Each case: a YAML text, and the one line the user reads. */
static void test_settings__errors_name_file_line_and_cure(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *line;
    } cases[] = {
        {"detect:\n  minarea: 5\n  thesh: 1.5\n", "night.yaml:3: unknown setting 'detect.thesh'; did you mean 'detect.thresh'?"},
        {"qwertyuiop: 1\n", "night.yaml:1: unknown setting 'qwertyuiop'"},
        {"\ndetect.thresh: -2\n", "night.yaml:2: '-2' is out of range for 'detect.thresh': 0.01 to 1e+09 sigma"},
        {"detect.thresh: abc\n", "night.yaml:1: 'abc' is no value of 'detect.thresh': expected a number"},
        {"detect.thresh: 0x10\n", "night.yaml:1: '0x10' is no value of 'detect.thresh': expected a number"},
        {"detect.thresh: .inf\n", "night.yaml:1: '.inf' is no value of 'detect.thresh': expected a number"},
        {"threads: 2.5\n", "night.yaml:1: '2.5' is no value of 'threads': expected a whole number"},
        {"threads: 99999999999999999999\n", "night.yaml:1: '99999999999999999999' is no value of 'threads': expected a whole number"},
        {"detect: {clean: maybe}\n", "night.yaml:1: 'maybe' is no value of 'detect.clean': expected true or false"},
        {"log: {level: loud}\n", "night.yaml:1: 'loud' is no value of 'log.level': expected one of debug|info|warn|error"},
        {"phot:\n  apertures: [5, x]\n", "night.yaml:2: '5,x' is no value of 'phot.apertures': expected numbers separated by commas"},
        {"phot.apertures: [[1]]\n", "night.yaml:1: a list of settings holds plain values only"},
        {"threads: 1\nthreads: 2\n", "night.yaml:2: 'threads' is given twice (first on line 1)"},
        {"- 1\n", "night.yaml:1: expected settings such as 'detect: {thresh: 1.5}'"},
        {"threads: *x\n", "night.yaml:1: aliases (*name) are not allowed here"},
        {"---\nthreads: 1\n---\nthreads: 2\n", "night.yaml:3: a second document in one file"},
        {"threads: [1\n", "night.yaml:2: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;
        char line[1024];
        struct settings *s = settings_new();
        assert_int_equal(load(s, cases[i].yaml, &err), ERR_SETTINGS);
        assert_string_equal(error_line(&err, line, sizeof line), cases[i].line);
        settings_free(s);
    }
}

static void test_settings__yaml_forms_are_equal(void **state)
{
    (void)state;
    static const char *const forms[] = {"detect: {thresh: 2.5}\n", "detect:\n  thresh: '2.5'\n", "detect.thresh: 25e-1\n",
                                        "detect-thresh: 2.50\n", "detect:\nphot:\n# nothing\ndetect_thresh: 2.5"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct settings *s = settings_new();
        assert_int_equal(load(s, forms[i], NULL), ERR_OK);
        assert_close(settings_double(s, SET_DETECT_THRESH), 2.5, 0);
        assert_int_equal(settings_source(s, SET_DETECT_THRESH), SOURCE_FILE);
        settings_free(s);
    }
}

static void test_settings__lists_and_builtin(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    double v[8];
    assert_int_equal(settings_doubles(s, SET_PHOT_APERTURES, v, 8), 3);
    assert_close(v[2], 20, 0);
    assert_int_equal(load(s, "phot: {apertures: [4, 8.5]}\n", NULL), ERR_OK);
    assert_int_equal(settings_doubles(s, SET_PHOT_APERTURES, v, 1), 2);
    assert_close(v[0], 4, 0);
    assert_false(settings_is_set(s, SET_LONGITUDE));
    assert_true(isnan(settings_double(s, SET_LONGITUDE)));
    assert_true(settings_bool(s, SET_CLEAN));
    settings_free(s);
}

static void test_settings__the_stronger_source_wins_in_any_order(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    assert_int_equal(settings_set(s, "threads", "7", SOURCE_COMMAND_LINE, "--threads", NULL), ERR_OK);
    setenv("NIGHTSHIFT_THREADS", "5", 1);
    setenv("OMP_NUM_THREADS", "3,2", 1);
    assert_int_equal(settings_load_environment(s, NULL), ERR_OK);
    assert_int_equal(load(s, "threads: 4\n", NULL), ERR_OK);
    assert_int_equal(settings_int(s, SET_THREADS), 7);
    settings_free(s);

    s = settings_new();
    assert_int_equal(settings_set(s, "threads", "2", SOURCE_INSTRUMENT, "x.yaml:1", NULL), ERR_OK);
    assert_int_equal(load(s, "threads: 4\n", NULL), ERR_OK);
    assert_int_equal(settings_int(s, SET_THREADS), 4);
    assert_int_equal(settings_load_environment(s, NULL), ERR_OK);
    assert_int_equal(settings_int(s, SET_THREADS), 5);
    settings_free(s);

    /* the bare name counts when the prefixed one is not set; an empty variable is not set */
    setenv("NIGHTSHIFT_THREADS", "", 1);
    s = settings_new();
    assert_int_equal(settings_load_environment(s, NULL), ERR_OK);
    assert_int_equal(settings_int(s, SET_THREADS), 3);
    settings_free(s);
    unsetenv("NIGHTSHIFT_THREADS");
    unsetenv("OMP_NUM_THREADS");
}

static void test_settings__environment_errors_name_the_variable(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char line[1024];
    struct settings *s = settings_new();
    setenv("NIGHTSHIFT_DETECT_THRESH", "much", 1);
    assert_int_equal(settings_load_environment(s, &err), ERR_SETTINGS);
    unsetenv("NIGHTSHIFT_DETECT_THRESH");
    assert_string_equal(error_line(&err, line, sizeof line),
                        "NIGHTSHIFT_DETECT_THRESH: 'much' is no value of 'detect.thresh': expected a number");
    settings_free(s);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_settings__secrets_come_from_files_and_are_never_printed(void **state)
{
    (void)state;
    char *folder = test_make_folder(), path[200], secret[64], shown[65536] = "";
    struct settings *s = settings_new();
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/url", folder);
    write_file(path, "postgres://one\n");
    setenv("DATABASE_URL_FILE", path, 1);
    assert_int_equal(settings_load_environment(s, NULL), ERR_OK);
    unsetenv("DATABASE_URL_FILE");
    assert_string_equal(settings_string(s, SET_DATABASE_URL), "postgres://one");

    write_file(path, "postgres://two\n");
    assert_int_equal(settings_reread_secret(s, SET_DATABASE_URL, secret, sizeof secret, NULL), ERR_OK);
    assert_string_equal(secret, "postgres://two");
    assert_int_equal(settings_reread_secret(s, SET_DATABASE_URL, secret, 5, &err), ERR_SETTINGS);

    FILE *out = fmemopen(shown, sizeof shown, "w");
    settings_print(s, out, false);
    settings_print(s, out, true);
    fclose(out);
    assert_null(strstr(shown, "postgres"));
    assert_non_null(strstr(shown, "***"));

    unlink(path);
    assert_int_equal(settings_reread_secret(s, SET_DATABASE_URL, secret, sizeof secret, &err), ERR_SETTINGS);
    assert_int_equal(settings_set(s, "threads-file", path, SOURCE_COMMAND_LINE, "--threads-file", &err), ERR_SETTINGS);
    settings_free(s);
    test_remove_folder(folder);
}

static void test_settings__printed_yaml_loads_again(void **state)
{
    (void)state;
    static char yaml[65536];
    struct settings *s = settings_new(), *again = settings_new();
    settings_set(s, "instrument.name", "a \"b\\\" #c", SOURCE_COMMAND_LINE, "test", NULL);
    settings_set(s, "phot.apertures", "3, 4.5", SOURCE_COMMAND_LINE, "test", NULL);
    settings_set(s, "site.longitude", "-105.82", SOURCE_COMMAND_LINE, "test", NULL);
    FILE *out = fmemopen(yaml, sizeof yaml, "w");
    settings_print(s, out, true);
    fclose(out);
    struct error err = ERROR_INIT;
    if (load(again, yaml, &err)) fail_msg("%s: %s", err.path, err.message);
    for (int i = 0; i < SETTING_COUNT; i++)
        if (setting_row((enum setting_id)i)->type == SETTING_STRING)
            assert_string_equal(settings_string(s, (enum setting_id)i), settings_string(again, (enum setting_id)i));
    assert_close(settings_double(again, SET_LONGITUDE), -105.82, 0);
    settings_free(s);
    settings_free(again);
}

static void test_settings__a_copy_stands_alone(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    settings_set(s, "detect.thresh", "3", SOURCE_FILE, "a:1", NULL);
    struct settings *c = settings_copy(s);
    settings_free(s);
    assert_close(settings_double(c, SET_DETECT_THRESH), 3, 0);
    assert_int_equal(settings_source(c, SET_DETECT_THRESH), SOURCE_FILE);
    settings_free(c);
}

static void test_settings__a_missing_file_is_an_error(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    char line[1024];
    struct settings *s = settings_new();
    assert_int_equal(settings_load(s, "/nonexistent/x.yaml", &err), ERR_SETTINGS);
    assert_string_equal(error_line(&err, line, sizeof line), "/nonexistent/x.yaml: cannot read the file: No such file or directory");
    settings_free(s);
}

static void test_settings__the_recipe_follows_the_contents_of_files(void **state)
{
    (void)state;
    char *folder = test_make_folder(), path[200], one[65], two[65], three[65];
    struct settings *s = settings_new();
    snprintf(path, sizeof path, "%s/a.conv", folder);
    write_file(path, "CONV NORM\n1 2 1\n");
    settings_set(s, "detect.filter", path, SOURCE_FILE, "x:1", NULL);
    settings_result_digest(s, one);
    write_file(path, "CONV NORM\n1 4 1\n");
    settings_result_digest(s, two);
    settings_set(s, "detect.filter", "none", SOURCE_FILE, "x:1", NULL);
    settings_result_digest(s, three);
    assert_string_not_equal(one, two);
    assert_string_not_equal(two, three);
    settings_set(s, "detect.thresh", "1.50", SOURCE_FILE, "x:1", NULL); /* the built-in value in other words */
    settings_result_digest(s, one);
    assert_string_equal(one, three);
    settings_free(s);
    test_remove_folder(folder);
}

static void test_settings__every_builtin_value_is_in_its_range(void **state)
{
    (void)state;
    for (int i = 0; i < SETTING_COUNT; i++) {
        const struct setting_row *row = setting_row((enum setting_id)i);
        struct settings *s = settings_new();
        struct error err = ERROR_INIT;
        if (settings_set(s, row->name, row->def, SOURCE_FILE, "default", &err)) fail_msg("%s: %s", row->name, err.message);
        assert_int_equal(setting_find(row->name), i); /* no two names fall together */
        settings_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings__errors_name_file_line_and_cure),
        cmocka_unit_test(test_settings__yaml_forms_are_equal),
        cmocka_unit_test(test_settings__lists_and_builtin),
        cmocka_unit_test(test_settings__the_stronger_source_wins_in_any_order),
        cmocka_unit_test(test_settings__environment_errors_name_the_variable),
        cmocka_unit_test(test_settings__secrets_come_from_files_and_are_never_printed),
        cmocka_unit_test(test_settings__printed_yaml_loads_again),
        cmocka_unit_test(test_settings__a_copy_stands_alone),
        cmocka_unit_test(test_settings__a_missing_file_is_an_error),
        cmocka_unit_test(test_settings__the_recipe_follows_the_contents_of_files),
        cmocka_unit_test(test_settings__every_builtin_value_is_in_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
