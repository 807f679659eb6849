#include "pipeline/sexfiles.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the table of keys ------------------------------------------------------------------------------------------ */

enum kind { KIND_WORD, KIND_INT, KIND_REAL, KIND_BOOL, KIND_CHOICE, KIND_REALS, KIND_WORDS };

static const struct row {
    const char *key;
    enum kind kind;
    size_t offset, size;
    const char *def;
} rows[SEX_KEY_COUNT] = {
#define X(k, kind, field, def) {#k, KIND_##kind, offsetof(struct sex_config, field), sizeof(((struct sex_config *)0)->field), def},
    SEX_KEYS(X)
#undef X
};

/* Words of the CHOICE keys in the order of their enum; "" ends a list. */
static const struct {
    enum sex_key key;
    const char *words[8];
} choices[] = {
    {SEX_CATALOG_TYPE, {"NONE", "ASCII", "ASCII_HEAD", "FITS_1.0", "FITS_LDAC", ""}},
    {SEX_THRESH_TYPE, {"RELATIVE", "ABSOLUTE", ""}},
    {SEX_MASK_TYPE, {"NONE", "BLANK", "CORRECT", ""}},
    {SEX_WEIGHT_TYPE, {"NONE", "BACKGROUND", "MAP_RMS", "MAP_VAR", "MAP_WEIGHT", ""}},
    {SEX_FLAG_TYPE, {"OR", "AND", "MIN", "MAX", "MOST", ""}},
    {SEX_BACK_TYPE, {"AUTO", "MANUAL", ""}},
    {SEX_VERBOSE_TYPE, {"QUIET", "NORMAL", "FULL", ""}},
};

/* Keys of Source Extractor 2.25 that change nothing here, with the value that asks for nothing ("*": any value). */
static const struct {
    const char *key, *neutral;
} others[] = {
    {"DETECT_TYPE", "CCD"}, {"FILTER_THRESH", ""}, {"RESCALE_WEIGHTS", "Y"},
    {"DGEO_TYPE", "NONE"}, {"DGEO_IMAGE", "*"}, {"MAG_GAMMA", "*"}, {"BACKPHOTO_TYPE", "GLOBAL"}, {"BACKPHOTO_THICK", "*"},
    {"BACK_PEARSON", "2.5"}, {"MEMORY_OBJSTACK", "*"}, {"MEMORY_PIXSTACK", "*"}, {"MEMORY_BUFSIZE", "*"}, {"ASSOC_NAME", "sky.list"},
    {"ASSOC_DATA", "*"}, {"ASSOC_PARAMS", "*"}, {"ASSOCCOORD_TYPE", "*"}, {"ASSOC_RADIUS", "*"}, {"ASSOC_TYPE", "*"},
    {"ASSOCSELEC_TYPE", "*"}, {"HEADER_SUFFIX", ".head"}, {"WRITE_XML", "N"}, {"XML_NAME", "*"}, {"XSL_URL", "*"},
    {"NTHREADS", "*"}, {"FITS_UNSIGNED", "N"}, {"INTERP_MAXXLAG", "16"}, {"INTERP_MAXYLAG", "16"}, {"INTERP_TYPE", "ALL"},
    {"PSF_NAME", "default.psf"}, {"PSF_NMAX", "*"}, {"PSF_RECENTER", "*"}, {"PSFDISPLAY_TYPE", "*"}, {"PATTERN_TYPE", "*"},
    {"SOM_NAME", "*"}, {"VIEW_TYPE", "*"}, {"MEMORY_MAXMEM", "*"},
};

static int row_find(const char *key)
{
    for (int i = 0; i < SEX_KEY_COUNT; i++)
        if (!strcasecmp(rows[i].key, key)) return i;
    return -1;
}

static int other_find(const char *key)
{
    for (int i = 0; i < (int)(sizeof others / sizeof others[0]); i++)
        if (!strcasecmp(others[i].key, key)) return i;
    return -1;
}

bool sex_key_is_known(const char *key)
{
    return row_find(key) >= 0 || other_find(key) >= 0;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* Add word to a list "a, b" of size bytes; once each, silently cut when full. */
static void list_add(char *list, size_t size, const char *word)
{
    size_t n = strlen(list), w = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += w)
        if ((p == list || p[-1] == ' ') && (p[w] == ',' || !p[w])) return;
    if (n + w + 3 <= size) snprintf(list + n, size - n, "%s%s", n ? ", " : "", word);
}

/* Copy the next word of *text (blanks and commas separate, quotes keep them) to word; false at the end. */
static bool next_word(const char **text, char *word, size_t size)
{
    const char *p = *text;
    size_t n = 0;
    while (*p && (isspace((unsigned char)*p) || *p == ',')) p++;
    if (!*p) return *text = p, false;
    char quote = *p == '"' || *p == '\'' ? *p++ : '\0';
    while (*p && (quote ? *p != quote : !isspace((unsigned char)*p) && *p != ',')) {
        if (n + 1 < size) word[n++] = *p;
        p++;
    }
    if (quote && *p) p++;
    word[n] = '\0';
    *text = p;
    return true;
}

static bool read_real(const char *word, double *ret)
{
    char *end;
    errno = 0;
    double v = strtod(word, &end);
    if (end == word || *end || !isfinite(v)) return false;
    *ret = v;
    return true;
}

static bool read_choice(enum sex_key key, const char *word, int *ret)
{
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        for (int k = 0; choices[i].key == key && choices[i].words[k][0]; k++)
            if (!strcasecmp(choices[i].words[k], word)) return *ret = k, true;
    return false;
}

static bool read_reals(const char *value, struct sex_reals *ret)
{
    char word[256];
    struct sex_reals r = {0};
    while (next_word(&value, word, sizeof word))
        if (r.n == SEX_LIST_MAX || !read_real(word, &r.v[r.n++])) return false;
    *ret = r;
    return true;
}

static bool read_words(const char *value, struct sex_words *ret)
{
    char word[256];
    ret->n = 0;
    while (next_word(&value, word, sizeof word)) {
        if (ret->n == SEX_WORDS_MAX) return false;
        memcpy(ret->w[ret->n++], word, sizeof word);
    }
    return true;
}

static bool read_int(const char *word, int *ret)
{
    double v;
    if (!read_real(word, &v) || v != floor(v) || fabs(v) > 1e9) return false;
    *ret = (int)v;
    return true;
}

static bool read_bool(const char *word, bool *ret)
{
    bool yes = !strcasecmp(word, "Y") || !strcasecmp(word, "YES"), no = !strcasecmp(word, "N") || !strcasecmp(word, "NO");
    if (yes || no) *ret = yes;
    return yes || no;
}

/* What WEIGHT_TYPE and WEIGHT_IMAGE say of the second image; one word speaks of both. */
static bool read_second_weight(struct sex_config *c, int i, const char *value)
{
    char word[512];
    bool second = next_word(&value, word, sizeof word) && next_word(&value, word, sizeof word);
    if (i == SEX_WEIGHT_IMAGE) return snprintf(c->weight_image2, sizeof c->weight_image2, "%s", second ? word : c->weight_image), true;
    c->weight_type2 = c->weight_type;
    return !second || read_choice(SEX_WEIGHT_TYPE, word, &c->weight_type2);
}

static bool read_value(struct sex_config *c, int i, const char *value)
{
    char word[512] = "";
    const char *rest = value;
    void *dst = (char *)c + rows[i].offset;
    bool any = next_word(&rest, word, sizeof word);
    switch (rows[i].kind) {
    case KIND_WORD: return snprintf(dst, rows[i].size, "%s", word), true;
    case KIND_INT: return any && read_int(word, dst);
    case KIND_REAL: return any && read_real(word, dst);
    case KIND_BOOL: return any && read_bool(word, dst);
    case KIND_CHOICE: return any && read_choice((enum sex_key)i, word, dst);
    case KIND_REALS: return read_reals(value, dst);
    case KIND_WORDS: return read_words(value, dst);
    }
    return false;
}

/* "Y or N", "one of NONE, BLANK, ..." for the message about a bad value. */
static const char *what_may_be(int i, char *buf, size_t size)
{
    static const char *const plain[] = {"a word", "a whole number", "a number", "Y or N", "", "numbers", "words"};
    snprintf(buf, size, "%s", plain[rows[i].kind]);
    if (rows[i].kind != KIND_CHOICE) return buf;
    snprintf(buf, size, "one of ");
    for (size_t k = 0; k < sizeof choices / sizeof choices[0]; k++)
        for (int w = 0; choices[k].key == (enum sex_key)i && choices[k].words[w][0]; w++) {
            size_t n = strlen(buf);
            snprintf(buf + n, size - n, "%s%s", w ? ", " : "", choices[k].words[w]);
        }
    return buf;
}

void sex_config_defaults(struct sex_config *c)
{
    memset(c, 0, sizeof *c);
    for (int i = 0; i < SEX_KEY_COUNT; i++) read_value(c, i, rows[i].def);
}

enum err sex_config_set(struct sex_config *c, const char *key, const char *value, const char *where, struct error *err)
{
    char word[256], may_be[256];
    int i = row_find(key), o = other_find(key);
    if (i >= 0) {
        bool weight = i == SEX_WEIGHT_TYPE || i == SEX_WEIGHT_IMAGE;
        if (!read_value(c, i, value) || (weight && !read_second_weight(c, i, value)))
            return ERROR(err, ERR_SETTINGS, "cannot read %s '%.200s' (%s): expected %s", rows[i].key, value, where, what_may_be(i, may_be, sizeof may_be));
        c->given[i] = 1;
        return ERR_OK;
    }
    if (o < 0) {
        list_add(c->unknown, sizeof c->unknown, key);
        return ERR_OK;
    }
    if (!next_word(&value, word, sizeof word)) word[0] = '\0';
    if (strcmp(others[o].neutral, "*") && strcasecmp(others[o].neutral, word)) list_add(c->ignored, sizeof c->ignored, others[o].key);
    return ERR_OK;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

struct lines {
    const char *p, *end;
    int number;
};

/* Copy the next line without its comment to buf; false at the end of the text. Control characters become blanks. */
static bool next_line(struct lines *s, char *buf, size_t size)
{
    if (s->p >= s->end) return false;
    size_t n = 0;
    bool comment = false;
    for (; s->p < s->end && *s->p != '\n'; s->p++) {
        if (*s->p == '#') comment = true;
        if (!comment && n + 1 < size) buf[n++] = iscntrl((unsigned char)*s->p) ? ' ' : *s->p;
    }
    if (s->p < s->end) s->p++;
    buf[n] = '\0';
    s->number++;
    return true;
}

enum err sex_config_parse(struct sex_config *c, const char *text, size_t size, const char *name, struct error *err)
{
    struct lines s = {text, text + size, 0};
    char line[2048], key[64], where[600];
    while (next_line(&s, line, sizeof line)) {
        const char *rest = line;
        if (!next_word(&rest, key, sizeof key)) continue;
        snprintf(where, sizeof where, "%.500s line %d", name, s.number);
        enum err e = sex_config_set(c, key, rest, where, err);
        if (e) return e;
    }
    return ERR_OK;
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

/* "(3)", "[3]", "(35,35)" after a column's name. Returned: numbers read (0 to 2), -1 when it cannot be read. */
static int read_widths(const char *p, int *a, int *b)
{
    char close = *p == '(' ? ')' : *p == '[' ? ']' : '\0', *end;
    if (!close) return 0;
    long v = strtol(p + 1, &end, 10), w = 0;
    int n = 1;
    if (*end == ',') {
        w = strtol(end + 1, &end, 10);
        n = 2;
    }
    if (*end != close || v < 1 || v > 4096 || (n == 2 && (w < 1 || w > 4096))) return -1;
    *a = (int)v;
    *b = (int)w;
    return n;
}

static void add_column(struct sex_params *p, enum detection_column c, int n, int a, int b)
{
    bool there = false;
    for (int i = 0; i < p->n; i++) there |= p->column[i] == c;
    if (!there) p->column[p->n++] = c;
    if (c == DET_flux_aper || c == DET_fluxerr_aper || c == DET_mag_aper || c == DET_magerr_aper)
        p->naper = n && a > p->naper ? a : p->naper;
    if (c == DET_flux_radius) p->nfrac = n ? a : p->nfrac;
    if (c == DET_vignet) {
        p->vig_nx = n ? a : 1;
        p->vig_ny = n == 2 ? b : p->vig_nx;
    }
}

enum err sex_params_parse(struct sex_params *ret, const char *text, size_t size, const char *name, struct error *err)
{
    struct lines s = {text, text + size, 0};
    char line[512];
    *ret = (struct sex_params){0};
    while (next_line(&s, line, sizeof line)) {
        char *p = line + strspn(line, " \t");
        size_t length = strcspn(p, "([ \t");
        if (!length) continue;
        /* blanks are allowed before and inside the brackets: squeeze them out */
        char *to = p + length;
        for (char *q = to; *q; q++)
            if (!isspace((unsigned char)*q)) *to++ = *q;
        *to = '\0';
        int a = 0, b = 0, n = read_widths(p + length, &a, &b), c = detection_column_find(p);
        if (n < 0) return ERROR(err, ERR_SETTINGS, "cannot read the size of '%.64s' (%.400s line %d)", p, name, s.number);
        p[length < 64 ? length : 64] = '\0';
        if (c < 0)
            list_add(ret->ignored, sizeof ret->ignored, p);
        else
            add_column(ret, (enum detection_column)c, n, a, b);
    }
    return ERR_OK;
}

/* ---- filters ---------------------------------------------------------------------------------------------------- */

/* Append the numbers of one line; *nx is the width of the first row. */
static enum err kernel_row(struct sex_kernel *k, const char *line, const char *name, int number, struct error *err)
{
    char word[64];
    double v;
    int n = 0;
    while (next_word(&line, word, sizeof word)) {
        if (!read_real(word, &v) || fabs(v) > 1e30) return ERROR(err, ERR_SETTINGS, "cannot read '%s' as a number (%.400s line %d)", word, name, number);
        if (n == SEX_KERNEL_SIDE || k->ny == SEX_KERNEL_SIDE)
            return ERROR(err, ERR_SETTINGS, "the filter is larger than %d x %d (%.400s line %d)", SEX_KERNEL_SIDE, SEX_KERNEL_SIDE, name, number);
        k->v[k->ny * SEX_KERNEL_SIDE + n++] = (float)v;
    }
    if (!n) return ERR_OK;
    if (k->ny && n != k->nx) return ERROR(err, ERR_SETTINGS, "a row of %d numbers in a filter %d wide (%.400s line %d)", n, k->nx, name, number);
    k->nx = n;
    k->ny++;
    return ERR_OK;
}

/* Pack the rows and divide by the sum of |v|, which is the sum for the filters that are positive everywhere. */
static void kernel_finish(struct sex_kernel *k, bool norm)
{
    double sum = 0;
    for (int y = 0; y < k->ny; y++)
        for (int x = 0; x < k->nx; x++) {
            float v = k->v[y * SEX_KERNEL_SIDE + x];
            k->v[y * k->nx + x] = v;
            sum += fabs(v);
        }
    for (int i = 0; norm && sum > 0 && i < k->nx * k->ny; i++) k->v[i] = (float)(k->v[i] / sum);
}

enum err sex_kernel_parse(struct sex_kernel *ret, const char *text, size_t size, const char *name, struct error *err)
{
    struct lines s = {text, text + size, 0};
    char line[8192], word[64];
    bool seen = false, norm = true;
    struct sex_kernel k = {0, 0, calloc(SEX_KERNEL_SIDE * SEX_KERNEL_SIDE, sizeof(float))};
    if (!k.v) return ERROR(err, ERR_NOMEM, "no memory for a filter");
    enum err e = ERR_OK;
    while (!e && next_line(&s, line, sizeof line)) {
        const char *rest = line;
        if (!seen && next_word(&rest, word, sizeof word)) {
            seen = true;
            if (strcasecmp(word, "CONV")) {
                e = ERROR(err, ERR_SETTINGS, "'%.400s' is not a filter: it does not begin with CONV", name);
                break;
            }
            if (next_word(&rest, word, sizeof word)) norm = strcasecmp(word, "NONORM") != 0;
        } else if (seen) {
            e = kernel_row(&k, line, name, s.number, err);
        }
    }
    if (!e && !k.ny) e = ERROR(err, ERR_SETTINGS, "'%.400s' holds no filter", name);
    if (e) {
        free(k.v);
        return e;
    }
    kernel_finish(&k, norm);
    *ret = k;
    return ERR_OK;
}

/* ---- network ---------------------------------------------------------------------------------------------------- */

#define NNW_NUMBERS (4 + 2 * NETWORK_INPUTS + NETWORK_HIDDEN * (NETWORK_INPUTS + 1) + NETWORK_HIDDEN + 1 + 2)

enum err sex_nnw_parse(struct star_network *ret, const char *text, size_t size, const char *name, struct error *err)
{
    struct lines s = {text, text + size, 0};
    char line[2048], word[64];
    double v[NNW_NUMBERS];
    int n = 0;
    bool magic = false;
    while (next_line(&s, line, sizeof line)) {
        const char *rest = line;
        while (next_word(&rest, word, sizeof word)) {
            if (!magic) {
                if (strcmp(word, "NNW")) return ERROR(err, ERR_SETTINGS, "'%.400s' is not a network: it does not begin with NNW", name);
                magic = true;
            } else if (n == NNW_NUMBERS || !read_real(word, &v[n++]) || fabs(v[n - 1]) > 1e9) {
                return ERROR(err, ERR_SETTINGS, "cannot use the network '%.400s' (line %d)", name, s.number);
            }
        }
    }
    if (n != NNW_NUMBERS || v[0] != 3 || v[1] != NETWORK_INPUTS || v[2] != NETWORK_HIDDEN || v[3] != 1)
        return ERROR(err, ERR_SETTINGS, "the network '%.400s' does not have 10 inputs, 10 hidden neurons and 1 output", name);
    const double *p = v + 4;
    for (int i = 0; i < NETWORK_INPUTS; i++) ret->bias[i] = (float)*p++;
    for (int i = 0; i < NETWORK_INPUTS; i++) ret->scale[i] = (float)*p++;
    for (int h = 0; h < NETWORK_HIDDEN; h++)
        for (int i = 0; i <= NETWORK_INPUTS; i++) ret->hidden[h][i] = (float)*p++;
    for (int i = 0; i <= NETWORK_HIDDEN; i++) ret->output[i] = (float)*p++;
    ret->out_bias = (float)p[0];
    ret->out_scale = (float)p[1];
    return ERR_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* The whole file; free() it. */
static enum err read_text(const char *path, char **ret, size_t *ret_size, struct error *err)
{
    FILE *f = fopen(path, "r");
    char *text = malloc(SEX_TEXT_MAX + 1);
    enum err e = ERR_OK;
    if (!text)
        e = ERROR(err, ERR_NOMEM, "no memory to read '%s'", path);
    else if (!f)
        e = ERROR(err, ERR_SETTINGS, "cannot open '%s': %s", path, strerror(errno));
    if (!e) {
        *ret_size = fread(text, 1, SEX_TEXT_MAX + 1, f);
        if (ferror(f)) e = ERROR(err, ERR_SETTINGS, "cannot read '%s': %s", path, strerror(errno));
        else if (*ret_size > SEX_TEXT_MAX) e = ERROR(err, ERR_SETTINGS, "'%s' is larger than %d bytes", path, SEX_TEXT_MAX);
    }
    if (f) fclose(f);
    if (e)
        free(text);
    else
        *ret = text;
    return e;
}

#define READER(function, type, parse)                                          \
    enum err function(type *ret, const char *path, struct error *err)         \
    {                                                                          \
        char *text = NULL;                                                     \
        size_t size = 0;                                                       \
        enum err e = read_text(path, &text, &size, err);                       \
        if (!e) e = parse(ret, text, size, path, err);                         \
        free(text);                                                            \
        return e;                                                              \
    }
READER(sex_config_read, struct sex_config, sex_config_parse)
READER(sex_params_read, struct sex_params, sex_params_parse)
READER(sex_kernel_read, struct sex_kernel, sex_kernel_parse)
READER(sex_nnw_read, struct star_network, sex_nnw_parse)
