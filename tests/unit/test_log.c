#include "common/log.h"
#include "tests/support/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

static FILE *catch_file;
static int saved_stderr;

static void catch_begin(void)
{
    catch_file = tmpfile();
    saved_stderr = dup(2);
    dup2(fileno(catch_file), 2);
}

/* What was written to standard error since catch_begin(); the caller frees it. */
static char *catch_end(void)
{
    dup2(saved_stderr, 2);
    close(saved_stderr);
    long n = lseek(fileno(catch_file), 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    assert_int_equal(pread(fileno(catch_file), text, (size_t)n, 0), n);
    fclose(catch_file);
    return text;
}

static void test_log__json_lines_parse_whatever_is_logged(void **state)
{
    (void)state;
    setenv("NIGHTSHIFT_JOB_ID", "run/1/2", 1);
    setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 1);
    catch_begin();
    log_init("reduce", LOG_INFO, LOG_JSON);
    char huge[20000];
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    log_event(LOG_INFO, "a \"b\" \\ \n \xe9", LOG_STR("exposure", "x\ty"), LOG_INT("n", -5), LOG_DOUBLE("t", NAN), LOG_BOOL("ok", true));
    log_event(LOG_INFO, "huge", LOG_STR("a", huge), LOG_STR("b", huge), LOG_STR("c", huge), LOG_STR("d", huge), LOG_STR("e", huge));
    log_text(LOG_DEBUG, "not shown");
    struct error err = ERROR_INIT;
    ERROR(&err, ERR_CORRUPT, "cannot decode tile %d", 7);
    error_subject(&err, "a.fits", 2);
    log_error(&err);
    char *text = catch_end();
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_t *j = json_loads(line, 0, NULL);
        if (!j) fail_msg("not JSON: %s", line);
        assert_string_equal(json_string_value(json_object_get(j, "role")), "reduce");
        assert_string_equal(json_string_value(json_object_get(j, "job_id")), "run/1/2");
        assert_string_equal(json_string_value(json_object_get(j, "trace_id")), "0af7651916cd43dd8448eb211c80319c");
        if (lines == 0) {
            assert_int_equal(json_integer_value(json_object_get(j, "n")), -5);
            assert_true(json_is_null(json_object_get(j, "t")));
        }
        if (lines == 2) {
            assert_string_equal(json_string_value(json_object_get(j, "message")), "a.fits[HDU 2]: cannot decode tile 7");
            assert_int_equal(json_integer_value(json_object_get(j, "hdu")), 2);
            assert_string_equal(json_string_value(json_object_get(j, "code")), "corrupt");
        }
        json_decref(j);
    }
    assert_int_equal(lines, 3);
    free(text);
    unsetenv("NIGHTSHIFT_JOB_ID");
    unsetenv("TRACEPARENT");
}

static void test_log__console_lines(void **state)
{
    (void)state;
    catch_begin();
    log_init("scan", LOG_INFO, LOG_CONSOLE);
    log_event(LOG_INFO, "frame reduced", LOG_STR("exposure", "a"), LOG_INT("n", 3), LOG_END);
    log_text(LOG_WARN, "longitude %d assumed", 0);
    char *text = catch_end();
    assert_string_equal(text, "nightshift scan: frame reduced  exposure=a n=3\nnightshift scan: warning: longitude 0 assumed\n");
    free(text);
}

static void *many_lines(void *arg)
{
    for (int i = 0; i < 200; i++) log_event(LOG_INFO, "line", LOG_STR("who", arg), LOG_INT("i", i));
    return NULL;
}

static void test_log__lines_of_threads_stay_whole(void **state)
{
    (void)state;
    pthread_t t[4];
    char names[4][2] = {"a", "b", "c", "d"};
    catch_begin();
    log_init("scan", LOG_INFO, LOG_JSON);
    struct progress *p = progress_new("frames", 4, 1e6);
    for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, many_lines, names[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        progress_step(p, 1);
    }
    progress_free(p);
    char *text = catch_end();
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_t *j = json_loads(line, 0, NULL);
        assert_non_null(j);
        json_decref(j);
    }
    assert_int_equal(lines, 800);
    free(text);
}

static void test_log__progress_takes_null_and_unknown_totals(void **state)
{
    (void)state;
    progress_step(NULL, 1);
    progress_free(NULL);
    struct progress *p = progress_new("headers", -1, 0);
    progress_step(p, 10);
    progress_free(p);
    assert_true(clock_seconds() <= clock_seconds());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log__json_lines_parse_whatever_is_logged),
        cmocka_unit_test(test_log__console_lines),
        cmocka_unit_test(test_log__lines_of_threads_stay_whole),
        cmocka_unit_test(test_log__progress_takes_null_and_unknown_totals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
