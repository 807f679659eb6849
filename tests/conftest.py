"""What every client test can ask for: the built program, the folder of real frames, a helper that runs one verb."""
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/e2e")]  # damage, outcome, starfield: helpers every folder may import

# A line that ends a run: "nightshift VERB: ...". Progress and warnings carry a level of their own.
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")


@dataclasses.dataclass
class Result:
    """One finished run of the program."""

    code: int
    out: str
    err: str
    argv: list

    @property
    def lines(self):
        return [line for line in self.err.splitlines() if line.strip()]

    def explain(self):
        return f"{' '.join(map(str, self.argv))}\nexit {self.code}\nstdout: {self.out[-2000:]}\nstderr: {self.err[-4000:]}"


class Program:
    """The built nightshift. Call it with a verb and its arguments."""

    def __init__(self, path):
        self.path = path
        self.sanitized = "asan" in str(path) or "tsan" in str(path)

    def __call__(self, *argv, code=None, env=None, cwd=None, timeout=120, prefix=(), preexec_fn=None):
        """Run; `code` is the exit code expected (an int, a set of them, or None for any that is not a crash)."""
        full = [*map(str, prefix), str(self.path), *map(str, argv)]
        environment = {**os.environ, "LOG_FORMAT": "console", **(env or {})}
        done = subprocess.run(full, capture_output=True, env=environment, cwd=cwd, timeout=timeout, stdin=subprocess.DEVNULL,
                              preexec_fn=preexec_fn)
        result = Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), full)
        assert result.code >= 0, f"died of {signal.Signals(-result.code).name}\n{result.explain()}"
        assert not SANITIZER.search(result.err), result.explain()
        if code is not None:
            assert result.code in (code if isinstance(code, (set, tuple, list)) else {code}), result.explain()
        return result

    def fails(self, code, *argv, says=None, **options):
        """Run and expect exit `code` and one clear last line on stderr; `says` is a pattern it must contain."""
        result = self(*argv, code=code, **options)
        check_one_clear_line(result, says)
        return result

    def verbs(self):
        """The verbs this build has, read from its help."""
        return set(re.findall(r"^  ([a-z]+) ", self("--help", code=0).out, re.M))


def check_one_clear_line(result, says=None):
    """The end of stderr is one line for the reader: who speaks, what failed, about what."""
    errors = [line for line in result.lines if re.search(r"nightshift(?: \w+)?: ", line)] or result.lines
    assert errors, "no word on stderr\n" + result.explain()
    line = errors[-1]
    assert len(line) < 2000 and line.isprintable(), result.explain()
    if says:
        assert re.search(says, line), f"'{says}' is not in the line\n" + result.explain()


@pytest.fixture(scope="session")
def nightshift():
    path = pathlib.Path(os.environ.get("NIGHTSHIFT_PROGRAM", ROOT / "build/release/nightshift")).resolve()
    if not path.exists():
        pytest.fail(f"{path} is not built; ./run-tests builds it, or set NIGHTSHIFT_PROGRAM")
    return Program(path)


@pytest.fixture(scope="session")
def data():
    """The folder of real frames: NIGHTSHIFT_TEST_DATA, else ../shared/data beside the source tree."""
    path = pathlib.Path(os.environ.get("NIGHTSHIFT_TEST_DATA", ROOT.parent / "shared/data"))
    if not path.is_dir():
        pytest.skip(f"NO REAL FRAMES: '{path}' is not there; set NIGHTSHIFT_TEST_DATA")
    return path.resolve()


@pytest.fixture
def verb(nightshift, request):
    """`verb("reduce")` skips the test, loudly, when this build has no such verb."""

    def need(*names):
        absent = set(names) - nightshift.verbs()
        if absent:
            pytest.skip(f"NO SUCH VERB IN THIS BUILD: {', '.join(sorted(absent))}")
        return nightshift

    return need
