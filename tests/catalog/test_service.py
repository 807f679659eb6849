"""The HTTP service asked by the clients people use: curl, pyvo, astropy, stilts, a browser. Each against real PostgreSQL."""
import contextlib
import csv
import io
import json
import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
import warnings

import pytest

EPOCHS = 20


@contextlib.contextmanager
def serving(database, tmp_path, *options):
    url_file = tmp_path / "url"
    env = {**os.environ, **database.env, "LOG_FORMAT": "json"}
    log = open(tmp_path / "serve.log", "w")
    process = subprocess.Popen([str(database.program.path), "serve", "--serve-port", "0", "--url-file", str(url_file), *options],
                               env=env, stderr=log, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not url_file.exists():
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "serve.log").read_text()
            time.sleep(0.02)
        yield url_file.read_text().strip(), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(30)
        log.close()


def fill(database, positions, compute_hpx):
    """Objects at `positions`, each seen EPOCHS times; the first one is an eclipsing variable."""
    sql = ["INSERT INTO recipe (recipe, instrument, program_version) VALUES ('0123456789abcdef', 'simcam', '1');",
           "SELECT detection_partition(20250530);",
           f"""INSERT INTO exposure (exposure_id, instrument, exposure_key, night, mjd_start, mjd_mid, exptime_s, filter, object, longitude, latitude, height_m)
               SELECT i, 'simcam', 'e' || i, 20250530, 60825 + i * 0.01, 60825 + i * 0.01, 30, 'g', 'FIELD', -105.82, 32.78, 2788
               FROM generate_series(1, {EPOCHS}) i;""",
           f"""INSERT INTO ccd (exposure_id, ccd, recipe_id, version, night, magzero, magzero_kind, n_det, published_at, seeing_arcsec, quality)
               SELECT i, 1, 1, 1, 20250530, 25, 'relative', {len(positions)}, now(), 2.1, 'pass' FROM generate_series(1, {EPOCHS}) i;"""]
    for k, (ra, dec) in enumerate(positions):
        hpx = compute_hpx(ra, dec)
        oid = 9007199254740993 + k
        dip = "(1 - 0.28 * exp(-power((i - 10) / 3.0, 2)))" if k == 0 else "1"
        sql.append(f"""INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version, flux_auto, fluxerr_auto, flux_aper2, fluxerr_aper2)
            SELECT (i::bigint << 31) | (1::bigint << 22) | {k + 1}, {hpx}, {ra!r}, {dec!r}, 60825 + i * 0.01, 505, 503, 20250530, 1, 1,
                   10000 * {dip}, 30, 9000, 30 FROM generate_series(1, {EPOCHS}) i;
            INSERT INTO object (object_id, hpx29, ra, dec, ref_ra, ref_dec, n_det, first_mjd, last_mjd, first_night, founder_det_id, founder_recipe_id, founder_version)
            VALUES ({oid}, {hpx}, {ra!r}, {dec!r}, {ra!r}, {dec!r}, {EPOCHS}, 60825.01, 60825.2, 20250530, {k + 1}, 1, 1);
            INSERT INTO object_band VALUES ({oid}, 'g', {EPOCHS}, 1000, 1, 10, 900, 1100, {1000 if k == 0 else 1});
            INSERT INTO association SELECT {oid}, det_id, mjd, recipe_id, night, 0, 0, flux_auto, fluxerr_auto, NULL, NULL, flux_aper2, fluxerr_aper2, flags, version
            FROM detection WHERE (det_id & 4194303) = {k + 1};""")
    database.sql("\n".join(sql) + "\nINSERT INTO detection_cover SELECT DISTINCT (hpx29 >> 46)::integer, night FROM detection; ANALYZE;")


def nested_pixel(ra, dec):
    """HEALPix order 29, nested: straight from Gorski et al. 2005 in exact integers where it matters."""
    import numpy
    from math import pi
    z, phi = math.sin(math.radians(dec)), math.radians(ra % 360)
    nside, tt = 1 << 29, phi / (pi / 2)
    if abs(z) <= 2 / 3:
        jp, jm = int(nside * (0.5 + tt - z * 0.75)), int(nside * (0.5 + tt + z * 0.75))
        ifp, ifm = jp >> 29, jm >> 29
        face = (ifp | 4) if ifp == ifm else (ifp if ifp < ifm else ifm + 8)
        ix, iy = jm & (nside - 1), nside - (jp & (nside - 1)) - 1
    else:
        ntt = min(int(tt), 3)
        tp, tmp = tt - ntt, nside * math.cos(math.radians(abs(dec))) / math.sqrt((1 + abs(z)) / 3)
        jp, jm = min(int(tp * tmp), nside - 1), min(int((1 - tp) * tmp), nside - 1)
        face, ix, iy = (ntt, nside - jm - 1, nside - jp - 1) if z >= 0 else (ntt + 8, jp, jm)
    pix = face << 58
    for bit in range(29):
        pix |= (((ix >> bit) & 1) << (2 * bit)) | (((iy >> bit) & 1) << (2 * bit + 1))
    return numpy.int64(pix)


POSITIONS = [(240.18, 43.144), (240.1803, 43.1441), (0.0001, 0.0), (359.9999, 0.0), (10.0, 89.9999), (190.0, 89.9999), (77.7, -89.99995), (45.0, -41.81)]


@pytest.fixture(scope="module")
def service(new_database, tmp_path_factory):
    database = new_database()
    fill(database, POSITIONS, nested_pixel)
    with serving(database, tmp_path_factory.mktemp("serve")) as (url, _):
        yield url


def fetch(url, code=200):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert answer.status == code
            return answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        assert error.code == code, error.read().decode()
        return error.read().decode(), error.headers


def separation(a, b):
    u, v = [[math.cos(math.radians(d)) * math.cos(math.radians(r)), math.cos(math.radians(d)) * math.sin(math.radians(r)), math.sin(math.radians(d))] for r, d in (a, b)]
    cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    return math.degrees(math.atan2(math.sqrt(sum(c * c for c in cross)), sum(x * y for x, y in zip(u, v))))


def test_cone_equals_brute_force(service):
    seed = 4
    print("seed", seed)
    rng = random.Random(seed)
    for trial in range(60):
        ra, dec = rng.choice(POSITIONS)
        centre = ((ra + rng.uniform(-1, 1) * 0.01) % 360, max(-90, min(90, dec + rng.uniform(-1, 1) * 0.01)))
        radius = rng.choice([0.0005, 0.01, 0.02, 1, 40, 100, 180])
        body, _ = fetch(f"{service}/scs/object?RA={centre[0]!r}&DEC={centre[1]!r}&SR={radius}&RESPONSEFORMAT=csv")
        got = [float(row["distance"]) / 3600 for row in csv.DictReader(io.StringIO(body))]
        want = sorted(d for d in (separation(centre, p) for p in POSITIONS) if d <= radius)
        assert len(got) == len(want) and all(abs(g - w) < 1e-9 for g, w in zip(got, want)), (trial, centre, radius)


@pytest.mark.parametrize("query, word", [
    ("DEC=1&SR=1", "RA"), ("RA=1&SR=1", "DEC"), ("RA=1&DEC=1", "SR"), ("RA=x&DEC=1&SR=1", "number"), ("RA=1&DEC=91&SR=1", "outside"),
    ("RA=1&DEC=1&SR=-1", "outside"), ("RA=1&DEC=1&SR=200", "outside"), ("RA=nan&DEC=1&SR=1", "number"), ("RA=1&DEC=1&SR=1&VERB=7", "outside"),
    ("RA=1&RA=2&DEC=1&SR=1", "more than once"), ("RA=1&DEC=1&SR=1&RESPONSEFORMAT=parquet", "not known"), ("RA=1&DEC=1&SR=1&MAXREC=-1", "outside")])
def test_wrong_cone_parameters_get_the_standards_error(service, query, word):
    body, headers = fetch(f"{service}/scs/object?{query}", 400)
    assert headers["Content-Type"] == "application/x-votable+xml"
    assert 'name="Error"' in body and word in body


def test_formats_hold_the_same_values(service):
    query = f"{service}/scs/detection?RA=240.18&DEC=43.144&SR=0.01&VERB=3&RESPONSEFORMAT="
    from astropy.io.votable import parse
    body, _ = fetch(query + "votable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*W06")  # the cone search asks for UCD1 words, the strict reader for UCD1+
        votable = parse(io.BytesIO(body.encode()), verify="warn").get_first_table().to_table(use_names_over_ids=True)
    by_csv = list(csv.DictReader(io.StringIO(fetch(query + "csv")[0])))
    by_json = json.loads(fetch(query + "json")[0])["rows"]
    assert len(votable) == len(by_csv) == len(by_json) == 2 * EPOCHS
    for v, c, j in zip(votable, by_csv, by_json):
        assert str(v["det_id"]) == c["det_id"] == j["det_id"]
        for name in ("ra", "dec", "mjd", "mag_auto", "flux_auto"):
            assert float(v[name]) == float(c[name]) == j[name]
        assert c["fwhm"] == "" and j["fwhm"] is None


def test_truncation_is_told(service):
    query = f"{service}/scs/detection?RA=240.18&DEC=43.144&SR=0.01&MAXREC=7&RESPONSEFORMAT="
    assert 'value="OVERFLOW"' in fetch(query + "votable")[0]
    answer = json.loads(fetch(query + "json")[0])
    assert answer["overflow"] and len(answer["rows"]) == 7
    body, _ = fetch(f"{service}/scs/object?RA=240.18&DEC=43.144&SR=0")
    assert "<FIELD" in body and "<TR>" not in body


def test_light_curve_shows_the_eclipse(service):
    body, _ = fetch(f"{service}/v1/objects/9007199254740993/lightcurve?format=json")
    rows = json.loads(body)["rows"]
    assert len(rows) == EPOCHS
    from astropy.io.votable import parse
    strict = fetch(f"{service}/v1/objects/9007199254740993/lightcurve?format=votable")[0]
    assert len(parse(io.BytesIO(strict.encode()), verify="exception").get_first_table().array) == EPOCHS
    assert [r["mjd"] for r in rows] == sorted(r["mjd"] for r in rows)
    flux = [r["flux_auto"] for r in rows]
    assert abs(min(flux) / max(flux) - 0.72) < 0.001
    assert abs(max(flux) / (10000 / 30 * 3631e9 * 10 ** (-0.4 * 25)) - 1) < 1e-4  # the wings of the dip
    # Barycentric correction by astropy, an independent route.
    from astropy import units as u
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers
    iers.conf.auto_download = False
    site = EarthLocation.from_geodetic(-105.82, 32.78, 2788)
    for r in rows[::7]:
        t = Time(r["mjd"], format="mjd", scale="utc", location=site)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bjd = (t.tdb + t.light_travel_time(SkyCoord(240.18 * u.deg, 43.144 * u.deg), ephemeris="builtin")).jd
        assert abs(r["bjd_tdb"] - bjd) * 86400 < 0.01  # UT1-UTC moves the site by < 1 ms of light; the text has 0.1 ms
    assert "not known" in fetch(f"{service}/v1/objects/1/lightcurve", 404)[0]
    fetch(f"{service}/v1/objects/abc/lightcurve", 400)


def test_lists(service):
    rows = json.loads(fetch(f"{service}/v1/exposures?night=20250530&limit=8")[0])
    assert len(rows["rows"]) == 8 and rows["overflow"]
    after = json.loads(fetch(f"{service}/v1/exposures?after={rows['rows'][-1]['exposure_id']}")[0])
    assert len(after["rows"]) == EPOCHS - 8 and not after["overflow"]
    assert json.loads(fetch(f"{service}/v1/nights")[0])["rows"][0]["exposures"] == EPOCHS
    first = json.loads(fetch(f"{service}/v1/objects?order=variability&limit=3")[0])["rows"][0]
    assert first["object_id"] == "9007199254740993"
    assert json.loads(fetch(f"{service}/v1/objects/{first['object_id']}")[0])["rows"][0]["ra"] == 240.18


def test_health_ready_metrics(service):
    assert fetch(service + "/healthz")[0] == "ok\n" and fetch(service + "/readyz")[0] == "ready\n"
    text = fetch(service + "/metrics")[0]
    assert 'nightshift_http_requests_total{route="/healthz",code="200"}' in text and "nightshift_db_pool_in_use" in text
    fetch(service + "/nothing", 404)


def test_pyvo_cone_search(service):
    import pyvo
    found = pyvo.scs.search(service + "/scs/object", pos=(240.18, 43.144), radius=0.01, verbosity=3)
    assert len(found) == 2 and found[0].id == "9007199254740993" and abs(found[0].pos.ra.deg - 240.18) < 1e-9
    with pytest.raises(pyvo.dal.exceptions.DALQueryError, match="SR is"):
        pyvo.scs.search(service + "/scs/object", pos=(240.18, 43.144), radius=-1)


def stilts(*argv):
    done = subprocess.run(["stilts", *argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_stilts_cone_and_votlint(service, tmp_path):
    out = stilts("cone", f"serviceurl={service}/scs/object", "lon=240.18", "lat=43.144", "radius=0.01", "ofmt=csv")
    assert len(out.strip().splitlines()) == 3
    for query in ("/scs/object?RA=240.18&DEC=43.144&SR=0.01&VERB=3", "/scs/detection?RA=240.18&DEC=43.144&SR=0.01", "/v1/objects/9007199254740993/lightcurve?format=votable"):
        body, _ = fetch(service + query)
        (tmp_path / "t.xml").write_text(body)
        said = stilts("votlint", str(tmp_path / "t.xml"), "ucd=" + ("false" if "scs" in query else "true"), "unit=true")
        assert "ERROR" not in said and "WARNING" not in said, said


def test_page_in_a_browser(service, tmp_path):
    browser = shutil.which("chromium")
    assert browser, "chromium is not installed; ./run-tests --packages installs it"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=4000"]
    dom = subprocess.run([browser, *options, "--dump-dom", service + "/"], capture_output=True, text=True, timeout=90).stdout
    assert "Light curve of object 9007199254740993" in dom
    assert dom.count('class="point"') == EPOCHS
    assert "20250530" in dom
    shot = pathlib.Path(os.environ.get("NIGHTSHIFT_SHOTS", tmp_path)) / "catalogue-page.png"
    subprocess.run([browser, *options, "--window-size=1250,900", f"--screenshot={shot}", service + "/"], capture_output=True, timeout=90)
    assert shot.stat().st_size > 10000


def test_stop_is_graceful_and_restart_of_postgresql_needs_nobody(own_cluster, nightshift, tmp_path):
    url = own_cluster.db("up").out.strip()

    class Here:
        program, env = nightshift, {"DATABASE_URL": url}
    with serving(Here, tmp_path, "--serve-linger", "1s") as (base, process):
        assert fetch(base + "/readyz")[0] == "ready\n"
        os.kill(own_cluster.pid, signal.SIGKILL)
        time.sleep(0.5)
        fetch(base + "/healthz")
        fetch(base + "/readyz", 503)
        own_cluster.db("up")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):
                fetch(base + "/readyz")
                break
            time.sleep(0.2)
        fetch(base + "/readyz")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        fetch(base + "/readyz", 503)
        assert process.wait(15) == 0
