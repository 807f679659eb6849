"""Objects: the same whatever the order of arrival, right everywhere on the sky, never renamed once published."""
import concurrent.futures
import json
import os
import random
import subprocess
import time

import numpy as np
import pytest

import ldac

NIGHT = 20250530
OBJECTS = "SELECT object_id, hpx29, ra, dec, ref_ra, ref_dec, n_det, first_mjd, last_mjd, first_night FROM object ORDER BY object_id"
LINKS = "SELECT a.det_id, r.recipe, a.version, a.object_id, a.dx, a.dy, a.mjd, a.flux_auto FROM association a JOIN recipe r USING (recipe_id) ORDER BY 1, 2, 3"
BANDS = "SELECT * FROM object_band ORDER BY object_id, filter"
ROWS = ["SELECT object_id, xmin, ctid FROM object ORDER BY 1", "SELECT det_id, version, xmin, ctid FROM association ORDER BY 1, 2",
        "SELECT object_id, filter, xmin, ctid FROM object_band ORDER BY 1, 2", "SELECT night, xmin FROM night ORDER BY 1",
        "SELECT exposure_id, ccd, version, xmin FROM ccd ORDER BY 1, 2, 3"]


def sky_content(db):
    return {q: db.sql(q) for q in (OBJECTS, LINKS, BANDS)}


def separation(a, b):
    """Arcsec between (ra, dec) arrays, as a matrix."""
    def vector(p):
        ra, dec = np.radians(p[0])[:, None], np.radians(p[1])[:, None]
        return np.hstack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    d = vector(a)[:, None, :] - vector(b)[None, :, :]
    return np.degrees(2 * np.arcsin(np.minimum(1, np.sqrt((d ** 2).sum(-1)) / 2))) * 3600


def jittered(ra, dec, rng, sigma=0.15):
    """Positions with arcsec scatter, right at the poles."""
    n = len(ra)
    r, d = np.radians(ra), np.radians(dec)
    east = np.stack([-np.sin(r), np.cos(r), 0 * r], 1)
    north = np.stack([-np.sin(d) * np.cos(r), -np.sin(d) * np.sin(r), np.cos(d)], 1)
    v = np.stack([np.cos(d) * np.cos(r), np.cos(d) * np.sin(r), np.sin(d)], 1)
    v = v + np.radians(rng.normal(0, sigma, (n, 1)) / 3600) * east + np.radians(rng.normal(0, sigma, (n, 1)) / 3600) * north
    return np.degrees(np.arctan2(v[:, 1], v[:, 0])) % 360, np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])))


def make_night(folder, centre=(180.0, 0.0), exposures=6, stars=120, seed=3, night=NIGHT, mjd=60825.1, ccds=(0.0,), radius=0.05, key="sim", miss=0.2, sigma=0.15, **options):
    """Files of a night: each CCD at an offset in declination; each star seen in 1 - miss of the exposures."""
    rng = np.random.default_rng(seed)
    files = []
    fields = [ldac.field(stars, (centre[0], centre[1] + o), radius, seed + i) for i, o in enumerate(ccds)]
    for e in range(exposures):
        for c, (ra, dec) in enumerate(fields, 1):
            seen = rng.uniform(size=stars) >= miss
            r, d = jittered(ra[seen], dec[seen], rng, sigma)
            order = rng.permutation(len(r))
            files.append(ldac.write(folder / f"{key}_n{night}_e{e}_c{c}_cat.fits", r[order], d[order], seed=seed * 100 + e, exposure=f"{key}/{night}/{e}", ccd=c,
                                    night=night, mjd=mjd + 0.01 * e, filt="gr"[e % 2], cards={"MAGZERO": 25.0}, **options))
    return files


def by_hand(db, radius):
    """The rule, slowly: CCDs in order, closest pairs first, the rest founds objects."""
    objects, links = [], {}
    groups = db.json("SELECT c.exposure_id, c.ccd, c.recipe_id, c.version, c.night FROM ccd c JOIN exposure e USING (exposure_id)"
                     " WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL ORDER BY c.night, e.mjd_mid, c.exposure_id, c.ccd")
    for g in groups:
        dets = db.json(f"SELECT det_id, hpx29, ra, dec FROM detection WHERE det_exposure(det_id) = {g['exposure_id']} AND det_ccd(det_id) = {g['ccd']}"
                       f" AND recipe_id = {g['recipe_id']} AND version = {g['version']} ORDER BY det_id")
        mine = {}
        if objects and dets:
            sep = separation(([d["ra"] for d in dets], [d["dec"] for d in dets]), ([o[1] for o in objects], [o[2] for o in objects]))
            taken = set()
            for i, j in sorted(zip(*np.nonzero(sep <= radius)), key=lambda p: (sep[p], dets[p[0]]["det_id"], objects[p[1]][0])):
                if i not in mine and j not in taken:
                    mine[i] = objects[j][0]
                    taken.add(j)
        for i, d in enumerate(dets):
            if i not in mine:
                new = d["hpx29"]
                while any(o[0] == new for o in objects):
                    new += 1
                objects.append((new, d["ra"], d["dec"]))
                mine[i] = new
            links[d["det_id"]] = mine[i]
    return links


@pytest.mark.parametrize("centre", [(180, 0), (0, 30), (0, 90), (123, -90), (359.999, -41.81), (45, 89.98)])
def test_as_by_hand_everywhere(database, tmp_path, centre):
    # crowded: 120 stars in 36 arcsec, so that neighbours compete
    database("ingest", "--no-associate", *make_night(tmp_path, centre, radius=0.01), code=0)
    database("associate", "--night", NIGHT, code=0)
    got = {int(d): int(o) for d, o in database.sql("SELECT det_id, object_id FROM association")}
    assert got == by_hand(database, 1.0)
    assert len(got) > 400 and database.one("SELECT count(*) FROM object WHERE n_det > 3") != "0"
    means = database.json("SELECT o.ra, o.dec, a.dx, a.dy, d.ra AS dra, d.dec AS ddec, o.ref_ra, o.ref_dec FROM object o JOIN association a USING (object_id) JOIN detection d USING (det_id)")
    for m in means[:50]:
        assert abs(np.hypot(m["dx"], m["dy"]) - separation(([m["ref_ra"]], [m["ref_dec"]]), ([m["dra"]], [m["ddec"]]))[0, 0]) < 1e-5 # float4 of 1 arcsec is 1e-7
        assert separation(([m["ra"]], [m["dec"]]), ([m["dra"]], [m["ddec"]]))[0, 0] < 2


def test_any_order_of_arrival_gives_the_same_objects(new_database, tmp_path):
    files = make_night(tmp_path, radius=0.01, ccds=(0.0, 0.012)) + make_night(tmp_path, radius=0.01, night=NIGHT + 1, mjd=60826.1, seed=4)
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100000))
    print("seed", seed)
    rng, want = random.Random(seed), None
    for k in range(4):
        db = new_database()
        order = files if k == 0 else rng.sample(files, len(files))
        half = len(order) // 2
        db("ingest", *(["--no-associate"] if k == 1 else []), *order[:half], code=0)
        if k >= 2: # a rebuild in the middle of the arrivals, of either night, must not matter
            db("associate", "--night", NIGHT + k % 2, code=0)
        db("ingest", *order[half:], code=0)
        db("associate", "--night", NIGHT, code=0)
        db("associate", "--night", NIGHT + 1, code=0)
        content = sky_content(db)
        want = want or content
        assert content == want


def test_a_second_rebuild_changes_no_row(database, tmp_path):
    database("ingest", *make_night(tmp_path), code=0)
    database("associate", "--night", NIGHT, code=0)
    before = [database.sql(q) for q in ROWS]
    out = database("associate", "--night", NIGHT, code=0).out
    assert "0 associations and 0 objects changed" in out
    database("ingest", *make_night(tmp_path), code=0)
    assert [database.sql(q) for q in ROWS] == before


def test_in_order_the_provisional_answer_stands(database, tmp_path):
    files = make_night(tmp_path, radius=0.01)
    database("ingest", *files, code=0)
    provisional = database.sql("SELECT det_id, object_id FROM association ORDER BY 1")
    assert len(provisional) == int(database.one("SELECT count(*) FROM detection"))
    assert " 0 associations" in database("associate", "--night", NIGHT, code=0).out
    assert database.sql("SELECT det_id, object_id FROM association ORDER BY 1") == provisional


def test_published_ids_never_change(database, tmp_path):
    later = make_night(tmp_path, night=NIGHT + 1, mjd=60826.1, seed=4, radius=0.01)
    database("ingest", *later[:4], code=0)
    database("associate", "--night", NIGHT + 1, "--publish", code=0)
    published = {r[0]: r for r in database.sql("SELECT object_id, ref_ra, ref_dec, first_night FROM object")}
    links = dict(database.sql("SELECT det_id, object_id FROM association"))
    # an earlier night of the same field arrives late, and the rest of the published one, out of order
    database("ingest", *make_night(tmp_path, radius=0.01), *reversed(later[4:]), code=0)
    for night in (NIGHT, NIGHT + 1, NIGHT):
        database("associate", "--night", night, code=0)
        now = {r[0]: r for r in database.sql("SELECT object_id, ref_ra, ref_dec, first_night FROM object")}
        assert {k: now[k] for k in published} == published
        now_links = dict(database.sql("SELECT det_id, object_id FROM association"))
        assert {k: now_links[k] for k in links} == links
    assert len(now) > len(published)
    assert database.one("SELECT count(*) FROM detection") == database.one("SELECT count(*) FROM association")


def test_a_star_in_two_ccds_of_one_exposure_is_one_object(database, tmp_path):
    for c in (1, 2):
        database("ingest", ldac.write(tmp_path / f"c{c}_cat.fits", [10.0], [20.0 + c * 1e-5], ccd=c), code=0)
    database("associate", "--night", NIGHT, code=0)
    assert database.sql("SELECT n_det FROM object") == [("2",)]


def test_two_detections_of_one_ccd_are_two_objects(database, tmp_path):
    database("ingest", ldac.write(tmp_path / "a_cat.fits", [10.0, 10.0], [20.0, 20.0 + 0.4 / 3600]), code=0)
    database("associate", "--night", NIGHT, code=0)
    assert database.one("SELECT count(*) FROM object") == "2"


@pytest.mark.parametrize("seeing, options, objects", [(1.6, (), 2), (3.2, (), 1), (1.6, ("--associate-radius", "2"), 1), (3.2, ("--associate-radius", "0.5"), 2)])
def test_the_radius_is_one_arcsec_or_half_the_seeing_or_the_setting(database, tmp_path, seeing, options, objects):
    for e in range(2):
        database("ingest", "--no-associate", ldac.write(tmp_path / f"{e}_cat.fits", [10.0], [20.0 + e * 1.3 / 3600], exposure=f"s/{e}", mjd=60825 + e / 100,
                                                        cards={"NSSEEING": seeing}), code=0)
    database("associate", "--night", NIGHT, *options, code=0)
    assert database.one("SELECT count(*) FROM object") == str(objects)


def test_a_new_version_takes_over_and_the_old_one_founds_nothing(database, tmp_path):
    a = ldac.write(tmp_path / "a_cat.fits", [10.0, 11.0], [20.0, 20.0])
    b = ldac.write(tmp_path / "b_cat.fits", [10.0, 12.0], [20.0, 20.0], flat="flat-2")
    database("ingest", a, b, code=0)
    database("associate", "--night", NIGHT, code=0)
    assert database.sql("SELECT ref_ra, n_det FROM object ORDER BY 1") == [("10", "1"), ("12", "1")]
    assert database.sql("SELECT version, count(*) FROM association GROUP BY 1 ORDER BY 1") == [("1", "1"), ("2", "2")]
    database.sql("SELECT ccd_publish(exposure_id, ccd, recipe_id, version) FROM ccd WHERE version = 1")
    database("associate", "--night", NIGHT, code=0)
    assert database.sql("SELECT ref_ra, n_det FROM object ORDER BY 1") == [("10", "1"), ("11", "1")]
    assert database.sql("SELECT count(*), min(mjd) FROM light_curve") == [("2", "60825.3")]


def test_statistics_are_those_of_numpy(database, tmp_path):
    rng = np.random.default_rng(5)
    flux = rng.uniform(500, 1500, 12)
    for e in range(12):
        database("ingest", "--no-associate", ldac.write(tmp_path / f"{e}_cat.fits", [10.0], [20.0], flux=[flux[e]], exposure=f"s/{e}", mjd=60825 + e / 100,
                                                        seed=8, cards={"MAGZERO": 25.0}), code=0)
    database("associate", "--night", NIGHT, code=0)
    rows = database.json("SELECT flux_auto, fluxerr_auto, flags FROM light_curve ORDER BY mjd")
    f, s = np.array([r["flux_auto"] for r in rows]), np.array([r["fluxerr_auto"] for r in rows])
    assert np.allclose(f, flux.astype(np.float32).astype(float) / 30 * 3631e9 * 1e-10, rtol=1e-12)
    b, = database.json("SELECT * FROM object_band")
    w = 1 / s ** 2
    mean = (w * f).sum() / w.sum()
    for key, want in {"n": 12, "flux_mean": mean, "flux_err": w.sum() ** -0.5, "flux_std": f.std(ddof=1), "flux_min": f.min(), "flux_max": f.max(),
                      "chi2": (w * (f - mean) ** 2).sum() / 11}.items():
        assert abs(b[key] / want - 1) < 1e-10, key # rounding of a dozen sums


def test_a_new_zero_point_reaches_the_statistics(database, tmp_path):
    file = ldac.write(tmp_path / "a_cat.fits", [10.0], [20.0], flux=[1000], cards={"MAGZERO": 25.0})
    database("ingest", file, code=0)
    database("associate", "--night", NIGHT, code=0)
    before = float(database.one("SELECT flux_mean FROM object_band"))
    line = json.dumps({"file": str(file), "magzero": 22.5, "magzero_kind": "relative"})
    subprocess.run([database.program.path, "ingest", "--stdin"], input=line + "\n", text=True, check=True, env={**os.environ, **database.env}, capture_output=True)
    database("associate", "--night", NIGHT, code=0)
    assert abs(float(database.one("SELECT flux_mean FROM object_band")) / before / 10 - 1) < 1e-12


def test_writers_at_once_on_one_field_make_no_twins(database, new_database, tmp_path):
    files = make_night(tmp_path, exposures=12, stars=80, radius=0.2, ccds=(0.0, 0.1, 0.2), sigma=0.05)
    parts = [files[i::4] for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: database("ingest", *part, code=0), parts))
    # sparse: each star is one object already, before any rebuild
    live = int(database.one("SELECT count(*) FROM object"))
    database("associate", "--night", NIGHT, code=0)
    assert live == int(database.one("SELECT count(*) FROM object"))
    calm = new_database()
    calm("ingest", *files, code=0)
    calm("associate", "--night", NIGHT, code=0)
    assert sky_content(database) == sky_content(calm)


def test_kill_9_of_a_rebuild(database, new_database, tmp_path):
    files = make_night(tmp_path, exposures=10, stars=400, radius=0.05)
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 100000))
    print("seed", seed)
    rng, calm = random.Random(seed), new_database()
    for db in (database, calm):
        db("ingest", "--no-associate", *files, code=0)
    started = time.monotonic()
    calm("associate", "--night", NIGHT, code=0)
    whole = time.monotonic() - started
    for _ in range(6):
        child = subprocess.Popen([database.program.path, "associate", "--night", str(NIGHT)], env={**os.environ, **database.env},
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, whole))
        child.kill()
        child.wait()
        assert database.one("SELECT (SELECT count(*) FROM association) IN (0, (SELECT count(*) FROM detection))") == "t"
    database("associate", "--night", NIGHT, code=0)
    assert sky_content(database) == sky_content(calm)


def test_usage(database):
    database.program.fails(2, "associate", env=database.env, says="--night")
    assert "0 detections" in database("associate", "--night", 20200101, code=0).out
