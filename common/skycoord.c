/* DESIGN. The header's WCS cards are copied out first (a header may have 100,000 cards, and a third of them may be odd),
 * tidied where real cameras stray from the standard, and parsed by wcspih(). The two celestial axes become a wcsprm of
 * their own; what is left between its sky and ICRS is one rotation (FK5, galactic, ecliptic) or ERFA's FK4 routines.
 *
 *     header -> collect_cards -> wcspih -> pick_primary -> wcsfix -> wcssub (celestial axes) -> wcsset -> to_icrs
 *
 * wcslib keeps state in each wcsprm (wcs->err, flags set lazily), so a skycoord serves one thread at a time.         */
#include "common/skycoord.h"

#include <ctype.h>
#include <erfa.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wcslib/wcs.h>
#include <wcslib/wcsfix.h>
#include <wcslib/wcshdr.h>

#include "common/obstime.h"
#include "common/units.h"

#define CARDS_MAX 4000 /* WCS cards of one image; TNX needs some hundred, more than this is no header */
#define AXES_MAX  9
#define CHUNK     256  /* points per call of wcslib: its scratch stays in the L1 cache */

enum sky_frame { SKY_ROTATED, SKY_FK4, SKY_FK4_NO_E };

struct skycoord {
    struct wcsprm wcs;
    enum sky_frame frame;
    bool rotate;            /* SKY_ROTATED: false when the header is ICRS already */
    double to_icrs[3][3];
    double fk4_epoch;       /* Besselian, of the observation */
    double to_b1950[3][3];  /* precession from the header's equinox */
    double pixel[CHUNK][2], world[CHUNK][2], image[CHUNK][2], phi[CHUNK], theta[CHUNK];
    int stat[CHUNK];
};

/* ---- cards ---------------------------------------------------------------------------------------------------- */

struct cards {
    char *text; /* (n + 2) cards: room for what tidying may append */
    int n;
};

static bool has_keyword(const char *card, const char *keyword)
{
    size_t n = strlen(keyword);
    return !memcmp(card, keyword, n) && (n == 8 || strspn(card + n, " ") >= 8 - n);
}

static char *find_card(const struct cards *c, const char *keyword)
{
    for (int i = 0; i < c->n; i++)
        if (has_keyword(c->text + i * CARD_LENGTH, keyword)) return c->text + i * CARD_LENGTH;
    return NULL;
}

static bool card_double(const char *card, const char *keyword, double *ret)
{
    char copy[CARD_LENGTH];
    memcpy(copy, card, sizeof copy);
    struct header one = {.text = copy, .n = 1, .capacity = 1};
    return header_get_double(&one, keyword, ret);
}

static bool cards_double(const struct cards *c, const char *keyword, double *ret)
{
    const char *card = find_card(c, keyword);
    return card && card_double(card, keyword, ret);
}

static void cards_string(const struct cards *c, const char *keyword, char *ret, size_t size)
{
    ret[0] = 0;
    char *card = find_card(c, keyword);
    if (!card) return;
    struct header one = {.text = card, .n = 1, .capacity = 1};
    header_get_str(&one, keyword, ret, size);
}

static void remove_cards(struct cards *c, const char *prefix, const char *after)
{
    int kept = 0;
    size_t n = strlen(prefix);
    for (int i = 0; i < c->n; i++) {
        const char *card = c->text + i * CARD_LENGTH;
        if (!memcmp(card, prefix, n) && strchr(after, card[n])) continue;
        memmove(c->text + kept++ * CARD_LENGTH, card, CARD_LENGTH);
    }
    c->n = kept;
}

/* Numbered keywords ("CTYPE1", "PV2_11", "CD001002") of the primary description: no letter behind, axis 1 to 9. */
static bool is_numbered(const char *key, const char *prefix)
{
    size_t n = strlen(prefix);
    if (memcmp(key, prefix, n) || !isdigit((unsigned char)key[n])) return false;
    size_t end = n;
    while (end < 8 && (isdigit((unsigned char)key[end]) || key[end] == '_')) end++;
    for (size_t i = end; i < 8; i++)
        if (key[i] != ' ') return false;
    size_t digits = strspn(key + n, "0123456789");
    if (digits > end - n) digits = end - n;
    return digits == 1 || digits == 6 || !memcmp(prefix, "WAT", 3) || !memcmp(prefix, "AMD", 3) || !memcmp(prefix, "PPO", 3);
}

static bool is_sip(const char *key)
{
    static const char *const prefixes[] = {"A_", "B_", "AP_", "BP_"};
    for (int i = 0; i < 4; i++) {
        size_t n = strlen(prefixes[i]);
        if (memcmp(key, prefixes[i], n)) continue;
        return (isdigit((unsigned char)key[n]) && key[n + 1] == '_' && isdigit((unsigned char)key[n + 2]) && key[n + 3] == ' ') ||
               !memcmp(key + n, "ORDER", 5);
    }
    return false;
}

static bool is_wanted(const char *key)
{
    static const char *const numbered[] = {"CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT", "CROTA", "CD", "PC", "PV", "PS",
                                           "CPDIS", "CQDIS", "DP", "DQ", "D2IMDIS", "WAT", "AMDX", "AMDY", "PPO", "CNPIX"};
    static const char *const named[] = {"WCSAXES", "LONPOLE", "LATPOLE", "RADESYS", "RADECSYS", "EQUINOX", "EPOCH", "PLTRAH",
                                        "PLTRAM", "PLTRAS", "PLTDECSN", "PLTDECD", "PLTDECM", "PLTDECS", "XPIXELSZ", "YPIXELSZ"};
    if (key[0] == ' ') return false;
    for (size_t i = 0; i < sizeof numbered / sizeof numbered[0]; i++)
        if (is_numbered(key, numbered[i])) return true;
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        if (has_keyword(key, named[i])) return true;
    return is_sip(key);
}

static bool is_text_keyword(const char *key)
{
    return !memcmp(key, "CTYPE", 5) || !memcmp(key, "CUNIT", 5) || !memcmp(key, "RADE", 4) || !memcmp(key, "WAT", 3) ||
           !memcmp(key, "PS", 2) || !memcmp(key, "CPDIS", 5) || !memcmp(key, "CQDIS", 5) || !memcmp(key, "D2IM", 4) ||
           !memcmp(key, "PLTDECSN", 8) || !memcmp(key, "DP", 2) || !memcmp(key, "DQ", 2);
}

static void write_number(char *card, double value)
{
    char line[CARD_LENGTH + 1];
    int n = snprintf(line, sizeof line, "%.8s= %20.17G", card, value);
    memset(card + 8, ' ', CARD_LENGTH - 8);
    memcpy(card, line, (size_t)n);
}

/* Does the value begin with a quote and end with one on the same card, nothing but a comment behind? */
static bool is_closed_string(const char *card)
{
    int i = 9;
    while (i < CARD_LENGTH && card[i] == ' ') i++;
    if (i >= CARD_LENGTH || card[i] != '\'') return false;
    for (i++; i < CARD_LENGTH; i++) {
        if (card[i] != '\'') continue;
        if (i + 1 < CARD_LENGTH && card[i + 1] == '\'') i++; /* doubled: a quote inside */
        else break;
    }
    for (i++; i < CARD_LENGTH && card[i] == ' '; i++) continue;
    return i == CARD_LENGTH || card[i] == '/';
}

/* Is the value an unquoted number with nothing but a comment behind it? */
static bool is_plain_number(const char *card)
{
    char value[CARD_LENGTH], *end;
    memcpy(value, card + 9, CARD_LENGTH - 9);
    value[CARD_LENGTH - 9] = 0;
    value[strcspn(value, "/")] = 0;
    for (char *p = value; *p; p++) {
        if (*p == 'D' || *p == 'd') *p = 'E';
        if (!strchr(" +-.0123456789Ee", *p)) return false; /* no "nan", "0x1p3" */
    }
    strtod(value, &end);
    return end != value && strspn(end, " ") == strlen(end);
}

static bool is_empty_value(const char *card)
{
    char value[CARD_LENGTH];
    memcpy(value, card + 9, CARD_LENGTH - 9);
    value[CARD_LENGTH - 9] = 0;
    value[strcspn(value, "/")] = 0;
    return strspn(value, " '") == strlen(value);
}

/* A number in quotes ('12.5', 'J2000.0') becomes a number. */
static bool unquote_number(char *card)
{
    char key[9] = "", text[24] = "";
    double value;
    memcpy(key, card, 8);
    key[strcspn(key, " ")] = 0;
    struct header one = {.text = card, .n = 1, .capacity = 1};
    bool good = card_double(card, key, &value);
    if (!good && header_get_str(&one, key, text, sizeof text) && (text[0] == 'J' || text[0] == 'B')) {
        value = atof(text + 1);
        good = value > 1000;
    }
    if (good) write_number(card, value);
    return good;
}

enum card_use { CARD_GOOD, CARD_UNDEFINED, CARD_BROKEN };

/* Printable ASCII only (wcspih's rule) and values that are what they should be: wcspih 7.12 reads on into the next card
 * when a quote is not closed, past the end of its buffer, and crashes on some malformed numbers. */
static enum card_use tidy_card(char *card)
{
    for (int i = 0; i < CARD_LENGTH; i++)
        if (card[i] < 0x20 || card[i] > 0x7e) card[i] = ' ';
    if (is_empty_value(card)) return CARD_UNDEFINED;
    if (is_text_keyword(card)) return is_closed_string(card) ? CARD_GOOD : CARD_BROKEN;
    if (is_plain_number(card) || (is_closed_string(card) && unquote_number(card))) return CARD_GOOD;
    return CARD_BROKEN;
}

/* Without these the rest means something else; a broken EQUINOX or plate constant is merely left out. */
static bool is_essential(const char *key)
{
    static const char *const prefixes[] = {"CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT", "CROTA", "CD", "PC", "PV",
                                           "A_",    "B_",    "LONPOLE", "LATPOLE", "WCSAXES", "RADESYS", "WAT1", "WAT2"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (!memcmp(key, prefixes[i], strlen(prefixes[i]))) return true;
    return false;
}

/* The WCS cards of the primary description, first of each keyword. */
static enum err collect_cards(const struct header *h, struct cards *ret, struct error *err)
{
    int n = 0;
    for (int64_t i = 0; i < h->n; i++) {
        const char *card = h->text + i * CARD_LENGTH;
        n += card[8] == '=' && is_wanted(card);
        if (n > CARDS_MAX) return ERROR(err, ERR_CORRUPT, "cannot read the WCS: more than %d WCS cards", CARDS_MAX);
    }
    ret->n = 0;
    ret->text = calloc((size_t)n + 3, CARD_LENGTH);
    if (!ret->text) return ERROR(err, ERR_NOMEM, "no memory for WCS cards");
    for (int64_t i = 0; i < h->n; i++) {
        const char *card = h->text + i * CARD_LENGTH;
        if (card[8] != '=' || !is_wanted(card)) continue;
        bool record_valued = !memcmp(card, "DP", 2) || !memcmp(card, "DQ", 2); /* many cards share the keyword */
        bool seen = false;
        for (int k = 0; k < ret->n && !seen && !record_valued; k++) seen = !memcmp(ret->text + k * CARD_LENGTH, card, 8);
        if (seen) continue;
        char *copy = ret->text + ret->n * CARD_LENGTH;
        memcpy(copy, card, CARD_LENGTH);
        enum card_use use = tidy_card(copy);
        ret->n += use == CARD_GOOD;
        if (use == CARD_BROKEN && is_essential(copy))
            return ERROR(err, ERR_CORRUPT, "cannot read the WCS: bad value in '%.40s'", copy);
    }
    return ERR_OK;
}

/* ---- what cameras do to SIP, TPV and their kin ---------------------------------------------------------------- */

/* Terms beyond the order do not belong to the polynomial; an order beyond 9 or on one axis alone is damage. */
static enum err check_sip_order(struct cards *c, const char *axis, struct error *err)
{
    char keyword[10];
    double order;
    snprintf(keyword, sizeof keyword, "%s_ORDER", axis);
    if (!cards_double(c, keyword, &order)) return ERR_NOT_FOUND;
    if (!(order >= 0 && order <= 9)) return ERROR(err, ERR_CORRUPT, "cannot read the WCS: %s is %g", keyword, order);
    int kept = 0;
    size_t n = strlen(axis);
    for (int i = 0; i < c->n; i++) {
        const char *card = c->text + i * CARD_LENGTH;
        bool term = !memcmp(card, axis, n) && card[n] == '_' && isdigit((unsigned char)card[n + 1]);
        if (term && card[n + 1] - '0' + card[n + 3] - '0' > (int)order) continue;
        memmove(c->text + kept++ * CARD_LENGTH, card, CARD_LENGTH);
    }
    c->n = kept;
    return ERR_OK;
}

static void drop_sip(struct cards *c)
{
    static const char *const prefixes[] = {"A_", "B_", "AP_", "BP_"};
    for (int i = 0; i < 4; i++) remove_cards(c, prefixes[i], "0123456789O");
}

static void append_sip_suffix(struct cards *c, const char *keyword)
{
    char *card = find_card(c, keyword), value[24];
    cards_string(c, keyword, value, sizeof value);
    if (!card || strlen(value) != 8) return;
    char line[CARD_LENGTH + 1];
    snprintf(line, sizeof line, "%-8s= '%s-SIP'%58s", keyword, value, "");
    memcpy(card, line, CARD_LENGTH);
}

/* SCAMP leaves its PVs beside a SIP that was fitted later. Radial terms (Shupe et al. 2012) say that they are meant. */
static void drop_leftover_pv(struct cards *c)
{
    static const char *const radial[] = {"PV1_3", "PV1_11", "PV1_23", "PV1_39", "PV2_3", "PV2_11", "PV2_23", "PV2_39"};
    for (int i = 0; i < 8; i++)
        if (find_card(c, radial[i])) return;
    remove_cards(c, "PV", "0123456789");
}

static enum err settle_sip(struct cards *c, const char *projection, bool suffix, struct error *err)
{
    static const char *const own[] = {"TPV", "TNX", "ZPX", "DSS"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(projection, own[i])) {
            drop_sip(c);
            return ERR_OK;
        }
    enum err a = check_sip_order(c, "A", err), b = check_sip_order(c, "B", err);
    if (a == ERR_CORRUPT || b == ERR_CORRUPT) return ERR_CORRUPT;
    if (a != b) return ERROR(err, ERR_CORRUPT, "cannot read the WCS: SIP has %s_ORDER but no %s_ORDER", a ? "B" : "A", a ? "A" : "B");
    if (a != ERR_OK) {
        drop_sip(c);
        return ERR_OK;
    }
    enum err ap = check_sip_order(c, "AP", err), bp = check_sip_order(c, "BP", err);
    if (ap == ERR_CORRUPT || bp == ERR_CORRUPT) return ERR_CORRUPT;
    if (ap != ERR_OK || bp != ERR_OK) { /* half an inverse is none: wcslib iterates */
        remove_cards(c, "AP_", "0123456789O");
        remove_cards(c, "BP_", "0123456789O");
    }
    if (!suffix) {
        append_sip_suffix(c, "CTYPE1");
        append_sip_suffix(c, "CTYPE2");
    }
    drop_leftover_pv(c);
    return ERR_OK;
}

static enum err refuse_lookup(const struct cards *c, struct error *err)
{
    for (int i = 0; i < c->n; i++) {
        char key[9] = "", value[72] = "";
        const char *card = c->text + i * CARD_LENGTH;
        memcpy(key, card, 8);
        key[strcspn(key, " ")] = 0;
        bool type = !memcmp(key, "CTYPE1", 7) || !memcmp(key, "CTYPE2", 7);
        bool distortion = !memcmp(key, "CPDIS", 5) || !memcmp(key, "CQDIS", 5) || !memcmp(key, "D2IMDIS", 7);
        if (!type && !distortion) continue;
        cards_string(c, key, value, sizeof value);
        for (char *p = value; *p; p++) *p = (char)toupper((unsigned char)*p);
        if ((type && strstr(value, "-TAB")) || (distortion && !strcmp(value, "LOOKUP")))
            return ERROR(err, ERR_UNSUPPORTED, "cannot use the WCS: %s = '%s' needs a lookup table", key, value);
    }
    return ERR_OK;
}

/* Plate solutions of the Digitized Sky Survey, whole or not at all: wcspih 7.12 crashes on a stray CNPIX2, for one. */
static void drop_partial_dss(struct cards *c)
{
    static const char *const named[] = {"PLTRAH", "PLTRAM", "PLTRAS", "PLTDECSN", "PLTDECD", "PLTDECM", "PLTDECS", "PPO3", "PPO6",
                                        "CNPIX1", "CNPIX2", "XPIXELSZ", "YPIXELSZ"};
    bool whole = true;
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) whole = whole && find_card(c, named[i]);
    for (int i = 1; i <= 13 && whole; i++) {
        char x[16], y[16];
        snprintf(x, sizeof x, "AMDX%d", i);
        snprintf(y, sizeof y, "AMDY%d", i);
        whole = find_card(c, x) && find_card(c, y);
    }
    if (whole) return;
    static const char *const prefixes[] = {"AMDX", "AMDY", "PLT", "PPO", "CNPIX", "XPIXELSZ", "YPIXELSZ"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) remove_cards(c, prefixes[i], "0123456789RD=");
}

/* SCAMP before 2012 wrote its polynomial as PVs of a plain TAN, which has no such parameters: it is a TPV. */
static void name_scamp_tpv(struct cards *c)
{
    bool polynomial = false;
    for (int i = 0; i < c->n && !polynomial; i++) {
        const char *card = c->text + i * CARD_LENGTH;
        polynomial = !memcmp(card, "PV", 2) && card[3] == '_' && (card[4] >= '5' || isdigit((unsigned char)card[5]));
    }
    for (int axis = 1; polynomial && axis <= 2; axis++) {
        char keyword[10], value[24], *tan;
        snprintf(keyword, sizeof keyword, "CTYPE%d", axis);
        cards_string(c, keyword, value, sizeof value);
        char *card = find_card(c, keyword);
        if (strlen(value) == 8 && card && (tan = memmem(card, CARD_LENGTH, "-TAN", 4))) memcpy(tan, "-TPV", 4);
    }
}

static enum err settle_cards(struct cards *c, struct error *err)
{
    char ctype[24], other[24];
    double axes;
    drop_partial_dss(c);
    cards_string(c, "CTYPE1", ctype, sizeof ctype);
    cards_string(c, "CTYPE2", other, sizeof other);
    if ((!ctype[0] || !other[0]) && !find_card(c, "AMDX1")) return ERROR(err, ERR_NOT_FOUND, "no celestial WCS: no CTYPE1 and CTYPE2");
    if (cards_double(c, "WCSAXES", &axes) && !(axes >= 0 && axes <= AXES_MAX))
        return ERROR(err, ERR_CORRUPT, "cannot read the WCS: WCSAXES is %g", axes);
    enum err rc = refuse_lookup(c, err);
    if (rc != ERR_OK) return rc;
    char projection[4] = "";
    if (strlen(ctype) >= 8) memcpy(projection, ctype + 5, 3);
    if (strcmp(projection, "TNX") && strcmp(projection, "ZPX")) remove_cards(c, "WAT", "0123456789"); /* IRAF leaves them everywhere */
    rc = settle_sip(c, projection, strlen(ctype) >= 12 && !strcmp(ctype + 8, "-SIP"), err);
    if (rc == ERR_OK && !strcmp(projection, "TAN")) name_scamp_tpv(c);
    return rc;
}

/* A projection without any scale would be read as one degree per pixel, and wcslib makes a unit matrix of zeros. */
static enum err check_scale(const struct cards *c, struct error *err)
{
    static const char *const cd[2][4] = {{"CD1_1", "CD1_2", "CD2_1", "CD2_2"}, {"CD001001", "CD001002", "CD002001", "CD002002"}};
    static const char *const others[] = {"CDELT1", "PC1_1", "AMDX1"};
    for (int style = 0; style < 2; style++) {
        double m[4] = {0};
        int found = 0;
        for (int i = 0; i < 4; i++) found += cards_double(c, cd[style][i], &m[i]);
        if (found && m[0] * m[3] - m[1] * m[2] == 0) return ERROR(err, ERR_CORRUPT, "cannot use the WCS: its CD matrix is singular");
        if (found) return ERR_OK;
    }
    for (int i = 0; i < 3; i++)
        if (find_card(c, others[i])) return ERR_OK;
    return ERROR(err, ERR_CORRUPT, "cannot use the WCS: CTYPE without CD, PC or CDELT");
}

/* ---- wcslib --------------------------------------------------------------------------------------------------- */

static enum err wcs_failed(struct error *err, int status, const char *what)
{
    enum err code = status == WCSERR_MEMORY ? ERR_NOMEM : ERR_CORRUPT;
    const char *why = status > 0 && status < 15 ? wcs_errmsg[status] : "unknown";
    ERROR(err, code, "cannot %s the WCS: %s", what, why);
    error_library(err, status);
    return code;
}

/* The two celestial axes of the primary description become *ret, which is set up and owned by the caller. */
static enum err take_celestial(struct wcsprm *all, int nwcs, struct wcsprm *ret, struct error *err)
{
    struct wcsprm *primary = NULL;
    for (int i = 0; i < nwcs && !primary; i++)
        if (all[i].alt[0] == ' ' || !all[i].alt[0]) primary = &all[i];
    if (!primary) return ERROR(err, ERR_NOT_FOUND, "no celestial WCS");
    int fixes[NWCSFIX], nsub = 1, axes[AXES_MAX + 1] = {WCSSUB_CELESTIAL};
    wcsfix(7, NULL, primary, fixes); /* its failures are of no account: wcsset() judges */
    ret->flag = -1;
    int status = wcssub(1, primary, &nsub, axes, ret);
    if (status) {
        wcsfree(ret);
        return wcs_failed(err, status, "separate the sky axes of");
    }
    status = nsub == 2 ? wcsset(ret) : 0;
    enum err rc = ERR_OK;
    if (status)
        rc = wcs_failed(err, status, "use");
    else if (nsub != 2 || ret->lng < 0 || ret->lat < 0)
        rc = ERROR(err, ERR_NOT_FOUND, "no celestial WCS: CTYPE is not a pair of sky axes");
    else if (axes[0] > 2 || axes[1] > 2)
        rc = ERROR(err, ERR_UNSUPPORTED, "cannot use the WCS: the sky is not on the first two axes");
    if (rc != ERR_OK) wcsfree(ret);
    return rc;
}

static enum err parse_wcs(struct cards *c, struct wcsprm *ret, struct error *err)
{
    struct wcsprm *all = NULL;
    int nreject = 0, nwcs = 0;
    int status = wcspih(c->text, c->n, WCSHDR_all, 0, &nreject, &nwcs, &all);
    if (status) {
        if (all) wcsvfree(&nwcs, &all); /* what it made before it gave up */
        return wcs_failed(err, status, "parse");
    }
    enum err rc = take_celestial(all, nwcs, ret, err);
    wcsvfree(&nwcs, &all);
    return rc;
}

/* ---- to ICRS -------------------------------------------------------------------------------------------------- */

/* FK5 (mean place of J2000) at a date to ICRS; ERFA's fk5hz is a rotation, so its three axes say all. */
static void fk5_matrix(double mjd, double ret[3][3])
{
    for (int k = 0; k < 3; k++) {
        double v[3] = {k == 0, k == 1, k == 2}, ra, dec, rh, dh, out[3];
        eraC2s(v, &ra, &dec);
        eraFk5hz(ra, dec, MJD_OFFSET, mjd, &rh, &dh);
        eraS2c(rh, dh, out);
        for (int i = 0; i < 3; i++) ret[i][k] = out[i];
    }
}

static void multiply(double a[3][3], double b[3][3], double ret[3][3])
{
    double out[3][3];
    eraRxr(a, b, out);
    eraCr(out, ret);
}

static void fk5_to_icrs(double equinox, double mjd, double ret[3][3])
{
    fk5_matrix(mjd, ret);
    if (fabs(equinox - 2000) < 1e-6) return;
    double dj0, dj, bias[3][3], precession[3][3], both[3][3], back[3][3];
    eraEpj2jd(equinox, &dj0, &dj);
    eraBp06(dj0, dj, bias, precession, both);
    eraTr(precession, back);
    multiply(ret, back, ret);
}

/* Newcomb's precession from a Besselian equinox to B1950 (Explanatory Supplement 1961, section 2B; Andoyer's angles). */
static void newcomb_to_b1950(double equinox, double ret[3][3])
{
    double t0 = (equinox - 1850) * 0.01, t = (1950 - equinox) * 0.01; /* tropical centuries */
    double w = 2303.5548 + (1.39720 + 0.000059 * t0) * t0;
    double zeta = (w + (0.30242 - 0.000269 * t0 + 0.017996 * t) * t) * t;
    double z = (w + (1.09478 + 0.000387 * t0 + 0.018324 * t) * t) * t;
    double theta = (2005.1125 + (-0.85294 - 0.000365 * t0) * t0 + (-0.42647 - 0.000365 * t0 - 0.041802 * t) * t) * t;
    double as = RAD_PER_DEG / ARCSEC_PER_DEG;
    eraIr(ret);
    eraRz(-zeta * as, ret);
    eraRy(theta * as, ret);
    eraRz(-z * as, ret);
}

/* E-terms of aberration: the FK4 mean place is the place without them plus this (Explanatory Supplement 1992, 3.59). */
static void add_e_terms(double v[3])
{
    static const double a[3] = {-1.62557e-6, -0.31919e-6, -0.13843e-6};
    double dot = v[0] * a[0] + v[1] * a[1] + v[2] * a[2];
    for (int i = 0; i < 3; i++) v[i] += a[i] - dot * v[i];
}

static void remove_e_terms(double v[3])
{
    static const double a[3] = {-1.62557e-6, -0.31919e-6, -0.13843e-6};
    double r[3] = {v[0], v[1], v[2]};
    for (int round = 0; round < 3; round++) {
        double dot = r[0] * a[0] + r[1] * a[1] + r[2] * a[2];
        for (int i = 0; i < 3; i++) r[i] = v[i] - a[i] + dot * r[i];
    }
    memcpy(v, r, sizeof r);
}

static double header_mjd(const struct header *h)
{
    double mjd;
    char date[80];
    if (header_get_double(h, "MJD-OBS", &mjd)) return mjd;
    if (header_get_str(h, "DATE-OBS", date, sizeof date) && obstime_parse(date, &mjd, NULL) == ERR_OK) return mjd;
    return NAN;
}

static enum err equatorial_to_icrs(struct skycoord *s, const struct cards *c, double mjd, struct error *err)
{
    char system[24];
    double equinox = NAN;
    cards_string(c, "RADESYS", system, sizeof system);
    if (!system[0]) cards_string(c, "RADECSYS", system, sizeof system);
    for (char *p = system; *p; p++) *p = (char)toupper((unsigned char)*p);
    if (!cards_double(c, "EQUINOX", &equinox)) cards_double(c, "EPOCH", &equinox);
    if (!system[0]) strcpy(system, isnan(equinox) ? "ICRS" : equinox < 1984 ? "FK4" : "FK5"); /* FITS 4.0, section 8.3 */
    if (!strcmp(system, "ICRS") || !strcmp(system, "GCRS")) return ERR_OK; /* GCRS: as ICRS to the bending of light */
    if (!isnan(equinox) && !(equinox > 1500 && equinox < 2500))
        return ERROR(err, ERR_CORRUPT, "cannot use the WCS: EQUINOX is %g", equinox);
    if (!strncmp(system, "FK5", 3)) {
        s->rotate = true;
        fk5_to_icrs(isnan(equinox) ? 2000 : equinox, isnan(mjd) ? 51544.5 : mjd, s->to_icrs);
    } else if (!strncmp(system, "FK4", 3)) {
        s->frame = !strcmp(system, "FK4-NO-E") ? SKY_FK4_NO_E : SKY_FK4;
        s->fk4_epoch = isnan(mjd) ? 1950 : eraEpb(MJD_OFFSET, mjd);
        newcomb_to_b1950(isnan(equinox) ? 1950 : equinox, s->to_b1950);
    } else {
        return ERROR(err, ERR_UNSUPPORTED, "cannot use the WCS: RADESYS = '%s'", system);
    }
    return ERR_OK;
}

static enum err sky_to_icrs(struct skycoord *s, const struct cards *c, double mjd, struct error *err)
{
    const char *lng = s->wcs.lngtyp;
    if (!strncmp(lng, "RA", 2)) return equatorial_to_icrs(s, c, mjd, err);
    s->rotate = true;
    double m[3][3];
    if (!strncmp(lng, "GLON", 4)) {
        for (int k = 0; k < 3; k++) {
            double v[3] = {k == 0, k == 1, k == 2}, l, b, ra, dec, out[3];
            eraC2s(v, &l, &b);
            eraG2icrs(l, b, &ra, &dec);
            eraS2c(ra, dec, out);
            for (int i = 0; i < 3; i++) s->to_icrs[i][k] = out[i];
        }
    } else if (!strncmp(lng, "ELON", 4)) {
        double equinox = 2000, dj0, dj;
        cards_double(c, "EQUINOX", &equinox);
        eraEpj2jd(equinox > 1500 && equinox < 2500 ? equinox : 2000, &dj0, &dj);
        eraEcm06(dj0, dj, m);
        eraTr(m, s->to_icrs);
    } else {
        return ERROR(err, ERR_UNSUPPORTED, "cannot use the WCS: longitude is '%.4s'", lng);
    }
    return ERR_OK;
}

static void icrs_from(const struct skycoord *s, double *ra, double *dec)
{
    double v[3], w[3], a = *ra * RAD_PER_DEG, d = *dec * RAD_PER_DEG;
    if (s->frame == SKY_ROTATED && !s->rotate) return;
    eraS2c(a, d, v);
    if (s->frame == SKY_ROTATED) {
        eraRxp((double(*)[3])s->to_icrs, v, w);
        eraC2s(w, &a, &d);
    } else {
        eraRxp((double(*)[3])s->to_b1950, v, w);
        if (s->frame == SKY_FK4_NO_E) add_e_terms(w);
        eraC2s(w, &a, &d);
        double r5, d5;
        eraFk45z(a, d, s->fk4_epoch, &r5, &d5);
        double m[3][3];
        fk5_matrix(51544.5, m);
        eraS2c(r5, d5, v);
        eraRxp(m, v, w);
        eraC2s(w, &a, &d);
    }
    *ra = eraAnp(a) * DEG_PER_RAD;
    *dec = d * DEG_PER_RAD;
}

static void icrs_to(const struct skycoord *s, double *ra, double *dec)
{
    double v[3], w[3], a = *ra * RAD_PER_DEG, d = *dec * RAD_PER_DEG;
    if (s->frame == SKY_ROTATED && !s->rotate) return;
    eraS2c(a, d, v);
    if (s->frame == SKY_ROTATED) {
        eraTrxp((double(*)[3])s->to_icrs, v, w);
        eraC2s(w, &a, &d);
    } else {
        double m[3][3], r4, d4, dr, dd;
        fk5_matrix(51544.5, m);
        eraTrxp(m, v, w);
        eraC2s(w, &a, &d);
        eraFk54z(a, d, s->fk4_epoch, &r4, &d4, &dr, &dd);
        eraS2c(r4, d4, v);
        if (s->frame == SKY_FK4_NO_E) remove_e_terms(v);
        eraTrxp((double(*)[3])s->to_b1950, v, w);
        eraC2s(w, &a, &d);
    }
    *ra = eraAnp(a) * DEG_PER_RAD;
    *dec = d * DEG_PER_RAD;
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

enum err skycoord_new(const struct header *h, struct skycoord **ret, struct error *err)
{
    struct cards cards = {0};
    struct skycoord *s = calloc(1, sizeof *s);
    if (!s) return ERROR(err, ERR_NOMEM, "no memory for sky coordinates");
    s->wcs.flag = -1;
    enum err rc = collect_cards(h, &cards, err);
    if (rc == ERR_OK) rc = settle_cards(&cards, err);
    if (rc == ERR_OK) rc = check_scale(&cards, err);
    if (rc == ERR_OK) rc = parse_wcs(&cards, &s->wcs, err);
    if (rc != ERR_OK) {
        free(s);
        s = NULL;
    } else if ((rc = sky_to_icrs(s, &cards, header_mjd(h), err)) != ERR_OK) {
        skycoord_free(s);
        s = NULL;
    }
    free(cards.text);
    if (rc == ERR_OK) *ret = s;
    return rc;
}

struct skycoord *skycoord_clone(const struct skycoord *s)
{
    struct skycoord *copy = malloc(sizeof *copy);
    if (!copy) return NULL;
    memcpy(copy, s, sizeof *copy);
    memset(&copy->wcs, 0, sizeof copy->wcs);
    copy->wcs.flag = -1;
    struct wcsprm *source = (struct wcsprm *)&s->wcs; /* wcssub() asks for a pointer it does not write through once set */
    if (wcssub(1, source, NULL, NULL, &copy->wcs) || wcsset(&copy->wcs)) {
        skycoord_free(copy);
        return NULL;
    }
    return copy;
}

void skycoord_free(struct skycoord *s)
{
    if (!s) return;
    wcsfree(&s->wcs);
    free(s);
}

/* ---- transformations ------------------------------------------------------------------------------------------ */

static void chunk_to_sky(struct skycoord *s, int n, const double *x, const double *y, double *ra, double *dec)
{
    bool usable[CHUNK];
    for (int i = 0; i < n; i++) {
        usable[i] = isfinite(x[i]) && isfinite(y[i]);
        s->pixel[i][0] = usable[i] ? x[i] + 1 : s->wcs.crpix[0];
        s->pixel[i][1] = usable[i] ? y[i] + 1 : s->wcs.crpix[1];
        s->stat[i] = 0;
    }
    int status = wcsp2s(&s->wcs, n, 2, s->pixel[0], s->image[0], s->phi, s->theta, s->world[0], s->stat);
    for (int i = 0; i < n; i++) {
        double a = s->world[i][s->wcs.lng], d = s->world[i][s->wcs.lat];
        bool good = usable[i] && (!status || status == WCSERR_BAD_PIX) && !s->stat[i] && isfinite(a) && isfinite(d);
        if (good) icrs_from(s, &a, &d);
        if (good && (a = fmod(a, 360)) < 0) a += 360;
        ra[i] = good ? (a >= 360 ? 0 : a) : NAN;
        dec[i] = good ? d : NAN;
    }
}

static void chunk_to_pixel(struct skycoord *s, int n, const double *ra, const double *dec, double *x, double *y)
{
    bool usable[CHUNK];
    for (int i = 0; i < n; i++) {
        usable[i] = isfinite(ra[i]) && isfinite(dec[i]) && fabs(dec[i]) <= 90 && fabs(ra[i]) < 1e6;
        double a = usable[i] ? ra[i] : 0, d = usable[i] ? dec[i] : 0;
        icrs_to(s, &a, &d);
        s->world[i][s->wcs.lng] = a;
        s->world[i][s->wcs.lat] = d;
        s->stat[i] = 0;
    }
    int status = wcss2p(&s->wcs, n, 2, s->world[0], s->phi, s->theta, s->image[0], s->pixel[0], s->stat);
    for (int i = 0; i < n; i++) {
        double px = s->pixel[i][0] - 1, py = s->pixel[i][1] - 1;
        bool good = usable[i] && (!status || status == WCSERR_BAD_WORLD) && !s->stat[i] && isfinite(px) && isfinite(py);
        x[i] = good ? px : NAN;
        y[i] = good ? py : NAN;
    }
}

enum err skycoord_to_sky(struct skycoord *s, int64_t n, const double *x, const double *y, double *ret_ra, double *ret_dec,
                         struct error *err)
{
    (void)err;
    for (int64_t i = 0; i < n; i += CHUNK)
        chunk_to_sky(s, (int)(n - i < CHUNK ? n - i : CHUNK), x + i, y + i, ret_ra + i, ret_dec + i);
    return ERR_OK;
}

enum err skycoord_to_pixel(struct skycoord *s, int64_t n, const double *ra, const double *dec, double *ret_x, double *ret_y,
                           struct error *err)
{
    (void)err;
    for (int64_t i = 0; i < n; i += CHUNK)
        chunk_to_pixel(s, (int)(n - i < CHUNK ? n - i : CHUNK), ra + i, dec + i, ret_x + i, ret_y + i);
    return ERR_OK;
}

/* Standard coordinates of (ra, dec) on the plane that touches the sky at (ra0, dec0), degrees. */
static void tangent(double ra, double dec, double ra0, double dec0, double *xi, double *eta)
{
    double a = (ra - ra0) * RAD_PER_DEG, d = dec * RAD_PER_DEG, d0 = dec0 * RAD_PER_DEG;
    double down = sin(d) * sin(d0) + cos(d) * cos(d0) * cos(a);
    *xi = cos(d) * sin(a) / down * DEG_PER_RAD;
    *eta = (sin(d) * cos(d0) - cos(d) * sin(d0) * cos(a)) / down * DEG_PER_RAD;
}

enum err skycoord_jacobian(struct skycoord *s, double x, double y, double ret_j[4], struct error *err)
{
    double px[5] = {x, x - 0.5, x + 0.5, x, x}, py[5] = {y, y, y, y - 0.5, y + 0.5}, ra[5], dec[5], xi[5], eta[5];
    chunk_to_sky(s, 5, px, py, ra, dec);
    for (int i = 0; i < 5; i++) {
        if (isnan(ra[i])) return ERROR(err, ERR_CORRUPT, "no sky at pixel (%g, %g)", x + 1, y + 1);
        tangent(ra[i], dec[i], ra[0], dec[0], &xi[i], &eta[i]);
    }
    ret_j[0] = xi[2] - xi[1];
    ret_j[1] = xi[4] - xi[3];
    ret_j[2] = eta[2] - eta[1];
    ret_j[3] = eta[4] - eta[3];
    return ERR_OK;
}

double skycoord_scale_arcsec(struct skycoord *s, double x, double y)
{
    double j[4];
    if (skycoord_jacobian(s, x, y, j, NULL) != ERR_OK) return NAN;
    return sqrt(fabs(j[0] * j[3] - j[1] * j[2])) * ARCSEC_PER_DEG;
}

double sky_distance_deg(double ra1, double dec1, double ra2, double dec2)
{
    double a = sin((dec2 - dec1) * 0.5 * RAD_PER_DEG), b = sin((ra2 - ra1) * 0.5 * RAD_PER_DEG);
    double h = a * a + cos(dec1 * RAD_PER_DEG) * cos(dec2 * RAD_PER_DEG) * b * b;
    return 2 * asin(sqrt(h < 1 ? h : 1)) * DEG_PER_RAD;
}
