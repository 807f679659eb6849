#include "pipeline/asciicat.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/atomicfile.h"

/* "F11.4" -> width 11, decimals 4, letter F. */
struct form {
    char letter;
    int width, decimals;
};

static struct form form_of(const struct column *c)
{
    struct form f = {'G', 12, 7};
    if (c->display && sscanf(c->display, "%c%d.%d", &f.letter, &f.width, &f.decimals) < 2) f = (struct form){'G', 12, 7};
    if (f.width < 1 || f.width > 40) f.width = 12;
    if (f.decimals < 0 || f.decimals > 17) f.decimals = 7;
    return f;
}

static bool value_at(const struct column *c, int64_t i, double *ret)
{
    switch (c->type) {
    case COLUMN_I16: *ret = ((const int16_t *)c->data)[i]; return true;
    case COLUMN_I32: *ret = ((const int32_t *)c->data)[i]; return true;
    case COLUMN_I64: *ret = (double)((const int64_t *)c->data)[i]; return true;
    case COLUMN_F32: *ret = (double)((const float *)c->data)[i]; return true;
    case COLUMN_F64: *ret = ((const double *)c->data)[i]; return true;
    default: return false;
    }
}

static void put_value(FILE *out, struct form f, double v)
{
    if (f.letter == 'I')
        fprintf(out, "%*.0f", f.width, v);
    else if (f.letter == 'F')
        fprintf(out, "%*.*f", f.width, f.decimals, v);
    else if (f.letter == 'E')
        fprintf(out, "%*.*e", f.width, f.decimals, v);
    else
        fprintf(out, "%*.*g", f.width, f.decimals, v);
}

static void put_head(FILE *out, const struct column *columns, int ncol)
{
    int position = 1;
    for (int c = 0; c < ncol; c++) {
        fprintf(out, "# %3d %-22s %-58s", position, columns[c].name, columns[c].comment ? columns[c].comment : "");
        if (columns[c].unit && columns[c].unit[0]) fprintf(out, " [%s]", columns[c].unit);
        fputc('\n', out);
        position += columns[c].repeat;
    }
}

static enum err put_rows(FILE *out, const struct column *columns, int ncol, int64_t nrow, struct error *err)
{
    for (int64_t i = 0; i < nrow; i++) {
        for (int c = 0; c < ncol; c++) {
            struct form f = form_of(&columns[c]);
            for (int k = 0; k < columns[c].repeat; k++) {
                double v;
                if (!value_at(&columns[c], i * columns[c].repeat + k, &v)) return ERROR(err, ERR_UNSUPPORTED, "column '%s' cannot be written as text", columns[c].name);
                if (c || k) fputc(' ', out);
                put_value(out, f, v);
            }
        }
        fputc('\n', out);
    }
    return ERR_OK;
}

enum err asciicat_write(const char *path, const struct column *columns, int ncol, int64_t nrow, bool head, struct error *err)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) return ERROR(err, ERR_NOMEM, "no memory for the catalogue '%s'", path);
    if (head) put_head(out, columns, ncol);
    enum err e = put_rows(out, columns, ncol, nrow, err);
    bool full = ferror(out) != 0;
    full |= fclose(out) != 0;
    if (!e && full) e = ERROR(err, ERR_NOMEM, "no memory for the catalogue '%s'", path);
    if (!e) e = atomicfile_write(path, text, size, err);
    free(text);
    return e;
}
