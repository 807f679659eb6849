/* HTTP client for addresses that strangers name: the only caller of libcurl besides the library's set-up.
 *
 * A server that fetches what it is told to can be made to read its own network. Guard: http or https; the name is resolved
 * once, every address must be a public one (no loopback, private, link-local, shared, multicast, documentation or mapped
 * address), the connection goes to the address that was checked and the socket's peer is looked at again; no redirects, no
 * proxy, no credentials; a ceiling for bytes and seconds.
 * Threads: any; each call has a handle of its own.                                                                      */
#ifndef NIGHTSHIFT_COMMON_HTTP_H
#define NIGHTSHIFT_COMMON_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"

struct http_fetch {
    const char *trusted;     /* hosts, comma-separated, that may have any address; NULL or "": none */
    bool only_trusted;       /* no others */
    int64_t bytes_max;
    double seconds_max;
    enum err (*sink)(void *user, const char *data, size_t size, struct error *err); /* anything but ERR_OK stops */
    void *user;
};

/* Status: ERR_USAGE: the URL, its host or its answer is not acceptable; ERR_IO: could not be fetched; what the sink said */
enum err http_fetch(const char *url, const struct http_fetch *options, struct error *err);

/* May a stranger name this address? */
bool http_address_is_public(const struct sockaddr *a);

#endif
