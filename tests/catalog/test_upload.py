"""Tables that come with a query: every serialization, every client's way of sending them, and what is refused."""
import http.server
import threading

import pytest

import tapclient as tap
from test_service import POSITIONS
from test_tap import base, filled, stilts  # noqa: F401 (fixtures)

FIELDS = [("id", "int", None, None), ("ra", "double", None, "deg"), ("dec", "double", None, "deg"), ("name", "unicodeChar", "*", None), ("ok", "boolean", None, None),
          ("big", "long", None, None), ("f", "float", None, None), ("s", "short", None, None)]
ROWS = [(i, ra, dec, f"n\u00e9{i} <&>", i % 2 == 0, 2 ** 60 + i, 0.5 + i, -i) for i, (ra, dec) in enumerate(POSITIONS)]


def upload(base, query, table, name="up", **params):
    body, kind = tap.multipart([("LANG", None, b"ADQL"), ("QUERY", None, query.encode()), ("UPLOAD", None, f"{name},param:part".encode()),
                                *[(key, None, str(value).encode()) for key, value in params.items()], ("part", "t.vot", table)])
    return tap.ask(f"{base}/tap/sync", body, headers={"Content-Type": kind})


@pytest.mark.parametrize("serialization", ["tabledata", "binary", "binary2"])
def test_every_serialization_comes_back_as_it_went(base, serialization):
    answer = upload(base, "SELECT * FROM TAP_UPLOAD.up", tap.votable(FIELDS, ROWS, serialization))
    assert answer.status == 200, answer.text
    got = tap.rows(answer)
    assert [(int(r[0]), float(r[1]), float(r[2]), r[3], r[4].lower()[0] == "t", int(r[5]), float(r[6]), int(r[7])) for r in got] == ROWS


def test_join_by_circle_finds_the_neighbours(base):
    query = ("SELECT u.id, o.object_id FROM nightshift.object AS o JOIN TAP_UPLOAD.up AS u "
             "ON 1 = CONTAINS(POINT('ICRS', o.ra, o.dec), CIRCLE('ICRS', u.ra, u.dec, 0.0001)) ORDER BY u.id")
    answer = upload(base, query, tap.votable(FIELDS, ROWS))
    assert [[int(a), int(b)] for a, b in tap.rows(answer)] == [[i, 9007199254740993 + i] for i in range(len(POSITIONS))], answer.text


@pytest.mark.parametrize("table, word", [
    (b"<html/>", "no VOTable"), (b"", "VOTable"), (b"<VOTABLE><RESOURCE/></VOTABLE>", "no table"),
    (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><VOTABLE>&x;</VOTABLE>", "document type"),
    (b"<VOTABLE><RESOURCE><TABLE><FIELD name='a' datatype='int'/><FIELD name='A' datatype='int'/></TABLE></RESOURCE></VOTABLE>", "twice"),
    (b"<VOTABLE><RESOURCE><TABLE><FIELD name='a' datatype='int'/><DATA><TABLEDATA><TR><TD>x</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>", "no int")])
def test_a_bad_table_is_told_with_its_line(base, table, word):
    answer = upload(base, "SELECT * FROM TAP_UPLOAD.up", table)
    assert answer.status == 400
    (value, text), = tap.statuses(answer)
    assert value == "ERROR" and word in text


def test_names_that_need_quotes(base):
    fields = [('we"ird name', "int", None, None), ("select", "int", None, None)]
    answer = upload(base, "SELECT * FROM TAP_UPLOAD.up", tap.votable(fields, [(1, 2)]))
    assert tap.rows(answer) == [["1", "2"]], answer.text


def test_by_url_only_from_where_it_is_allowed(base):
    table = tap.votable(FIELDS, ROWS)

    class Serve(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(table)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        answer = tap.sync(base, "SELECT id FROM TAP_UPLOAD.up ORDER BY id", UPLOAD=f"up,http://127.0.0.1:{server.server_port}/t.vot")
        assert [int(r[0]) for r in tap.rows(answer)] == list(range(len(ROWS))), answer.text
        for url in (f"http://localhost:{server.server_port}/t.vot", "http://169.254.169.254/", "file:///etc/passwd"):
            answer = tap.sync(base, "SELECT id FROM TAP_UPLOAD.up", UPLOAD=f"up,{url}")
            assert answer.status == 400 and ("not fetched" in (text := tap.statuses(answer)[0][1]) or "no URL" in text)
    finally:
        server.shutdown()
        server.server_close()


def test_pyvo_uploads_sync_and_async(base):
    pyvo = pytest.importorskip("pyvo")
    from astropy.table import Table
    table = Table({"id": [1, 2, 3], "ra": [p[0] for p in POSITIONS[:3]], "dec": [p[1] for p in POSITIONS[:3]], "name": ["a", "b\u00e9", "c"]})
    service = pyvo.dal.TAPService(f"{base}/tap")
    query = "SELECT id, name FROM TAP_UPLOAD.mine ORDER BY id"
    for run in (service.run_sync, service.run_async):
        got = run(query, uploads={"mine": table}).to_table()
        assert [int(i) for i in got["id"]] == [1, 2, 3]
        assert [str(s) for s in got["name"]] == ["a", "b\u00e9", "c"]


def test_stilts_tapskymatch(base, tmp_path):
    given, out = tmp_path / "in.csv", tmp_path / "out.csv"
    given.write_text("id,ra,dec\n" + "".join(f"{i},{ra!r},{dec!r}\n" for i, (ra, dec) in enumerate(POSITIONS)) + "99,200.0,-60.0\n")
    stilts("tapskymatch", f"tapurl={base}/tap", f"in={given}", "ifmt=csv", "inlon=ra", "inlat=dec", "sr=0.0001", "taptable=nightshift.object", "taplon=ra", "taplat=dec",
           "find=all", f"out={out}", "ofmt=csv")
    lines = out.read_text().splitlines()
    assert len(lines) == len(POSITIONS) + 1, lines
