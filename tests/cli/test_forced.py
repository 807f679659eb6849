"""forced: flux at given places of products and of foreign images."""
import csv
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table


@pytest.fixture(scope="module")
def bench(nightshift, tmp_path_factory):
    """An image of anybody (no product), its truth."""
    folder = tmp_path_factory.mktemp("forced")
    nightshift("simulate", folder, "--preset", "bench-sparse", "--size", "700x700", "--stars", "150", "--galaxies", "0", code=0)
    return folder


def write_list(path, rows, header=("id", "ra", "dec")):
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(header)
        w.writerows(rows)
    return path


def read_csv(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def isolated(truth, least, apart=25.0):
    place = np.c_[truth["X_IMAGE"], truth["Y_IMAGE"]]
    away = np.hypot(*(place[:, None, :] - place[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(truth))
    inside = np.all((place > 20) & (place < 680), axis=1)
    return truth[inside & (away.min(1) > apart) & (truth["SNR"] > least)]


def test_forced__stars_have_their_flux_and_errors(nightshift, bench, tmp_path):
    stars = isolated(Table.read(bench / "truth.fits"), 8)
    assert len(stars) > 5
    positions = write_list(tmp_path / "list.csv", [(100 + i, r["RA"], r["DEC"]) for i, r in enumerate(stars)])
    nightshift("forced", positions, bench / "image.fits", "-o", tmp_path / "out.fits", code=0)
    got = Table.read(tmp_path / "out.fits", hdu="LDAC_OBJECTS")
    assert list(got["OBJECT_ID"]) == [100 + i for i in range(len(stars))]
    np.testing.assert_allclose(got["X"], stars["X_IMAGE"], atol=1e-3)  # the WCS of the header is the true one
    pull = (got["FLUX_PSF"] - stars["FLUX"]) / got["FLUXERR_PSF"]
    assert abs(np.median(pull)) < 1.5 and np.abs(pull).max() < 6  # a dozen stars; tests/accuracy/forced has the statistics
    np.testing.assert_allclose(got["UPPER_LIMIT"], 5 * got["FLUXERR_PSF"], rtol=1e-5)
    assert np.all(np.abs(got["FLUX_APER"] - stars["FLUX"]) < 6 * got["FLUXERR_APER"])
    assert not any(np.ma.filled(got["REASON"].astype(str), ""))


def test_forced__every_place_has_a_row_and_a_reason(nightshift, bench, tmp_path):
    rows = [("in", 300, 300), ("left", -500, 20), ("above", 20, 5000), ("corner", 1, 1), ("none", "", 5)]
    positions = write_list(tmp_path / "list.csv", rows, ("name", "x", "y"))
    nightshift("forced", positions, bench / "image.fits", "-o", tmp_path / "out.csv", code=0)
    got = {r["object_id"]: r for r in read_csv(tmp_path / "out.csv")}
    assert [r[0] for r in rows] == [r["object_id"] for r in read_csv(tmp_path / "out.csv")]
    assert got["left"]["reason"] == got["above"]["reason"] == "outside" and got["left"]["flux_psf"] == ""
    assert got["none"]["reason"] == "no position" and int(got["none"]["flags"]) & 1024
    assert float(got["in"]["fluxerr_psf"]) > 0 and got["in"]["reason"] == ""
    assert int(got["corner"]["flags"]) & 8 and got["corner"]["flux_psf"] != ""  # truncated, yet measured


def test_forced__a_neighbour_does_not_count_twice(nightshift, bench, tmp_path):
    star = isolated(Table.read(bench / "truth.fits"), 100)[0]
    x, y = float(star["X_IMAGE"]), float(star["Y_IMAGE"])
    near = [(1, x + 5.5, y), (2, x, y - 5.5), (3, x - 4, y + 4)]  # on the wings of a bright star
    nightshift("forced", write_list(tmp_path / "l.csv", near, ("id", "x", "y")), bench / "image.fits", "-o", tmp_path / "o.fits", code=0)
    got = Table.read(tmp_path / "o.fits", hdu="LDAC_OBJECTS")
    assert np.all(np.abs(got["FLUX_PSF"]) < 5 * got["FLUXERR_PSF"]), got
    assert np.all(got["FLUX_PSF"] < 0.02 * star["FLUX"])


def test_forced__products_tell_their_mask(nightshift, tmp_path):
    nightshift("simulate", tmp_path / "n", "--preset", "small-night", "--ccds", "1", "--frames", "1", "--cosmics", "0", code=0)
    nightshift("master", tmp_path / "n/raw", "--out", tmp_path / "out", code=0)
    nightshift("reduce", tmp_path / "n/raw", "--out", tmp_path / "out", code=0)
    image = next((tmp_path / "out").rglob("*_cal.fits.fz"))
    with fits.open(image) as f:
        mask = f["MASK"].data & 0x7F
        header = f["SCI"].header
    bad = np.argwhere(mask[20:-20, 20:-20] > 0)[0] + 20
    columns = [fits.Column("SOURCE_ID", "K", array=[7, 9]), fits.Column("X_IMAGE", "D", array=[bad[1] + 1.0, 200.0]),
               fits.Column("Y_IMAGE", "D", array=[bad[0] + 1.0, 201.0])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "list.fits")
    nightshift("forced", tmp_path / "list.fits", image, "-o", tmp_path / "o.fits", code=0)
    got = Table.read(tmp_path / "o.fits", hdu="LDAC_OBJECTS")
    assert list(got["OBJECT_ID"]) == [7, 9] and got["MASK"][0] & mask[tuple(bad)]
    assert np.isfinite(got["RA"]).all() and abs(got["MJD"][0] - header["MJD-MID"]) < 1e-6
    with fits.open(tmp_path / "o.fits") as f:
        cards = "".join(str(c).ljust(80) for c in np.atleast_1d(f["LDAC_IMHEAD"].data.field(0)[0]))
    assert "NSFORCED" in cards and "NSFORSUM" in cards and "NSRECIPE" in cards


def test_forced__same_bytes_for_any_threads(nightshift, bench, tmp_path):
    stars = Table.read(bench / "truth.fits")
    positions = write_list(tmp_path / "list.csv", [(i, r["X_IMAGE"], r["Y_IMAGE"]) for i, r in enumerate(stars)], ("id", "x", "y"))
    outs = []
    for threads in (1, 2, 8):
        nightshift("forced", positions, bench / "image.fits", "-o", tmp_path / f"{threads}.fits", "--threads", threads, code=0)
        outs.append((tmp_path / f"{threads}.fits").read_bytes())
    assert outs[0] == outs[1] == outs[2]


@pytest.mark.parametrize("fill", [np.nan, 65535.0])
def test_forced__an_image_of_nothing_gives_rows(nightshift, bench, tmp_path, fill):
    shutil.copy(bench / "image.fits", tmp_path / "i.fits")
    with fits.open(tmp_path / "i.fits", mode="update") as f:
        f[0].data[:] = fill
        f[0].header["SATURATE"] = 60000.0
        f[0].header.remove("CHECKSUM", ignore_missing=True)
        f[0].header.remove("DATASUM", ignore_missing=True)
    nightshift("forced", write_list(tmp_path / "l.csv", [(1, 50, 60)], ("id", "x", "y")), tmp_path / "i.fits", "-o", tmp_path / "o.csv", code=0)
    row = read_csv(tmp_path / "o.csv")[0]
    assert row["flux_psf"] == "" and row["reason"] == "no usable pixels"


@pytest.mark.parametrize("text, says", [("id,dec\n1,2\n", "neither columns"), ("id,ra,dec\n1,abc,2\n", "line 2"), ("", "no positions"),
                                        ("id,x,y\n1,2\n", "cells")])
def test_forced__a_bad_list_is_one_line(nightshift, bench, tmp_path, text, says):
    (tmp_path / "l.csv").write_text(text)
    nightshift.fails(10, "forced", tmp_path / "l.csv", bench / "image.fits", "-o", tmp_path / "o.csv", says=says)
    assert not (tmp_path / "o.csv").exists()


def test_forced__it_opens_no_database(nightshift, bench, tmp_path):
    nightshift.fails(2, "forced", "postgresql://localhost/nightshift", bench / "image.fits", "-o", tmp_path / "o.csv", says="never a database")
