-- Functions and views of the catalogue.

CREATE FUNCTION det_exposure(det_id bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT det_id >> 31 $$;
CREATE FUNCTION det_ccd(det_id bigint) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT ((det_id >> 22) & 511)::smallint $$;

-- Great-circle distance in degrees, good to 1e-14 degree at any distance (Vincenty's formula for a sphere: haversine loses
-- eight digits near 180 degrees).
CREATE FUNCTION sphere_distance(ra1 double precision, dec1 double precision, ra2 double precision, dec2 double precision)
    RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT atan2d(sqrt(power(cosd(dec2) * sind(ra2 - ra1), 2)
                             + power(cosd(dec1) * sind(dec2) - sind(dec1) * cosd(dec2) * cosd(ra2 - ra1), 2)),
                        sind(dec1) * sind(dec2) + cosd(dec1) * cosd(dec2) * cosd(ra2 - ra1)) $$;

-- ---- partitions ----------------------------------------------------------------------------------------------------
-- The partition of a night, made when it is not there. Safe under concurrency: one maker at a time, and ATTACH takes a
-- lock that readers and writers do not mind. Call it outside the transaction that fills the partition.
CREATE FUNCTION detection_partition(p_night integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name text := format('detection_%s', p_night);
BEGIN
    IF p_night IS NULL OR p_night NOT BETWEEN 18000101 AND 29991231 THEN
        RAISE EXCEPTION 'night % is not a date', p_night USING ERRCODE = 'NS400';
    END IF;
    IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'detection'::regclass AND inhrelid = to_regclass(name)) THEN
        RETURN name;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('nightshift.partition'));
    IF EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'detection'::regclass AND inhrelid = to_regclass(name)) THEN
        RETURN name;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE detection INCLUDING ALL, CONSTRAINT %I CHECK (night >= %s AND night < %s))',
                   name, name || '_night', p_night, p_night + 1);
    EXECUTE format('ALTER TABLE detection ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, p_night, p_night + 1);
    INSERT INTO night (night) VALUES (p_night) ON CONFLICT DO NOTHING;
    RETURN name;
END $$;

-- ---- ingest --------------------------------------------------------------------------------------------------------
CREATE FUNCTION recipe_of(p_recipe text, p_instrument text, p_version text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    id integer;
BEGIN
    SELECT recipe_id INTO id FROM recipe WHERE recipe = p_recipe;
    IF id IS NULL THEN
        INSERT INTO recipe (recipe, instrument, program_version) VALUES (p_recipe, p_instrument, p_version)
            ON CONFLICT (recipe) DO NOTHING;
        SELECT recipe_id INTO id FROM recipe WHERE recipe = p_recipe;
    END IF;
    RETURN id;
END $$;

-- First half of the transaction that stores one CCD: serialises the writers of this (exposure, ccd), and says whether the
-- inputs are known already, else which ids to write. The lock is the first one this transaction takes and each
-- transaction takes one: writers cannot deadlock.
CREATE FUNCTION ingest_begin(p_instrument text, p_key text, p_exposure_id bigint, p_ccd smallint, p_recipe_id integer,
                             p_token bytea, OUT already boolean, OUT exposure_id bigint, OUT version smallint, OUT n_rows integer)
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(format('%s %s %s', p_instrument, p_key, p_ccd), 29));
    SELECT true, b.exposure_id, b.version, b.n_rows INTO already, exposure_id, version, n_rows
        FROM ingest_batch b WHERE b.token = p_token;
    IF already THEN
        RETURN;
    END IF;
    already := false;
    SELECT e.exposure_id INTO exposure_id FROM exposure e WHERE e.instrument = p_instrument AND e.exposure_key = p_key;
    IF exposure_id IS NULL THEN
        exposure_id := p_exposure_id;
        WHILE EXISTS (SELECT FROM exposure e WHERE e.exposure_id = ingest_begin.exposure_id) LOOP
            exposure_id := (exposure_id + 1) % 4294967296;
        END LOOP;
        version := 1;
    ELSE
        SELECT coalesce(max(c.version), 0) + 1 INTO version FROM ccd c
            WHERE c.exposure_id = ingest_begin.exposure_id AND c.ccd = p_ccd AND c.recipe_id = p_recipe_id;
    END IF;
END $$;

-- Second half, after the rows. Publishing retires the version shown so far.
CREATE FUNCTION ingest_finish(p_exposure jsonb, p_ccd jsonb, p_token bytea, p_publish boolean) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    e exposure := jsonb_populate_record(NULL::exposure, p_exposure);
    c ccd := jsonb_populate_record(NULL::ccd, p_ccd);
    stored bigint;
BEGIN
    INSERT INTO exposure SELECT e.* ON CONFLICT DO NOTHING;
    SELECT exposure_id INTO stored FROM exposure WHERE instrument = e.instrument AND exposure_key = e.exposure_key;
    IF stored IS DISTINCT FROM e.exposure_id THEN
        RAISE EXCEPTION 'exposure id % was taken meanwhile', e.exposure_id USING ERRCODE = 'serialization_failure';
    END IF;
    c.stored_at := clock_timestamp();
    c.published_at := NULL;
    c.retired_at := NULL;
    IF p_publish THEN
        UPDATE ccd SET retired_at = c.stored_at
            WHERE exposure_id = c.exposure_id AND ccd = c.ccd AND published_at IS NOT NULL AND retired_at IS NULL;
        c.published_at := c.stored_at;
    END IF;
    INSERT INTO ccd SELECT c.*;
    INSERT INTO ingest_batch (token, exposure_id, ccd, recipe_id, version, n_rows)
        VALUES (p_token, c.exposure_id, c.ccd, c.recipe_id, c.version, c.n_det);
END $$;

-- ---- publishing, each one statement ----------------------------------------------------------------------------------
CREATE FUNCTION ccd_publish(p_exposure_id bigint, p_ccd integer, p_recipe_id integer, p_version integer) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ccd SET retired_at = clock_timestamp()
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND published_at IS NOT NULL AND retired_at IS NULL
          AND (recipe_id, version) <> (p_recipe_id, p_version);
    UPDATE ccd SET published_at = clock_timestamp(), retired_at = NULL
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND recipe_id = p_recipe_id AND version = p_version
          AND (published_at IS NULL OR retired_at IS NOT NULL);
END $$;

CREATE FUNCTION ccd_withdraw(p_exposure_id bigint, p_ccd integer) RETURNS void LANGUAGE sql AS $$
    UPDATE ccd SET retired_at = clock_timestamp()
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND published_at IS NOT NULL AND retired_at IS NULL
$$;

-- A new zero point changes one row.
CREATE FUNCTION ccd_zeropoint(p_exposure_id bigint, p_ccd integer, p_recipe_id integer, p_version integer,
                              p_magzero double precision, p_err double precision, p_kind text) RETURNS void LANGUAGE sql AS $$
    UPDATE ccd SET magzero = p_magzero, magzero_err = p_err, magzero_kind = p_kind
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND recipe_id = p_recipe_id AND version = p_version
          AND (magzero, magzero_err, magzero_kind) IS DISTINCT FROM (p_magzero, p_err, p_kind)
$$;

-- From here on the ids of the objects this night founded never change.
CREATE FUNCTION night_publish(p_night integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    INSERT INTO night (night, published_at) VALUES (p_night, now())
        ON CONFLICT (night) DO UPDATE SET published_at = coalesce(night.published_at, now());
    UPDATE object SET published_at = now() WHERE first_night = p_night AND published_at IS NULL;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;

-- ---- what the public sees --------------------------------------------------------------------------------------------
CREATE FUNCTION flux_njy(flux real, exptime_s double precision, magzero double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT flux / nullif(exptime_s, 0) * 3631e9 * power(10::double precision, -0.4 * magzero) $$;
CREATE FUNCTION flux_mag(flux real, exptime_s double precision, magzero double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT CASE WHEN flux > 0 AND exptime_s > 0 THEN magzero - 2.5 * log(flux::double precision / exptime_s) END $$;
CREATE FUNCTION flux_magerr(flux real, fluxerr real) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT CASE WHEN flux > 0 THEN 1.0857362047581296 * fluxerr / flux END $$;

CREATE VIEW published_ccd AS
    SELECT c.*, r.recipe, e.instrument, e.mjd_start, e.mjd_mid, e.exptime_s, e.filter, e.object, e.airmass
      FROM ccd c JOIN exposure e USING (exposure_id) JOIN recipe r USING (recipe_id)
     WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL;

-- Fluxes in nJy and magnitudes follow the zero point of the CCD. Where it is relative (magzero_kind) they are on an
-- arbitrary scale that is common to the frames of one field and filter.
CREATE VIEW published_detection AS
    SELECT d.det_id, a.object_id, d.hpx29, d.ra, d.dec, d.ra_err, d.dec_err, d.mjd, d.night, e.filter, e.instrument,
           c.exposure_id, c.ccd, d.x, d.y,
           flux_njy(d.flux_auto, e.exptime_s, c.magzero) AS flux_auto, flux_njy(d.fluxerr_auto, e.exptime_s, c.magzero) AS fluxerr_auto,
           flux_njy(d.flux_aper1, e.exptime_s, c.magzero) AS flux_aper1, flux_njy(d.fluxerr_aper1, e.exptime_s, c.magzero) AS fluxerr_aper1,
           flux_njy(d.flux_aper2, e.exptime_s, c.magzero) AS flux_aper2, flux_njy(d.fluxerr_aper2, e.exptime_s, c.magzero) AS fluxerr_aper2,
           flux_njy(d.flux_aper3, e.exptime_s, c.magzero) AS flux_aper3, flux_njy(d.fluxerr_aper3, e.exptime_s, c.magzero) AS fluxerr_aper3,
           flux_mag(d.flux_auto, e.exptime_s, c.magzero) AS mag_auto, flux_magerr(d.flux_auto, d.fluxerr_auto) AS magerr_auto,
           d.flux_auto AS counts_auto, d.fluxerr_auto AS countserr_auto,
           d.kron_radius, d.flux_radius, d.a, d.b, d.theta, d.fwhm, d.class_star, d.snr, d.isoarea, d.flags, d.imaflags,
           c.magzero, c.magzero_kind, c.quality, d.recipe_id, d.version
      FROM detection d
      JOIN ccd c ON c.exposure_id = det_exposure(d.det_id) AND c.ccd = det_ccd(d.det_id) AND c.recipe_id = d.recipe_id
                AND c.version = d.version AND c.published_at IS NOT NULL AND c.retired_at IS NULL
      JOIN exposure e ON e.exposure_id = c.exposure_id
      LEFT JOIN association a ON a.det_id = d.det_id AND a.recipe_id = d.recipe_id AND a.version = d.version;

CREATE VIEW light_curve AS
    SELECT a.object_id, a.mjd, e.filter, a.det_id, c.exposure_id, c.ccd, a.night,
           flux_njy(a.flux_auto, e.exptime_s, c.magzero) AS flux_auto, flux_njy(a.fluxerr_auto, e.exptime_s, c.magzero) AS fluxerr_auto,
           flux_njy(a.flux_aper1, e.exptime_s, c.magzero) AS flux_aper1, flux_njy(a.fluxerr_aper1, e.exptime_s, c.magzero) AS fluxerr_aper1,
           flux_njy(a.flux_aper2, e.exptime_s, c.magzero) AS flux_aper2, flux_njy(a.fluxerr_aper2, e.exptime_s, c.magzero) AS fluxerr_aper2,
           flux_mag(a.flux_auto, e.exptime_s, c.magzero) AS mag_auto, flux_magerr(a.flux_auto, a.fluxerr_auto) AS magerr_auto,
           flux_mag(a.flux_aper2, e.exptime_s, c.magzero) AS mag_aper2, flux_magerr(a.flux_aper2, a.fluxerr_aper2) AS magerr_aper2,
           a.flux_auto AS counts_auto, a.fluxerr_auto AS countserr_auto,
           a.flux_aper1 AS counts_aper1, a.fluxerr_aper1 AS countserr_aper1,
           a.flux_aper2 AS counts_aper2, a.fluxerr_aper2 AS countserr_aper2,
           a.flags, c.magzero, c.magzero_kind, c.quality, c.seeing_arcsec, e.exptime_s, e.airmass,
           e.longitude, e.latitude, e.height_m, a.dx, a.dy, a.recipe_id, a.version
      FROM association a
      JOIN ccd c ON c.exposure_id = det_exposure(a.det_id) AND c.ccd = det_ccd(a.det_id) AND c.recipe_id = a.recipe_id
                AND c.version = a.version AND c.published_at IS NOT NULL AND c.retired_at IS NULL
      JOIN exposure e ON e.exposure_id = c.exposure_id;

CREATE VIEW published_object AS
    SELECT object_id, hpx29, ra, dec, ra_err, dec_err, n_det, first_mjd, last_mjd, first_night, published_at IS NOT NULL AS final
      FROM object;
