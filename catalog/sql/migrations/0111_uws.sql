-- Asynchronous queries (UWS 1.1). Any server may run any job: it takes one under a lease and beats its heart; a job whose
-- lease has run out is taken again, or becomes ERROR when it has been tried often enough.
--
--     PENDING --PHASE=RUN--> QUEUED --a worker takes it--> EXECUTING --> COMPLETED
--        |                     |  ^---lease ran out---------|   |------> ERROR
--        '------PHASE=ABORT----+----------------------------'----------> ABORTED
CREATE TABLE uws_job (
    job_id           text PRIMARY KEY CHECK (job_id ~ '^[0-9a-f]{32}$'), -- 128 random bits: who knows it may see it
    owner            text NOT NULL DEFAULT '',           -- '' for anonymous
    run_id           text,                               -- the client's own label
    phase            text NOT NULL DEFAULT 'PENDING'
                     CHECK (phase IN ('PENDING', 'QUEUED', 'EXECUTING', 'COMPLETED', 'ERROR', 'ABORTED')),
    parameters       jsonb NOT NULL,                     -- [[name, value], ...] in the order of the request
    uploads          jsonb NOT NULL DEFAULT '[]',        -- [[table, "file:NAME" or URL], ...]
    execution_s      integer NOT NULL,                   -- executionduration; seconds
    created_at       timestamptz NOT NULL DEFAULT now(),
    queued_at        timestamptz,
    started_at       timestamptz,
    ended_at         timestamptz,
    destruction      timestamptz NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    lease_owner      text,
    lease_until      timestamptz,
    error_message    text,
    error_transient  boolean,
    result_type      text,
    result_bytes     bigint,
    result_rows      bigint,
    result_sha256    text,
    result_overflow  boolean
);
CREATE INDEX uws_job_queue ON uws_job (queued_at) WHERE phase = 'QUEUED';
CREATE INDEX uws_job_lease ON uws_job (lease_until) WHERE phase = 'EXECUTING';
CREATE INDEX uws_job_destruction ON uws_job (destruction);
CREATE INDEX uws_job_owner ON uws_job (owner, created_at DESC);

-- The oldest job that waits, now ours. A job that died with its server twice is not tried a third time.
CREATE FUNCTION uws_take(p_owner text, p_lease_s double precision) RETURNS SETOF uws_job LANGUAGE sql AS $$
    UPDATE uws_job SET phase = 'EXECUTING', started_at = clock_timestamp(), attempts = attempts + 1, lease_owner = p_owner,
                       lease_until = clock_timestamp() + p_lease_s * interval '1 second'
     WHERE job_id = (SELECT job_id FROM uws_job WHERE phase = 'QUEUED' ORDER BY queued_at FOR UPDATE SKIP LOCKED LIMIT 1)
    RETURNING *
$$;

-- Jobs whose server has gone: back in the queue once, then ERROR. Returned: how many.
CREATE FUNCTION uws_reap() RETURNS bigint LANGUAGE sql AS $$
    WITH dead AS (
        UPDATE uws_job SET phase = CASE WHEN attempts < 2 THEN 'QUEUED' ELSE 'ERROR' END,
                           ended_at = CASE WHEN attempts < 2 THEN NULL ELSE clock_timestamp() END,
                           error_message = CASE WHEN attempts < 2 THEN NULL ELSE 'the server that ran this query stopped, twice' END,
                           error_transient = CASE WHEN attempts < 2 THEN NULL ELSE true END,
                           lease_owner = NULL, lease_until = NULL
         WHERE job_id IN (SELECT job_id FROM uws_job WHERE phase = 'EXECUTING' AND lease_until < clock_timestamp() FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM dead
$$;
