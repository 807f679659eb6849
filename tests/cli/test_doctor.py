"""`nightshift doctor`: what it finds, what it says to do, its exit codes; it starts and changes nothing."""
import json
import os
import pathlib
import re
import socket

import pytest

LINE = re.compile(r"(ok  |warn|bad )  \S.{18}  \S.*")


@pytest.fixture
def doctor(verb, tmp_path):
    program = verb("doctor")
    data = f"/tmp/ns-doctor-{os.getpid()}"  # short: the path of a socket; it must not come into being

    def run(*argv, code=0, env=None, out=tmp_path, **options):
        environment = {"NIGHTSHIFT_DB_DATA": data, "DATABASE_URL": "", **(env or {})}
        result = program("doctor", "--out", out, *argv, env=environment, code=code, cwd=tmp_path, **options)
        assert not pathlib.Path(data).exists(), "doctor made a database"
        return result

    return run


def findings(result):
    document = json.loads(result.out)
    grades = [f["grade"] for f in document["findings"]]
    assert [document[g] for g in ("ok", "warn", "bad")] == [grades.count(g) for g in ("ok", "warn", "bad")]
    return {f["what"]: f for f in document["findings"]}


def test_a_fit_machine(doctor):
    result = doctor()
    lines = result.out.splitlines()
    assert all(LINE.fullmatch(line) for line in lines[:-2]), result.out
    assert re.fullmatch(r"\d+ ok, \d+ warn, 0 bad", lines[-1])


def test_libraries_tell_their_versions(doctor):
    found = findings(doctor("--json"))
    for name in ("cfitsio", "wcslib", "erfa", "libpq", "libcurl", "libmicrohttpd", "jansson", "openmp"):
        assert re.match(r"\d+\.\d+", found[name]["value"]), found[name]
    assert "reentrant" in found["cfitsio"]["value"]


def test_every_trouble_says_what_to_do(doctor):
    found = findings(doctor("--json", "--threads", "1000", env={"NIGHTSHIFT_ISA": "generic"}))
    assert found["threads"]["grade"] == "warn" and "1000" in found["threads"]["value"]
    for finding in found.values():
        assert finding["grade"] == "ok" or finding["todo"], finding


def test_nothing_is_left_in_the_archive(doctor, tmp_path):
    doctor("--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_to_be_made_is_looked_for_in_its_parents(doctor, tmp_path):
    found = findings(doctor("--json", out=tmp_path / "not/yet/there"))
    assert str(tmp_path) in found["archive space"]["value"]
    assert "ms" in found["archive writes"]["value"]


def test_an_archive_that_is_a_file_is_bad(doctor, tmp_path):
    (tmp_path / "file").write_text("x")
    assert findings(doctor("--json", out=tmp_path / "file", code=2))["archive writes"]["grade"] == "bad"


def test_a_private_database_that_is_down_is_no_trouble(doctor):
    found = findings(doctor("--json"))
    assert found["database"]["grade"] == "ok" and "not made yet" in found["database"]["value"]
    assert "db up" in found["database"]["todo"]


def test_an_unreachable_database_is_bad(doctor):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # taken and silent: nobody else listens there meanwhile
        url = f"postgresql://nobody:secret@127.0.0.1:{s.getsockname()[1]}/x"
        result = doctor("--json", code=20, env={"DATABASE_URL": url})
    assert findings(result)["database"]["grade"] == "bad"
    assert "secret" not in result.out + result.err


def test_without_postgresql(doctor, tmp_path):
    found = findings(doctor("--json", "--db-programs", tmp_path, code={0, 2}))
    assert found["postgresql programs"]["grade"] == "bad"


def test_a_broken_instrument_is_named(doctor, tmp_path):
    folder = tmp_path / "instruments"
    folder.mkdir()
    (folder / "mine.yaml").write_text("name: mine\nno_such_key: 1\n")
    found = findings(doctor("--json", "--instrument-path", folder, code=2))
    assert "mine.yaml" in found["instruments"]["value"] and found["instruments"]["grade"] == "bad"


def test_a_missing_folder_of_instruments_is_named(doctor, tmp_path):
    found = findings(doctor("--json", "--instrument-path", tmp_path / "none", code=2))
    assert f"{tmp_path}/none" in found["instruments"]["value"] and "instrument.path" in found["instruments"]["todo"]


def test_the_settings_file_is_named(doctor, tmp_path):
    assert "none" in findings(doctor("--json"))["settings file"]["value"]
    (tmp_path / "nightshift.yaml").write_text("threads: 1\n")
    assert findings(doctor("--json"))["settings file"]["value"] == "nightshift.yaml"


def test_operands_are_refused(doctor):
    doctor("now", code=2)
