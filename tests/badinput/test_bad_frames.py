"""Frames that say nothing about the sky, or the wrong thing, in the middle of a night: each ends as a product with its verdict
or as a refusal with its stage, in bounded time, and the frames around it are what they would be without it."""
import json
import os
import subprocess
import time

import numpy as np
import pytest
from astropy.io import fits

SIDE = 512


@pytest.fixture(scope="module")
def night(nightshift, tmp_path_factory):
    absent = {"simulate", "master", "reduce"} - nightshift.verbs()
    if absent:
        pytest.skip(f"NO SUCH VERB IN THIS BUILD: {', '.join(sorted(absent))}")
    folder = tmp_path_factory.mktemp("night")
    nightshift("simulate", folder / "sim", "--preset", "small-night", "--ccds", 1, "--frames", 2, "--stars", 80, "--seed", 7, code=0)
    nightshift("master", folder / "sim/raw", "--out", folder / "out", code=0)
    return folder


def sky_of(hdu):
    """Where the sky's pixels stand in the stored array: (rows, columns) of each amplifier."""
    for a in range(1, hdu.header["NAMPS"] + 1):
        x, y = (p.split(":") for p in hdu.header[f"DATASEC{a}"].strip("[]").split(","))
        yield slice(int(y[0]) - 1, int(y[1])), slice(int(x[0]) - 1, int(x[1]))


def all_nan(data, hdu, rng):
    return np.full_like(data, np.nan)


def nan_sky(data, hdu, rng):
    for s in sky_of(hdu):
        data[s] = np.nan
    return data


def all_saturated(data, hdu, rng):
    return np.full_like(data, 65535)


def one_blend(data, hdu, rng):
    """Rough ground far above the sky with a hill in the middle: one component, many levels."""
    for s in sky_of(hdu):
        ny, nx = data[s].shape
        y, x = np.mgrid[:ny, :nx]
        hill = 20000 * np.exp(-((x - nx / 2) ** 2 + (y - ny / 2) ** 2) / (2 * (0.3 * nx) ** 2))
        data[s] = np.clip(data[s] + hill + 3000 * rng.random((ny, nx)), 0, 60000)
    return data


def stripes(data, hdu, rng):
    """Every other band of 16 rows is dead: no weight there."""
    rows = np.arange(data.shape[0]) // 16 % 2 == 0
    data[rows] = np.nan
    return data


def saturated_stripes(data, hdu, rng):
    data[np.arange(data.shape[0]) // 16 % 2 == 0] = 65535
    return data


def constant(data, hdu, rng):
    return np.full_like(data, 1234)


def infinite(data, hdu, rng):
    data[::3, ::5] = np.inf
    data[1::3, ::7] = -1e38
    return data


DAMAGE = {f.__name__: f for f in (all_nan, nan_sky, all_saturated, one_blend, stripes, saturated_stripes, constant, infinite)}
# what the frame must come to: (verdicts, a word of the reasons); None: refused, with the stage
VERDICT = {"all_nan": ({"reject"}, "no usable pixel"), "nan_sky": ({"reject"}, "no usable pixel"), "all_saturated": ({"reject"}, ""),
           "one_blend": ({"pass", "doubt", "reject"}, ""), "stripes": ({"doubt", "reject"}, "masked"),
           "saturated_stripes": ({"doubt", "reject"}, "saturated"), "constant": ({"doubt", "reject"}, ""), "infinite": ({"doubt", "reject"}, "saturated")}


def lights(night):
    return sorted((night / "sim/raw").glob("*light.fits"))


def damaged(night, folder, name):
    path = folder / f"{name}_light.fits"
    with fits.open(lights(night)[0]) as f:
        hdu = next(h for h in f if h.data is not None)
        header = hdu.header.copy()
        for key in ("BZERO", "BSCALE", "CHECKSUM", "DATASUM"):
            header.remove(key, ignore_missing=True)
        data = DAMAGE[name](hdu.data.astype(np.float32), hdu, np.random.default_rng(3))
        fits.HDUList([fits.PrimaryHDU(None, f[0].header), fits.ImageHDU(data, header)]).writeto(path)
    return path


def feed(nightshift, night, out, files, threads=2, more=()):
    said = "".join(json.dumps({"file": str(f)}) + "\n" for f in files)
    done = subprocess.run([nightshift.path, "reduce", "--stdin", "--out", out, "--masters", night / "out/masters", "--threads", str(threads), *map(str, more)],
                          input=said, capture_output=True, text=True, timeout=300, env={**os.environ, "LOG_FORMAT": "console"})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdict_of(out, name):
    return json.loads(next(out.rglob(f"{name}*_quality.json")).read_text())


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_bad_frames__a_verdict_and_the_night_goes_on(nightshift, night, tmp_path, name):
    first, last = lights(night)
    bad = damaged(night, tmp_path, name)
    began = time.monotonic()
    answers = feed(nightshift, night, tmp_path / "out", [first, bad, last])
    took = time.monotonic() - began
    assert took < (120 if nightshift.sanitized else 20), f"{took:.1f} s"
    ccd = answers[1]["ccds"][0]
    assert ccd["status"] == "done", ccd
    row = verdict_of(tmp_path / "out", bad.stem)
    verdicts, word = VERDICT[name]
    assert row["verdict"] in verdicts and word in row["reasons"], row
    with fits.open(next((tmp_path / "out").rglob(f"{bad.stem}_cal.fits.fz"))) as f:
        assert f["SCI"].header["NSQUAL"] == row["verdict"]
        assert f["SCI"].header.get("NSQREAS", "") == row["reasons"]
        assert f["SCI"].data.shape == (SIDE, SIDE)
    with fits.open(next((tmp_path / "out").rglob(f"{bad.stem}_cat.fits"))) as f:
        assert len(f["LDAC_OBJECTS"].data) == row["objects"]
        assert row["objects"] == 0 or row["verdict"] != "reject" or name == "one_blend"
    feed(nightshift, night, tmp_path / "alone", [first, last], threads=1)
    for path in sorted((tmp_path / "alone").rglob("*_c??.fits*")):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "alone")).read_bytes()


def test_bad_frames__the_blend_keeps_its_bytes_for_any_thread_count(nightshift, night, tmp_path):
    bad = damaged(night, tmp_path, "one_blend")
    for threads in (1, 2, 8):
        feed(nightshift, night, tmp_path / str(threads), [bad], threads)
    one = {p.relative_to(tmp_path / "1"): p.read_bytes() for p in sorted((tmp_path / "1").rglob("*")) if p.is_file()}
    for threads in (2, 8):
        assert one == {p.relative_to(tmp_path / str(threads)): p.read_bytes() for p in sorted((tmp_path / str(threads)).rglob("*")) if p.is_file()}


def test_bad_frames__a_truncated_fz_names_its_stage(nightshift, night, tmp_path):
    """Cut in the heap of a compressed image: the header promises what is not there."""
    nightshift("simulate", tmp_path / "sim", "--preset", "small-night", "--ccds", 1, "--frames", 2, "--stars", 80, "--seed", 7, "--fz", code=0)
    first, last = sorted((tmp_path / "sim/raw").glob("*light.fits.fz"))
    bad = tmp_path / "short_light.fits.fz"
    bad.write_bytes(first.read_bytes()[:first.stat().st_size * 7 // 10])
    answers = feed(nightshift, night, tmp_path / "out", [first, bad, last])
    assert [a["ccds"][0]["status"] for a in answers] == ["done", "error", "done"]
    ccd = answers[1]["ccds"][0]
    assert ccd["exit_code"] == 10 and ccd["error"] == "corrupt" and ccd["stage"] in ("look", "read"), ccd
    assert not list((tmp_path / "out").rglob("short_light*"))


def test_bad_frames__a_frame_without_masters_names_its_stage(nightshift, night, tmp_path):
    (tmp_path / "none").mkdir()
    said = json.dumps({"file": str(lights(night)[0])}) + "\n"
    done = subprocess.run([nightshift.path, "reduce", "--stdin", "--out", tmp_path / "out", "--masters", tmp_path / "none"], input=said, capture_output=True, text=True)
    ccd = json.loads(done.stdout)["ccds"][0]
    assert ccd["error"] == "no_calibration" and ccd["stage"] == "look" and ccd["exit_code"] == 11, ccd


@pytest.mark.parametrize("degrees", [20.0, 0.6])
def test_bad_frames__a_header_that_points_elsewhere(nightshift, night, tmp_path, degrees):
    """20 degrees off no solution is told as good; 0.6 degrees off the frame is found."""
    refs = night / "sim/truth/refcat.fits"
    bad = tmp_path / "lost_light.fits"
    with fits.open(lights(night)[0]) as f:
        hdu = next(h for h in f if h.data is not None)
        truth = hdu.header["CRVAL1"], hdu.header["CRVAL2"]
        hdu.header["CRVAL2"] += degrees
        for h in f:
            for key in ("CHECKSUM", "DATASUM"):
                h.header.remove(key, ignore_missing=True)
        f.writeto(bad)
    first, last = lights(night)
    answers = feed(nightshift, night, tmp_path / "out", [first, bad, last], more=["--refs", refs])
    assert [a["ccds"][0]["status"] for a in answers] == ["done"] * 3
    row = verdict_of(tmp_path / "out", bad.stem)
    with fits.open(next((tmp_path / "out").rglob(f"{bad.stem}_cal.fits.fz"))) as f:
        header = f["SCI"].header
    assert header["ASTRSTAT"] == row["astrom_status"]
    if degrees > 1:
        assert row["astrom_status"] == "failed" and row["verdict"] != "pass" and "astrometric" in row["reasons"], row
    else:
        assert row["astrom_status"] == "good", row
        assert abs(header["CRVAL2"] - truth[1]) < 0.05
    assert verdict_of(tmp_path / "out", first.stem)["astrom_status"] == "good"
    feed(nightshift, night, tmp_path / "one", [first, bad, last], threads=1, more=["--refs", refs])
    for path in sorted(p for p in (tmp_path / "one").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "one")).read_bytes(), path
