#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/http.h"

struct fetch {
    const struct http_fetch *options;
    int64_t bytes;
    bool any_address;        /* the host is trusted */
    bool refused;            /* the socket's peer was not the one that was checked */
    struct error error;
};

static bool v4_is_public(const unsigned char *a)
{
    static const struct {
        unsigned char a, b, c;
        int bits;
    } closed[] = {
        {0, 0, 0, 8},       {10, 0, 0, 8},      {100, 64, 0, 10},  {127, 0, 0, 8},     {169, 254, 0, 16}, {172, 16, 0, 12}, {192, 0, 0, 24}, {192, 0, 2, 24},
        {192, 88, 99, 24},  {192, 168, 0, 16},  {198, 18, 0, 15},  {198, 51, 100, 24}, {203, 0, 113, 24}, {224, 0, 0, 4},   {240, 0, 0, 4},
    };
    uint32_t ip = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        uint32_t net = (uint32_t)closed[i].a << 24 | (uint32_t)closed[i].b << 16 | (uint32_t)closed[i].c << 8;
        if ((ip ^ net) >> (32 - closed[i].bits) == 0) return false;
    }
    return true;
}

/* Global unicast (2000::/3) without the parts of it that lead elsewhere: 2001:0::/23 (Teredo and other protocols), 2001:db8::/32
 * (documentation), 2002::/16 (6to4, which wraps any IPv4 address), 3fff::/20 (documentation). */
static bool v6_is_public(const unsigned char *a)
{
    if (a[0] >> 5 != 1) return false;
    if (a[0] == 0x20 && a[1] == 0x01 && (a[2] < 2 || (a[2] == 0x0d && a[3] == 0xb8))) return false;
    if (a[0] == 0x20 && a[1] == 0x02) return false;
    return !(a[0] == 0x3f && a[1] == 0xff && a[2] >> 4 == 0);
}

bool http_address_is_public(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) return v4_is_public((const unsigned char *)&((const struct sockaddr_in *)(const void *)a)->sin_addr);
    if (a->sa_family == AF_INET6) return v6_is_public(((const struct sockaddr_in6 *)(const void *)a)->sin6_addr.s6_addr);
    return false;
}

static bool in_list(const char *list, const char *host)
{
    size_t n = strlen(host);
    for (const char *p = list ? list : ""; *p; p += strcspn(p, ",")) {
        p += strspn(p, ", ");
        if (strcspn(p, ", ") == n && !strncasecmp(p, host, n)) return true;
    }
    return false;
}

/* Host and port of an acceptable URL. */
static enum err take_apart(const char *url, char *host, size_t size, char port[8], struct error *err)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *name = NULL, *number = NULL, *user = NULL;
    enum err e = ERR_OK;
    if (!u || curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) || curl_url_get(u, CURLUPART_HOST, &name, 0) ||
        curl_url_get(u, CURLUPART_PORT, &number, CURLU_DEFAULT_PORT))
        e = ERROR(err, ERR_USAGE, "'%.200s' is no URL", url);
    else if (strcasecmp(scheme, "http") && strcasecmp(scheme, "https"))
        e = ERROR(err, ERR_USAGE, "'%.200s' is not fetched: only http and https are", url);
    else if (!curl_url_get(u, CURLUPART_USER, &user, 0))
        e = ERROR(err, ERR_USAGE, "a URL with a user name is not fetched");
    else if (strlen(name) >= size || strlen(number) >= 8)
        e = ERROR(err, ERR_USAGE, "the host of '%.200s' is too long", url);
    else
        strcpy(host, name), strcpy(port, number);
    curl_free(scheme), curl_free(name), curl_free(number), curl_free(user);
    curl_url_cleanup(u);
    return e;
}

/* "HOST:PORT:ADDRESS" for curl, after every address of the host was looked at. */
static enum err resolve(const char *host, const char *port, bool any_address, char *ret, size_t size, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char bare[256], address[INET6_ADDRSTRLEN] = "";
    snprintf(bare, sizeof bare, "%s", host[0] == '[' ? host + 1 : host);
    bare[strcspn(bare, "]")] = 0;
    int e = getaddrinfo(bare, port, &hints, &list);
    if (e) return ERROR(err, ERR_IO, "could not find host '%s': %s", bare, gai_strerror(e));
    bool open = true;
    for (struct addrinfo *a = list; a; a = a->ai_next) open = open && (any_address || http_address_is_public(a->ai_addr));
    if (open) getnameinfo(list->ai_addr, list->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
    if (!open) return ERROR(err, ERR_USAGE, "'%s' is not fetched: it leads to an address that is not public", bare);
    snprintf(ret, size, strchr(address, ':') ? "%s:%s:[%s]" : "%s:%s:%s", host, port, address);
    return ERR_OK;
}

static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct fetch *f = user;
    (void)purpose;
    if (!f->any_address && !http_address_is_public(&a->addr)) {
        f->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t take(char *data, size_t one, size_t n, void *user)
{
    struct fetch *f = user;
    size_t size = one * n;
    f->bytes += (int64_t)size;
    if (f->bytes > f->options->bytes_max) {
        ERROR(&f->error, ERR_USAGE, "the file is larger than %lld bytes", (long long)f->options->bytes_max);
        return 0;
    }
    return f->options->sink(f->options->user, data, size, &f->error) ? 0 : size;
}

static enum err perform(CURL *c, struct fetch *f, const char *url, struct curl_slist *resolved, struct error *err)
{
    long status = 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_RESOLVE, resolved);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(f->options->seconds_max * 1000));
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->options->bytes_max);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "nightshift/" NIGHTSHIFT_VERSION);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, f);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    if (f->error.code) {
        if (err) *err = f->error;
        return f->error.code;
    }
    if (f->refused) return ERROR(err, ERR_USAGE, "'%.200s' is not fetched: it leads to an address that is not public", url);
    if (code == CURLE_FILESIZE_EXCEEDED) return ERROR(err, ERR_USAGE, "the file is larger than %lld bytes", (long long)f->options->bytes_max);
    if (code) return ERROR(err, ERR_IO, "could not fetch '%.200s': %s", url, curl_easy_strerror(code));
    if (status >= 300 && status < 400) return ERROR(err, ERR_USAGE, "'%.200s' leads elsewhere (status %ld): redirects are not followed", url, status);
    if (status != 200) return ERROR(err, ERR_IO, "could not fetch '%.200s': status %ld", url, status);
    return ERR_OK;
}

enum err http_fetch(const char *url, const struct http_fetch *options, struct error *err)
{
    char host[256], port[8], pin[400];
    struct fetch f = {.options = options};
    enum err e = take_apart(url, host, sizeof host, port, err);
    if (e) return e;
    f.any_address = in_list(options->trusted, host);
    if (options->only_trusted && !f.any_address) return ERROR(err, ERR_USAGE, "'%s' is not fetched: it is not among the hosts this service fetches from", host);
    e = resolve(host, port, f.any_address, pin, sizeof pin, err);
    if (e) return e;
    struct curl_slist *resolved = curl_slist_append(NULL, pin);
    CURL *c = curl_easy_init();
    e = c && resolved ? perform(c, &f, url, resolved, err) : ERROR(err, ERR_NOMEM, "could not get memory for a transfer");
    curl_easy_cleanup(c);
    curl_slist_free_all(resolved);
    return e;
}
