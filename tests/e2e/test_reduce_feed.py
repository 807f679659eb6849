"""reduce --stdin: lines alone and in heaps give the same answers and the same bytes."""
import json
import os
import signal
import shutil
import subprocess
import time

import pytest


@pytest.fixture(scope="module")
def night(nightshift, tmp_path_factory):
    if not {"simulate", "master", "reduce"} <= nightshift.verbs():
        pytest.skip("NO SUCH VERB IN THIS BUILD: simulate, master, reduce")
    root = tmp_path_factory.mktemp("night")
    nightshift("simulate", root, "--preset", "small-night", "--seed", 11, "--frames", 5, "--stars", 60, code=0)
    nightshift("master", root / "raw", "--out", root / "out", code=0)
    bad = sorted((root / "raw").glob("*light.fits"))[1]
    with open(bad, "r+b") as f:
        f.truncate(bad.stat().st_size * 6 // 10)
    return root


def start(nightshift, night, out, threads, *more):
    return subprocess.Popen([nightshift.path, "reduce", "--stdin", "--out", out, "--masters", night / "out/masters", "--threads", str(threads), *more],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "LOG_FORMAT": "console"})


def lines(night):
    lights = sorted((night / "raw").glob("*light.fits"))
    files = [*map(str, lights), str(lights[0]), str(sorted((night / "raw").glob("*bias*"))[0]), str(night / "nowhere.fits")]
    said = [json.dumps({"file": f}) for f in files]
    return said[:3] + ["no JSON", "{}"] + said[3:]


def tree(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_heaps_answer_like_single_lines(night, nightshift, tmp_path):
    one = start(nightshift, night, tmp_path / "one", 1)
    alone = []
    for line in lines(night):
        one.stdin.write(line + "\n")
        one.stdin.flush()
        alone.append(one.stdout.readline().replace(str(tmp_path / "one"), "OUT"))
    one.stdin.close()
    assert one.wait() == 0, one.stderr.read()
    answers = [json.loads(a) for a in alone]
    assert [a["exit_code"] for a in answers] == [0, 0, 0, 2, 2, 0, 0, 0, 12, 0], alone
    assert [c["exit_code"] for c in answers[-1]["ccds"]] == [10], alone[-1]
    assert {c["exit_code"] for c in answers[1]["ccds"]} & {10}, alone[1]
    for threads in (1, 2, 5):
        out = tmp_path / f"heap{threads}"
        heap = start(nightshift, night, out, threads)
        said, err = heap.communicate("\n".join(lines(night)))  # the last line has no end
        assert heap.returncode == 0, err
        # a line named twice in one heap is reduced twice or found done: the same product either way
        got = [line.replace(str(out), "OUT").replace('"already"', '"done"') for line in said.splitlines(keepends=True)]
        assert got == [line.replace('"already"', '"done"') for line in alone]
        assert tree(out) == tree(tmp_path / "one")


def test_an_idle_feed_ends_at_a_signal(night, nightshift, tmp_path):
    idle = start(nightshift, night, tmp_path, 2)
    idle.stdin.write(json.dumps({"file": str(sorted((night / "raw").glob("*light.fits"))[0])}) + "\n")
    idle.stdin.flush()
    assert json.loads(idle.stdout.readline())["exit_code"] == 0
    began = time.monotonic()
    idle.send_signal(signal.SIGTERM)
    assert idle.wait(timeout=20) == 75
    assert time.monotonic() - began < 10
    idle.stdin.close()


def test_memory_limit_bounds_the_plans(night, nightshift, tmp_path):
    """Two CCDs whose masters do not fit together are loaded one after the other."""
    out = tmp_path / "tight"
    tight = start(nightshift, night, out, 2, "--memory-limit", "8")
    said, err = tight.communicate("\n".join(lines(night)))
    assert tight.returncode == 0, err
    wide = start(nightshift, night, tmp_path / "wide", 2)
    wide.communicate("\n".join(lines(night)))
    assert tree(out) == tree(tmp_path / "wide")
    shutil.rmtree(out)
