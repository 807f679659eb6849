#include "catalog/migrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/schema.h"
#include "common/assets.h"
#include "common/digest.h"

static int by_number(const void *a, const void *b)
{
    return ((const struct migration *)a)->number - ((const struct migration *)b)->number;
}

int migrations_list(struct migration ret[MIGRATIONS_MAX])
{
    int n = 0;
    for (int i = 0; i < asset_table_size && n < MIGRATIONS_MAX; i++) {
        const char *folder = strstr(asset_table[i].name, "/sql/migrations/");
        if (!folder) continue;
        const char *base = folder + strlen("/sql/migrations/");
        const struct asset *a = asset_find(asset_table[i].name);
        struct migration *m = &ret[n++];
        m->number = atoi(base);
        snprintf(m->name, sizeof m->name, "%.*s", (int)strcspn(base, "."), base);
        m->sql = a->data;
        digest_buffer(a->data, a->size, m->sha256);
    }
    qsort(ret, (size_t)n, sizeof *ret, by_number);
    return n;
}

static const struct migration *find(const struct migration *list, int n, int number)
{
    for (int i = 0; i < n; i++)
        if (list[i].number == number) return &list[i];
    return NULL;
}

/* What is applied already: done[i] for list[i]. Refuses edited and unknown ones. */
static enum err read_applied(struct db *db, const struct migration *list, int n, bool *done, int *newest, struct error *err)
{
    struct db_result *r = NULL;
    *newest = 0;
    enum err e = db_query(db, "SELECT to_regclass('schema_migration') IS NOT NULL", 0, NULL, &r, err);
    bool there = !e && db_bool(r, 0, 0);
    db_result_free(r);
    if (e || !there) return e;
    e = db_query(db, "SELECT number, name, sha256 FROM schema_migration ORDER BY number", 0, NULL, &r, err);
    for (int64_t i = 0; !e && i < db_nrow(r); i++) {
        const struct migration *m = find(list, n, (int)db_i64(r, i, 0));
        if (!m) {
            e = ERROR(err, ERR_UNSUPPORTED, "the database has migration %s, which this program does not know", db_text(r, i, 1));
            error_hint(err, "it was made by a newer nightshift: upgrade this one");
        } else if (strcmp(m->sha256, db_text(r, i, 2))) {
            e = ERROR(err, ERR_SETTINGS, "migration %s was changed after it was applied to this database", m->name);
        } else {
            done[m - list] = true;
            *newest = m->number;
        }
    }
    db_result_free(r);
    return e;
}

/* The text of a migration is SQL of ours; the lock makes everybody else wait and then find it done. */
static enum err apply(struct db *db, const struct migration *m, bool *ret_applied, struct error *err)
{
    struct db_result *r = NULL;
    char number[16];
    snprintf(number, sizeof number, "%d", m->number);
    enum err e = db_begin(db, err);
    if (!e) e = db_exec(db, "SELECT pg_advisory_xact_lock(hashtext('nightshift.migrate'));"
                            "CREATE TABLE IF NOT EXISTS schema_migration (number integer PRIMARY KEY, name text NOT NULL,"
                            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())", err);
    if (!e) e = db_query(db, "SELECT FROM schema_migration WHERE number = $1", 1, (const char *[]){number}, &r, err);
    *ret_applied = !e && db_nrow(r) == 0;
    db_result_free(r);
    if (*ret_applied) {
        e = db_exec(db, m->sql, err);
        if (!e) e = db_query(db, "INSERT INTO schema_migration (number, name, sha256) VALUES ($1, $2, $3)", 3,
                             (const char *[]){number, m->name, m->sha256}, NULL, err);
    }
    if (!e) e = db_commit(db, err);
    if (e) {
        db_rollback(db);
        *ret_applied = false;
        error_subject(err, m->name, 0);
    }
    return e;
}

/* What the rights were given for: the migrations applied and the roles there, kept as the function's comment. Every start of a
 * private server comes by here, dozens at once after a crash: giving them anew each time made all of them wait in line. */
#define GRANTED_FOR "(SELECT format('granted: %s migrations, newest %s', count(*), max(number)) FROM schema_migration)"
#define ROLES_THERE "(SELECT count(*) = 4 FROM pg_roles WHERE rolname IN ('nightshift_query', 'nightshift_serve', 'nightshift_ingest', 'nightshift_jobs'))"

static enum err is_granted(struct db *db, bool *ret, struct error *err)
{
    struct db_result *r = NULL;
    enum err e = db_query(db, "SELECT FROM pg_proc p WHERE p.oid = to_regprocedure('roles_grant()') AND " ROLES_THERE
                              " AND obj_description(p.oid, 'pg_proc') = " GRANTED_FOR, 0, NULL, &r, err);
    if (!e) *ret = db_nrow(r) == 1;
    db_result_free(r);
    return e;
}

/* One at a time: GRANT on one table by two sessions at once is an error of PostgreSQL. */
static enum err grant(struct db *db, struct error *err)
{
    bool granted = false;
    enum err e = is_granted(db, &granted, err);
    if (e || granted) return e;
    e = db_begin(db, err);
    if (!e) e = db_exec(db, "SELECT pg_advisory_xact_lock(hashtext('nightshift.migrate'))", err);
    if (!e) e = is_granted(db, &granted, err);
    if (!e && !granted)
        e = db_exec(db, "SELECT roles_grant();"
                        "DO $$ BEGIN IF " ROLES_THERE " THEN EXECUTE format('COMMENT ON FUNCTION roles_grant() IS %L', " GRANTED_FOR "); END IF; END $$", err);
    if (!e) e = db_commit(db, err);
    if (e) db_rollback(db);
    return e;
}

enum err migrate(struct db *db, int *ret_applied, void (*done)(const struct migration *m), struct error *err)
{
    struct migration list[MIGRATIONS_MAX];
    bool applied[MIGRATIONS_MAX] = {false}, now;
    int newest, n = migrations_list(list), count = 0;
    enum err e = read_applied(db, list, n, applied, &newest, err);
    for (int i = 0; !e && i < n; i++) {
        if (applied[i]) continue;
        e = apply(db, &list[i], &now, err);
        if (e || !now) continue;
        count++;
        if (done) done(&list[i]);
    }
    if (!e) e = schema_publish(db, err);
    if (!e) e = grant(db, err);
    if (!e && ret_applied) *ret_applied = count;
    return e;
}

enum err migrate_state(struct db *db, int *ret_newest, int *ret_pending, struct error *err)
{
    struct migration list[MIGRATIONS_MAX];
    bool applied[MIGRATIONS_MAX] = {false};
    int n = migrations_list(list), pending = 0;
    enum err e = read_applied(db, list, n, applied, ret_newest, err);
    if (e) return e;
    for (int i = 0; i < n; i++) pending += !applied[i];
    *ret_pending = pending;
    return ERR_OK;
}
