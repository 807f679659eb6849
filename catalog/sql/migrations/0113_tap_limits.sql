-- Space on disk one query of a user may take while it runs; until the end of the transaction. Only a superuser may set it: where
-- the owner of this database is none, the administrator's own setting stands.
CREATE FUNCTION tap_limits(p_temp_kb bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('temp_file_limit', p_temp_kb::text, true);
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END $$;
