/* Watches the connections of an HTTP server for clients that hold them without using them.
 *
 * libmicrohttpd's timeout starts again with every byte, so a client that sends or takes one byte now and then is never cut by
 * it. A thread looks at all connections once a second instead and closes those that
 *
 *     have not sent a whole header after `header_s` seconds (also the second one of a kept connection),
 *     send a body slower than `rate` bytes/s on average, once `body_s` seconds have passed,
 *     take an answer slower than `rate` bytes/s for 30 seconds while some of it lies in the socket.
 *
 * A request that waits for a worker or the database is left alone. Source of the counts: TCP_INFO of Linux >= 4.6.
 * Threads: guard_stage() from any; the rest from the server's network threads.                                           */
#ifndef NIGHTSHIFT_COMMON_HTTPD_GUARD_H
#define NIGHTSHIFT_COMMON_HTTPD_GUARD_H

#include <microhttpd.h>

#include "common/err.h"

struct guard;
struct guarded; /* one connection */

enum guard_stage { GUARD_HEADER, GUARD_BODY, GUARD_WORK, GUARD_ANSWER, GUARD_IDLE };

struct guard_options {
    double header_s, body_s;
    double rate;             /* bytes/s */
};

struct guard *guard_new(const struct guard_options *opt); /* NULL: no memory, no thread */
void guard_free(struct guard *g); /* after the daemon; takes NULL */

/* MHD_OPTION_NOTIFY_CONNECTION with the guard as its argument. */
void guard_connection(void *guard, struct MHD_Connection *connection, void **socket_context, enum MHD_ConnectionNotificationCode code);
/* The request on this connection has come to that stage. NULL is allowed. */
void guard_stage(struct MHD_Connection *connection, enum guard_stage stage);

#endif
