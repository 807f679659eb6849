#include "pipeline/ldaccat.h"

#include <string.h>

#include "common/frameio.h"
#include "common/products.h"

void ldaccat_init(struct ldaccat *c)
{
    *c = (struct ldaccat){0};
    header_init(&c->image);
    detections_init(&c->d);
}

void ldaccat_release(struct ldaccat *c)
{
    header_release(&c->image);
    detections_release(&c->d);
    c->ncolumn = 0;
}

static enum err read_image_header(const char *path, struct header *ret, struct error *err)
{
    struct table *t = NULL;
    enum err e = table_read(path, EXT_LDAC_IMHEAD, 0, &t, err);
    const char *text = e ? NULL : table_str(t, 0, 0);
    if (!e && !text && table_nrow(t) > 0 && table_is_text(t, 0)) e = ERROR(err, ERR_NOMEM, "could not read the header of the image: out of memory");
    if (!e) e = text ? header_parse(ret, text, (int64_t)(strlen(text) / CARD_LENGTH), err) : ERROR(err, ERR_CORRUPT, "table LDAC_IMHEAD holds no header");
    table_free(t);
    return e;
}

/* Values of one column, element by element; integers beyond 2^53 do not occur in these columns. */
static void take_column(const struct column *c, const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) switch (c->type) {
        case COLUMN_F64: ((double *)(uintptr_t)c->data)[i] = values[i]; break;
        case COLUMN_F32: ((float *)(uintptr_t)c->data)[i] = (float)values[i]; break;
        case COLUMN_I64: ((int64_t *)(uintptr_t)c->data)[i] = (int64_t)values[i]; break;
        case COLUMN_I16: ((int16_t *)(uintptr_t)c->data)[i] = (int16_t)values[i]; break;
        default: ((int32_t *)(uintptr_t)c->data)[i] = (int32_t)values[i]; break;
        }
}

static enum err take_table(struct table *t, struct ldaccat *ret, struct error *err)
{
    int naper = 0, nfrac = 0, from[DETECTION_COLUMN_COUNT];
    ret->ncolumn = 0;
    for (int i = 0; i < table_ncol(t); i++) {
        int c = detection_column_find(table_column_name(t, i));
        if (c < 0 || c == DET_vignet || ldaccat_has(ret, (enum detection_column)c)) continue;
        from[ret->ncolumn] = i;
        ret->column[ret->ncolumn++] = (enum detection_column)c;
        if (c == DET_flux_aper || c == DET_fluxerr_aper || c == DET_mag_aper || c == DET_magerr_aper) naper = table_repeat(t, i);
        if (c == DET_flux_radius) nfrac = table_repeat(t, i);
    }
    struct column described[DETECTION_COLUMN_COUNT];
    enum err e = detections_alloc(&ret->d, table_nrow(t), naper, nfrac, 0, 0, err);
    if (e) return e;
    detections_columns(&ret->d, ret->column, ret->ncolumn, "", described);
    for (int i = 0; i < ret->ncolumn; i++) {
        const double *values = table_f64(t, from[i]);
        if (!values && table_is_numeric(t, from[i])) return ERROR(err, ERR_NOMEM, "could not read column %s: out of memory", described[i].name);
        if (!values || table_repeat(t, from[i]) != described[i].repeat)
            return ERROR(err, ERR_CORRUPT, "column %s does not hold what its name says", described[i].name);
        take_column(&described[i], values, table_nrow(t) * described[i].repeat);
        ret->d.has[ret->column[i]] = 1;
    }
    return ERR_OK;
}

enum err ldaccat_read(const char *path, struct ldaccat *ret, struct error *err)
{
    struct table *t = NULL;
    struct ldaccat c;
    ldaccat_init(&c);
    enum err e = read_image_header(path, &c.image, err);
    if (!e) e = table_read(path, EXT_LDAC_OBJECTS, 0, &t, err);
    if (!e) e = take_table(t, &c, err);
    table_free(t);
    if (e) {
        error_subject(err, path, 0);
        ldaccat_release(&c);
    } else {
        *ret = c;
    }
    return e;
}

enum err ldaccat_write(const char *path, const struct ldaccat *c, struct error *err)
{
    struct column columns[DETECTION_COLUMN_COUNT];
    char unit[24] = "";
    header_get_str(&c->image, "BUNIT", unit, sizeof unit);
    detections_columns(&c->d, c->column, c->ncolumn, unit, columns);
    struct ldac_part part = {.image_header = &c->image, .objects = {.nrow = c->d.n, .ncol = c->ncolumn, .columns = columns}};
    return frameio_write_ldac(path, &part, 1, err);
}

bool ldaccat_has(const struct ldaccat *c, enum detection_column column)
{
    for (int i = 0; i < c->ncolumn; i++)
        if (c->column[i] == column) return true;
    return false;
}

void ldaccat_add(struct ldaccat *c, enum detection_column column)
{
    c->d.has[column] = 1;
    if (!ldaccat_has(c, column)) c->column[c->ncolumn++] = column;
}
