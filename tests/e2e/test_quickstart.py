"""./quickstart: a night simulated, worked through and served; again: nothing changes; --stop: nothing is left running."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Quickstart:
    def __init__(self, program, folder):
        self.state = folder / "state"
        self.data = folder / "db"
        self.env = {**os.environ, "NIGHTSHIFT_PROGRAM": str(program.path), "QUICKSTART_STATE": str(self.state), "NIGHTSHIFT_DB_DATA": str(self.data),
                    "QUICKSTART_PORT": str(free_port()), "DATABASE_URL": ""}

    def __call__(self, *words, code=0):
        done = subprocess.run([str(ROOT / "quickstart"), *map(str, words)], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def url(self):
        return (self.state / "serve.url").read_text().strip()


@pytest.fixture(scope="module")
def quickstart(nightshift):
    missing = {"run", "serve", "simulate"} - nightshift.verbs()
    if missing:
        pytest.skip(f"NO SUCH VERB IN THIS BUILD: {missing}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ns-qs-", dir="/tmp"))
    folder.chmod(0o755)  # the database's user must enter it, also when the tests run as root
    q = Quickstart(nightshift, folder)
    try:
        yield q
    finally:
        q("--stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def first(quickstart):
    return quickstart()


def commands(text):
    return re.findall(r"^  (curl '.*?')", text, re.M)


def rows(command):
    done = subprocess.run(["bash", "-c", command.replace("curl", "curl -fsS", 1)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[1:]


def test_it_says_what_was_found(first):
    assert re.search(r"^run .*\b8 frames done, 0 held, 0 quarantined", first, re.M), first
    assert re.search(r"^night 20250530: 16 CCD images, [1-9]\d* detections, [1-9]\d* objects", first, re.M), first


def test_the_commands_it_prints_answer(first):
    cone, curve = commands(first)
    assert len(rows(cone)) >= 1
    assert len(rows(curve)) >= 5


def test_the_page_answers(first, quickstart):
    with urllib.request.urlopen(quickstart.url + "/", timeout=20) as answer:
        assert b"<html" in answer.read()
    assert quickstart.url + "/" in first


def test_twice_is_once_and_quick(first, quickstart):
    pid, start = (quickstart.state / "serve.pid").read_text(), time.monotonic()
    again = quickstart()
    assert time.monotonic() - start < 30
    assert (quickstart.state / "serve.pid").read_text() == pid
    assert commands(again) == commands(first)
    found = [re.search(r"^night .*$", text, re.M).group() for text in (first, again)]
    assert found[0] == found[1]


def test_stop_ends_what_was_started(first, quickstart):
    url, pid = quickstart.url, int((quickstart.state / "serve.pid").read_text())
    quickstart("--stop")
    quickstart("--stop")
    with pytest.raises(OSError):
        urllib.request.urlopen(url + "/healthz", timeout=5)
    assert not pathlib.Path(f"/proc/{pid}").exists()
    assert not (quickstart.data / "pg/postmaster.pid").exists()


def test_a_taken_port_is_passed_over_and_a_folder_taken(first, quickstart):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(quickstart.env["QUICKSTART_PORT"])))
        taken.listen()
        said = quickstart(quickstart.state / "night")
    assert quickstart.env["QUICKSTART_PORT"] not in quickstart.url
    assert re.search(r"8 frames done", said)


def test_a_missing_folder_is_refused(quickstart, tmp_path):
    assert "is not a folder" in quickstart(tmp_path / "none", code=10)


def test_an_unknown_option_is_refused(quickstart):
    assert "--help" in quickstart("--fast", code=2)
