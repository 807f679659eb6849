"""The README's two commands on a bare Debian 12 (tests/fresh-machine): minutes, a network and root: ./run-tests --long fresh-machine."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.long
@pytest.mark.parametrize("command", ["quickstart", "run-tests"], ids=lambda c: f"fresh-machine-{c}")
def test_readme_command(command):
    if os.geteuid() or not shutil.which("debootstrap"):
        pytest.skip("NO BARE MACHINE: it needs root and the package debootstrap")
    done = subprocess.run([ROOT / "tests/fresh-machine", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=5400)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
