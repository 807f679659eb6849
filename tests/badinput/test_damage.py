"""Generated damage: truncation, flipped bits, absurd headers, odd shapes and values."""
import os

import numpy as np
import pytest
from astropy.io import fits

import damage
import outcome

VERBS = ["scan", "inspect", "extract", "reduce", "master"]
SEED = int(os.environ.get("NIGHTSHIFT_TEST_SEED", "20250530"))


@pytest.fixture(params=VERBS)
def through(verb, request, tmp_path):
    """`through(path)` puts one file through the verb and checks the outcome."""
    program = verb(request.param)
    counter = iter(range(1_000_000))

    def go(path, **options):
        return outcome.run(program, request.param, path, tmp_path / f"out{next(counter)}", **options)

    go.verb = request.param
    return go


def test_damage__the_undamaged_files_work(verb, tmp_path):
    """Else the tests below would show nothing."""
    program = verb("extract")
    for i, path in enumerate([damage.plain(tmp_path / "plain.fits"), damage.compressed(tmp_path / "rice.fits.fz"),
                              damage.compressed(tmp_path / "gzip.fits.fz", kind="GZIP_1"),
                              damage.two_extensions(tmp_path / "two.fits")]):
        result = outcome.run(program, "extract", path, tmp_path / f"out{i}", codes={0})
        catalogue = tmp_path / f"out{i}" / "x_cat.fits"
        with fits.open(catalogue) as hdus:
            assert len(hdus["LDAC_OBJECTS"].data) >= 3, result.explain()


@pytest.mark.parametrize("shape", ["plain", "two", "fz"])
def test_damage__truncated_at_every_block(through, tmp_path, shape):
    make = {"plain": (damage.plain, ".fits"), "two": (damage.two_extensions, ".fits"), "fz": (damage.compressed, ".fits.fz")}[shape]
    whole = make[0](tmp_path / f"whole{make[1]}")
    size = whole.stat().st_size
    cuts = sorted({at + extra for at in range(0, size, damage.BLOCK) for extra in (0, 1000) if at + extra < size})
    outcome.collect((f"{shape} cut at {at} of {size}",
                     lambda at=at: through(damage.cut(whole, tmp_path / f"cut{at}{make[1]}", at), codes={0, 3, 10, 11, 12}))
                    for at in cuts)


def test_damage__a_truncated_image_is_never_measured(verb, tmp_path):
    """Missing pixels must not come out as sky."""
    program = verb("extract")
    whole = damage.plain(tmp_path / "whole.fits")
    for fraction in (0.3, 0.6, 0.95):
        size = int(damage.BLOCK + (96 * 80 * 2) * fraction)
        short = damage.cut(whole, tmp_path / f"short{size}.fits", size)
        outcome.run(program, "extract", short, tmp_path / f"out{size}", codes={10})


@pytest.mark.parametrize("shape", ["plain", "two", "fz"])
def test_damage__flipped_bits(through, tmp_path, shape):
    print(f"seed {SEED} (NIGHTSHIFT_TEST_SEED)")
    rng = np.random.default_rng(SEED)
    make = {"plain": (damage.plain, ".fits"), "two": (damage.two_extensions, ".fits"), "fz": (damage.compressed, ".fits.fz")}[shape]
    whole = make[0](tmp_path / f"whole{make[1]}")
    cases = []
    for i in range(24):
        span = (0, 2 * damage.BLOCK) if i % 2 else (0, None)
        cases.append((f"{shape} flips {i}", damage.flip_bits(whole, tmp_path / f"flip{i}{make[1]}", rng, int(rng.integers(1, 30)), *span)))
    outcome.collect((name, lambda path=path: through(path)) for name, path in cases)


def test_damage__absurd_headers(through, tmp_path):
    outcome.collect((name, lambda path=path: through(path)) for name, path in list(damage.absurd_headers(tmp_path)))


def test_damage__empty_file(through, tmp_path):
    path = tmp_path / "empty.fits"
    path.touch()
    through(path, codes={0, 3, 10} if through.verb == "scan" else {10})


def test_damage__a_directory(through, tmp_path):
    if through.verb in ("scan", "master"):
        pytest.skip("takes folders")
    path = tmp_path / "folder.fits"
    path.mkdir()
    through(path, codes={10})


def test_damage__no_such_file(through, tmp_path):
    through(tmp_path / "never-made.fits", codes={10})


def test_damage__a_pipe_and_a_device_are_refused_at_once(through, tmp_path):
    pipe = tmp_path / "pipe.fits"
    os.mkfifo(pipe)
    through(pipe, codes={0, 3, 10} if through.verb == "scan" else {10}, timeout=30)


def test_damage__control_characters_in_a_name(through, tmp_path):
    path = damage.cut(damage.plain(tmp_path / "whole.fits"), tmp_path / "odd\nname\x1b[31m.fits", 3000)
    # The name is shown with its control characters replaced, so only the code and the shape of the line are checked.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome.json, "dumps", lambda *a, **k: path.name)
        through(path)


def test_damage__brackets_in_a_name_are_a_name(verb, tmp_path):
    """cfitsio reads brackets as a filter, `!` as overwrite, `mem:` and `http:` as drivers; a path is a path."""
    program = verb("extract")
    for i, name in enumerate(["a[1].fits", "b[pix X>1].fits", "!c.fits", "d(e).fits", "f+1.fits", "g h.fits"]):
        outcome.run(program, "extract", damage.plain(tmp_path / name), tmp_path / f"out{i}", codes={0})


def test_damage__all_nan(through, tmp_path):
    result = through(damage.floats(tmp_path / "nan.fits", np.full((64, 64), np.nan)))
    if through.verb == "extract" and result.code == 0:
        with fits.open(next(tmp_path.glob("out*/x_cat.fits"))) as hdus:
            assert len(hdus["LDAC_OBJECTS"].data) == 0


def test_damage__all_saturated(through, tmp_path):
    through(damage.plain(tmp_path / "bright.fits", np.full((64, 64), 65535), SATURATE=60000))


def test_damage__infinities_and_huge_values(through, tmp_path):
    image = damage.stars(64, 64)
    image[5, 5], image[6, 6], image[7, 7], image[8, 8] = np.inf, -np.inf, 3e38, -3e38
    through(damage.floats(tmp_path / "huge.fits", image))


def test_damage__constant_image(through, tmp_path):
    result = through(damage.plain(tmp_path / "constant.fits", np.full((64, 64), 1000)))
    if through.verb == "extract" and result.code == 0:
        with fits.open(next(tmp_path.glob("out*/x_cat.fits"))) as hdus:
            assert len(hdus["LDAC_OBJECTS"].data) == 0


def test_damage__no_image_at_all(through, tmp_path):
    path = tmp_path / "table.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(5))])]).writeto(path)
    result = through(path, codes={0, 3, 10, 12})
    assert result.code != 0 or through.verb in ("scan", "inspect"), result.explain()


@pytest.mark.parametrize("ny,nx", [(1, 1), (1, 40), (40, 1), (3, 30000), (30000, 3), (2, 2), (5, 5)])
def test_damage__odd_shapes(through, tmp_path, ny, nx):
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    through(damage.plain(tmp_path / "shape.fits", rng.normal(500, 10, (ny, nx))))


def test_damage__a_hundred_thousand_cards(through, tmp_path):
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2",
             "NAXIS1  =                   32", "NAXIS2  =                   32"]
    cards += [f"K{i:07d}= {i:20d}" for i in range(100_000)]
    rng = np.random.default_rng(SEED)
    data = rng.normal(500, 10, (32, 32)).astype(">i2").tobytes()
    through(damage.raw_header(tmp_path / "cards.fits", cards, data), timeout=60)


def test_damage__cube_of_many_planes(through, tmp_path):
    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(np.zeros((3, 20, 20), np.float32), damage.header()).writeto(path)
    result = through(path)
    if through.verb in ("extract", "reduce"):
        assert result.code in (10, 12), result.explain()
