-- Showing another version of a CCD changes what its night's objects are made of: the night waits for its next association.
CREATE OR REPLACE FUNCTION ccd_publish(p_exposure_id bigint, p_ccd integer, p_recipe_id integer, p_version integer) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ccd SET retired_at = clock_timestamp()
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND published_at IS NOT NULL AND retired_at IS NULL
          AND (recipe_id, version) <> (p_recipe_id, p_version);
    UPDATE ccd SET published_at = clock_timestamp(), retired_at = NULL, associated_at = NULL
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND recipe_id = p_recipe_id AND version = p_version
          AND (published_at IS NULL OR retired_at IS NOT NULL);
END $$;

CREATE OR REPLACE FUNCTION ccd_withdraw(p_exposure_id bigint, p_ccd integer) RETURNS void LANGUAGE sql AS $$
    UPDATE ccd SET retired_at = clock_timestamp(), associated_at = NULL
        WHERE exposure_id = p_exposure_id AND ccd = p_ccd AND published_at IS NOT NULL AND retired_at IS NULL
$$;

-- The night from which objects must be made again when night p_night is: earlier nights that changed since their last
-- association come first, because an object belongs to the night that saw it first.
CREATE FUNCTION association_start(p_night integer) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT least(p_night, (SELECT min(c.night) FROM ccd c LEFT JOIN night n ON n.night = c.night
                            WHERE c.night < p_night AND n.published_at IS NULL AND (c.associated_at IS NULL OR n.associated_at IS NULL)))
$$;

COMMENT ON COLUMN object_band.n IS 'published detections with a zero point and FLAGS below 4 (neither saturated nor cut)';
