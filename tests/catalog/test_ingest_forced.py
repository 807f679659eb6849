"""Forced photometry of `nightshift forced` in the catalogue: once, superseding, with limits, in the light curve."""
import csv
import io
import json

import ldac
import numpy as np
from astropy.io import fits
from test_service import fetch, serving


def forced_file(path, ids, ra, dec, flux, err, list_name="list.csv", list_sum="a" * 64, flags=None, **options):
    """As pipeline/verb_forced.c writes it."""
    n = len(ids)
    h = ldac.header(cards={"NSFORCED": list_name, "NSFORSUM": list_sum, "NSFORSIG": 5.0, **options.pop("cards", {})}, **options)
    text = "".join(c.image for c in h.cards) + "END".ljust(80)
    flux, err = np.asarray(flux, np.float32), np.asarray(err, np.float32)
    columns = [("OBJECT_ID", "K", np.asarray(ids, np.int64)), ("RA", "D", ra), ("DEC", "D", dec), ("X", "D", np.arange(n) + 10.5), ("Y", "D", np.arange(n) + 20.5),
               ("FLUX_PSF", "E", flux), ("FLUXERR_PSF", "E", err), ("UPPER_LIMIT", "E", 5 * err), ("FLUX_APER", "E", flux), ("FLUXERR_APER", "E", err),
               ("CHI2", "E", np.ones(n)), ("MASK", "J", np.zeros(n)), ("FLAGS", "I", np.zeros(n, int) if flags is None else flags), ("REASON", "20A", [""] * n),
               ("MJD", "D", np.full(n, 60825.3))]
    objects = fits.BinTableHDU.from_columns([fits.Column(name=k, format=f, array=v) for k, f, v in columns], name="LDAC_OBJECTS")
    imhead = fits.BinTableHDU.from_columns([fits.Column(name="Field Header Card", format=f"{len(text)}A", array=np.array([text]))], name="LDAC_IMHEAD")
    fits.HDUList([fits.PrimaryHDU(), imhead, objects]).writeto(path, overwrite=True)
    return path


def rows(db):
    return db.sql("SELECT object_id, flux, flux_limit, version FROM published_forced ORDER BY object_id, mjd")


def test_once_and_superseding(database, tmp_path):
    ra, dec = ldac.field(3)
    forced = forced_file(tmp_path / "f_forced.fits", [2**53 + 1, 7, 8], ra, dec, [100, -3, 5], [2, 2, 2], flags=[0, 0, 512])
    assert "not in the catalogue yet" in database("ingest", forced, code=3).err
    database("ingest", ldac.write(tmp_path / "f_cat.fits", ra, dec, cards={"MAGZERO": 25.0}), code=0)
    assert "2 forced measurements stored" in database("ingest", forced, code=0).out
    scale = 3631e9 * 10 ** -10 / 30
    got = [(int(r[0]), float(r[1]), float(r[2]), int(r[3])) for r in rows(database)]
    assert [g[0] for g in got] == [7, 2**53 + 1]
    assert np.allclose([g[1] for g in got], [-3 * scale, 100 * scale], rtol=1e-12) and np.allclose([g[2] for g in got], 10 * scale, rtol=1e-12)
    before = rows(database), database.one("SELECT count(*) FROM forced_phot")
    assert "stored before" in database("ingest", forced, code=0).out
    assert (rows(database), database.one("SELECT count(*) FROM forced_phot")) == before
    # the list changed: the next version shows, the old rows stay
    database("ingest", forced_file(tmp_path / "g_forced.fits", [7], ra[:1], dec[:1], [50], [2], list_sum="b" * 64), code=0)
    assert [r[0] for r in rows(database)] == ["7"] and rows(database)[0][3] == "2"
    # another list stands beside it
    database("ingest", forced_file(tmp_path / "h_forced.fits", [9], ra[:1], dec[:1], [50], [2], list_name="other.csv"), code=0)
    assert [r[0] for r in rows(database)] == ["7", "9"]
    assert database.one("SELECT count(*) FROM forced_phot") == "4"
    # a new zero point moves forced fluxes too
    database.sql("SELECT ccd_zeropoint(exposure_id, ccd, recipe_id, version, 26, 0.01, 'absolute') FROM ccd")
    assert abs(float(rows(database)[0][1]) / (50 * scale) * 10 ** 0.4 - 1) < 1e-9


def test_text_ids_are_refused(database, tmp_path):
    ra, dec = ldac.field(1)
    path = forced_file(tmp_path / "t_forced.fits", [1], ra, dec, [1], [1])
    with fits.open(path, mode="update") as hdus:
        hdus["LDAC_OBJECTS"].columns["OBJECT_ID"].name = "SOMETHING"
    assert "whole numbers" in database("ingest", path, code=12).err


def test_light_curves_of_many_with_limits(database, tmp_path):
    ra, dec = ldac.field(30)
    for k in range(3):
        database("ingest", ldac.write(tmp_path / f"l{k}_cat.fits", ra, dec, exposure=f"sim/{k}", mjd=60825.3 + k, night=20250530 + 0 * k, cards={"MAGZERO": 25.0}), code=0)
    ids = [int(r[0]) for r in database.sql("SELECT object_id FROM object ORDER BY object_id")]
    assert len(ids) == 30
    places = {int(r[0]): (float(r[1]), float(r[2])) for r in database.sql("SELECT object_id, ra, dec FROM object")}
    database("ingest", forced_file(tmp_path / "l_forced.fits", ids[:2], [places[i][0] for i in ids[:2]], [places[i][1] for i in ids[:2]], [40, 1], [1, 1], exposure="sim/1",
                                   mjd=60826.3), code=0)
    with serving(database, tmp_path) as (url, _):
        def post(body, kind, code=200):
            import urllib.error
            import urllib.request
            request = urllib.request.Request(url + "/v1/lightcurves?format=csv", data=body.encode(), headers={"Content-Type": kind})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert answer.status == code
                    return list(csv.DictReader(io.StringIO(answer.read().decode())))
            except urllib.error.HTTPError as error:
                assert error.code == code
                return error.read().decode()
        wanted = [ids[5], ids[0], ids[17]]
        got = post(json.dumps([str(i) for i in wanted]), "application/json")
        assert [int(r["object_id"]) for r in got] == [ids[5]] * 3 + [ids[0]] * 4 + [ids[17]] * 3
        assert post(json.dumps({"ids": wanted}), "application/json") == got == post("ids=" + ",".join(map(str, wanted)), "application/x-www-form-urlencoded")
        forced = [r for r in got if r["forced"] == "t"]
        assert len(forced) == 1 and forced[0]["mag_auto"] == "" and abs(float(forced[0]["flux_psf"]) / float(forced[0]["flux_limit"]) - 8) < 1e-6
        assert all(float(r["bjd_tdb"]) > 2460825 for r in got)
        everything = post(json.dumps(ids * 333), "application/json")
        assert len(everything) == (30 * 3 + 2) * 333
        assert len(json.loads(fetch(f"{url}/v1/lightcurves?ids={wanted[1]}&forced=false")[0])["rows"]) == 3
        ra0, dec0 = places[ids[9]]
        near = json.loads(fetch(f"{url}/v1/lightcurves?ra={ra0!r}&dec={dec0!r}&radius=0.0003")[0])["rows"]
        assert {int(r["object_id"]) for r in near} == {ids[9]} and len(near) == 3
        assert "no objects" in fetch(url + "/v1/lightcurves", 400)[0]
        assert "not an object id" in post("[1, -5]", "application/json", 400) and "more than" in post(json.dumps([1] * 10001), "application/json", 400)
        assert "not JSON" in post("[1, ", "application/json", 400)
