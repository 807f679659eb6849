/* A bounded pool of database connections for the threads of a server.
 *
 * Properties: at most `size` connections; opened on first use; a broken one is opened again by the next taker, so that a
 * restarted server needs no manual step. Operation: db_pool_take() ... db_pool_give(). Safety: any thread; a handle taken
 * belongs to the taker until it is given back.                                                                      */
#ifndef NIGHTSHIFT_COMMON_DB_POOL_H
#define NIGHTSHIFT_COMMON_DB_POOL_H

#include "common/db.h"
#include "common/err.h"

struct db_pool;

struct db_pool *db_pool_new(const char *url, const char *application, int size); /* NULL: no memory */
void db_pool_plan_once(struct db_pool *p); /* db_plan_once() for all its connections; before the first db_pool_take() */
/* Ask for the URL whenever a connection is made: passwords rotate. Before the first db_pool_take(). */
typedef enum err (*db_pool_url)(void *user, char *ret, size_t size, struct error *err);
void db_pool_ask_url(struct db_pool *p, db_pool_url ask, void *user);
void db_pool_free(struct db_pool *p); /* takes NULL; every handle must be back */

/* Wait at most wait_s for a free connection. ERR_DATABASE: none was free in time, or the database is away. */
enum err db_pool_take(struct db_pool *p, double wait_s, struct db **ret, struct error *err);
void db_pool_give(struct db_pool *p, struct db *db); /* rolls back what was left open; takes NULL */

#endif
