#!/usr/bin/env bash
# Stage by stage: Mpix/s, share of the machine's copy bandwidth, 1 -> 2 thread ratio, of master and reduce.
#   tests/bench/reduce_stages.sh [SIDE]      SIDE of the simulated camera, default 4096; best of 3
# First the passes over arrays in memory (bench_reduce), then the verbs on simulated frames from a warm cache.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
side=${1:-4096}
work=build/bench/reduce-$side
cmake --preset release >/dev/null
cmake --build --preset release --target nightshift bench_reduce -- --quiet
program=$PWD/build/release/nightshift
mkdir -p "$work"
build/release/tests/bench_reduce "$side" 25
if [ ! -d "$work/raw" ]; then
  "$program" simulate "$work" --size "${side}x$side" --ccds 1 --amps 4 --frames 4 --bias 9 --dark 5 --flat 5 --stars 4000 --seed 1 2>/dev/null
fi
cat "$work"/raw/*.fits >/dev/null # warm
exec /usr/bin/python3 - "$program" "$work" "$side" <<'PYTHON'
import json, os, pathlib, shutil, subprocess, sys, time

program, work, side = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
mpix = side * side / 1e6
lights = sorted(map(str, (work / "raw").glob("*light*")))
counts = {kind: len(list((work / "raw").glob(f"*{kind}*"))) for kind in ("bias", "dark", "flat")}


def run(*argv):
    start = time.monotonic()
    log = open(work / "log", "wb")
    child = subprocess.Popen([program, *map(str, argv)], stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "LOG_FORMAT": "json", "LOG_LEVEL": "debug"})
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit((work / "log").read_text()[-2000:])
    events = [json.loads(line) for line in (work / "log").read_text().splitlines() if line.startswith("{")]
    return time.monotonic() - start, usage.ru_maxrss / 1024, events


def best(threads):
    """Least seconds by stage over three runs: per frame for reduce, per group for master."""
    least, peak = {}, {}
    for _ in range(3):
        out = work / f"out{threads}"
        shutil.rmtree(out, ignore_errors=True)
        wall, peak["master"], events = run("master", work / "raw", "--out", out, "--threads", threads)
        seconds = {"master, all": wall}
        for e in events:
            if e.get("message") == "master made":
                seconds[f"stack {e['kind']}"] = e["elapsed_ms"] / 1000
        wall, peak["reduce"], events = run("reduce", lights[0], "--out", out, "--threads", threads)
        seconds["reduce, one frame"] = wall
        for e in events:
            if "stage" in e and "exposure" in e:
                seconds[f"  {e['stage']}"] = e["elapsed_ms"] / 1000
        wall, peak["reduce all"], _ = run("reduce", *lights[1:], "--out", out, "--threads", threads)
        seconds[f"reduce, {len(lights) - 1} frames"] = wall
        for stage, s in seconds.items():
            least[stage] = min(s, least.get(stage, 1e9))
    return least, peak


one, peak = best(1)
two, peak2 = best(2)
print(f"\n{side} x {side}, 4 amplifiers, uncompressed 16-bit; {counts['bias']} bias, {counts['dark']} dark, {counts['flat']} flat\n"
      f"{'':22s} {'1 thread':>10s} {'Mpix/s':>8s} {'2 threads':>10s} {'Mpix/s':>8s} {'ratio':>6s}")
for stage in one:
    pixels = mpix * (counts[stage.split()[1]] if stage.startswith("stack") else sum(counts.values()) if stage.startswith("master")
                     else len(lights) - 1 if stage.startswith(f"reduce, {len(lights) - 1}") else 1)
    print(f"{stage:22s} {one[stage]:9.3f}s {pixels / one[stage]:8.0f} {two[stage]:9.3f}s {pixels / two[stage]:8.0f} {one[stage] / two[stage]:6.2f}")
print(f"peak memory, 2 threads: master {peak2['master']:.0f} MB, reduce of one frame {peak2['reduce']:.0f} MB, of {len(lights) - 1} frames {peak2['reduce all']:.0f} MB")
PYTHON
