/* One vocabulary: names of products, extensions and keywords. Column names are in detections.h. */
#ifndef NIGHTSHIFT_COMMON_PRODUCTS_H
#define NIGHTSHIFT_COMMON_PRODUCTS_H

#include "common/err.h"

#define EXT_SCI  "SCI"
#define EXT_VAR  "VAR"
#define EXT_MASK "MASK"
#define EXT_LDAC_IMHEAD  "LDAC_IMHEAD"
#define EXT_LDAC_OBJECTS "LDAC_OBJECTS"

/* Provenance cards of a product (all in SCI and in the LDAC header). Booleans say what was done; a step that was skipped
 * on request is F with a comment. */
#define KEY_INSTRUMENT "NSINSTR"  /* instrument file                          */
#define KEY_RECIPE     "NSRECIPE" /* first 16 hex digits of the recipe        */
#define KEY_VERSION    "NSVERS"   /* result version of the program            */
#define KEY_RAWFILE    "NSRAW"    /* name of the raw file (no folder)         */
#define KEY_RAWSUM     "NSRAWSUM" /* its SHA-256                              */
#define KEY_EXPID      "NSEXPID"  /* exposure id                              */
#define KEY_CCD        "NSCCD"    /* CCD number                               */
#define KEY_NIGHT      "NSNIGHT"  /* yyyymmdd                                 */
#define KEY_OVERSCAN   "NSOVERSC" /* T: overscan subtracted                   */
#define KEY_ROW_DRIFT  "NSDRIFT"  /* range of a bias drift removed     */
#define KEY_PARALLEL   "NSPARALL" /* T: parallel overscan subtracted       */
#define KEY_CROSSTALK  "NSXTALK"  /* T: crosstalk taken off                */
#define KEY_LINEARITY  "NSLINEAR" /* T: counts made linear                 */
#define KEY_MENDED     "NSMENDED" /* defects interpolated                  */
#define KEY_DARK_SCALE "NSDRKSCL" /* dark times this for its temperature   */
#define KEY_ILLUMINATION "NSILLUM" /* T: illumination correction of the flat */
#define KEY_FRINGE     "NSFRINGE" /* times the fringe frame was subtracted */
#define KEY_STREAKS    "NSSTREAK" /* satellite streaks masked              */
#define KEY_STREAK_PIXELS "NSSTRKPX" /* pixels under them                  */
#define KEY_COSMIC     "NSCOSMIC" /* T: cosmic rays looked for            */
#define KEY_COSMIC_PIXELS "NSNCOSM" /* pixels found hit                    */
#define KEY_BIAS       "NSBIAS"   /* T: bias subtracted;  NSBIASF, NSBIASS: file and checksum */
#define KEY_DARK       "NSDARK"
#define KEY_FLAT       "NSFLAT"
#define KEY_GAINSRC    "NSGAINSR" /* header, instrument or measured           */
#define KEY_QUALITY    "NSQUAL"   /* pass, doubt, reject                      */
#define KEY_QUALITY_WHY "NSQREAS" /* reasons of the verdict, "; " between them */
#define KEY_MJD_MID    "MJD-MID"
#define KEY_REFERENCE  "NSREF"    /* reference catalogue and release          */
#define KEY_REFERENCE_SUM "NSREFSUM" /* SHA-256 of the file of reference stars */
#define KEY_MAGZERO    "MAGZERO"  /* magnitude of 1 electron/s                */
#define KEY_MAGZERO_ERR "MAGZERR"
#define KEY_MAGZERO_KIND "MAGZKIND" /* absolute (AB) or relative              */
#define KEY_MAGZERO_RMS "MAGZRMS" /* mag, scatter of the stars it comes from  */
#define KEY_MAGZERO_STARS "MAGZNREF" /* stars it comes from                   */
#define KEY_ASTROM_RMS "ASTRRMS"  /* arcsec, rms of the WCS against its stars */
#define KEY_ASTROM_STARS "ASTRNREF" /* reference stars of the fitted WCS      */
#define KEY_ASTROM_WHY "ASTRWHY"  /* reason of a doubt or failure              */
#define KEY_ASTROM_STATUS "ASTRSTAT" /* good, doubt or failed; absent: no reference stars were given */

/* Path of a product below OUT: "NIGHT/INSTRUMENT/NAME[_ccdNN]_cal.fits.fz". name: raw file name without its FITS
 * suffixes. kind: "cal.fits.fz" or "cat.fits". Returned: buf. */
const char *product_path(char *buf, int size, int night, const char *instrument, const char *name, int ccd, int nccd, const char *kind);

/* Raw file name without folder and .fits/.fit/.fts and .fz/.gz/.bz2 suffixes. Returned: buf. */
const char *product_stem(char *buf, int size, const char *raw_path);

#endif
