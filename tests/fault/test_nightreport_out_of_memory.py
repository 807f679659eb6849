"""The n-th allocation of nightreport fails: exit 20 with its line and no page, or the right page; never a crash."""
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).with_name("failing_malloc.c")
RUNS = 60


def test_out_of_memory__the_page_is_whole_or_absent(verb, tmp_path):
    program = verb("simulate", "master", "reduce", "nightcal", "nightreport")
    if program.sanitized:
        pytest.skip("a sanitizer brings its own malloc")
    library, out = tmp_path / "failing_malloc.so", tmp_path / "out"
    subprocess.run(["gcc", "-O2", "-fno-builtin", "-shared", "-fPIC", SOURCE, "-o", library], check=True)
    program("simulate", tmp_path / "sim", "--preset", "small-night", "--size", "128x128", "--ccds", "1", "--frames", "6", "--stars", "60", code=0)
    program("master", tmp_path / "sim/raw", "--out", out, code=0)
    program("reduce", tmp_path / "sim/raw", "--out", out, code=0)
    program("nightcal", *sorted(out.rglob("*_cat.fits")), code={0, 3})  # its report is not kept: the cards are read

    def run(at):
        page, count = tmp_path / f"{at}" / "index.html", tmp_path / "count"
        result = program("nightreport", "--out", out, "-o", page, "--pictures", "2", "--threads", "1", timeout=60,
                         env={"LD_PRELOAD": str(library), "FAIL_AT": str(at), "FAIL_COUNT_FILE": str(count)})
        return result, page, int(count.read_text())

    undisturbed, whole, total = run(0)
    assert undisturbed.code == 0 and total > 100, undisturbed.explain()
    failures = []
    for at in sorted({1 + i * total // RUNS for i in range(RUNS)}):
        result, page, _ = run(at)
        if result.code == 20:
            good = "nightshift nightreport: " in result.err and not page.exists()
        else:
            good = result.code == 0 and page.read_bytes() == whole.read_bytes()
        if not good:
            failures.append(f"---- allocation {at} of {total}: {result.explain()}")
    assert not failures, f"{len(failures)} of {RUNS} ended badly\n" + "\n".join(failures[:5])
