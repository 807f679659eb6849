/* The translator for the Python tests: a line of JSON in, a line of JSON out.
 *     adql_tool [DATABASE URL]
 *     {"query": "...", "maxrec": -1, "uploads": [{"name", "relation", "nrow", "columns": [[name, type, unit]], "position": [ra, dec, hpx]}],
 *      "run": true, "explain": false, "settings": "SET LOCAL ..."}
 *     {"sql", "columns", "top", "indexed", "preludes", "jury", "rows"} or {"error", "hint"}; "sqlerror" when the database refuses */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "catalog/adql.h"
#include "common/db.h"
#include "tests/catalog/sql_jury.h"

#define UPLOADS_MAX 16

struct uploads {
    struct schema_table tables[UPLOADS_MAX];
    struct adql_upload uploads[UPLOADS_MAX];
    int n;
};

static enum schema_type type_named(const char *name)
{
    static const char *const names[] = {"boolean", "short", "int", "long", "float", "double", "text", "timestamp"};
    for (int i = 0; i < 8; i++)
        if (!strcmp(names[i], name)) return (enum schema_type)i;
    fprintf(stderr, "adql_tool: no type '%s'\n", name);
    exit(2);
}

static const char *text_at(json_t *list, size_t i)
{
    const char *s = json_string_value(json_array_get(list, i));
    return s ? s : "";
}

static void read_uploads(json_t *in, struct uploads *u)
{
    size_t i, k;
    json_t *one, *column;
    u->n = 0;
    json_array_foreach(in, i, one) {
        struct schema_table *t = &u->tables[u->n];
        json_t *columns = json_object_get(one, "columns"), *position = json_object_get(one, "position");
        const char *schema = json_string_value(json_object_get(one, "schema"));
        *t = (struct schema_table){.schema = schema ? schema : "tap_upload", .name = json_string_value(json_object_get(one, "name")),
                                   .relation = json_string_value(json_object_get(one, "relation")), .ra = -1, .dec = -1, .hpx = -1};
        t->columns = calloc(json_array_size(columns), sizeof *t->columns);
        json_array_foreach(columns, k, column) {
            t->columns[t->ncol++] = (struct schema_column){.name = text_at(column, 0), .type = type_named(text_at(column, 1)), .unit = text_at(column, 2),
                                                           .xtype = text_at(column, 3), .ucd = "", .ucd1 = "", .utype = "", .arraysize = "", .description = ""};
        }
        int *where[] = {&t->ra, &t->dec, &t->hpx};
        for (size_t p = 0; p < json_array_size(position) && p < 3; p++) *where[p] = schema_column_find(t, text_at(position, p));
        u->uploads[u->n++] = (struct adql_upload){t, json_integer_value(json_object_get(one, "nrow"))};
    }
}

static const char *judged(const char *sql, const struct schema *s, const struct uploads *u, char *buf, size_t size)
{
    const char **relations = calloc((size_t)s->ntable + (size_t)u->n + 1, sizeof *relations);
    int n = 0;
    for (int i = 0; i < s->ntable; i++) relations[n++] = s->tables[i].relation;
    for (int i = 0; i < u->n; i++) relations[n++] = u->tables[i].relation;
    const char *verdict = sql_jury(sql, relations, buf, size);
    free(relations);
    return verdict;
}

static enum err one_row(void *user, const struct db_result *row, struct error *err)
{
    (void)err;
    json_t *r = json_array();
    for (int i = 0; i < db_ncol(row); i++) json_array_append_new(r, db_is_null(row, 0, i) ? json_null() : json_string(db_text(row, 0, i)));
    json_array_append_new(user, r);
    return ERR_OK;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run(struct db *db, const struct adql_result *r, json_t *in, json_t *out)
{
    struct error err = ERROR_INIT;
    json_t *rows = json_array();
    const char *settings = json_string_value(json_object_get(in, "settings"));
    size_t room = strlen(r->sql) + 40;
    char *sql = malloc(room);
    snprintf(sql, room, "%s%s", json_is_true(json_object_get(in, "explain")) ? "EXPLAIN " : "", r->sql);
    double start = seconds();
    enum err e = db_begin(db, &err);
    if (!e && settings) e = db_exec(db, settings, &err);
    if (!e) e = adql_prepare(db, r, 0, &err);
    json_object_set_new(out, "prepare_s", json_real(seconds() - start));
    if (!e) e = db_exec(db, "SET TRANSACTION READ ONLY", &err);
    if (!e) e = db_stream(db, NULL, sql, 0, NULL, false, one_row, rows, &err);
    json_object_set_new(out, "run_s", json_real(seconds() - start));
    if (e) json_object_set_new(out, "sqlerror", json_string(err.message));
    db_rollback(db);
    json_object_set_new(out, "rows", rows);
    free(sql);
}

static json_t *described(const struct adql_result *r)
{
    json_t *all = json_array();
    static const char *const names[] = {"boolean", "short", "int", "long", "float", "double", "text", "timestamp"};
    for (int i = 0; i < r->ncol; i++) {
        const struct adql_column *k = &r->columns[i];
        json_array_append_new(all, json_pack("{ss ss ss ss ss ss ss sb}", "name", k->name, "type", names[k->type], "unit", k->unit, "ucd", k->ucd, "utype", k->utype,
                                             "xtype", k->xtype, "description", k->description, "column", k->source != NULL));
    }
    return all;
}

static json_t *answer(json_t *in, const struct schema *s, struct db *db)
{
    struct uploads u;
    struct error err = ERROR_INIT;
    struct adql_result r = {0};
    char buf[600];
    json_t *maxrec = json_object_get(in, "maxrec"), *out = json_object();
    read_uploads(json_object_get(in, "uploads"), &u);
    struct adql_options opt = {.maxrec = maxrec ? json_integer_value(maxrec) : -1, .uploads = u.uploads, .nupload = u.n};
    const char *query = json_string_value(json_object_get(in, "query"));
    enum err e = adql_translate(query ? query : "", s, &opt, &r, &err);
    if (e) {
        json_object_set_new(out, "error", json_string(err.message));
        json_object_set_new(out, "hint", json_string(err.hint));
        json_object_set_new(out, "code", json_string(err_name(e)));
    } else {
        const char *verdict = judged(r.sql, s, &u, buf, sizeof buf);
        json_t *preludes = json_array();
        for (int i = 0; i < r.nprelude; i++) {
            json_array_append_new(preludes, json_string(r.preludes[i].read));
            if (!verdict) verdict = judged(r.preludes[i].read, s, &u, buf, sizeof buf);
        }
        json_object_set_new(out, "sql", json_string(r.sql));
        json_object_set_new(out, "columns", described(&r));
        json_object_set_new(out, "top", json_integer(r.top));
        json_object_set_new(out, "indexed", json_boolean(r.indexed));
        json_object_set_new(out, "preludes", preludes);
        json_object_set_new(out, "jury", verdict ? json_string(verdict) : json_null());
        if (db && json_is_true(json_object_get(in, "run"))) run(db, &r, in, out);
    }
    for (int i = 0; i < u.n; i++) free(u.tables[i].columns);
    adql_release(&r);
    return out;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct schema *s = NULL;
    struct db *db = NULL;
    char *line = NULL;
    size_t room = 0;
    if (schema_load(&s, &err) || (argc > 1 && db_open(argv[1], "adql_tool", &db, &err))) {
        fprintf(stderr, "adql_tool: %s\n", err.message);
        return 2;
    }
    while (getline(&line, &room, stdin) > 0) {
        json_error_t je;
        json_t *in = json_loads(line, JSON_ALLOW_NUL, &je), *out = in ? answer(in, s, db) : json_pack("{ss}", "fault", je.text);
        char *text = json_dumps(out, JSON_COMPACT | JSON_ENCODE_ANY);
        puts(text ? text : "{\"fault\": \"no JSON\"}");
        fflush(stdout);
        free(text);
        json_decref(out);
        json_decref(in);
    }
    free(line);
    db_close(db);
    schema_free(s);
    return 0;
}
