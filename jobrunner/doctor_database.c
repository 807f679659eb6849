/* The database: PostgreSQL's programs, state, version, migrations, disk, clock. Nothing is started: what only the
 * catalogue's room knows is asked of `nightshift db`, as a child. */
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/db.h"
#include "jobrunner/doctor.h"

#define ANSWER    8192
#define OLDEST    150000 /* server_version_num */
#define APART_S   2.0

/* ---- programs ------------------------------------------------------------------------------------------------------ */

/* The folder of initdb: the setting's, Debian's newest, PATH's. */
static bool program_folder(const struct doctor *d, char *ret, size_t size)
{
    const char *given = settings_string(d->settings, SET_DB_PROGRAMS);
    char path[1100];
    int best = 0;
    if (*given) {
        snprintf(ret, size, "%s", given);
        snprintf(path, sizeof path, "%s/initdb", given);
        return access(path, X_OK) == 0;
    }
    DIR *folder = opendir("/usr/lib/postgresql");
    for (struct dirent *f; folder && (f = readdir(folder));) {
        snprintf(path, sizeof path, "/usr/lib/postgresql/%s/bin/initdb", f->d_name);
        if (atoi(f->d_name) > best && access(path, X_OK) == 0) best = atoi(f->d_name);
    }
    if (folder) closedir(folder);
    if (best) {
        snprintf(ret, size, "/usr/lib/postgresql/%d/bin", best);
        return true;
    }
    bool found = doctor_which("initdb", path, sizeof path);
    if (found) snprintf(ret, size, "%.*s", (int)(strrchr(path, '/') - path), path);
    return found;
}

static void check_programs(struct doctor *d, bool ours)
{
    char folder[1024] = "", program[1100], answer[256] = "";
    const char *argv[] = {program, "--version", NULL};
    bool found = program_folder(d, folder, sizeof folder);
    snprintf(program, sizeof program, "%s/initdb", folder);
    const char *digits = found && doctor_ask(argv, answer, sizeof answer) == 0 ? answer + strcspn(answer, "0123456789") : "";
    if (atoi(digits) >= OLDEST / 10000) {
        doctor_add(d, GRADE_OK, "postgresql programs", NULL, "%.*s in %s", (int)strcspn(digits, " \n"), digits, folder);
        return;
    }
    doctor_add(d, ours ? GRADE_BAD : GRADE_WARN, "postgresql programs",
               ours ? "install Debian's 'postgresql' (15 or newer), set db.programs, or set DATABASE_URL"
                    : "install 'postgresql-client' for `db psql|backup|restore`", "%s%s", found ? "too old or not running: " : "none found", folder);
}

/* ---- the server ---------------------------------------------------------------------------------------------------- */

/* The value of a line "name   value" of `db status`; "" if there is none. */
static void status_value(const char *answer, const char *name, char *ret, size_t size)
{
    size_t n = strlen(name);
    *ret = '\0';
    for (const char *line = answer; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, n) || line[n] != ' ') continue;
        const char *v = line + n;
        while (*v == ' ') v++;
        snprintf(ret, size, "%.*s", (int)strcspn(v, "\n"), v);
        return;
    }
}

/* The last line, without who says it: an error's own words. */
static const char *last_words(char *answer)
{
    size_t n = strlen(answer);
    while (n && isspace((unsigned char)answer[n - 1])) answer[--n] = '\0';
    char *line = strrchr(answer, '\n');
    line = line ? line + 1 : answer;
    char *says = strstr(line, "nightshift db: ");
    return says ? says + strlen("nightshift db: ") : line;
}

static int ask_db(const char *what, char *ret, size_t size)
{
    const char *argv[] = {"/proc/self/exe", "db", what, "--log-format", "console", NULL};
    return doctor_ask(argv, ret, size);
}

/* The child finds the same database: its settings travel in the environment, where secrets are not seen by others. */
static void hand_on_settings(const struct settings *s)
{
    static const struct {
        enum setting_id id;
        const char *variable;
    } rows[] = {{SET_DATABASE_URL, "NIGHTSHIFT_DATABASE_URL"}, {SET_DB_DATA, "NIGHTSHIFT_DB_DATA"}, {SET_DB_PROGRAMS, "NIGHTSHIFT_DB_PROGRAMS"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (*settings_string(s, rows[i].id)) setenv(rows[i].variable, settings_string(s, rows[i].id), 1);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check_server_clock(struct doctor *d, struct db *db)
{
    struct db_result *r = NULL;
    double before = seconds_now();
    if (!db_query(db, "SELECT extract(epoch FROM clock_timestamp())", 0, NULL, &r, NULL)) {
        double after = seconds_now(), offset = db_f64(r, 0, 0) - 0.5 * (before + after);
        bool apart = fabs(offset) > APART_S + 0.5 * (after - before);
        doctor_add(d, apart ? GRADE_WARN : GRADE_OK, "database clock", apart ? "let both machines follow one time server" : NULL,
                   "%+.3f s off, asked in %.1f ms", offset, 1e3 * (after - before));
    }
    db_result_free(r);
}

static void check_server(struct doctor *d, const char *url)
{
    struct error err = ERROR_INIT;
    struct db *db = NULL;
    struct db_result *r = NULL;
    enum err e = db_open(url, "nightshift doctor", &db, &err);
    if (!e) e = db_query(db, "SELECT current_setting('server_version_num'), current_setting('server_version'), current_setting('fsync'),"
                             " current_setting('max_connections')", 0, NULL, &r, &err);
    if (e) {
        if (!*err.hint) error_hint(&err, "is the server up, and does DATABASE_URL name it rightly?");
        doctor_add_error(d, "database server", &err);
    } else {
        bool old = db_i64(r, 0, 0) < OLDEST, careless = strcmp(db_text(r, 0, 2), "on") != 0;
        doctor_add(d, old ? GRADE_BAD : careless ? GRADE_WARN : GRADE_OK, "database server",
                   old ? "15 is the oldest that works: upgrade it" : careless ? "turn fsync on: a power cut would cost the catalogue" : NULL,
                   "PostgreSQL %s, fsync %s, %s connections", db_text(r, 0, 1), db_text(r, 0, 2), db_text(r, 0, 3));
        check_server_clock(d, db);
    }
    db_result_free(r);
    db_close(db);
}

static void check_schema(struct doctor *d, const char *answer)
{
    char schema[128], detections[64], objects[64];
    status_value(answer, "schema", schema, sizeof schema);
    status_value(answer, "detections", detections, sizeof detections);
    status_value(answer, "objects", objects, sizeof objects);
    bool pending = strstr(schema, "pending") != NULL;
    doctor_add(d, pending ? GRADE_WARN : GRADE_OK, "database schema", pending ? "`nightshift db migrate`" : NULL, "%.*s%s%s%s%s%s",
               (int)strcspn(schema, ","), schema, pending ? ", migrations are pending" : ", up to date", *detections ? "; detections: " : "",
               detections, *objects ? "; objects: " : "", objects);
}

static void check_state(struct doctor *d, bool ours, char *answer, int code)
{
    char state[64], data[1024], url[4096];
    status_value(answer, "state", state, sizeof state);
    status_value(answer, "data", data, sizeof data);
    bool up = !strcmp(state, "up");
    if (up) {
        snprintf(url, sizeof url, "%s", settings_string(d->settings, SET_DATABASE_URL));
        if (ours && ask_db("url", url, sizeof url) == 0) url[strcspn(url, "\n")] = '\0';
        doctor_add(d, GRADE_OK, "database", NULL, "%s%s", ours ? "the private one is up, in " : "that of DATABASE_URL answers", data);
        check_server(d, url);
        check_schema(d, answer);
    } else if (ours && *state) {
        doctor_add(d, GRADE_OK, "database", "`nightshift db up`, or any verb that needs it", "the private one is %s, in %s", state, data);
    } else {
        doctor_add(d, GRADE_BAD, "database", "see what it says; `nightshift db status` asks again", "%s", last_words(answer));
        d->finding[d->n - 1].code = code == EXIT_USAGE ? ERR_SETTINGS : ERR_DATABASE;
    }
    if (ours && *data) doctor_disk(d, "database", data, false);
}

void doctor_database(struct doctor *d)
{
    char answer[ANSWER];
    bool ours = !*settings_string(d->settings, SET_DATABASE_URL);
    check_programs(d, ours);
    hand_on_settings(d->settings);
    int code = ask_db("status", answer, sizeof answer);
    check_state(d, ours, answer, code);
}
