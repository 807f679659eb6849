"""Asynchronous jobs: their life, what survives a kill, and what a client reads of them."""
import contextlib
import hashlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

import tapclient as tap
from tapclient import UWS
from test_service import POSITIONS, fill, nested_pixel, serving
from test_tap import SLOW, backends, base, filled, wait_for  # noqa: F401 (fixtures)

QUERY = "SELECT object_id, ra FROM nightshift.object ORDER BY object_id"


def create(base, query=QUERY, **params):
    answer = tap.ask(f"{base}/tap/async", {"LANG": "ADQL", "QUERY": query, **params})
    assert answer.status == 303, answer.text
    return answer.headers["Location"]


def phase(job):
    answer = tap.ask(f"{job}/phase")
    assert answer.headers["Content-Type"].startswith("text/plain")
    return answer.text


def text_of(document, name):
    return document.find(f"{UWS}{name}").text


def finish(job, want="COMPLETED", seconds=20):
    wait_for(lambda: phase(job) not in ("PENDING", "QUEUED", "EXECUTING"), seconds, "the job does not end")
    assert phase(job) == want, tap.ask(job).text


def test_life_of_a_job(base):
    job = create(base, RUNID="mine")
    assert phase(job) == "PENDING"
    document = tap.ask(job).xml
    assert document.tag == f"{UWS}job" and document.get("version") == "1.1"
    assert text_of(document, "jobId") == job.rsplit("/", 1)[1] and len(text_of(document, "jobId")) == 32
    assert text_of(document, "runId") == "mine"
    for resource in ("quote", "executionduration", "destruction", "owner"):
        answer = tap.ask(f"{job}/{resource}")
        assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain")
    assert tap.ask(f"{job}/destruction").text == text_of(document, "destruction")
    assert tap.ask(f"{job}/executionduration").text == text_of(document, "executionDuration")
    moved = tap.ask(f"{job}/phase", {"PHASE": "RUN"})
    assert moved.status == 303 and moved.headers["Location"] == job
    finish(job)
    document = tap.ask(job).xml
    result = document.find(f"{UWS}results/{UWS}result")
    href = result.get("{http://www.w3.org/1999/xlink}href")
    answer = tap.ask(href)
    assert len(tap.rows(answer)) == len(POSITIONS) and len(answer.body) == int(result.get("size"))
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.body).hexdigest()}"'
    assert answer.headers["X-Row-Count"] == str(len(POSITIONS))
    part = tap.ask(href, headers={"Range": "bytes=100-199"})
    assert part.status == 206 and part.body == answer.body[100:200]
    assert tap.ask(href, headers={"If-None-Match": answer.headers["ETag"]}).status == 304
    gone = tap.ask(job, method="DELETE")
    assert gone.status == 303 and gone.headers["Location"].endswith("/tap/async")
    assert tap.ask(job).status == 404 and tap.ask(href).status == 404


def test_run_at_creation_and_by_form(base):
    finish(create(base, PHASE="RUN"))
    job = create(base)
    assert tap.ask(job, {"ACTION": "DELETE"}).status == 303
    assert tap.ask(job).status == 404


def test_a_bad_query_makes_a_job_that_ends_in_error(base):
    job = create(base, "DUFF QUERY", PHASE="RUN")
    finish(job, "ERROR")
    summary = tap.ask(job).xml.find(f"{UWS}errorSummary")
    assert summary.get("type") == "fatal" and "line 1" in summary.find(f"{UWS}message").text
    (value, text), = tap.statuses(tap.ask(f"{job}/error"))
    assert value == "ERROR" and "line 1" in text
    assert tap.ask(f"{job}/results/result").status == 404


def test_parameters_change_only_while_pending(base):
    job = create(base, "SELECT 1 FROM nightshift.object", RUNID="a")
    assert tap.ask(f"{job}/parameters", {"QUERY": QUERY, "RUNID": "b"}).status == 303
    document = tap.ask(job).xml
    assert text_of(document, "runId") == "b"
    held = [(p.get("id"), p.text) for p in document.iter(f"{UWS}parameter")]
    assert sorted(held) == [("LANG", "ADQL"), ("QUERY", QUERY), ("RUNID", "b")]
    assert tap.ask(f"{job}/executionduration", {"EXECUTIONDURATION": "77"}).status == 303
    assert tap.ask(f"{job}/executionduration").text == "77"
    assert tap.ask(f"{job}/executionduration", {"EXECUTIONDURATION": "soon"}).status == 400
    tap.ask(f"{job}/destruction", {"DESTRUCTION": "2999-01-01T00:00:00Z"})
    assert tap.ask(f"{job}/destruction").text < "2100" # the longest retention holds
    assert tap.ask(f"{job}/destruction", {"DESTRUCTION": "tomorrow"}).status == 400
    tap.ask(f"{job}/phase", {"PHASE": "RUN"})
    finish(job)
    assert tap.ask(f"{job}/parameters", {"QUERY": "x"}).status == 400
    assert tap.ask(f"{job}/phase", {"PHASE": "RUN"}).status == 400
    assert tap.ask(f"{job}/phase", {"PHASE": "DANCE"}).status == 400
    assert tap.ask(f"{job}/nonsense").status == 404


def test_abort_frees_the_database(base, filled):
    job = create(base, SLOW, PHASE="RUN")
    wait_for(lambda: phase(job) == "EXECUTING" and backends(filled, "nightshift tap async") == 1, 10, "it never began")
    assert tap.ask(f"{job}/phase", {"PHASE": "ABORT"}).status == 303
    start = time.monotonic()
    wait_for(lambda: backends(filled, "nightshift tap async") == 0, 3, "the query goes on")
    assert time.monotonic() - start < 1
    assert phase(job) == "ABORTED"
    assert tap.ask(f"{job}/phase", {"PHASE": "ABORT"}).status == 303 # again changes nothing


def test_execution_duration_holds(base):
    job = create(base, SLOW)
    tap.ask(f"{job}/executionduration", {"EXECUTIONDURATION": "1"})
    tap.ask(f"{job}/phase", {"PHASE": "RUN"})
    finish(job, "ERROR", 10)
    assert "longer than 1 s" in tap.ask(job).text


def test_wait_answers_when_the_phase_changes(base):
    job = create(base)
    start = time.monotonic()
    assert text_of(tap.ask(f"{job}?WAIT=1").xml, "phase") == "PENDING"
    assert 0.9 < time.monotonic() - start < 3
    start = time.monotonic()
    assert text_of(tap.ask(f"{job}?WAIT=20&PHASE=EXECUTING").xml, "phase") == "PENDING" # it is in another phase already
    assert time.monotonic() - start < 1
    tap.ask(f"{job}/phase", {"PHASE": "RUN"})
    start, now = time.monotonic(), ""
    while now not in ("COMPLETED", "ERROR"):
        now = text_of(tap.ask(f"{job}?WAIT=-1").xml, "phase")
    assert now == "COMPLETED" and time.monotonic() - start < 5
    start = time.monotonic()
    tap.ask(f"{job}?WAIT=20") # an ended job does not change any more
    assert time.monotonic() - start < 1


def test_many_who_wait_hold_no_thread(base):
    import concurrent.futures
    job = create(base)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(tap.ask, f"{job}?WAIT=20") for _ in range(40)]
        time.sleep(1)
        start = time.monotonic()
        assert tap.ask(f"{base}/scs/object?RA=45&DEC=-41.81&SR=1").status == 200
        assert phase(job) == "PENDING"
        assert time.monotonic() - start < 1
        tap.ask(f"{job}/phase", {"PHASE": "ABORT"})
        assert {text_of(w.result(15).xml, "phase") for w in waiting} == {"ABORTED"}
        assert time.monotonic() - start < 5


def test_nobody_lists_other_peoples_jobs(base):
    create(base)
    answer = tap.ask(f"{base}/tap/async")
    assert answer.status == 200 and answer.xml.tag == f"{UWS}jobs" and len(answer.xml) == 0
    assert tap.ask(f"{base}/tap/async?PHASE=COMPLETED&AFTER=2020-01-01T00:00:00Z&LAST=5").status == 200
    assert tap.ask(f"{base}/tap/async?LAST=x").status == 400
    assert tap.ask(f"{base}/tap/async?AFTER=x").status == 400
    for name in ("0" * 32, "x", "..%2f..%2fetc%2fpasswd"):
        assert tap.ask(f"{base}/tap/async/{name}").status == 404


def test_destruction_removes_row_and_files(new_database, tmp_path):
    jobs = tmp_path / "jobs"
    database = new_database()
    fill(database, POSITIONS, nested_pixel)
    jobs = jobs / database.one("SELECT name FROM uws_store")
    jobs.mkdir(parents=True)
    orphan = jobs / ("ab" * 16 + ".result1") # of a server that was killed between row and file
    orphan.write_text("x")
    os.utime(orphan, (1, 1))
    with serving(database, tmp_path, "--tap-folder", str(jobs.parent)) as (base, _):
        wait_for(lambda: not orphan.exists(), 40, "the orphan stays")
        job = create(base, PHASE="RUN")
        finish(job)
        assert len(list(jobs.iterdir())) == 1
        tap.ask(f"{job}/destruction", {"DESTRUCTION": "2000-01-01T00:00:00Z"})
        assert tap.ask(job).status == 404
        wait_for(lambda: not list(jobs.iterdir()), 30, "the result stays")


@contextlib.contextmanager
def killable(database, tmp_path, *options):
    with serving(database, tmp_path, *options) as (base, process):
        yield base, process
        (tmp_path / "url").unlink(missing_ok=True)


def test_a_killed_servers_job_runs_again(filled, tmp_path):
    options = ("--tap-folder", str(tmp_path / "jobs"))
    with killable(filled, tmp_path, *options) as (base, process):
        done = create(base, PHASE="RUN")
        finish(done)
        job = create(base, SLOW, PHASE="RUN")
        wait_for(lambda: phase(job) == "EXECUTING", 10, "it never began")
        process.kill()
        process.wait()
    job_id, done_id = job.rsplit("/", 1)[1], done.rsplit("/", 1)[1]
    filled.sql(f"UPDATE uws_job SET lease_until = now() WHERE job_id = '{job_id}'") # 30 s later
    with killable(filled, tmp_path, *options) as (base, _):
        assert len(tap.rows(tap.ask(f"{base}/tap/async/{done_id}/results/result"))) == len(POSITIONS)
        wait_for(lambda: filled.one(f"SELECT attempts FROM uws_job WHERE job_id = '{job_id}'") == "2", 15, "nobody takes it")
        filled.sql(f"UPDATE uws_job SET lease_owner = 'another', lease_until = now() WHERE job_id = '{job_id}'")
        wait_for(lambda: phase(f"{base}/tap/async/{job_id}") == "ERROR", 15, "it is tried a third time")
        wait_for(lambda: backends(filled, "nightshift tap async") == 0, 5, "who lost its lease goes on")


def test_a_stopping_server_gives_its_jobs_back(new_database, tmp_path):
    filled = new_database() # of its own: another server would take the job at once
    fill(filled, POSITIONS, nested_pixel)
    options = ("--tap-folder", str(tmp_path / "jobs"))
    with killable(filled, tmp_path, *options) as (base, process):
        job = create(base, SLOW, PHASE="RUN").rsplit("/", 1)[1]
        wait_for(lambda: phase(f"{base}/tap/async/{job}") == "EXECUTING", 10, "it never began")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert filled.sql(f"SELECT phase, attempts FROM uws_job WHERE job_id = '{job}'") == [("QUEUED", "0")]
    filled.sql(f"DELETE FROM uws_job WHERE job_id = '{job}'")


def test_jobs_outlive_a_restart_of_the_database(own_cluster, tmp_path):
    from conftest import Database
    database = Database(own_cluster.program, own_cluster.url())
    fill(database, POSITIONS, nested_pixel)
    with serving(database, tmp_path, "--tap-folder", str(tmp_path / "jobs")) as (base, _):
        done, job = create(base, PHASE="RUN"), create(base, SLOW, PHASE="RUN")
        finish(done)
        wait_for(lambda: phase(job) == "EXECUTING", 10, "it never began")
        own_cluster.db("down")
        own_cluster.db("up")
        wait_for(lambda: tap.ask(f"{job}/phase").status == 200 and phase(job) == "EXECUTING" and
                 database.one("SELECT attempts FROM uws_job WHERE phase = 'EXECUTING'") == "2", 30, "it is not taken up again")
        assert len(tap.rows(tap.ask(f"{done}/results/result"))) == len(POSITIONS)
        tap.ask(job, method="DELETE")


def test_pyvo_async(base):
    pyvo = pytest.importorskip("pyvo")
    service = pyvo.dal.TAPService(f"{base}/tap")
    job = service.submit_job(QUERY)
    assert job.phase == "PENDING"
    job.run().wait(phases=["COMPLETED", "ERROR"], timeout=20)
    job.raise_if_error()
    assert len(job.fetch_result()) == len(POSITIONS)
    job.delete()
    with pytest.raises(pyvo.dal.DALQueryError):
        service.run_async("SELECT * FROM nowhere")
