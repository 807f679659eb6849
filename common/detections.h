/* Detections: one struct of arrays, one column per measured quantity, names and units of Source Extractor.
 *
 *     X(field, type, "NAME", "unit", "ucd", "TDISP", "meaning")        type: i16, i32, i64, f32 or f64
 *
 * Pixel positions are FITS (1-based). THETA is degrees, counter-clockwise from +x. Fluxes are in the image's unit.
 * Vector columns (FLUX_APER, FLUXERR_APER, MAG_APER, MAGERR_APER, FLUX_RADIUS, VIGNET) have a run-time width.
 *
 * FLAGS is 16 bits wide because PSFEx reads those two bytes whatever TFORM says.                                    */
#ifndef NIGHTSHIFT_COMMON_DETECTIONS_H
#define NIGHTSHIFT_COMMON_DETECTIONS_H

#include <stdint.h>

#include "common/err.h"
#include "common/frameio.h"

#define DETECTION_COLUMNS(X)                                                                                           \
    X(number, i32, "NUMBER", "", "meta.id", "I10", "running object number, 1-based")                                   \
    X(x, f64, "X_IMAGE", "pixel", "pos.cartesian.x", "F11.4", "barycentre, x")                                         \
    X(y, f64, "Y_IMAGE", "pixel", "pos.cartesian.y", "F11.4", "barycentre, y")                                         \
    X(xwin, f64, "XWIN_IMAGE", "pixel", "pos.cartesian.x;meta.main", "F11.4", "windowed centroid, x")                  \
    X(ywin, f64, "YWIN_IMAGE", "pixel", "pos.cartesian.y;meta.main", "F11.4", "windowed centroid, y")                  \
    X(errawin, f32, "ERRAWIN_IMAGE", "pixel", "stat.error;pos.cartesian", "F9.5", "windowed centroid error, major axis") \
    X(errbwin, f32, "ERRBWIN_IMAGE", "pixel", "stat.error;pos.cartesian", "F9.5", "windowed centroid error, minor axis") \
    X(errthetawin, f32, "ERRTHETAWIN_IMAGE", "deg", "pos.posAng;stat.error", "F6.2", "angle of the error ellipse")     \
    X(ra, f64, "ALPHA_J2000", "deg", "pos.eq.ra", "F12.7", "right ascension of the barycentre, ICRS")                  \
    X(dec, f64, "DELTA_J2000", "deg", "pos.eq.dec", "F12.7", "declination of the barycentre, ICRS")                    \
    X(rawin, f64, "ALPHAWIN_J2000", "deg", "pos.eq.ra;meta.main", "F12.7", "right ascension of the windowed centroid, ICRS") \
    X(decwin, f64, "DELTAWIN_J2000", "deg", "pos.eq.dec;meta.main", "F12.7", "declination of the windowed centroid, ICRS") \
    X(flux_iso, f32, "FLUX_ISO", "", "phot.count", "G12.7", "isophotal flux")                                          \
    X(fluxerr_iso, f32, "FLUXERR_ISO", "", "stat.error;phot.count", "G12.7", "its error")                              \
    X(flux_auto, f32, "FLUX_AUTO", "", "phot.count;meta.main", "G12.7", "Kron flux")                                   \
    X(fluxerr_auto, f32, "FLUXERR_AUTO", "", "stat.error;phot.count", "G12.7", "its error")                            \
    X(mag_auto, f32, "MAG_AUTO", "mag", "phot.mag;meta.main", "F8.4", "Kron magnitude")                                \
    X(magerr_auto, f32, "MAGERR_AUTO", "mag", "stat.error;phot.mag", "F8.4", "its error")                              \
    X(kron_radius, f32, "KRON_RADIUS", "", "phys.angSize;src", "F5.2", "Kron radius in units of A, k included")        \
    X(background, f32, "BACKGROUND", "", "instr.skyLevel", "G12.7", "background at the centroid")                      \
    X(threshold, f32, "THRESHOLD", "", "instr.sensitivity", "G12.7", "detection threshold above the background")       \
    X(flux_max, f32, "FLUX_MAX", "", "phot.count;stat.max", "G12.7", "peak above the background")                      \
    X(mu_max, f32, "MU_MAX", "mag/arcsec**2", "phot.mag.sb;stat.max", "F8.4", "peak surface brightness")               \
    X(isoarea, i32, "ISOAREA_IMAGE", "pixel**2", "phys.area", "I9", "area above the analysis threshold")               \
    X(xmin, i32, "XMIN_IMAGE", "pixel", "pos.cartesian.x;stat.min", "I10", "leftmost pixel")                           \
    X(xmax, i32, "XMAX_IMAGE", "pixel", "pos.cartesian.x;stat.max", "I10", "rightmost pixel")                          \
    X(ymin, i32, "YMIN_IMAGE", "pixel", "pos.cartesian.y;stat.min", "I10", "lowest pixel")                             \
    X(ymax, i32, "YMAX_IMAGE", "pixel", "pos.cartesian.y;stat.max", "I10", "highest pixel")                            \
    X(xpeak, i32, "XPEAK_IMAGE", "pixel", "pos.cartesian.x", "I10", "brightest pixel, x")                              \
    X(ypeak, i32, "YPEAK_IMAGE", "pixel", "pos.cartesian.y", "I10", "brightest pixel, y")                              \
    X(x2, f64, "X2_IMAGE", "pixel**2", "src.impactParam", "G12.7", "second moment, x")                                 \
    X(y2, f64, "Y2_IMAGE", "pixel**2", "src.impactParam", "G12.7", "second moment, y")                                 \
    X(xy, f64, "XY_IMAGE", "pixel**2", "src.impactParam", "G12.7", "second moment, cross term")                        \
    X(a, f32, "A_IMAGE", "pixel", "phys.angSize.smajAxis;src", "F9.3", "rms length of the major axis")                 \
    X(b, f32, "B_IMAGE", "pixel", "phys.angSize.sminAxis;src", "F9.3", "rms length of the minor axis")                 \
    X(theta, f32, "THETA_IMAGE", "deg", "pos.posAng", "F6.2", "position angle, CCW from +x")                           \
    X(erra, f32, "ERRA_IMAGE", "pixel", "stat.error;pos.cartesian", "F9.5", "barycentre error, major axis")            \
    X(errb, f32, "ERRB_IMAGE", "pixel", "stat.error;pos.cartesian", "F9.5", "barycentre error, minor axis")            \
    X(errtheta, f32, "ERRTHETA_IMAGE", "deg", "pos.posAng;stat.error", "F6.2", "angle of the error ellipse")           \
    X(cxx, f32, "CXX_IMAGE", "pixel**(-2)", "src.impactParam", "E12.7", "ellipse coefficient")                         \
    X(cyy, f32, "CYY_IMAGE", "pixel**(-2)", "src.impactParam", "E12.7", "ellipse coefficient")                         \
    X(cxy, f32, "CXY_IMAGE", "pixel**(-2)", "src.impactParam", "E12.7", "ellipse coefficient")                         \
    X(elongation, f32, "ELONGATION", "", "src.ellipticity", "F8.3", "A/B")                                             \
    X(ellipticity, f32, "ELLIPTICITY", "", "src.ellipticity", "F8.3", "1 - B/A")                                       \
    X(fwhm, f32, "FWHM_IMAGE", "pixel", "phys.angSize", "F8.2", "full width at half maximum, Gaussian core")           \
    X(fwhm_world, f32, "FWHM_WORLD", "deg", "phys.angSize", "G12.7", "full width at half maximum")                     \
    X(snr_win, f32, "SNR_WIN", "", "stat.snr", "G10.4", "signal to noise in the Gaussian window")                      \
    X(class_star, f32, "CLASS_STAR", "", "src.class.starGalaxy", "F6.3", "stellarity, 1 for a star")                   \
    X(flags, i16, "FLAGS", "", "meta.code.qual", "I3", "extraction flags, Source Extractor's bits")                    \
    X(imaflags, i32, "IMAFLAGS_ISO", "", "meta.code.qual", "I9", "mask planes met in the isophote (OR)")               \
    X(nimaflags, i32, "NIMAFLAGS_ISO", "", "meta.number", "I9", "flagged pixels in the isophote (FLAG_IMAGE)")         \
    X(mag_iso, f32, "MAG_ISO", "mag", "phot.mag", "F8.4", "isophotal magnitude")                                       \
    X(magerr_iso, f32, "MAGERR_ISO", "mag", "stat.error;phot.mag", "F8.4", "its error")                                \
    X(flux_petro, f32, "FLUX_PETRO", "", "phot.count", "G12.7", "Petrosian flux")                                      \
    X(fluxerr_petro, f32, "FLUXERR_PETRO", "", "stat.error;phot.count", "G12.7", "its error")                          \
    X(mag_petro, f32, "MAG_PETRO", "mag", "phot.mag", "F8.4", "Petrosian magnitude")                                   \
    X(magerr_petro, f32, "MAGERR_PETRO", "mag", "stat.error;phot.mag", "F8.4", "its error")                            \
    X(petro_radius, f32, "PETRO_RADIUS", "", "phys.angSize;src", "F5.2", "Petrosian radius in units of A, factor included") \
    X(flux_win, f32, "FLUX_WIN", "", "phot.count", "G12.7", "flux weighted by the Gaussian window")                    \
    X(fluxerr_win, f32, "FLUXERR_WIN", "", "stat.error;phot.count", "G12.7", "its error")                              \
    X(mag_win, f32, "MAG_WIN", "mag", "phot.mag", "F8.4", "magnitude of FLUX_WIN")                                     \
    X(magerr_win, f32, "MAGERR_WIN", "mag", "stat.error;phot.mag", "F8.4", "its error")                                \
    X(mu_threshold, f32, "MU_THRESHOLD", "mag/arcsec**2", "instr.sensitivity;phot.mag.sb", "F8.4", "surface brightness of the threshold") \
    X(isoareaf, i32, "ISOAREAF_IMAGE", "pixel**2", "phys.area", "I9", "area above the detection threshold")            \
    X(errx2, f64, "ERRX2_IMAGE", "pixel**2", "stat.variance;pos.cartesian.x", "G12.7", "variance of X_IMAGE")          \
    X(erry2, f64, "ERRY2_IMAGE", "pixel**2", "stat.variance;pos.cartesian.y", "G12.7", "variance of Y_IMAGE")          \
    X(errxy, f64, "ERRXY_IMAGE", "pixel**2", "stat.covariance", "G12.7", "covariance of X_IMAGE and Y_IMAGE")          \
    X(x2win, f64, "X2WIN_IMAGE", "pixel**2", "src.impactParam", "G12.7", "windowed second moment, x")                  \
    X(y2win, f64, "Y2WIN_IMAGE", "pixel**2", "src.impactParam", "G12.7", "windowed second moment, y")                  \
    X(xywin, f64, "XYWIN_IMAGE", "pixel**2", "src.impactParam", "G12.7", "windowed second moment, cross term")         \
    X(errx2win, f64, "ERRX2WIN_IMAGE", "pixel**2", "stat.variance;pos.cartesian.x", "G12.7", "variance of XWIN_IMAGE")   \
    X(erry2win, f64, "ERRY2WIN_IMAGE", "pixel**2", "stat.variance;pos.cartesian.y", "G12.7", "variance of YWIN_IMAGE")   \
    X(errxywin, f64, "ERRXYWIN_IMAGE", "pixel**2", "stat.covariance", "G12.7", "covariance of XWIN_IMAGE and YWIN_IMAGE") \
    X(awin, f32, "AWIN_IMAGE", "pixel", "phys.angSize.smajAxis;src", "F9.3", "windowed rms length of the major axis")  \
    X(bwin, f32, "BWIN_IMAGE", "pixel", "phys.angSize.sminAxis;src", "F9.3", "windowed rms length of the minor axis")  \
    X(thetawin, f32, "THETAWIN_IMAGE", "deg", "pos.posAng", "F6.2", "angle of the windowed ellipse, CCW from +x")      \
    X(niter_win, i16, "NITER_WIN", "", "meta.number", "I3", "iterations of the windowed centroid")                     \
    X(flags_win, i16, "FLAGS_WIN", "", "meta.code.qual", "I3", "flags of the windowed measurements")                   \
    X(iso0, i32, "ISO0", "pixel**2", "phys.area", "I8", "isophotal area at level 0")                                   \
    X(iso1, i32, "ISO1", "pixel**2", "phys.area", "I8", "isophotal area at level 1")                                   \
    X(iso2, i32, "ISO2", "pixel**2", "phys.area", "I8", "isophotal area at level 2")                                   \
    X(iso3, i32, "ISO3", "pixel**2", "phys.area", "I8", "isophotal area at level 3")                                   \
    X(iso4, i32, "ISO4", "pixel**2", "phys.area", "I8", "isophotal area at level 4")                                   \
    X(iso5, i32, "ISO5", "pixel**2", "phys.area", "I8", "isophotal area at level 5")                                   \
    X(iso6, i32, "ISO6", "pixel**2", "phys.area", "I8", "isophotal area at level 6")                                   \
    X(iso7, i32, "ISO7", "pixel**2", "phys.area", "I8", "isophotal area at level 7")                                   \
    X(x_world, f64, "X_WORLD", "deg", "pos.eq.ra", "F18.10", "barycentre, first world axis")                           \
    X(y_world, f64, "Y_WORLD", "deg", "pos.eq.dec", "F18.10", "barycentre, second world axis")                         \
    X(xwin_world, f64, "XWIN_WORLD", "deg", "pos.eq.ra", "F18.10", "windowed centroid, first world axis")              \
    X(ywin_world, f64, "YWIN_WORLD", "deg", "pos.eq.dec", "F18.10", "windowed centroid, second world axis")            \
    X(a_world, f32, "A_WORLD", "deg", "phys.angSize.smajAxis;src", "G12.7", "rms length of the major axis on the sky") \
    X(b_world, f32, "B_WORLD", "deg", "phys.angSize.sminAxis;src", "G12.7", "rms length of the minor axis on the sky") \
    X(theta_j2000, f32, "THETA_J2000", "deg", "pos.posAng", "F6.2", "position angle of the major axis, east of north") \
    X(flux_psf, f32, "FLUX_PSF", "", "phot.count", "G12.7", "total flux of the fitted PSF")                            \
    X(fluxerr_psf, f32, "FLUXERR_PSF", "", "stat.error;phot.count", "G12.7", "its error")                              \
    X(mag_psf, f32, "MAG_PSF", "mag", "phot.mag", "F8.4", "magnitude of FLUX_PSF")                                     \
    X(magerr_psf, f32, "MAGERR_PSF", "mag", "stat.error;phot.mag", "F8.4", "its error")                                \
    X(xpsf, f64, "XPSF_IMAGE", "pixel", "pos.cartesian.x", "F11.4", "place of the fitted PSF, x")                      \
    X(ypsf, f64, "YPSF_IMAGE", "pixel", "pos.cartesian.y", "F11.4", "place of the fitted PSF, y")                      \
    X(errapsf, f32, "ERRAPSF_IMAGE", "pixel", "stat.error;pos.cartesian", "F9.5", "error of the place, major axis")    \
    X(errbpsf, f32, "ERRBPSF_IMAGE", "pixel", "stat.error;pos.cartesian", "F9.5", "error of the place, minor axis")    \
    X(errthetapsf, f32, "ERRTHETAPSF_IMAGE", "deg", "pos.posAng;stat.error", "F6.2", "angle of the error ellipse")     \
    X(rapsf, f64, "ALPHAPSF_J2000", "deg", "pos.eq.ra", "F12.7", "right ascension of the fitted PSF, ICRS")            \
    X(decpsf, f64, "DELTAPSF_J2000", "deg", "pos.eq.dec", "F12.7", "declination of the fitted PSF, ICRS")              \
    X(chi2_psf, f32, "CHI2_PSF", "", "stat.fit.chi2", "G10.4", "reduced chi-square of the PSF fit")                    \
    X(niter_psf, i16, "NITER_PSF", "", "meta.number", "I3", "steps of the PSF fit")                                    \
    X(flags_psf, i16, "FLAGS_PSF", "", "meta.code.qual", "I3", "flags of the PSF fit, enum psffit_flag")               \
    X(spread_model, f32, "SPREAD_MODEL", "", "src.class.starGalaxy", "F8.5", "wider than the PSF: 0 for a star, positive for a galaxy") \
    X(spreaderr_model, f32, "SPREADERR_MODEL", "", "stat.error;src.class.starGalaxy", "F8.5", "its error")

typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;
typedef float f32;
typedef double f64;

enum detection_column {
#define X(field, type, name, unit, ucd, disp, what) DET_##field,
    DETECTION_COLUMNS(X)
#undef X
    DET_flux_aper, DET_fluxerr_aper, DET_mag_aper, DET_magerr_aper, DET_flux_radius, DET_vignet,
    DETECTION_COLUMN_COUNT
};

/* Source Extractor's FLAGS. */
enum detection_flag {
    FLAG_NEIGHBOURS = 1,      /* neighbours or bad pixels bias AUTO (> 10 % of the area)  */
    FLAG_DEBLENDED = 2,       /* was blended with another object                          */
    FLAG_SATURATED = 4,       /* at least one saturated pixel                             */
    FLAG_TRUNCATED = 8,       /* truncated at the border                                  */
    FLAG_APERTURE = 16,       /* aperture data incomplete or corrupted                    */
    FLAG_ISOPHOTE = 32,       /* isophotal data incomplete or corrupted                   */
    FLAG_DEBLEND_LIMIT = 64,  /* the blend was too costly: kept whole                     */
    FLAG_EXTRACT_LIMIT = 128  /* a limit was met during extraction                        */
};

struct detections {
    int64_t n, capacity;
#define X(field, type, name, unit, ucd, disp, what) type *field;
    DETECTION_COLUMNS(X)
#undef X
    int naper;                /* width of the aperture columns */
    f32 *flux_aper, *fluxerr_aper, *mag_aper, *magerr_aper; /* n * naper */
    int nfrac;
    f32 *flux_radius;         /* n * nfrac */
    int vig_nx, vig_ny;
    f32 *vignet;              /* n * vig_ny * vig_nx, NULL unless asked for */
    uint8_t has[DETECTION_COLUMN_COUNT]; /* columns that are filled */
    char vignet_dim[24];      /* TDIM of VIGNET */
    void *block;              /* the memory of every column */
};

void detections_init(struct detections *d);
void detections_release(struct detections *d);
/* Room for n rows, zero filled, with the given vector widths; pages of columns that nobody fills are never touched.
 * d must be initialised and is released first. ERR_NOMEM. */
enum err detections_alloc(struct detections *d, int64_t n, int naper, int nfrac, int vig_nx, int vig_ny, struct error *err);

/* Column by name, any case; "FLUX_APER(3)" and "FLUX_APER[3]" give the column. -1 if unknown. */
int detection_column_find(const char *name);
const char *detection_column_name(enum detection_column c);

/* Describe the chosen columns for the table writer; ret has room for n. The data stay owned by d. flux_unit: unit of the
 * flux columns ("electron", "adu"). */
void detections_columns(const struct detections *d, const enum detection_column *which, int n, const char *flux_unit,
                        struct column *ret);

#endif
