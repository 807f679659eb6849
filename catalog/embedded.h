/* The private PostgreSQL cluster: made, started and stopped by this program, for machines without a database.
 *
 *     DATA/pg        the cluster (initdb, checksums on, C collation, UTC)         owner: the server's user, 0700
 *     DATA/run       its Unix socket                                              owner: the server's user, 0700
 *     DATA/log       what it says, one file per weekday
 *     DATA/port      loopback port, kept from start to start while it is free; never 5432
 *     DATA/password  of the loopback port (scram); the socket needs none: its folder is the guard
 *     DATA/lock      held (flock) while a program starts or stops it
 *
 * As root the server runs as `postgres` if that user exists, else `nobody`. Debian's own clusters are never touched.
 * Properties: up twice is up once; a killed postmaster, its orphans and a stale pid file are cleared by the next start;
 * a half-made cluster is never seen (made beside, renamed when whole). */
#ifndef NIGHTSHIFT_CATALOG_EMBEDDED_H
#define NIGHTSHIFT_CATALOG_EMBEDDED_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/settings.h"

#define EMBEDDED_DATABASE "nightshift"
#define EMBEDDED_PATH     1024

struct embedded {
    char data[EMBEDDED_PATH];     /* DATA, absolute */
    char pg[EMBEDDED_PATH + 8];
    char run[EMBEDDED_PATH + 8];
    char log[EMBEDDED_PATH + 8];
    char programs[EMBEDDED_PATH]; /* folder of initdb, pg_ctl, psql ... */
    bool drop;                    /* root: run the server as uid, gid */
    uid_t uid;
    gid_t gid;
    char user[64];
};

/* Where it is or would be; nothing is made. ERR_SETTINGS: no PostgreSQL 15 or newer on this machine. */
enum err embedded_locate(const struct settings *s, struct embedded *ret, struct error *err);

bool embedded_exists(const struct embedded *e);
bool embedded_is_up(const struct embedded *e); /* answers on its socket */

/* Make it if need be, start it if need be, make the database. *ret_started: false when it was up. */
enum err embedded_up(const struct embedded *e, bool *ret_started, struct error *err);
/* Stop it (fast: sessions end). *ret_stopped: false when it was not up. */
enum err embedded_down(const struct embedded *e, bool *ret_stopped, struct error *err);

/* libpq URL: over the socket, or over the loopback port with its password. ERR_NOT_FOUND when there is no cluster. */
enum err embedded_url(const struct embedded *e, bool tcp, const char *database, char *ret, size_t size, struct error *err);

#endif
