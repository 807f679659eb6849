"""The line a machine reads: tests/count_results.py sums ctest's and pytest's files into it."""
import pathlib
import subprocess

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "count_results.py"

CTEST = """<testsuite>
<testcase name="test_a" status="run"><system-out>[ RUN      ] a__one
[       OK ] a__one
[ RUN      ] a__two
[  SKIPPED ] a__two
[  PASSED  ] 1 test(s).
[  SKIPPED ] 1 test(s), listed below:
[  SKIPPED ] a__two
</system-out></testcase>
<testcase name="test_b" status="fail"><failure message=""/><system-out>[ RUN      ] b__one
[       OK ] b__one
\x1b[ RUN      ] b__two
</system-out></testcase>
<testcase name="test_c" status="fail"><failure message=""/><system-out>[  FAILED  ] c__one
 1 FAILED TEST(S)</system-out></testcase>
<testcase name="test_plain" status="run"><system-out>fine</system-out></testcase>
</testsuite>"""

PYTEST = """<testsuites><testsuite><testcase classname="t" name="x"/><testcase classname="t" name="y"><skipped/></testcase>
<testcase classname="t" name="z"><failure/></testcase></testsuite></testsuites>"""


def count(folder):
    done = subprocess.run(["/usr/bin/python3", SCRIPT, folder], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()[-1]


def test_count_results__cases_crashes_and_skips(tmp_path):
    (tmp_path / "c-tests.ctest.xml").write_text(CTEST)
    (tmp_path / "client-tests.pytest.xml").write_text(PYTEST)
    (tmp_path / "stages").write_text("passed house-rules\nfailed c-tests\nfailed aarch64\n")
    # passed: a__one, b__one, plain, x, house-rules; failed: b (it crashed), c__one, z, aarch64; skipped: a__two, y
    assert count(tmp_path) == (1, "5 passed, 4 failed, 2 skipped")


def test_count_results__nothing_is_a_failure(tmp_path):
    assert count(tmp_path) == (1, "0 passed, 0 failed, 0 skipped")


def test_count_results__all_good(tmp_path):
    (tmp_path / "stages").write_text("passed house-rules\n")
    assert count(tmp_path) == (0, "1 passed, 0 failed, 0 skipped")
