"""Packing finished nights: the same rows before, during and after."""
import subprocess
import threading
import time

import ldac
from test_ingest import content, some_files


def partitions(db):
    return [r[0] for r in db.sql("SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'detection'::regclass ORDER BY 1")]


def test_nights_of_a_month_become_one_partition_with_the_same_rows(database, tmp_path):
    nights = (20250530, 20250531, 20250602)
    files = []
    for k, night in enumerate(nights):
        (tmp_path / str(night)).mkdir()
        files += some_files(tmp_path / str(night), exposures=2, rows=200, seed=k + 1, night=night)
    database("ingest", *files, code=0)
    before = content(database)
    assert partitions(database) == [f"detection_{n}" for n in nights]
    database("db", "repack", code=0)
    assert partitions(database) == ["detection_202505", "detection_202506"]
    assert content(database) == before
    database("ingest", *files, code=0)
    assert content(database) == before
    # sorted by place: neighbours on the sky are neighbours on disk
    rows = database.sql("SELECT hpx29 FROM detection_202505 ORDER BY ctid")
    assert rows == sorted(rows, key=lambda r: int(r[0]))
    # a night of a packed month goes where its month is; packing again sorts it in
    (tmp_path / "late").mkdir()
    late = some_files(tmp_path / "late", exposures=1, rows=100, seed=9, night=20250529)
    database("ingest", *late, code=0)
    assert partitions(database) == ["detection_202505", "detection_202506"]
    after = content(database)
    database("db", "repack", "202505", code=0)
    assert content(database) == after and partitions(database) == ["detection_202505", "detection_202506"]


def test_packing_while_others_write_loses_nothing(database, tmp_path):
    files = some_files(tmp_path, exposures=12, rows=300)
    database("ingest", *files[:4], code=0)
    done = []
    writer = threading.Thread(target=lambda: done.append(database("ingest", *files[4:]).code))
    writer.start()
    for _ in range(4):
        database("db", "repack", "202505", code=0)
    writer.join()
    assert done == [0]
    assert database.one("SELECT count(*) FROM detection") == str(300 * len(files)) == database.one("SELECT sum(n_rows) FROM ingest_batch")
    assert database.one("SELECT count(*) FROM (SELECT DISTINCT det_id, recipe_id, version FROM detection) d") == str(300 * len(files))


def test_versions_of_published_objects_are_kept(database, tmp_path):
    ra, dec = ldac.field(5)
    database("ingest", ldac.write(tmp_path / "a_cat.fits", ra, dec, night=20250530, mjd=60825.3), code=0)
    database("associate", "--night", "20250530", "--publish", code=0)
    moment = database.one("SELECT clock_timestamp()")
    database("ingest", ldac.write(tmp_path / "b_cat.fits", ra, dec + 0.1 / 3600, exposure="sim/2", night=20250531, mjd=60826.3), code=0)
    database("associate", "--night", "20250531", code=0)
    assert database.sql("SELECT count(*), sum(n_det) FROM object") == [("5", "10")]
    assert database.sql(f"SELECT count(*), sum(n_det) FROM object_as_of('{moment}')") == [("5", "5")]
    assert database.sql("SELECT count(*), sum(n_det) FROM object_as_of(now())") == [("5", "10")]


def test_variability_prefers_what_varies_together_and_leaves_blends_out(database, tmp_path):
    import numpy as np
    ra, dec = ldac.field(4, radius=0.1)
    rng = np.random.default_rng(5)
    for k in range(24):
        pair = 0.2 * (1 if (k // 2) % 2 else -1)         # both points of a pair go the same way
        flux = 5000 * np.array([1 + pair, 1 + 0.2 * rng.choice([-1, 1]), 1 + pair, 1])
        path = ldac.write(tmp_path / f"v{k}_cat.fits", ra, dec, flux=flux, exposure=f"v/{k}", mjd=60825.1 + 0.01 * (k // 2) * 5 + 0.005 * (k % 2), cards={"MAGZERO": 25.0},
                          flags=[0, 0, 2, 0])
        database("ingest", path, code=0)
    database("associate", "--night", "20250530", code=0)
    j = dict((float(r[0]), float(r[1])) for r in database.sql("SELECT o.dec, b.stetson_j FROM object_band b JOIN object o USING (object_id)"))
    value = [min(j.items(), key=lambda kv: abs(kv[0] - d))[1] for d in dec]
    assert value[0] > 5 and value[2] > 5 and abs(value[3]) < 1 and value[1] < value[0] / 2
    assert database.one("SELECT n_blend FROM object_band ORDER BY n_blend DESC LIMIT 1") == "24"


def test_packed_rows_know_their_object_and_forget_it_when_it_moves(database, tmp_path):
    """The copy of the object in a packed row is what `association` says, or NULL."""
    def odd():
        return database.one("""SELECT count(*) FROM detection d LEFT JOIN association a USING (det_id, recipe_id, version)
                               WHERE d.object_id IS NOT NULL AND d.object_id IS DISTINCT FROM a.object_id""")

    def known():
        return int(database.one("SELECT count(object_id) FROM detection"))

    ra, dec = ldac.field(40)
    database("ingest", ldac.write(tmp_path / "a_cat.fits", ra, dec, night=20250530, mjd=60825.3), code=0)
    database("associate", "--night", "20250530", code=0)
    assert known() == 0
    database("db", "repack", "202505", code=0)
    assert known() == 40 and odd() == "0"
    # fresh rows of a packed month: not copied until it is packed again
    database("ingest", ldac.write(tmp_path / "b_cat.fits", ra, dec, exposure="sim/2", night=20250529, mjd=60824.3), code=0)
    database("associate", "--night", "20250529", code=0)
    assert known() >= 0 and odd() == "0"
    database("db", "repack", "202505", code=0)
    assert known() == 80 and odd() == "0"
    database.sql("UPDATE association SET object_id = -object_id WHERE det_id IN (SELECT det_id FROM detection ORDER BY det_id LIMIT 7)")
    assert known() == 73 and odd() == "0"
    database.sql("DELETE FROM association WHERE det_id IN (SELECT det_id FROM detection ORDER BY det_id LIMIT 9)")
    assert known() == 71 and odd() == "0"


def test_an_association_that_moves_while_its_month_is_packed(database, tmp_path):
    """Held between the copy and the exchange by a lock of ours; what moved meanwhile is not copied."""
    ra, dec = ldac.field(40)
    database("ingest", ldac.write(tmp_path / "a_cat.fits", ra, dec, night=20250530, mjd=60825.3), code=0)
    database("associate", "--night", "20250530", code=0)
    held = subprocess.Popen(["psql", "-XAtq", database.url_text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    held.stdin.write("BEGIN; SELECT 1 FROM pg_advisory_xact_lock(hashtext('nightshift.partition'));\n")
    held.stdin.flush()
    assert held.stdout.readline() == "1\n"
    packer = threading.Thread(target=lambda: database("db", "repack", "202505", code=0))
    packer.start()
    for _ in range(400):
        if database.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "1":
            break
        time.sleep(0.01)
    database.sql("UPDATE association SET object_id = -object_id WHERE det_id IN (SELECT det_id FROM detection ORDER BY det_id LIMIT 5)")
    held.communicate("COMMIT;\n")
    packer.join()
    assert partitions(database) == ["detection_202505"]
    assert database.one("SELECT count(object_id) FROM detection") == "35"
    assert database.one("""SELECT count(*) FROM detection d JOIN association a USING (det_id, recipe_id, version)
                           WHERE d.object_id <> a.object_id""") == "0"
