"""PSF photometry of extract and reduce: columns, cards, star and galaxy, frames that hold nothing to make a PSF from."""
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

PSF_COLUMNS = {"FLUX_PSF", "FLUXERR_PSF", "MAG_PSF", "MAGERR_PSF", "XPSF_IMAGE", "YPSF_IMAGE", "ERRAPSF_IMAGE", "ERRBPSF_IMAGE", "ERRTHETAPSF_IMAGE",
               "ALPHAPSF_J2000", "DELTAPSF_J2000", "CHI2_PSF", "NITER_PSF", "FLAGS_PSF", "SPREAD_MODEL", "SPREADERR_MODEL"}


def cards(path):
    with fits.open(path) as f:
        lines = np.atleast_1d(f["LDAC_IMHEAD"].data.field(0)[0])
    return fits.Header.fromstring("".join(str(c).ljust(80) for c in lines))


@pytest.fixture(scope="module")
def bench(nightshift, tmp_path_factory):
    folder = tmp_path_factory.mktemp("psf")
    nightshift("simulate", folder, "--preset", "bench-medium", "--size", "1200x1000", "--stars", "600", "--galaxies", "150", "--seed", "5", code=0)
    nightshift("extract", folder / "image.fits", "-o", folder / "cat.fits", code=0)
    return folder


def test_psf__the_catalogue_has_its_columns_and_cards(bench):
    cat, head = Table.read(bench / "cat.fits", hdu="LDAC_OBJECTS"), cards(bench / "cat.fits")
    assert PSF_COLUMNS <= set(cat.colnames)
    truth = fits.getheader(bench / "image.fits")
    assert abs(head["NSPSFW"] / truth["FWHM"] - 1) < 0.03 and abs(head["NSPSFB"] - truth["BETA"]) < 0.5
    assert head["NSPSFFL"] == 0 and head["NSPSFN"] > 20
    assert head["APCOR1"] > head["APCOR2"] > head["APCOR3"] > 1 and head["APCORDON"] is False
    bright = cat["FLUX_PSF"] > 20 * cat["FLUXERR_PSF"]
    assert np.allclose(cat["MAG_PSF"][bright], -2.5 * np.log10(cat["FLUX_PSF"][bright]), atol=1e-3)
    assert np.all(np.hypot(cat["ALPHAPSF_J2000"] - cat["ALPHA_J2000"], cat["DELTAPSF_J2000"] - cat["DELTA_J2000"]) * 3600 < 2)


def test_psf__spread_model_tells_galaxies_from_stars(bench):
    cat, truth = Table.read(bench / "cat.fits", hdu="LDAC_OBJECTS"), Table.read(bench / "truth.fits")
    dx = cat["X_IMAGE"][:, None] - truth["X_IMAGE"][None]
    dy = cat["Y_IMAGE"][:, None] - truth["Y_IMAGE"][None]
    away = np.hypot(dx, dy)
    near = away.argmin(1)
    alone = (away.min(1) < 2) & (np.sort(away, 1)[:, 1] > 15) & (cat["FLUX_PSF"] > 30 * cat["FLUXERR_PSF"]) & (cat["FLAGS"] == 0)
    galaxy = np.array([str(k).strip() == "galaxy" for k in truth["KIND"]])[near]
    big = galaxy & (np.asarray(truth["RE_PIX"])[near] > 1.5)
    assert (alone & ~galaxy).sum() > 20 and (alone & big).sum() >= 3
    assert np.mean(np.abs(cat["SPREAD_MODEL"][alone & ~galaxy]) < 0.004) > 0.95
    assert np.mean(cat["SPREAD_MODEL"][alone & big] > 0.005) > 0.9


def test_psf__it_can_be_left_out(nightshift, bench, tmp_path):
    nightshift("extract", bench / "image.fits", "-o", tmp_path / "c.fits", "--psf-photometry", "false", code=0)
    assert not PSF_COLUMNS & set(Table.read(tmp_path / "c.fits", hdu="LDAC_OBJECTS").colnames)


def test_psf__same_bytes_for_any_threads(nightshift, bench, tmp_path):
    outs = []
    for threads in (1, 2, 8):
        nightshift("extract", bench / "image.fits", "-o", tmp_path / f"{threads}.fits", "--threads", threads, code=0)
        outs.append((tmp_path / f"{threads}.fits").read_bytes())
    assert outs[0] == outs[1] == outs[2]


def test_psf__reduce_gives_apertures_as_total_flux(nightshift, tmp_path):
    nightshift("simulate", tmp_path / "n", "--preset", "small-night", "--ccds", "1", "--frames", "1", code=0)
    nightshift("master", tmp_path / "n/raw", "--out", tmp_path / "out", code=0)
    nightshift("reduce", tmp_path / "n/raw", "--out", tmp_path / "out", code=0)
    path = next((tmp_path / "out").rglob("*_cat.fits"))
    cat, head = Table.read(path, hdu="LDAC_OBJECTS"), cards(path)
    assert PSF_COLUMNS <= set(cat.colnames) and head["APCORDON"] is True
    stars = (cat["FLAGS"] == 0) & (cat["FLUX_PSF"] > 60 * cat["FLUXERR_PSF"]) & (np.abs(cat["SPREAD_MODEL"]) < 0.004)
    assert stars.sum() >= 5
    ratio = cat["FLUX_APER"][stars][:, 0] / cat["FLUX_PSF"][stars]
    assert abs(np.median(ratio) - 1) < 0.02  # 5 pixels wide, corrected by two thirds


def nothing(kind, ny=300, nx=320):
    rng = np.random.default_rng(3)
    image = rng.normal(1000, 10, (ny, nx)).astype(np.float32)
    y, x = np.mgrid[:ny, :nx]
    if kind == "nan":
        image[:] = np.nan
    elif kind == "saturated":
        image[:] = 65535
    elif kind == "constant":
        image[:] = 7
    elif kind == "stripes":
        image[::3] = np.nan
        image[:, ::5] = np.nan
    elif kind == "blend":  # one light over all of the frame, a thousand stars in it
        image += 4000 * np.exp(-((x - nx / 2) ** 2 + (y - ny / 2) ** 2) / 12000)
        for cx, cy, f in zip(rng.uniform(0, nx, 1500), rng.uniform(0, ny, 1500), rng.uniform(50, 3000, 1500)):
            image += np.float32(f) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 4.5).astype(np.float32)
    elif kind == "one star":
        image += 5000 * np.exp(-((x - 100.3) ** 2 + (y - 90.1) ** 2) / 4.5).astype(np.float32)
    elif kind == "spikes":  # single hot pixels: sharper than any PSF
        image[rng.integers(0, ny, 500), rng.integers(0, nx, 500)] += 20000
    elif kind == "tiny":
        image = image[:9, :11] + 500 * (np.hypot(x - 5, y - 4) < 2)[:9, :11]
    return image.astype(np.float32)


@pytest.mark.parametrize("kind", ["nan", "saturated", "constant", "stripes", "blend", "one star", "spikes", "tiny"])
def test_psf__an_odd_frame_is_a_flagged_result_in_bounded_time(nightshift, tmp_path, kind):
    fits.PrimaryHDU(nothing(kind), fits.Header({"GAIN": 2.0, "SATURATE": 60000.0})).writeto(tmp_path / "i.fits")
    start = time.monotonic()
    nightshift("extract", tmp_path / "i.fits", "-o", tmp_path / "c.fits", code=0)
    assert time.monotonic() - start < 60
    cat, head = Table.read(tmp_path / "c.fits", hdu="LDAC_OBJECTS"), cards(tmp_path / "c.fits")
    assert np.isfinite(head["NSPSFW"]) and head["NSPSFW"] > 0.4
    if kind != "blend":
        assert head["NSPSFFL"] & 1, dict(head)
    if len(cat):
        fallback = bool(head["NSPSFFL"] & 1)
        assert np.all(((cat["FLAGS_PSF"] & 64) > 0) == fallback)
        none = (cat["FLAGS_PSF"] & 128) > 0
        assert np.all(np.isfinite(np.ma.filled(cat["FLUX_PSF"], np.nan)) == ~none)
