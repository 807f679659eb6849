-- In packed months the object of a detection stands in its row: a place on the sky asks for hundreds at a time, and an index
-- look-up for each was a quarter of the answer's cost.
--
-- Invariant: detection.object_id is NULL, or what `association` says. NULL: not packed, packed before it was associated, or
-- moved since; then `association` is asked. Fresh associations are of rows that hold NULL; one that goes or is altered takes
-- the copy with it, below.
ALTER TABLE detection ADD object_id bigint;
COMMENT ON COLUMN detection.object_id IS 'copy of association.object_id made by detection_repack(); NULL: ask association';

-- Associations that went since the repack began: its copy may hold them still.
CREATE TABLE association_moved (
    det_id           bigint NOT NULL,
    recipe_id        integer NOT NULL,
    version          smallint NOT NULL,
    night            integer NOT NULL
);

-- `detection` stays locked until the end of the transaction: the second step of a repack, which locks it against all, finds
-- this in association_moved, or this waits for it and finds the new partition.
CREATE FUNCTION association_forget() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM old_rows) THEN
        RETURN NULL;
    END IF;
    LOCK TABLE ONLY detection IN ROW EXCLUSIVE MODE; -- a statement of its own: the next one's snapshot comes after
    UPDATE detection d SET object_id = NULL FROM old_rows o
        WHERE (d.det_id, d.recipe_id, d.version, d.night) = (o.det_id, o.recipe_id, o.version, o.night) AND d.object_id IS NOT NULL;
    INSERT INTO association_moved SELECT det_id, recipe_id, version, night FROM old_rows;
    RETURN NULL;
END $$;
CREATE TRIGGER association_forget_deleted AFTER DELETE ON association REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION association_forget();
CREATE TRIGGER association_forget_updated AFTER UPDATE ON association REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION association_forget();

-- The same distance for places up to 90 degrees apart, by the haversine: a third of the trigonometry, and no digit lost there.
CREATE FUNCTION sphere_near(ra1 double precision, dec1 double precision, ra2 double precision, dec2 double precision)
    RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT 2 * asind(sqrt(least(1, sind((dec1 - dec2) / 2) * sind((dec1 - dec2) / 2)
                                + cosd(dec1) * cosd(dec2) * (sind((ra1 - ra2) / 2) * sind((ra1 - ra2) / 2))))) $$;

CREATE OR REPLACE PROCEDURE detection_repack(p_month integer) LANGUAGE plpgsql AS $$
DECLARE
    fresh text := format('detection_%s_new', p_month);
    final text := format('detection_%s', p_month);
    low integer := p_month * 100 + 1;
    high integer := p_month * 100 + 32;
    names text := (SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) FROM pg_attribute
                    WHERE attrelid = 'detection'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'object_id');
    part text;
    added bigint;
BEGIN
    PERFORM pg_advisory_lock(hashtext('nightshift.repack'));
    DELETE FROM association_moved;
    EXECUTE format('DROP TABLE IF EXISTS %I', fresh);
    EXECUTE format('CREATE TABLE %I (LIKE detection INCLUDING DEFAULTS, CONSTRAINT %I CHECK (night >= %s AND night < %s))', fresh,
                   format('detection_%s_month_%s', p_month, to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS')), low, high);
    COMMIT; -- what is in association_moved from here on, the copy may lack
    EXECUTE format('INSERT INTO %I (%s, object_id) SELECT d.*, a.object_id FROM (SELECT %s FROM detection WHERE night >= %s AND night < %s) d'
                   ' LEFT JOIN association a USING (det_id, recipe_id, version) ORDER BY d.hpx29',
                   fresh, names, names, low, high);
    EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (det_id, recipe_id, version, night)', fresh);
    EXECUTE format('CREATE INDEX ON %I (hpx29)', fresh);
    EXECUTE format('ANALYZE %I', fresh);
    COMMIT;
    SET LOCAL lock_timeout = '5s';
    PERFORM pg_advisory_xact_lock(hashtext('nightshift.partition'));
    LOCK TABLE detection IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM detection d WHERE d.night >= %s AND d.night < %s AND NOT EXISTS (SELECT FROM %I f WHERE f.det_id = d.det_id'
                   ' AND f.recipe_id = d.recipe_id AND f.version = d.version AND f.night = d.night)', fresh, names, names, low, high, fresh);
    GET DIAGNOSTICS added = ROW_COUNT;
    EXECUTE format('UPDATE %I f SET object_id = NULL FROM association_moved m WHERE (f.det_id, f.recipe_id, f.version, f.night) = (m.det_id, m.recipe_id, m.version, m.night)'
                   ' AND f.object_id IS NOT NULL', fresh);
    FOR part IN SELECT detection_partitions_of(p_month) LOOP
        EXECUTE format('DROP TABLE %I', part);
    END LOOP;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', fresh, final);
    EXECUTE format('ALTER TABLE detection ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', final, low, high);
    COMMIT;
    PERFORM pg_advisory_unlock(hashtext('nightshift.repack'));
    RAISE NOTICE 'month % packed, % rows came meanwhile', p_month, added;
END $$;
