-- PSF photometry, forced photometry, the quality of a CCD, and where on the sky each night has rows.

-- ---- detections ------------------------------------------------------------------------------------------------------
-- NULL where the file has no such column.
ALTER TABLE detection
    ADD ra_psf           double precision,               -- deg, ICRS, of the PSF fit
    ADD dec_psf          double precision,
    ADD x_psf            double precision,               -- pixel, FITS
    ADD y_psf            double precision,
    ADD flux_psf         real,                           -- electron
    ADD fluxerr_psf      real,
    ADD chi2_psf         real,                           -- reduced, of the fit
    ADD spread_model     real,                           -- 0: point source
    ADD spreaderr_model  real,
    ADD flags_psf        smallint;
ALTER TABLE association
    ADD flux_psf         real,                           -- electron
    ADD fluxerr_psf      real;

-- ---- CCDs ------------------------------------------------------------------------------------------------------------
-- What every row of the CCD needs from its exposure stands in the CCD's own row, and so does what turns electrons into nJy:
-- a published row is then one look-up away from its flux, and a new zero point still changes one row.
ALTER TABLE ccd
    ADD instrument       text,
    ADD filter           text,
    ADD exptime_s        double precision,
    ADD airmass          double precision,
    ADD longitude        double precision,               -- deg east
    ADD latitude         double precision,               -- deg
    ADD height_m         double precision,
    ADD njy_per_electron double precision,               -- by ccd_fill(), from magzero and exptime_s
    ADD ellipticity      double precision,               -- median of the stars
    ADD masked           double precision,               -- fraction of the pixels
    ADD saturated        double precision,
    ADD n_star           integer,                        -- stars the seeing comes from
    ADD reasons          text NOT NULL DEFAULT '';       -- of the verdict

CREATE FUNCTION ccd_fill() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    e exposure;
BEGIN
    IF new.exptime_s IS NULL OR new.filter IS NULL OR new.instrument IS NULL THEN
        SELECT * INTO e FROM exposure WHERE exposure_id = new.exposure_id;
        new.instrument := e.instrument;
        new.filter := e.filter;
        new.exptime_s := e.exptime_s;
        new.airmass := e.airmass;
        new.longitude := e.longitude;
        new.latitude := e.latitude;
        new.height_m := e.height_m;
    END IF;
    new.njy_per_electron := 3631e9 * power(10::double precision, -0.4 * new.magzero) / nullif(new.exptime_s, 0);
    RETURN new;
END $$;
CREATE TRIGGER ccd_fill BEFORE INSERT OR UPDATE OF magzero, exptime_s, filter, instrument ON ccd FOR EACH ROW EXECUTE FUNCTION ccd_fill();
UPDATE ccd SET magzero = magzero;

-- The published versions as they were at a moment.
CREATE FUNCTION ccd_as_of(p_time timestamptz) RETURNS SETOF ccd LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT * FROM ccd WHERE published_at <= p_time AND (retired_at IS NULL OR retired_at > p_time)
$$;

-- ---- forced photometry -----------------------------------------------------------------------------------------------
-- One measured list of positions on one CCD. The token is a hash of the inputs, as in ingest_batch; shown while published_at
-- is set and retired_at is not: at most one batch per (exposure, ccd, list).
CREATE TABLE forced_batch (
    batch_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token            bytea NOT NULL UNIQUE CHECK (octet_length(token) = 32),
    exposure_id      bigint NOT NULL REFERENCES exposure,
    ccd              smallint NOT NULL CHECK (ccd BETWEEN 0 AND 511),
    recipe_id        integer NOT NULL REFERENCES recipe,
    version          smallint NOT NULL CHECK (version > 0),
    list             text NOT NULL,                      -- name of the list of positions
    list_sha256      text NOT NULL DEFAULT '',
    night            integer NOT NULL,
    file             text NOT NULL DEFAULT '',           -- relative to the archive root
    n_rows           integer NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    published_at     timestamptz,
    retired_at       timestamptz,
    UNIQUE (exposure_id, ccd, recipe_id, list, version)
);
CREATE UNIQUE INDEX forced_batch_published ON forced_batch (exposure_id, ccd, list) WHERE published_at IS NOT NULL AND retired_at IS NULL;

-- object_id: the id the list gives the position, an object's where there is one. No foreign key: a list may hold others.
CREATE TABLE forced_phot (
    object_id        bigint NOT NULL,
    batch_id         bigint NOT NULL,
    mjd              double precision NOT NULL,          -- d, UTC, middle of the exposure
    ra               double precision NOT NULL,          -- deg, ICRS, where it was measured
    dec              double precision NOT NULL,
    x                double precision,                   -- pixel, FITS
    y                double precision,
    flux             real,                               -- electron, of the PSF at that place
    fluxerr          real,
    flux_limit       real,                               -- electron, upper limit
    flux_aper        real,                               -- electron
    fluxerr_aper     real,
    chi2             real,                               -- reduced, of the fit
    mask             integer NOT NULL DEFAULT 0,         -- mask bits under the core
    flags            smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (object_id, batch_id)
);
CREATE INDEX forced_phot_batch ON forced_phot (batch_id);

-- Locks the list of this CCD; says whether the inputs are known, else which version to write.
CREATE FUNCTION forced_begin(p_exposure_id bigint, p_ccd integer, p_recipe_id integer, p_list text, p_token bytea,
                             OUT already boolean, OUT batch_id bigint, OUT version smallint, OUT n_rows integer) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(format('%s %s %s', p_exposure_id, p_ccd, p_list), 31));
    SELECT true, b.batch_id, b.version, b.n_rows INTO already, batch_id, version, n_rows FROM forced_batch b WHERE b.token = p_token;
    IF already THEN
        RETURN;
    END IF;
    already := false;
    SELECT coalesce(max(b.version), 0) + 1 INTO version FROM forced_batch b
        WHERE b.exposure_id = p_exposure_id AND b.ccd = p_ccd AND b.recipe_id = p_recipe_id AND b.list = p_list;
    batch_id := nextval(pg_get_serial_sequence('forced_batch', 'batch_id'));
END $$;

CREATE FUNCTION forced_finish(p_batch jsonb, p_token bytea, p_publish boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    b forced_batch := jsonb_populate_record(NULL::forced_batch, p_batch);
BEGIN
    b.token := p_token;
    b.stored_at := clock_timestamp();
    b.published_at := NULL;
    b.retired_at := NULL;
    IF p_publish THEN
        UPDATE forced_batch SET retired_at = b.stored_at
            WHERE exposure_id = b.exposure_id AND ccd = b.ccd AND list = b.list AND published_at IS NOT NULL AND retired_at IS NULL;
        b.published_at := b.stored_at;
    END IF;
    INSERT INTO forced_batch OVERRIDING SYSTEM VALUE SELECT b.*;
END $$;

-- ---- which nights have rows where ----------------------------------------------------------------------------------
-- cell: HEALPix pixel of order 6 (hpx29 >> 46). A row may be there without detections (the writer died), never the other way
-- round. A search by place asks here first and leaves the partitions of other nights alone.
CREATE TABLE detection_cover (
    cell             integer NOT NULL,
    night            integer NOT NULL,
    PRIMARY KEY (cell, night)
);
INSERT INTO detection_cover SELECT DISTINCT (hpx29 >> 46)::integer, night FROM detection;

-- ---- what the public sees --------------------------------------------------------------------------------------------
CREATE OR REPLACE VIEW published_ccd AS
    SELECT c.exposure_id, c.ccd, c.recipe_id, c.version, c.night, c.run_id, c.raw_file, c.raw_sha256, c.bias_sha256, c.dark_sha256, c.flat_sha256,
           c.reference, c.cat_path, c.cal_path, c.nx, c.ny, c.ra, c.dec, c.corner_ra, c.corner_dec, c.pixel_scale, c.magzero, c.magzero_err,
           c.magzero_kind, c.seeing_arcsec, c.sky_e, c.sky_noise_e, c.astrom_rms_arcsec, c.n_det, c.quality, c.stored_at, c.published_at, c.retired_at,
           c.associated_at, c.depth, c.depth + c.magzero AS mag_lim, r.recipe, e.instrument, e.mjd_start, e.mjd_mid, e.exptime_s, e.filter, e.object,
           e.airmass, c.ellipticity, c.masked, c.saturated, c.n_star, c.reasons
      FROM ccd c JOIN exposure e USING (exposure_id) JOIN recipe r USING (recipe_id)
     WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL;

CREATE OR REPLACE VIEW published_detection AS
    SELECT d.det_id, a.object_id, d.hpx29, d.ra, d.dec, d.ra_err, d.dec_err, d.mjd, d.night, c.filter, c.instrument,
           c.exposure_id, c.ccd, d.x, d.y,
           d.flux_auto * c.njy_per_electron AS flux_auto, d.fluxerr_auto * c.njy_per_electron AS fluxerr_auto,
           d.flux_aper1 * c.njy_per_electron AS flux_aper1, d.fluxerr_aper1 * c.njy_per_electron AS fluxerr_aper1,
           d.flux_aper2 * c.njy_per_electron AS flux_aper2, d.fluxerr_aper2 * c.njy_per_electron AS fluxerr_aper2,
           d.flux_aper3 * c.njy_per_electron AS flux_aper3, d.fluxerr_aper3 * c.njy_per_electron AS fluxerr_aper3,
           flux_mag(d.flux_auto, c.exptime_s, c.magzero) AS mag_auto, flux_magerr(d.flux_auto, d.fluxerr_auto) AS magerr_auto,
           d.flux_auto AS counts_auto, d.fluxerr_auto AS countserr_auto,
           d.kron_radius, d.flux_radius, d.a, d.b, d.theta, d.fwhm, d.class_star, d.snr, d.isoarea, d.flags, d.imaflags,
           c.magzero, c.magzero_kind, c.quality, d.recipe_id, d.version,
           d.flux_psf * c.njy_per_electron AS flux_psf, d.fluxerr_psf * c.njy_per_electron AS fluxerr_psf,
           flux_mag(d.flux_psf, c.exptime_s, c.magzero) AS mag_psf, flux_magerr(d.flux_psf, d.fluxerr_psf) AS magerr_psf,
           d.ra_psf, d.dec_psf, d.x_psf, d.y_psf, d.chi2_psf, d.flags_psf, d.spread_model, d.spreaderr_model
      FROM detection d
      JOIN ccd c ON c.exposure_id = det_exposure(d.det_id) AND c.ccd = det_ccd(d.det_id) AND c.recipe_id = d.recipe_id
                AND c.version = d.version AND c.published_at IS NOT NULL AND c.retired_at IS NULL
      LEFT JOIN association a ON a.det_id = d.det_id AND a.recipe_id = d.recipe_id AND a.version = d.version;

CREATE OR REPLACE VIEW light_curve AS
    SELECT a.object_id, a.mjd, c.filter, a.det_id, c.exposure_id, c.ccd, a.night,
           a.flux_auto * c.njy_per_electron AS flux_auto, a.fluxerr_auto * c.njy_per_electron AS fluxerr_auto,
           a.flux_aper1 * c.njy_per_electron AS flux_aper1, a.fluxerr_aper1 * c.njy_per_electron AS fluxerr_aper1,
           a.flux_aper2 * c.njy_per_electron AS flux_aper2, a.fluxerr_aper2 * c.njy_per_electron AS fluxerr_aper2,
           flux_mag(a.flux_auto, c.exptime_s, c.magzero) AS mag_auto, flux_magerr(a.flux_auto, a.fluxerr_auto) AS magerr_auto,
           flux_mag(a.flux_aper2, c.exptime_s, c.magzero) AS mag_aper2, flux_magerr(a.flux_aper2, a.fluxerr_aper2) AS magerr_aper2,
           a.flux_auto AS counts_auto, a.fluxerr_auto AS countserr_auto,
           a.flux_aper1 AS counts_aper1, a.fluxerr_aper1 AS countserr_aper1,
           a.flux_aper2 AS counts_aper2, a.fluxerr_aper2 AS countserr_aper2,
           a.flags, c.magzero, c.magzero_kind, c.quality, c.seeing_arcsec, c.exptime_s, c.airmass,
           c.longitude, c.latitude, c.height_m, a.dx, a.dy, a.recipe_id, a.version,
           a.flux_psf * c.njy_per_electron AS flux_psf, a.fluxerr_psf * c.njy_per_electron AS fluxerr_psf,
           flux_mag(a.flux_psf, c.exptime_s, c.magzero) AS mag_psf, flux_magerr(a.flux_psf, a.fluxerr_psf) AS magerr_psf
      FROM association a
      JOIN ccd c ON c.exposure_id = det_exposure(a.det_id) AND c.ccd = det_ccd(a.det_id) AND c.recipe_id = a.recipe_id
                AND c.version = a.version AND c.published_at IS NOT NULL AND c.retired_at IS NULL;

-- Forced measurements with the zero point of the published CCD they were made on. A flux below its limit is no detection;
-- the limit is what can be said then.
CREATE VIEW published_forced AS
    SELECT f.object_id, f.mjd, c.filter, c.instrument, b.exposure_id, b.ccd, b.night, f.ra, f.dec, f.x, f.y,
           f.flux * c.njy_per_electron AS flux, f.fluxerr * c.njy_per_electron AS fluxerr, f.flux_limit * c.njy_per_electron AS flux_limit,
           flux_mag(f.flux, c.exptime_s, c.magzero) AS mag, flux_magerr(f.flux, f.fluxerr) AS magerr,
           flux_mag(f.flux_limit, c.exptime_s, c.magzero) AS mag_limit, f.flux AS counts, f.fluxerr AS countserr,
           f.flux_aper * c.njy_per_electron AS flux_aper, f.fluxerr_aper * c.njy_per_electron AS fluxerr_aper, f.chi2, f.mask,
           f.flags, c.magzero, c.magzero_kind, c.quality, c.seeing_arcsec, c.exptime_s, c.airmass, c.longitude, c.latitude, c.height_m,
           b.list, r.recipe, b.version
      FROM forced_phot f
      JOIN forced_batch b ON b.batch_id = f.batch_id AND b.published_at IS NOT NULL AND b.retired_at IS NULL
      JOIN recipe r ON r.recipe_id = b.recipe_id
      LEFT JOIN ccd c ON c.exposure_id = b.exposure_id AND c.ccd = b.ccd AND c.published_at IS NOT NULL AND c.retired_at IS NULL;
