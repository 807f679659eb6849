#include "catalog/columns.h"

#include <stddef.h>

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define FLOAT(name, unit, ucd, what) {name, ROWSET_FLOAT, unit, ucd, NULL, what, NULL, NULL}
#define LONG_ID(name, ucd, what)   {name, ROWSET_LONG, "", ucd, NULL, what, NULL, NULL}
#define REAL(name, unit, ucd, what) {name, ROWSET_DOUBLE, unit, ucd, NULL, what, NULL, NULL}
#define INT(name, ucd, what)       {name, ROWSET_INT, "", ucd, NULL, what, NULL, NULL}
#define TEXT(name, ucd, what)      {name, ROWSET_TEXT, "", ucd, NULL, what, NULL, NULL}

static const struct rowset_column object_columns[] = {
    {"object_id", ROWSET_LONG, "", "meta.id;meta.main", "ID_MAIN", "object, never changes once published", NULL, NULL},
    {"ra", ROWSET_DOUBLE, "deg", "pos.eq.ra;meta.main", "POS_EQ_RA_MAIN", "mean right ascension, ICRS", NULL, NULL},
    {"dec", ROWSET_DOUBLE, "deg", "pos.eq.dec;meta.main", "POS_EQ_DEC_MAIN", "mean declination, ICRS", NULL, NULL},
    FLOAT("ra_err", "arcsec", "stat.error;pos.eq.ra", "error of the mean right ascension (on the sky)"),
    FLOAT("dec_err", "arcsec", "stat.error;pos.eq.dec", "error of the mean declination"),
    INT("n_det", "meta.number", "detections"),
    REAL("first_mjd", "d", "time.start", "first detection, MJD UTC"),
    REAL("last_mjd", "d", "time.end", "last detection, MJD UTC"),
    TEXT("filter", "meta.id;instr.filter", "band of the following columns: the one with most points"),
    INT("n", "meta.number", "points with a zero point in that band"),
    REAL("flux_mean", "nJy", "phot.flux;stat.mean", "weighted mean Kron flux"),
    REAL("flux_std", "nJy", "stat.stdev;phot.flux", "standard deviation of the flux"),
    REAL("chi2", "", "stat.fit.chi2;src.var", "reduced chi-square against a constant flux"),
    {"final", ROWSET_BOOL, "", "meta.code", NULL, "the id is published and stays", NULL, NULL},
    INT("first_night", "time.epoch", "night of the first detection, yyyymmdd"),
    REAL("distance", "arcsec", "pos.angDistance", "distance to the centre of the search"),
};

static const struct rowset_column light_curve_columns[] = {
    LONG_ID("object_id", "meta.id;meta.main", "object"),
    {"mjd", ROWSET_DOUBLE, "d", "time.epoch;meta.main", NULL, "middle of the exposure, MJD UTC", NULL, NULL},
    REAL("bjd_tdb", "d", "time.epoch", "barycentric Julian date, TDB"),
    TEXT("filter", "meta.id;instr.filter", "filter"),
    REAL("mag_auto", "mag", "phot.mag;meta.main", "Kron magnitude; relative where magzero_kind says so"),
    REAL("magerr_auto", "mag", "stat.error;phot.mag", "its error"),
    REAL("flux_auto", "nJy", "phot.flux;meta.main", "Kron flux"),
    REAL("fluxerr_auto", "nJy", "stat.error;phot.flux", "its error"),
    REAL("mag_aper2", "mag", "phot.mag", "magnitude in the second aperture"),
    REAL("magerr_aper2", "mag", "stat.error;phot.mag", "its error"),
    REAL("flux_aper2", "nJy", "phot.flux", "flux in the second aperture"),
    REAL("fluxerr_aper2", "nJy", "stat.error;phot.flux", "its error"),
    REAL("mag_psf", "mag", "phot.mag", "PSF magnitude"),
    REAL("magerr_psf", "mag", "stat.error;phot.mag", "its error"),
    REAL("flux_psf", "nJy", "phot.flux", "PSF flux"),
    REAL("fluxerr_psf", "nJy", "stat.error;phot.flux", "its error"),
    REAL("flux_limit", "nJy", "phot.flux;stat.max", "upper limit, of forced photometry"),
    {"forced", ROWSET_BOOL, "", "meta.code", NULL, "measured at the object's place, whether something was detected or not", NULL, NULL},
    INT("flags", "meta.code.qual", "extraction flags, Source Extractor's bits"),
    LONG_ID("det_id", "meta.id", "detection"),
    LONG_ID("exposure_id", "meta.id;obs", "exposure"),
    INT("ccd", "meta.id;instr.det", "CCD"),
    INT("night", "time.epoch", "night, yyyymmdd"),
    REAL("exptime_s", "s", "time.duration;obs.exposure", "exposure time"),
    REAL("airmass", "", "obs.airMass", "airmass"),
    REAL("seeing_arcsec", "arcsec", "instr.obsty.seeing", "full width at half maximum of the stars"),
    REAL("magzero", "mag", "phot.mag;arith.zp", "magnitude of 1 electron/s"),
    TEXT("magzero_kind", "meta.code", "absolute, or relative to the other frames of the field"),
    TEXT("quality", "meta.code.qual", "verdict on the frame: pass, doubt, reject"),
};

static const struct rowset_column exposures_columns[] = {
    {"exposure_id", ROWSET_LONG, "", "meta.id;obs;meta.main", NULL, "exposure", NULL, NULL},
    INT("ccd", "meta.id;instr.det", "CCD"),
    TEXT("instrument", "meta.id;instr", "instrument"),
    INT("night", "time.epoch", "night, yyyymmdd"),
    REAL("mjd_start", "d", "time.start;obs.exposure", "start, MJD UTC"),
    REAL("mjd_mid", "d", "time.epoch;obs.exposure", "middle, MJD UTC"),
    REAL("exptime_s", "s", "time.duration;obs.exposure", "exposure time"),
    TEXT("filter", "meta.id;instr.filter", "filter"),
    TEXT("object", "meta.id;src", "target as the header names it"),
    REAL("ra", "deg", "pos.eq.ra", "centre of the CCD, ICRS"),
    REAL("dec", "deg", "pos.eq.dec", "centre of the CCD, ICRS"),
    REAL("airmass", "", "obs.airMass", "airmass"),
    REAL("seeing_arcsec", "arcsec", "instr.obsty.seeing", "full width at half maximum of the stars"),
    REAL("sky_e", "count", "instr.skyLevel", "sky level, electrons"),
    REAL("mag_lim", "mag", "phot.mag;stat.max", "5 sigma limit of a point source"),
    REAL("magzero", "mag", "phot.mag;arith.zp", "magnitude of 1 electron/s"),
    REAL("magzero_err", "mag", "stat.error;phot.mag;arith.zp", "its error"),
    TEXT("magzero_kind", "meta.code", "absolute, or relative to the other frames of the field"),
    REAL("astrom_rms_arcsec", "arcsec", "stat.fit.residual;pos", "residual of the astrometric solution"),
    INT("n_det", "meta.number", "detections"),
    TEXT("quality", "meta.code.qual", "pass, doubt, reject"),
    TEXT("recipe", "meta.id;meta.software", "recipe: program, settings and instrument file"),
    INT("version", "meta.version", "version of the measurement"),
    TEXT("raw_file", "meta.file", "raw file"),
    TEXT("cal_path", "meta.file", "calibrated image, below the archive root"),
    TEXT("cat_path", "meta.file", "its catalogue, below the archive root"),
};

static const struct rowset_column nights_columns[] = {
    INT("night", "time.epoch;meta.main", "night, yyyymmdd"),
    TEXT("instrument", "meta.id;instr", "instrument"),
    INT("exposures", "meta.number;obs", "exposures published"),
    INT("ccds", "meta.number", "CCDs published"),
    INT("detections", "meta.number", "detections"),
    REAL("seeing_arcsec", "arcsec", "instr.obsty.seeing;stat.median", "median seeing"),
    REAL("mag_lim", "mag", "phot.mag;stat.max", "median 5 sigma limit"),
    {"associated_at", ROWSET_TIMESTAMP, "", "time.processing", NULL, "when the night's objects were last rebuilt", NULL, NULL},
};

const struct rowset_column column_distance = REAL("distance", "arcsec", "pos.angDistance", "distance to the centre of the search");

const struct answer_table table_object = {"object", "cone_object", "objects: detections of one place on the sky", object_columns, N(object_columns), 3, 13};
const struct answer_table table_light_curve = {"light_curve", "light_curve", "light curve of one object", light_curve_columns, N(light_curve_columns), 0, 0};
const struct answer_table table_exposures = {"exposures", "exposures", "published CCDs", exposures_columns, N(exposures_columns), 0, 0};
const struct answer_table table_nights = {"nights", "nights", "nights with published exposures", nights_columns, N(nights_columns), 0, 0};
const struct answer_table table_variable = {"object", "objects_variable", "objects, the most variable first", object_columns, N(object_columns) - 1, 0, 0};
const struct answer_table table_one_object = {"object", "object", "one object, a row per band", object_columns, N(object_columns) - 1, 0, 0};
