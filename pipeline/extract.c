#include "pipeline/extract.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/arena.h"
#include "common/log.h"
#include "common/stats.h"
#include "common/units.h"
#include "processors/matched_psf.h"
#include "processors/shape.h"

/* ---- options ---------------------------------------------------------------------------------------------------- */

/* What SCAMP, PSFEx and the catalogue need. */
static const enum detection_column default_columns[] = {
    DET_number, DET_x, DET_y, DET_xwin, DET_ywin, DET_errawin, DET_errbwin, DET_errthetawin, DET_ra, DET_dec, DET_rawin, DET_decwin,
    DET_flux_auto, DET_fluxerr_auto, DET_mag_auto, DET_magerr_auto, DET_kron_radius, DET_flux_aper, DET_fluxerr_aper, DET_mag_aper,
    DET_magerr_aper, DET_flux_iso, DET_fluxerr_iso, DET_flux_radius, DET_background, DET_threshold, DET_flux_max, DET_isoarea,
    DET_a, DET_b, DET_theta, DET_elongation, DET_ellipticity, DET_fwhm, DET_snr_win, DET_class_star, DET_flags, DET_imaflags,
    DET_flux_psf, DET_fluxerr_psf, DET_mag_psf, DET_magerr_psf, DET_xpsf, DET_ypsf, DET_errapsf, DET_errbpsf, DET_errthetapsf, DET_rapsf,
    DET_decpsf, DET_chi2_psf, DET_niter_psf, DET_flags_psf, DET_spread_model, DET_spreaderr_model};

#define PSF_COLUMNS 16 /* at the end of the list */
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

void extract_options_columns(struct extract_options *o, const enum detection_column *columns, int n)
{
    memset(o->measure.want, 0, sizeof o->measure.want);
    o->ncolumn = n;
    for (int i = 0; i < n; i++) {
        o->column[i] = columns[i];
        o->measure.want[columns[i]] = 1;
    }
}

void extract_options_init(struct extract_options *o)
{
    *o = (struct extract_options){.background = background_options_default(), .detect = detect_options_default(),
                                  .measure = measure_options_default(), .weight_thresh = NAN, .use_variance = true,
                                  .psf = psf_options_default(), .psffit = psffit_options_default(), .gain_key = "GAIN", .satur_key = "SATURATE", .saturate = INFINITY};
    o->matched = true;
    o->matcher = matched_options_default();
    o->background.reject = MASK_UNUSABLE;
    o->detect.holes = MASK_UNUSABLE & ~(MASK_SATURATED | MASK_BLEED); /* a saturated core belongs to its star */
    o->detect.mended = MASK_INTERPOLATED;
    extract_options_columns(o, default_columns, COUNT(default_columns));
}

void extract_options_release(struct extract_options *o)
{
    free(o->weight);
    free(o->kernel_weight);
    free(o->network);
    *o = (struct extract_options){0};
}

static enum err read_filter(struct extract_options *o, const char *path, struct error *err)
{
    struct sex_kernel k;
    enum err e = sex_kernel_read(&k, path, err);
    if (e) return e;
    free(o->kernel_weight);
    o->kernel_weight = k.v;
    o->kernel = (struct convolve_kernel){k.nx, k.ny, k.v};
    o->detect.filter = &o->kernel;
    return convolve_verify(&o->kernel, err);
}

static void psf_settings(struct extract_options *o, const struct settings *s)
{
    o->psf.max_stars = (int)settings_int(s, SET_PSF_STARS);
    o->psf.degree = (int)settings_int(s, SET_PSF_DEGREE);
    o->psf.snr_min = settings_double(s, SET_PSF_SNR);
    o->psffit.radius_fwhm = settings_double(s, SET_PSF_FIT_RADIUS);
    o->psffit.group_max = (int)settings_int(s, SET_PSF_GROUP);
    o->psffit.local_background = settings_bool(s, SET_PSF_LOCAL_SKY);
    if (!settings_bool(s, SET_PSF_PHOTOMETRY)) extract_options_columns(o, default_columns, COUNT(default_columns) - PSF_COLUMNS);
}

enum err extract_options_from_settings(struct extract_options *o, const struct settings *s, struct error *err)
{
    o->background.mesh_nx = o->background.mesh_ny = settings_int(s, SET_BACK_SIZE);
    o->background.filter_nx = o->background.filter_ny = settings_int(s, SET_BACK_FILTERSIZE);
    o->detect.thresh = settings_double(s, SET_DETECT_THRESH);
    o->detect.minarea = settings_int(s, SET_DETECT_MINAREA);
    o->detect.deblend.nthresh = (int)settings_int(s, SET_DEBLEND_NTHRESH);
    o->detect.deblend.mincont = settings_double(s, SET_DEBLEND_MINCONT);
    o->detect.deblend.max_pixels = settings_int(s, SET_DEBLEND_MAX_PIXELS);
    o->detect.clean = settings_bool(s, SET_CLEAN);
    o->detect.clean_param = settings_double(s, SET_CLEAN_PARAM);
    o->measure.naper = settings_doubles(s, SET_PHOT_APERTURES, o->measure.diameter, MEASURE_LIST_MAX);
    o->measure.nfrac = settings_doubles(s, SET_PHOT_FLUXFRAC, o->measure.fraction, MEASURE_LIST_MAX);
    o->measure.kron_factor = settings_double(s, SET_PHOT_KRON_FACT);
    o->measure.kron_min = settings_double(s, SET_PHOT_KRON_MIN);
    psf_settings(o, s);
    o->matcher.threshold = settings_double(s, SET_DETECT_SNR);
    o->matcher.false_share = settings_double(s, SET_DETECT_FALSE_SHARE);
    const char *filter = settings_string(s, SET_DETECT_FILTER);
    o->matched = !*filter || !strcmp(filter, "psf");
    if (o->matched) return ERR_OK;
    if (!strcmp(filter, "none")) return o->detect.filter = NULL, ERR_OK;
    if (!strcmp(filter, "default")) return o->detect.filter = &convolve_pyramid, ERR_OK;
    return read_filter(o, filter, err);
}

static double real_at(const struct sex_reals *r, int i, double otherwise)
{
    return i < r->n ? r->v[i] : otherwise;
}

static void copy_reals(const struct sex_reals *r, int *n, double *v)
{
    *n = r->n < MEASURE_LIST_MAX ? r->n : MEASURE_LIST_MAX;
    memcpy(v, r->v, (size_t)*n * sizeof *v);
}

static void sex_background(struct extract_options *o, const struct sex_config *c)
{
    o->background.mesh_nx = (int64_t)real_at(&c->back_size, 0, 64);
    o->background.mesh_ny = (int64_t)real_at(&c->back_size, 1, (double)o->background.mesh_nx);
    o->background.filter_nx = (int64_t)real_at(&c->back_filtersize, 0, 3);
    o->background.filter_ny = (int64_t)real_at(&c->back_filtersize, 1, (double)o->background.filter_nx);
    o->background.filter_thresh = (float)c->back_filtthresh;
    o->background.compat = true;
    o->manual_background = c->back_type == SEX_BACK_MANUAL;
    o->background_value = (float)real_at(&c->back_value, 0, 0);
}

void extract_options_noise(struct extract_options *o, int weight_type)
{
    static const enum extract_noise noise[] = {NOISE_GLOBAL, NOISE_BACKGROUND, NOISE_RMS, NOISE_VARIANCE_MAP, NOISE_WEIGHT};
    o->noise = noise[weight_type];
}

static enum err sex_detection(struct extract_options *o, const struct sex_config *c, struct error *err)
{
    if (c->detect_thresh.n != 1 || c->analysis_thresh.n != 1)
        return ERROR(err, ERR_UNSUPPORTED, "%s as a surface brightness and zero point is not supported", c->detect_thresh.n != 1 ? "DETECT_THRESH" : "ANALYSIS_THRESH");
    o->detect.thresh = c->detect_thresh.v[0];
    o->detect.absolute = c->thresh_type == SEX_THRESH_ABSOLUTE;
    o->detect.minarea = c->detect_minarea;
    o->detect.maxarea = c->detect_maxarea;
    o->detect.deblend.nthresh = c->deblend_nthresh;
    o->detect.deblend.mincont = c->deblend_mincont;
    o->detect.clean = c->clean;
    o->detect.clean_param = c->clean_param;
    o->detect.compat = true;
    o->matched = false;
    extract_options_noise(o, c->weight_type);
    o->weight_gain = c->weight_gain;
    o->weight_thresh = real_at(&c->weight_thresh, 0, NAN);
    o->detect.filter = NULL;
    if (!c->filter) return ERR_OK;
    if (c->given[SEX_FILTER_NAME]) return read_filter(o, c->filter_name, err);
    o->detect.filter = &convolve_pyramid; /* what default.conv holds */
    return ERR_OK;
}

static void sex_measure(struct extract_options *o, const struct sex_config *c)
{
    static const enum neighbour_rule rule[] = {NEIGHBOURS_KEPT, NEIGHBOURS_BLANK, NEIGHBOURS_MIRROR};
    struct measure_options *m = &o->measure;
    copy_reals(&c->phot_apertures, &m->naper, m->diameter);
    copy_reals(&c->phot_fluxfrac, &m->nfrac, m->fraction);
    m->kron_factor = real_at(&c->phot_autoparams, 0, 2.5);
    m->kron_min = real_at(&c->phot_autoparams, 1, 3.5);
    m->petro_factor = real_at(&c->phot_petroparams, 0, 2.0);
    m->petro_min = real_at(&c->phot_petroparams, 1, 3.5);
    m->auto_diameter[0] = real_at(&c->phot_autoapers, 0, 0.0);
    m->auto_diameter[1] = real_at(&c->phot_autoapers, 1, 0.0);
    m->neighbours = rule[c->mask_type];
    m->zeropoint = c->mag_zeropoint;
    m->seeing = c->seeing_fwhm;
    bool same = c->analysis_thresh.v[0] == c->detect_thresh.v[0];
    m->iso_threshold = same ? 0.0 : c->analysis_thresh.v[0];
    m->iso_in_sigma = c->thresh_type == SEX_THRESH_RELATIVE;
}

/* The columns of PARAMETERS_NAME; vectors take their width from it, up to the numbers there are. */
static enum err sex_columns(struct extract_options *o, const struct sex_config *c, struct error *err)
{
    struct sex_params p;
    if (!c->parameters_name[0]) return ERR_OK;
    enum err e = sex_params_read(&p, c->parameters_name, err);
    if (e) return e;
    if (!p.n) return ERROR(err, ERR_SETTINGS, "'%s' asks for no column that can be measured", c->parameters_name);
    extract_options_columns(o, p.column, p.n);
    struct measure_options *m = &o->measure;
    int naper = p.naper ? p.naper : 1, nfrac = p.nfrac ? p.nfrac : 1;
    m->naper = m->naper < naper ? m->naper : naper;
    m->nfrac = m->nfrac < nfrac ? m->nfrac : nfrac;
    m->vig_nx = p.vig_nx;
    m->vig_ny = p.vig_ny;
    return ERR_OK;
}

enum err extract_options_from_sex(struct extract_options *o, const struct sex_config *c, struct error *err)
{
    sex_background(o, c);
    enum err e = sex_detection(o, c, err);
    if (e) return e;
    sex_measure(o, c);
    o->gain = c->gain;
    o->saturate = c->satur_level;
    o->pixel_scale = c->pixel_scale;
    snprintf(o->gain_key, sizeof o->gain_key, "%s", c->gain_key);
    snprintf(o->satur_key, sizeof o->satur_key, "%s", c->satur_key);
    if ((e = sex_columns(o, c, err))) return e;
    if (!o->measure.want[DET_class_star] || !c->given[SEX_STARNNW_NAME]) return ERR_OK;
    o->network = calloc(1, sizeof *o->network);
    if (!o->network) return ERROR(err, ERR_NOMEM, "no memory for a star network");
    o->measure.network = o->network;
    return sex_nnw_read(o->network, c->starnnw_name, err);
}

/* ---- scene ------------------------------------------------------------------------------------------------------ */

void extract_scene_init(struct extract_scene *s)
{
    *s = (struct extract_scene){0};
}

void extract_scene_release(struct extract_scene *s)
{
    background_release(&s->background);
    psfmodel_release(&s->psf);
    free(s->variance);
    objects_release(&s->objects);
    if (s->owns_value) free(s->value);
    free(s->noise);
    extract_scene_init(s);
}

static float gain_of(const struct frame *f, const struct extract_options *o)
{
    double gain = o->gain;
    if (!o->gain_forced && !strcasecmp(f->unit, "electron")) return 1.0f;
    if (!o->gain_forced && o->gain_key[0]) header_get_double(&f->header, o->gain_key, &gain);
    return gain > 0.0 ? (float)gain : 0.0f;
}

static float saturation_of(const struct frame *f, const struct extract_options *o)
{
    double level = o->saturate;
    if (o->satur_key[0]) header_get_double(&f->header, o->satur_key, &level);
    return (float)level;
}

static double scale_of(const struct frame *f, struct skycoord *sky, const struct extract_options *o)
{
    if (o->pixel_scale > 0.0) return o->pixel_scale;
    double scale = sky ? skycoord_scale_arcsec(sky, 0.5 * (double)(f->nx - 1), 0.5 * (double)(f->ny - 1)) : NAN;
    return scale > 0.0 ? scale : 1.0;
}

/* Variance of one pixel from the map of the user or the rms of the background; 0: not usable. */
static float noise_of(const struct extract_options *o, float w, float rms)
{
    if (o->noise == NOISE_BACKGROUND) return rms * rms;
    bool beyond = o->noise == NOISE_WEIGHT ? w <= (float)o->weight_thresh : w >= (float)o->weight_thresh; /* NaN: never */
    float var = o->noise == NOISE_WEIGHT ? 1.0f / w : o->noise == NOISE_VARIANCE_MAP ? w : w * w;
    return w > 0.0f && isfinite(var) && !beyond ? var : 0.0f;
}

/* What relative variances are multiplied by: the median over the meshes of rms^2 over their mean (RESCALE_WEIGHTS). */
static double noise_scale(const struct frame *f, const struct background *b, const float *v, double *work)
{
    int64_t m = 0, size_x = b->options.mesh_nx, size_y = b->options.mesh_ny;
    for (int64_t g = 0; g < b->gx * b->gy; g++) {
        double sum = 0, n = 0;
        int64_t x0 = g % b->gx * size_x, y0 = g / b->gx * size_y;
        for (int64_t y = y0; y < y0 + size_y && y < f->ny; y++)
            for (int64_t x = x0; x < x0 + size_x && x < f->nx; x++)
                if (v[y * f->nx + x] > 0.0f) sum += (double)v[y * f->nx + x], n++;
        if (n > 0 && b->rms[g] > 0.0f) work[m++] = (double)b->rms[g] * (double)b->rms[g] * n / sum;
    }
    return m ? median_f64(work, m) : 1.0;
}

/* The noise plane that was asked for, NULL when it is constant. */
static enum err noise_plane(const struct frame *f, const struct extract_options *o, const struct background *b, float **ret, struct error *err)
{
    *ret = NULL;
    if (o->noise == NOISE_GLOBAL) return ERR_OK;
    bool map = o->noise != NOISE_BACKGROUND;
    if (map && (!o->weight || o->weight_nx != f->nx || o->weight_ny != f->ny))
        return ERROR(err, ERR_SHAPE, "the weight map is %lld x %lld, the image %lld x %lld", (long long)o->weight_nx, (long long)o->weight_ny, (long long)f->nx, (long long)f->ny);
    float *v = mem_array((size_t)frame_npix(f), sizeof *v), *row = mem_array((size_t)f->nx, sizeof *row);
    double *scratch = mem_array((size_t)background_scratch(b), sizeof *scratch), *work = mem_array((size_t)(b->gx * b->gy), sizeof *work);
    enum err e = v && row && scratch && work ? ERR_OK : ERROR(err, ERR_NOMEM, "no memory for a noise map");
    for (int64_t y = 0; !e && y < f->ny; y++) {
        background_rms_row(b, y, scratch, row);
        for (int64_t x = 0; x < f->nx; x++) v[y * f->nx + x] = noise_of(o, map ? o->weight[y * f->nx + x] : 0.0f, row[x]);
    }
    if (!e && (o->noise == NOISE_WEIGHT || o->noise == NOISE_VARIANCE_MAP)) {
        float scale = (float)noise_scale(f, b, v, work);
        for (int64_t i = 0; i < frame_npix(f); i++) v[i] *= scale;
    }
    free(row);
    free(scratch);
    free(work);
    if (e)
        free(v);
    else
        *ret = v;
    return e;
}

/* Variance of the sky alone from the frame's VAR, which holds the objects' photons too. */
static enum err sky_variance(const struct frame *f, const float *value, float gain, float **ret, struct error *err)
{
    float *v = mem_array((size_t)frame_npix(f), sizeof *v), photon = gain > 0.0f ? 1.0f / gain : 0.0f;
    if (!v) return ERROR(err, ERR_NOMEM, "no memory for a variance plane");
    const float *var = f->var;
    int64_t n = frame_npix(f);
#pragma omp parallel for default(none) shared(v, var, value, photon, n) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float e = var[i] - value[i] * photon;
        v[i] = var[i] > 0.0f ? (e > 0.01f * var[i] ? e : 0.01f * var[i]) : 0.0f;
    }
    *ret = v;
    return ERR_OK;
}

/* ---- sky columns ------------------------------------------------------------------------------------------------ */

static bool wants_any(const struct extract_options *o, enum detection_column a, enum detection_column b, enum detection_column c, enum detection_column d)
{
    const uint8_t *w = o->measure.want;
    return w[a] || w[b] || w[c] || w[d];
}

/* Positions of FITS pixels (x, y) into (ra, dec) and, where wanted, into (wx, wy). */
static enum err sky_positions(struct skycoord *sky, struct detections *d, const double *x, const double *y, const enum detection_column out[4],
                              double *const column[4], const struct extract_options *o, struct error *err)
{
    double *p = mem_array((size_t)(d->n ? d->n : 1) * 2, sizeof *p), *q = p ? p + d->n : NULL;
    if (!p) return ERROR(err, ERR_NOMEM, "no memory for sky positions");
    for (int64_t i = 0; i < d->n; i++) p[i] = x[i] - 1.0, q[i] = y[i] - 1.0;
    enum err e = skycoord_to_sky(sky, d->n, p, q, p, q, err);
    for (int k = 0; !e && k < 4; k++) {
        if (!o->measure.want[out[k]]) continue;
        memcpy(column[k], k % 2 ? q : p, (size_t)d->n * sizeof *p);
        d->has[out[k]] = 1;
    }
    free(p);
    return e;
}

/* The isophotal ellipse on the sky: its covariance through the linear part of the sky coordinates. */
static enum err sky_shapes(struct skycoord *sky, struct detections *d, const struct objects *objects, const struct extract_options *o, struct error *err)
{
    for (int64_t i = 0; i < d->n; i++) {
        const struct object *b = &objects->o[i];
        double j[4];
        enum err e = skycoord_jacobian(sky, b->x, b->y, j, err);
        if (e) return e;
        double xx = j[0] * j[0] * b->x2 + 2 * j[0] * j[1] * b->xy + j[1] * j[1] * b->y2;
        double yy = j[2] * j[2] * b->x2 + 2 * j[2] * j[3] * b->xy + j[3] * j[3] * b->y2;
        double xy = j[0] * j[2] * b->x2 + (j[0] * j[3] + j[1] * j[2]) * b->xy + j[1] * j[3] * b->y2;
        struct ellipse_shape s = shape_ellipse(xx, yy, xy, 0.0);
        double angle = 90.0 - s.theta_rad * DEG_PER_RAD; /* from north through east */
        if (o->measure.want[DET_a_world]) d->a_world[i] = (float)s.a;
        if (o->measure.want[DET_b_world]) d->b_world[i] = (float)s.b;
        if (o->measure.want[DET_theta_j2000]) d->theta_j2000[i] = (float)(angle > 90.0 ? angle - 180.0 : angle);
    }
    d->has[DET_a_world] = o->measure.want[DET_a_world];
    d->has[DET_b_world] = o->measure.want[DET_b_world];
    d->has[DET_theta_j2000] = o->measure.want[DET_theta_j2000];
    return ERR_OK;
}

static enum err sky_columns(struct skycoord *sky, struct detections *d, const struct objects *objects, const struct extract_options *o, struct error *err)
{
    enum err e = ERR_OK;
    const enum detection_column iso[4] = {DET_ra, DET_dec, DET_x_world, DET_y_world}, win[4] = {DET_rawin, DET_decwin, DET_xwin_world, DET_ywin_world};
    const enum detection_column psf[4] = {DET_rapsf, DET_decpsf, DET_rapsf, DET_decpsf};
    double *const psf_out[4] = {d->rapsf, d->decpsf, d->rapsf, d->decpsf};
    double *const iso_out[4] = {d->ra, d->dec, d->x_world, d->y_world}, *const win_out[4] = {d->rawin, d->decwin, d->xwin_world, d->ywin_world};
    if (wants_any(o, iso[0], iso[1], iso[2], iso[3])) e = sky_positions(sky, d, d->x, d->y, iso, iso_out, o, err);
    if (!e && wants_any(o, win[0], win[1], win[2], win[3])) e = sky_positions(sky, d, d->xwin, d->ywin, win, win_out, o, err);
    if (!e && d->has[DET_xpsf] && wants_any(o, psf[0], psf[1], psf[2], psf[3])) e = sky_positions(sky, d, d->xpsf, d->ypsf, psf, psf_out, o, err);
    if (!e && wants_any(o, DET_a_world, DET_b_world, DET_theta_j2000, DET_a_world)) e = sky_shapes(sky, d, objects, o, err);
    return e;
}

/* ---- one frame -------------------------------------------------------------------------------------------------- */

static void fill_quality(const struct extract_scene *s, const struct stellar_locus *locus, const struct extract_options *o, struct frame_quality *q)
{
    *q = (struct frame_quality){.seeing = NAN, .seeing_px = NAN, .sky = NAN, .rms = NAN, .ellipticity = NAN, .depth = NAN};
    if (s->background.flags & BACKGROUND_NO_DATA) return;
    q->sky = (double)s->background.global_level;
    q->rms = (double)s->rms;
    q->nstars = locus->n;
    if (locus->n < 1 || !(locus->fwhm > 0.0)) return;
    q->seeing_px = locus->fwhm;
    q->ellipticity = locus->ellipticity;
    if (s->scale_known) q->seeing = locus->fwhm * s->pixel_scale;
    /* a Gaussian point source fitted with its own profile: noise over sqrt(sum P^2) = rms * sqrt(4 pi) sigma */
    double noise = q->rms * sqrt(4.0 * PI) * locus->fwhm / FWHM_PER_SIGMA;
    if (noise > 0.0) q->depth = o->measure.zeropoint - 2.5 * log10(5.0 * noise);
}

/* The columns the sky columns are made from have to be measured too. */
static struct measure_options measure_plan(const struct extract_options *o, const struct extract_scene *s)
{
    struct measure_options m = o->measure;
    uint8_t *w = m.want;
    if (w[DET_ra] || w[DET_dec] || w[DET_x_world] || w[DET_y_world]) w[DET_x] = w[DET_y] = 1;
    if (w[DET_rapsf] || w[DET_decpsf]) w[DET_xpsf] = w[DET_ypsf] = 1;
    if (w[DET_rawin] || w[DET_decwin] || w[DET_xwin_world] || w[DET_ywin_world]) w[DET_xwin] = w[DET_ywin] = 1;
    m.pixel_scale = s->pixel_scale;
    return m;
}

static enum err detect_frame(const struct frame *f, const struct extract_options *o, struct extract_scene *s, struct error *err)
{
    struct detect_input in = {.nx = f->nx, .ny = f->ny, .image = f->sci, .background = &s->background, .mask = f->mask,
                              .sigma2 = s->noise, .rms = s->rms, .saturate = s->saturate, .value = s->value};
    s->threshold = detect_threshold(&in, &o->detect);
    return detect_sources(&in, &o->detect, &s->objects, err);
}

enum err extract_view(const struct frame *f, const struct extract_options *o, struct extract_scene *s, struct image_view *ret, struct error *err)
{
    enum err e = ERR_OK;
    if (!s->noise && o->use_variance && f->var && !s->variance) e = sky_variance(f, s->value, s->gain, &s->variance, err);
    if (e) return e;
    *ret = (struct image_view){.nx = f->nx, .ny = f->ny, .value = s->value, .sigma2 = s->variance ? s->variance : s->noise, .sigma2_const = s->rms * s->rms,
                               .mask = f->mask, .segment = s->objects.segment, .gain = s->gain,
                               .gain_sigma2 = s->noise && o->weight_gain ? s->rms * s->rms : 0.0f, .saturate = s->saturate};
    return ERR_OK;
}

/* The bright stars, which also subtracts the background; then the PSF they show. */
static enum err find_filter(const struct frame *f, const struct extract_options *o, struct extract_scene *s, struct error *err)
{
    struct detect_options bright = o->detect;
    matched_psf_detection(&bright);
    struct detect_input in = {.nx = f->nx, .ny = f->ny, .image = f->sci, .background = &s->background, .mask = f->mask,
                              .rms = s->rms, .saturate = s->saturate, .value = s->value};
    struct objects stars = {0};
    enum err e = detect_sources(&in, &bright, &stars, err);
    struct image_view view = {.nx = f->nx, .ny = f->ny, .value = s->value, .mask = f->mask, .sigma2_const = s->rms * s->rms};
    if (!e) e = matched_psf_measure(&view, &stars, o->detect.holes, &s->filter, err);
    objects_release(&stars);
    return e;
}

/* With the frame's own PSF, against the variance of the sky or, without one, the rms of the background. */
static enum err detect_matched(const struct frame *f, const struct extract_options *o, struct extract_scene *s, struct error *err)
{
    struct image_view view;
    enum err e = find_filter(f, o, s, err);
    if (!e) e = extract_view(f, o, s, &view, err);
    if (e) return e;
    struct matched_options matcher = o->matcher;
    struct detect_options options = o->detect;
    struct detect_input in = {.nx = f->nx, .ny = f->ny, .image = s->value, .mask = f->mask, .sigma2 = view.sigma2, .rms = s->rms,
                              .rms_map = &s->background, .gain = s->gain, .saturate = s->saturate};
    matcher.kernel = s->filter;
    options.matched = &matcher;
    options.minarea = 1;
    e = detect_sources(&in, &options, &s->objects, err);
    if (!e) s->threshold = (float)(s->objects.snr_threshold * sqrt(s->filter.norm2) * (double)s->rms);
    return e;
}

static enum err measure_frame(const struct frame *f, const struct extract_options *o, struct extract_scene *s, bool want_locus, struct detections *ret,
                              struct stellar_locus *locus, struct error *err)
{
    struct image_view view;
    enum err e = extract_view(f, o, s, &view, err);
    if (e) return e;
    struct measure_options m = measure_plan(o, s);
    return measure_objects(&view, &s->objects, &s->background, &m, ret, want_locus ? locus : NULL, err);
}

/* A frame of one value, BACK_TYPE MANUAL: the noise stays the measured one. */
static void flatten_background(struct background *b, float value)
{
    int64_t n = b->gx * b->gy;
    for (int64_t i = 0; i < n; i++) {
        b->level[i] = value;
        b->level_d2[i] = 0.0f;
    }
    b->global_level = value;
}

/* Milliseconds since *mark, which becomes now. */
static double lap_ms(double *mark)
{
    double now = clock_seconds(), ms = 1e3 * (now - *mark);
    *mark = now;
    return ms;
}

/* The frame's mask with NO_DATA where the map of the user has no weight: those pixels say nothing about the background. NULL
 * without a map. */
static enum err weighted_mask(const struct frame *f, const struct extract_options *o, mask_t **ret, struct error *err)
{
    bool map = o->noise == NOISE_RMS || o->noise == NOISE_VARIANCE_MAP || o->noise == NOISE_WEIGHT;
    if (!map || !o->weight || o->weight_nx != f->nx || o->weight_ny != f->ny) return ERR_OK; /* noise_plane() refuses another size */
    mask_t *mask = mem_array((size_t)frame_npix(f), sizeof *mask);
    if (!mask) return ERROR(err, ERR_NOMEM, "no memory for a mask of the weights");
    for (int64_t i = 0; i < frame_npix(f); i++)
        mask[i] = (mask_t)((f->mask ? f->mask[i] : 0) | (noise_of(o, o->weight[i], 1.0f) > 0.0f ? 0 : MASK_NO_DATA));
    *ret = mask;
    return ERR_OK;
}

enum err extract_background(struct frame *f, bool consume, struct skycoord *sky, const struct extract_options *o, struct extract_scene *scene,
                            struct error *err)
{
    double mark = clock_seconds();
    mask_t *mask = NULL;
    enum err e = weighted_mask(f, o, &mask, err);
    if (!e) e = background_estimate(f->sci, mask ? mask : f->mask, f->nx, f->ny, &o->background, &scene->background, err);
    free(mask);
    if (e) return e;
    if (o->manual_background) flatten_background(&scene->background, o->background_value);
    scene->rms = scene->background.global_rms;
    scene->gain = gain_of(f, o);
    scene->saturate = saturation_of(f, o);
    scene->pixel_scale = scale_of(f, sky, o);
    scene->scale_known = sky || o->pixel_scale > 0.0;
    scene->value = consume ? f->sci : mem_array((size_t)frame_npix(f), sizeof(float));
    scene->owns_value = !consume;
    if (!scene->value) return ERROR(err, ERR_NOMEM, "no memory for the background-subtracted image");
    e = noise_plane(f, o, &scene->background, &scene->noise, err);
    scene->elapsed_ms.background = lap_ms(&mark);
    return e;
}

enum err extract_detect(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct error *err)
{
    double mark = clock_seconds();
    enum err e = o->matched ? detect_matched(f, o, scene, err) : detect_frame(f, o, scene, err);
    scene->elapsed_ms.detect = lap_ms(&mark);
    return e;
}

enum err extract_measure(const struct frame *f, const struct extract_options *o, struct extract_scene *scene, struct detections *ret,
                         struct frame_quality *quality, struct error *err)
{
    struct stellar_locus locus = {0};
    double mark = clock_seconds();
    enum err e = measure_frame(f, o, scene, quality != NULL, ret, &locus, err);
    if (!e && quality) fill_quality(scene, &locus, o, quality);
    scene->elapsed_ms.measure = lap_ms(&mark);
    return e;
}

enum err extract_world(struct skycoord *sky, const struct extract_options *o, struct extract_scene *scene, struct detections *ret, struct error *err)
{
    double mark = clock_seconds();
    enum err e = sky ? sky_columns(sky, ret, &scene->objects, o, err) : ERR_OK;
    scene->elapsed_ms.sky = lap_ms(&mark);
    return e;
}

enum err extract_frame_scene(struct frame *f, bool consume, struct skycoord *sky, const struct extract_options *o,
                             struct detections *ret, struct frame_quality *quality, struct extract_scene *scene, struct error *err)
{
    enum err e = extract_background(f, consume, sky, o, scene, err);
    if (!e) e = extract_detect(f, o, scene, err);
    if (!e) e = extract_measure(f, o, scene, ret, quality, err);
    if (!e) e = extract_psf_photometry(f, o, scene, ret, err);
    return e ? e : extract_world(sky, o, scene, ret, err);
}

enum err extract_frame(const struct frame *f, struct skycoord *sky, const struct extract_options *o, struct detections *ret,
                       struct frame_quality *quality, struct error *err)
{
    struct extract_scene scene;
    extract_scene_init(&scene);
    /* without consume the frame is only read */
    enum err e = extract_frame_scene((struct frame *)(uintptr_t)f, false, sky, o, ret, quality, &scene, err);
    extract_scene_release(&scene);
    return e;
}

enum err extract_header_cards(const struct extract_scene *s, const struct extract_options *o, int64_t nobjects, struct header *h)
{
    enum err e = header_set_double(h, "SEXBKGND", (double)s->background.global_level, "median background level");
    if (!e) e = header_set_double(h, "SEXBKDEV", (double)s->rms, "median background RMS");
    if (!e) e = header_set_double(h, "SEXTHLD", (double)s->threshold, "detection threshold");
    if (!e) e = header_set_int(h, "SEXNFIN", nobjects, "number of objects");
    if (!e) e = header_set_double(h, "SEXPXSCL", s->pixel_scale, "pixel scale (arcsec)");
    if (!e) e = header_set_double(h, "SEXSFWHM", o->measure.seeing, "SEEING_FWHM (arcsec)");
    if (!e) e = header_set_double(h, "SEXGAIN", (double)s->gain, "gain used (electrons per image unit)");
    if (!e && isfinite(s->saturate)) e = header_set_double(h, "SEXSATLV", (double)s->saturate, "saturation level");
    if (!e) e = header_set_double(h, "SEXMGZPT", o->measure.zeropoint, "zero point of magnitudes");
    if (!e && o->measure.naper > 0) e = header_set_double(h, "SEXAPED1", o->measure.diameter[0], "first aperture (pixels)");
    return e ? e : extract_psf_cards(s, h);
}
