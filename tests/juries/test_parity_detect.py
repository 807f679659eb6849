"""Source Extractor's catalogue of the same image, same .sex and .param: the bars of parity on simulated and real fields."""
import pathlib
import shutil
import sys

import pytest
from astropy.io import fits

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import parity_detect as parity  # noqa: E402


def check(name, image, program, tmp_path):
    sex = parity.write_settings(tmp_path)
    theirs, ours, seconds = parity.run_both(program, image, sex, tmp_path)
    r = parity.compare(theirs, ours)
    print(parity.HEAD, parity.row(name, r, seconds), sep="\n")
    assert r["matched"] >= 0.99 and r["flags"] >= 0.98
    assert r["position"] < 0.001, "same pixels, same weights: what is left is the catalogue's float32"
    if r["clean"] >= 10:
        assert abs(r["mag"]) < 2 and r["mag_spread"] < 10
    if r["blends"] >= 10:  # the outer pixels of a blend are drawn at random there: 6 mmag between two runs of it
        assert abs(r["blend_mag"]) < 20


@pytest.mark.parametrize("name,shape", [("sparse", (900, 800, 500, 21)), ("crowded", (1024, 1000, 3000, 22))])
def test_parity_detect__simulated(name, shape, verb, tmp_path):
    assert shutil.which("source-extractor"), "source-extractor is missing: ./run-tests --packages installs it"
    path = tmp_path / f"{name}.fits"
    fits.PrimaryHDU(parity.moffat_field(*shape)).writeto(path)
    check(name, path, verb("extract").path, tmp_path)


def test_parity_detect__real_frame(verb, data, tmp_path):
    frames = sorted((pathlib.Path(data) / "arcsat-20250530-night").glob("LPSEB35_*.fits"))
    if not frames:
        pytest.skip("no real frames in the data folder")
    check("arcsat", frames[0], verb("extract").path, tmp_path)
