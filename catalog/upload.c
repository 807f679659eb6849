#include "catalog/upload.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "catalog/votread.h"
#include "common/db_copy.h"
#include "common/hpx.h"
#include "common/http.h"

#define FLUSH       (256 * 1024)
#define INDEX_ROWS  1000     /* smaller tables are read whole */
#define NAME_MAX_SQL 63      /* bytes of an identifier */
#define HPX_COLUMN  "ns_hpx29"

/* ---- the parameter --------------------------------------------------------------------------------------------------- */

static bool name_is_good(const char *name, size_t n)
{
    if (!n || n >= sizeof ((struct upload_source *)0)->table || isdigit((unsigned char)*name)) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_') return false;
    return true;
}

static enum err add_source(const char *item, size_t size, struct upload_list *list, struct error *err)
{
    const char *comma = memchr(item, ',', size);
    size_t n = comma ? (size_t)(comma - item) : 0;
    if (!comma || !name_is_good(item, n)) return ERROR(err, ERR_USAGE, "UPLOAD is '%.*s', not TABLE,URI", (int)(size < 200 ? size : 200), item);
    if (list->n == UPLOADS_MAX) return ERROR(err, ERR_USAGE, "more than %d tables are uploaded", UPLOADS_MAX);
    for (int i = 0; i < list->n; i++)
        if (strlen(list->sources[i].table) == n && !strncasecmp(list->sources[i].table, item, n))
            return ERROR(err, ERR_USAGE, "table '%s' is uploaded twice", list->sources[i].table);
    size_t rest = size - n - 1;
    struct upload_source *s = &list->sources[list->n];
    if (!rest || rest >= sizeof s->uri) return ERROR(err, ERR_USAGE, "the URI of upload '%.*s' is empty or too long", (int)n, item);
    *s = (struct upload_source){0};
    memcpy(s->table, item, n);
    memcpy(s->uri, comma + 1, rest);
    list->n++;
    return ERR_OK;
}

enum err upload_list_parse(const char *value, struct upload_list *list, struct error *err)
{
    for (const char *p = value; *p;) {
        size_t n = strcspn(p, ";");
        if (n) {
            enum err e = add_source(p, n, list, err);
            if (e) return e;
        }
        p += n + (p[n] == ';');
    }
    return ERR_OK;
}

/* ---- one table ------------------------------------------------------------------------------------------------------ */

struct loader {
    struct db *db;
    const struct upload_limits *limits;
    struct arena *arena;
    struct schema_table *table;
    struct copy_buffer copy;
    int nfield;
    bool copying;
    int64_t rows;
};

static bool has_word(const char *ucd, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = ucd; *p; p += strcspn(p, ";")) {
        p += *p == ';';
        if (!strncasecmp(p, word, n) && (!p[n] || p[n] == ';')) return true;
    }
    return false;
}

/* The column that is an angle of the position: by UCD, the main one first, else by name. */
static int position_column(const struct votread_field *f, int n, const char *ucd, const char *ucd1, const char *const *names)
{
    int found = -1;
    for (int i = 0; i < n; i++) {
        bool number = f[i].type == SCHEMA_DOUBLE || f[i].type == SCHEMA_FLOAT;
        if (!number || (*f[i].unit && strncasecmp(f[i].unit, "deg", 3))) continue;
        if (!strcasecmp(f[i].ucd, ucd1) || (has_word(f[i].ucd, ucd) && has_word(f[i].ucd, "meta.main"))) return i;
        if (found < 0 && !strncasecmp(f[i].ucd, ucd, strlen(ucd))) found = i;
    }
    for (int k = 0; names[k] && found < 0; k++)
        for (int i = 0; i < n && found < 0; i++)
            if (!strcasecmp(f[i].name, names[k]) && (f[i].type == SCHEMA_DOUBLE || f[i].type == SCHEMA_FLOAT)) found = i;
    return found;
}

static const char *kept(struct loader *l, const char *text)
{
    const char *copy = *text ? arena_strdup(l->arena, text) : "";
    return copy ? copy : "";
}

static enum err describe(struct loader *l, const struct votread_field *f, int n, struct error *err)
{
    static const char *const ras[] = {"ra", "raj2000", "ra_deg", "_ra", "lon", NULL}, *const decs[] = {"dec", "dej2000", "decj2000", "dec_deg", "_dec", "lat", NULL};
    struct schema_table *t = l->table;
    t->columns = arena_array(l->arena, (size_t)n + 1, sizeof *t->columns);
    if (!t->columns) return ERROR(err, ERR_NOMEM, "could not get memory for %d columns", n);
    for (int i = 0; i < n; i++) {
        size_t length = strlen(f[i].name);
        if (length > NAME_MAX_SQL) return ERROR(err, ERR_USAGE, "the name of column '%s' has more than %d bytes", f[i].name, NAME_MAX_SQL);
        if (schema_column_find(t, f[i].name) >= 0 || !strcasecmp(f[i].name, HPX_COLUMN))
            return ERROR(err, ERR_USAGE, "column '%s' is there twice (case does not count)", f[i].name);
        bool text = f[i].type == SCHEMA_TEXT;
        t->columns[t->ncol++] = (struct schema_column){
            .name = kept(l, f[i].name), .type = f[i].type, .unit = kept(l, f[i].unit), .ucd = kept(l, f[i].ucd), .ucd1 = "", .utype = kept(l, f[i].utype),
            .xtype = kept(l, f[i].xtype), .arraysize = text ? "*" : "", .description = ""};
    }
    t->ra = position_column(f, n, "pos.eq.ra", "POS_EQ_RA_MAIN", ras);
    t->dec = position_column(f, n, "pos.eq.dec", "POS_EQ_DEC_MAIN", decs);
    return ERR_OK;
}

/* CREATE TEMP TABLE upload_N ("name" type, ..., ns_hpx29 bigint) ON COMMIT DROP. Returned: malloc'd */
static char *create_statement(const struct schema_table *t, const char *relation)
{
    char *sql = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&sql, &size);
    if (!f) return NULL;
    fprintf(f, "CREATE TEMP TABLE %s (", relation);
    for (int i = 0; i < t->ncol; i++) {
        fputc('"', f);
        for (const char *c = t->columns[i].name; *c; c++) {
            if (*c == '"') fputc('"', f);
            fputc(*c, f);
        }
        fprintf(f, "\" %s, ", schema_sql_type(t->columns[i].type));
    }
    fprintf(f, HPX_COLUMN " bigint) ON COMMIT DROP");
    return fclose(f) ? (free(sql), NULL) : sql;
}

static enum err take_fields(void *user, const struct votread_field *f, int n, struct error *err)
{
    struct loader *l = user;
    char copy[128];
    const char *relation = strchr(l->table->relation, '.') + 1;
    enum err e = describe(l, f, n, err);
    if (e) return e;
    char *sql = create_statement(l->table, relation);
    if (!sql) return ERROR(err, ERR_NOMEM, "could not get memory for a table");
    e = db_exec(l->db, sql, err);
    free(sql);
    snprintf(copy, sizeof copy, "COPY pg_temp.%s FROM STDIN BINARY", relation);
    if (!e) e = db_copy_in(l->db, copy, err);
    l->copying = !e;
    l->nfield = n;
    copy_start(&l->copy);
    return e;
}

static void put_value(struct copy_buffer *b, enum schema_type type, const struct votread_value *v)
{
    if (v->null) copy_null(b);
    else if (type == SCHEMA_BOOLEAN) copy_bool(b, v->i != 0);
    else if (type == SCHEMA_SHORT) copy_i16(b, (int16_t)v->i);
    else if (type == SCHEMA_INT) copy_i32(b, (int32_t)v->i);
    else if (type == SCHEMA_LONG) copy_i64(b, v->i);
    else if (type == SCHEMA_FLOAT) copy_f32_any(b, (float)v->d);
    else if (type == SCHEMA_DOUBLE) copy_f64_any(b, v->d);
    else copy_bytes(b, v->text, v->size);
}

static enum err flush(struct loader *l, struct error *err)
{
    if (l->copy.failed) return ERROR(err, ERR_NOMEM, "could not get memory for rows");
    enum err e = l->copy.size ? db_copy_put(l->db, l->copy.data, l->copy.size, err) : ERR_OK;
    l->copy.size = 0;
    return e;
}

static enum err take_row(void *user, const struct votread_value *v, struct error *err)
{
    struct loader *l = user;
    const struct schema_table *t = l->table;
    if (++l->rows > l->limits->rows_max)
        return ERROR(err, ERR_USAGE, "the table has more than %lld rows, which is all this service takes", (long long)l->limits->rows_max);
    copy_row(&l->copy, l->nfield + 1);
    for (int i = 0; i < l->nfield; i++) put_value(&l->copy, t->columns[i].type, &v[i]);
    bool placed = t->ra >= 0 && t->dec >= 0 && !v[t->ra].null && !v[t->dec].null;
    int64_t pix = placed ? hpx_of(v[t->ra].d, v[t->dec].d) : -1;
    if (pix < 0) copy_null(&l->copy);
    else copy_i64(&l->copy, pix);
    return l->copy.size > FLUSH ? flush(l, err) : ERR_OK;
}

static enum err finish_copy(struct loader *l, struct error *err)
{
    struct schema_table *t = l->table;
    const char *relation = strchr(t->relation, '.') + 1;
    copy_finish(&l->copy);
    enum err e = flush(l, err);
    if (!e) e = db_copy_end(l->db, NULL, err);
    if (e) return e;
    l->copying = false;
    if (t->ra >= 0 && t->dec >= 0) { /* from here on it is a column like others; it is not offered to the query */
        t->columns[t->ncol] = (struct schema_column){.name = HPX_COLUMN, .type = SCHEMA_LONG, .unit = "", .ucd = "", .ucd1 = "", .utype = "", .xtype = "",
                                                     .arraysize = "", .description = ""};
        t->hpx = t->ncol;
        if (l->rows >= INDEX_ROWS) e = db_execf(l->db, err, "CREATE INDEX ON pg_temp.%s (" HPX_COLUMN ")", relation);
    }
    return e ? e : db_execf(l->db, err, "ANALYZE pg_temp.%s", relation);
}

/* ---- where the bytes come from ----------------------------------------------------------------------------------------- */

static enum err feed(void *user, const char *data, size_t size, struct error *err)
{
    return votread_feed(user, data, size, err);
}

static enum err read_body(const struct upload_source *s, struct votread *v, struct error *err)
{
    enum err e = ERR_OK;
    char *block = malloc(FLUSH);
    if (!block) return ERROR(err, ERR_NOMEM, "could not get memory to read an upload");
    for (int64_t at = 0; at < s->size && !e;) {
        int64_t n = s->size - at < FLUSH ? s->size - at : FLUSH;
        n = s->read(s->user, s->offset + at, block, (size_t)n);
        e = n > 0 ? votread_feed(v, block, (size_t)n, err) : ERROR(err, ERR_IO, "could not read the upload back");
        at += n;
    }
    free(block);
    return e;
}

static enum err read_url(const struct upload_source *s, const struct upload_limits *limits, struct votread *v, struct error *err)
{
    bool open = !strcmp(limits->url_hosts, "public");
    if (!strcmp(limits->url_hosts, "none")) {
        ERROR(err, ERR_USAGE, "this service does not fetch tables by URL");
        error_hint(err, "send the table with the request: UPLOAD=name,param:part");
        return ERR_USAGE;
    }
    struct http_fetch o = {.trusted = open ? "" : limits->url_hosts, .only_trusted = !open, .bytes_max = limits->bytes_max, .seconds_max = limits->url_seconds,
                           .sink = feed, .user = v};
    return http_fetch(s->uri, &o, err);
}

static enum err load_one(struct loader *l, const struct upload_source *s, struct error *err)
{
    struct votread *v = NULL;
    const struct votread_sink sink = {.fields = take_fields, .row = take_row, .user = l};
    enum err e = votread_new(&sink, &v, err);
    if (!e) e = s->read ? read_body(s, v, err) : read_url(s, l->limits, v, err);
    if (!e) e = votread_end(v, err);
    votread_free(v);
    if (!e) e = finish_copy(l, err);
    if (e && l->copying) db_copy_abort(l->db, "upload refused");
    copy_release(&l->copy);
    if (e == ERR_CORRUPT || e == ERR_UNSUPPORTED || e == ERR_IO) e = err ? (err->code = ERR_USAGE) : ERR_USAGE; /* the reader's mistake, not ours */
    return e;
}

enum err upload_load(struct db *db, const struct upload_list *list, const struct upload_limits *limits, struct upload_set *ret, struct error *err)
{
    enum err e = ERR_OK;
    *ret = (struct upload_set){.arena = arena_new(64 << 20)};
    if (!ret->arena) return ERROR(err, ERR_NOMEM, "could not get memory for uploads");
    for (int i = 0; i < list->n && !e; i++) {
        char relation[32];
        snprintf(relation, sizeof relation, "pg_temp.upload_%d", i + 1);
        struct schema_table *t = arena_zalloc(ret->arena, sizeof *t);
        const char *name = arena_strdup(ret->arena, list->sources[i].table), *rel = arena_strdup(ret->arena, relation);
        if (!t || !name || !rel) return ERROR(err, ERR_NOMEM, "could not get memory for uploads");
        *t = (struct schema_table){.schema = "tap_upload", .name = name, .full = name, .relation = rel, .kind = "table", .utype = "", .description = "uploaded",
                                   .ra = -1, .dec = -1, .hpx = -1};
        struct loader l = {.db = db, .limits = limits, .arena = ret->arena, .table = t};
        e = load_one(&l, &list->sources[i], err);
        ret->tables[i] = (struct adql_upload){.table = t, .nrow = l.rows};
        ret->n = i + 1;
    }
    return e;
}

void upload_set_release(struct upload_set *s)
{
    arena_free(s->arena);
    *s = (struct upload_set){0};
}
