-- Claims, ends and the few questions an executor asks. Every function that writes for a chunk checks its fence.

-- Raises NS077 unless the chunk is leased under this fence; locks it against a new claim until the transaction ends.
CREATE FUNCTION job_fence(p_chunk bigint, p_fence bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    present job_chunk;
BEGIN
    SELECT * INTO present FROM job_chunk WHERE job_chunk_id = p_chunk FOR UPDATE;
    IF NOT FOUND OR present.fence <> p_fence OR present.state <> 'leased' THEN
        RAISE EXCEPTION 'lease lost: chunk % is at fence % (%), this writer holds %', p_chunk, present.fence, present.state, p_fence
            USING ERRCODE = 'NS077';
    END IF;
END $$;

-- Claim the next chunk of a stage: waiting, due for a retry, or abandoned by a worker whose lease is over.
CREATE FUNCTION job_claim(p_run bigint, p_stage text, p_worker text, p_lease interval, OUT chunk bigint, OUT fence bigint, OUT task jsonb)
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE job_chunk c SET state = 'leased', fence = c.fence + 1, worker_id = p_worker, lease_until = now() + p_lease,
                           attempts = c.attempts + 1, retry_at = NULL
     WHERE c.job_chunk_id = (SELECT k.job_chunk_id FROM job_chunk k JOIN job_stage s USING (job_stage_id)
                              WHERE s.job_run_id = p_run AND s.name = p_stage
                                AND (k.state = 'waiting' OR (k.state = 'retry' AND k.retry_at <= now())
                                     OR (k.state = 'leased' AND k.lease_until < now()))
                              ORDER BY k.ordinal LIMIT 1 FOR UPDATE OF k SKIP LOCKED)
    RETURNING c.job_chunk_id, c.fence, c.task INTO chunk, fence, task;
    IF chunk IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO job_attempt (job_chunk_id, fence, worker_id) VALUES (chunk, fence, p_worker);
    UPDATE job_stage s SET state = 'running' FROM job_chunk k WHERE k.job_chunk_id = chunk AND s.job_stage_id = k.job_stage_id AND s.state IN ('waiting', 'ready');
    UPDATE job_run SET state = 'running', started_at = coalesce(started_at, now()) WHERE job_run_id = p_run AND state IN ('planned', 'queued', 'held');
END $$;

CREATE FUNCTION job_renew(p_chunk bigint, p_fence bigint, p_lease interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM job_fence(p_chunk, p_fence);
    UPDATE job_chunk SET lease_until = now() + p_lease WHERE job_chunk_id = p_chunk;
END $$;

-- The chunk ends: done when every image has an outcome, else due for a retry.
CREATE FUNCTION job_chunk_end(p_chunk bigint, p_fence bigint, p_good boolean, p_cause text, p_delay interval) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ended text;
BEGIN
    PERFORM job_fence(p_chunk, p_fence);
    ended := CASE WHEN NOT p_good THEN 'retry'
                  WHEN EXISTS (SELECT FROM job_image WHERE job_chunk_id = p_chunk AND outcome IS NULL) THEN 'retry' ELSE 'done' END;
    UPDATE job_chunk SET state = ended, lease_until = NULL, worker_id = NULL,
                         retry_at = CASE WHEN ended = 'retry' THEN now() + p_delay END WHERE job_chunk_id = p_chunk;
    UPDATE job_attempt SET finished_at = clock_timestamp(), cause = p_cause WHERE job_chunk_id = p_chunk AND fence = p_fence;
    UPDATE job_stage s SET state = 'done' FROM job_chunk k
     WHERE k.job_chunk_id = p_chunk AND s.job_stage_id = k.job_stage_id
       AND NOT EXISTS (SELECT FROM job_chunk o WHERE o.job_stage_id = s.job_stage_id AND o.state NOT IN ('done', 'quarantined', 'cancelled'));
    RETURN ended;
END $$;

-- Give up on a chunk that has no images of its own (a stage of one step).
CREATE FUNCTION job_chunk_fail(p_chunk bigint, p_fence bigint, p_cause text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM job_fence(p_chunk, p_fence);
    UPDATE job_chunk SET state = 'quarantined', lease_until = NULL, worker_id = NULL WHERE job_chunk_id = p_chunk;
    UPDATE job_attempt SET finished_at = clock_timestamp(), cause = p_cause WHERE job_chunk_id = p_chunk AND fence = p_fence;
    UPDATE job_stage s SET state = 'failed' FROM job_chunk k WHERE k.job_chunk_id = p_chunk AND s.job_stage_id = k.job_stage_id;
END $$;

-- A frame is about to be handed to a processor. Returned: how often that happened before in this chunk.
CREATE FUNCTION job_image_try(p_chunk bigint, p_fence bigint, p_image bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    n integer;
BEGIN
    PERFORM job_fence(p_chunk, p_fence);
    UPDATE job_image SET attempts = attempts + 1 WHERE job_image_id = p_image AND job_chunk_id = p_chunk RETURNING attempts - 1 INTO n;
    RETURN n;
END $$;

-- A later stage found what an image was held for: its outcome changes under that stage's fence.
CREATE FUNCTION job_image_resolve(p_chunk bigint, p_fence bigint, p_image bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM job_fence(p_chunk, p_fence);
    UPDATE job_image SET outcome = 'done', cause = '', message = '', finished_at = now() WHERE job_image_id = p_image AND outcome = 'held';
END $$;

-- A worker is known to be gone: what it held is free at once.
CREATE FUNCTION job_worker_lost(p_worker text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    UPDATE job_chunk SET lease_until = now() - interval '1 second', fence = fence + 1 WHERE worker_id = p_worker AND state = 'leased';
    GET DIAGNOSTICS n = ROW_COUNT;
    DELETE FROM worker WHERE worker_id = p_worker;
    RETURN n;
END $$;

CREATE FUNCTION job_run_finish(p_run bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ended text;
BEGIN
    SELECT CASE WHEN count(*) FILTER (WHERE s.state NOT IN ('done', 'failed', 'pruned')) > 0 THEN NULL
                WHEN count(*) FILTER (WHERE s.state = 'failed') > 0 THEN 'failed'
                WHEN EXISTS (SELECT FROM job_image i JOIN job_chunk c USING (job_chunk_id) JOIN job_stage t USING (job_stage_id)
                              WHERE t.job_run_id = p_run AND i.outcome <> 'done') THEN 'partial'
                ELSE 'succeeded' END
      INTO ended FROM job_stage s WHERE s.job_run_id = p_run;
    UPDATE job_run SET state = coalesce(ended, state), finished_at = CASE WHEN ended IS NULL THEN finished_at ELSE clock_timestamp() END WHERE job_run_id = p_run;
    INSERT INTO event (job_run_id, kind, body) VALUES (p_run, 'run.finished', jsonb_build_object('state', ended));
    RETURN ended;
END $$;
