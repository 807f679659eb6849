/* Lists of positions: CSV or a FITS table. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"
#include "common/atomicfile.h"
#include "common/frameio.h"
#include "pipeline/forced.h"

#define LIST_MAX  50000000
#define FILE_MAX  (4LL << 30)
#define NAME_WIDTH 64  /* characters of an id that are kept */
#define CELLS_OF_A_LINE 1024

static const char *const id_names[] = {"id", "object_id", "source_id", "objectid", "number", "name", NULL};
static const char *const ra_names[] = {"ra", "alpha_j2000", "raj2000", "ra_deg", "ra_icrs", NULL};
static const char *const dec_names[] = {"dec", "delta_j2000", "dej2000", "decj2000", "dec_deg", "de_icrs", NULL};
static const char *const x_names[] = {"x", "x_image", "xpix", NULL};
static const char *const y_names[] = {"y", "y_image", "ypix", NULL};

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (!strcasecmp(name, *names)) return true;
    return false;
}

/* Which columns hold what; -1: none. */
struct places {
    int id, a, b;
    bool on_sky;
};

static enum err find_places(const char *const *names, int n, struct places *ret, struct error *err)
{
    int ra = -1, dec = -1, x = -1, y = -1;
    *ret = (struct places){-1, -1, -1, false};
    for (int i = n - 1; i >= 0; i--) { /* the first of several wins */
        if (is_one_of(names[i], id_names)) ret->id = i;
        if (is_one_of(names[i], ra_names)) ra = i;
        if (is_one_of(names[i], dec_names)) dec = i;
        if (is_one_of(names[i], x_names)) x = i;
        if (is_one_of(names[i], y_names)) y = i;
    }
    ret->on_sky = ra >= 0 && dec >= 0;
    ret->a = ret->on_sky ? ra : x;
    ret->b = ret->on_sky ? dec : y;
    if (ret->a < 0 || ret->b < 0) {
        enum err e = ERROR(err, ERR_NOT_FOUND, "the list of positions has neither columns ra, dec nor x, y");
        error_hint(err, "name them in the first line of the CSV file or in the FITS table");
        return e;
    }
    return ERR_OK;
}

void forced_list_release(struct forced_list *l)
{
    free(l->id);
    free(l->name);
    free(l->a);
    free(l->b);
    *l = (struct forced_list){0};
}

static enum err list_alloc(struct forced_list *l, int64_t n, struct error *err)
{
    size_t room = (size_t)(n ? n : 1);
    l->n = n;
    l->name_width = NAME_WIDTH;
    l->id = mem_array(room, sizeof *l->id);
    l->name = mem_zarray(room, NAME_WIDTH);
    l->a = mem_array(room, sizeof *l->a);
    l->b = mem_array(room, sizeof *l->b);
    l->numbers = true;
    if (l->id && l->name && l->a && l->b) return ERR_OK;
    return ERROR(err, ERR_NOMEM, "no memory for %lld positions", (long long)n);
}

/* The id of row i as it was written. */
static void set_id(struct forced_list *l, int64_t i, const char *text)
{
    char *end;
    snprintf(l->name + i * l->name_width, (size_t)l->name_width, "%s", text);
    errno = 0;
    long long v = strtoll(text, &end, 10);
    bool number = *text && !*end && !errno;
    l->id[i] = number ? v : i + 1;
    l->numbers &= number;
}

/* Words for ids: then rows have numbers of their own. */
static void settle_ids(struct forced_list *l)
{
    if (l->numbers) {
        free(l->name);
        l->name = NULL;
        return;
    }
    for (int64_t i = 0; i < l->n; i++) l->id[i] = i + 1;
}

/* ---- CSV -------------------------------------------------------------------------------------------------------------- */

/* The next cell of a line, trimmed, without its quotes; *line moves behind it. The text is changed. false: no more. */
static bool next_cell(char **line, char **ret)
{
    char *p = *line;
    if (!p) return false;
    while (*p == ' ' || *p == '\t') p++;
    char *end;
    if (*p == '"') {
        end = strchr(++p, '"');
        if (end) *end++ = 0;
        char *comma = end ? strchr(end, ',') : NULL;
        *line = comma ? comma + 1 : NULL;
        *ret = p;
        return true;
    }
    end = strchr(p, ',');
    *line = end ? end + 1 : NULL;
    if (!end) end = p + strlen(p);
    *end = 0;
    while (end > p && isspace((unsigned char)end[-1])) *--end = 0;
    *ret = p;
    return true;
}

static int split_line(char *line, char **cell, int most)
{
    int n = 0;
    while (n < most && next_cell(&line, &cell[n])) n++;
    return n;
}

/* A number, or NaN for an empty cell. */
static enum err read_number(const char *text, const char *path, int64_t line, double *ret, struct error *err)
{
    char *end;
    *ret = NAN;
    if (!*text) return ERR_OK;
    double v = strtod(text, &end);
    if (*end) return ERROR(err, ERR_CORRUPT, "'%s' line %lld: '%.40s' is not a number (positions are in degrees or pixels)", path, (long long)line, text);
    *ret = v;
    return ERR_OK;
}

static bool is_data(const char *line)
{
    while (isspace((unsigned char)*line)) line++;
    return *line && *line != '#';
}

static int64_t count_lines(const char *text)
{
    int64_t n = 1;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static enum err parse_rows(char *text, const char *path, struct forced_list *l, struct error *err)
{
    char *cell[CELLS_OF_A_LINE];
    struct places p = {0};
    bool headed = false;
    int64_t number = 0;
    l->n = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        number++;
        if (!is_data(line)) continue;
        int n = split_line(line, cell, CELLS_OF_A_LINE);
        if (!headed) {
            enum err e = find_places((const char *const *)cell, n, &p, err);
            if (e) return e;
            headed = true;
            continue;
        }
        if (n <= p.a || n <= p.b) return ERROR(err, ERR_CORRUPT, "'%s' line %lld has %d cells, its header names more", path, (long long)number, n);
        enum err e = read_number(cell[p.a], path, number, &l->a[l->n], err);
        if (!e) e = read_number(cell[p.b], path, number, &l->b[l->n], err);
        if (e) return e;
        char own[24];
        snprintf(own, sizeof own, "%lld", (long long)l->n + 1);
        set_id(l, l->n, p.id >= 0 && p.id < n ? cell[p.id] : own);
        l->n++;
    }
    if (!headed) return ERROR(err, ERR_CORRUPT, "'%s' holds no positions", path);
    l->on_sky = p.on_sky;
    settle_ids(l);
    return ERR_OK;
}

enum err forced_list_parse(const char *text, size_t size, const char *path, struct forced_list *ret, struct error *err)
{
    struct forced_list l = {0};
    if (memchr(text, 0, size)) return ERROR(err, ERR_CORRUPT, "'%s' is neither a FITS table nor CSV", path);
    char *copy = mem_array(size + 1, 1);
    if (!copy) return ERROR(err, ERR_NOMEM, "no memory for '%s'", path);
    memcpy(copy, text, size);
    copy[size] = 0;
    int64_t lines = count_lines(copy);
    enum err e = lines > LIST_MAX ? ERROR(err, ERR_UNSUPPORTED, "'%s' has more than %d positions", path, LIST_MAX) : list_alloc(&l, lines, err);
    if (!e) e = parse_rows(copy, path, &l, err);
    free(copy);
    if (e) {
        forced_list_release(&l);
        return e;
    }
    *ret = l;
    return ERR_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------------ */

static enum err read_text(const char *path, char **ret, size_t *ret_size, struct error *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) return error_from_errno(err, errno, path, "open");
    enum err e = ERR_OK;
    char *text = NULL;
    long size = -1;
    if (fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET)) e = error_from_errno(err, errno, path, "read");
    if (!e && size > FILE_MAX) e = ERROR(err, ERR_UNSUPPORTED, "'%s' is too large for a list of positions", path);
    if (!e && !(text = mem_array((size_t)size + 1, 1))) e = ERROR(err, ERR_NOMEM, "no memory for '%s'", path);
    if (!e && fread(text, 1, (size_t)size, f) != (size_t)size) e = ERROR(err, ERR_IO, "could not read '%s'", path);
    fclose(f);
    if (e) {
        free(text);
        return e;
    }
    *ret = text;
    *ret_size = (size_t)size;
    return ERR_OK;
}

/* Values of a numeric column. */
static enum err take_numbers(struct table *t, int col, double *ret, struct error *err)
{
    const double *v = table_f64(t, col);
    if (!v && table_is_numeric(t, col)) return ERROR(err, ERR_NOMEM, "no memory for column %s", table_column_name(t, col));
    if (!v || table_repeat(t, col) != 1) return ERROR(err, ERR_CORRUPT, "column %s does not hold numbers", table_column_name(t, col));
    for (int64_t i = 0; i < table_nrow(t); i++) ret[i] = v[i];
    return ERR_OK;
}

static void take_ids(struct table *t, int col, struct forced_list *l)
{
    const int64_t *v = col >= 0 ? table_i64(t, col) : NULL;
    char text[32];
    for (int64_t i = 0; i < l->n; i++) {
        const char *word = col >= 0 && !v ? table_str(t, col, i) : NULL;
        snprintf(text, sizeof text, "%lld", (long long)(v ? v[i] : i + 1));
        set_id(l, i, word ? word : text);
    }
    settle_ids(l);
}

static enum err read_table(const char *path, struct forced_list *ret, struct error *err)
{
    struct table *t = NULL;
    struct forced_list l = {0};
    struct places p;
    const char *names[CELLS_OF_A_LINE];
    enum err e = table_read(path, NULL, 0, &t, err);
    if (!e && table_nrow(t) > LIST_MAX) e = ERROR(err, ERR_UNSUPPORTED, "'%s' has more than %d positions", path, LIST_MAX);
    if (!e) {
        int n = table_ncol(t) < CELLS_OF_A_LINE ? table_ncol(t) : CELLS_OF_A_LINE;
        for (int i = 0; i < n; i++) names[i] = table_column_name(t, i);
        e = find_places(names, n, &p, err);
    }
    if (!e) e = list_alloc(&l, table_nrow(t), err);
    if (!e) e = take_numbers(t, p.a, l.a, err);
    if (!e) e = take_numbers(t, p.b, l.b, err);
    if (!e) {
        l.on_sky = p.on_sky;
        take_ids(t, p.id, &l);
        *ret = l;
    } else {
        forced_list_release(&l);
    }
    table_free(t);
    return e;
}

enum err forced_list_read(const char *path, struct forced_list *ret, struct error *err)
{
    char *text = NULL, sum[DIGEST_HEX_SIZE];
    size_t size = 0;
    enum err e = digest_file(path, sum, err);
    if (!e) e = read_text(path, &text, &size, err);
    if (!e) e = size >= 9 && !memcmp(text, "SIMPLE  =", 9) ? read_table(path, ret, err) : forced_list_parse(text, size, path, ret, err);
    free(text);
    if (!e) memcpy(ret->sum, sum, sizeof ret->sum);
    error_subject(err, path, 0);
    return e;
}
