"""Seven formats, one table: value by value the same, NULL and NaN told apart where the format can; broken streams are seen."""
import csv
import io
import json
import math
import random
import re
import subprocess
import time
import urllib.request

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from test_service import fetch, fill, nested_pixel, serving

POSITIONS = [(240.0 + 0.001 * i, 43.0 + 0.0007 * i) for i in range(12)]


@pytest.fixture(scope="module")
def service(new_database, tmp_path_factory):
    database = new_database()
    fill(database, POSITIONS, nested_pixel)
    seed = 11
    print("seed", seed)
    rng = random.Random(seed)
    # values that are hard to write: extremes, NaN beside NULL, both ends of the integers
    odd = ["'NaN'", "'Infinity'", "'-Infinity'", "NULL", "0", "-0.0", "1e-38", "3.4e38", "1.1754944e-38", "0.1", "16777217"]
    ids = [r[0] for r in database.sql("SELECT det_id FROM detection ORDER BY det_id")]
    sql = []
    for i in ids:
        sql.append(f"UPDATE detection SET fwhm = {rng.choice(odd)}, snr = {rng.uniform(-1, 1) * 10 ** rng.randint(-30, 30):.9g}, isoarea = {rng.choice(['NULL', '0', '2147483647'])},"
                   f" flags = {rng.choice([0, 32767, -32767])}, ra_psf = {rng.choice(odd[:6] + [repr(rng.uniform(0, 360))])}, flags_psf = {rng.choice(['NULL', '3'])} WHERE det_id = {i};")
    sql.append("UPDATE ccd SET quality = '<a & \"b\">, c', magzero_kind = 'absolute'; UPDATE exposure SET filter = 'g'; UPDATE ccd SET filter = '';")
    database.sql("\n".join(sql))
    with serving(database, tmp_path_factory.mktemp("serve")) as (url, _):
        yield url


QUERY = "/scs/detection?RA=240.005&DEC=43.004&SR=0.5&VERB=3&RESPONSEFORMAT="


def number(text):
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "+Inf": math.inf, "-Inf": -math.inf}.get(text) if text in ("NaN", "Infinity", "-Infinity", "+Inf", "-Inf") \
        else float(text)


def raw(url, accept=None):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def same(a, b):
    return (a is None and b is None) or (a is not None and b is not None and (a == b or (a != a and b != b)))


def test_all_formats_equal_value_by_value(service):
    body = raw(service + QUERY + "csv").decode()
    header = body.split("\r\n", 1)[0].split(",")
    # csv module cannot tell "" from nothing: look at the text
    rows = list(csv.reader(io.StringIO(body)))[1:]
    assert len(rows) == len(POSITIONS) * 20
    tsv = [line.split("\t") for line in raw(service + QUERY + "tsv").decode().split("\n")[1:-1]]
    assert tsv == rows
    answer = json.loads(raw(service + QUERY + "json"))
    tables = {kind: parse(io.BytesIO(raw(service + QUERY + kind)), verify="ignore").get_first_table() for kind in ("votable", "votable/b", "votable/b2")}
    hdu = fits.open(io.BytesIO(raw(service + QUERY + "fits")))
    hdu.verify("exception")
    assert hdu[1].header["NAXIS2"] == len(rows) and hdu[1].header["OVERFLOW"] is False
    fields = {f.name: f for f in tables["votable"].fields}
    assert list(fields) == header == [c["name"] for c in answer["columns"]] == hdu[1].columns.names
    for column, name in enumerate(header):
        kind = fields[name].datatype
        real, whole = kind in ("float", "double"), kind in ("short", "int", "long")
        for i, row in enumerate(rows):
            text, where = row[column], (name, i)
            if real:
                value = None if text == "" else np.float32(number(text)) if kind == "float" else number(text)
            elif whole:
                value = None if text == "" else int(text)
            else:
                value = text
            j = answer["rows"][i][name]
            if real:
                assert same(None if value is None or not math.isfinite(value) else float(value), None if j is None else float(np.float32(j)) if kind == "float" else j), where
            elif whole:
                assert same(value, None if j is None else int(j)), where
            elif value != "" or j is not None:
                assert j == value, where
            for form, table in tables.items():
                cell, mask = table.array[name].data[i], table.array[name].mask[i]
                if real:
                    # BINARY knows no NULL, and astropy masks every NaN of a VOTable
                    assert (value is None or value != value) if mask else same(float(value), float(cell)), (form, where)
                elif whole:
                    assert (value is None) if mask else (value == int(cell)), (form, where)
                else:
                    assert str(cell) == value, (form, where)
            f = hdu[1].data[name][i]
            if real:
                assert (math.isnan(f) and (value is None or math.isnan(value))) or float(f) == float(value), where
            elif whole:
                null = hdu[1].header.get(f"TNULL{column + 1}")
                assert int(f) == (null if value is None else value), where
            else:
                assert str(f).rstrip() == value.rstrip(), where


def test_stilts_reads_the_binary_forms_as_it_reads_tabledata(service, tmp_path):
    def stilts(kind, form):
        path = tmp_path / ("t." + form)
        path.write_bytes(raw(service + QUERY + kind))
        done = subprocess.run(["stilts", "tpipe", f"in={path}", f"ifmt={form}", "cmd=delcols distance", "ofmt=csv"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout
    table = stilts("votable", "votable")
    assert table.count("\n") == len(POSITIONS) * 20 + 1
    assert stilts("votable/b2", "votable") == table
    assert stilts("votable/b", "votable") == table
    blank = lambda text: re.sub(r" +(,|\n)", r"\1", text.replace('" "', ""))     # FITS pads: an empty text is a blank one
    assert blank(stilts("fits", "fits")) == blank(table)


def test_null_and_nan_are_told_apart_where_the_format_can(service):
    xml = raw(service + QUERY + "votable").decode()
    assert "<TD>NaN</TD>" in xml and "<TD/>" in xml
    text = raw(service + QUERY + "csv").decode()
    assert ",NaN," in text and ",," in text and ',"",' in text      # NaN, NULL, the empty string
    assert text.replace("\r\n", "").count("\r") == 0


@pytest.mark.parametrize("kind", ["votable", "votable/b", "votable/b2", "csv", "tsv", "json", "fits"])
def test_truncation_is_told_in_each_format(service, kind):
    for limit, cut in ((7, True), (100000, False)):
        with urllib.request.urlopen(f"{service}{QUERY}{kind}&MAXREC={limit}", timeout=60) as answer:
            body, headers = answer.read(), answer.headers
        assert headers["X-Overflow-Limit"] == str(limit)
        said = headers["X-Overflow"]
        if said is None: # streamed: a trailer
            shown = subprocess.run(["curl", "-s", "-o", "/dev/null", "-D", "-", f"{service}{QUERY}{kind}&MAXREC={limit}"], capture_output=True, text=True).stdout
            said = re.search(r"X-Overflow: (\w+)", shown.replace("\r", ""))[1]
        assert said == str(cut).lower()
        if "votable" in kind:
            assert (b'value="OVERFLOW"' in body) == cut
        elif kind == "json":
            assert json.loads(body)["overflow"] == cut
        elif kind == "fits":
            assert fits.open(io.BytesIO(body))[1].header["OVERFLOW"] == cut


def test_what_fails_in_mid_stream_is_seen_to_fail(database, tmp_path):
    """Five backends are killed while they send: the client never gets a whole document, whatever the format."""
    database.sql("""INSERT INTO recipe (recipe, instrument, program_version) VALUES ('0123456789abcdef', 'simcam', '1'); SELECT detection_partition(20250530);
        INSERT INTO exposure (exposure_id, instrument, exposure_key, night, mjd_mid, exptime_s, filter) VALUES (1, 'simcam', 'e', 20250530, 60825, 30, 'g');
        INSERT INTO ccd (exposure_id, ccd, recipe_id, version, night, magzero, published_at) VALUES (1, 1, 1, 1, 20250530, 25, now());
        INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version) SELECT (1::bigint << 31) | (1::bigint << 22) | i, i, 45 + i * 1e-7, 0.0, 60825, 1, 1, 20250530, 1, 1
          FROM generate_series(1, 400000) i; ANALYZE""")
    with serving(database, tmp_path, "--serve-maxrec-limit", "1000000") as (url, _):
        for kind in ("votable", "votable/b2", "csv", "json"):
            client = subprocess.Popen(["curl", "-s", "--limit-rate", "3M", "-o", str(tmp_path / "out"), "-w", "%{http_code}", "--max-time", "40",
                                       f"{url}/scs/detection?RA=45&DEC=0&SR=180&VERB=3&MAXREC=400000&RESPONSEFORMAT={kind}"], stdout=subprocess.PIPE, text=True)
            end = time.monotonic() + 20
            while (not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size < 1000000) and time.monotonic() < end:
                time.sleep(0.05)
            killed = database.one("SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nightshift serve' AND state = 'active') t")
            assert int(killed) >= 1, kind
            assert client.wait(45) == 18, kind      # curl: partial file
            text = (tmp_path / "out").read_bytes()
            (tmp_path / "out").unlink()
            assert b'name="QUERY_STATUS" value="OVERFLOW"' not in text
        fetch(url + "/readyz")


def test_a_client_that_leaves_frees_the_database_within_a_second(database, tmp_path):
    database.sql("""INSERT INTO recipe (recipe, instrument, program_version) VALUES ('0123456789abcdef', 'simcam', '1'); SELECT detection_partition(20250530);
        INSERT INTO exposure (exposure_id, instrument, exposure_key, night, mjd_mid, exptime_s, filter) VALUES (1, 'simcam', 'e', 20250530, 60825, 30, 'g');
        INSERT INTO ccd (exposure_id, ccd, recipe_id, version, night, magzero, published_at) VALUES (1, 1, 1, 1, 20250530, 25, now());
        INSERT INTO detection (det_id, hpx29, ra, dec, mjd, x, y, night, recipe_id, version) SELECT (1::bigint << 31) | (1::bigint << 22) | i, i, 45 + i * 1e-7, 0.0, 60825, 1, 1, 20250530, 1, 1
          FROM generate_series(1, 400000) i; ANALYZE""")
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nightshift serve' AND state = 'active'"
    with serving(database, tmp_path, "--serve-maxrec-limit", "1000000") as (url, _):
        client = subprocess.Popen(["curl", "-s", "--limit-rate", "1M", "-o", str(tmp_path / "out"), f"{url}/scs/detection?RA=45&DEC=0&SR=180&VERB=3&MAXREC=400000"])
        end = time.monotonic() + 20
        while (not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size < 1000000) and time.monotonic() < end:
            time.sleep(0.05)
        assert database.one(busy) == "1"
        client.kill()
        client.wait()
        left = time.monotonic()
        while database.one(busy) != "0" and time.monotonic() < left + 10:
            time.sleep(0.05)
        took = time.monotonic() - left
        print(f"{took:.2f} s")
        assert took < 1.5       # one second, and what asking costs
