/* DESIGN. Expat hands over elements; the depth of the element that matters is kept as a state:
 *
 *     OUTSIDE --TABLE--> FIELDS --DATA--> DATA --TABLEDATA--> CELLS (TR, TD)
 *                          |              |----BINARY or BINARY2, STREAM--> STREAM
 *                          '---/TABLE--> DONE: the rest is only checked to be well-formed
 * A failure is kept in `error`; expat is stopped and the feeding call returns it with the line it happened on. */
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/votread_internal.h"

#define DEPTH_MAX 32

enum state { OUTSIDE, FIELDS, DATA, CELLS, STREAM, DONE };

struct votread {
    XML_Parser xml;
    struct votread_sink sink;
    struct error error;
    enum state state;
    int depth;
    struct votread_field *fields;
    struct votread_layout *layouts;
    struct votread_value *values;
    int nfield;
    bool announced;              /* the sink knows the fields */
    bool binary2, in_cell;
    int cell;                    /* of the row: the next TD */
    struct votread_buffer row;   /* TABLEDATA: text of the row's cells, each with a NUL behind it */
    size_t *starts;              /* of each cell in row */
    struct votread_buffer bytes; /* BINARY: decoded, not yet a whole row */
    struct votread_buffer store; /* BINARY: text of one row */
    struct votread_base64 base64;
    int64_t rows;
};

static void fail(struct votread *v, enum err code, const char *what)
{
    if (!v->error.code) ERROR(&v->error, code, "%s", what);
    XML_StopParser(v->xml, XML_FALSE);
}

static const char *attribute(const XML_Char **list, const char *name)
{
    for (int i = 0; list[i]; i += 2) {
        const char *colon = strchr(list[i], ':');
        if (!strcmp(colon ? colon + 1 : list[i], name)) return list[i + 1];
    }
    return NULL;
}

static const char *local_name(const XML_Char *name)
{
    const char *colon = strchr(name, ':');
    return colon ? colon + 1 : name;
}

/* ---- fields --------------------------------------------------------------------------------------------------------- */

/* "5", "*", "5*", "4x3*": a plain number is fixed, a star makes the last dimension free. */
static bool read_arraysize(const char *text, struct votread_layout *l)
{
    int64_t count = 1;
    l->count = 1;
    if (!*text) return true;
    l->array = l->datatype != VT_CHAR && l->datatype != VT_UNICODE;
    for (const char *p = text;;) {
        if (*p == '*') return l->variable = true, !p[1];
        char *end;
        long n = strtol(p, &end, 10);
        if (end == p || n < 0 || n > VOTREAD_ROW_MAX) return false;
        count *= n;
        if (count > VOTREAD_ROW_MAX) return false;
        if (*end == '*') return l->variable = true, !end[1];
        if (!*end) break;
        if (*end != 'x') return false;
        p = end + 1;
    }
    l->count = count;
    if (count == 1 && l->array) l->array = false; /* arraysize="1" is written by many for a scalar */
    return true;
}

static bool copy_text(char **ret, const char *text)
{
    *ret = strdup(text ? text : "");
    return *ret != NULL;
}

static void add_field(struct votread *v, const XML_Char **a)
{
    char number[24];
    if (v->nfield == VOTREAD_COLUMNS_MAX) return fail(v, ERR_UNSUPPORTED, "the table has more than 512 columns");
    struct votread_field *f = &v->fields[v->nfield];
    struct votread_layout *l = &v->layouts[v->nfield];
    const char *name = attribute(a, "name"), *type = attribute(a, "datatype"), *size = attribute(a, "arraysize");
    snprintf(number, sizeof number, "col%d", v->nfield + 1);
    if (!name || !*name) name = attribute(a, "ID");
    if (!name || !*name) name = number;
    *f = (struct votread_field){0};
    *l = (struct votread_layout){0};
    v->nfield++; /* from here on the strings are freed with it */
    bool good = copy_text(&f->name, name) && copy_text(&f->unit, attribute(a, "unit")) && copy_text(&f->ucd, attribute(a, "ucd")) &&
                copy_text(&f->utype, attribute(a, "utype")) && copy_text(&f->xtype, attribute(a, "xtype")) && copy_text(&f->arraysize, size);
    if (!good) return fail(v, ERR_NOMEM, "out of memory");
    if (!votread_datatype_of(type ? type : "", &l->datatype)) return fail(v, ERR_CORRUPT, "a FIELD has no datatype that VOTable knows");
    if (!read_arraysize(size ? size : "", l)) return fail(v, ERR_CORRUPT, "a FIELD has an arraysize that cannot be read");
    f->type = votread_type_of(l);
}

static void set_null(struct votread *v, const char *text)
{
    if (!text || !*text || !v->nfield) return;
    struct votread_layout *l = &v->layouts[v->nfield - 1];
    char *end;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    long long n = strtoll(text, &end, hex ? 16 : 10);
    if (l->datatype < VT_BYTE || l->datatype > VT_LONG || *end || end == text) return; /* of reals NaN is the null */
    l->has_null = true;
    l->null = n;
}

static void announce(struct votread *v)
{
    if (v->announced || v->error.code) return;
    v->announced = true;
    if (!v->nfield) return fail(v, ERR_CORRUPT, "the table has no columns");
    if (v->sink.fields(v->sink.user, v->fields, v->nfield, &v->error)) fail(v, v->error.code, "");
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static void give_row(struct votread *v)
{
    if (v->error.code) return;
    v->rows++;
    if (v->sink.row(v->sink.user, v->values, &v->error)) fail(v, v->error.code ? v->error.code : ERR_INTERNAL, "the row was refused");
}

static void end_row(struct votread *v)
{
    for (int i = 0; i < v->nfield && !v->error.code; i++) {
        char *text = i < v->cell ? v->row.data + v->starts[i] : NULL;
        v->values[i] = (struct votread_value){.null = true};
        if (!text) continue;
        if (votread_cell(&v->layouts[i], text, strlen(text), &v->values[i], &v->error)) fail(v, v->error.code, "");
    }
    give_row(v);
}

static void take_binary(struct votread *v, const char *text, size_t size)
{
    size_t at = 0;
    if (!votread_base64_add(&v->base64, text, size, &v->bytes)) return fail(v, ERR_CORRUPT, "the STREAM is not base64");
    while (at < v->bytes.used && !v->error.code) {
        int64_t n = votread_binary_row(v->layouts, v->nfield, v->binary2, (const unsigned char *)v->bytes.data + at, v->bytes.used - at, &v->store,
                                       v->values, &v->error);
        if (n < 0) return fail(v, v->error.code, "");
        if (n == 0) break;
        at += (size_t)n;
        give_row(v);
    }
    if (at) memmove(v->bytes.data, v->bytes.data + at, v->bytes.used - at);
    v->bytes.used -= at;
}

/* ---- expat ---------------------------------------------------------------------------------------------------------- */

static void start_table(struct votread *v)
{
    if (v->state == OUTSIDE) v->state = FIELDS;
}

static void start_stream(struct votread *v, const XML_Char **a)
{
    const char *encoding = attribute(a, "encoding");
    if (v->state != DATA) return;
    if (attribute(a, "href")) return fail(v, ERR_UNSUPPORTED, "a STREAM by reference is not followed");
    if (!encoding || strcmp(encoding, "base64")) return fail(v, ERR_UNSUPPORTED, "a STREAM must have encoding=\"base64\"");
    v->state = STREAM;
}

static void start_in_data(struct votread *v, const char *name)
{
    if (!strcmp(name, "TABLEDATA")) v->state = CELLS;
    else if (!strcmp(name, "BINARY")) v->binary2 = false;
    else if (!strcmp(name, "BINARY2")) v->binary2 = true;
    else if (!strcmp(name, "FITS")) fail(v, ERR_UNSUPPORTED, "a FITS stream in a VOTable is not read; send TABLEDATA, BINARY or BINARY2");
}

static void start_in_cells(struct votread *v, const char *name)
{
    if (v->in_cell) return fail(v, ERR_CORRUPT, "a cell holds an element");
    if (!strcmp(name, "TR")) {
        v->cell = 0;
        v->row.used = 0;
    } else if (!strcmp(name, "TD")) {
        if (v->cell == v->nfield) return fail(v, ERR_CORRUPT, "a row has more cells than the table has columns");
        v->starts[v->cell++] = v->row.used;
        v->in_cell = true;
    }
}

static void XMLCALL start_element(void *user, const XML_Char *full, const XML_Char **a)
{
    struct votread *v = user;
    const char *name = local_name(full);
    if (v->error.code) return;
    if (++v->depth > DEPTH_MAX) return fail(v, ERR_CORRUPT, "elements are nested deeper than 32");
    if (v->depth == 1 && strcmp(name, "VOTABLE")) return fail(v, ERR_CORRUPT, "the document is no VOTable");
    if (v->state == CELLS) return start_in_cells(v, name);
    if (!strcmp(name, "TABLE")) start_table(v);
    else if (v->state == FIELDS && !strcmp(name, "FIELD")) add_field(v, a);
    else if (v->state == FIELDS && !strcmp(name, "VALUES")) set_null(v, attribute(a, "null"));
    else if (v->state == FIELDS && !strcmp(name, "DATA")) announce(v), v->state = DATA;
    else if (!strcmp(name, "STREAM")) start_stream(v, a);
    else if (v->state == DATA) start_in_data(v, name);
}

static void end_in_cells(struct votread *v, const char *name)
{
    if (!strcmp(name, "TD")) {
        v->in_cell = false;
        if (!votread_append(&v->row, "", 1, VOTREAD_ROW_MAX)) fail(v, ERR_CORRUPT, "a row of more than 4 MiB, or no memory");
    } else if (!strcmp(name, "TR")) {
        end_row(v);
    } else if (!strcmp(name, "TABLEDATA")) {
        v->state = DATA;
    }
}

static void XMLCALL end_element(void *user, const XML_Char *full)
{
    struct votread *v = user;
    const char *name = local_name(full);
    if (v->error.code) return;
    v->depth--;
    if (v->state == CELLS) return end_in_cells(v, name);
    if (v->state == STREAM && !strcmp(name, "STREAM")) {
        if (v->bytes.used || v->base64.n) return fail(v, ERR_CORRUPT, "the STREAM ends in the middle of a row");
        v->state = DATA;
    } else if (v->state != OUTSIDE && v->state != DONE && !strcmp(name, "TABLE")) {
        announce(v);
        v->state = DONE;
    }
}

static void XMLCALL characters(void *user, const XML_Char *text, int size)
{
    struct votread *v = user;
    if (v->error.code) return;
    if (v->state == STREAM) take_binary(v, text, (size_t)size);
    else if (v->state == CELLS && v->in_cell && !votread_append(&v->row, text, (size_t)size, VOTREAD_ROW_MAX))
        fail(v, ERR_CORRUPT, "a row of more than 4 MiB, or no memory");
    else if (v->state == CELLS && v->in_cell && v->row.used - v->starts[v->cell - 1] > VOTREAD_CELL_MAX) fail(v, ERR_CORRUPT, "a cell of more than 1 MiB");
}

static void XMLCALL doctype(void *user, const XML_Char *name, const XML_Char *system, const XML_Char *public, int subset)
{
    (void)name, (void)system, (void)public, (void)subset;
    fail(user, ERR_UNSUPPORTED, "a document type declaration is refused");
}

/* ---- life ----------------------------------------------------------------------------------------------------------- */

enum err votread_new(const struct votread_sink *sink, struct votread **ret, struct error *err)
{
    struct votread *v = calloc(1, sizeof *v);
    if (v) {
        v->sink = *sink;
        v->xml = XML_ParserCreate(NULL);
        v->fields = calloc(VOTREAD_COLUMNS_MAX, sizeof *v->fields);
        v->layouts = calloc(VOTREAD_COLUMNS_MAX, sizeof *v->layouts);
        v->values = calloc(VOTREAD_COLUMNS_MAX, sizeof *v->values);
        v->starts = calloc(VOTREAD_COLUMNS_MAX, sizeof *v->starts);
    }
    if (!v || !v->xml || !v->fields || !v->layouts || !v->values || !v->starts) {
        votread_free(v);
        return ERROR(err, ERR_NOMEM, "could not get memory for a VOTable reader");
    }
    XML_SetUserData(v->xml, v);
    XML_SetElementHandler(v->xml, start_element, end_element);
    XML_SetCharacterDataHandler(v->xml, characters);
    XML_SetStartDoctypeDeclHandler(v->xml, doctype);
    *ret = v;
    return ERR_OK;
}

static enum err parse(struct votread *v, const char *data, size_t size, bool final, struct error *err)
{
    enum XML_Status status = v->error.code ? XML_STATUS_ERROR : XML_Parse(v->xml, data, (int)size, final);
    if (status == XML_STATUS_OK && !v->error.code) return ERR_OK;
    unsigned long line = XML_GetCurrentLineNumber(v->xml);
    if (!v->error.code) {
        enum XML_Error code = XML_GetErrorCode(v->xml);
        ERROR(&v->error, code == XML_ERROR_NO_MEMORY ? ERR_NOMEM : ERR_CORRUPT, "line %lu of the VOTable: %s", line, XML_ErrorString(code));
    } else if (strncmp(v->error.message, "line ", 5) && v->error.code != ERR_DATABASE && v->error.code != ERR_INTERRUPTED) {
        char message[sizeof v->error.message];
        snprintf(message, sizeof message, "%.600s", v->error.message);
        ERROR(&v->error, v->error.code, "line %lu of the VOTable: %.580s", line, message);
    }
    if (err) *err = v->error;
    return v->error.code;
}

enum err votread_feed(struct votread *v, const char *data, size_t size, struct error *err)
{
    enum err e = ERR_OK;
    for (size_t at = 0; at < size && !e;) { /* expat counts in int */
        size_t n = size - at < (1 << 20) ? size - at : 1 << 20;
        e = parse(v, data + at, n, false, err);
        at += n;
    }
    return e;
}

enum err votread_end(struct votread *v, struct error *err)
{
    enum err e = parse(v, "", 0, true, err);
    if (e) return e;
    if (v->state != DONE) return ERROR(err, ERR_CORRUPT, "the VOTable has no table");
    return ERR_OK;
}

void votread_free(struct votread *v)
{
    if (!v) return;
    if (v->xml) XML_ParserFree(v->xml);
    for (int i = 0; i < v->nfield; i++) {
        struct votread_field *f = &v->fields[i];
        char *texts[] = {f->name, f->unit, f->ucd, f->utype, f->xtype, f->arraysize};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) free(texts[k]);
    }
    free(v->fields);
    free(v->layouts);
    free(v->values);
    free(v->starts);
    free(v->row.data);
    free(v->bytes.data);
    free(v->store.data);
    free(v);
}

int64_t votread_rows(const struct votread *v)
{
    return v->rows;
}
