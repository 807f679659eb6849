-- What images there are, for the Virtual Observatory: ObsCore 1.1 over the published CCDs.
CREATE SCHEMA ivoa;

-- Where this service is reached and the authority its identifiers live under; one row, written by `nightshift serve`.
CREATE TABLE site (
    one              boolean PRIMARY KEY DEFAULT true CHECK (one),
    base_url         text NOT NULL DEFAULT 'http://127.0.0.1:8080',
    authority        text NOT NULL DEFAULT 'nightshift.invalid'
);
INSERT INTO site DEFAULT VALUES;

-- Half-power limits of common filters in metres. Operators add rows for theirs; a name is matched as written first, then by
-- its band (band_name). Sources: UBVRI Bessell 2005 (ARA&A 43, 293) table 1; u'g'r'i'z' Fukugita et al. 1996 (AJ 111, 1748)
-- table 2a; y Tonry et al. 2012 (ApJ 750, 99) table 4; G, BP, RP Riello et al. 2021 (A&A 649, A3), passband limits.
CREATE TABLE bandpass (
    name             text PRIMARY KEY,
    em_min           double precision NOT NULL,
    em_max           double precision NOT NULL CHECK (em_max > em_min)
);
INSERT INTO bandpass VALUES
    ('U', 334.1e-9, 399.1e-9), ('B', 391.6e-9, 480.6e-9), ('V', 502.8e-9, 586.8e-9), ('R', 561.7e-9, 719.7e-9), ('I', 721e-9, 875e-9),
    ('u', 325.8e-9, 385.7e-9), ('g', 413.6e-9, 551.5e-9), ('r', 557e-9, 695.2e-9), ('i', 690.5e-9, 844e-9), ('z', 841.2e-9, 978.2e-9),
    ('y', 918e-9, 1001e-9), ('G', 330e-9, 1050e-9), ('BP', 330e-9, 680e-9), ('RP', 640e-9, 1050e-9);

-- The band a filter's name ends in, "" if none is seen: sdss_g -> g, Bessell_V -> V, r' -> r, SDSS-R -> r.
CREATE FUNCTION band_name(filter text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT AS $$
    SELECT CASE WHEN filter ~* 'sdss|sloan|des|decam|ps1|lsst' THEN lower(band) ELSE band END
      FROM (SELECT coalesce(substring(filter FROM '(?:^|[^A-Za-z])([UBVRIGugrizy]|BP|RP)[''p]?$'), '')) AS b (band)
$$;

-- Corners as STC-S, counter-clockwise as seen from inside the sphere (north up, east left), whatever way the detector is turned.
CREATE FUNCTION region_text(p_ra double precision[], p_dec double precision[]) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $$
DECLARE
    n integer := cardinality(p_ra);
    area double precision := 0; -- with right ascension to the right: counter-clockwise on the sky is negative
    dx double precision; dy double precision; px double precision := 0; py double precision := 0;
    words text := 'POLYGON ICRS';
BEGIN
    IF n < 3 OR array_position(p_ra, NULL) IS NOT NULL OR array_position(p_dec, NULL) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    FOR i IN 2..n LOOP
        dx := (p_ra[i] - p_ra[1] + 540)::numeric % 360 - 180;
        dx := dx * cosd(p_dec[1]);
        dy := p_dec[i] - p_dec[1];
        area := area + (px * dy - dx * py);
        px := dx;
        py := dy;
    END LOOP;
    FOR i IN 1..n LOOP
        words := words || ' ' || p_ra[CASE WHEN area <= 0 THEN i ELSE n + 1 - i END] || ' ' || p_dec[CASE WHEN area <= 0 THEN i ELSE n + 1 - i END];
    END LOOP;
    RETURN words;
END $$;

CREATE INDEX ccd_dec ON ccd (dec) WHERE published_at IS NOT NULL AND retired_at IS NULL;

-- The identifier of a CCD's image, as in obs_publisher_did after the question mark.
CREATE FUNCTION image_id(p_exposure_id bigint, p_ccd integer, p_recipe text, p_version integer) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT p_exposure_id || '/' || p_ccd || '/' || p_recipe || '/' || p_version $$;

CREATE VIEW ivoa.obscore AS
    SELECT 'image'::text AS dataproduct_type,
           2 AS calib_level,
           e.instrument AS obs_collection,
           e.instrument || '/' || e.exposure_key AS obs_id,
           'ivo://' || s.authority || '/nightshift?' || image_id(c.exposure_id, c.ccd, r.recipe, c.version) AS obs_publisher_did,
           s.base_url || '/datalink/links?ID=ivo%3A%2F%2F' || s.authority || '%2Fnightshift%3F'
               || replace(image_id(c.exposure_id, c.ccd, r.recipe, c.version), '/', '%2F') AS access_url,
           'application/x-votable+xml;content=datalink'::text AS access_format,
           (c.nx::bigint * c.ny * 3 + 1023) / 1024 AS access_estsize, -- two quantised planes and the mask: about 3 bytes a pixel
           nullif(e.object, '') AS target_name,
           c.ra AS s_ra,
           c.dec AS s_dec,
           sqrt(c.nx::double precision * c.nx + c.ny::double precision * c.ny) * c.pixel_scale / 3600 AS s_fov,
           region_text(c.corner_ra, c.corner_dec) AS s_region,
           c.nx::bigint AS s_xel1,
           c.ny::bigint AS s_xel2,
           c.seeing_arcsec AS s_resolution,
           coalesce(e.mjd_start, e.mjd_mid - e.exptime_s / 172800) AS t_min,
           coalesce(e.mjd_start, e.mjd_mid - e.exptime_s / 172800) + e.exptime_s / 86400 AS t_max,
           e.exptime_s AS t_exptime,
           e.exptime_s AS t_resolution,
           1::bigint AS t_xel,
           coalesce(b.em_min, n.em_min) AS em_min,
           coalesce(b.em_max, n.em_max) AS em_max,
           NULL::double precision AS em_res_power,
           1::bigint AS em_xel,
           'phot.count'::text AS o_ucd,
           NULL::text AS pol_states,
           0::bigint AS pol_xel,
           nullif(e.telescope, '') AS facility_name,
           e.instrument AS instrument_name,
           c.pixel_scale AS s_pixel_scale,
           c.stored_at AS obs_creation_date,
           concat_ws(' ', nullif(e.object, ''), nullif(e.filter, ''), e.exposure_key) AS obs_title
      FROM ccd c
      JOIN exposure e USING (exposure_id)
      JOIN recipe r USING (recipe_id)
      CROSS JOIN site s
      LEFT JOIN bandpass b ON b.name = e.filter
      LEFT JOIN bandpass n ON n.name = band_name(e.filter)
     WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL AND c.cal_path <> '';
