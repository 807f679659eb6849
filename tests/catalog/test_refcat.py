"""Reference stars go in once per release and come out as regions at an epoch."""
import http.server
import pathlib
import threading
import urllib.parse

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

INDEX = pathlib.Path("/usr/share/astrometry/index-tycho2-10.littleendian.fits")


@pytest.fixture
def gaia(tmp_path):
    """Stars over RA 0 and the north pole, one of them a runner of 10 arcsec a year."""
    rng = np.random.default_rng(5)
    n = 4000
    table = Table({"source_id": np.arange(10**15, 10**15 + n), "ra": rng.uniform(-2, 2, n) % 360, "dec": rng.uniform(-2, 2, n),
                   "ra_error": np.full(n, 0.1), "dec_error": np.full(n, 0.1), "pmra": rng.normal(0, 5, n), "pmdec": rng.normal(0, 5, n),
                   "ref_epoch": np.full(n, 2016.0), "phot_g_mean_mag": rng.uniform(10, 20, n).astype("f4"), "bp_rp": rng.uniform(0, 2, n).astype("f4")})
    table["ra"][:50], table["dec"][:50] = rng.uniform(0, 360, 50), 89.99
    table["ra"][50], table["dec"][50], table["pmra"][50], table["pmdec"][50] = 0.5, 1.0, 0.0, 10000.0
    table["pmra"][60:70] = np.nan
    path = tmp_path / "gaia_dr3.fits"
    table.write(path)
    return path, table


def test_a_file_goes_in_once_and_a_cone_comes_out(database, gaia, tmp_path):
    path, table = gaia
    assert "4000 of them new" in database("refcat", "add", path, code=0).out
    assert "already in release gaia_dr3" in database("refcat", "add", path, code=0).out
    assert database.one("SELECT count(*) FROM refstar") == "4000"
    out = tmp_path / "cone.fits"
    database("refcat", "export", "--cone", "0.1,0.2,0.5", "--epoch", "2016", "-o", out, code=0)
    got = fits.getdata(out, 1)
    dra = (table["ra"] - 0.1 + 180) % 360 - 180
    near = np.hypot(dra * np.cos(np.radians(table["dec"])), table["dec"] - 0.2) < 0.4995
    far = np.hypot(dra * np.cos(np.radians(table["dec"])), table["dec"] - 0.2) > 0.5005
    assert set(table["source_id"][near]) <= set(got["source_id"]) and not set(table["source_id"][far]) & set(got["source_id"])
    assert list(got["dec"]) == sorted(got["dec"])


def test_the_epoch_moves_stars_and_the_cone_looks_far_enough(database, gaia, tmp_path):
    path, table = gaia
    database("refcat", "add", path, code=0)
    runner = table["source_id"][50]
    database("refcat", "export", "--cone", "0.5,1.0,0.02", "--epoch", "2016", "-o", tmp_path / "a.fits", code=0)
    database("refcat", "export", "--cone", "0.5,1.1,0.02", "--epoch", "2052", "-o", tmp_path / "b.fits", code=0)
    database("refcat", "export", "--cone", "0.5,1.0,0.02", "--epoch", "2052", "-o", tmp_path / "c.fits", code=0)
    a, b, c = (fits.getdata(tmp_path / f"{k}.fits", 1) for k in "abc")
    assert runner in a["source_id"] and runner in b["source_id"] and runner not in c["source_id"]
    row = b[b["source_id"] == runner][0]
    assert abs(row["dec"] - 1.1) < 1e-6 and row["ref_epoch"] == 2052
    database("refcat", "export", "--cone", "123,90,0.1", "-o", tmp_path / "pole.fits", code=0)
    assert len(fits.getdata(tmp_path / "pole.fits", 1)) == 50


def test_what_is_wrong_is_said(database, gaia, tmp_path):
    assert "no reference stars yet" in database("refcat", "export", "--cone", "1,2,3", "-o", tmp_path / "x.fits", code=10).err
    database("refcat", "add", gaia[0], "--release", "one", code=0)
    (tmp_path / "two.csv").write_text("ra,dec,rmag\n1,2,15\n")
    assert "other magnitudes" in database("refcat", "add", tmp_path / "two.csv", "--release", "one", code=2).err
    database("refcat", "add", tmp_path / "two.csv", code=0)
    assert "say which release: one, two" in database("refcat", "export", "--cone", "1,2,3", "-o", tmp_path / "x.fits", code=2).err
    assert "no release" in database("refcat", "export", "--cone", "1,2,3", "--release", "three", "-o", tmp_path / "x.fits", code=10).err
    for cone in ("1,2", "1,95,3", "1,2,-3", "a,b,c"):
        database("refcat", "export", "--cone", cone, "-o", tmp_path / "x.fits", code=2)
    assert "one: 4000 stars" in database("refcat", "list", code=0).out


class Tap(http.server.BaseHTTPRequestHandler):
    """What a Gaia service answers to one query."""

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        self.server.asked = query["QUERY"][0]
        body = self.server.body.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


VOTABLE = """<VOTABLE><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="source_id" datatype="long"/>
<FIELD name="ra" datatype="double" unit="deg"/><FIELD name="dec" datatype="double" unit="deg"/><FIELD name="phot_g_mean_mag" datatype="float"/>
<DATA><TABLEDATA><TR><TD>7</TD><TD>10.5</TD><TD>20.5</TD><TD>15</TD></TR></TABLEDATA></DATA></TABLE>{}</RESOURCE></VOTABLE>"""


def test_stars_from_a_tap_service(database):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tap)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/tap"
    try:
        server.body = VOTABLE.format("")
        assert "1 of them new" in database("refcat", "add", "--tap", url, "--cone", "10,20,1", "--mag-max", "18", "--release", "g", code=0).out
        assert "CIRCLE('ICRS', 10, 20, 1)" in server.asked and "phot_g_mean_mag <= 18" in server.asked
        assert database.one("SELECT ra FROM published_refstar") == "10.5"
        server.body = VOTABLE.format('<INFO name="QUERY_STATUS" value="OVERFLOW"/>')
        assert "overflow" in database("refcat", "add", "--tap", url, "--cone", "10,20,1", "--release", "h", code=10).err
        assert database.one("SELECT count(*) FROM refcat") == "1"
    finally:
        server.shutdown()


@pytest.mark.skipif(not INDEX.exists(), reason="NO TYCHO-2 INDEX HERE")
def test_tycho2_of_debian_works_offline(database, tmp_path):
    database("refcat", "add", INDEX, "--release", "tycho2", code=0, timeout=300)
    database("refcat", "export", "--cone", "53.2,-9.4,2", "--epoch", "2020", "-o", tmp_path / "t.fits", code=0)
    got = fits.getdata(tmp_path / "t.fits", 1)
    assert 50 < len(got) < 500 and "mag_vt" in got.names
