"""Same binary, settings and instruction set: byte-equal products for any number of threads, at any hour, on any path."""
import hashlib
import pathlib

import numpy as np
import pytest
from astropy.io import fits

import starfield

THREADS = [2, 8]


def digests(folder):
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Crowded enough that tiles meet objects on their borders."""
    folder = tmp_path_factory.mktemp("same-bytes")
    image, header, _ = starfield.field(nx=1100, ny=900, n=1800, wcs="SIP", seed=21)
    return starfield.write(folder / "field.fits", image, header)


@pytest.mark.parametrize("threads", THREADS)
def test_same_bytes__extract(verb, field, tmp_path, threads):
    program = verb("extract")
    for n in (1, threads):
        (tmp_path / str(n)).mkdir()
        program("extract", field, "-o", tmp_path / str(n) / "cat.fits", "--threads", n, code=0)
    assert digests(tmp_path / "1") == digests(tmp_path / str(threads))


def test_same_bytes__extract_twice_from_another_folder(verb, field, tmp_path):
    program = verb("extract")
    for name, zone in (("a", "UTC"), ("b", "Pacific/Kiritimati")):
        (tmp_path / name).mkdir()
        program("extract", field, "-o", "cat.fits", cwd=tmp_path / name, env={"TZ": zone}, code=0)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_same_bytes__instruction_sets_agree(verb, field, tmp_path):
    """Kernels of another instruction set sum in another order: the same objects, values to float rounding of sums of some
    hundred pixels (1e-4 relative), positions to 1e-3 pixel."""
    program = verb("extract")
    rows = []
    for isa in ("generic", "avx2"):
        program("extract", field, "-o", tmp_path / f"{isa}.fits", env={"NIGHTSHIFT_ISA": isa}, code=0)
        rows.append(fits.getdata(tmp_path / f"{isa}.fits", "LDAC_OBJECTS"))
    one, other = rows
    assert len(one) == len(other)
    assert np.abs(one["X_IMAGE"] - other["X_IMAGE"]).max() < 1e-3 and np.abs(one["YWIN_IMAGE"] - other["YWIN_IMAGE"]).max() < 1e-3
    np.testing.assert_allclose(one["FLUX_AUTO"], other["FLUX_AUTO"], rtol=1e-4, atol=1e-3 * np.median(one["FLUXERR_AUTO"]))
    assert (one["FLAGS"] == other["FLAGS"]).mean() > 0.999


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("options", [(), ("--fz", "--ccds", "3", "--amps", "4", "--streaks", "1")], ids=["plain", "mosaic-fz"])
def test_same_bytes__simulate(verb, tmp_path, threads, options):
    program = verb("simulate")
    for n in (1, threads):
        program("simulate", tmp_path / str(n), "--preset", "small-night", *options, "--threads", n, code=0)
    assert len(digests(tmp_path / "1")) > 20
    assert digests(tmp_path / "1") == digests(tmp_path / str(threads))


@pytest.fixture(scope="module")
def raw_night(nightshift, tmp_path_factory):
    absent = {"simulate", "master", "reduce"} - nightshift.verbs()
    if absent:
        pytest.skip(f"NO SUCH VERB IN THIS BUILD: {', '.join(sorted(absent))}")
    folder = tmp_path_factory.mktemp("raw-night")
    nightshift("simulate", folder, "--preset", "small-night", "--ccds", "2", "--amps", "4", "--frames", "3", "--streaks", "1", code=0)
    return folder / "raw"


@pytest.fixture(scope="module")
def one_thread(nightshift, raw_night, tmp_path_factory):
    return made(nightshift, raw_night, tmp_path_factory.mktemp("one"), 1)


def made(program, raw, out, threads, **options):
    program("master", raw, "--out", out, "--threads", threads, code=0, **options)
    program("reduce", raw, "--out", out, "--threads", threads, code=0, **options)
    return digests(out)


@pytest.mark.parametrize("threads", THREADS)
def test_same_bytes__master_and_reduce(nightshift, raw_night, one_thread, tmp_path, threads):
    assert sum(name.endswith("_cal.fits.fz") for name in one_thread) == 6
    assert made(nightshift, raw_night, tmp_path, threads) == one_thread


def test_same_bytes__master_and_reduce_elsewhere_and_under_load(nightshift, raw_night, one_thread, tmp_path):
    """Another time zone, another path to the same frames, more threads than CPUs with a scheduler that moves them."""
    link = tmp_path / "somewhere else"
    link.symlink_to(raw_night)
    assert made(nightshift, link, tmp_path / "out", 5, env={"TZ": "Asia/Kathmandu", "OMP_DYNAMIC": "true", "LANG": "de_DE.UTF-8"}) == one_thread
