"""kill -9 of writers, server and PostgreSQL at random moments, while catalogues are stored and asked for.

Every catalogue is there once, whole, with the bytes an undisturbed database has; an answer the client holds for whole never
shows half a catalogue; the server answers again by itself. What a service manager does is done here too: whoever was killed is
started again. PostgreSQL is not: the programs that need it do that.
"""
import csv
import http.client
import io
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import Database
from test_ingest import check_consistent, content, some_files

WRITERS = 4
ROWS = 60            # of a catalogue
ROUND = 24           # catalogues of a night
CONE = "/scs/detection?RA=180&DEC=0&SR=1&VERB=1&MAXREC=1000000&RESPONSEFORMAT=csv"


class Server:
    """`nightshift serve`, started again when it was killed."""

    def __init__(self, program, env, folder):
        self.program, self.env, self.folder, self.process = program, env, folder, None

    def keep(self):
        if self.process and self.process.poll() is None:
            return
        url_file = self.folder / "url"
        url_file.unlink(missing_ok=True)
        with open(self.folder / "serve.log", "a") as log:
            self.process = subprocess.Popen([str(self.program.path), "serve", "--serve-port", "0", "--url-file", str(url_file)], env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def rows(self):
        """Rows of the cone when the whole answer came, else None."""
        try:
            base = (self.folder / "url").read_text().strip()
            with urllib.request.urlopen(base + CONE, timeout=10) as answer:
                text = answer.read().decode()
        except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException):
            return None
        return sum(1 for _ in csv.reader(io.StringIO(text))) - 1


class Asker(threading.Thread):
    """Asks for everything, over and over. `odd`: counts that are no whole number of catalogues."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stop, self.answers, self.odd, self.shrunk, self.most = server, threading.Event(), 0, [], [], 0

    def run(self):
        while not self.stop.is_set():
            n = self.server.rows()
            if n is None:
                time.sleep(0.02)
                continue
            self.answers += 1
            if n % ROWS:
                self.odd.append(n)
            if n < self.most: # what was committed and seen is seen for ever
                self.shrunk.append((self.most, n))
            self.most = max(self.most, n)
            time.sleep(0.05)


def backends(postmaster):
    """Processes of PostgreSQL that serve a connection."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == postmaster \
                    and b"nightshift nightshift" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, IndexError, ValueError):
            continue
    return found


def victim(rng, cluster, writers, server):
    kind = rng.choices(["ingest", "serve", "backend", "postmaster"], [7, 2, 2, 1])[0]
    try:
        if kind == "serve":
            return kind, server.process.pid
        if kind == "postmaster":
            return kind, cluster.pid
        pids = backends(cluster.pid) if kind == "backend" else [w.pid for w in writers if w.poll() is None]
        return (kind, rng.choice(pids)) if pids else None
    except (OSError, ValueError, IndexError): # PostgreSQL is on its way up
        return None


class Storm:
    def __init__(self, cluster, seed, folder):
        self.cluster, self.rng, self.folder = cluster, random.Random(seed), folder
        self.env = {**os.environ, **cluster.env, "LOG_FORMAT": "json"}
        self.server = Server(cluster.program, self.env, folder)
        self.killed = {}

    def writer(self, files):
        return subprocess.Popen([str(self.cluster.program.path), "ingest", *map(str, self.rng.sample(files, len(files)))], env=self.env,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.folder / "ingest.log", "a"))

    def night(self, files, kills):
        """Store the files with WRITERS writers until all are done or there were `kills` kills. A writer that failed starts again."""
        writers, done = [self.writer(files) for _ in range(WRITERS)], 0
        try:
            while kills and done < WRITERS:
                time.sleep(self.rng.uniform(0, 0.12))
                self.server.keep()
                for i, w in enumerate(writers):
                    if w.poll() is None:
                        continue
                    done += w.returncode == 0
                    writers[i] = self.writer(files)
                chosen = victim(self.rng, self.cluster, writers, self.server)
                if not chosen:
                    continue
                try:
                    os.kill(chosen[1], signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.killed[chosen[0]] = self.killed.get(chosen[0], 0) + 1
                kills -= 1
        finally:
            for w in writers:
                w.kill()
                w.wait()
        return kills


def answers_again(server, want, wait_s=60):
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        server.keep()
        if server.rows() == want:
            return True
        time.sleep(0.1)
    return False


def storm(cluster, calm, tmp_path, kills):
    seed = int(os.environ.get("NIGHTSHIFT_SEED", time.time_ns() % 1_000_000))
    print("seed", seed)
    s = Storm(cluster, seed, tmp_path)
    s.server.keep()
    asker, files, nights = Asker(s.server), [], 0
    asker.start()
    try:
        while kills:
            nights += 1
            folder = tmp_path / f"night{nights}"
            folder.mkdir()
            new = some_files(folder, exposures=ROUND // 4, ccds=4, rows=ROWS, seed=seed % 1000 * 1000 + nights, night=20250500 + 1 + nights % 28)
            files += new
            kills = s.night(new, kills)
            cluster.program("ingest", *new, code=0, env=cluster.env) # what the dice left
        database = Database(cluster.program, cluster.url())
        check_consistent(database)
        assert int(database.one("SELECT count(*) FROM detection")) == ROWS * len(files), (seed, s.killed)
        calm("ingest", *files, code=0)
        assert content(database) == content(calm), (seed, s.killed)
        assert answers_again(s.server, ROWS * len(files)), (seed, s.killed, s.server.rows())
        asker.stop.set()
        asker.join(30)
        assert asker.answers and not asker.odd and not asker.shrunk, (seed, s.killed, asker.answers, asker.odd, asker.shrunk)
    finally:
        asker.stop.set()
        s.server.process.kill()
        s.server.process.wait()
    print(f"{sum(s.killed.values())} kills in {nights} nights of {ROUND} catalogues: {s.killed}; {asker.answers} answers; 0 lost, 0 doubled")


def test_a_hundred_kills_change_nothing(own_cluster, new_database, tmp_path):
    storm(own_cluster, new_database(), tmp_path, 100)


@pytest.mark.long
def test_a_thousand_kills_change_nothing(own_cluster, new_database, tmp_path):
    storm(own_cluster, new_database(), tmp_path, 1000)
