"""Darks taken colder than the lights: what the temperature coefficient takes off is what darks of the right temperature take off."""
import math

import numpy as np
import pytest
from astropy.io import fits

COEFFICIENT = 0.1
COLD = -100 - math.log(2) / COEFFICIENT  # half the current of the simulator's -100 C


def images(path):
    with fits.open(path) as f:
        return [(h.header.get("EXTNAME"), np.array(h.data, float)) for h in f[1:]]


def put_temperature(hdus, value):
    """Returned: cards found."""
    found = 0
    for hdu in hdus:
        if "CCDTEMP" in hdu.header:
            found += 1
            if value is None:
                del hdu.header["CCDTEMP"]
            else:
                hdu.header["CCDTEMP"] = value
    return found


@pytest.fixture(scope="module")
def night(nightshift, tmp_path_factory):
    """Two sets of masters from the same frames: as simulated, and with the darks of half the current and 6.9 C colder."""
    root = tmp_path_factory.mktemp("dark")
    nightshift("simulate", root, "--preset", "small-night", "--seed", 5, "--ccds", 1, "--frames", 1, "--filters", "r", "--size", "400x300", "--exptime", 300,
               "--bias", 9, "--dark", 9, "--flat", 4, "--stars", 20, "--galaxies", 0, "--cosmics", 0, code=0)
    cold = root / "cold"
    cold.mkdir()
    bias = [np.mean(planes, axis=0) for planes in zip(*([data for _, data in images(p)] for p in sorted((root / "raw").glob("*bias.fits"))))]
    for path in sorted((root / "raw").glob("*.fits")):
        with fits.open(path) as f:
            if path.name.endswith("dark.fits"):
                for hdu, level in zip(f[1:], bias):
                    hdu.data = np.rint(level + 0.5 * (hdu.data - level)).astype(np.uint16)
                assert put_temperature(f, COLD)
            f.writeto(cold / path.name, checksum=True)
    nightshift("master", root / "raw", "--out", root / "out", code=0)
    nightshift("master", cold, "--out", root / "coldout", "--signature-dark-temperature-coefficient", COEFFICIENT, code=0)
    return root


def reduced(nightshift, night, masters, out, *more):
    light = next((night / "raw").glob("*light.fits"))
    nightshift("reduce", light, "--masters", night / masters / "masters", "--out", out, "--signature-interpolate", "false", "--cosmic-reject", "false", *more, code=0)
    with fits.open(next(out.rglob("*_cal.fits.fz"))) as f:
        return f["SCI"].header, np.array(f["SCI"].data, float), np.array(f["VAR"].data, float)


def test_a_colder_dark_is_scaled_up(night, nightshift, tmp_path):
    header, right, right_var = reduced(nightshift, night, "out", tmp_path / "right")
    assert "NSDRKSCL" not in header
    _, time_only, _ = reduced(nightshift, night, "coldout", tmp_path / "time")
    header, scaled, var = reduced(nightshift, night, "coldout", tmp_path / "scaled", "--signature-dark-temperature-coefficient", COEFFICIENT)
    assert header["NSDRKSCL"] == pytest.approx(2, rel=1e-3)
    dark = fits.getdata(next((night / "out/masters").glob("dark_*.fits")), "SCI").astype(float) * 300
    warm = (dark > 100) & (dark < 20000)
    assert warm.sum() >= 10
    residual, before = np.median((scaled - right)[warm] / dark[warm]), np.median((time_only - right)[warm] / dark[warm])
    level, level_before = np.median(scaled - right), np.median(time_only - right)
    ratio = np.median((var / right_var)[warm])
    print(f"\n{warm.sum()} warm pixels: left of the dark {residual:+.4f}, by time alone {before:+.4f}; frame {level:+.3f} electron, by time alone {level_before:+.3f}; variance x {ratio:.4f}")
    assert abs(residual) < 0.01 and before == pytest.approx(0.5, abs=0.02)
    assert abs(level) < 0.5 and level_before > 2
    assert 1 < ratio < 1.15  # the noise of a dark is scaled up with it


def test_no_temperature_is_refused(night, nightshift, tmp_path):
    path = next((night / "raw").glob("*light.fits"))
    with fits.open(path) as f:
        assert put_temperature(f, None)
        f.writeto(tmp_path / path.name, checksum=True)
    more = ["--masters", night / "coldout/masters", "--out", tmp_path / "out"]
    result = nightshift("reduce", tmp_path / path.name, *more, "--signature-dark-temperature-coefficient", COEFFICIENT, code=11)
    assert "no CCD temperature" in result.err
    nightshift("reduce", tmp_path / path.name, *more, code=0)
