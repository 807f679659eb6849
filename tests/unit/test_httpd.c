#include "common/httpd.h"
#include "common/metrics.h"
#include "tests/support/check.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct httpd *server;
static char base[64];
static _Atomic int hold; /* the slow handler waits for this */
static _Atomic int running; /* slow handlers under way */

static void hello(struct http_request *r, struct http_response *w, void *user)
{
    (void)user;
    http_header_out(w, "Content-Type", "text/plain");
    http_printf(w, "%s %s %s", http_method(r), http_path_param(r, "id"), http_param(r, "RA") ? http_param(r, "RA") : "-");
}

static void stream(struct http_request *r, struct http_response *w, void *user)
{
    (void)user;
    long n = atol(http_param(r, "n"));
    char block[1000];
    memset(block, 'x', sizeof block);
    for (long i = 0; i < n; i++)
        if (!http_write(w, block, sizeof block)) return;
    if (http_param(r, "break")) http_abort(w);
}

static void slow(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    running++;
    while (hold) usleep(1000);
    running--;
    http_printf(w, "done");
}

static void alive(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    http_printf(w, "ok");
}

/* Reports size and sum of the body, read back in small pieces. */
static void upload(struct http_request *r, struct http_response *w, void *user)
{
    (void)user;
    unsigned char piece[777];
    int64_t size = 0, n;
    unsigned sum = 0;
    while ((n = http_body_read(r, size, piece, sizeof piece)) > 0) {
        for (int64_t i = 0; i < n; i++) sum = sum * 31 + piece[i];
        size += n;
    }
    http_printf(w, "%lld %u", (long long)size, sum);
}

static struct http_request *deferred; /* the one that waits */
static _Atomic int defers;

static void later(struct http_request *r, struct http_response *w, void *user)
{
    (void)user;
    if (http_param(r, "woken")) {
        http_printf(w, "woken");
        return;
    }
    http_param_add(r, "woken", "1");
    deferred = r;
    http_defer(r);
    if (http_param(r, "early")) http_again(r); /* before the handler has returned */
    defers++;
}

static char *folder;

static void file(struct http_request *r, struct http_response *w, void *user)
{
    (void)user;
    char path[512];
    struct error err = ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", folder, http_path_param(r, "name"));
    if (http_send_file(r, w, path, "application/fits", "a\"b.fits", NULL, &err)) http_error(w, 404, "%s", err.message);
}

static int start(void **state)
{
    (void)state;
    folder = test_make_folder();
    curl_global_init(CURL_GLOBAL_ALL);
    struct httpd_options opt = {.bind = "127.0.0.1", .workers = 2, .queue = 2, .body_limit = 1000, .upload_limit = 500000, .slow_workers = 1, .server = "test/1"};
    struct error err = ERROR_INIT;
    server = httpd_new(&opt);
    httpd_route(server, "GET", "/v1/things/{id}", hello, NULL, 0, &err);
    httpd_route(server, "POST", "/v1/things/{id}", hello, NULL, 0, &err);
    httpd_route(server, "GET", "/stream", stream, NULL, 0, &err);
    httpd_route(server, "GET", "/slow", slow, NULL, 0, &err);
    httpd_route(server, "GET", "/files/{name}", file, NULL, 0, &err);
    httpd_route(server, "POST", "/upload", upload, NULL, HTTP_UPLOAD | HTTP_SLOW, &err);
    httpd_route(server, "GET", "/later", later, NULL, 0, &err);
    httpd_route(server, "GET", "/healthz", alive, NULL, HTTP_INLINE, &err);
    if (httpd_start(server, &err)) return -1;
    snprintf(base, sizeof base, "http://127.0.0.1:%d", httpd_port(server));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    httpd_free(server);
    test_remove_folder(folder);
    return 0;
}

struct answer {
    char head[4096];
    char *body;
    size_t size;
    long status;
    CURLcode code;
};

static size_t keep(char *data, size_t one, size_t n, void *user)
{
    struct answer *a = user;
    (void)one;
    a->body = realloc(a->body, a->size + n + 1);
    memcpy(a->body + a->size, data, n);
    a->size += n;
    a->body[a->size] = 0;
    return n;
}

static size_t keep_head(char *data, size_t one, size_t n, void *user)
{
    struct answer *a = user;
    (void)one;
    strncat(a->head, data, n < 1000 ? n : 1000);
    return n;
}

static struct answer ask_with(const char *path, const char *post, const char *header)
{
    struct curl_slist *headers = header ? curl_slist_append(NULL, header) : NULL;
    struct answer a = {.body = calloc(1, 1)};
    char url[256];
    CURL *c = curl_easy_init();
    snprintf(url, sizeof url, "%s%s", base, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &a);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, keep_head);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &a);
    if (post) curl_easy_setopt(c, CURLOPT_POSTFIELDS, post);
    if (headers) curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    a.code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &a.status);
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    return a;
}

static struct answer ask(const char *path, const char *post)
{
    return ask_with(path, post, NULL);
}

static void test_httpd__path_query_and_form_parameters(void **state)
{
    (void)state;
    struct answer a = ask("/v1/things/a%20b?ra=1%2B2", NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "GET a b 1+2");
    assert_non_null(strstr(a.head, "X-Request-Id: "));
    assert_non_null(strstr(a.head, "Content-Length: 11"));
    free(a.body);
    a = ask("/v1/things/7", "RA=10.5+x&DEC=%2D2");
    assert_string_equal(a.body, "POST 7 10.5 x");
    free(a.body);
}

static void test_httpd__wrong_requests_get_their_status(void **state)
{
    (void)state;
    char large[2000];
    memset(large, 'a', sizeof large);
    large[sizeof large - 1] = 0;
    struct { const char *path, *post; long status; } cases[] = {
        {"/nothing", NULL, 404}, {"/v1/things", NULL, 404}, {"/v1/things/1/2", NULL, 404},
        {"/stream", "x=1", 405}, {"/v1/things/1", large, 413}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer a = ask(cases[i].path, cases[i].post);
        assert_int_equal(a.status, cases[i].status);
        assert_non_null(strstr(a.body, "\"message\""));
        free(a.body);
    }
}

static void test_httpd__long_answers_are_streamed_whole(void **state)
{
    (void)state;
    struct answer a = ask("/stream?n=20000", NULL);
    assert_int_equal(a.code, CURLE_OK);
    assert_int_equal(a.size, 20000 * 1000);
    assert_non_null(strstr(a.head, "chunked"));
    free(a.body);
}

static void test_httpd__broken_stream_is_seen_to_be_broken(void **state)
{
    (void)state;
    struct answer a = ask("/stream?n=2000&break=1", NULL);
    assert_int_not_equal(a.code, CURLE_OK);
    free(a.body);
}

static void *ask_slow(void *user)
{
    struct answer a = ask("/slow", NULL);
    *(long *)user = a.status;
    free(a.body);
    return NULL;
}

static void wait_until(_Atomic int *counter, int want, const struct metric *gauge)
{
    for (int i = 0; i < 20000; i++) {
        if (counter ? *counter == want : metric_value(gauge) == want) return;
        usleep(1000);
    }
    fail_msg("waited 20 s for %d", want);
}

static void test_httpd__full_queue_answers_503_and_health_goes_on(void **state)
{
    (void)state;
    enum { N = 8 };
    pthread_t threads[N];
    long status[N];
    hold = 1;
    /* Two run, two wait; only then do the others ask. */
    struct metric *waiting = metric_get(METRIC_GAUGE, "nightshift_http_waiting", "crew=\"short\"", "");
    for (int i = 0; i < N; i++) {
        pthread_create(&threads[i], NULL, ask_slow, &status[i]);
        if (i < 2) wait_until(&running, i + 1, NULL);
        else if (i < 4) wait_until(NULL, i - 1, waiting);
    }
    for (int i = 4; i < N; i++) pthread_join(threads[i], NULL);
    struct answer a = ask("/healthz", NULL);
    assert_string_equal(a.body, "ok");
    free(a.body);
    hold = 0;
    int good = 0, busy = 0;
    for (int i = 0; i < N; i++) {
        if (i < 4) pthread_join(threads[i], NULL);
        good += status[i] == 200;
        busy += status[i] == 503;
    }
    assert_int_equal(good + busy, N);
    assert_int_equal(good, 4); /* two workers and a queue of two */
}

static void test_httpd__files_come_whole_in_ranges_or_not_at_all(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    char path[512], etag[80] = "If-None-Match: ", since[80] = "If-Range: ";
    char *data = malloc(SIZE);
    for (int i = 0; i < SIZE; i++) data[i] = (char)(i * 31 + i / 251);
    snprintf(path, sizeof path, "%s/f.fits", folder);
    FILE *f = fopen(path, "w");
    assert_int_equal(fwrite(data, 1, SIZE, f), SIZE);
    fclose(f);
    struct answer whole = ask("/files/f.fits", NULL);
    assert_int_equal(whole.status, 200);
    assert_int_equal(whole.size, SIZE);
    assert_memory_equal(whole.body, data, SIZE);
    assert_non_null(strstr(whole.head, "Content-Length: 300000"));
    assert_non_null(strstr(whole.head, "Content-Type: application/fits"));
    assert_non_null(strstr(whole.head, "filename=\"a_b.fits\""));
    char *tag = strstr(whole.head, "ETag: ");
    assert_non_null(tag);
    strncat(etag, tag + 6, strcspn(tag + 6, "\r\n"));
    strncat(since, tag + 6, strcspn(tag + 6, "\r\n"));
    free(whole.body);
    static const struct {
        const char *header;
        int status;
        int64_t first, size;
    } cases[] = {
        {"Range: bytes=0-0", 206, 0, 1},          {"Range: bytes=100-299999", 206, 100, 299900}, {"Range: bytes=299990-", 206, 299990, 10},
        {"Range: bytes=-7", 206, 299993, 7},      {"Range: bytes=-999999", 206, 0, SIZE},        {"Range: bytes=5-999999", 206, 5, SIZE - 5},
        {"Range: bytes=300000-", 416, 0, -1},     {"Range: bytes=-0", 416, 0, -1},               {"Range: bytes=9-3", 200, 0, SIZE},
        {"Range: bytes=1-2,5-6", 200, 0, SIZE},   {"Range: rows=1-2", 200, 0, SIZE},             {"Range: bytes=99999999999999999999-", 200, 0, SIZE},
        {"If-None-Match: *", 304, 0, 0},          {"If-None-Match: \"other\"", 200, 0, SIZE},    {"If-Range: \"other\"", 200, 0, SIZE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer a = ask_with("/files/f.fits", NULL, cases[i].header);
        assert_int_equal(a.status, cases[i].status);
        if (cases[i].size >= 0) {
            assert_int_equal(a.size, cases[i].size);
            assert_memory_equal(a.body, data + cases[i].first, (size_t)cases[i].size);
        }
        free(a.body);
    }
    struct answer a = ask_with("/files/f.fits", NULL, etag);
    assert_int_equal(a.status, 304);
    free(a.body);
    a = ask_with("/files/f.fits", NULL, since);
    assert_int_equal(a.status, 200);
    free(a.body);
    a = ask("/files/none.fits", NULL);
    assert_int_equal(a.status, 404);
    free(a.body);
    free(data);
}

static void test_httpd__large_bodies_go_through_a_file(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 999, 1001, 400000};
    char *text = malloc(600001);
    for (size_t i = 0; i < 600000; i++) text[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        char want[64], kept = text[sizes[k]];
        unsigned sum = 0;
        text[sizes[k]] = 0;
        for (size_t i = 0; i < sizes[k]; i++) sum = sum * 31 + (unsigned char)text[i];
        snprintf(want, sizeof want, "%zu %u", sizes[k], sum);
        struct answer a = ask_with("/upload", text, "Content-Type: application/octet-stream");
        assert_string_equal(a.body, want);
        free(a.body);
        text[sizes[k]] = kept;
    }
    text[600000] = 0;
    struct answer a = ask_with("/upload", text, "Content-Type: application/octet-stream");
    assert_int_equal(a.status, 413);
    free(a.body);
    free(text);
}

static void *ask_later(void *user)
{
    struct answer a = ask("/later", NULL);
    *(bool *)user = a.status == 200 && !strcmp(a.body, "woken");
    free(a.body);
    return NULL;
}

static void test_httpd__a_deferred_request_holds_no_worker(void **state)
{
    (void)state;
    enum { N = 6 };
    pthread_t threads[N];
    struct http_request *waiting[N];
    bool good[N];
    for (int i = 0; i < N; i++) { /* three times as many as there are workers */
        pthread_create(&threads[i], NULL, ask_later, &good[i]);
        wait_until(&defers, i + 1, NULL);
        waiting[i] = deferred;
    }
    struct answer a = ask("/v1/things/1", NULL);
    assert_int_equal(a.status, 200);
    free(a.body);
    for (int i = 0; i < N; i++) http_again(waiting[i]);
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_true(good[i]);
    }
    a = ask("/later?early=1", NULL);
    assert_string_equal(a.body, "woken");
    free(a.body);
}

static void test_httpd__metrics_count_requests(void **state)
{
    (void)state;
    size_t size;
    char *text = metrics_text(&size);
    assert_non_null(strstr(text, "# TYPE nightshift_http_requests_total counter"));
    assert_non_null(strstr(text, "nightshift_http_requests_total{route=\"/slow\",code=\"200\"} 4"));
    assert_non_null(strstr(text, "nightshift_http_request_seconds_bucket{route=\"/slow\",le=\"+Inf\"} 8"));
    free(text);
}

static void test_httpd__drain_finishes_what_runs(void **state)
{
    (void)state;
    pthread_t thread;
    long status = 0;
    hold = 1;
    pthread_create(&thread, NULL, ask_slow, &status);
    wait_until(&running, 1, NULL);
    hold = 0;
    assert_int_equal(httpd_drain(server, 5), 0);
    pthread_join(thread, NULL);
    assert_int_equal(status, 200);
    struct answer a = ask("/healthz", NULL);
    assert_int_not_equal(a.code, CURLE_OK);
    free(a.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_httpd__path_query_and_form_parameters),
        cmocka_unit_test(test_httpd__wrong_requests_get_their_status),
        cmocka_unit_test(test_httpd__long_answers_are_streamed_whole),
        cmocka_unit_test(test_httpd__broken_stream_is_seen_to_be_broken),
        cmocka_unit_test(test_httpd__full_queue_answers_503_and_health_goes_on),
        cmocka_unit_test(test_httpd__files_come_whole_in_ranges_or_not_at_all),
        cmocka_unit_test(test_httpd__large_bodies_go_through_a_file),
        cmocka_unit_test(test_httpd__a_deferred_request_holds_no_worker),
        cmocka_unit_test(test_httpd__metrics_count_requests),
        cmocka_unit_test(test_httpd__drain_finishes_what_runs),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
