-- When the detections of a CCD were last matched to objects; NULL: not yet (a kill between ingest and association).
ALTER TABLE ccd ADD associated_at timestamptz;
CREATE INDEX ccd_unassociated ON ccd (night) WHERE associated_at IS NULL;

-- The depth is kept as measured, so that a new zero point moves the limit by itself.
DROP VIEW published_ccd;
ALTER TABLE ccd DROP mag_lim;
ALTER TABLE ccd ADD depth double precision;             -- magnitude of a 5 sigma point source when 1 electron/s is magnitude 0
CREATE VIEW published_ccd AS
    SELECT c.*, c.depth + c.magzero AS mag_lim, r.recipe, e.instrument, e.mjd_start, e.mjd_mid, e.exptime_s, e.filter, e.object, e.airmass
      FROM ccd c JOIN exposure e USING (exposure_id) JOIN recipe r USING (recipe_id)
     WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL;

-- The catalogue tables are read with a snapshot: to_regclass() answers from a cache that may not have heard of the
-- partition another session made while this one waited for the lock.
CREATE OR REPLACE FUNCTION detection_partition(p_night integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    name text := format('detection_%s', p_night);
BEGIN
    IF p_night IS NULL OR p_night NOT BETWEEN 18000101 AND 29991231 THEN
        RAISE EXCEPTION 'night % is not a date', p_night USING ERRCODE = 'NS400';
    END IF;
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'detection'::regclass AND c.relname = name) THEN
        RETURN name;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('nightshift.partition'));
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'detection'::regclass AND c.relname = name) THEN
        RETURN name;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE detection INCLUDING ALL, CONSTRAINT %I CHECK (night >= %s AND night < %s))',
                   name, name || '_night', p_night, p_night + 1);
    EXECUTE format('ALTER TABLE detection ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, p_night, p_night + 1);
    INSERT INTO night (night) VALUES (p_night) ON CONFLICT DO NOTHING;
    RETURN name;
END $$;
