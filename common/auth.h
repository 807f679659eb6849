/* Who may do what over HTTP: bearer tokens with scopes and quotas, and what nobody in particular may.
 *
 *     Authorization: Bearer nst_ID_SECRET --> api_token (hash, scopes, quota) --> identity and scopes of the request
 *
 * The database holds the SHA-256 of the secret (256 random bits: nothing to guess, nothing to salt); it is compared in constant
 * time. What it says is believed for CACHE seconds, also by the other replicas: a revoked token works that much longer.
 * Quotas are requests per hour of the clock. Those of tokens are summed over all replicas in the table api_usage; those of
 * anonymous clients are kept per address (IPv6: per /64) in each process.
 * Threads: an auth serves any number of threads.
 * Source: RFC 6750 (bearer tokens), RFC 9110 section 11, RFC 6585 (429).                                              */
#ifndef NIGHTSHIFT_COMMON_AUTH_H
#define NIGHTSHIFT_COMMON_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/db_pool.h"
#include "common/err.h"
#include "common/httpd.h"

enum auth_scope { SCOPE_READ = 1, SCOPE_UPLOAD = 2, SCOPE_INGEST = 4, SCOPE_SUBMIT = 8, SCOPE_ADMIN = 16 };

#define AUTH_TOKEN_SIZE 72 /* "nst_", 12 digits, "_", 43 characters, NUL, and room */

/* "read,upload": names separated by commas or blanks. Status: ERR_USAGE names the unknown one. "" is none. */
enum err auth_scopes_parse(const char *text, unsigned *ret, struct error *err);
const char *auth_scopes_text(unsigned scopes, char *buf, size_t size); /* Returned: buf */

struct auth;

struct auth_options {
    struct db_pool *pool;            /* outlives the auth */
    unsigned anonymous;              /* scopes of requests without a token; 0: a token is needed for everything */
    int64_t anonymous_per_hour;      /* requests per address; 0: no limit */
    unsigned needed;                 /* scopes without which nothing here may be asked for */
};

struct auth *auth_new(const struct auth_options *opt); /* NULL: no memory */
void auth_free(struct auth *a);                        /* writes down what was used; takes NULL */

/* The gate of httpd_options (user: the auth). 401 for a token that is unknown, expired or revoked, and for nobody when nobody may
 * anything; 429 with Retry-After over the quota; 503 when the database is away and the token not known. */
bool auth_gate(struct http_request *r, struct http_response *w, void *auth);

/* In a handler: has the request this scope? If not it is answered: 401 to nobody, 403 to a token. */
bool auth_requires(struct http_request *r, struct http_response *w, enum auth_scope scope);

/* ---- the operator's side ---------------------------------------------------------------------------------------------- */

/* Make a token. Given: days 0: never expires; per_hour 0: no quota. Returned: the token, seen here and never again. */
enum err auth_token_add(struct db *db, const char *name, unsigned scopes, double days, int64_t per_hour, char ret[AUTH_TOKEN_SIZE],
                        struct error *err);
/* By name or id. ERR_NOT_FOUND. */
enum err auth_token_revoke(struct db *db, const char *name, struct error *err);

#endif
