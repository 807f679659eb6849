"""The chain of migrations from empty, and what the schema promises."""
import concurrent.futures
import hashlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("catalog/sql/migrations/*.sql"), *ROOT.glob("jobrunner/sql/migrations/*.sql")], key=lambda p: p.name)


def test_numbers_are_unique_and_in_their_rooms_range():
    numbers = [int(f.name[:4]) for f in FILES]
    assert len(set(numbers)) == len(numbers)
    for f, n in zip(FILES, numbers):
        assert re.fullmatch(r"\d{4}_[a-z_]+\.sql", f.name)
        assert (n < 200) == ("catalog" in f.parts)


def test_from_empty_and_again(new_database):
    db = new_database(migrated=False)
    assert f"{len(FILES)} migrations applied" in db("db", "migrate", code=0).out
    assert "0 migrations applied" in db("db", "migrate", code=0).out
    rows = db.sql("SELECT name, sha256 FROM schema_migration ORDER BY number")
    assert rows == [(f.stem, hashlib.sha256(f.read_bytes()).hexdigest()) for f in FILES]
    tables = {r[0] for r in db.sql("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace")}
    assert {"exposure", "ccd", "detection", "object", "association", "calibration", "run", "recipe", "worker", "ingest_batch",
            "job_run", "job_stage", "job_chunk", "job_image", "job_attempt", "event"} <= tables
    assert db.one("SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql'") == "0"


def test_each_step_leads_to_the_next(new_database):
    """Upgrades start from any prefix of the chain: a database made by an older program."""
    for n in range(len(FILES)):
        db = new_database(migrated=False)
        db.sql("CREATE TABLE schema_migration (number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())")
        for f in FILES[:n]:
            db.sql(f.read_text())
            db.sql(f"INSERT INTO schema_migration VALUES ({int(f.name[:4])}, '{f.stem}', '{hashlib.sha256(f.read_bytes()).hexdigest()}')")
        assert f"{len(FILES) - n} migration" in db("db", "migrate", code=0).out


def test_several_at_once(new_database):
    db = new_database(migrated=False)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outs = list(pool.map(lambda _: db("db", "migrate", code=0).out, range(4)))
    assert sum(int(o.split()[0]) for o in outs) == len(FILES)


def test_an_edited_migration_is_refused(database):
    database.sql("UPDATE schema_migration SET sha256 = 'x' WHERE number = 1")
    database.program.fails(2, "db", "migrate", env=database.env, says="0001_foundation was changed")


def test_a_newer_database_is_refused(database):
    database.sql("INSERT INTO schema_migration VALUES (9999, '9999_future', 'x')")
    database.program.fails(12, "db", "migrate", env=database.env, says="newer nightshift")


def test_partitions_on_demand_by_many(database):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda i: database.one(f"SELECT detection_partition({20250601 + i % 3})"), range(24)))
    assert set(names) == {"detection_20250601", "detection_20250602", "detection_20250603"}
    assert database.one("SELECT count(*) FROM pg_inherits WHERE inhparent = 'detection'::regclass") == "3"
    database.sql("SELECT detection_partition(7)", fails="NS400")
    database.sql("INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version) VALUES (1, 1, 1, 1, 1, 1, 1, 20250602, 1, 1)")
    database.sql("INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version) VALUES (1, 1, 1, 1, 1, 1, 1, 20250602, 1, 1)", fails="23505")


def test_a_partition_is_made_while_readers_and_writers_are_busy(database):
    """ATTACH must not wait for open transactions: the other session sits in one that has read and written detections."""
    database.sql("SELECT detection_partition(20250601)")
    insert = "INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version) VALUES (5, 1, 1, 1, 1, 1, 1, 20250601, 1, 1)"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        busy = pool.submit(database.sql, f"BEGIN; {insert}; SELECT count(*) FROM detection; SELECT pg_sleep(2); COMMIT;")
        database.sql("SELECT pg_sleep(0.5); SET statement_timeout = '1s'; SELECT detection_partition(20250609)")
        busy.result()


def test_the_fence(database):
    run = database.one("INSERT INTO job_run (input) VALUES ('x') RETURNING job_run_id")
    stage = database.one(f"INSERT INTO job_stage (job_run_id, name, ordinal) VALUES ({run}, 'science', 1) RETURNING job_stage_id")
    chunk = database.one(f"INSERT INTO job_chunk (job_stage_id, ordinal, fence, state) VALUES ({stage}, 1, 3, 'leased') RETURNING job_chunk_id")
    a, b = (database.one(f"INSERT INTO job_image (job_chunk_id, ordinal, path) VALUES ({chunk}, {i}, 'f{i}') RETURNING job_image_id") for i in (1, 2))
    assert database.one(f"SELECT job_image_done({chunk}, 3, {a}, 'done')") == "1"
    assert database.one(f"SELECT job_image_done({chunk}, 3, {a}, 'done')") == "1"
    for stale in (2, 4):
        database.sql(f"SELECT job_image_done({chunk}, {stale}, {b}, 'done')", fails="NS077")
    database.sql(f"SELECT job_image_done({chunk}, 3, 999, 'done')", fails="NS404")
    database.sql("SELECT job_image_done(999, 3, 1, 'done')", fails="NS077")
    assert database.one(f"SELECT job_image_done({chunk}, 3, {b}, 'quarantined', 'data.corrupt', 'no pixels')") == "0"
    database.sql(f"UPDATE job_chunk SET state = 'done' WHERE job_chunk_id = {chunk}")
    database.sql(f"SELECT job_image_done({chunk}, 3, {b}, 'done')", fails="NS077")


def test_a_claim_waits_for_a_writer_that_passed_the_fence(database):
    run = database.one("INSERT INTO job_run (input) VALUES ('x') RETURNING job_run_id")
    stage = database.one(f"INSERT INTO job_stage (job_run_id, name, ordinal) VALUES ({run}, 'science', 1) RETURNING job_stage_id")
    chunk = database.one(f"INSERT INTO job_chunk (job_stage_id, ordinal, fence, state) VALUES ({stage}, 1, 1, 'leased') RETURNING job_chunk_id")
    image = database.one(f"INSERT INTO job_image (job_chunk_id, ordinal, path) VALUES ({chunk}, 1, 'f') RETURNING job_image_id")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writer = pool.submit(database.sql, f"BEGIN; SELECT job_image_done({chunk}, 1, {image}, 'done'); SELECT pg_sleep(1); COMMIT;")
        raised = database.sql(f"SELECT pg_sleep(0.3); UPDATE job_chunk SET fence = fence + 1 WHERE job_chunk_id = {chunk}; "
                              f"SELECT outcome FROM job_image WHERE job_image_id = {image}")
        writer.result()
    assert raised[-1] == ("done",) # the claim came second, and saw what the writer had done


@pytest.mark.parametrize("a, b, want", [((0, 90), (123, 90), 0), ((0, 0), (180, 0), 180), ((359.9, 0), (0.1, 0), 0.2), ((10, -89.9), (190, -89.9), 0.2),
                                        ((0, 0), (0, 1e-9), 1e-9), ((5, 5), (185, -5), 180)])
def test_sphere_distance(database, a, b, want):
    got = float(database.one(f"SELECT sphere_distance({a[0]}, {a[1]}, {b[0]}, {b[1]})"))
    assert abs(got - want) < 1e-12 # degrees: rounding of the trigonometric functions


def test_rights_are_given_once_and_again_when_a_role_comes(database):
    """Starts of a private server do not wait in line for the same GRANTs; what was taken away by hand stays so until something changes."""
    def acl():
        return database.one("SELECT xmin FROM pg_class WHERE relname = 'published_detection'")
    before = acl()
    database("db", "migrate", code=0)
    assert acl() == before
    database.sql("COMMENT ON FUNCTION roles_grant() IS 'granted: 1 migrations, newest 1'; REVOKE SELECT ON published_detection FROM nightshift_query")
    database("db", "migrate", code=0)
    assert database.one("SELECT has_table_privilege('nightshift_query', 'published_detection', 'SELECT')") == "t"
