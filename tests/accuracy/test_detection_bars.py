"""The bars of tests/accuracy/detection on small fields; the command itself, without arguments, takes the large ones."""
import pathlib
import subprocess
import sys


def test_detection_bars__small_fields(verb):
    program = verb("extract")
    size = ["--field", "medium"] if program.sanitized else []
    done = subprocess.run([sys.executable, pathlib.Path(__file__).parent / "detection", "--program", program.path, "--small", *size],
                          capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
