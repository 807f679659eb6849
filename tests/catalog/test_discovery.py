"""Images over HTTP: SIA 2.0, DataLink, SODA, files and pictures, asked by pyvo, astropy, stilts and curl."""
import io
import math
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import warnings

import ldac
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import parse
from astropy.wcs import WCS
from test_service import serving

warnings.filterwarnings("ignore")
# centre, exposure, filter: two fields, one of them across RA 0; all seen in `g` but one
FIELDS = [((180.0, 30.0), "sim/1", "sdss_g"), ((180.2, 30.0), "sim/2", "V"), ((0.02, -60.0), "sim/3", "sdss_g"), ((300.0, 89.9), "sim/4", "clear")]
NX, NY, SCALE = 400, 300, 2.0


def get(url, **headers):
    """status, headers, body"""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def votable(body):
    """Strictly, but for UCDs that ObsCore 1.1 and SODA order and this astropy does not know yet."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        document = parse(io.BytesIO(body), verify="warn")
    assert not [str(w.message) for w in said if not any(new in str(w.message) for new in ("meta.ref.ivoid", "pos.outline"))]
    return document


def rows(body):
    t = votable(body).get_first_table().to_table(use_names_over_ids=True)
    return [dict(zip(t.colnames, r)) for r in t]


def product(path, header, seed):
    """A calibrated image: its pixels say where they are."""
    y, x = np.mgrid[0:NY, 0:NX]
    sci = (x + 1000.0 * y).astype(np.float32)
    h = fits.Header([c for c in header.cards if c.keyword not in ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2")])
    h["BUNIT"] = "electron"
    plain = lambda data, name: fits.ImageHDU(data, header=h, name=name)
    fits.HDUList([fits.PrimaryHDU(), plain(sci, "SCI"), plain(sci / 2, "VAR"), plain((x % 4096).astype(np.int16), "MASK")]).writeto(path)


@pytest.fixture(scope="module")
def archive(nightshift, new_database, tmp_path_factory):
    """A database with four published images and their files; the service over it."""
    folder = tmp_path_factory.mktemp("archive")
    database = new_database()
    place = folder / "20250530" / "sim"
    place.mkdir(parents=True)
    headers = {}
    for k, (centre, exposure, filt) in enumerate(FIELDS):
        options = dict(exposure=exposure, centre=centre, filt=filt, nx=NX, ny=NY, scale=SCALE, mjd=60825.3 + k)
        stem = f"raw{k}"
        ldac.write(place / f"{stem}_cat.fits", *ldac.field(10, centre, 0.05), **options)
        headers[k] = ldac.header(**options)
        product(place / f"{stem}_cal.fits.fz", headers[k], k)
    database("ingest", "--root", str(folder), *map(str, sorted(place.glob("*_cat.fits"))), code=0)
    with serving(database, tmp_path_factory.mktemp("serve"), "--serve-archive", str(folder), "--serve-authority", "example.org") as (url, _):
        yield url, database, folder, headers


def dids(database):
    return [r[0] for r in database.sql("SELECT obs_publisher_did FROM ivoa.obscore ORDER BY t_min")]


def test_obscore_tells_what_is_there(archive):
    url, database, _, _ = archive
    found = database.json("SELECT * FROM ivoa.obscore ORDER BY t_min")
    assert [r["obs_id"] for r in found] == [f"sim/sim/{k}" for k in range(1, 5)]
    assert [round(r["em_min"] * 1e9, 1) if r["em_min"] else None for r in found] == [413.6, 502.8, 413.6, None]
    for r, (centre, _, _) in zip(found, FIELDS):
        assert SkyCoord(r["s_ra"], r["s_dec"], unit="deg").separation(SkyCoord(*centre, unit="deg")).arcsec < 0.01
        assert r["s_fov"] == pytest.approx(math.hypot(NX, NY) * SCALE / 3600, rel=1e-3)
        assert r["obs_publisher_did"].startswith("ivo://example.org/nightshift?") and r["access_url"].startswith(url + "/datalink/links?ID=ivo%3A%2F%2F")
        corners = SkyCoord(np.array(r["s_region"].split()[2:], float).reshape(4, 2), unit="deg")
        assert all(abs(c.separation(SkyCoord(*centre, unit="deg")).arcsec - math.hypot(NX, NY) * SCALE / 2) < 2 * SCALE for c in corners)
        # counter-clockwise seen from inside: north to east
        angles = np.unwrap([SkyCoord(*centre, unit="deg").position_angle(c).rad for c in corners])
        assert np.all(np.diff(angles) > 0)
    names = dict(database.sql("SELECT f, band_name(f) FROM unnest(ARRAY['sdss_g','Bessell_V','V','r''','SDSS-R','clear','Halpha','DECam_z','BP']) f"))
    assert names == {"sdss_g": "g", "Bessell_V": "V", "V": "V", "r'": "r", "SDSS-R": "r", "clear": "", "Halpha": "", "DECam_z": "z", "BP": "BP"}


@pytest.mark.parametrize("query,found", [
    ("POS=CIRCLE 180 30 0.01", {1}), ("POS=CIRCLE 180.1 30 0.2", {1, 2}), ("POS=CIRCLE 180 30 0.01&POS=CIRCLE 180.2 30 0.01", {1, 2}),
    ("POS=CIRCLE 0 -60 0.1", {3}), ("POS=CIRCLE 359.9 -60 0.01", {3}), ("POS=CIRCLE 359.7 -60 0.01", set()), ("POS=CIRCLE 0 0 90", {3, 4}), ("POS=CIRCLE 0 0 1", set()),
    ("POS=RANGE 359.9 0.1 -61 -59", {3}), ("POS=RANGE -Inf +Inf 29 31", {1, 2}), ("POS=RANGE 0 360 89.95 90", {4}), ("POS=RANGE 179.99 180.01 29 31", {1}),
    ("POS=POLYGON 179 29 181 29 180 29.99", {1, 2}), ("POS=POLYGON 10 10 11 10 11 11", set()), ("POS=POLYGON 179.99 20 180.01 20 180.01 40 179.99 40", {1}),
    ("BAND=450e-9", {1, 3}), ("BAND=510e-9 560e-9", {1, 2, 3}), ("BAND=-Inf 300e-9", set()), ("TIME=60825 60826.2", {1}), ("TIME=60826.3 +Inf", {2, 3, 4}),
    ("EXPTIME=29 31", {1, 2, 3, 4}), ("EXPTIME=60", set()), ("CALIB=2", {1, 2, 3, 4}), ("CALIB=1", set()), ("CALIB=1&CALIB=2&TARGET=FIELD", {1, 2, 3, 4}),
    ("INSTRUMENT=sim", {1, 2, 3, 4}), ("INSTRUMENT=other", set()), ("COLLECTION=sim&POS=CIRCLE 180 30 0.01", {1}), ("DPTYPE=cube", set()), ("POL=I", set()), ("FACILITY=T1", {1, 2, 3, 4}),
    ("FOV=0.1 0.5", {1, 2, 3, 4}), ("FOV=1 2", set()), ("SPATRES=1 2", {1, 2, 3, 4}), ("SPECRP=10", set()), ("", {1, 2, 3, 4}),
])
def test_sia_finds_by_each_parameter(archive, query, found):
    url = archive[0]
    encoded = "&".join(f"{k}={urllib.parse.quote(v)}" for k, v in (p.split("=", 1) for p in query.split("&") if p))
    status, headers, body = get(f"{url}/sia2/query?{encoded}")
    assert status == 200 and headers["Content-Type"].startswith("application/x-votable+xml")
    assert {int(r["obs_id"].rsplit("/", 1)[1]) for r in rows(body)} == found


def test_sia_cuts_and_refuses_aloud(archive):
    url, database, _, _ = archive
    for cut in ("MAXREC=2", "MAXREC=2&POS=RANGE%20-Inf%20%2BInf%20-90%2090"):
        body = get(f"{url}/sia2?{cut}")[2]
        assert len(rows(body)) == 2 and b'value="OVERFLOW"' in body
    body = get(f"{url}/sia2?MAXREC=0")[2]
    assert rows(body) == [] and b"obs_publisher_did" in body
    assert len(rows(get(f"{url}/sia2?ID={urllib.parse.quote(dids(database)[1])}")[2])) == 1
    for wrong in ("POS=SQUARE%201%202", "POS=CIRCLE%201", "BAND=a", "BAND=2%201", "TIME=1%202%203", "CALIB=5", "MAXREC=-1", "RESPONSEFORMAT=parquet"):
        status, _, body = get(f"{url}/sia2?{wrong}")
        assert status == 400, wrong
        info = [i for i in votable(body).resources[0].infos if i.name == "QUERY_STATUS"]
        assert info[0].value == "ERROR" and wrong.split("=")[0].split("%")[0] in (info[0].content or "") + " POS", body
    assert b"sim/sim/1" in get(f"{url}/sia2?RESPONSEFORMAT=csv&MAXREC=1")[2]


def test_pyvo_walks_from_search_to_pixels(archive):
    import pyvo
    from pyvo.dal.sia2 import SIAService
    from astropy import units as u
    url, _, folder, _ = archive
    service = SIAService(url + "/sia2")
    found = service.search(pos=(180 * u.deg, 30 * u.deg, 0.01 * u.deg))
    assert len(found) == 1 and found[0].s_dec.to_value("deg") == pytest.approx(30)
    links = pyvo.dal.adhoc.DatalinkResults.from_result_url(found[0].getdataurl())
    assert [l.semantics for l in links] == ["#this", "#cutout", "#preview", "#derivation"]
    this = next(links.bysemantics("#this", include_narrower=False))
    with fits.open(io.BytesIO(this.getdataset().read())) as whole:
        assert whole["SCI"].shape == (NY, NX) and this.content_length == (folder / "20250530/sim/raw0_cal.fits.fz").stat().st_size
    with fits.open(io.BytesIO(found[0].processed(circle=(180, 30, 0.02) * u.deg).read())) as cut:
        assert cut["SCI"].shape[0] == pytest.approx(2 * 0.02 * 3600 / SCALE, abs=3)


def test_cutouts_keep_pixels_and_sky(archive, tmp_path):
    url, database, folder, _ = archive
    rng = np.random.default_rng(20261121)
    for k, did in enumerate(dids(database)):
        whole = fits.open(folder / f"20250530/sim/raw{k}_cal.fits.fz")
        sky = WCS(whole["SCI"].header)
        for _ in range(5):
            px, py, r = rng.uniform(0, NX), rng.uniform(0, NY), rng.uniform(3, 40)
            ra, dec = sky.pixel_to_world_values(px, py)
            query = urllib.parse.urlencode({"ID": did, "CIRCLE": f"{ra:.12f} {dec:.12f} {r * SCALE / 3600:.12f}"})
            status, headers, body = get(f"{url}/soda/sync?{query}")
            assert status == 200 and headers["Content-Type"] == "application/fits"
            with fits.open(io.BytesIO(body)) as cut:
                h = cut["SCI"].header
                x0, y0 = round(-h["LTV1"]), round(-h["LTV2"])
                ny, nx = cut["SCI"].shape
                assert x0 == max(0, math.floor(px - r + 0.5)) and x0 + nx == min(NX, math.floor(px + r + 0.5) + 1)
                for name in ("SCI", "VAR", "MASK"):
                    assert np.array_equal(cut[name].data, whole[name].data[y0:y0 + ny, x0:x0 + nx])
                corners = np.array([[0, 0], [nx - 1, 0], [0, ny - 1], [nx - 1, ny - 1]], float)
                assert np.allclose(WCS(h).wcs_pix2world(corners, 0), sky.wcs_pix2world(corners + [x0, y0], 0), atol=1e-9, rtol=0)
            (tmp_path / "cut.fits").write_bytes(body)
            checked = subprocess.run(["fitsverify", tmp_path / "cut.fits"], capture_output=True, text=True)
            assert "found 0 warning(s) and 0 error(s)" in checked.stdout, checked.stdout


def test_cutouts_that_cannot_be(archive):
    url, database, folder, _ = archive
    did = urllib.parse.quote(dids(database)[0])
    assert get(f"{url}/soda/sync?ID={did}&CIRCLE=10+10+0.1")[0] == 204
    for wrong, status in ((f"ID={did}&CIRCLE=1+2", 400), (f"ID={did}&POS=SQUARE+1+2", 400), (f"ID={did}&CIRCLE=180+30+1&POLYGON=1+2+3+4+5+6", 400),
                          (f"ID={did}&ID={did}&CIRCLE=180+30+1", 400), ("CIRCLE=180+30+1", 400), ("ID=ivo://example.org/nightshift?9/9/0123456789abcdef/1&CIRCLE=180+30+1", 404),
                          ("ID=nonsense", 400), (f"ID={did}&BAND=1+2", 400)):
        got, _, body = get(f"{url}/soda/sync?{wrong}")
        assert got == status and body.split(b":")[0] in (b"UsageFault", b"NotFoundFault"), (wrong, body)
    # the whole image is a cutout too; a file that vanished is told
    assert fits.open(io.BytesIO(get(f"{url}/soda/sync?ID={did}")[2]))["SCI"].shape == (NY, NX)
    path = folder / "20250530/sim/raw3_cal.fits.fz"
    path.rename(path.with_suffix(".gone"))
    try:
        assert get(f"{url}/soda/sync?ID={urllib.parse.quote(dids(database)[3])}&CIRCLE=300+89.9+0.01")[0] == 404
        told = rows(get(f"{url}/datalink/links?ID={urllib.parse.quote(dids(database)[3])}")[2])
        assert "FatalFault" in told[0]["error_message"] and told[0]["semantics"] == "#this"
    finally:
        path.with_suffix(".gone").rename(path)


def test_links_of_several_and_of_none(archive, tmp_path):
    url, database, _, _ = archive
    every = dids(database)
    body = get(f"{url}/datalink/links?" + urllib.parse.urlencode([("ID", d) for d in every[:2]] + [("ID", "ivo://x/y?1/2/3/4"), ("ID", "ivo://example.org/nightshift?77/0/0123456789abcdef/1")]))[2]
    found = rows(body)
    assert [r["ID"] for r in found].count(every[0]) == 4 and [r["ID"] for r in found].count(every[1]) == 4
    assert ["UsageFault" in found[-2]["error_message"], "NotFoundFault" in found[-1]["error_message"]] == [True, True]
    assert rows(get(f"{url}/datalink/links")[2]) == []
    path = tmp_path / "links.xml"
    for n in (1, 3):
        path.write_bytes(get(f"{url}/datalink/links?" + urllib.parse.urlencode([("ID", d) for d in every[:n]]))[2])
        lint = subprocess.run(["stilts", "datalinklint", str(path)], capture_output=True, text=True, timeout=120)
        assert "ERROR" not in lint.stdout and "WARNING" not in lint.stdout, lint.stdout
        lint = subprocess.run(["stilts", "votlint", "ucd=true", "unit=true", f"votable={path}"], capture_output=True, text=True, timeout=120)
        assert not lint.stdout.strip() and not lint.stderr.strip(), lint.stdout + lint.stderr


def test_files_and_pictures(archive):
    url, database, folder, _ = archive
    did = urllib.parse.quote(dids(database)[0])
    whole = (folder / "20250530/sim/raw0_cal.fits.fz").read_bytes()
    status, headers, body = get(f"{url}/data/image?ID={did}")
    assert status == 200 and body == whole and headers["Accept-Ranges"] == "bytes"
    assert get(f"{url}/data/image?ID={did}", Range="bytes=2880-5759")[2] == whole[2880:5760]
    assert get(f"{url}/data/image?ID={did}", **{"If-None-Match": headers["ETag"]})[0] == 304
    assert get(f"{url}/data/catalogue?ID={did}")[2] == (folder / "20250530/sim/raw0_cat.fits").read_bytes()
    assert get(f"{url}/data/flat?ID={did}")[0] == 404 and get(f"{url}/data/other?ID={did}")[0] == 404
    for size, wide in (("", 200), ("&size=100", 100)):
        status, headers, body = get(f"{url}/preview?ID={did}{size}")
        assert status == 200 and headers["Content-Type"] == "image/png" and body[:8] == b"\x89PNG\r\n\x1a\n"
        nx, ny = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
        assert nx <= (512 if not size else 100) and nx >= wide / 2 and abs(nx / ny - NX / NY) < 0.1
    assert get(f"{url}/preview?ID={did}&size=1")[0] == 400
    # a path in the database does not lead out of the archive
    database.sql("UPDATE ccd SET cal_path = '../../etc/passwd' WHERE exposure_id = (SELECT exposure_id FROM exposure WHERE exposure_key = 'sim/4')")
    assert get(f"{url}/data/image?ID={urllib.parse.quote(dids(database)[3])}")[0] == 404


def test_services_describe_themselves(archive):
    url = archive[0]
    for path, standard in (("sia2", "SIA#query-2.0"), ("datalink", "DataLink#links-1.0"), ("soda", "SODA#sync-1.0")):
        status, headers, body = get(f"{url}/{path}/capabilities")
        assert status == 200 and headers["Content-Type"] == "text/xml" and f"ivo://ivoa.net/std/{standard}".encode() in body and url.encode() in body
        assert b"<vosi:available>true" in get(f"{url}/{path}/availability")[2]
    body = get(f"{url}/sia2/capabilities", Host="sky.example.org", **{"X-Forwarded-Proto": "https"})[2]
    assert b"https://sky.example.org/sia2/query" in body
