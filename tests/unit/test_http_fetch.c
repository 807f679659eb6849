#include "common/http.h"
#include "common/httpd.h"
#include "tests/support/check.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static struct httpd *server;
static char base[64];

static void body(struct http_request *r, struct http_response *w, void *user)
{
    (void)user;
    long n = http_param(r, "n") ? atol(http_param(r, "n")) : 5;
    for (long i = 0; i < n; i++) http_write(w, "x", 1);
}

static void elsewhere(struct http_request *r, struct http_response *w, void *user)
{
    (void)r, (void)user;
    http_status(w, 302);
    http_header_out(w, "Location", "/body");
}

static int start(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    server = httpd_new(&(struct httpd_options){.bind = "127.0.0.1"});
    httpd_route(server, "GET", "/body", body, NULL, 0, &err);
    httpd_route(server, "GET", "/elsewhere", elsewhere, NULL, 0, &err);
    if (httpd_start(server, &err)) return -1;
    snprintf(base, sizeof base, "http://127.0.0.1:%d", httpd_port(server));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    httpd_free(server);
    return 0;
}

static enum err count(void *user, const char *data, size_t size, struct error *err)
{
    (void)data, (void)err;
    *(size_t *)user += size;
    return ERR_OK;
}

static enum err fetch(const char *path, const char *trusted, size_t *ret, struct error *err)
{
    char url[256];
    *ret = 0;
    *err = (struct error)ERROR_INIT;
    snprintf(url, sizeof url, "%s%s", *path == '/' ? base : "", path);
    return http_fetch(url, &(struct http_fetch){.trusted = trusted, .bytes_max = 100000, .seconds_max = 5, .sink = count, .user = ret}, err);
}

static void test_http_fetch__private_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "/body", "http://localhost:1/", "http://[::1]:1/", "http://10.1.2.3/", "http://192.168.0.1/x", "http://169.254.169.254/latest/meta-data/",
        "http://172.31.255.1/", "http://100.64.0.1/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1]/", "http://[fd00::1]/",
        "http://[2002:7f00:1::]/", "http://0x7f000001/", "http://2130706433/", "http://224.0.0.1/"};
    size_t n;
    struct error err;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        assert_int_equal(fetch(urls[i], "", &n, &err), ERR_USAGE);
        if (!strstr(err.message, "not public")) fail_msg("%s: %s", urls[i], err.message);
    }
}

static void test_http_fetch__public_ones_are_known(void **state)
{
    (void)state;
    static const char *const v4[] = {"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.1.0.0", "198.20.0.1", "223.255.255.255"};
    static const char *const v6[] = {"2600::1", "2a00:1450::1", "2001:4860:4860::8888"};
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct sockaddr_in6 b = {.sin6_family = AF_INET6};
    for (size_t i = 0; i < sizeof v4 / sizeof v4[0]; i++) {
        assert_int_equal(inet_pton(AF_INET, v4[i], &a.sin_addr), 1);
        assert_true(http_address_is_public((struct sockaddr *)&a));
    }
    for (size_t i = 0; i < sizeof v6 / sizeof v6[0]; i++) {
        assert_int_equal(inet_pton(AF_INET6, v6[i], &b.sin6_addr), 1);
        assert_true(http_address_is_public((struct sockaddr *)&b));
    }
}

static void test_http_fetch__trusted_hosts_within_limits(void **state)
{
    (void)state;
    size_t n;
    struct error err;
    assert_int_equal(fetch("/body?n=1000", "example.org, 127.0.0.1", &n, &err), ERR_OK);
    assert_int_equal(n, 1000);
    assert_int_equal(fetch("/body?n=100001", "127.0.0.1", &n, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "larger than"));
    assert_int_equal(fetch("/elsewhere", "127.0.0.1", &n, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "redirects"));
    assert_int_equal(fetch("/nothing", "127.0.0.1", &n, &err), ERR_IO);
    assert_int_equal(fetch("file:///etc/passwd", "127.0.0.1", &n, &err), ERR_USAGE);
    assert_int_equal(fetch("gopher://127.0.0.1/", "127.0.0.1", &n, &err), ERR_USAGE);
    assert_int_equal(fetch("http://user:word@127.0.0.1/", "127.0.0.1", &n, &err), ERR_USAGE);
    assert_int_equal(fetch("nonsense", "127.0.0.1", &n, &err), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_fetch__private_addresses_are_refused),
        cmocka_unit_test(test_http_fetch__public_ones_are_known),
        cmocka_unit_test(test_http_fetch__trusted_hosts_within_limits),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
