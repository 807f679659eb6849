"""Ingest: exactly once, whole or not at all, whatever happens in between."""
import concurrent.futures
import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest

import ldac
from conftest import Database

# What two databases must agree on: natural keys and values, without times of storage and numbers given in order of arrival.
CONTENT = {
    "exposure": "SELECT * FROM exposure ORDER BY exposure_id",
    "ccd": "SELECT c.exposure_id, c.ccd, r.recipe, c.version, c.night, c.raw_sha256, c.cat_path, c.n_det, c.magzero, c.published_at IS NOT NULL AS published,"
           " c.retired_at IS NOT NULL AS retired FROM ccd c JOIN recipe r USING (recipe_id) ORDER BY 1, 2, 3, 4",
    "detection": "SELECT d.det_id, r.recipe, d.version, to_jsonb(d) - 'recipe_id' - 'object_id' FROM detection d JOIN recipe r USING (recipe_id) ORDER BY 1, 2, 3",
    "ingest_batch": "SELECT encode(token, 'hex'), exposure_id, ccd, version, n_rows FROM ingest_batch ORDER BY 1",
}


def content(db):
    return {name: db.sql(query) for name, query in CONTENT.items()}


def some_files(folder, exposures=4, ccds=2, rows=300, seed=1, night=20250530, **options):
    files = []
    for e in range(exposures):
        for c in range(1, ccds + 1):
            ra, dec = ldac.field(rows, seed=seed + c)
            path = folder / f"e{e}_ccd{c:02d}_cat.fits"
            files.append(ldac.write(path, ra, dec, seed=seed * 1000 + e * 10 + c, exposure=f"sim/{seed}/{e}", ccd=c, night=night, mjd=60825.1 + 0.01 * e, **options))
    return files


def test_rows_are_those_of_the_file(database, tmp_path):
    ra, dec = [0.0, 359.9999999, 123.25], [90.0, -45.5, 1e-9]
    path = ldac.write(tmp_path / "x_cat.fits", ra, dec, flux=[10, 200, 3e5], cards={"MAGZERO": 25.0, "MAGZERR": 0.01})
    database("ingest", path, code=0)
    rows = database.json("SELECT * FROM detection ORDER BY det_id")
    assert [r["ra"] for r in rows] == ra and [r["dec"] for r in rows] == dec
    e = rows[0]["det_id"] >> 31
    assert [r["det_id"] for r in rows] == [e << 31 | 1 << 22 | seq for seq in (1, 2, 3)]
    assert [r["flux_auto"] for r in rows] == [10, 200, 3e5] and [r["flux_aper2"] for r in rows] == [9, 180, 270000]
    assert rows[0]["hpx29"] >> 58 == 0 and abs(rows[0]["ra_err"] - 0.1) < 1e-6 and abs(rows[0]["dec_err"] - 0.05) < 1e-6
    shown = database.json("SELECT * FROM published_detection ORDER BY det_id")
    assert abs(shown[1]["mag_auto"] - (25 - 2.5 * np.log10(200 / 30))) < 1e-9
    assert abs(shown[1]["flux_auto"] / (200 / 30 * 3631e9 * 10 ** (-0.4 * 25)) - 1) < 1e-12


def test_psf_columns_and_quality_are_stored_where_the_file_has_them(database, tmp_path):
    from astropy.io import fits
    ra, dec = ldac.field(20)
    with_psf = ldac.write(tmp_path / "p_cat.fits", ra, dec, psf=True, cards={"MAGZERO": 25.0, "NSELLIP": 0.07, "NSMASKED": 0.02, "NSSATUR": 0.001, "NSNSTAR": 55,
                                                                            "NSQREAS": "few stars"})
    database("ingest", with_psf, ldac.write(tmp_path / "n_cat.fits", ra, dec, exposure="sim/2"), code=0)
    table = fits.getdata(with_psf, "LDAC_OBJECTS")
    rows = database.json("SELECT * FROM published_detection WHERE exposure_id IN (SELECT exposure_id FROM ccd WHERE n_star = 55) ORDER BY det_id")
    for row, line in zip(rows, table, strict=True):
        assert (row["ra_psf"], row["dec_psf"], row["x_psf"], row["y_psf"], row["flags_psf"]) == tuple(
            line[k] for k in ("ALPHAPSF_J2000", "DELTAPSF_J2000", "XPSF_IMAGE", "YPSF_IMAGE", "FLAGS_PSF"))
        assert np.float32(row["spread_model"]) == line["SPREAD_MODEL"] and np.float32(row["chi2_psf"]) == line["CHI2_PSF"]
        assert abs(row["flux_psf"] / (float(line["FLUX_PSF"]) / 30 * 3631e9 * 10 ** (-0.4 * 25)) - 1) < 1e-12
    assert database.json("SELECT ellipticity, masked, saturated, n_star, reasons, n_det FROM published_ccd WHERE n_star IS NOT NULL") == [
        {"ellipticity": 0.07, "masked": 0.02, "saturated": 0.001, "n_star": 55, "reasons": "few stars", "n_det": 20}]
    assert database.one("SELECT count(*) FROM detection WHERE flux_psf IS NULL AND flags_psf IS NULL AND ra_psf IS NULL AND spread_model IS NULL") == "20"
    assert database.one("SELECT count(*) FROM light_curve WHERE mag_psf IS NOT NULL") == "20"
    assert database.one("SELECT count(*) FROM detection d WHERE NOT EXISTS (SELECT FROM detection_cover c WHERE c.cell = d.hpx29 >> 46 AND c.night = d.night)") == "0"


def test_a_new_zero_point_changes_one_row_and_every_flux(database, tmp_path):
    ra, dec = ldac.field(50)
    database("ingest", ldac.write(tmp_path / "z_cat.fits", ra, dec, psf=True, cards={"MAGZERO": 25.0}), code=0)
    query = "SELECT flux_auto, flux_psf, mag_auto, mag_psf FROM published_detection ORDER BY det_id"
    before, place = database.json(query), database.sql("SELECT ctid, xmin FROM detection ORDER BY det_id")
    database.sql("SELECT ccd_zeropoint(exposure_id, ccd, recipe_id, version, 26, 0.01, 'absolute') FROM ccd")
    assert database.sql("SELECT ctid, xmin FROM detection ORDER BY det_id") == place
    for old, new in zip(before, database.json(query), strict=True):
        assert abs(new["flux_auto"] / old["flux_auto"] * 10 ** 0.4 - 1) < 1e-12 and abs(new["flux_psf"] / old["flux_psf"] * 10 ** 0.4 - 1) < 1e-12
        assert abs(new["mag_auto"] - old["mag_auto"] - 1) < 1e-12 and abs(new["mag_psf"] - old["mag_psf"] - 1) < 1e-12


def test_the_same_again_changes_nothing(database, tmp_path):
    files = some_files(tmp_path)
    assert "300 detections stored" in database("ingest", *files, code=0).out
    before = content(database)
    assert "stored before" in database("ingest", *files, code=0).out
    assert content(database) == before
    # other floats, same inputs: the first write wins
    some_files(tmp_path, rows=250)
    database("ingest", *files, code=0)
    assert content(database) == before


def test_other_floats_from_the_same_inputs_are_said_and_not_stored(database, tmp_path):
    ra, dec = ldac.field(40)
    database("ingest", ldac.write(tmp_path / "a_cat.fits", ra, dec), code=0)
    before = content(database)
    said = database("ingest", ldac.write(tmp_path / "a_cat.fits", ra[:30], dec[:30], seed=5), code=0)
    assert "the first write stands" in said.err and "40 detections were stored before" in said.out
    assert content(database) == before


def test_other_masters_make_the_next_version_which_supersedes(database, tmp_path):
    a = ldac.write(tmp_path / "a_cat.fits", *ldac.field(50))
    b = ldac.write(tmp_path / "b_cat.fits", *ldac.field(60), flat="flat-2")
    for f in (a, b, a):
        database("ingest", f, code=0)
    assert database.sql("SELECT version, n_det, retired_at IS NULL FROM ccd ORDER BY version") == [("1", "50", "f"), ("2", "60", "t")]
    assert database.one("SELECT count(*) FROM published_detection") == "60"
    assert database.one("SELECT count(*) FROM detection") == "110"
    # as of a moment between the two
    assert database.one("SELECT sum(c.n_det) FROM ccd c, (SELECT max(published_at) - interval '1 us' AS t FROM ccd) m"
                        " WHERE published_at <= t AND (retired_at IS NULL OR retired_at > t)") == "50"
    # back to the first by one statement
    database.sql("SELECT ccd_publish(exposure_id, ccd, recipe_id, version) FROM ccd WHERE version = 1")
    assert database.one("SELECT count(*) FROM published_detection") == "50"
    database.sql("SELECT ccd_withdraw(exposure_id, ccd) FROM published_ccd")
    assert database.one("SELECT count(*) FROM published_detection") == "0"


def test_another_recipe_supersedes_and_staged_does_not(database, tmp_path):
    database("ingest", ldac.write(tmp_path / "a_cat.fits", *ldac.field(50)), code=0)
    database("ingest", "--staged", ldac.write(tmp_path / "b_cat.fits", *ldac.field(60), recipe="f" * 16), code=0)
    assert database.one("SELECT count(*) FROM published_detection") == "50"
    database("ingest", ldac.write(tmp_path / "c_cat.fits", *ldac.field(70), recipe="e" * 16), code=0)
    assert database.sql("SELECT recipe, version, n_det FROM published_ccd") == [("e" * 16, "1", "70")]


def test_paths_are_relative_to_the_archive(database, tmp_path):
    folder = tmp_path / "20250530" / "sim"
    folder.mkdir(parents=True)
    database("ingest", ldac.write(folder / "r1_cat.fits", *ldac.field(5)), code=0)
    database("ingest", "--root", tmp_path / "20250530", ldac.write(folder / "r2_cat.fits", *ldac.field(5), exposure="sim/2"), code=0)
    assert database.sql("SELECT cat_path, cal_path FROM ccd ORDER BY 1") == [("20250530/sim/r1_cat.fits", "20250530/sim/r1_cal.fits.fz"),
                                                                           ("sim/r2_cat.fits", "sim/r2_cal.fits.fz")]


@pytest.mark.parametrize("what, code, says, options", [
    ("no provenance", 12, "NSRECIPE", {"cards": {"NSRECIPE": ""}}),
    ("no WCS", 3, "no sky coordinates", {"centre": None}),
    ("absurd CCD", 10, "CCD number 512", {"ccd": 512}),
    ("absurd night", 10, "no date", {"night": 7}),
    ("no positions", 3, "sky positions", {"drop": ("ALPHAWIN_J2000",)}),
])
def test_refusals_are_one_clear_line(database, tmp_path, what, code, says, options):
    path = ldac.write(tmp_path / "x_cat.fits", *ldac.field(5), **options)
    database.program.fails(code, "ingest", path, env=database.env, says=says)
    assert database.one("SELECT count(*) FROM ccd") == "0"


def test_rows_without_a_position_are_left_out_and_an_empty_frame_is_a_frame(database, tmp_path):
    ra, dec = ldac.field(10)
    ra[3] = np.nan
    dec[4] = 95
    assert "8 detections" in database("ingest", ldac.write(tmp_path / "a_cat.fits", ra, dec), code=0).out
    assert "0 detections" in database("ingest", ldac.write(tmp_path / "b_cat.fits", [], [], exposure="sim/2"), code=0).out
    assert database.one("SELECT count(*) FROM published_ccd") == "2"


class Child:
    """A long-lived `ingest --stdin`."""

    def __init__(self, database):
        self.process = subprocess.Popen([database.program.path, "ingest", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **database.env}, text=True)

    def ask(self, **line):
        self.process.stdin.write(json.dumps({k: str(v) if k == "file" else v for k, v in line.items()}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        return self.process.wait(timeout=60)


def test_lines_in_lines_out(database, tmp_path):
    files = some_files(tmp_path, exposures=2, ccds=1)
    child = Child(database)
    a = child.ask(file=files[0])
    assert (a["status"], a["exit_code"], a["rows"], a["version"]) == ("stored", 0, 300, 1)
    assert child.ask(file=files[0])["status"] == "already"
    bad = child.ask(file=tmp_path / "absent_cat.fits")
    assert bad["status"] == "error" and bad["exit_code"] == 10 and bad["error"] == "not_found"
    child.process.stdin.write("{nonsense\n")
    assert child.ask(file=files[1])["error"] == "usage"
    assert json.loads(child.process.stdout.readline())["status"] == "stored"
    assert child.end() == 2 # of several inputs the first of 2, 77, 75, 20, 3


def test_a_new_zero_point_changes_one_row(database, tmp_path):
    file, = some_files(tmp_path, exposures=1, ccds=1)
    child = Child(database)
    child.ask(file=file)
    before = database.sql("SELECT xmin, ctid FROM detection ORDER BY det_id")
    again = child.ask(file=file, magzero=24.5, magzero_err=0.02, magzero_kind="relative")
    assert again["status"] == "already" and again["zeropoint_changed"]
    assert not child.ask(file=file, magzero=24.5, magzero_err=0.02, magzero_kind="relative")["zeropoint_changed"]
    assert database.sql("SELECT magzero, magzero_kind, mag_lim FROM published_ccd") == [("24.5", "relative", "16.5")]
    assert database.sql("SELECT xmin, ctid FROM detection ORDER BY det_id") == before
    assert child.end() == 0


def a_chunk(db, images):
    run = db.one("INSERT INTO job_run (input) VALUES ('x') RETURNING job_run_id")
    stage = db.one(f"INSERT INTO job_stage (job_run_id, name, ordinal) VALUES ({run}, 'science', 1) RETURNING job_stage_id")
    chunk = int(db.one(f"INSERT INTO job_chunk (job_stage_id, ordinal, fence, state) VALUES ({stage}, 1, 5, 'leased') RETURNING job_chunk_id"))
    return chunk, [int(db.one(f"INSERT INTO job_image (job_chunk_id, ordinal, path) VALUES ({chunk}, {i}, 'f') RETURNING job_image_id")) for i in range(images)]


def test_a_stale_fence_stores_nothing(database, tmp_path):
    files = some_files(tmp_path, exposures=3, ccds=1)
    chunk, images = a_chunk(database, 3)
    child = Child(database)
    assert child.ask(file=files[0], chunk=chunk, fence=5, image=images[0])["status"] == "stored"
    late = child.ask(file=files[1], chunk=chunk, fence=4, image=images[1])
    assert late["error"] == "lease_lost" and late["exit_code"] == 77
    assert database.one("SELECT count(*) FROM ccd") == "1"
    assert database.one("SELECT count(*) FROM detection") == "300"
    noted = child.ask(chunk=chunk, fence=5, image=images[1], outcome="quarantined", cause="data.corrupt", message="no pixels")
    assert noted["status"] == "noted"
    assert child.ask(file=files[0], chunk=chunk, fence=5, image=images[2])["status"] == "already"
    assert database.sql("SELECT outcome, cause FROM job_image ORDER BY ordinal") == [("done", ""), ("quarantined", "data.corrupt"), ("done", "")]
    assert child.end() == 77


def test_a_signal_ends_it_after_the_frame_in_hand(database, tmp_path):
    files = some_files(tmp_path, exposures=1, ccds=1)
    for _ in range(8): # the signal may come just before the read that would wait for ever
        child = Child(database)
        child.ask(file=files[0])
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(timeout=30) == 75


def test_many_writers_of_the_same_and_of_other_ccds(database, new_database, tmp_path):
    files = some_files(tmp_path, exposures=6, ccds=4, rows=120)
    calm = new_database()
    calm("ingest", *files, code=0)
    lists = [random.Random(i).sample(files, len(files)) for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda l: database("ingest", *l, code=0), lists))
    assert content(database) == content(calm)


def check_consistent(db):
    """No half CCD: each stored row belongs to a CCD with a token and the right count, and the other way round."""
    assert db.one("SELECT count(*) FROM (SELECT det_exposure(det_id), det_ccd(det_id), recipe_id, version, count(*) AS n FROM detection GROUP BY 1, 2, 3, 4) d"
                  " FULL JOIN (SELECT exposure_id, ccd, recipe_id, version, n_det FROM ccd WHERE n_det > 0) c"
                  " ON (d.det_exposure, d.det_ccd, d.recipe_id, d.version) = (c.exposure_id, c.ccd, c.recipe_id, c.version) WHERE d.n IS DISTINCT FROM c.n_det") == "0"
    assert db.one("SELECT count(*) FROM ccd FULL JOIN ingest_batch USING (exposure_id, ccd, recipe_id, version) WHERE ccd.night IS NULL OR token IS NULL") == "0"


def kill_at_random(database, calm, files, kills, seed):
    rng = random.Random(seed)
    started = time.monotonic()
    calm("ingest", *files, code=0)
    whole = time.monotonic() - started
    for _ in range(kills):
        child = subprocess.Popen([database.program.path, "ingest", *map(str, rng.sample(files, len(files)))], env={**os.environ, **database.env},
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, whole))
        child.kill()
        child.wait()
        check_consistent(database)
    database("ingest", *files, code=0)
    check_consistent(database)
    assert content(database) == content(calm)


def test_kill_9_at_random_points(database, new_database, tmp_path):
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100000))
    print("seed", seed)
    kill_at_random(database, new_database(), some_files(tmp_path, exposures=8, ccds=3, rows=400), 12, seed)


@pytest.mark.long
def test_kill_9_a_thousand_times(database, new_database, tmp_path):
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100000))
    print("seed", seed)
    kill_at_random(database, new_database(), some_files(tmp_path, exposures=40, ccds=4, rows=400), 1000, seed)


def test_the_server_is_killed_under_it(own_cluster, new_database, tmp_path):
    """The private server dies in the middle; the writer starts it again by itself and loses nothing."""
    files = some_files(tmp_path, exposures=12, ccds=3, rows=400)
    env = {**os.environ, **own_cluster.env}
    child = subprocess.Popen([own_cluster.program.path, "ingest", *map(str, files)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for pause in (0.25, 1.5):
        time.sleep(pause)
        if child.poll() is None:
            os.kill(own_cluster.pid, signal.SIGKILL)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err.decode()[-3000:]
    database, calm = Database(own_cluster.program, own_cluster.url()), new_database()
    check_consistent(database)
    calm("ingest", *files, code=0)
    assert content(database) == content(calm)
