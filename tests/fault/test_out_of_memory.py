"""The n-th allocation of ours fails: an honest exit 20 with its line, or a right result without it; never a crash."""
import pathlib
import subprocess

import pytest

import outcome
import starfield

SOURCE = pathlib.Path(__file__).with_name("failing_malloc.c")
RUNS = 120  # of each verb, spread over all its allocations


@pytest.fixture(scope="module")
def failing_malloc(nightshift, tmp_path_factory):
    if nightshift.sanitized:
        pytest.skip("a sanitizer brings its own malloc")
    library = tmp_path_factory.mktemp("fault") / "failing_malloc.so"
    subprocess.run(["gcc", "-O2", "-fno-builtin", "-shared", "-fPIC", SOURCE, "-o", library], check=True)
    return library


@pytest.mark.parametrize("name", ["scan", "inspect", "extract", "reduce", "master"])
def test_out_of_memory__every_allocation_is_checked(verb, failing_malloc, tmp_path, name):
    program = verb(name)
    image, header, _ = starfield.field(nx=160, ny=140, n=25, seed=31)
    header["IMAGETYP"] = "bias" if name == "master" else "light"
    path = starfield.write(tmp_path / "field.fits", image, header)

    def run(at):
        out = tmp_path / f"out{at}"
        out.mkdir()
        count = tmp_path / "count"
        result = program(*outcome.command(name, path, out, ["--threads", "1"]), timeout=60,
                         env={"LD_PRELOAD": str(failing_malloc), "FAIL_AT": str(at), "FAIL_COUNT_FILE": str(count), "LOG_FORMAT": "json"})
        return result, out, int(count.read_text())

    undisturbed, whole, total = run(0)
    assert total > 10, undisturbed.explain()
    failures = []
    for at in sorted({1 + i * total // RUNS for i in range(RUNS)} & set(range(1, total + 1))):
        try:
            result, out, _ = run(at)
            assert result.code in (20, undisturbed.code), result.explain()
            if result.code == 20:
                assert any(e.get("level") == "error" for e in outcome.events(result)), result.explain()
                assert name == "master" or outcome.products(out) == [], result.explain()
            else:
                assert outcome.products(out) == outcome.products(whole), result.explain()
        except (AssertionError, subprocess.TimeoutExpired) as problem:
            failures.append(f"---- allocation {at} of {total}: {problem}")
    assert not failures, f"{len(failures)} of {RUNS} ended badly\n" + "\n".join(failures[:5])
