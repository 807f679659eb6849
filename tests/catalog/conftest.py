"""A throw-away cluster per test session, on a socket in a temporary folder; a fresh, migrated database per test."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse

import pytest

from adql_world import world  # noqa: F401  a fixture: tables for ADQL


def wide_temporary_folder(prefix):
    """A folder that the server's user may enter, also when the tests run as root."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    path.chmod(0o755)
    return path


def postmaster_pid(data):
    return int((pathlib.Path(data) / "pg/postmaster.pid").read_text().split()[0])


class Cluster:
    def __init__(self, program, data):
        self.program, self.data = program, pathlib.Path(data)
        self.env = {"NIGHTSHIFT_DB_DATA": str(data), "DATABASE_URL": ""}

    def db(self, *argv, code=0, **options):
        env = {**self.env, **options.pop("env", {})}
        return self.program("db", *argv, code=code, env=env, **options)

    def url(self, database="nightshift"):
        url = self.db("url").out.strip()
        parts = urllib.parse.urlsplit(url)
        return urllib.parse.urlunsplit(parts._replace(path="/" + database))

    @property
    def pid(self):
        return postmaster_pid(self.data)


class Database:
    """One database: SQL by psql, the program's verbs with its URL."""

    def __init__(self, program, url):
        self.program, self.url_text = program, url
        self.env = {"DATABASE_URL": url}

    def __call__(self, *argv, **options):
        env = {**self.env, **options.pop("env", {})}
        return self.program(*argv, env=env, **options)

    def sql(self, statement, fails=None):
        """Rows as tuples of text ('' for NULL); `fails` is the SQLSTATE expected."""
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=sqlstate",
                               self.url_text], input=statement, capture_output=True, text=True, timeout=120)
        if fails:
            assert done.returncode and fails in done.stderr, f"{statement}\n{done.stdout}{done.stderr}"
            return []
        assert done.returncode == 0, f"{statement}\n{done.stderr}"
        return [tuple(line.split("\x1f")) for line in done.stdout.splitlines()]

    def one(self, statement):
        return self.sql(statement)[0][0]

    def json(self, statement):
        """Rows of a query as dictionaries, numbers exact."""
        return json.loads(self.one(f"SELECT coalesce(json_agg(row_to_json(q)), '[]') FROM ({statement}) q"))


@contextlib.contextmanager
def running_cluster(program, prefix="ns-db-"):
    folder = wide_temporary_folder(prefix)
    cluster = Cluster(program, folder / "db")
    try:
        cluster.db("up")
        yield cluster
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(cluster.pid, signal.SIGQUIT) # at once: nothing here is worth a checkpoint
        for _ in range(100):
            if not (cluster.data / "pg/postmaster.pid").exists():
                break
            time.sleep(0.05)
        if (cluster.data / "pg/postmaster.pid").exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(cluster.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(nightshift):
    with running_cluster(nightshift) as c:
        yield c


@pytest.fixture
def own_cluster(nightshift):
    """For tests that kill it."""
    with running_cluster(nightshift) as c:
        yield c


@pytest.fixture(scope="session")
def new_database(nightshift, cluster):
    """new_database() -> a fresh, migrated database of the session's cluster."""
    made = []
    admin, prefix = Database(nightshift, cluster.url("postgres")), cluster.url("NAME")

    def make(migrated=True):
        if migrated and "migrated" not in made: # once; the others are copies
            admin.sql("CREATE DATABASE migrated")
            made.append("migrated")
            nightshift("db", "migrate", code=0, env={"DATABASE_URL": prefix.replace("NAME", "migrated")})
        name = f"t{os.getpid()}_{len(made)}"
        admin.sql(f"CREATE DATABASE {name} TEMPLATE {'migrated' if migrated else 'template0'}")
        made.append(name)
        return Database(nightshift, prefix.replace("NAME", name))

    yield make
    for name in made:
        admin.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(new_database):
    return new_database()
