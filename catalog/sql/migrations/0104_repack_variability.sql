-- Finished nights packed together, variability, versions of objects.

-- Without STRICT these are taken into the query that calls them: with it, their CASE kept them apart, microseconds a call.
CREATE OR REPLACE FUNCTION flux_njy(flux real, exptime_s double precision, magzero double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT flux / nullif(exptime_s, 0) * 3631e9 * power(10::double precision, -0.4 * magzero) $$;
CREATE OR REPLACE FUNCTION flux_mag(flux real, exptime_s double precision, magzero double precision) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN flux > 0 AND exptime_s > 0 THEN magzero - 2.5 * log(flux::double precision / exptime_s) END $$;
CREATE OR REPLACE FUNCTION flux_magerr(flux real, fluxerr real) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT CASE WHEN flux > 0 THEN 1.0857362047581296 * fluxerr / flux END $$;

-- ---- partitions ------------------------------------------------------------------------------------------------------
-- A night is a partition while it is fresh; detection_repack() puts the nights of a month into one partition whose rows lie in
-- the order of the sky. A place is then one look-up in a month instead of thirty, and its rows are neighbours on disk.
CREATE OR REPLACE FUNCTION detection_partition(p_night integer) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := format('detection_%s', p_night);
    month text := format('detection_%s', p_night / 100);
    there text;
BEGIN
    IF p_night IS NULL OR p_night NOT BETWEEN 18000101 AND 29991231 THEN
        RAISE EXCEPTION 'night % is not a date', p_night USING ERRCODE = 'NS400';
    END IF;
    SELECT c.relname INTO there FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'detection'::regclass AND c.relname IN (name, month);
    IF there IS NOT NULL THEN
        RETURN there;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('nightshift.partition'));
    SELECT c.relname INTO there FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'detection'::regclass AND c.relname IN (name, month);
    IF there IS NOT NULL THEN
        RETURN there;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE detection INCLUDING ALL, CONSTRAINT %I CHECK (night >= %s AND night < %s))',
                   name, name || '_night', p_night, p_night + 1);
    EXECUTE format('ALTER TABLE detection ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, p_night, p_night + 1);
    INSERT INTO night (night) VALUES (p_night) ON CONFLICT DO NOTHING;
    RETURN name;
END $$;

CREATE FUNCTION detection_partitions_of(p_month integer) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'detection'::regclass AND c.relname ~ format('^detection_%s([0-9][0-9])?$', p_month) ORDER BY c.relname
$$;

-- Two steps. The copy is made while everybody reads and writes; then, with the table locked for a moment, what came meanwhile is
-- added and the partitions change places. Rows of detection are never altered, so that nothing else can have happened.
CREATE PROCEDURE detection_repack(p_month integer) LANGUAGE plpgsql AS $$
DECLARE
    fresh text := format('detection_%s_new', p_month);
    final text := format('detection_%s', p_month);
    low integer := p_month * 100 + 1;
    high integer := p_month * 100 + 32;
    part text;
    added bigint;
BEGIN
    PERFORM pg_advisory_lock(hashtext('nightshift.repack'));
    EXECUTE format('DROP TABLE IF EXISTS %I', fresh);
    EXECUTE format('CREATE TABLE %I (LIKE detection INCLUDING DEFAULTS, CONSTRAINT %I CHECK (night >= %s AND night < %s))', fresh,
                   format('detection_%s_month_%s', p_month, to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS')), low, high);
    EXECUTE format('INSERT INTO %I SELECT * FROM detection WHERE night >= %s AND night < %s ORDER BY hpx29', fresh, low, high);
    EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (det_id, recipe_id, version, night)', fresh);
    EXECUTE format('CREATE INDEX ON %I (hpx29)', fresh);
    EXECUTE format('ANALYZE %I', fresh);
    COMMIT;
    SET LOCAL lock_timeout = '5s';
    PERFORM pg_advisory_xact_lock(hashtext('nightshift.partition'));
    LOCK TABLE detection IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('INSERT INTO %I SELECT d.* FROM detection d WHERE d.night >= %s AND d.night < %s AND NOT EXISTS (SELECT FROM %I f WHERE f.det_id = d.det_id'
                   ' AND f.recipe_id = d.recipe_id AND f.version = d.version AND f.night = d.night)', fresh, low, high, fresh);
    GET DIAGNOSTICS added = ROW_COUNT;
    FOR part IN SELECT detection_partitions_of(p_month) LOOP
        EXECUTE format('DROP TABLE %I', part);
    END LOOP;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', fresh, final);
    EXECUTE format('ALTER TABLE detection ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', final, low, high);
    COMMIT;
    PERFORM pg_advisory_unlock(hashtext('nightshift.repack'));
    RAISE NOTICE 'month % packed, % rows came meanwhile', p_month, added;
END $$;

-- Months with nights that are partitions of their own (yyyymm).
CREATE FUNCTION detection_repack_due() RETURNS SETOF integer LANGUAGE sql STABLE AS $$
    SELECT (left(substr(c.relname, 11), 6))::integer FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'detection'::regclass AND c.relname ~ '^detection_[0-9]{8}$' GROUP BY 1 ORDER BY 1
$$;

-- ---- variability -----------------------------------------------------------------------------------------------------
ALTER TABLE object_band
    ADD stetson_j        double precision,               -- Stetson 1996, PASP 108, 851
    ADD n_blend          integer NOT NULL DEFAULT 0;     -- points with a neighbour or a blend (FLAGS 1, 2)

-- ---- versions of objects ---------------------------------------------------------------------------------------------
-- `object` is the table of current versions; what a published object was before stands here. "As of T" is the row here with
-- valid_from <= T < valid_to, else the current one.
CREATE TABLE object_version (
    object_id        bigint NOT NULL,
    valid_from       timestamptz,                        -- NULL: since it was founded
    valid_to         timestamptz NOT NULL,
    ra               double precision NOT NULL,
    dec              double precision NOT NULL,
    ra_err           real,
    dec_err          real,
    n_det            integer NOT NULL,
    first_mjd        double precision,
    last_mjd         double precision,
    PRIMARY KEY (object_id, valid_to)
);

CREATE FUNCTION object_keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO object_version (object_id, valid_from, valid_to, ra, dec, ra_err, dec_err, n_det, first_mjd, last_mjd)
    SELECT o.object_id, (SELECT max(v.valid_to) FROM object_version v WHERE v.object_id = o.object_id), now(), o.ra, o.dec, o.ra_err, o.dec_err, o.n_det,
           o.first_mjd, o.last_mjd
      FROM old_rows o JOIN new_rows n USING (object_id)
     WHERE o.published_at IS NOT NULL
       AND (o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd) IS DISTINCT FROM (n.ra, n.dec, n.ra_err, n.dec_err, n.n_det, n.first_mjd, n.last_mjd)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER object_keep_version AFTER UPDATE ON object REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION object_keep_version();

CREATE FUNCTION object_as_of(p_time timestamptz) RETURNS TABLE (object_id bigint, ra double precision, "dec" double precision, n_det integer) LANGUAGE sql STABLE AS $$
    SELECT o.object_id, coalesce(v.ra, o.ra), coalesce(v.dec, o.dec), coalesce(v.n_det, o.n_det)
      FROM object o LEFT JOIN LATERAL (SELECT * FROM object_version v WHERE v.object_id = o.object_id AND v.valid_to > p_time ORDER BY v.valid_to LIMIT 1) v ON true
     WHERE o.published_at <= p_time
$$;
