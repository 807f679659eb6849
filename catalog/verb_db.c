/* nightshift db up|down|status|url|psql|migrate|repack|backup|restore */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalog/catalog_verbs.h"
#include "catalog/embedded.h"
#include "catalog/migrate.h"
#include "common/atomicfile.h"
#include "common/auth.h"
#include "common/child.h"
#include "common/db.h"
#include "common/log.h"

struct job {
    struct cli cli;
    bool tcp, force;
    const char *scopes;      /* of a token */
    double days;
    int per_hour;
    struct error err;
};

/* URL of the database meant: DATABASE_URL, else the private one (which need not be up). */
static enum err url_of(struct job *j, bool tcp, char *ret, size_t size)
{
    struct embedded e;
    const char *given = settings_string(j->cli.settings, SET_DATABASE_URL);
    if (*given) {
        snprintf(ret, size, "%s", given);
        return ERR_OK;
    }
    enum err x = embedded_locate(j->cli.settings, &e, &j->err);
    return x ? x : embedded_url(&e, tcp, EMBEDDED_DATABASE, ret, size, &j->err);
}

static enum err open_database(struct job *j, struct db **ret)
{
    char url[4 * EMBEDDED_PATH];
    enum err x = url_of(j, false, url, sizeof url);
    return x ? x : db_open(url, "nightshift db", ret, &j->err);
}

static void say_migration(const struct migration *m)
{
    log_event(LOG_INFO, "migration applied", LOG_STR("migration", m->name), LOG_STR("sha256", m->sha256));
}

static enum err migrate_now(struct job *j, int *applied)
{
    struct db *db = NULL;
    enum err x = open_database(j, &db);
    if (!x) x = migrate(db, applied, say_migration, &j->err);
    db_close(db);
    return x;
}

/* Start it, bring its schema up to date, print its URL. With DATABASE_URL there is nothing to start. */
static enum err db_up(struct job *j)
{
    struct embedded e;
    bool started = false;
    int applied = 0;
    char url[4 * EMBEDDED_PATH];
    if (!*settings_string(j->cli.settings, SET_DATABASE_URL)) {
        enum err x = embedded_locate(j->cli.settings, &e, &j->err);
        if (!x) x = embedded_up(&e, &started, &j->err);
        if (x) return x;
        if (started) log_text(LOG_INFO, "started the private database in %s (`nightshift db down` stops it)", e.data);
        x = migrate_now(j, &applied);
        if (x) return x;
    }
    enum err x = url_of(j, j->tcp, url, sizeof url);
    if (!x) printf("%s\n", url);
    return x;
}

static enum err db_down(struct job *j)
{
    struct embedded e;
    bool stopped = false;
    if (*settings_string(j->cli.settings, SET_DATABASE_URL))
        return ERROR(&j->err, ERR_USAGE, "DATABASE_URL is set: that database is not ours to stop");
    enum err x = embedded_locate(j->cli.settings, &e, &j->err);
    if (!x) x = embedded_down(&e, &stopped, &j->err);
    if (!x) log_text(LOG_INFO, stopped ? "stopped the private database in %s" : "no private database runs in %s", e.data);
    return x;
}

static enum err db_url(struct job *j)
{
    char url[4 * EMBEDDED_PATH];
    enum err x = url_of(j, j->tcp, url, sizeof url);
    if (!x) printf("%s\n", url);
    return x;
}

static enum err db_migrate(struct job *j)
{
    int applied = 0;
    enum err x = migrate_now(j, &applied);
    if (!x) printf("%d migration%s applied\n", applied, applied == 1 ? "" : "s");
    return x;
}

static enum err print_counts(struct job *j, struct db *db)
{
    struct db_result *r = NULL;
    enum err x = db_query(db, "SELECT current_setting('server_version'), pg_size_pretty(pg_database_size(current_database())),"
                              " (SELECT count(*) FROM exposure), (SELECT count(*) FROM published_ccd),"
                              " (SELECT coalesce(sum(n_det), 0) FROM published_ccd), (SELECT count(*) FROM object),"
                              " (SELECT count(DISTINCT night) FROM ccd)", 0, NULL, &r, &j->err);
    if (!x)
        printf("server       PostgreSQL %s\nsize         %s\nexposures    %s\nccds         %s published\ndetections   %s published\n"
               "objects      %s\nnights       %s\n", db_text(r, 0, 0), db_text(r, 0, 1), db_text(r, 0, 2), db_text(r, 0, 3),
               db_text(r, 0, 4), db_text(r, 0, 5), db_text(r, 0, 6));
    db_result_free(r);
    return x;
}

static enum err db_status(struct job *j)
{
    struct embedded e;
    struct db *db = NULL;
    int newest = 0, pending = 0;
    bool ours = !*settings_string(j->cli.settings, SET_DATABASE_URL);
    enum err x = ours ? embedded_locate(j->cli.settings, &e, &j->err) : ERR_OK;
    if (x) return x;
    if (ours) {
        printf("data         %s\n", e.data);
        if (!embedded_is_up(&e)) {
            printf("state        %s\n", embedded_exists(&e) ? "down" : "not made yet");
            error_hint(&j->err, "`nightshift db up` starts it");
            return ERROR(&j->err, ERR_DATABASE, "the private database is not up");
        }
    }
    x = open_database(j, &db);
    if (!x) x = migrate_state(db, &newest, &pending, &j->err);
    if (!x) printf("state        up\nschema       %04d%s\n", newest, pending ? ", migrations pending: run `nightshift db migrate`" : "");
    if (!x && !pending) x = print_counts(j, db);
    db_close(db);
    return x;
}

/* ---- packing ------------------------------------------------------------------------------------------------------- */

/* Every month with nights of their own, or the one that is named. */
static enum err db_repack(struct job *j, const char *month)
{
    struct db *db = NULL;
    struct db_result *r = NULL;
    char *end;
    if (month && (strlen(month) != 6 || !strtol(month, &end, 10) || *end)) return ERROR(&j->err, ERR_USAGE, "'%s' is not a month: yyyymm", month);
    enum err x = open_database(j, &db);
    if (!x) x = db_query(db, month ? "SELECT $1::integer" : "SELECT detection_repack_due() WHERE $1::text IS NULL", 1, (const char *[]){month}, &r, &j->err);
    for (int64_t i = 0; !x && i < db_nrow(r); i++) {
        x = db_execf(db, &j->err, "CALL detection_repack(%d)", (int)db_i64(r, i, 0));
        if (!x) log_event(LOG_INFO, "month packed", LOG_INT("month", db_i64(r, i, 0)));
    }
    db_result_free(r);
    db_close(db);
    return x;
}

/* ---- psql, pg_dump, pg_restore ------------------------------------------------------------------------------------- */

static const char *program(struct job *j, const char *name, char *buf, size_t size)
{
    struct embedded e;
    if (embedded_locate(j->cli.settings, &e, NULL))
        snprintf(buf, size, "/usr/bin/%s", name);
    else
        snprintf(buf, size, "%s/%s", e.programs, name);
    return buf;
}

static enum err db_psql(struct job *j, int argc, char **argv)
{
    char url[4 * EMBEDDED_PATH], path[EMBEDDED_PATH + 16];
    const char **words = calloc((size_t)argc + 3, sizeof *words);
    if (!words) return ERROR(&j->err, ERR_NOMEM, "could not get memory for a command line");
    enum err x = url_of(j, false, url, sizeof url);
    if (!x) {
        words[0] = program(j, "psql", path, sizeof path);
        words[1] = url;
        for (int i = 0; i < argc; i++) words[2 + i] = argv[i];
        execv(path, (char *const *)(uintptr_t)words);
        x = ERROR(&j->err, ERR_SETTINGS, "cannot run '%s': %s", path, strerror(errno));
    }
    free(words);
    return x;
}

static enum err run_tool(struct job *j, const char *const *argv, const char *what)
{
    int code = 0;
    enum err x = child_run(argv, &(struct child_options){0}, &code, &j->err);
    return x ? x : code ? ERROR(&j->err, ERR_DATABASE, "could not %s: '%s' gave %d", what, argv[0], code) : ERR_OK;
}

static enum err db_backup(struct job *j, const char *file)
{
    char url[4 * EMBEDDED_PATH], path[EMBEDDED_PATH + 16];
    enum err x = url_of(j, false, url, sizeof url);
    if (x) return x;
    char *temporary = atomicfile_temporary(file);
    if (!temporary) return ERROR(&j->err, ERR_NOMEM, "could not get memory for a name");
    const char *argv[] = {program(j, "pg_dump", path, sizeof path), "-d", url, "-Fc", "--no-owner", "--no-privileges", "-f", temporary, NULL};
    x = run_tool(j, argv, "back up the database");
    if (x)
        unlink(temporary);
    else
        x = atomicfile_commit(temporary, file, &j->err);
    free(temporary);
    return x;
}

/* Into an empty database, as one transaction: whole or not at all. */
static enum err restore_into(struct job *j, const char *url, const char *file)
{
    char path[EMBEDDED_PATH + 16];
    struct db *db = NULL;
    struct db_result *r = NULL;
    enum err x = db_open(url, "nightshift db restore", &db, &j->err);
    if (!x) x = db_query(db, "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'", 0, NULL, &r, &j->err);
    if (!x && db_i64(r, 0, 0) > 0) {
        x = ERROR(&j->err, ERR_USAGE, "the database is not empty: nothing was restored");
        error_hint(&j->err, "restore into an empty one; --force replaces the private database");
    }
    db_result_free(r);
    db_close(db);
    const char *argv[] = {program(j, "pg_restore", path, sizeof path), "-d", url, "--single-transaction", "--exit-on-error", "--no-owner",
                          "--no-privileges", file, NULL};
    return x ? x : run_tool(j, argv, "restore the backup");
}

/* --force on the private cluster: restore beside, then change places. */
static enum err restore_beside(struct job *j, const char *file)
{
    struct embedded e;
    struct db *db = NULL;
    bool started;
    char admin[4 * EMBEDDED_PATH], beside[4 * EMBEDDED_PATH];
    enum err x = embedded_locate(j->cli.settings, &e, &j->err);
    if (!x) x = embedded_up(&e, &started, &j->err);
    if (!x) x = embedded_url(&e, false, "postgres", admin, sizeof admin, &j->err);
    if (!x) x = embedded_url(&e, false, "nightshift_restore", beside, sizeof beside, &j->err);
    if (!x) x = db_open(admin, "nightshift db restore", &db, &j->err);
    if (!x) x = db_exec(db, "DROP DATABASE IF EXISTS nightshift_restore", &j->err);
    if (!x) x = db_exec(db, "CREATE DATABASE nightshift_restore", &j->err);
    if (!x) x = restore_into(j, beside, file);
    if (!x) x = db_exec(db, "DROP DATABASE IF EXISTS " EMBEDDED_DATABASE " WITH (FORCE)", &j->err);
    if (!x) x = db_exec(db, "ALTER DATABASE nightshift_restore RENAME TO " EMBEDDED_DATABASE, &j->err);
    db_close(db);
    return x;
}

static enum err db_restore(struct job *j, const char *file)
{
    char url[4 * EMBEDDED_PATH];
    int applied;
    bool ours = !*settings_string(j->cli.settings, SET_DATABASE_URL);
    if (access(file, R_OK)) return error_from_errno(&j->err, errno, file, "read");
    if (j->force && !ours) return ERROR(&j->err, ERR_USAGE, "--force replaces the private database only; DATABASE_URL is set");
    enum err x = j->force ? restore_beside(j, file) : url_of(j, false, url, sizeof url);
    if (!x && !j->force) x = restore_into(j, url, file);
    return x ? x : migrate_now(j, &applied);
}

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

static enum err token_add(struct job *j, struct db *db, const char *name)
{
    unsigned scopes = 0;
    char token[AUTH_TOKEN_SIZE];
    enum err x = auth_scopes_parse(j->scopes ? j->scopes : "read", &scopes, &j->err);
    if (!x && (!scopes || !(j->days >= 0) || j->per_hour < 0))
        x = ERROR(&j->err, ERR_USAGE, "a token needs a scope, and neither --days nor --per-hour below 0");
    if (!x) x = auth_token_add(db, name, scopes, j->days, j->per_hour, token, &j->err);
    if (!x) printf("%s\n", token);
    if (!x) log_text(LOG_INFO, "this token is shown once and kept nowhere: store it now");
    return x;
}

static enum err token_list(struct job *j, struct db *db)
{
    struct db_result *r = NULL;
    enum err x = db_query(db, "SELECT token_id, name, scopes, per_hour, coalesce(to_char(expires_at, 'YYYY-MM-DD'), 'never'),"
                              " CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'good' END,"
                              " coalesce(to_char(last_used_at, 'YYYY-MM-DD HH24:MI'), '-') FROM api_token ORDER BY created_at, token_id",
                          0, NULL, &r, &j->err);
    char scopes[64];
    if (!x) printf("%-12s  %-20s  %-28s  %9s  %-10s  %-7s  %s\n", "id", "name", "scopes", "per hour", "expires", "state", "last used");
    for (int64_t i = 0; !x && i < db_nrow(r); i++)
        printf("%-12s  %-20s  %-28s  %9s  %-10s  %-7s  %s\n", db_text(r, i, 0), db_text(r, i, 1), auth_scopes_text((unsigned)db_i64(r, i, 2), scopes, sizeof scopes),
               db_i64(r, i, 3) ? db_text(r, i, 3) : "-", db_text(r, i, 4), db_text(r, i, 5), db_text(r, i, 6));
    db_result_free(r);
    return x;
}

static enum err db_token(struct job *j)
{
    const struct cli_strings *o = &j->cli.operands;
    const char *what = o->n > 1 ? o->v[1] : "";
    bool add = !strcmp(what, "add") && o->n == 3, revoke = !strcmp(what, "revoke") && o->n == 3, list = !strcmp(what, "list") && o->n == 2;
    struct db *db = NULL;
    if (!add && !revoke && !list) return ERROR(&j->err, ERR_USAGE, "'db token' is one of: add NAME [--scopes read,upload] [--days N] [--per-hour N], list, revoke NAME");
    enum err x = open_database(j, &db);
    if (!x) x = add ? token_add(j, db, o->v[2]) : revoke ? auth_token_revoke(db, o->v[2], &j->err) : token_list(j, db);
    db_close(db);
    return x;
}

/* ---- the verb ------------------------------------------------------------------------------------------------------ */

static enum err wants_file(struct job *j, enum err (*act)(struct job *, const char *), const char *sub)
{
    if (j->cli.operands.n != 2) return ERROR(&j->err, ERR_USAGE, "'db %s' takes one file", sub);
    return act(j, j->cli.operands.v[1]);
}

static enum err dispatch(struct job *j)
{
    static const struct {
        const char *name;
        enum err (*act)(struct job *);
    } plain[] = {{"up", db_up}, {"down", db_down}, {"status", db_status}, {"url", db_url}, {"migrate", db_migrate}};
    const char *sub = j->cli.operands.n ? j->cli.operands.v[0] : "";
    if (!strcmp(sub, "repack") && j->cli.operands.n <= 2) return db_repack(j, j->cli.operands.n == 2 ? j->cli.operands.v[1] : NULL);
    if (!strcmp(sub, "backup")) return wants_file(j, db_backup, sub);
    if (!strcmp(sub, "restore")) return wants_file(j, db_restore, sub);
    if (!strcmp(sub, "token")) return db_token(j);
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (!strcmp(sub, plain[i].name))
            return j->cli.operands.n == 1 ? plain[i].act(j) : ERROR(&j->err, ERR_USAGE, "'db %s' takes no operands", sub);
    ERROR(&j->err, ERR_USAGE, *sub ? "unknown 'db %s'" : "what should be done with the database?%s", sub);
    error_hint(&j->err, "one of up, down, status, url, psql, migrate, repack, token, backup, restore");
    return ERR_USAGE;
}

int verb_db(int argc, char **argv)
{
    static const struct verb verb = {"db", verb_db, "up|down|status|url|psql [...]|migrate|repack [MONTH]|token add|list|revoke|backup FILE|restore FILE",
                                     "the catalogue's database: a private one, or that of DATABASE_URL"};
    struct job j = {.err = ERROR_INIT};
    const struct cli_option options[] = {
        {"--tcp", CLI_FLAG, &j.tcp, NULL, "up, url: print the URL of the loopback port, with its password"},
        {"--force", CLI_FLAG, &j.force, NULL, "restore: replace the private database"},
        {"--scopes", CLI_STRING, &j.scopes, "LIST", "token add: of read, upload, ingest, submit, admin [read]"},
        {"--days", CLI_DOUBLE, &j.days, "N", "token add: until it expires [never]"},
        {"--per-hour", CLI_INT, &j.per_hour, "N", "token add: requests at most [no limit]"},
        {0},
    };
    bool psql = argc > 1 && !strcmp(argv[1], "psql"); /* what follows is psql's own */
    int code = cli_parse(&j.cli, &verb, psql ? 2 : argc, argv, options);
    if (code >= 0) return code;
    enum err x = psql ? db_psql(&j, argc - 2, argv + 2) : dispatch(&j);
    code = x ? cli_fail(&j.cli, &j.err) : EXIT_ALL_GOOD;
    cli_release(&j.cli);
    return code;
}
