"""The system says no: permission, a full disk, a missing folder."""
import os
import pathlib
import shutil
import subprocess

import pytest

import damage
import outcome

VERBS = ["scan", "inspect", "extract", "reduce", "master"]


def as_nobody():
    """A prefix that runs a command as an unprivileged user, so that permissions mean something under root."""
    if os.getuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("NO SETPRIV: permissions mean nothing to root")
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def open_folder(nightshift):
    """A folder that an unprivileged user can enter, with a copy of the program where it can be reached."""
    folder = pathlib.Path(subprocess.check_output(["mktemp", "-d", "/tmp/nightshift-refusals-XXXXXX"], text=True).strip())
    folder.chmod(0o777)
    program = shutil.copy(nightshift.path, folder / "nightshift")
    yield folder, type(nightshift)(pathlib.Path(program)), nightshift.sanitized
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", VERBS)
def test_refusals__no_permission_to_read(verb, open_folder, name):
    verb(name)
    folder, program, program.sanitized = open_folder
    path = damage.plain(folder / "secret.fits")
    path.chmod(0)
    out = folder / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    outcome.run(program, name, path, out, codes={3, 10} if name == "scan" else {10}, prefix=as_nobody(), says="ermission")


@pytest.mark.parametrize("name", ["extract"])
def test_refusals__no_permission_to_write(verb, open_folder, name):
    verb(name)
    folder, program, program.sanitized = open_folder
    path = damage.plain(folder / "good.fits")
    path.chmod(0o644)
    out = folder / "locked"
    out.mkdir(mode=0o755)
    if os.getuid() != 0:
        out.chmod(0o555)
    result = program(*outcome.command(name, path, out), prefix=as_nobody(), code={10, 20})
    assert "locked" in result.err and "ermission" in result.err, result.explain()
    assert outcome.products(out) == []


@pytest.mark.parametrize("name", ["extract", "reduce", "simulate", "master"])
def test_refusals__disk_full(verb, tmp_path, name):
    program = verb(name)
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"NO MOUNT ALLOWED HERE: {mounted.stderr.strip()}")
    try:
        big = damage.plain(tmp_path / "big.fits", damage.stars(400, 400, 300))
        argv = {"extract": ["extract", big, "-o", disk / "cat.fits"],
                "simulate": ["simulate", disk / "night"]}.get(name)
        if name == "master":
            inputs = [damage.plain(tmp_path / f"bias{i}.fits", damage.stars(400, 400, 0, seed=i), IMAGETYP="bias", GAIN=1.5, RDNOISE=5.0) for i in range(3)]
            argv = ["master", *inputs, "--out", disk]
        if name == "reduce":
            calibrated = program("reduce", big, "--out", tmp_path / "roomy")
            if calibrated.code:
                pytest.skip("this frame needs masters: tests/badinput/test_night_damage.py fills the disk under reduce")
            argv = ["reduce", big, "--out", disk]
        result = program(*argv, code=20)
        assert "space" in result.err, result.explain()
        assert [p for p in outcome.products(disk) if not p.endswith((".yaml", ".csv"))] == [], result.explain()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_refusals__output_folder_is_a_file(verb, tmp_path):
    program = verb("extract")
    (tmp_path / "file").write_text("here")
    result = program("extract", damage.plain(tmp_path / "good.fits"), "-o", tmp_path / "file" / "cat.fits", code={10, 20})
    assert "file" in result.err and "/cat.fits" in result.err, result.explain()
