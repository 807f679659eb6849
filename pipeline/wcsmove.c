#include "pipeline/wcsmove.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/units.h"
#include "processors/wcsfit.h"

/* Cards of a WCS that do not depend on the pixel frame. */
static const char *const sky_cards[] = {"WCSAXES", "WCSNAME", "CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "CRVAL1", "CRVAL2", "LONPOLE", "LATPOLE",
                                        "RADESYS", "RADECSYS", "EQUINOX", "EPOCH"};
static const char *const patterns[] = {"PV[12]_*", "[AB]_[0-9]*_[0-9]*", "[AB]P_[0-9]*_[0-9]*", "[AB]_ORDER", "[AB]P_ORDER", "A_DMAX", "B_DMAX"};

static enum err linear_part(const struct header *h, double cd[4], struct error *err)
{
    static const char *const cd_names[] = {"CD1_1", "CD1_2", "CD2_1", "CD2_2"}, *const pc_names[] = {"PC1_1", "PC1_2", "PC2_1", "PC2_2"};
    bool any = false;
    for (int i = 0; i < 4; i++) {
        cd[i] = 0;
        any |= header_get_double(h, cd_names[i], &cd[i]);
    }
    if (any) return ERR_OK;
    double delta[2] = {NAN, NAN}, pc[4] = {1, 0, 0, 1}, rotation = 0;
    if (!header_get_double(h, "CDELT1", &delta[0]) || !header_get_double(h, "CDELT2", &delta[1]))
        return ERROR(err, ERR_UNSUPPORTED, "the coordinates of the neighbour have neither CD nor CDELT cards");
    any = false;
    for (int i = 0; i < 4; i++) any |= header_get_double(h, pc_names[i], &pc[i]);
    if (!any && header_get_double(h, "CROTA2", &rotation)) {
        double c = cos(rotation * RAD_PER_DEG), s = sin(rotation * RAD_PER_DEG);
        pc[0] = c, pc[1] = -s * delta[1] / delta[0], pc[2] = s * delta[0] / delta[1], pc[3] = c;
    }
    for (int i = 0; i < 4; i++) cd[i] = delta[i / 2] * pc[i];
    return ERR_OK;
}

/* The name of card i, upper case as stored. */
static void card_name(const struct header *h, int64_t i, char name[9])
{
    memcpy(name, h->text + i * CARD_LENGTH, 8);
    name[8] = 0;
    for (int k = 7; k >= 0 && name[k] == ' '; k--) name[k] = 0;
}

static bool is_sky_card(const char *name)
{
    for (size_t k = 0; k < sizeof sky_cards / sizeof sky_cards[0]; k++)
        if (!strcmp(name, sky_cards[k])) return true;
    return false;
}

static bool is_distortion(const char *name)
{
    for (size_t k = 0; k < sizeof patterns / sizeof patterns[0]; k++)
        if (!fnmatch(patterns[k], name, 0)) return true;
    return false;
}

/* SIP order of "A_2_0" (p + q), -1 for any other card. */
static int sip_order(const char *name)
{
    int p, q;
    char end;
    const char *rest = (name[0] == 'A' || name[0] == 'B') ? name + (name[1] == 'P' ? 2 : 1) : "";
    return sscanf(rest, "_%d_%d%c", &p, &q, &end) == 2 ? p + q : -1;
}

static enum err copy_card(const struct header *from, int64_t i, const char *name, bool turned, struct header *to)
{
    double value;
    int order = sip_order(name);
    if (turned && order >= 0 && order % 2 == 0 && header_get_double(from, name, &value)) return header_set_double(to, name, -value, NULL);
    return header_append_card(to, from->text + i * CARD_LENGTH);
}

enum err wcs_move(const struct header *from, const double m[4], const double t[2], struct header *to, struct error *err)
{
    double cd[4], crpix[2] = {0, 0}, det = m[0] * m[3] - m[1] * m[2];
    enum err e = linear_part(from, cd, err);
    if (e) return e;
    header_get_double(from, "CRPIX1", &crpix[0]);
    header_get_double(from, "CRPIX2", &crpix[1]);
    static const char *const drop[] = {"CD[12]_[12]", "PC[12]_[12]", "CDELT[12]", "CROTA[12]", "CRPIX[12]"};
    for (size_t k = 0; k < sizeof drop / sizeof drop[0]; k++) header_remove_matching(to, drop[k]);
    for (size_t k = 0; k < sizeof patterns / sizeof patterns[0]; k++) header_remove_matching(to, patterns[k]);
    for (size_t k = 0; k < sizeof sky_cards / sizeof sky_cards[0]; k++) header_remove(to, sky_cards[k]);
    bool turned = m[0] + m[3] < 0;
    for (int64_t i = 0; i < from->n && !e; i++) {
        char name[9];
        card_name(from, i, name);
        if (is_sky_card(name) || is_distortion(name)) e = copy_card(from, i, name, turned, to);
    }
    /* CD' = CD M^-1, M^-1 = {m3, -m1, -m2, m0} / det */
    double inverse[4] = {m[3] / det, -m[1] / det, -m[2] / det, m[0] / det};
    static const char *const names[] = {"CD1_1", "CD1_2", "CD2_1", "CD2_2"};
    if (!e) e = header_set_double(to, "CRPIX1", m[0] * crpix[0] + m[1] * crpix[1] + t[0], "reference pixel");
    if (!e) e = header_set_double(to, "CRPIX2", m[2] * crpix[0] + m[3] * crpix[1] + t[1], "reference pixel");
    for (int i = 0; i < 4 && !e; i++) {
        int row = i / 2, col = i % 2;
        e = header_set_double(to, names[i], cd[2 * row] * inverse[col] + cd[2 * row + 1] * inverse[2 + col], NULL);
    }
    return e ? ERROR(err, e, "could not write the coordinates: out of memory") : ERR_OK;
}

/* ---- a fitted solution ----------------------------------------------------------------------------------------------- */

void wcs_strip(struct header *h)
{
    static const char *const more[] = {"CD[12]_[12]", "PC[12]_[12]", "CDELT[12]", "CROTA[12]", "CRPIX[12]", "CRDER[12]", "CSYER[12]", "WAT[012]_[0-9]*", "WCSDIM", "LTM[12]_[12]",
                                       "LTV[12]", "C[TRDU]*[12][A-Z]", "PV[12]_*[A-Z]", "RADESYS[A-Z]", "EQUINOX[A-Z]", "WCSNAME[A-Z]", "WCSAXES[A-Z]", "PROJP[0-9]*"};
    for (size_t k = 0; k < sizeof more / sizeof more[0]; k++) header_remove_matching(h, more[k]);
    for (size_t k = 0; k < sizeof patterns / sizeof patterns[0]; k++) header_remove_matching(h, patterns[k]);
    for (size_t k = 0; k < sizeof sky_cards / sizeof sky_cards[0]; k++) header_remove(h, sky_cards[k]);
}

static enum err write_terms(struct header *h, const char *stem, int order, int first, const double *c)
{
    char key[16];
    snprintf(key, sizeof key, "%s_ORDER", stem);
    enum err e = header_set_int(h, key, order, NULL);
    for (int o = first; o <= order && !e; o++)
        for (int q = 0; q <= o && !e; q++) {
            snprintf(key, sizeof key, "%s_%d_%d", stem, o - q, q);
            e = header_set_double(h, key, c[sip_term(o - q, q)], NULL);
        }
    return e;
}

enum err wcs_write_sip(const struct wcs_sip *s, struct header *h, struct error *err)
{
    static const char *const names[] = {"CD1_1", "CD1_2", "CD2_1", "CD2_2"};
    bool bent = s->order >= 2;
    wcs_strip(h);
    enum err e = header_set_str(h, "CTYPE1", bent ? "RA---TAN-SIP" : "RA---TAN", "fitted to reference stars");
    if (!e) e = header_set_str(h, "CTYPE2", bent ? "DEC--TAN-SIP" : "DEC--TAN", NULL);
    if (!e) e = header_set_str(h, "CUNIT1", "deg", NULL);
    if (!e) e = header_set_str(h, "CUNIT2", "deg", NULL);
    if (!e) e = header_set_str(h, "RADESYS", "ICRS", NULL);
    if (!e) e = header_set_double(h, "CRVAL1", s->crval[0], "[deg]");
    if (!e) e = header_set_double(h, "CRVAL2", s->crval[1], "[deg]");
    if (!e) e = header_set_double(h, "CRPIX1", s->crpix[0] + 1, "centre of the frame");
    if (!e) e = header_set_double(h, "CRPIX2", s->crpix[1] + 1, NULL);
    for (int k = 0; k < 4 && !e; k++) e = header_set_double(h, names[k], s->cd[k], NULL);
    if (bent && !e) e = write_terms(h, "A", s->order, 2, s->a);
    if (bent && !e) e = write_terms(h, "B", s->order, 2, s->b);
    if (bent && s->inverse_order && !e) e = write_terms(h, "AP", s->inverse_order, 0, s->ap);
    if (bent && s->inverse_order && !e) e = write_terms(h, "BP", s->inverse_order, 0, s->bp);
    return e ? ERROR(err, ERR_NOMEM, "no memory for cards") : ERR_OK;
}
