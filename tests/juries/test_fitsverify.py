"""HEASARC's fitsverify: no error and no warning of ours in any file we write."""
import re
import shutil
import subprocess

import pytest

import starfield


# SCAMP and PSFEx look for the column of LDAC_IMHEAD by this name, blanks and all.
LDAC_COLUMN = 'Name "Field Header Card" contains character \' \' other'


def check(path):
    assert shutil.which("fitsverify"), "fitsverify is missing: ./run-tests --packages installs it"
    done = subprocess.run(["fitsverify", str(path)], capture_output=True, text=True, timeout=120)
    complaints = [line for line in re.findall(r"^ *\*\*\* (?:Warning|Error):.*$", done.stdout, re.M) if LDAC_COLUMN not in line]
    verdict = re.search(r"Verification found \d+ warning\(s\) and 0 error\(s\)", done.stdout)
    assert verdict and not complaints, f"{complaints}\n{done.stdout[-4000:]}"


def test_fitsverify__catalogue_of_extract(verb, tmp_path):
    program = verb("extract")
    for kind in ("TAN", "SIP", "TPV", None):
        image, header, _ = starfield.field(wcs=kind, seed=5, n=60)
        path = starfield.write(tmp_path / f"{kind}.fits", image, header)
        program("extract", path, "-o", tmp_path / f"{kind}_cat.fits", code=0)
        check(tmp_path / f"{kind}_cat.fits")


def test_fitsverify__catalogue_of_an_empty_sky(verb, tmp_path):
    image, header, _ = starfield.field(n=0, seed=6)
    path = starfield.write(tmp_path / "sky.fits", image, header)
    verb("extract")("extract", path, "-o", tmp_path / "sky_cat.fits", "--detect-thresh", "20", code=0)
    check(tmp_path / "sky_cat.fits")


@pytest.mark.parametrize("options", [(), ("--fz", "--ccds", "2", "--amps", "4")], ids=["plain", "mosaic-fz"])
def test_fitsverify__raw_frames_and_truth_of_simulate(verb, tmp_path, options):
    verb("simulate")("simulate", tmp_path / "night", "--preset", "small-night", *options, code=0)
    files = sorted((tmp_path / "night").rglob("*.fits*"))
    kinds = {re.sub(r"\d+", "", p.name): p for p in files}  # one of each kind of frame
    assert len(kinds) >= 5
    for path in kinds.values():
        check(path)


@pytest.mark.parametrize("options", [(), ("--fz", "--ccds", "2", "--amps", "4")], ids=["plain", "mosaic-fz"])
def test_fitsverify__masters_and_products_of_reduce(verb, tmp_path, options):
    program = verb("simulate", "master", "reduce")
    program("simulate", tmp_path / "night", "--preset", "small-night", "--frames", "1", *options, code=0)
    program("master", tmp_path / "night/raw", "--out", tmp_path / "out", code=0)
    program("reduce", tmp_path / "night/raw", "--out", tmp_path / "out", code=0)
    files = sorted((tmp_path / "out").rglob("*.fits*"))
    assert {"bias", "dark", "flat"} <= {p.name.split("_")[0] for p in files} and sum("_cal." in p.name for p in files) >= 1
    for path in files:
        check(path)
