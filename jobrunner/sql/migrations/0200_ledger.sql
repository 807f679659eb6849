-- The ledger of the job runner: what must be done, who does it now, what was done. The executor (local processes or a
-- cluster) is never the truth. Times are the server's; leases are compared with now() here and nowhere else.
--
--   job_run --< job_stage --< job_chunk --< job_image        event: append-only, per run
--                                 |--------< job_attempt
--
-- Fence: each claim of a chunk raises job_chunk.fence; whatever is written on behalf of the chunk names the fence it was
-- claimed under and is refused when that is no longer the present one (SQLSTATE NS077, exit code 77).

CREATE TABLE worker (
    worker_id        text PRIMARY KEY,
    replica_set      text NOT NULL DEFAULT '',
    generation       bigint NOT NULL DEFAULT 0,
    host             text NOT NULL DEFAULT '',
    pid              integer,
    started_at       timestamptz NOT NULL DEFAULT now(),
    heartbeat_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE job_run (
    job_run_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key  text UNIQUE,
    body_sha256      text,                               -- same key and other body: refused
    night            integer,
    instrument       text NOT NULL DEFAULT '',
    input            text NOT NULL,                      -- folder or object-store prefix
    archive_root     text NOT NULL DEFAULT '',
    recipe           text NOT NULL DEFAULT '',
    priority         integer NOT NULL DEFAULT 1000,
    state            text NOT NULL DEFAULT 'planned'
                     CHECK (state IN ('planned', 'queued', 'held', 'running', 'draining', 'succeeded', 'partial', 'failed', 'cancelled')),
    reason           text NOT NULL DEFAULT '',
    retry_budget     integer NOT NULL DEFAULT 100,
    settings         jsonb,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz
);
CREATE INDEX job_run_night ON job_run (night);

CREATE TABLE job_stage (
    job_stage_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_run_id       bigint NOT NULL REFERENCES job_run ON DELETE CASCADE,
    name             text NOT NULL,                      -- bias, dark, flat, science, associate, forced, quality
    ordinal          integer NOT NULL,
    needs            text[] NOT NULL DEFAULT '{}',       -- names of stages
    edge             text NOT NULL DEFAULT 'all' CHECK (edge IN ('all', 'any-valid', 'timeout')),
    state            text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'ready', 'running', 'done', 'failed', 'pruned', 'cancelled')),
    UNIQUE (job_run_id, name)
);

CREATE TABLE job_chunk (
    job_chunk_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_stage_id     bigint NOT NULL REFERENCES job_stage ON DELETE CASCADE,
    ordinal          integer NOT NULL,
    memory_mib       integer,
    state            text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'done', 'retry', 'quarantined', 'cancelled')),
    fence            bigint NOT NULL DEFAULT 0,
    worker_id        text,
    lease_until      timestamptz,
    retry_at         timestamptz,
    attempts         integer NOT NULL DEFAULT 0,
    task             jsonb,                              -- what the worker needs beside the images
    UNIQUE (job_stage_id, ordinal)
);
CREATE INDEX job_chunk_open ON job_chunk (job_stage_id, ordinal) WHERE state IN ('waiting', 'retry', 'leased');
CREATE INDEX job_chunk_lease ON job_chunk (lease_until) WHERE state = 'leased';

CREATE TABLE job_image (
    job_image_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_chunk_id     bigint NOT NULL REFERENCES job_chunk ON DELETE CASCADE,
    ordinal          integer NOT NULL,
    path             text NOT NULL,
    ccd              smallint NOT NULL DEFAULT 0,
    sha256           text NOT NULL DEFAULT '',
    outcome          text CHECK (outcome IN ('done', 'held', 'quarantined', 'cancelled')), -- NULL: not yet
    cause            text NOT NULL DEFAULT '',           -- word of the closed list; '' when done
    message          text NOT NULL DEFAULT '',
    attempts         integer NOT NULL DEFAULT 0,
    finished_at      timestamptz,
    UNIQUE (job_chunk_id, ordinal)
);
CREATE INDEX job_image_open ON job_image (job_chunk_id) WHERE outcome IS NULL;

CREATE TABLE job_attempt (
    job_attempt_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_chunk_id     bigint NOT NULL REFERENCES job_chunk ON DELETE CASCADE,
    fence            bigint NOT NULL,
    worker_id        text NOT NULL DEFAULT '',
    host             text NOT NULL DEFAULT '',
    job_uid          text NOT NULL DEFAULT '',
    pod              text NOT NULL DEFAULT '',
    started_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    exit_code        integer,
    cause            text NOT NULL DEFAULT '',
    max_rss_kib      bigint,
    cpu_s            double precision,
    log_tail         text NOT NULL DEFAULT '',
    UNIQUE (job_chunk_id, fence)
);

CREATE TABLE event (
    event_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_run_id       bigint,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind             text NOT NULL,
    body             jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX event_run ON event (job_run_id, event_id);

-- One image of a chunk is finished. Part of the transaction that stores its rows: the share lock on the chunk keeps a new
-- claim waiting until this transaction ends, so the fence that was right here is right at its commit.
-- Again with the same outcome: nothing changes. Returned: images of the chunk that are still open.
CREATE FUNCTION job_image_done(p_chunk bigint, p_fence bigint, p_image bigint, p_outcome text, p_cause text DEFAULT '',
                               p_message text DEFAULT '') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    present job_chunk;
    n bigint;
BEGIN
    SELECT * INTO present FROM job_chunk WHERE job_chunk_id = p_chunk FOR SHARE;
    IF NOT FOUND OR present.fence <> p_fence OR present.state <> 'leased' THEN
        RAISE EXCEPTION 'lease lost: chunk % is at fence % (%), this writer holds %', p_chunk, present.fence, present.state, p_fence
            USING ERRCODE = 'NS077';
    END IF;
    UPDATE job_image SET outcome = p_outcome, cause = p_cause, message = p_message, finished_at = now()
        WHERE job_image_id = p_image AND job_chunk_id = p_chunk
          AND (outcome, cause, message) IS DISTINCT FROM (p_outcome, p_cause, p_message);
    IF NOT FOUND AND NOT EXISTS (SELECT FROM job_image WHERE job_image_id = p_image AND job_chunk_id = p_chunk) THEN
        RAISE EXCEPTION 'image % is not in chunk %', p_image, p_chunk USING ERRCODE = 'NS404';
    END IF;
    SELECT count(*) INTO n FROM job_image WHERE job_chunk_id = p_chunk AND outcome IS NULL;
    RETURN n;
END $$;
