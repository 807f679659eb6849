"""A simulated night with masters, then damage: to lights, to masters, to the disk, to the process itself."""
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

import damage
import outcome

SEED = int(os.environ.get("NIGHTSHIFT_TEST_SEED", "20250530"))
SIZE = ["--preset", "small-night", "--size", "320x288", "--ccds", "2", "--amps", "2", "--stars", "60", "--frames", "4"]


@pytest.fixture(scope="module", params=["plain", "fz"])
def night(nightshift, request, tmp_path_factory):
    """(raw folder, output folder with masters)."""
    absent = {"simulate", "master", "reduce"} - nightshift.verbs()
    if absent:
        pytest.skip(f"NO SUCH VERB IN THIS BUILD: {', '.join(sorted(absent))}")
    folder = tmp_path_factory.mktemp("night")
    nightshift("simulate", folder / "sim", *SIZE, *(["--fz"] if request.param == "fz" else []), code=0)
    nightshift("master", folder / "sim/raw", "--out", folder / "out", code=0)
    return folder / "sim/raw", folder / "out"


def lights(raw):
    return sorted(p for p in raw.iterdir() if "light" in p.name)


def reduce(program, path, out, masters, codes, **options):
    return outcome.run(program, "reduce_with_masters", path, out, codes=codes, extra=["--masters", masters / "masters"], **options)


def test_night_damage__undamaged_lights_work(nightshift, night, tmp_path):
    raw, masters = night
    result = reduce(nightshift, lights(raw)[0], tmp_path / "out", masters, {0})
    made = outcome.products(tmp_path / "out")
    assert sum(name.endswith("_cal.fits.fz") for name in made) == 2 and sum(name.endswith("_cat.fits") for name in made) == 2, \
        f"{made}\n{result.explain()}"


def test_night_damage__lights_with_flipped_bits(nightshift, night, tmp_path):
    raw, masters = night
    print(f"seed {SEED} (NIGHTSHIFT_TEST_SEED)")
    rng = np.random.default_rng(SEED)
    whole = lights(raw)[1]
    cases = []
    for i in range(24):
        span = (0, 3 * damage.BLOCK) if i % 2 else (0, None)
        target = tmp_path / f"flip{i}_{whole.name}"
        cases.append((target.name, damage.flip_bits(whole, target, rng, int(rng.integers(1, 30)), *span)))
    outcome.collect((name, lambda path=path, i=i: reduce(nightshift, path, tmp_path / f"out{i}", masters, outcome.HONEST))
                    for i, (name, path) in enumerate(cases))


def test_night_damage__one_flipped_pixel_bit_is_noticed(nightshift, night, tmp_path):
    """DATASUM is there to be asked."""
    raw, masters = night
    whole = lights(raw)[3]
    bad = tmp_path / f"bit_{whole.name}"
    data = bytearray(whole.read_bytes())
    data[-50_000 if whole.suffix == ".fits" else -8_000] ^= 64
    bad.write_bytes(data)
    result = reduce(nightshift, bad, tmp_path / "out", masters, {3})
    assert "DATASUM" in result.err, result.explain()


def test_night_damage__truncated_lights(nightshift, night, tmp_path):
    """One CCD of two may be whole: then it is reduced and the other one named (exit 3)."""
    raw, masters = night
    whole = lights(raw)[2]
    size = whole.stat().st_size
    for i, share in enumerate((0.02, 0.2, 0.49, 0.55, 0.75, 0.97)):
        short = damage.cut(whole, tmp_path / f"cut{i}_{whole.name}", int(size * share))
        # Cut right behind the primary, a file of extensions is a sound file without an image: 12.
        result = reduce(nightshift, short, tmp_path / f"out{i}", masters, {3, 10, 12} if i == 0 else {3, 10})
        made = [name for name in outcome.products(tmp_path / f"out{i}") if name.endswith("_cal.fits.fz")]
        assert len(made) == (1 if result.code == 3 else 0), f"{made}\n{result.explain()}"


def test_night_damage__one_bad_light_does_not_stop_the_night(nightshift, night, tmp_path):
    raw, masters = night
    good = lights(raw)
    bad = damage.cut(good[0], tmp_path / f"bad_{good[0].name}", 5000)
    result = nightshift("reduce", *good, bad, "--masters", masters / "masters", "--out", tmp_path / "out", code=3)
    assert bad.name in result.err
    made = outcome.products(tmp_path / "out")
    assert sum(name.endswith("_cal.fits.fz") for name in made) == 2 * len(good), f"{made}\n{result.explain()}"


def test_night_damage__bad_masters(nightshift, night, tmp_path):
    """A damaged master is no master: either another one serves, or the exposure is refused and the master named."""
    raw, masters = night
    print(f"seed {SEED} (NIGHTSHIFT_TEST_SEED)")
    rng = np.random.default_rng(SEED)
    files = sorted(p for p in (masters / "masters").rglob("*.fits*"))
    assert files
    for i in range(12):
        broken = tmp_path / f"broken{i}"
        shutil.copytree(masters / "masters", broken / "masters")
        victim = broken / "masters" / files[i % len(files)].relative_to(masters / "masters")
        if i % 3 == 0:
            damage.cut(victim, victim, victim.stat().st_size // 2)
        else:
            damage.flip_bits(victim, victim, rng, 200)
        result = nightshift("reduce", lights(raw)[0], "--masters", broken / "masters", "--out", tmp_path / f"out{i}", code={3, 10, 11},
                            env={"LOG_FORMAT": "json"})
        assert re.search(r'"level":"(error|warn)"', result.err), f"{victim.name}\n{result.explain()}"


def test_night_damage__disk_fills_under_reduce(nightshift, night, tmp_path):
    raw, masters = night
    for i, size in enumerate(("16k", "64k", "160k", "400k")):
        disk = tmp_path / f"disk{i}"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"NO MOUNT ALLOWED HERE: {mounted.stderr.strip()}")
        try:
            result = nightshift("reduce", *lights(raw), "--masters", masters / "masters", "--out", disk, code={3, 20})
            assert "space" in result.err, result.explain()
            made = outcome.products(disk)
            frames = {re.sub(r"(_cal\.fits\.fz|_cat\.fits)$", "", name) for name in made if not name.startswith("quality")}
            for frame in frames:  # those that are there are whole
                assert {frame + "_cal.fits.fz", frame + "_cat.fits"} <= set(made), f"{made}\n{result.explain()}"
        finally:
            subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_night_damage__stopped_at_any_moment(nightshift, night, tmp_path, sign):
    """Nothing half-written under a product's name, and the same command finishes the work to the same bytes."""
    raw, masters = night
    rng = np.random.default_rng(SEED)
    command = [nightshift.path, "reduce", *lights(raw), "--masters", masters / "masters", "--out"]
    start = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    took = time.monotonic() - start
    want = {name: (tmp_path / "whole" / name).read_bytes() for name in outcome.products(tmp_path / "whole")}
    for i in range(6):
        out = tmp_path / f"out{i}"
        child = subprocess.Popen([*command, out], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(float(rng.uniform(0, took)))
        child.send_signal(sign)
        _, err = child.communicate(timeout=60)
        assert child.returncode in {0, 75, -int(sign)}, f"exit {child.returncode}: {err.decode()}"
        for name in outcome.products(out) if out.exists() else []:
            if not name.startswith(".attempts") and "/." not in name:
                assert (out / name).read_bytes() == want[name], f"{name} differs after {sign.name}"
        subprocess.run([*command, out], check=True, capture_output=True)
        assert {name: (out / name).read_bytes() for name in outcome.products(out) if not name.startswith(".attempts")} == want
