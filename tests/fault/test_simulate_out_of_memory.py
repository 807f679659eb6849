"""The n-th allocation of simulate fails: exit 20 with a line, or the same files without it; nothing half-written."""
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).with_name("failing_malloc.c")
RUNS = 80
OPTIONS = ("--preset small-night --size 40x40 --frames 1 --bias 1 --dark 0 --flat 1 --ccds 1 --amps 1 --stars 5 --truth-images "
           "--damage nan --threads 1").split()


def test_simulate__every_allocation_is_checked(nightshift, tmp_path):
    if nightshift.sanitized:
        pytest.skip("a sanitizer brings its own malloc")
    library, count = tmp_path / "failing_malloc.so", tmp_path / "count"
    subprocess.run(["gcc", "-O2", "-fno-builtin", "-shared", "-fPIC", SOURCE, "-o", library], check=True)

    def run(at):
        out = tmp_path / f"out{at}"
        env = {"LD_PRELOAD": str(library), "FAIL_AT": str(at), "FAIL_COUNT_FILE": str(count)}
        result = nightshift("simulate", out, *OPTIONS, env=env, code={0, 20})
        return result, {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}

    _, whole = run(0)
    total = int(count.read_text())
    for at in sorted({1 + i * total // RUNS for i in range(RUNS)}):
        result, made = run(at)
        assert set(made) <= set(whole), result.explain()
        assert result.code == 20 or made == whole, result.explain()
        assert result.code == 0 or result.lines, result.explain()
        assert all(made[name] == whole[name] for name in made if "_light.fits" not in name.name), result.explain()
