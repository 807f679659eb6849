#include "common/auth.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "common/digest.h"
#include "common/log.h"

static const double CACHE_S = 10;
enum { TOKENS = 512, ADDRESSES = 8192, ID_SIZE = 13 };

static const struct {
    const char *name;
    unsigned bit;
} scopes[] = {{"read", SCOPE_READ}, {"upload", SCOPE_UPLOAD}, {"ingest", SCOPE_INGEST}, {"submit", SCOPE_SUBMIT}, {"admin", SCOPE_ADMIN}};
enum { NSCOPE = sizeof scopes / sizeof scopes[0] };

struct known {               /* a token, or an id that is none */
    char id[ID_SIZE];
    char hash[DIGEST_HEX_SIZE];
    bool exists, good;       /* good: neither expired nor revoked */
    unsigned scopes;
    int64_t per_hour, used;  /* used by everybody in `hour`, as of `asked` */
    int64_t unsaved;         /* used here since */
    int64_t hour;
    double asked;            /* 0: empty slot */
};

struct visitor {
    uint64_t address;        /* hash; 0: empty slot */
    int64_t hour, used;
};

struct auth {
    struct auth_options opt;
    pthread_mutex_t lock;
    struct known tokens[TOKENS];
    struct visitor visitors[ADDRESSES];
};

/* ---- scopes ------------------------------------------------------------------------------------------------------------- */

enum err auth_scopes_parse(const char *text, unsigned *ret, struct error *err)
{
    unsigned bits = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, ", ");
        int k = 0;
        while (k < NSCOPE && (strlen(scopes[k].name) != n || strncasecmp(scopes[k].name, p, n))) k++;
        if (n && k == NSCOPE) return ERROR(err, ERR_USAGE, "'%.*s' is not a scope; read, upload, ingest, submit and admin are", (int)n, p);
        if (n) bits |= scopes[k].bit;
        p += n;
        while (*p == ',' || *p == ' ') p++;
    }
    *ret = bits;
    return ERR_OK;
}

const char *auth_scopes_text(unsigned bits, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = 0;
    for (int k = 0; k < NSCOPE && n < size; k++)
        if (bits & scopes[k].bit) n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? "," : "", scopes[k].name);
    return buf;
}

/* ---- tokens in the database --------------------------------------------------------------------------------------------- */

/* Ask about a token and write down what was used of it: one statement. */
static enum err ask(struct db *db, struct known *t, struct error *err)
{
    struct db_result *r = NULL;
    char used[24];
    snprintf(used, sizeof used, "%lld", (long long)t->unsaved);
    enum err e = db_query_prepared(db, "api_token_use", "SELECT hash, scopes, good, per_hour, used, extract(epoch FROM now())::bigint / 3600 FROM api_token_use($1, $2::bigint)",
                                   2, (const char *const[]){t->id, used}, &r, err);
    if (e) return e;
    t->exists = db_nrow(r) == 1;
    if (t->exists) {
        snprintf(t->hash, sizeof t->hash, "%s", db_text(r, 0, 0));
        t->scopes = (unsigned)db_i64(r, 0, 1);
        t->good = db_bool(r, 0, 2);
        t->per_hour = db_i64(r, 0, 3);
        t->used = db_i64(r, 0, 4);
        t->hour = db_i64(r, 0, 5);
    }
    t->unsaved = 0;
    t->asked = clock_seconds();
    db_result_free(r);
    return ERR_OK;
}

enum err auth_token_add(struct db *db, const char *name, unsigned bits, double days, int64_t per_hour, char ret[AUTH_TOKEN_SIZE], struct error *err)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~"; /* 64 that a header carries as they are */
    unsigned char random[6 + 43];
    char id[ID_SIZE], secret[44], hash[DIGEST_HEX_SIZE], v[3][32];
    if (RAND_bytes(random, sizeof random) != 1) return ERROR(err, ERR_INTERNAL, "the system gives no random bytes");
    for (int i = 0; i < 6; i++) snprintf(id + 2 * i, 3, "%02x", random[i]);
    for (int i = 0; i < 43; i++) secret[i] = alphabet[random[6 + i] & 63];
    secret[43] = 0;
    digest_buffer(secret, 43, hash);
    snprintf(v[0], sizeof v[0], "%u", bits);
    snprintf(v[1], sizeof v[1], "%.6f", days);
    snprintf(v[2], sizeof v[2], "%lld", (long long)per_hour);
    struct db_result *r = NULL;
    enum err e = db_query(db, "INSERT INTO api_token (token_id, name, hash, scopes, expires_at, per_hour)"
                              " VALUES ($1, $2, $3, $4::integer, now() + nullif($5::float8, 0) * interval '1 day', $6::bigint)"
                              " ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING token_id",
                          6, (const char *const[]){id, name, hash, v[0], v[1], v[2]}, &r, err);
    if (!e && !db_nrow(r)) {
        e = ERROR(err, ERR_USAGE, "there is a token '%.60s' already", name);
        error_hint(err, "revoke it first, or choose another name");
    }
    db_result_free(r);
    if (!e) snprintf(ret, AUTH_TOKEN_SIZE, "nst_%s_%s", id, secret);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(random, sizeof random);
    return e;
}

enum err auth_token_revoke(struct db *db, const char *name, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "UPDATE api_token SET revoked_at = now() WHERE (token_id = $1 OR name = $1) AND revoked_at IS NULL RETURNING token_id", 1,
                          (const char *const[]){name}, &r, err);
    if (!e && !db_nrow(r)) e = ERROR(err, ERR_NOT_FOUND, "no token '%.60s' that is not revoked already", name);
    db_result_free(r);
    return e;
}

/* ---- the gate ----------------------------------------------------------------------------------------------------------- */

struct auth *auth_new(const struct auth_options *opt)
{
    struct auth *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->opt = *opt;
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

void auth_free(struct auth *a)
{
    if (!a) return;
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    for (int i = 0; i < TOKENS; i++) {
        if (!a->tokens[i].unsaved) continue;
        if (!db && db_pool_take(a->opt.pool, 1, &db, &err)) break;
        if (ask(db, &a->tokens[i], &err)) break;
    }
    db_pool_give(a->opt.pool, db);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static int64_t seconds_to_next_hour(void)
{
    return 3600 - (int64_t)time(NULL) % 3600;
}

static bool answer(struct http_response *w, int status, const char *challenge, const char *message)
{
    char wait[24];
    if (challenge) http_header_out(w, "WWW-Authenticate", challenge);
    snprintf(wait, sizeof wait, "%lld", status == 429 ? (long long)seconds_to_next_hour() : 2LL);
    if (status == 429 || status == 503) http_header_out(w, "Retry-After", wait);
    http_error(w, status, "%s", message);
    return false;
}

static bool anonymous(struct auth *a, struct http_request *r, struct http_response *w)
{
    if (!a->opt.anonymous) return answer(w, 401, "Bearer", "this service wants a token: Authorization: Bearer nst_...");
    http_set_identity(r, "", a->opt.anonymous);
    if (!a->opt.anonymous_per_hour) return true;
    char text[64];
    http_client_address(r, text, sizeof text);
    if (strchr(text, ':')) { /* whoever has one address of a /64 has them all */
        char *p = text;
        for (int group = 0; p && group < 4; group++) p = strchr(p, ':') ? strchr(p, ':') + 1 : NULL;
        if (p) *p = 0;
    }
    uint64_t address = digest_u64(text) | 1;
    int64_t hour = (int64_t)time(NULL) / 3600;
    pthread_mutex_lock(&a->lock);
    struct visitor *v = &a->visitors[address % ADDRESSES]; /* two addresses on one slot take turns: the limit gets looser, never tighter */
    if (v->address != address || v->hour != hour) *v = (struct visitor){.address = address, .hour = hour};
    bool over = ++v->used > a->opt.anonymous_per_hour;
    pthread_mutex_unlock(&a->lock);
    return !over || answer(w, 429, NULL, "too many requests from your address in this hour; a token has its own quota");
}

/* "nst_ID_SECRET" split; false for anything else. */
static bool split(const char *token, char id[ID_SIZE], const char **ret_secret)
{
    if (strncmp(token, "nst_", 4) || strlen(token) != 4 + ID_SIZE + 43 || token[4 + ID_SIZE - 1] != '_') return false;
    for (int i = 0; i < ID_SIZE - 1; i++)
        if (!isxdigit((unsigned char)(id[i] = token[4 + i]))) return false;
    id[ID_SIZE - 1] = 0;
    *ret_secret = token + 4 + ID_SIZE;
    return true;
}

/* What is known of an id, asked again when it is old. Called with the lock held; it is let go of while the database is asked. */
static enum err lookup(struct auth *a, const char *id, struct known *ret, struct error *err)
{
    struct known *slot = &a->tokens[digest_u64(id) % TOKENS];
    if (slot->asked && !strcmp(slot->id, id) && clock_seconds() - slot->asked < CACHE_S) {
        *ret = *slot;
        return ERR_OK;
    }
    struct known fresh = {0}, evicted = {0};
    if (slot->asked && !strcmp(slot->id, id)) fresh = *slot;
    else if (slot->unsaved) evicted = *slot;
    memcpy(fresh.id, id, ID_SIZE);
    slot->unsaved = 0;
    pthread_mutex_unlock(&a->lock);
    struct db *db = NULL;
    int64_t unsaved = fresh.unsaved;
    enum err e = db_pool_take(a->opt.pool, 2, &db, err);
    if (!e && evicted.unsaved) e = ask(db, &evicted, err);
    if (!e) e = ask(db, &fresh, err);
    db_pool_give(a->opt.pool, db);
    pthread_mutex_lock(&a->lock);
    if (e) {
        if (!strcmp(slot->id, id)) slot->unsaved += unsaved;
        return e;
    }
    if (!strcmp(slot->id, id)) fresh.unsaved += slot->unsaved; /* used by others meanwhile */
    *slot = fresh;
    *ret = fresh;
    return ERR_OK;
}

static bool with_token(struct auth *a, struct http_request *r, struct http_response *w, const char *token)
{
    struct error err = ERROR_INIT;
    struct known t;
    char id[ID_SIZE], hash[DIGEST_HEX_SIZE];
    const char *secret;
    static const char invalid[] = "Bearer error=\"invalid_token\"";
    if (!split(token, id, &secret)) return answer(w, 401, invalid, "this is not a token of this service");
    digest_buffer(secret, strlen(secret), hash);
    pthread_mutex_lock(&a->lock);
    enum err e = lookup(a, id, &t, &err);
    bool known = !e && t.exists && !CRYPTO_memcmp(hash, t.hash, DIGEST_HEX_SIZE - 1);
    bool over = known && t.good && t.per_hour && t.hour == (int64_t)time(NULL) / 3600 && t.used + t.unsaved >= t.per_hour;
    struct known *slot = &a->tokens[digest_u64(id) % TOKENS];
    if (known && t.good && !over && !strcmp(slot->id, id)) slot->unsaved++;
    pthread_mutex_unlock(&a->lock);
    if (e) {
        log_error(&err);
        return answer(w, 503, NULL, "tokens cannot be checked: the database is away");
    }
    if (!known) return answer(w, 401, invalid, "the token is not known");
    if (!t.good) return answer(w, 401, invalid, "the token has expired or was revoked");
    if (over) return answer(w, 429, NULL, "the token's requests of this hour are used up");
    http_set_identity(r, t.id, t.scopes);
    return true;
}

bool auth_gate(struct http_request *r, struct http_response *w, void *auth)
{
    struct auth *a = auth;
    const char *given = http_header_in(r, "Authorization");
    if (given && strncasecmp(given, "Bearer ", 7)) return answer(w, 401, "Bearer", "tokens come as Authorization: Bearer nst_...");
    if (given) {
        given += 7;
        while (*given == ' ') given++;
        if (!with_token(a, r, w, given)) return false;
    } else if (!anonymous(a, r, w)) {
        return false;
    }
    for (int k = 0; k < NSCOPE; k++)
        if ((a->opt.needed & scopes[k].bit) && !auth_requires(r, w, (enum auth_scope)scopes[k].bit)) return false;
    return true;
}

bool auth_requires(struct http_request *r, struct http_response *w, enum auth_scope scope)
{
    char text[64], line[160];
    if (http_scopes(r) & (unsigned)scope) return true;
    bool somebody = *http_identity(r);
    snprintf(line, sizeof line, somebody ? "the token has not the scope '%s'" : "this needs a token with the scope '%s'", auth_scopes_text(scope, text, sizeof text));
    return answer(w, somebody ? 403 : 401, somebody ? "Bearer error=\"insufficient_scope\"" : "Bearer", line);
}
