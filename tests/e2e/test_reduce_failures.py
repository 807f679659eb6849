"""A frame that cannot be reduced is a result: one line, its code, and the night goes on."""
import os
import shutil
import signal
import subprocess
import time

import pytest
from astropy.io import fits


@pytest.fixture(scope="module")
def night(nightshift, tmp_path_factory):
    if not {"simulate", "master", "reduce"} <= nightshift.verbs():
        pytest.skip("NO SUCH VERB IN THIS BUILD: simulate, master, reduce")
    root = tmp_path_factory.mktemp("night")
    nightshift("simulate", root, "--preset", "small-night", "--seed", 5, "--ccds", 1, "--frames", 4, code=0)
    nightshift("master", root / "raw", "--out", root / "out", code=0)
    return root


def lights(root):
    return sorted((root / "raw").glob("*light.fits"))


def products(out):
    return sorted(p.name for p in out.rglob("*_cal.fits.fz"))


def test_the_others_go_on(night, nightshift, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in lights(night):
        shutil.copy(path, raw)
    bad = sorted(raw.iterdir())[1]
    with open(bad, "r+b") as f:
        f.truncate(bad.stat().st_size * 6 // 10)
    result = nightshift("reduce", raw, "--masters", night / "out/masters", "--out", tmp_path / "out", code=3)
    assert sum(bad.name in line for line in result.lines) == 1, result.err
    assert len(products(tmp_path / "out")) == 3
    assert not list((tmp_path / "out/.attempts").iterdir())
    alone = nightshift("reduce", bad, "--masters", night / "out/masters", "--out", tmp_path / "alone", code=10)
    assert bad.name in alone.err


def test_a_frame_held_by_its_header_is_named(night, nightshift, tmp_path):
    path = tmp_path / "untimed.fits"
    with fits.open(lights(night)[0]) as f:
        for hdu in f:
            for key in ("EXPTIME", "EXPOSURE", "DARKTIME"):
                hdu.header.remove(key, ignore_missing=True)
        f.writeto(path)
    result = nightshift("reduce", path, "--masters", night / "out/masters", "--out", tmp_path, code=3)
    assert "untimed.fits" in result.err
    assert products(tmp_path) == []


def test_two_raw_files_of_one_name_do_not_overwrite_each_other(night, nightshift, tmp_path):
    first, second = lights(night)[:2]
    for folder, source in (("a", first), ("b", second)):
        (tmp_path / folder).mkdir()
        shutil.copy(source, tmp_path / folder / "same.fits")
    result = nightshift("reduce", tmp_path / "a/same.fits", tmp_path / "b/same.fits", "--masters", night / "out/masters", "--out", tmp_path / "out", code=3)
    assert "same name" in result.err
    assert products(tmp_path / "out") == ["same_cal.fits.fz"]
    with fits.open(first) as f, fits.open(next((tmp_path / "out").rglob("*_cal.fits.fz"))) as product:
        assert product["SCI"].header["DATE-OBS"] == f[0].header["DATE-OBS"]
    again = nightshift("reduce", tmp_path / "a/same.fits", tmp_path / "a/same.fits", "--masters", night / "out/masters", "--out", tmp_path / "out2", code=0)
    assert "already_done=1" in again.err


def test_references_that_cannot_be_read_end_with_a_word(night, nightshift, tmp_path):
    result = nightshift("reduce", lights(night)[0], "--refs", "gaia.fits", "--masters", night / "out/masters", "--out", tmp_path, code=10)
    assert "gaia.fits" in result.err
    (tmp_path / "bad.csv").write_text("ra,dec\n10,20\n11,95\n")
    result = nightshift("reduce", lights(night)[0], "--refs", tmp_path / "bad.csv", "--masters", night / "out/masters", "--out", tmp_path, code=10)
    assert "line 3" in result.err and "dec" in result.err


def test_a_signal_ends_after_the_frame_in_flight(night, nightshift, tmp_path):
    """Many copies of one light, so that the signal finds work; what is done stays done and the same command goes on."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(60):
        os.link(lights(night)[0], raw / f"copy{i:02d}.fits")
    argv = [str(nightshift.path), "reduce", str(raw), "--masters", str(night / "out/masters"), "--out", str(tmp_path / "out"), "--threads", "1"]
    child = subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not products(tmp_path / "out") and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=60)
    done = len(products(tmp_path / "out"))
    assert child.returncode == 75, err
    assert 1 <= done < 60
    assert not list((tmp_path / "out/.attempts").iterdir())
    nightshift("reduce", raw, "--masters", night / "out/masters", "--out", tmp_path / "out", code=0)
    assert len(products(tmp_path / "out")) == 60


@pytest.mark.parametrize("kind", ["bias", "flat"])
def test_a_damaged_master_is_named(night, nightshift, tmp_path, kind):
    masters = tmp_path / "masters"
    shutil.copytree(night / "out/masters", masters)
    path = next(masters.glob(f"{kind}_*"))
    with open(path, "r+b") as f:
        f.truncate(path.stat().st_size // 2)
    result = nightshift("reduce", lights(night)[0], "--masters", masters, "--out", tmp_path / "out", code=10)
    assert path.name in result.err
    assert products(tmp_path / "out") == []
