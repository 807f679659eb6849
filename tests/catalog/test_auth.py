"""Tokens, quotas, roles, and what a client may not do to the server. Each against the real service and PostgreSQL."""
import concurrent.futures
import gzip
import hashlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from test_discovery import get
from test_service import serving


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def service(database, tmp_path):
    with serving(database, tmp_path) as (url, _):
        yield url


CONE = "/scs/object?RA=10&DEC=10&SR=1"


def test_tokens_are_kept_as_hashes_and_shown_once(database):
    token = database("db", "token", "add", "alice", "--scopes", "read,upload", "--days", "30", code=0).out.strip()
    assert re.fullmatch(r"nst_[0-9a-f]{12}_[A-Za-z0-9~-]{43}", token)
    stored = database.sql("SELECT token_id, name, hash, scopes, expires_at > now() + interval '29 days' FROM api_token")
    assert stored == [(token[4:16], "alice", hashlib.sha256(token[17:].encode()).hexdigest(), "3", "t")]
    listed = database("db", "token", "list", code=0).out
    assert "alice" in listed and "read,upload" in listed and token[17:] not in listed
    assert token[17:] not in database.one("SELECT string_agg(t::text, ' ') FROM api_token t")
    database("db", "token", "add", "alice", code=2)  # the name is taken
    assert database.one("SELECT count(*) FROM api_token") == "1"  # the name is taken
    database("db", "token", "revoke", "alice", code=0)
    assert "revoked" in database("db", "token", "list", code=0).out
    database("db", "token", "revoke", "alice", code=10)
    database("db", "token", "add", "bob", "--scopes", "read,fly", code=2)
    database("db", "token", "frobnicate", code=2)


def test_without_anonymous_access_a_token_is_needed(database, tmp_path):
    token = database("db", "token", "add", "alice", code=0).out.strip()
    ingest = database("db", "token", "add", "writer", "--scopes", "ingest", code=0).out.strip()
    old = database("db", "token", "add", "old", "--days", "0.000001", code=0).out.strip()
    time.sleep(0.2)  # that is over now
    with serving(database, tmp_path, "--serve-anonymous", "") as (url, _):
        status, headers, _ = get(url + CONE)
        assert status == 401 and headers["WWW-Authenticate"] == "Bearer"
        for public in ("/healthz", "/readyz", "/metrics", "/sia2/capabilities", "/sia2/availability"):
            assert get(url + public)[0] == 200, public
        assert get(url + CONE, **bearer(token))[0] == 200
        assert get(url + CONE, **{"Authorization": f"bearer   {token}"})[0] == 200
        changed = token[:-1] + ("A" if token[-1] != "A" else "B")
        for wrong in (changed, "nst_0123456789ab_" + "x" * 43, "nst_", "x", token + "x", "nst_" + "z" * 12 + token[16:], old, ""):
            status, headers, body = get(url + CONE, **bearer(wrong))
            assert status == 401 and "invalid_token" in headers["WWW-Authenticate"], (wrong, token, old, body)
        assert get(url + CONE, Authorization="Basic YTpi")[0] == 401
        status, headers, body = get(url + CONE, **bearer(ingest))
        assert status == 403 and "insufficient_scope" in headers["WWW-Authenticate"] and b"read" in body
        database("db", "token", "revoke", "alice", code=0)
        end = time.monotonic() + 15 # what is known is believed for 10 s
        while get(url + CONE, **bearer(token))[0] != 401:
            assert time.monotonic() < end
            time.sleep(0.5)


def test_quotas_end_in_429_with_the_time_to_wait(database, tmp_path):
    token = database("db", "token", "add", "alice", "--per-hour", "20", code=0).out.strip()
    while time.time() % 3600 > 3540: # not across the hour
        time.sleep(5)
    with serving(database, tmp_path, "--serve-anonymous-per-hour", "5") as (url, process):
        answers = [get(url + CONE)[:2] for _ in range(7)]
        assert [a[0] for a in answers] == [200] * 5 + [429] * 2
        assert 0 < int(answers[-1][1]["Retry-After"]) <= 3600
        assert [get(url + CONE, **bearer(token))[0] for _ in range(21)] == [200] * 20 + [429]
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert database.one("SELECT sum(requests) FROM api_usage") == "20"
    with serving(database, tmp_path / "again" if (tmp_path / "again").mkdir() is None else tmp_path) as (url, _): # another replica knows
        assert get(url + CONE, **bearer(token))[0] == 429


def test_forwarded_addresses_count_only_behind_a_proxy_that_is_trusted(database, tmp_path):
    for trusted, seen in (("true", 200), ("false", 429)):
        folder = tmp_path / trusted
        folder.mkdir()
        with serving(database, folder, "--serve-anonymous-per-hour", "1", "--serve-trust-proxy", trusted) as (url, _):
            assert get(url + CONE, **{"X-Forwarded-For": "198.51.100.1, 203.0.113.1"})[0] == 200
            assert get(url + CONE, **{"X-Forwarded-For": "198.51.100.1, 203.0.113.2"})[0] == seen
            assert get(url + CONE, **{"X-Forwarded-For": "198.51.100.9, 203.0.113.1"})[0] == 429


# ---- roles --------------------------------------------------------------------------------------------------------------

def as_user(database, name, groups):
    """A login that is a member of the groups; a Database that connects as it, over TCP with its password."""
    database.sql(f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD 'pw-{name}' IN ROLE {', '.join(groups)}")
    tcp = urllib.parse.urlsplit(database("db", "url", "--tcp", env={"DATABASE_URL": "", "NIGHTSHIFT_DB_DATA": database.data}).out.strip())
    path = urllib.parse.urlsplit(database.url_text).path
    return type(database)(database.program, f"postgresql://{name}:pw-{name}@{tcp.hostname}:{tcp.port}{path}")


@pytest.fixture
def roles(database, cluster):
    database.data = str(cluster.data)
    made = []

    def make(name, *groups):
        made.append(name)
        return as_user(database, name, groups)
    yield make
    for name in made:
        database.sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_query_role_reads_what_is_published_and_nothing_else(database, roles):
    alice = roles("ns_alice", "nightshift_query")
    for table in ("published_object", "published_detection", "published_ccd", "light_curve", "object_band", "ivoa.obscore", "tap_schema.columns"):
        alice.sql(f"SELECT * FROM {table} LIMIT 1")
    for table in ("ccd", "detection", "exposure", "object", "api_token", "api_usage", "ingest_batch", "site", "job_run", "association"):
        alice.sql(f"SELECT * FROM {table} LIMIT 1", fails="42501")
    for statement in ("DELETE FROM tap_schema.columns", "INSERT INTO object_band VALUES (1, 'g', 1)", "CREATE TABLE t (i int)", "CREATE SCHEMA s",
                      "SELECT ccd_withdraw(1, 1)", "SELECT api_token_use('x', 0)", "SELECT pg_read_file('/etc/passwd')", "COPY object_band TO PROGRAM 'cat'",
                      "SET ROLE nightshift_ingest", "SELECT night_publish(20250530)"):
        alice.sql(statement, fails="42501")


def test_the_ingest_role_stores_a_night_and_cannot_touch_tokens(database, roles, tmp_path):
    import ldac
    writer = roles("ns_writer", "nightshift_ingest")
    place = tmp_path / "20250530" / "sim"
    place.mkdir(parents=True)
    path = ldac.write(place / "raw_cat.fits", *ldac.field(50))
    writer("ingest", "--root", str(tmp_path), str(path), code=0)
    writer("associate", "--night", "20250530", "--publish", code=0)
    assert database.one("SELECT count(*) FROM published_detection") == "50" and database.one("SELECT count(*) FROM object") == "50"
    for statement in ("SELECT * FROM api_token", "UPDATE site SET authority = 'x'", "DROP TABLE ccd", "ALTER TABLE ccd ADD c int"):
        writer.sql(statement, fails="42501")
    jobs = roles("ns_jobs", "nightshift_jobs")
    jobs.sql("SELECT * FROM job_run; SELECT * FROM worker; INSERT INTO night (night) VALUES (20250531)")
    jobs.sql("SELECT * FROM api_token", fails="42501")


def test_the_service_runs_as_its_own_role(database, roles, tmp_path):
    serve = roles("ns_serve", "nightshift_serve")
    token = database("db", "token", "add", "alice", code=0).out.strip()
    with serving(serve, tmp_path, "--serve-anonymous", "") as (url, _):
        assert get(url + CONE, **bearer(token))[0] == 200
        for path in ("/sia2/query", "/v1/nights", "/v1/exposures", "/v1/objects?order=variability", "/scs/detection?RA=1&DEC=1&SR=1", "/datalink/links"):
            status, _, body = get(url + path, **bearer(token))
            assert status == 200, (path, body)
        log = (tmp_path / "serve.log").read_text()
        assert "permission denied" not in log, log
    assert database.one("SELECT base_url FROM site").startswith("http://127.0.0.1:")


# ---- manners ------------------------------------------------------------------------------------------------------------

def test_gzip_on_request_and_only_then(service):
    status, headers, plain = get(service + CONE + "&VERB=3")
    assert "Content-Encoding" not in headers and len(plain) > 1024
    for accept, packed in (("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("gzip;q=0.0", False), ("identity", False), ("br", False)):
        status, headers, body = get(service + CONE + "&VERB=3", **{"Accept-Encoding": accept})
        assert (headers.get("Content-Encoding") == "gzip") == packed, accept
        if packed:
            assert gzip.decompress(body) == plain and headers["Vary"] == "Accept-Encoding" and len(body) < len(plain)


def test_a_stream_is_packed_whole_too(database, service):
    database.sql("INSERT INTO recipe (recipe, instrument, program_version) VALUES ('0123456789abcdef', 'sim', '1');"
                 "INSERT INTO exposure (exposure_id, instrument, exposure_key, night, mjd_mid, exptime_s) SELECT i, 'sim', 'e' || i, 20250530, 60825, 30 FROM generate_series(1, 8000) i;"
                 "INSERT INTO ccd (exposure_id, ccd, recipe_id, version, night, published_at) SELECT i, 1, 1, 1, 20250530, now() FROM generate_series(1, 8000) i;")
    address = service + "/v1/exposures?limit=8000&format=csv"
    plain = get(address)
    packed = get(address, **{"Accept-Encoding": "gzip"})
    assert len(plain[2]) > 500000 and plain[1].get("Transfer-Encoding") == packed[1].get("Transfer-Encoding") == "chunked"
    assert packed[1]["Content-Encoding"] == "gzip" and gzip.decompress(packed[2]) == plain[2] and len(packed[2]) < len(plain[2]) / 5


def test_the_same_answer_is_not_sent_twice(database, service):
    status, headers, body = get(service + CONE)
    tag = headers["ETag"]
    assert status == 200 and tag.startswith('W/"')
    assert get(service + CONE, **{"If-None-Match": tag})[::2] == (304, b"")
    assert get(service + CONE, **{"If-None-Match": f'"x", {tag[2:]}'})[0] == 304
    assert get(service + CONE, **{"If-None-Match": '"x"'})[0] == 200
    assert get(service + CONE, **{"If-None-Match": tag, "Accept-Encoding": "gzip"})[0] == 304
    assert get(service + "/scs/object?RA=a")[1].get("ETag") is None


def test_browsers_may_ask_from_elsewhere(service):
    request = urllib.request.Request(service + "/scs/object", method="OPTIONS", headers={"Origin": "https://example.org", "Access-Control-Request-Method": "POST"})
    with urllib.request.urlopen(request, timeout=10) as r:
        assert r.status == 204 and r.headers["Access-Control-Allow-Origin"] == "*" and "POST" in r.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in r.headers["Access-Control-Allow-Headers"]
    _, headers, _ = get(service + CONE, Origin="https://example.org")
    assert headers["Access-Control-Allow-Origin"] == "*" and "ETag" in headers["Access-Control-Expose-Headers"] and headers["X-Content-Type-Options"] == "nosniff"


def test_https_by_setting(database, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    with serving(database, tmp_path, "--serve-tls-certificate", str(tmp_path / "cert.pem"), "--serve-tls-key", str(tmp_path / "key.pem")) as (url, _):
        assert url.startswith("https://")
        with urllib.request.urlopen(url + CONE, context=trust, timeout=20) as r:
            assert b"VOTABLE" in r.read()
    done = subprocess.run([str(database.program.path), "serve", "--serve-port", "0", "--serve-tls-certificate", str(tmp_path / "none.pem")],
                          env={**os.environ, **database.env}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 10 and "none.pem" in done.stderr


# ---- clients that hold connections ---------------------------------------------------------------------------------------

def raw(url):
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def seconds_until_closed(s, limit, drip=b""):
    start = time.monotonic()
    s.settimeout(0.5)
    while time.monotonic() - start < limit:
        try:
            if drip:
                s.sendall(drip)
            if s.recv(4096) == b"":
                return time.monotonic() - start
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - start
    return None


def test_headers_must_be_whole_in_time(service):
    with raw(service) as a, raw(service) as b:
        a.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ")
        with concurrent.futures.ThreadPoolExecutor() as pool: # one drips, one says nothing at all
            waits = [pool.submit(seconds_until_closed, a, 20, b"a"), pool.submit(seconds_until_closed, b, 20)]
            assert all(w.result() and 8 < w.result() < 14 for w in waits)


def test_the_second_request_of_a_connection_must_be_whole_in_time_too(service):
    with raw(service) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in s.recv(4096)
        time.sleep(1.5)
        s.sendall(b"GET /healthz HTTP/1.1\r\n")
        waited = seconds_until_closed(s, 25, b"X-A: b\r\n")
        assert waited and waited < 16


def test_one_address_has_its_share_of_connections(database, tmp_path):
    with serving(database, tmp_path, "--serve-connections-per-address", "20") as (url, _):
        held = [raw(url) for _ in range(40)]
        time.sleep(0.5)
        alive = 0
        for s in held:
            s.settimeout(1)
            try:
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                alive += b"200 OK" in s.recv(4096)
            except OSError:
                pass
        assert alive == 20
        for s in held:
            s.close()


@pytest.mark.parametrize("kind", ["-H", "-B", "-X"])
def test_a_thousand_slow_sockets_do_not_hurt_others(database, tmp_path, kind):
    """slowhttptest: slow headers, slow bodies, slow readers; meanwhile availability answers in under 100 ms."""
    with serving(database, tmp_path, "--serve-connections", "4096", "--serve-connections-per-address", "0") as (url, _):
        target = url + ("/sia2/availability" if kind != "-B" else "/scs/object")
        attack = subprocess.Popen(["slowhttptest", kind, "-c", "1000", "-r", "500", "-i", "2", "-l", "8", "-u", target, "-p", "2"]
                                  + (["-x", "10", "-s", "65536", "-t", "POST"] if kind == "-B" else []) + (["-w", "10", "-y", "20", "-n", "1", "-z", "5", "-k", "1"] if kind == "-X" else []),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(3)
            times = []
            while attack.poll() is None and len(times) < 40:
                start = time.monotonic()
                status, _, body = get(url + "/sia2/availability")
                times.append(time.monotonic() - start)
                assert status == 200 and b"<vosi:available>true" in body
                time.sleep(0.1)
            assert len(times) > 15
            assert sorted(times)[int(len(times) * 0.95)] < 0.1, sorted(times)[-5:]
        finally:
            if attack.poll() is None:
                attack.kill()
            attack.wait()


# ---- the way to the database ------------------------------------------------------------------------------------------------

def test_a_rotated_password_is_picked_up(database, roles, tmp_path):
    user = roles("ns_rotate", "nightshift_serve")
    secret = tmp_path / "secret"
    secret.write_text(user.url_text + "\n")
    user.env = {"DATABASE_URL": "", "DATABASE_URL_FILE": str(secret)}
    with serving(user, tmp_path) as (url, _):
        assert get(url + CONE)[0] == 200
        database.sql("ALTER ROLE ns_rotate PASSWORD 'changed'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ns_rotate'")
        assert get(url + CONE)[0] in (500, 503)
        assert get(url + "/healthz")[0] == 200 and get(url + "/readyz")[0] == 503
        secret.write_text(user.url_text.replace("pw-ns_rotate", "changed") + "\n")
        end = time.monotonic() + 10
        while get(url + CONE)[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_behind_pgbouncer_in_transaction_mode(database, roles, tmp_path):
    serve = roles("ns_pooled", "nightshift_serve", "nightshift_ingest")
    parts = urllib.parse.urlsplit(serve.url_text)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    folder = tmp_path / "pgbouncer"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "users").write_text('"ns_pooled" "pw-ns_pooled"\n')
    (folder / "ini").write_text(f"[databases]\n* = host={parts.hostname} port={parts.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n"
                                f"auth_type=plain\nauth_file={folder}/users\npool_mode=transaction\ndefault_pool_size=3\nlogfile={folder}/log\npidfile={folder}/pid\nignore_startup_parameters=extra_float_digits\n")
    tmp_path.chmod(0o755)
    for p in list(tmp_path.parents)[:3]:
        p.chmod(0o755)
    pooler = subprocess.Popen(["/usr/sbin/pgbouncer", str(folder / "ini")] + (["-u", "nobody"] if os.getuid() == 0 else []), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert pooler.poll() is None and time.monotonic() < end, (folder / "log").read_text() if (folder / "log").exists() else "no log"
                time.sleep(0.1)
        pooled = type(database)(database.program, f"postgresql://ns_pooled:pw-ns_pooled@127.0.0.1:{port}{parts.path}")
        import ldac
        place = tmp_path / "20250530" / "sim"
        place.mkdir(parents=True)
        files = [ldac.write(place / f"raw{i}_cat.fits", *ldac.field(30, seed=i), exposure=f"sim/{i}", seed=i) for i in range(6)]
        pooled("ingest", "--root", str(tmp_path), *map(str, files), code=0)
        pooled("associate", "--night", "20250530", code=0)
        with serving(pooled, tmp_path) as (url, _):
            paths = [CONE.replace("RA=10&DEC=10", "RA=180&DEC=0"), "/v1/nights", "/v1/exposures", "/scs/detection?RA=180&DEC=0&SR=0.3", "/sia2/query"] * 12
            with concurrent.futures.ThreadPoolExecutor(8) as pool: # 8 clients on 3 server connections
                assert all(a[0] == 200 and b"ERROR" not in a[2] for a in pool.map(lambda p: get(url + p), paths))
    finally:
        pooler.terminate()
        pooler.wait(10)


def test_over_tls_with_the_servers_name_verified(own_cluster, tmp_path):
    data = own_cluster.data / "pg"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    owner = os.stat(data)
    for name in ("key.pem", "cert.pem"):
        (data / f"tls-{name}").write_bytes((tmp_path / name).read_bytes())
        os.chmod(data / f"tls-{name}", 0o600)
        os.chown(data / f"tls-{name}", owner.st_uid, owner.st_gid)
    with open(data / "postgresql.conf", "a") as f:
        f.write(f"\nssl = on\nssl_cert_file = '{data}/tls-cert.pem'\nssl_key_file = '{data}/tls-key.pem'\n")
    own_cluster.db("down", code=0)
    own_cluster.db("up", code=0)
    tcp = own_cluster.db("url", "--tcp", code=0).out.strip()
    join = "&" if "?" in tcp else "?"
    good = f"{tcp}{join}sslmode=verify-full&sslrootcert={tmp_path}/cert.pem"
    done = subprocess.run(["psql", "-XAtc", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", good], capture_output=True, text=True)
    assert done.stdout.strip() == "t", done.stderr
    program = own_cluster.program
    assert program("db", "status", env={"DATABASE_URL": good}, code=0)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "k2.pem", "-out", tmp_path / "other.pem", "-days", "2", "-subj", "/CN=other"],
                   check=True, capture_output=True)
    bad = program("db", "status", env={"DATABASE_URL": good.replace("cert.pem", "other.pem")})
    assert bad.code != 0 and "certificate" in bad.err
