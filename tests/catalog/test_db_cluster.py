"""The private cluster: up and down, twice, at once, after crashes, as root and not."""
import concurrent.futures
import os
import pwd
import shutil
import signal
import subprocess
import time

import pytest

from conftest import wide_temporary_folder


def psql(url, statement):
    done = subprocess.run(["psql", "-XAtq", url, "-c", statement], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_up_twice_is_up_once(cluster):
    pid = cluster.pid
    first, second = cluster.db("up").out, cluster.db("up").out
    assert first == second and cluster.pid == pid


def test_settings_are_safe(cluster):
    for name, value in {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "TimeZone": "UTC", "listen_addresses": "127.0.0.1",
                        "data_checksums": "on", "server_encoding": "UTF8", "lc_collate": "C"}.items():
        assert psql(cluster.url(), f"SELECT setting FROM pg_settings WHERE name = '{name}'") == value


def test_socket_and_loopback_both_answer_and_the_port_is_not_debians(cluster):
    tcp = cluster.db("url", "--tcp").out.strip()
    assert psql(tcp, "SELECT current_user") == "nightshift"
    assert "@127.0.0.1:" in tcp and ":5432/" not in tcp
    wrong = subprocess.run(["psql", tcp.replace(":" + tcp.split(":")[2].split("@")[0], ":wrong"), "-c", "SELECT 1"], capture_output=True, text=True)
    assert wrong.returncode and "password" in wrong.stderr


def test_status_and_psql(cluster):
    assert "up" in cluster.db("status").out
    assert cluster.db("psql", "-XAt", "-c", "SELECT 40 + 2").out.strip() == "42"


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_as_root_the_server_is_somebody_else(cluster):
    uid = os.stat(f"/proc/{cluster.pid}").st_uid
    assert uid == os.stat(cluster.data / "pg").st_uid != 0


def test_a_killed_postmaster_and_its_orphans_are_cleared(own_cluster):
    url = own_cluster.url()
    psql(url, "CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
    holder = subprocess.Popen(["psql", "-Xq", url, "-c", "SELECT pg_sleep(600)"], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    os.kill(own_cluster.pid, signal.SIGKILL)
    assert own_cluster.db("status", code=20)
    own_cluster.db("up")
    assert psql(own_cluster.url(), "SELECT x FROM kept") == "7"
    holder.wait(timeout=20)


def test_a_pid_file_that_names_somebody_else_is_cleared(own_cluster):
    os.kill(own_cluster.pid, signal.SIGKILL)
    time.sleep(1)
    file = own_cluster.data / "pg/postmaster.pid"
    lines = file.read_text().splitlines()
    bystander = subprocess.Popen(["sleep", "600"], user=file.stat().st_uid if os.geteuid() == 0 else None)
    try:
        owner = file.stat()
        file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        os.chown(file, owner.st_uid, owner.st_gid)
        own_cluster.db("up")
        assert own_cluster.pid != bystander.pid and bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_half_made_cluster_is_never_seen(nightshift):
    folder = wide_temporary_folder("ns-db-")
    env = {"NIGHTSHIFT_DB_DATA": str(folder / "db"), "DATABASE_URL": ""}
    try:
        for pause in (0.05, 0.15, 0.3):
            p = subprocess.Popen([nightshift.path, "db", "up"], env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
            time.sleep(pause)
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
        nightshift("db", "up", code=0, env=env)
        assert "up" in nightshift("db", "status", code=0, env=env).out
    finally:
        nightshift("db", "down", env=env)
        shutil.rmtree(folder)


def test_many_ups_at_once_make_one_server(nightshift):
    folder = wide_temporary_folder("ns-db-")
    env = {"NIGHTSHIFT_DB_DATA": str(folder / "db"), "DATABASE_URL": ""}
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            urls = {r.out for r in pool.map(lambda _: nightshift("db", "up", code=0, env=env), range(4))}
        assert len(urls) == 1
        assert nightshift("db", "psql", "-XAt", "-c", "SELECT count(*) >= 3 FROM schema_migration", code=0, env=env).out.strip() == "t"
    finally:
        nightshift("db", "down", env=env)
        shutil.rmtree(folder)


def test_down_twice_and_up_again_keeps_port_and_rows(own_cluster):
    before = own_cluster.url()
    psql(before, "CREATE TABLE kept AS SELECT 1 AS x")
    own_cluster.db("down")
    own_cluster.db("down")
    assert own_cluster.db("status", code=20)
    own_cluster.db("up")
    assert own_cluster.url() == before and psql(before, "SELECT x FROM kept") == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="already without privileges")
def test_an_ordinary_user_has_a_cluster_of_his_own(nightshift):
    nobody = pwd.getpwnam("nobody")
    folder = wide_temporary_folder("ns-db-")
    program = folder / "program" # the build folder may be closed to others
    shutil.copy(nightshift.path, program)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    env = {**os.environ, "XDG_DATA_HOME": str(folder), "DATABASE_URL": "", "NIGHTSHIFT_DB_DATA": ""}

    def run(*argv):
        return subprocess.run([program, "db", *argv], env=env, cwd="/", user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], capture_output=True, text=True)

    try:
        up = run("up")
        assert up.returncode == 0, up.stderr
        assert str(folder).replace("/", "%2F") in up.stdout
        assert (folder / "nightshift/pg").stat().st_uid == nobody.pw_uid if (folder / "nightshift").is_dir() else True
    finally:
        run("down")
        shutil.rmtree(folder)


def test_a_folder_the_server_cannot_reach_is_one_clear_line(nightshift, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root runs the server as somebody else")
    tmp_path.chmod(0o700)
    nightshift.fails(2, "db", "up", env={"NIGHTSHIFT_DB_DATA": str(tmp_path / "db"), "DATABASE_URL": ""}, says="cannot reach")


def test_backup_and_restore(own_cluster, tmp_path):
    psql(own_cluster.url(), "INSERT INTO recipe (recipe, instrument, program_version) VALUES ('abc', 'x', '1')")
    own_cluster.db("backup", tmp_path / "b.dump")
    assert [p.name for p in tmp_path.iterdir()] == ["b.dump"]
    psql(own_cluster.url(), "DELETE FROM recipe")
    own_cluster.db("restore", tmp_path / "b.dump", code=2)
    own_cluster.db("restore", tmp_path / "b.dump", "--force")
    assert psql(own_cluster.url(), "SELECT recipe FROM recipe") == "abc"


def test_usage(nightshift):
    nightshift.fails(2, "db", says="up, down")
    nightshift.fails(2, "db", "sideways", says="unknown")
    nightshift.fails(2, "db", "backup", says="one file")
    nightshift.fails(20, "db", "migrate", env={"DATABASE_URL": "postgresql:///x?host=/nowhere"}, says="could not connect")
