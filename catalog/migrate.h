/* Applies the compiled-in migrations in order and remembers their checksums.
 *
 * One chain from catalog/sql/migrations and jobrunner/sql/migrations, NNNN_what.sql, by number. Each migration is one
 * transaction under an advisory lock: any number of programs may migrate at once, a kill leaves a whole number of steps.
 * Then TAP_SCHEMA is filled from the schema file (schema.h).
 * A migration that was edited after it was applied, or a database newer than this program, is refused.              */
#ifndef NIGHTSHIFT_CATALOG_MIGRATE_H
#define NIGHTSHIFT_CATALOG_MIGRATE_H

#include "common/db.h"

struct migration {
    int number;
    char name[64]; /* "0001_foundation" */
    const char *sql;
    char sha256[65];
};

#define MIGRATIONS_MAX 256

/* The compiled-in chain, sorted. Returned: count. */
int migrations_list(struct migration ret[MIGRATIONS_MAX]);

/* Bring the database to the newest version. ret_applied (may be NULL): steps done now. done (may be NULL) hears of each.
 * Status: ERR_SETTINGS for an edited migration, ERR_UNSUPPORTED for a newer database, ERR_DATABASE, ERR_INTERNAL */
enum err migrate(struct db *db, int *ret_applied, void (*done)(const struct migration *m), struct error *err);

/* Newest number applied, 0: none; *pending: steps missing. The same refusals as migrate(). */
enum err migrate_state(struct db *db, int *ret_newest, int *ret_pending, struct error *err);

#endif
