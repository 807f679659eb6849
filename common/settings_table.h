/* S(id, name, source name in the environment or "", type, unit, default, min, max, flags, help)
 * unit of a string: the words it may have, separated by '|' ("" for any text). min = max: no range.
 * Included several times: no include guard. Rooms add their rows in their own block, in the order users think of them. */

/* -- process ---------------------------------------------------------------------------------------------------- */
S(LOG_LEVEL, "log.level", "LOG_LEVEL", SETTING_STRING, "debug|info|warn|error", "info", 0, 0, 0, "debug, info, warn or error")
S(LOG_FORMAT, "log.format", "LOG_FORMAT", SETTING_STRING, "json|console|", "", 0, 0, 0, "json or console; empty: console on a terminal")
S(THREADS, "threads", "OMP_NUM_THREADS", SETTING_INT, "", "0", 0, 1024, 0, "threads of one process; 0: all the CPUs it may use")
S(MEMORY_LIMIT, "memory.limit", "", SETTING_INT, "MiB", "0", 0, 1e9, 0, "memory ceiling of stacking and reading; 0: a quarter of what is free")
S(INSTRUMENT_PATH, "instrument.path", "", SETTING_STRING, "", "", 0, 0, 0, "folders of instrument files beside the shipped ones, colon-separated")
S(INSTRUMENT_NAME, "instrument.name", "", SETTING_STRING, "", "", 0, 0, 0, "use this instrument file whatever the header says")
S(LONGITUDE, "site.longitude", "", SETTING_DOUBLE, "deg", "nan", -360, 360, 0, "east longitude for frames whose header and instrument file say nothing")
S(DATABASE_URL, "database.url", "DATABASE_URL", SETTING_STRING, "", "", 0, 0, SETTING_SECRET, "libpq URL of the catalogue")

/* -- masters ---------------------------------------------------------------------------------------------------- */
S(MASTER_CLIP_LOW, "master.clip_low", "", SETTING_DOUBLE, "sigma", "3", 1, 100, SETTING_RESULT, "lower rejection of stacking")
S(MASTER_CLIP_HIGH, "master.clip_high", "", SETTING_DOUBLE, "sigma", "3", 1, 100, SETTING_RESULT, "upper rejection of stacking")
S(MASTER_CLIP_ITERATIONS, "master.clip_iterations", "", SETTING_INT, "", "5", 0, 100, SETTING_RESULT, "rounds of rejection at most")
S(MASTER_MIN_FRAMES, "master.min_frames", "", SETTING_INT, "", "3", 1, 10000, SETTING_RESULT, "frames a master needs")
S(MASTER_HOT_SIGMA, "master.hot_sigma", "", SETTING_DOUBLE, "sigma", "5", 1, 1000, SETTING_RESULT, "dark pixels above this are HOT")
S(MASTER_LOW_FLAT, "master.low_flat", "", SETTING_DOUBLE, "", "0.2", 0, 1, SETTING_RESULT, "flat pixels below this are LOWFLAT")

/* -- reduce ----------------------------------------------------------------------------------------------------- */
S(OVERSCAN, "signature.overscan", "", SETTING_STRING, "row|median|polynomial|spline|none", "row", 0, 0, SETTING_RESULT, "level of the serial overscan: each row's clipped mean or median, or a curve along the rows")
S(OVERSCAN_ORDER, "signature.overscan_order", "", SETTING_INT, "", "3", 0, 30, SETTING_RESULT, "degree of that polynomial, pieces of that spline")
S(OVERSCAN_SKIP, "signature.overscan_skip", "", SETTING_INT, "pixel", "0", 0, 1000, SETTING_RESULT, "overscan columns left out beside the data")
S(PARALLEL, "signature.parallel", "", SETTING_STRING, "none|column|median|polynomial|spline", "none", 0, 0, SETTING_RESULT, "level of the parallel overscan (amplifiers.prescan), subtracted from the columns")
S(PARALLEL_ORDER, "signature.parallel_order", "", SETTING_INT, "", "3", 0, 30, SETTING_RESULT, "degree of that polynomial, pieces of that spline")
S(CROSSTALK, "signature.crosstalk", "", SETTING_DOUBLES, "", "", 0, 0, SETTING_RESULT, "matrix of the amplifiers, a row for each victim: share of each source's counts in it")
S(READOUT, "signature.readout", "", SETTING_STRING, "", "", 0, 0, SETTING_RESULT, "corner each amplifier is read out at: ll, lr, ul, ur; empty: where its stored section begins")
S(LINEARITY, "signature.linearity", "", SETTING_DOUBLES, "", "", 0, 0, SETTING_RESULT, "c1, c2 ... of counts (1 + c1 counts + c2 counts^2 ...); a block for each amplifier, or one for all")
S(LINEARITY_TABLE, "signature.linearity_table", "", SETTING_DOUBLES, "adu", "", 0, 0, SETTING_RESULT, "counts, true counts, counts, true counts ...; a block for each amplifier, or one for all")
S(SUSPECT, "signature.suspect", "", SETTING_DOUBLES, "adu", "", 0, 0, SETTING_RESULT, "raw counts from which pixels are SUSPECT; one for each amplifier, or one for all")
S(DEFECTS, "signature.defects", "", SETTING_DOUBLES, "pixel", "", 0, 0, SETTING_RESULT, "places of the trimmed frame that are BAD: x1, x2, y1, y2, x1 ..., first pixel 1, both ends included")
S(INTERPOLATE, "signature.interpolate", "", SETTING_BOOL, "", "true", 0, 0, SETTING_RESULT, "defects get the value of their surroundings; they stay in the mask")
S(ROW_DRIFT, "signature.row_drift", "", SETTING_INT, "", "0", 0, 20, SETTING_RESULT, "degree in y of a bias drift taken from the sky of detectors without overscan; 0: none")
S(COSMIC_REJECT, "cosmic.reject", "", SETTING_BOOL, "", "true", 0, 0, SETTING_RESULT, "find and mend cosmic rays (L.A.Cosmic)")
S(COSMIC_SIGCLIP, "cosmic.sigclip", "", SETTING_DOUBLE, "sigma", "4.5", 1, 1000, SETTING_RESULT, "contrast of a pixel hit")
S(COSMIC_SIGFRAC, "cosmic.sigfrac", "", SETTING_DOUBLE, "", "0.5", 0, 1, SETTING_RESULT, "share of it for the neighbours of a hit")
S(COSMIC_OBJLIM, "cosmic.objlim", "", SETTING_DOUBLE, "", "3", 0.1, 1000, SETTING_RESULT, "contrast over fine structure; 2 for stars wide in pixels, 5 for those sharper than 2 pixels")
S(COSMIC_NITER, "cosmic.niter", "", SETTING_INT, "", "6", 1, 16, SETTING_RESULT, "rounds at most")
S(QUANTISE, "product.quantise", "", SETTING_DOUBLE, "", "4", 0, 1000, SETTING_RESULT, "q of the quantised float planes; 0: lossless")

/* -- background (Bertin & Arnouts 1996; names of Source Extractor) ---------------------------------------------- */
S(BACK_SIZE, "back.size", "", SETTING_INT, "pixel", "64", 8, 65536, SETTING_RESULT, "mesh of the background (BACK_SIZE)")
S(BACK_FILTERSIZE, "back.filtersize", "", SETTING_INT, "mesh", "3", 1, 99, SETTING_RESULT, "median filter over the meshes (BACK_FILTERSIZE)")

/* -- detection -------------------------------------------------------------------------------------------------- */
S(DETECT_THRESH, "detect.thresh", "", SETTING_DOUBLE, "sigma", "1.5", 0.01, 1e9, SETTING_RESULT, "threshold above the background (DETECT_THRESH)")
S(DETECT_MINAREA, "detect.minarea", "", SETTING_INT, "pixel", "5", 1, 1000000, SETTING_RESULT, "pixels an object needs (DETECT_MINAREA)")
S(DETECT_FILTER, "detect.filter", "", SETTING_STRING, "", "default", 0, 0, SETTING_RESULT | SETTING_FILE, "none, default (3 x 3 pyramid), or a .conv file")
S(DEBLEND_NTHRESH, "deblend.nthresh", "", SETTING_INT, "", "32", 1, 256, SETTING_RESULT, "levels of deblending (DEBLEND_NTHRESH)")
S(DEBLEND_MINCONT, "deblend.mincont", "", SETTING_DOUBLE, "", "0.005", 0, 1, SETTING_RESULT, "share of the flux a branch needs (DEBLEND_MINCONT)")
S(DEBLEND_MAX_PIXELS, "deblend.max_pixels", "", SETTING_INT, "pixel", "2000000", 0, 1e9, SETTING_RESULT, "larger blends are kept whole and flagged; 0: no limit")
S(CLEAN, "detect.clean", "", SETTING_BOOL, "", "true", 0, 0, SETTING_RESULT, "drop detections that are the wings of a neighbour (CLEAN)")
S(CLEAN_PARAM, "detect.clean_param", "", SETTING_DOUBLE, "", "1.0", 0.1, 10, SETTING_RESULT, "Moffat beta of the wings (CLEAN_PARAM)")

/* -- photometry ------------------------------------------------------------------------------------------------- */
S(PHOT_APERTURES, "phot.apertures", "", SETTING_DOUBLES, "pixel", "5,10,20", 0.1, 10000, SETTING_RESULT, "aperture diameters (PHOT_APERTURES)")
S(PHOT_KRON_FACT, "phot.kron_fact", "", SETTING_DOUBLE, "", "2.5", 0, 100, SETTING_RESULT, "k of PHOT_AUTOPARAMS")
S(PHOT_KRON_MIN, "phot.kron_min", "", SETTING_DOUBLE, "pixel", "3.5", 0, 100, SETTING_RESULT, "smallest Kron radius of PHOT_AUTOPARAMS")
S(PHOT_FLUXFRAC, "phot.fluxfrac", "", SETTING_DOUBLES, "", "0.5", 0.001, 1, SETTING_RESULT, "fractions of FLUX_RADIUS (PHOT_FLUXFRAC)")

/* -- verdict on a frame: beyond a limit it is in doubt, or rejected; 0 of a limit that may be 0: not looked at ----------- */
S(QUALITY_MASKED_DOUBT, "quality.masked_doubt", "", SETTING_DOUBLE, "", "0.2", 0, 1, SETTING_RESULT, "share of masked pixels from which a frame is in doubt")
S(QUALITY_MASKED_REJECT, "quality.masked_reject", "", SETTING_DOUBLE, "", "0.9", 0, 1, SETTING_RESULT, "share of masked pixels from which it is rejected")
S(QUALITY_SATURATED_DOUBT, "quality.saturated_doubt", "", SETTING_DOUBLE, "", "0.05", 0, 1, SETTING_RESULT, "share of saturated pixels: doubt")
S(QUALITY_SATURATED_REJECT, "quality.saturated_reject", "", SETTING_DOUBLE, "", "0.5", 0, 1, SETTING_RESULT, "share of saturated pixels: reject")
S(QUALITY_STARS_FEW, "quality.stars_few", "", SETTING_INT, "", "3", 0, 1000000, SETTING_RESULT, "fewer stars than this: doubt")
S(QUALITY_ELLIPTICITY_DOUBT, "quality.ellipticity_doubt", "", SETTING_DOUBLE, "", "0.3", 0, 1, SETTING_RESULT, "median ellipticity of the stars: doubt")
S(QUALITY_ELLIPTICITY_REJECT, "quality.ellipticity_reject", "", SETTING_DOUBLE, "", "0.6", 0, 1, SETTING_RESULT, "median ellipticity of the stars: reject")
S(QUALITY_SEEING_DOUBT, "quality.seeing_doubt", "", SETTING_DOUBLE, "arcsec", "0", 0, 1000, SETTING_RESULT, "seeing: doubt; 0: none is too bad")
S(QUALITY_SEEING_REJECT, "quality.seeing_reject", "", SETTING_DOUBLE, "arcsec", "0", 0, 1000, SETTING_RESULT, "seeing: reject; 0: none is too bad")
S(QUALITY_SKY_DOUBT, "quality.sky_doubt", "", SETTING_DOUBLE, "electron", "0", 0, 1e9, SETTING_RESULT, "sky per pixel: doubt; 0: none is too bright")
S(QUALITY_DEPTH_DOUBT, "quality.depth_doubt", "", SETTING_DOUBLE, "mag", "0", -100, 100, SETTING_RESULT, "limiting magnitude of a frame with an absolute zero point: doubt when brighter; 0: none")
S(QUALITY_ASTROMETRY_DOUBT, "quality.astrometry_doubt", "", SETTING_DOUBLE, "pixel", "0.5", 0, 1000, SETTING_RESULT, "rms of the fitted WCS against its stars: doubt; 0: not looked at")
S(QUALITY_ZEROPOINT_DOUBT, "quality.zeropoint_doubt", "", SETTING_DOUBLE, "mag", "0.05", 0, 100, SETTING_RESULT, "error of the zero point: doubt; 0: not looked at")

/* -- PSF -------------------------------------------------------------------------------------------------------- */
S(PSF_PHOTOMETRY, "psf.photometry", "", SETTING_BOOL, "", "true", 0, 0, SETTING_RESULT, "fit the frame's PSF to every detection")
S(PSF_STARS, "psf.stars", "", SETTING_INT, "", "256", 16, 2000, SETTING_RESULT, "stars the PSF is made from at most")
S(PSF_DEGREE, "psf.degree", "", SETTING_INT, "", "3", 0, 3, SETTING_RESULT, "degree of its change over the field at most; the stars choose")
S(PSF_SNR, "psf.snr_min", "", SETTING_DOUBLE, "", "20", 5, 10000, SETTING_RESULT, "signal to noise of a star for the PSF")
S(PSF_FIT_RADIUS, "psf.fit_radius", "", SETTING_DOUBLE, "FWHM", "1.5", 0.5, 4, SETTING_RESULT, "pixels within so many FWHM are fitted")
S(PSF_GROUP, "psf.group_max", "", SETTING_INT, "", "12", 1, 24, SETTING_RESULT, "sources fitted together at most")
S(PHOT_APERTURE_CORRECTION, "phot.aperture_correction", "", SETTING_BOOL, "", "true", 0, 0, SETTING_RESULT, "reduce gives aperture fluxes as total fluxes of point sources")
S(PSF_LOCAL_SKY, "psf.local_sky", "", SETTING_BOOL, "", "false", 0, 0, SETTING_RESULT, "each group fits the level of the sky under it")
S(FORCED_LIMIT, "forced.limit_sigma", "", SETTING_DOUBLE, "sigma", "5", 0.1, 100, SETTING_RESULT, "upper limits of forced photometry, in errors")
S(FORCED_APERTURE, "forced.aperture", "", SETTING_DOUBLE, "FWHM", "2", 0.5, 20, SETTING_RESULT, "diameter of the aperture of forced photometry")

/* -- astrometry and zero points (reduce --refs) ------------------------------------------------------------------ */
S(ASTROMETRY_RADIUS, "astrometry.radius", "", SETTING_DOUBLE, "deg", "1.1", 0.001, 20, SETTING_RESULT, "the header may point beside by this")
S(ASTROMETRY_SCALE, "astrometry.scale_tolerance", "", SETTING_DOUBLE, "%", "7", 0.1, 30, SETTING_RESULT, "its scale may be wrong by this")
S(ASTROMETRY_ORDER, "astrometry.order", "", SETTING_INT, "", "5", 1, 5, SETTING_RESULT, "highest order of the distortion; the stars choose up to it")
S(ASTROMETRY_STARS, "astrometry.min_stars", "", SETTING_INT, "", "6", 4, 10000, SETTING_RESULT, "reference stars a solution needs")
S(ASTROMETRY_RESIDUALS, "astrometry.residuals", "", SETTING_BOOL, "", "false", 0, 0, 0, "write the residuals star by star below quality/")
S(ZEROPOINT_BANDS, "zeropoint.bands", "", SETTING_STRING, "", "", 0, 0, SETTING_RESULT, "reference band and colour of each filter: g=phot_g_mean_mag:bp_rp,r=rmag; * is any filter; empty: no absolute zero points")
S(ZEROPOINT_COLOUR, "zeropoint.colour", "", SETTING_DOUBLE, "mag", "0.8", -10, 10, SETTING_RESULT, "colour at which the zero point holds")
S(ZEROPOINT_DEGREE, "zeropoint.degree", "", SETTING_INT, "", "1", 0, 2, SETTING_RESULT, "highest degree of the zero point's change over the frame")

/* -- catalogue -------------------------------------------------------------------------------------------------- */
S(DB_DATA, "db.data", "", SETTING_STRING, "", "", 0, 0, 0, "folder of the private database; empty: /var/lib/nightshift as root, else XDG_DATA_HOME/nightshift")
S(DB_PROGRAMS, "db.programs", "", SETTING_STRING, "", "", 0, 0, 0, "folder of PostgreSQL's programs; empty: the newest that Debian installed, else PATH")
S(ASSOC_RADIUS, "associate.radius", "", SETTING_DOUBLE, "arcsec", "0", 0, 60, 0, "matching radius of detections and objects; 0: the larger of 1 and half the seeing")

/* -- service ---------------------------------------------------------------------------------------------------- */
S(SERVE_BIND, "serve.bind", "", SETTING_STRING, "", "127.0.0.1", 0, 0, 0, "IP address to listen on")
S(SERVE_PORT, "serve.port", "", SETTING_INT, "", "8080", 0, 65535, 0, "port to listen on; 0: any free one")
S(SERVE_WORKERS, "serve.workers", "", SETTING_INT, "", "8", 1, 1024, 0, "requests worked on at once, each with one database connection")
S(SERVE_CONNECTIONS, "serve.connections", "", SETTING_INT, "", "1024", 1, 100000, 0, "clients connected at once")
S(SERVE_POOL_WAIT, "serve.pool_wait", "", SETTING_DURATION, "s", "5s", 0, 600, 0, "wait for a free database connection before 503")
S(SERVE_MAXREC, "serve.maxrec", "", SETTING_INT, "", "10000", 1, 1e9, 0, "rows of an answer when the request names no limit")
S(SERVE_MAXREC_LIMIT, "serve.maxrec_limit", "", SETTING_INT, "", "1000000", 1, 1e9, 0, "rows of an answer at most")
S(SERVE_PER_ADDRESS, "serve.connections_per_address", "", SETTING_INT, "", "256", 0, 100000, 0, "connections of one client address; 0: no limit, as behind a proxy")
S(SERVE_TRUST_PROXY, "serve.trust_proxy", "", SETTING_BOOL, "", "false", 0, 0, 0, "take the client's address from X-Forwarded-For")
S(SERVE_ANONYMOUS, "serve.anonymous", "", SETTING_STRING, "", "read,upload", 0, 0, 0, "scopes of requests without a token; empty: a token is needed")
S(SERVE_ANONYMOUS_PER_HOUR, "serve.anonymous_per_hour", "", SETTING_INT, "", "0", 0, 1e12, 0, "requests without a token from one address in an hour; 0: no limit")
S(SERVE_TLS_CERTIFICATE, "serve.tls_certificate", "", SETTING_STRING, "", "", 0, 0, 0, "PEM file of the certificate and its chain; with serve.tls_key: HTTPS")
S(SERVE_TLS_KEY, "serve.tls_key", "", SETTING_STRING, "", "", 0, 0, 0, "PEM file of the private key")
S(SERVE_BASE_URL, "serve.base_url", "", SETTING_STRING, "", "", 0, 0, 0, "address clients reach this service at, as behind a proxy; empty: that of each request")
S(SERVE_AUTHORITY, "serve.authority", "", SETTING_STRING, "", "nightshift.invalid", 0, 0, 0, "IVOA authority of the identifiers of images")
S(SERVE_ARCHIVE, "serve.archive", "", SETTING_STRING, "", "", 0, 0, 0, "folder of the products (OUT of reduce): images, cutouts and pictures come from it; empty: none are served")
S(SERVE_CUTOUT_PIXELS, "serve.cutout_pixels", "", SETTING_INT, "pixel**2", "67108864", 1, 1e10, 0, "largest cutout")
S(SERVE_LINGER, "serve.linger", "", SETTING_DURATION, "s", "5s", 0, 600, 0, "after SIGTERM: unready but serving, so that load balancers notice")
