"""reduce --refs: headers that point wrong, the fitted coordinates and zero points against the simulator's truth."""
import pathlib
import shutil
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

SIZE = (1100, 1000)


@pytest.fixture(scope="module")
def sky(nightshift, tmp_path_factory):
    """Two lights whose headers point up to 10 arcmin beside the sky, masters, and the simulator's reference stars."""
    folder = tmp_path_factory.mktemp("astrometry")
    nightshift("simulate", folder / "sim", "--preset", "small-night", "--frames", 2, "--filters", "r", "--bias", 3, "--dark", 3, "--flat", 3, "--ccds", 1,
               "--size", f"{SIZE[0]}x{SIZE[1]}", "--stars", 500, "--galaxies", 20, "--pointing-error", 300, "--seed", 11, code=0)
    nightshift("master", folder / "sim/raw", "--out", folder / "out", code=0)
    return folder


def reduce(nightshift, sky, out, *more, code=0):
    lights = sorted((sky / "sim/raw").glob("*light*"))
    return nightshift("reduce", *lights, "--masters", sky / "out/masters", "--out", out, *more, code=code)


def products(out, kind):
    return sorted(out.rglob(f"*_{kind}"))


def truth(sky, product):
    table = fits.getdata(sky / "sim/truth" / (product.name.split("_light")[0] + "_light_truth.fits"), 1)
    inside = (table["X_IMAGE"] > 1) & (table["Y_IMAGE"] > 1) & (table["X_IMAGE"] < SIZE[0]) & (table["Y_IMAGE"] < SIZE[1])
    return table[inside]


def test_coordinates_and_zero_points_against_the_truth(nightshift, sky, tmp_path):
    refs = sky / "sim/truth/refcat.fits"
    reduce(nightshift, sky, tmp_path, "--refs", refs, "--zeropoint-bands", "r=phot_g_mean_mag", "--astrometry-residuals", "true")
    images = products(tmp_path, "cal.fits.fz")
    assert len(images) == 2
    for image, catalogue in zip(images, products(tmp_path, "cat.fits")):
        header = fits.getheader(image, "SCI")
        assert header["ASTRSTAT"] == "good" and header["ASTRNREF"] >= 50 and header["CTYPE1"].startswith("RA---TAN")
        stars = truth(sky, image)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x, y = WCS(header).all_world2pix(stars["RA"], stars["DEC"], 1)
        assert np.sqrt(np.mean((x - stars["X_IMAGE"]) ** 2)) < 0.03  # a third of the bar's stars
        assert np.sqrt(np.mean((y - stars["Y_IMAGE"]) ** 2)) < 0.03
        assert abs(header["MAGZERO"] - 25.0) < 0.01 and header["MAGZKIND"] == "absolute"
        rows = fits.getdata(catalogue, "LDAC_OBJECTS")
        bright = stars[np.argsort(stars["MAG"])[10:60]]
        near = [np.hypot((rows["ALPHAWIN_J2000"] - s["RA"]) * np.cos(np.radians(s["DEC"])), rows["DELTAWIN_J2000"] - s["DEC"]).min() * 3600 for s in bright]
        assert np.median(near) < 0.02
    residuals = fits.getdata(next((tmp_path / "quality").rglob("*_astrometry.fits")), 1)
    assert {"X_IMAGE", "DX", "DY", "USED"} <= set(residuals.names)
    pictures = list((tmp_path / "quality").rglob("*_astrometry.png"))
    assert len(pictures) == 2 and all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_the_same_bytes_for_any_number_of_threads_and_nothing_done_twice(nightshift, sky, tmp_path):
    refs = sky / "sim/truth/refcat.fits"
    for threads in (1, 2, 8):
        reduce(nightshift, sky, tmp_path / str(threads), "--refs", refs, "--threads", threads)
    for kind in ("cal.fits.fz", "cat.fits"):
        for files in zip(*(products(tmp_path / str(t), kind) for t in (1, 2, 8))):
            assert len({f.read_bytes() for f in files}) == 1
    assert "already_done=2" in reduce(nightshift, sky, tmp_path / "1", "--refs", refs).err
    assert "already_done=0" in reduce(nightshift, sky, tmp_path / "1").err  # without reference stars it is another product


def test_a_header_twenty_degrees_off_gives_no_coordinates(nightshift, sky, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for light in sorted((sky / "sim/raw").glob("*light*"))[:1]:
        shutil.copy(light, raw)
        with fits.open(raw / light.name, mode="update") as f:
            for hdu in f:
                for key in ("CRVAL2", "DEC"):
                    if key in hdu.header and isinstance(hdu.header[key], float):
                        hdu.header[key] += 20
                for key in ("CHECKSUM", "DATASUM"):
                    hdu.header.remove(key, ignore_missing=True)
    nightshift("reduce", raw, "--masters", sky / "out/masters", "--out", tmp_path / "out", "--refs", sky / "sim/truth/refcat.fits", code=0)
    header = fits.getheader(products(tmp_path / "out", "cal.fits.fz")[0], "SCI")
    assert header["ASTRSTAT"] == "failed" and "CTYPE1" not in header and header["NSQUAL"] != "pass" and "astrometric" in header["NSQREAS"]
    assert "reference stars" in header["ASTRWHY"]
    rows = fits.getdata(products(tmp_path / "out", "cat.fits")[0], "LDAC_OBJECTS")
    assert len(rows) > 50 and "ALPHA_J2000" not in rows.names


def test_csv_and_votable_give_what_fits_gives(nightshift, sky, tmp_path):
    from astropy.table import Table
    table = Table.read(sky / "sim/truth/refcat.fits")
    table.write(tmp_path / "refs.csv")
    table.write(tmp_path / "refs.vot", format="votable", tabledata_format="binary2")
    found = []
    for name in (sky / "sim/truth/refcat.fits", tmp_path / "refs.csv", tmp_path / "refs.vot"):
        out = tmp_path / name.suffix[1:]
        reduce(nightshift, sky, out, "--refs", name)
        header = fits.getheader(products(out, "cal.fits.fz")[0], "SCI")
        found.append([header[k] for k in ("CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "ASTRRMS")])
    assert found[0] == found[1] == found[2]


INDEX = pathlib.Path("/usr/share/astrometry/index-tycho2-10.littleendian.fits")


@pytest.mark.skipif(not INDEX.exists() or not shutil.which("solve-field"), reason="NO solve-field OR NO TYCHO-2 INDEX HERE")
def test_a_header_without_any_position_is_solved_blindly(nightshift, tmp_path):
    """3.3 degrees of Tycho-2 stars as a wide-field camera sees them; the header has neither position nor scale."""
    n, scale, centre = 1500, 8.0, (83.0, 5.0)
    with open(INDEX, "rb") as raw, fits.open(INDEX) as f:
        at = {hdu.columns.names[0]: hdu.fileinfo()["datLoc"] for hdu in f if hasattr(hdu, "columns")}
        mag = np.array(f[-1].data["MAG_VT"])
        raw.seek(at["kdtree_data_stars"])
        unit = -1 + np.frombuffer(raw.read(12 * len(mag)), "<u4").reshape(-1, 3) / 2147483647.5
    ra, dec = np.degrees(np.arctan2(unit[:, 1], unit[:, 0])) % 360, np.degrees(np.arcsin(unit[:, 2]))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], centre, [n / 2, n / 2]
    wcs.wcs.cd = scale / 3600 * np.array([[-0.8, 0.6], [0.6, 0.8]])
    near = np.hypot((ra - centre[0]) * np.cos(np.radians(centre[1])), dec - centre[1]) < 3
    x, y = wcs.all_world2pix(ra[near], dec[near], 0)
    image = np.random.default_rng(1).normal(300, 10, (n, n))
    gy, gx = np.mgrid[-8:9, -8:9]
    for px, py, m in zip(x, y, mag[near]):
        i, j = int(round(px)), int(round(py))
        if 10 < i < n - 10 and 10 < j < n - 10:
            image[j - 8:j + 9, i - 8:i + 9] += 10 ** (-0.4 * (m - 16)) / 9 * np.exp(-((gx - px + i) ** 2 + (gy - py + j) ** 2) / 4.5)
    header = fits.Header({"IMAGETYP": "LIGHT", "EXPTIME": 10.0, "DATE-OBS": "2020-01-01T03:00:00", "GAIN": 1.0, "RDNOISE": 3.0, "FILTER": "V", "LONG-OBS": 0.0})
    fits.PrimaryHDU(np.clip(image, 0, 60000).astype("u2"), header).writeto(tmp_path / "wide.fits")
    options = ["--refs", INDEX, "--without", "bias,dark,flat", "--cosmic-reject", "false"]
    nightshift("reduce", tmp_path / "wide.fits", "--out", tmp_path / "out", *options, code=0)
    got = fits.getheader(products(tmp_path / "out", "cal.fits.fz")[0], "SCI")
    assert got["ASTRSTAT"] == "good" and got["ASTRNREF"] > 40, got.get("ASTRWHY")
    u, v = WCS(got).all_world2pix(ra[near], dec[near], 0)
    inside = (x > 0) & (y > 0) & (x < n) & (y < n)
    assert np.hypot(u - x, v - y)[inside].max() < 0.3
    nightshift("reduce", tmp_path / "wide.fits", "--out", tmp_path / "no", *options, "--astrometry-blind", "no-such-solver", code=0)
    got = fits.getheader(products(tmp_path / "no", "cal.fits.fz")[0], "SCI")
    assert got["ASTRSTAT"] == "failed" and "no-such-solver" in got["ASTRWHY"]
