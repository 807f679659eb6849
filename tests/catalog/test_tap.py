"""/tap/sync asked by curl's kind of request, pyvo, astropy and stilts, against real PostgreSQL."""
import io
import os
import signal
import socket
import subprocess
import threading
import time
import warnings

import pytest

import tapclient as tap
from test_service import EPOCHS, POSITIONS, fill, nested_pixel, serving

SLOW = "SELECT COUNT(*) FROM nightshift.detection a, nightshift.detection b, nightshift.detection c, nightshift.detection d, nightshift.detection e"


@pytest.fixture(scope="module")
def filled(new_database):
    database = new_database()
    fill(database, POSITIONS, nested_pixel)
    return database


@pytest.fixture(scope="module")
def base(filled, tmp_path_factory):
    with serving(filled, tmp_path_factory.mktemp("tap"), "--tap-folder", str(tmp_path_factory.mktemp("jobs")), "--tap-sync-limit", "8s",
                 "--tap-upload-from", "127.0.0.1") as (url, _):
        yield url


# ---- answers ----------------------------------------------------------------------------------------------------------------------

def test_rows_by_get_and_post(base):
    query = "SELECT object_id, ra, dec FROM nightshift.object ORDER BY object_id"
    posted = tap.sync(base, query)
    assert posted.status == 200 and posted.headers["Content-Type"].startswith("application/x-votable+xml")
    assert tap.statuses(posted) == [("OK", "")]
    assert [float(row[1]) for row in tap.rows(posted)] == [ra for ra, _ in POSITIONS]
    import urllib.parse
    got = tap.ask(f"{base}/tap/sync?REQUEST=doQuery&lang=adql&query={urllib.parse.quote(query)}")
    assert tap.rows(got) == tap.rows(posted)


def test_maxrec_tells_the_truth(base):
    import json
    from astropy.io import fits
    n = len(POSITIONS)
    for maxrec, overflow in [(n, "false"), (n - 1, "true")]:
        said = {f: tap.sync(base, "SELECT object_id FROM nightshift.object", MAXREC=maxrec, RESPONSEFORMAT=f) for f in ("csv", "tsv", "json", "fits")}
        assert {a.headers["X-Overflow"] for a in said.values()} == {overflow}
        assert json.loads(said["json"].body)["overflow"] == (overflow == "true")
        assert bool(fits.open(io.BytesIO(said["fits"].body))[1].header.get("OVERFLOW", False)) == (overflow == "true")
    query = "SELECT object_id FROM nightshift.object"
    for maxrec, want, overflow in [(n, n, False), (n + 1, n, False), (n - 1, n - 1, True), (0, 0, True), (10 ** 30, n, False)]:
        answer = tap.sync(base, query, MAXREC=maxrec)
        assert len(tap.rows(answer)) == want, maxrec
        assert [value for value, _ in tap.statuses(answer)] == (["OK", "OVERFLOW"] if overflow else ["OK"])
    assert [value for value, _ in tap.statuses(tap.sync(base, f"SELECT TOP 2 object_id FROM nightshift.object", MAXREC=2))] == ["OK"]


@pytest.mark.parametrize("params, word", [
    ({"QUERY": "SELECT nonsense FROM nightshift.object"}, "nonsense"),
    ({"QUERY": "SELECT * FROM nowhere"}, "nowhere"),
    ({"QUERY": "SELECT object_id FROM nightshift.object LIMIT 5"}, "TOP"),
    ({"QUERY": "DROP TABLE detection"}, "line 1"),
    ({"QUERY": "SELECT 1; SELECT 2"}, "line 1"),
    ({"QUERY": ""}, "QUERY"), ({}, "QUERY"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "LANG": "OOBLECK"}, "LANG"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "REQUEST": "dance"}, "REQUEST"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "MAXREC": "-1"}, "MAXREC"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "MAXREC": "many"}, "MAXREC"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "RESPONSEFORMAT": "parquet"}, "parquet"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "UPLOAD": "a b,param:x"}, "UPLOAD"),
    ({"QUERY": "SELECT object_id FROM nightshift.object", "UPLOAD": "a,param:x"}, "'x'"),
    ({"QUERY": "SELECT CAST(instrument AS INTEGER) FROM nightshift.ccd"}, "integer")])
def test_a_wrong_request_gets_a_votable_and_400(base, params, word):
    answer = tap.ask(f"{base}/tap/sync", {"LANG": "ADQL", **params} if "LANG" not in params else params)
    assert answer.status == 400, answer.text
    assert answer.headers["Content-Type"].startswith("application/x-votable+xml")
    (value, text), = tap.statuses(answer)
    assert value == "ERROR" and word in text


def test_unknown_parameters_are_ignored(base):
    assert tap.sync(base, "SELECT object_id FROM nightshift.object", DUMMY="ignore-me").status == 200


def test_formats_are_equal_value_by_value(base):
    from astropy.io import fits, votable
    import csv
    import json
    query = "SELECT object_id, ra, n_det, final, first_mjd FROM nightshift.object ORDER BY object_id"
    answers = {f: tap.sync(base, query, RESPONSEFORMAT=f).body for f in ("votable", "votable/b", "votable/b2", "csv", "tsv", "json", "fits")}
    tables = [votable.parse_single_table(io.BytesIO(answers[f])).to_table() for f in ("votable", "votable/b", "votable/b2")]
    fits_table = fits.open(io.BytesIO(answers["fits"]))[1].data
    rows = list(csv.DictReader(io.StringIO(answers["csv"].decode())))
    tabs = list(csv.DictReader(io.StringIO(answers["tsv"].decode()), delimiter="\t"))
    held = json.loads(answers["json"])
    objects = next(value for value in held.values() if isinstance(value, list) and value and "object_id" in value[0])
    for i, (ra, _) in enumerate(POSITIONS):
        ids = [int(t["object_id"][i]) for t in tables] + [int(fits_table["object_id"][i]), int(rows[i]["object_id"]), int(tabs[i]["object_id"]), int(objects[i]["object_id"])]
        assert set(ids) == {9007199254740993 + i}
        values = [float(t["ra"][i]) for t in tables] + [float(fits_table["ra"][i]), float(rows[i]["ra"]), float(tabs[i]["ra"]), float(objects[i]["ra"])]
        assert set(values) == {ra}


def test_columns_carry_their_metadata(base):
    from astropy.io.votable import parse_single_table
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = parse_single_table(io.BytesIO(tap.sync(base, "SELECT TOP 1 flux_auto, mjd AS t FROM nightshift.detection").body), verify="exception")
    flux, t = table.fields
    assert (flux.name, str(flux.unit), flux.ucd, flux.datatype) == ("flux_auto", "nJy", "phot.flux;meta.main", "double")
    assert (t.name, str(t.unit), t.ucd) == ("t", "d", "time.epoch")


# ---- limits -----------------------------------------------------------------------------------------------------------------------

def backends(database, application="nightshift tap sync"):
    return int(database.one(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}' AND state = 'active'"))


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_a_long_query_ends_at_its_limit(base, filled):
    start = time.monotonic()
    answer = tap.sync(base, SLOW)
    elapsed = time.monotonic() - start
    assert answer.status == 504 and 7 < elapsed < 12, elapsed
    (value, text), = tap.statuses(answer)
    assert value == "ERROR" and "8 s" in text and "asynchronous" in text
    assert backends(filled) == 0


def test_the_database_is_free_within_a_second_of_the_client_leaving(base, filled):
    host, port = base.removeprefix("http://").split(":")
    import urllib.parse
    form = urllib.parse.urlencode({"LANG": "ADQL", "QUERY": SLOW}).encode()
    s = socket.create_connection((host, int(port)))
    s.sendall(b"POST /tap/sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n" % len(form) + form)
    wait_for(lambda: backends(filled) == 1, 5, "the query never began")
    s.close()
    start = time.monotonic()
    wait_for(lambda: backends(filled) == 0, 3, "the query goes on")
    assert time.monotonic() - start < 1


def test_slow_queries_do_not_delay_cones_and_the_queue_is_bounded(filled, tmp_path):
    with serving(filled, tmp_path, "--tap-folder", str(tmp_path / "jobs"), "--tap-sync-limit", "4s", "--tap-sync-workers", "1", "--tap-queue", "1") as (base, _):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(tap.sync(base, SLOW))) for _ in range(4)]
        for thread in threads:
            thread.start()
            time.sleep(0.3)
        start = time.monotonic()
        assert tap.ask(f"{base}/scs/object?RA=45&DEC=-41.81&SR=1").status == 200
        assert tap.ask(f"{base}/tap/availability").status == 200
        assert time.monotonic() - start < 1
        for thread in threads:
            thread.join()
        codes = sorted(a.status for a in answers)
        assert codes.count(503) == 2, codes # one runs, one waits
        assert all(a.headers["Retry-After"] for a in answers if a.status == 503)


def test_a_detection_is_seen_within_a_second_of_its_commit(base, filled):
    query = "SELECT det_id FROM nightshift.detection WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 200.5, 30.5, 0.001))"
    assert tap.rows(tap.sync(base, query)) == []
    det = (1 << 31) | (1 << 22) | 4000
    pixel = nested_pixel(200.5, 30.5)
    filled.sql(f"""BEGIN; INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version, flux_auto, fluxerr_auto)
                   VALUES ({det}, {pixel}, 200.5, 30.5, 60825.01, 1, 1, 20250530, 1, 1, 1, 1);
                   INSERT INTO detection_cover VALUES ({int(pixel) >> 46}, 20250530) ON CONFLICT DO NOTHING; COMMIT""")
    start = time.monotonic()
    while not (seen := tap.rows(tap.sync(base, query))):
        assert time.monotonic() - start < 1
    assert seen == [[str(det)]]
    assert time.monotonic() - start < 1


def test_postgres_restart_under_load_needs_no_manual_step(own_cluster, tmp_path):
    from conftest import Database
    database = Database(own_cluster.program, own_cluster.url())
    fill(database, POSITIONS, nested_pixel)
    with serving(database, tmp_path, "--tap-folder", str(tmp_path / "jobs")) as (base, process):
        assert tap.sync(base, "SELECT object_id FROM nightshift.object").status == 200
        own_cluster.db("down")
        wait_for(lambda: "<vosi:available>false" in tap.ask(f"{base}/tap/availability").text, 5, "availability does not say so")
        assert tap.sync(base, "SELECT object_id FROM nightshift.object").status == 503
        own_cluster.db("up")
        wait_for(lambda: tap.sync(base, "SELECT object_id FROM nightshift.object").status == 200, 10, "it does not come back")
        wait_for(lambda: "<vosi:available>true" in tap.ask(f"{base}/tap/availability").text, 5, "availability does not say so")
        assert process.poll() is None


def test_a_connection_that_died_while_idle_is_nobodys_error(base, filled):
    query = "SELECT object_id FROM nightshift.object"
    for _ in range(3):
        assert tap.sync(base, query).status == 200
        filled.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'nightshift%' AND datname = current_database()")
        time.sleep(0.2)
        assert tap.sync(base, query).status == 200


# ---- clients ------------------------------------------------------------------------------------------------------------------------

def stilts(*argv, code=0, timeout=300):
    done = subprocess.run(["stilts", *argv], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_pyvo_reads_rows_and_errors(base):
    pyvo = pytest.importorskip("pyvo")
    service = pyvo.dal.TAPService(f"{base}/tap")
    table = service.search("SELECT object_id, ra, dec FROM nightshift.object").to_table()
    assert len(table) == len(POSITIONS)
    with pytest.raises(pyvo.dal.DALQueryError, match="nowhere"):
        service.search("SELECT * FROM nowhere")
    assert "nightshift.detection" in [t.name for t in service.tables]
    assert service.hardlimit >= 10_000_000 and service.maxrec > 0


def test_stilts_tapquery(base, tmp_path):
    out = tmp_path / "out.csv"
    for mode in ("true", "false"):
        stilts("tapquery", f"tapurl={base}/tap", f"sync={mode}", "adql=SELECT object_id, ra FROM nightshift.object", f"out={out}", "ofmt=csv")
        assert len(out.read_text().splitlines()) == len(POSITIONS) + 1


def test_votlint_finds_nothing_in_results(base, tmp_path):
    for name, query in [("detection", "SELECT * FROM nightshift.detection"), ("ccd", "SELECT * FROM nightshift.ccd"), ("columns", "SELECT * FROM tap_schema.columns"),
                        ("obscore", "SELECT * FROM ivoa.obscore")]:
        for serialization in ("votable", "votable/b", "votable/b2"):
            path = tmp_path / "out.vot"
            path.write_bytes(tap.sync(base, query, RESPONSEFORMAT=serialization).body)
            done = stilts("votlint", "ucd=true", "unit=true", str(path))
            assert done.stdout.strip() == "", f"{name} {serialization}: {done.stdout}"


def test_taplint_finds_no_error_and_no_warning(base):
    done = subprocess.run(["stilts", "taplint", f"tapurl={base}/tap", "report=EWF"], capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    bad = [line for line in lines if line[:2] in ("E-", "W-")]
    failed = [line for line in lines if line[:2] == "F-" and "obsplan" not in line and "LOC" not in line]
    assert not bad and not failed, "\n".join(bad + failed)
    assert any("Errors: 0" in line for line in lines) or not bad
