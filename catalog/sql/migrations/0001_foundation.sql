-- What was observed, what was measured, and which inputs it came from.
--
--   recipe --+
--            +--> ccd (exposure, ccd, recipe, version) <-- exposure
--   run -----+        |                                   one token in ingest_batch per stored row
--                     v
--                detection (night) --association--> object
--
-- Ids: exposure_id has 32 bits, the first that are free after a hash of (instrument, exposure_key), so that two databases
-- give the same exposure the same id. det_id = exposure_id 32 | ccd 9 | seq 22 bits; it repeats between recipes and
-- versions of one exposure, hence every key that holds it holds (recipe_id, version) too.
-- detection carries no foreign keys: a trigger per row would halve the rate of COPY; ingest_finish() is the only door.

CREATE TABLE recipe (
    recipe_id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipe           text NOT NULL UNIQUE,               -- first 16 hex digits of its hash
    instrument       text NOT NULL,
    program_version  text NOT NULL,                      -- result version of the program
    settings         jsonb,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE run (
    run_id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL,                      -- reduce, ingest, associate, forced
    program_version  text NOT NULL,
    night            integer,                            -- yyyymmdd
    arguments        jsonb,
    host             text,
    job_run_id       bigint,                             -- the job runner's run, if it started this one
    supersedes       bigint REFERENCES run,
    status           text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed')),
    started_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz
);

CREATE TABLE exposure (
    exposure_id      bigint PRIMARY KEY CHECK (exposure_id BETWEEN 0 AND 4294967295),
    instrument       text NOT NULL,
    exposure_key     text NOT NULL,                      -- the header's id, else DATE-OBS + checksum of the raw file
    night            integer NOT NULL CHECK (night BETWEEN 18000101 AND 29991231),
    mjd_start        double precision,                   -- d, UTC
    mjd_mid          double precision NOT NULL,          -- d, UTC
    exptime_s        double precision NOT NULL,
    filter           text NOT NULL DEFAULT '',
    object           text NOT NULL DEFAULT '',
    telescope        text NOT NULL DEFAULT '',
    observer         text NOT NULL DEFAULT '',
    ra               double precision,                   -- deg, ICRS, pointing
    dec              double precision,                   -- deg
    airmass          double precision,
    longitude        double precision,                   -- deg east
    latitude         double precision,                   -- deg
    height_m         double precision,
    UNIQUE (instrument, exposure_key)
);
CREATE INDEX exposure_night ON exposure (night, mjd_mid);

-- One measured CCD. Published: published_at set and retired_at not; at most one such row per (exposure, ccd).
-- "As of T": published_at <= T and (retired_at is null or retired_at > T).
CREATE TABLE ccd (
    exposure_id      bigint NOT NULL REFERENCES exposure,
    ccd              smallint NOT NULL CHECK (ccd BETWEEN 0 AND 511),
    recipe_id        integer NOT NULL REFERENCES recipe,
    version          smallint NOT NULL CHECK (version > 0),
    night            integer NOT NULL,
    run_id           bigint REFERENCES run,
    raw_file         text NOT NULL DEFAULT '',
    raw_sha256       text NOT NULL DEFAULT '',
    bias_sha256      text NOT NULL DEFAULT '',
    dark_sha256      text NOT NULL DEFAULT '',
    flat_sha256      text NOT NULL DEFAULT '',
    reference        text NOT NULL DEFAULT '',           -- reference catalogue and release of WCS and zero point
    cat_path         text NOT NULL DEFAULT '',           -- relative to the archive root
    cal_path         text NOT NULL DEFAULT '',
    nx               integer,                            -- pixel
    ny               integer,
    ra               double precision,                   -- deg, ICRS, centre
    dec              double precision,
    corner_ra        double precision[],                 -- deg, four corners counter-clockwise in the pixel plane
    corner_dec       double precision[],
    pixel_scale      double precision,                   -- arcsec
    magzero          double precision,                   -- magnitude of 1 electron/s
    magzero_err      double precision,
    magzero_kind     text NOT NULL DEFAULT '' CHECK (magzero_kind IN ('', 'absolute', 'relative')),
    seeing_arcsec    double precision,                   -- FWHM
    sky_e            double precision,                   -- electron
    sky_noise_e      double precision,                   -- electron
    mag_lim          double precision,                   -- 5 sigma, point source
    astrom_rms_arcsec double precision,
    n_det            integer NOT NULL DEFAULT 0,
    quality          text NOT NULL DEFAULT '',           -- pass, doubt, reject
    stored_at        timestamptz NOT NULL DEFAULT now(),
    published_at     timestamptz,
    retired_at       timestamptz,
    PRIMARY KEY (exposure_id, ccd, recipe_id, version)
);
CREATE UNIQUE INDEX ccd_published ON ccd (exposure_id, ccd) WHERE published_at IS NOT NULL AND retired_at IS NULL;
CREATE INDEX ccd_night ON ccd (night);

CREATE TABLE detection (
    det_id           bigint NOT NULL,
    hpx29            bigint NOT NULL,                    -- HEALPix, nested, order 29
    ra               double precision NOT NULL,          -- deg, ICRS, windowed centroid
    dec              double precision NOT NULL,
    mjd              double precision NOT NULL,          -- d, UTC, middle of the exposure
    x                double precision NOT NULL,          -- pixel, FITS
    y                double precision NOT NULL,
    night            integer NOT NULL,
    recipe_id        integer NOT NULL,
    ra_err           real,                               -- arcsec
    dec_err          real,
    flux_auto        real,                               -- electron
    fluxerr_auto     real,
    flux_aper1       real,
    fluxerr_aper1    real,
    flux_aper2       real,
    fluxerr_aper2    real,
    flux_aper3       real,
    fluxerr_aper3    real,
    flux_max         real,                               -- electron
    background       real,                               -- electron
    kron_radius      real,
    flux_radius      real,                               -- pixel
    a                real,                               -- pixel
    b                real,
    theta            real,                               -- deg
    fwhm             real,                               -- pixel
    class_star       real,
    snr              real,
    isoarea          integer,                            -- pixel
    imaflags         integer NOT NULL DEFAULT 0,         -- mask bits met
    flags            smallint NOT NULL DEFAULT 0,        -- Source Extractor's bits
    version          smallint NOT NULL,
    PRIMARY KEY (det_id, recipe_id, version, night)
) PARTITION BY RANGE (night);
CREATE INDEX detection_hpx29 ON detection (hpx29);

-- ref_ra, ref_dec: the position of the detection that founded the object; matching uses it and it never moves, so that
-- the result does not depend on when a mean was taken. ra, dec: mean position, for people. object_id: hpx29 of the
-- founding position, the next free one if taken: ids of neighbours are near each other in every index.
CREATE TABLE object (
    object_id        bigint PRIMARY KEY,
    hpx29            bigint NOT NULL,                    -- of ra, dec
    ra               double precision NOT NULL,          -- deg, ICRS
    dec              double precision NOT NULL,
    ref_ra           double precision NOT NULL,
    ref_dec          double precision NOT NULL,
    ra_err           real,                               -- arcsec, scatter / sqrt(n)
    dec_err          real,
    n_det            integer NOT NULL DEFAULT 0,         -- published detections, as of the last association
    first_mjd        double precision,
    last_mjd         double precision,
    first_night      integer NOT NULL,
    founder_det_id   bigint NOT NULL,
    founder_recipe_id integer NOT NULL,
    founder_version  smallint NOT NULL,
    published_at     timestamptz                         -- set: this id never changes and never goes away
);
CREATE INDEX object_hpx29 ON object (hpx29);
CREATE INDEX object_first_night ON object (first_night);

-- What belongs to what, with the few columns a light curve needs beside it: one index range is one light curve, however
-- many nights it spans. dx, dy: east and north of the object's reference position.
CREATE TABLE association (
    object_id        bigint NOT NULL,
    det_id           bigint NOT NULL,
    mjd              double precision NOT NULL,
    recipe_id        integer NOT NULL,
    night            integer NOT NULL,
    dx               real NOT NULL,                      -- arcsec
    dy               real NOT NULL,
    flux_auto        real,                               -- electron
    fluxerr_auto     real,
    flux_aper1       real,
    fluxerr_aper1    real,
    flux_aper2       real,
    fluxerr_aper2    real,
    flags            smallint NOT NULL DEFAULT 0,
    version          smallint NOT NULL,
    PRIMARY KEY (det_id, recipe_id, version)
);
CREATE INDEX association_object ON association (object_id, mjd);

CREATE TABLE object_band (
    object_id        bigint NOT NULL REFERENCES object ON DELETE CASCADE,
    filter           text NOT NULL,
    n                integer NOT NULL,                   -- published detections with a zero point
    flux_mean        double precision,                   -- nJy, weighted
    flux_err         double precision,
    flux_std         double precision,
    flux_min         double precision,
    flux_max         double precision,
    chi2             double precision,                   -- reduced, against a constant flux
    PRIMARY KEY (object_id, filter)
);

CREATE TABLE night (
    night            integer PRIMARY KEY,
    associated_at    timestamptz,
    published_at     timestamptz
);

CREATE TABLE calibration (
    calib_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL CHECK (kind IN ('bias', 'dark', 'flat', 'fringe', 'bpm')),
    sha256           text NOT NULL UNIQUE,
    path             text NOT NULL,                      -- relative to the archive root
    instrument       text NOT NULL,
    ccd              smallint NOT NULL,
    filter           text NOT NULL DEFAULT '',
    binning_x        smallint NOT NULL DEFAULT 1,
    binning_y        smallint NOT NULL DEFAULT 1,
    exptime_s        double precision,
    mjd              double precision,
    night            integer,
    n_frames         integer,
    inputs           jsonb,                              -- names and checksums
    run_id           bigint REFERENCES run,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX calibration_kind ON calibration (instrument, kind, ccd, filter, mjd);

-- The token of an ingest: a hash of the inputs (raw file, masters, reference, recipe), not of the floats they gave.
CREATE TABLE ingest_batch (
    token            bytea PRIMARY KEY CHECK (octet_length(token) = 32),
    exposure_id      bigint NOT NULL,
    ccd              smallint NOT NULL,
    recipe_id        integer NOT NULL,
    version          smallint NOT NULL,
    n_rows           integer NOT NULL,
    committed_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (exposure_id, ccd, recipe_id, version),
    FOREIGN KEY (exposure_id, ccd, recipe_id, version) REFERENCES ccd
);
