#include "common/db_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/metrics.h"

static const double REVIVE_S = 1; /* a request does not wait longer for a database that is away */

struct db_pool {
    char *url, *application;
    db_pool_url ask;         /* NULL: the URL stays what it is */
    void *ask_user;
    int size, in_use;
    bool plan_once;
    struct db **idle; /* nidle handles, the last given first */
    int nidle;
    pthread_mutex_t lock;
    pthread_cond_t given;
    struct metric *gauge;
};

struct db_pool *db_pool_new(const char *url, const char *application, int size)
{
    struct db_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->given, NULL);
    p->url = strdup(url);
    p->application = strdup(application);
    p->size = size;
    p->idle = calloc((size_t)size, sizeof(struct db *));
    p->gauge = metric_get(METRIC_GAUGE, "nightshift_db_pool_in_use", "", "database connections that work now");
    if (p->url && p->application && p->idle) return p;
    db_pool_free(p);
    return NULL;
}

void db_pool_ask_url(struct db_pool *p, db_pool_url ask, void *user)
{
    p->ask = ask;
    p->ask_user = user;
}

/* A new connection, or a broken one made anew, with the URL as it is now. */
static enum err connect_now(struct db_pool *p, struct db **db, struct error *err)
{
    char url[2048];
    const char *now = p->url;
    if (p->ask) {
        enum err e = p->ask(p->ask_user, url, sizeof url, err);
        if (e) return e;
        now = url;
    }
    if (!*db) return db_open(now, p->application, db, err);
    enum err e = db_reopen(*db, now, err);
    return e == ERR_DATABASE ? db_revive(*db, REVIVE_S, err) : e;
}

void db_pool_free(struct db_pool *p)
{
    if (!p) return;
    for (int i = 0; i < p->nidle; i++) db_close(p->idle[i]);
    pthread_cond_destroy(&p->given);
    pthread_mutex_destroy(&p->lock);
    free(p->idle);
    free(p->url);
    free(p->application);
    free(p);
}

void db_pool_plan_once(struct db_pool *p)
{
    p->plan_once = true;
}

/* Claim a place. Returned: false when none became free in time. */
static bool claim(struct db_pool *p, double wait_s, struct db **ret)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)wait_s;
    until.tv_nsec += (long)((wait_s - (double)(time_t)wait_s) * 1e9);
    if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
    bool good = true;
    pthread_mutex_lock(&p->lock);
    while (p->in_use >= p->size && good) good = pthread_cond_timedwait(&p->given, &p->lock, &until) != ETIMEDOUT;
    good = p->in_use < p->size;
    if (good) {
        p->in_use++;
        *ret = p->nidle ? p->idle[--p->nidle] : NULL;
        metric_set(p->gauge, p->in_use);
    }
    pthread_mutex_unlock(&p->lock);
    return good;
}

enum err db_pool_take(struct db_pool *p, double wait_s, struct db **ret, struct error *err)
{
    struct db *db = NULL;
    if (!claim(p, wait_s, &db)) return ERROR(err, ERR_DATABASE, "could not get a database connection: all %d are busy", p->size);
    enum err e = ERR_OK;
    if (!db || db_is_broken(db) || db_went_away(db)) e = connect_now(p, &db, err);
    if (!e) {
        if (p->plan_once) db_plan_once(db);
        *ret = db;
        return ERR_OK;
    }
    db_close(db);
    db_pool_give(p, NULL);
    return e;
}

void db_pool_give(struct db_pool *p, struct db *db)
{
    if (db && !db_is_broken(db)) db_rollback(db);
    pthread_mutex_lock(&p->lock);
    p->in_use--;
    if (db) p->idle[p->nidle++] = db;
    metric_set(p->gauge, p->in_use);
    pthread_cond_signal(&p->given);
    pthread_mutex_unlock(&p->lock);
}
