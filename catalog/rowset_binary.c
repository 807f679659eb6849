/* BINARY and BINARY2 of a VOTable (base64 as the rows come) and FITS.
 *
 * FITS wants the number of rows and the width of its texts first: rows wait in an unlinked file in the form of BINARY2, then
 * are written with both known. Both directions go through one buffer: memory does not grow with the table.            */
#include "catalog/rowset_formats.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/atomicfile.h"

#define SPOOL_BUFFER ((size_t)1 << 20)
#define LINE         10920 /* characters of base64 between line ends */
#define FITS_BLOCK   2880

/* ---- the row in hand ------------------------------------------------------------------------------------------------ */

static unsigned char *row_room(struct rowset *r, size_t n)
{
    if (r->row_used + n > r->row_room) {
        size_t room = 2 * (r->row_used + n);
        unsigned char *grown = realloc(r->row, room);
        if (!grown) {
            r->failed = true;
            return NULL;
        }
        r->row = grown;
        r->row_room = room;
    }
    return r->row + r->row_used;
}

static inline void put_big(unsigned char *p, uint64_t v, int size)
{
    for (int i = size - 1; i >= 0; i--, v >>= 8) p[i] = (unsigned char)v;
}

static uint64_t bits_of(enum rowset_type t, double d)
{
    uint64_t b;
    uint32_t b4;
    float f = (float)d;
    if (t == ROWSET_FLOAT) {
        memcpy(&b4, &f, sizeof b4);
        return b4;
    }
    memcpy(&b, &d, sizeof b);
    return b;
}

static const int size_of[] = {1, 2, 4, 8, 4, 8, 0, 0}; /* by kind; texts have their own */
static const int64_t null_of[] = {0, INT16_MIN, INT32_MIN, INT64_MIN, 0, 0, 0, 0};

static void add_value(struct rowset *r, enum rowset_type t, const struct rowset_value *v)
{
    int32_t text = t == ROWSET_TEXT ? (v->null ? 0 : v->n) : 0;
    unsigned char *p = row_room(r, 16 + (size_t)text);
    if (!p) return;
    if (t == ROWSET_TEXT) {
        put_big(p, (uint32_t)text, 4);
        if (text) memcpy(p + 4, v->s, (size_t)text);
        r->row_used += 4 + (size_t)text;
        return;
    }
    uint64_t bits;
    if (t == ROWSET_BOOL) bits = v->null ? '?' : v->i ? 'T' : 'F';
    else if (t == ROWSET_FLOAT || t == ROWSET_DOUBLE) bits = bits_of(t, v->null ? (double)NAN : v->d);
    else bits = (uint64_t)(v->null ? null_of[t] : v->i);
    put_big(p, bits, size_of[t]);
    r->row_used += (size_t)size_of[t];
}

/* flags: BINARY2's bits of the values that are not there, the first column's the highest. */
static enum err make_row(struct rowset *r, const struct rowset_field *f, bool flags, struct error *err)
{
    struct rowset_value v;
    size_t bytes = flags ? (size_t)(r->opt.ncol + 7) / 8 : 0;
    r->row_used = 0;
    unsigned char *p = row_room(r, bytes + 1);
    if (p) memset(p, 0, bytes);
    r->row_used = bytes;
    for (int i = 0; i < r->opt.ncol && !r->failed; i++) {
        enum err e = rowset_value_of(r, i, &f[i], &v, err);
        if (e) return e;
        if (flags && v.null) r->row[i / 8] |= (unsigned char)(0x80 >> i % 8);
        if (r->kind[i] == ROWSET_TEXT && !v.null && v.n > r->width[i]) r->width[i] = v.n;
        add_value(r, r->kind[i], &v);
    }
    return r->failed ? ERROR(err, ERR_NOMEM, "could not get memory for rows") : ERR_OK;
}

/* ---- base64 --------------------------------------------------------------------------------------------------------- */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static inline void group(const unsigned char *s, char *p)
{
    uint32_t v = (uint32_t)s[0] << 16 | (uint32_t)s[1] << 8 | s[2];
    p[0] = base64[v >> 18];
    p[1] = base64[v >> 12 & 63];
    p[2] = base64[v >> 6 & 63];
    p[3] = base64[v & 63];
}

static void put_base64(struct rowset *r, const unsigned char *s, size_t n)
{
    while (r->ntail && r->ntail < 3 && n) r->tail[r->ntail++] = *s++, n--;
    char *p = rowset_reserve(r, (n + 6) / 3 * 4 + 2);
    if (!p) return;
    char *start = p;
    if (r->ntail == 3) {
        group(r->tail, p);
        p += 4;
        r->ntail = 0;
    }
    for (; n >= 3 && !r->ntail; n -= 3, s += 3, p += 4) group(s, p);
    while (n) r->tail[r->ntail++] = *s++, n--;
    r->line += (size_t)(p - start);
    if (r->line >= LINE) {
        *p++ = '\n';
        r->line = 0;
    }
    r->used += (size_t)(p - start);
}

enum err rowset_row_binary(struct rowset *r, const struct rowset_field *f, bool flags, struct error *err)
{
    enum err e = make_row(r, f, flags, err);
    if (!e) put_base64(r, r->row, r->row_used);
    return e;
}

void rowset_end_base64(struct rowset *r)
{
    char last[4];
    if (!r->ntail) return;
    memset(r->tail + r->ntail, 0, (size_t)(3 - r->ntail));
    group(r->tail, last);
    for (int i = r->ntail + 1; i < 4; i++) last[i] = '=';
    rowset_put(r, last, 4);
    r->ntail = 0;
}

/* ---- FITS: rows that wait ------------------------------------------------------------------------------------------- */

static enum err open_spool(struct rowset *r, struct error *err)
{
    const char *folder = r->opt.folder ? r->opt.folder : getenv("TMPDIR");
    char path[1024];
    if (!folder || !*folder) folder = "/tmp";
    snprintf(path, sizeof path, "%s/nightshift-rows-XXXXXX", folder);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) return error_from_errno(err, errno, path, "create");
    unlink(path);
    r->spool = fdopen(fd, "w+");
    if (!r->spool) {
        close(fd);
        return ERROR(err, ERR_NOMEM, "could not get memory for a file");
    }
    setvbuf(r->spool, NULL, _IOFBF, SPOOL_BUFFER);
    return ERR_OK;
}

enum err rowset_spool_row(struct rowset *r, const struct rowset_field *f, struct error *err)
{
    enum err e = r->spool ? ERR_OK : open_spool(r, err);
    if (!e) e = make_row(r, f, true, err);
    if (!e && fwrite_unlocked(r->row, 1, r->row_used, r->spool) != r->row_used) e = error_from_errno(err, errno, "the rows that wait", "write");
    return e;
}

/* ---- FITS: the file ------------------------------------------------------------------------------------------------- */

struct cards {
    struct rowset *r;
    int n;
};

static void card(struct cards *c, const char *text)
{
    char line[81];
    snprintf(line, sizeof line, "%-80.80s", text);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p > 126) *p = '?';
    rowset_put(c->r, line, 80);
    c->n++;
}

static void card_text(struct cards *c, const char *key, const char *value)
{
    char quoted[69], line[100];
    size_t n = 0;
    if (!value || !*value) return;
    for (const char *s = value; *s && n < 67; s++) {
        if (*s == '\'') quoted[n++] = '\'';
        quoted[n++] = *s;
    }
    quoted[n > 68 ? 68 : n] = '\0';
    snprintf(line, sizeof line, "%-8.8s= '%-8s'", key, quoted);
    card(c, line);
}

static void card_int(struct cards *c, const char *key, int64_t value)
{
    char line[100];
    snprintf(line, sizeof line, "%-8.8s= %20lld", key, (long long)value);
    card(c, line);
}

static void card_flag(struct cards *c, const char *key, bool value)
{
    char line[100];
    snprintf(line, sizeof line, "%-8.8s= %20s", key, value ? "T" : "F");
    card(c, line);
}

static void end_header(struct cards *c)
{
    card(c, "END");
    for (; c->n % 36; c->n++) rowset_put(c->r, "                                                                                ", 80);
}

static void column_cards(struct cards *c, int i)
{
    static const char forms[] = "LIJKEDAA";
    char key[16], form[24];
    struct rowset *r = c->r;
    const struct rowset_column *k = &r->opt.columns[i];
    enum rowset_type t = r->kind[i];
    snprintf(key, sizeof key, "TTYPE%d", i + 1);
    card_text(c, key, k->name);
    if (t == ROWSET_TEXT) snprintf(form, sizeof form, "%dA", (int)r->width[i]);
    else snprintf(form, sizeof form, "%c", forms[t]);
    snprintf(key, sizeof key, "TFORM%d", i + 1);
    card_text(c, key, form);
    snprintf(key, sizeof key, "TUNIT%d", i + 1);
    card_text(c, key, k->unit);
    snprintf(key, sizeof key, "TNULL%d", i + 1);
    if (t == ROWSET_SHORT || t == ROWSET_INT || t == ROWSET_LONG) card_int(c, key, null_of[t]);
    snprintf(key, sizeof key, "TUCD%d", i + 1);
    card_text(c, key, k->ucd);
    snprintf(key, sizeof key, "TCOMM%d", i + 1);
    card_text(c, key, k->description);
}

static int64_t row_width(const struct rowset *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->opt.ncol; i++) n += r->kind[i] == ROWSET_TEXT ? r->width[i] : size_of[r->kind[i]];
    return n;
}

static void headers(struct rowset *r, bool overflow)
{
    struct cards c = {r, 0};
    card(&c, "SIMPLE  =                    T / FITS 4.0");
    card_int(&c, "BITPIX", 8);
    card_int(&c, "NAXIS", 0);
    card_flag(&c, "EXTEND", true);
    end_header(&c);
    c.n = 0;
    card(&c, "XTENSION= 'BINTABLE'");
    card_int(&c, "BITPIX", 8);
    card_int(&c, "NAXIS", 2);
    card_int(&c, "NAXIS1", row_width(r));
    card_int(&c, "NAXIS2", r->rows);
    card_int(&c, "PCOUNT", 0);
    card_int(&c, "GCOUNT", 1);
    card_int(&c, "TFIELDS", r->opt.ncol);
    card_text(&c, "EXTNAME", r->opt.table);
    card_flag(&c, "OVERFLOW", overflow);
    for (int i = 0; i < r->opt.ninfo; i++) {
        char line[100];
        snprintf(line, sizeof line, "COMMENT %s: %s", r->opt.infos[i].name, r->opt.infos[i].value);
        card(&c, line);
    }
    for (int i = 0; i < r->opt.ncol; i++) column_cards(&c, i);
    end_header(&c);
}

static bool take(struct rowset *r, void *data, size_t n)
{
    return fread_unlocked(data, 1, n, r->spool) == n;
}

/* One row from the file into the sink's buffer: texts padded with blanks, everything else as it is. */
static bool one_fits_row(struct rowset *r, size_t width)
{
    unsigned char flags[256], length[4];
    char *p = rowset_reserve(r, width);
    if (!p || !take(r, flags, (size_t)(r->opt.ncol + 7) / 8)) return false;
    for (int i = 0; i < r->opt.ncol; i++) {
        size_t size = (size_t)size_of[r->kind[i]], n = size;
        if (r->kind[i] == ROWSET_TEXT) {
            if (!take(r, length, 4)) return false;
            n = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
            size = (size_t)r->width[i];
        }
        if (n > size || (n && !take(r, p, n))) return false;
        memset(p + n, ' ', size - n);
        if (r->kind[i] == ROWSET_BOOL && *p == '?') *p = '\0';
        p += size;
    }
    r->used += width;
    return true;
}

enum err rowset_write_fits(struct rowset *r, bool overflow, struct error *err)
{
    size_t width = (size_t)row_width(r);
    if (r->opt.ncol > 999) return ERROR(err, ERR_UNSUPPORTED, "%d columns, FITS tables have 999 at most", r->opt.ncol);
    headers(r, overflow);
    if (r->spool && fseeko(r->spool, 0, SEEK_SET)) return error_from_errno(err, errno, "the rows that wait", "write");
    for (int64_t i = 0; i < r->rows && !r->broken; i++) {
        if (!one_fits_row(r, width)) return ERROR(err, r->failed ? ERR_NOMEM : ERR_IO, "could not read the rows that wait");
        if (r->used >= SPOOL_BUFFER / 16) rowset_flush(r);
    }
    static const char zeros[FITS_BLOCK];
    size_t rest = (size_t)(r->rows * (int64_t)width % FITS_BLOCK);
    if (rest) rowset_put(r, zeros, FITS_BLOCK - rest);
    return ERR_OK;
}
