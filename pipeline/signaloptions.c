#include "pipeline/signaloptions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"

#define VALUES_MAX 4096

static enum curve curve_of(const char *word)
{
    if (!strcmp(word, "row") || !strcmp(word, "column")) return CURVE_EACH;
    if (!strcmp(word, "median")) return CURVE_MEDIAN;
    if (!strcmp(word, "polynomial")) return CURVE_POLYNOMIAL;
    if (!strcmp(word, "spline")) return CURVE_SPLINE;
    return CURVE_NONE;
}

static enum err read_crosstalk(const struct settings *s, int namp, double *values, struct rawsignal_options *o, struct error *err)
{
    int n = settings_doubles(s, SET_CROSSTALK, values, VALUES_MAX);
    if (n < 1) return ERR_OK;
    if (n != namp * namp)
        return ERROR(err, ERR_SETTINGS, "signature.crosstalk has %d coefficients: %d amplifiers need %d, a row for each victim", n, namp, namp * namp);
    o->crosstalk = mem_array((size_t)n, sizeof *o->crosstalk);
    if (!o->crosstalk) return ERROR(err, ERR_NOMEM, "no memory for a crosstalk matrix");
    o->namp_crosstalk = namp;
    for (int i = 0; i < n; i++) {
        o->crosstalk[i] = (float)values[i];
        if (!(fabs(values[i]) < 1)) return ERROR(err, ERR_SETTINGS, "signature.crosstalk: %g is no share of a signal", values[i]);
    }
    return ERR_OK;
}

/* A block of values for each amplifier, or one for all. */
static enum err read_linearity(const struct settings *s, int namp, double *values, struct rawsignal_options *o, struct error *err)
{
    int n = settings_doubles(s, SET_LINEARITY_TABLE, values, VALUES_MAX);
    bool table = n > 0;
    if (!table) n = settings_doubles(s, SET_LINEARITY, values, VALUES_MAX);
    if (n < 1) return ERR_OK;
    o->linearity = mem_zarray(AMPS_MAX, sizeof *o->linearity);
    if (!o->linearity) return ERROR(err, ERR_NOMEM, "no memory for the linearity of a detector");
    int unit = table ? 2 : 1, blocks = n % (namp * unit) ? 1 : namp, each = n / blocks;
    for (int a = 0; a < namp; a++) {
        const double *block = values + (blocks > 1 ? a * each : 0);
        enum err code = table ? linearity_from_table(block, each, &o->linearity[a], err) : linearity_from_terms(block, each, &o->linearity[a], err);
        if (code) return err ? err->code = ERR_SETTINGS : ERR_SETTINGS;
    }
    return ERR_OK;
}

static enum err read_suspect(const struct settings *s, int namp, double *values, struct rawsignal_options *o, struct error *err)
{
    o->nsuspect = settings_doubles(s, SET_SUSPECT, values, VALUES_MAX);
    if (o->nsuspect < 1) o->nsuspect = 0;
    if (o->nsuspect > 1 && o->nsuspect != namp)
        return ERROR(err, ERR_SETTINGS, "signature.suspect has %d levels: one for all or one for each of %d amplifiers", o->nsuspect, namp);
    for (int i = 0; i < o->nsuspect; i++) o->suspect_adu[i] = (float)values[i];
    return ERR_OK;
}

/* "ll,lr,ul,ur" */
static enum err read_corners(const struct settings *s, int namp, struct rawsignal_options *o, struct error *err)
{
    const char *p = settings_string(s, SET_READOUT);
    int n = 0;
    for (; *p; n++) {
        size_t length = strcspn(p, ", ");
        bool known = length == 2 && (p[0] == 'l' || p[0] == 'u') && (p[1] == 'l' || p[1] == 'r');
        if (!known || n >= AMPS_MAX) return ERROR(err, ERR_SETTINGS, "signature.readout: '%.*s' is not one of ll, lr, ul, ur", (int)length, p);
        snprintf(o->corner[n], sizeof o->corner[n], "%.2s", p);
        p += length;
        p += strspn(p, ", ");
    }
    if (n && n != namp) return ERROR(err, ERR_SETTINGS, "signature.readout names %d corners for %d amplifiers", n, namp);
    return ERR_OK;
}

enum err rawsignal_options_from_settings(const struct settings *s, int namp, struct rawsignal_options *ret, struct error *err)
{
    struct rawsignal_options o = {.serial = curve_of(settings_string(s, SET_OVERSCAN)), .serial_order = (int)settings_int(s, SET_OVERSCAN_ORDER),
                                  .skip = (int)settings_int(s, SET_OVERSCAN_SKIP), .parallel = curve_of(settings_string(s, SET_PARALLEL)),
                                  .parallel_order = (int)settings_int(s, SET_PARALLEL_ORDER)};
    double *values = mem_array(VALUES_MAX, sizeof *values);
    enum err code = values ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for the settings of a detector");
    if (!code) code = read_crosstalk(s, namp, values, &o, err);
    if (!code) code = read_linearity(s, namp, values, &o, err);
    if (!code) code = read_suspect(s, namp, values, &o, err);
    if (!code) code = read_corners(s, namp, &o, err);
    free(values);
    if (code) rawsignal_options_release(&o);
    else *ret = o;
    return code;
}

static void mark_defect(const double *box, int64_t nx, int64_t ny, mask_t *mask)
{
    int64_t x1 = box[1] < (double)nx ? (int64_t)box[1] : nx, y1 = box[3] < (double)ny ? (int64_t)box[3] : ny;
    for (int64_t y = (int64_t)fmin(box[2], (double)ny + 1) - 1; y < y1; y++)
        for (int64_t x = (int64_t)fmin(box[0], (double)nx + 1) - 1; x < x1; x++) mask[y * nx + x] |= MASK_BAD;
}

enum err defects_from_settings(const struct settings *s, int64_t nx, int64_t ny, mask_t *mask, struct error *err)
{
    double *values = mem_array(VALUES_MAX, sizeof *values);
    if (!values) return ERROR(err, ERR_NOMEM, "no memory for the defects of a detector");
    int n = settings_doubles(s, SET_DEFECTS, values, VALUES_MAX);
    enum err code = n > 0 && n % 4 ? ERROR(err, ERR_SETTINGS, "signature.defects has %d numbers: four for each place, x1, x2, y1, y2", n) : ERR_OK;
    for (int i = 0; i + 3 < n && !code; i += 4) {
        const double *box = values + i;
        if (box[0] >= 1 && box[2] >= 1 && box[1] >= box[0] && box[3] >= box[2]) mark_defect(box, nx, ny, mask);
        else code = ERROR(err, ERR_SETTINGS, "signature.defects: [%g:%g,%g:%g] is no place", box[0], box[1], box[2], box[3]);
    }
    free(values);
    return code;
}

void rawsignal_digest(const struct settings *s, struct digest *d)
{
    static const enum setting_id words[] = {SET_OVERSCAN, SET_PARALLEL, SET_READOUT}, numbers[] = {SET_OVERSCAN_ORDER, SET_OVERSCAN_SKIP, SET_PARALLEL_ORDER},
                                 lists[] = {SET_CROSSTALK, SET_LINEARITY, SET_LINEARITY_TABLE};
    char line[200];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!settings_is_set(s, words[i])) continue;
        digest_add_str(d, setting_name(words[i]));
        digest_add_str(d, settings_string(s, words[i]));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (!settings_is_set(s, numbers[i])) continue;
        snprintf(line, sizeof line, "%s=%lld", setting_name(numbers[i]), (long long)settings_int(s, numbers[i]));
        digest_add_str(d, line);
    }
    double *values = mem_array(VALUES_MAX, sizeof *values);
    for (size_t i = 0; values && i < sizeof lists / sizeof lists[0]; i++) {
        int n = settings_doubles(s, lists[i], values, VALUES_MAX);
        for (int k = 0; k < n; k++) {
            snprintf(line, sizeof line, "%s[%d]=%.17g", setting_name(lists[i]), k, values[k]);
            digest_add_str(d, line);
        }
    }
    free(values);
}
