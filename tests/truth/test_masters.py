"""Masters beside the ones they follow, and the time they serve."""
import numpy as np
import pytest
from astropy.io import fits


@pytest.fixture(scope="module")
def night(nightshift, tmp_path_factory):
    root = tmp_path_factory.mktemp("masters")
    nightshift("simulate", root, "--preset", "small-night", "--seed", 8, "--ccds", 1, "--frames", 1, "--bias", 5, "--dark", 4, "--flat", 4, code=0)
    nightshift("master", root / "raw", "--out", root / "out", code=0)
    return root


def later_flats(night, folder, days, change=None):
    """The night's flats taken again some days later."""
    folder.mkdir()
    for path in sorted((night / "raw").glob("*flat.fits")):
        with fits.open(path) as f:
            f[0].header["DATE-OBS"] = f"2025-06-{1 + days:02d}T01:00:00"
            for hdu in f[1:]:
                data = hdu.data.astype(float)
                if change is not None:
                    data = change(data)
                hdu.data = data.astype(np.uint16)
                hdu.header.pop("MJD-OBS", None)
            f[0].header.pop("MJD-OBS", None)
            f.writeto(folder / path.name, checksum=True)
    return folder


def header_of(out, previous):
    new = [p for p in (out / "masters").glob("flat_*.fits") if p not in previous]
    assert len(new) == 1
    return fits.getheader(new[0], "SCI")


def test_a_like_master_is_told_to_be_like(night, nightshift, tmp_path):
    before = set((night / "out/masters").glob("flat_*.fits"))
    raw = later_flats(night, tmp_path / "raw", 3)
    result = nightshift("master", raw, "--out", night / "out", code=0)
    h = header_of(night / "out", before)
    print(f"\nmoved {h['NSPRVMOV']:.2%}, level {h['NSPRVLEV']:.5f}, compared with {h['NSPREV']}")
    assert h["NSPREV"] in {p.name for p in before} and h["NSPRVMOV"] < 1e-3 and abs(h["NSPRVLEV"]) < 1e-3
    assert h["NSVALIDE"] - h["NSVALIDB"] >= 730 and not [line for line in result.lines if "differs" in line]


def dust(data):
    """A grain as large as a tenth of the frame."""
    data[100:260, 100:300] -= 0.15 * (data[100:260, 100:300] - 1000)
    return data


def test_a_changed_master_is_told_or_refused(night, nightshift, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(night / "out", out)
    raw = later_flats(night, tmp_path / "raw", 5, dust)
    refused = nightshift("master", raw, "--out", out, "--previous-action", "reject", code=3)
    assert any("moved by more than 6 sigma" in line for line in refused.lines), refused.err
    before = set((out / "masters").glob("flat_*.fits"))
    told = nightshift("master", raw, "--out", out, code=0)
    assert any("differs from the one it follows" in line for line in told.lines), told.err
    assert header_of(out, before)["NSPRVMOV"] > 0.05
    off = tmp_path / "off"
    shutil.copytree(night / "out", off)
    before = set((off / "masters").glob("flat_*.fits"))
    nightshift("master", raw, "--out", off, "--previous-action", "off", code=0)
    assert "NSPREV" not in header_of(off, before)


def test_masters_serve_their_time(night, nightshift, tmp_path):
    path = next((night / "raw").glob("*light.fits"))
    with fits.open(path) as f:
        for hdu in f:
            hdu.header.pop("MJD-OBS", None)
        f[0].header["DATE-OBS"] = "2029-01-01T03:00:00"
        f.writeto(tmp_path / path.name, checksum=True)
    result = nightshift("reduce", tmp_path / path.name, "--masters", night / "out/masters", "--out", tmp_path / "out", code=11)
    assert any("validity" in line for line in result.lines), result.err


def test_illumination_and_fringes(night, nightshift, tmp_path):
    """An image that doubles the flat halves the frame; fringes put into the frame are found and taken out; a missing one is refused."""
    light = next((night / "raw").glob("*light.fits"))
    side, seen = 512, {}
    y, x = np.mgrid[0:side, 0:side]
    pattern = np.sin(x / 9.0 + 0.5 * np.sin(y / 31.0)).astype("f4")
    fits.writeto(tmp_path / "two.fits", np.full((side, side), 2, "f4"))
    fits.writeto(tmp_path / "fringe.fits", pattern)
    common = (light, "--masters", night / "out/masters", "--product-quantise", 0)
    for name, options in {"plain": (), "half": ("--signature-illumination", tmp_path / "two.fits"),
                          "fringe": ("--signature-fringe", tmp_path / "fringe.fits", "--signature-fringe_filters", "z,r")}.items():
        nightshift("reduce", *common, "--out", tmp_path / name, *options, code=0)
        seen[name] = fits.open(next((tmp_path / name).glob("2*/simcam/*_cal.fits.fz")))["SCI"]
    good = np.abs(seen["plain"].data) > 1
    assert np.median(seen["half"].data[good] / seen["plain"].data[good]) == pytest.approx(0.5, abs=1e-4)
    assert seen["half"].header["NSILLUM"] is True and "NSFRINGE" not in seen["plain"].header
    assert abs(seen["fringe"].header["NSFRINGE"]) < 1  # there are none: 13 electron per pixel / 512 / 0.7
    refused = nightshift("reduce", *common, "--out", tmp_path / "none", "--signature-fringe_filters", "r", code=11)
    assert any("fringe" in line for line in refused.lines)
