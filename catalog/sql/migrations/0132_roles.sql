-- Who may do what: tokens of HTTP clients, roles of database users.

-- ---- tokens ----------------------------------------------------------------------------------------------------------
CREATE TABLE api_token (
    token_id         text PRIMARY KEY,
    name             text NOT NULL CHECK (name <> ''),
    hash             text NOT NULL CHECK (length(hash) = 64), -- SHA-256 of the secret: the secret itself is nowhere
    scopes           integer NOT NULL,                   -- bits: read 1, upload 2, ingest 4, submit 8, admin 16
    per_hour         bigint NOT NULL DEFAULT 0,          -- requests; 0: no quota
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz,
    revoked_at       timestamptz,
    last_used_at     timestamptz
);
CREATE UNIQUE INDEX api_token_name ON api_token (name) WHERE revoked_at IS NULL;

CREATE TABLE api_usage (
    token_id         text NOT NULL REFERENCES api_token ON DELETE CASCADE,
    hour             timestamptz NOT NULL,
    requests         bigint NOT NULL,
    PRIMARY KEY (token_id, hour)
);

-- What a service may know of a token; p_used requests are written down. No row: there is no such token.
CREATE FUNCTION api_token_use(p_id text, p_used bigint, OUT hash text, OUT scopes integer, OUT good boolean, OUT per_hour bigint, OUT used bigint)
    RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    t api_token;
BEGIN
    SELECT * INTO t FROM api_token WHERE token_id = p_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_used > 0 THEN
        INSERT INTO api_usage AS u VALUES (p_id, date_trunc('hour', now()), p_used)
            ON CONFLICT (token_id, hour) DO UPDATE SET requests = u.requests + excluded.requests;
        UPDATE api_token SET last_used_at = now() WHERE token_id = p_id;
    END IF;
    hash := t.hash;
    scopes := t.scopes;
    per_hour := t.per_hour;
    good := t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now());
    used := coalesce((SELECT u.requests FROM api_usage u WHERE u.token_id = p_id AND u.hour = date_trunc('hour', now())), 0);
    RETURN NEXT;
END $$;
REVOKE EXECUTE ON FUNCTION api_token_use(text, bigint) FROM PUBLIC;

-- ---- roles -----------------------------------------------------------------------------------------------------------
-- Who migrates is the owner. Four roles without login, to be granted to users:
--   nightshift_query   reads what is published, and nothing else; queries of users run as it (SET LOCAL ROLE)
--   nightshift_serve   what `nightshift serve` needs: reading the catalogue, tokens, the jobs of its users
--   nightshift_ingest  writes catalogues and objects
--   nightshift_jobs    runs jobs: the ledger, and all of nightshift_ingest
-- `db migrate` calls roles_grant() each time, so that new tables get their rights. Where the owner may not make roles, the
-- administrator makes them beforehand; without them everything works, with the rights of the login alone.
CREATE FUNCTION roles_grant() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    role text;
    r record;
BEGIN
    FOREACH role IN ARRAY ARRAY['nightshift_query', 'nightshift_serve', 'nightshift_ingest', 'nightshift_jobs'] LOOP
        IF to_regrole(role) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN insufficient_privilege THEN RAISE NOTICE 'role % is not there and may not be made', role;
                WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this cluster, at the same time
            END;
        END IF;
    END LOOP;
    IF to_regrole('nightshift_query') IS NULL OR to_regrole('nightshift_serve') IS NULL
       OR to_regrole('nightshift_ingest') IS NULL OR to_regrole('nightshift_jobs') IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        IF NOT pg_has_role('nightshift_jobs', 'nightshift_ingest', 'member') THEN
            GRANT nightshift_ingest TO nightshift_jobs;
        END IF;
        IF NOT pg_has_role('nightshift_serve', 'nightshift_query', 'member') THEN
            GRANT nightshift_query TO nightshift_serve;
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'memberships of the nightshift roles are left to the administrator: this role may not';
    END;
    GRANT EXECUTE ON FUNCTION api_token_use(text, bigint) TO nightshift_serve;
    GRANT SELECT, UPDATE ON site TO nightshift_serve;
    -- what is published
    FOR r IN SELECT c.oid::regclass AS name, n.nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'v', 'm', 'p')
                AND (n.nspname IN ('tap_schema', 'ivoa')
                     OR (n.nspname = 'public' AND (c.relname LIKE 'published\_%' OR c.relname IN ('light_curve', 'object_band', 'detection_cover', 'night')))) LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO nightshift_query, nightshift_ingest', r.schema);
        EXECUTE format('GRANT SELECT ON %s TO nightshift_query, nightshift_ingest', r.name);
    END LOOP;
    -- the catalogue, but for tokens
    FOR r IN SELECT c.oid::regclass AS name, c.relkind = 'S' AS counter,
                    CASE WHEN c.relname LIKE 'job\_%' OR c.relname IN ('worker', 'event') THEN 'nightshift_jobs'
                         WHEN c.relname LIKE 'uws%' THEN 'nightshift_serve' ELSE 'nightshift_ingest' END AS whose
               FROM pg_class c
              WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'S') AND NOT c.relispartition
                AND c.relname NOT IN ('api_token', 'api_usage', 'site', 'bandpass', 'schema_migration', 'schema_published') LOOP
        EXECUTE format(CASE WHEN r.counter THEN 'GRANT USAGE ON SEQUENCE %s TO %I' ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I' END,
                       r.name, r.whose);
        IF r.whose = 'nightshift_ingest' AND NOT r.counter THEN -- the service's own prepared statements
            EXECUTE format('GRANT SELECT ON %s TO nightshift_serve', r.name);
        ELSIF r.whose = 'nightshift_jobs' AND NOT r.counter THEN
            EXECUTE format('GRANT SELECT ON %s TO nightshift_ingest', r.name);
        END IF;
    END LOOP;
    EXECUTE 'GRANT SELECT ON schema_migration TO nightshift_ingest, nightshift_query, nightshift_serve';
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
END $$;

-- A night's partition is made by whoever stores its first row; only the owner of detection can attach it.
ALTER FUNCTION detection_partition(integer) SECURITY DEFINER SET search_path = public, pg_temp;
