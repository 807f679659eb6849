"""Capabilities, tables, availability and examples: valid documents that say what the service does."""
import pathlib
import xml.etree.ElementTree as ET

import pytest
import yaml

import tapclient as tap
from test_tap import base, filled  # noqa: F401 (fixtures)

ROOT = pathlib.Path(__file__).resolve().parents[2]
XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"


def test_capabilities_say_what_there_is(base):
    document = tap.ask(f"{base}/tap/capabilities").xml
    found = {c.get("standardID"): c for c in document.iter("capability")}
    assert {"ivo://ivoa.net/std/TAP", "ivo://ivoa.net/std/VOSI#capabilities", "ivo://ivoa.net/std/VOSI#availability", "ivo://ivoa.net/std/VOSI#tables-1.1",
            "ivo://ivoa.net/std/DALI#examples"} == set(found)
    access = found["ivo://ivoa.net/std/TAP"]
    assert access.find("interface/accessURL").text == f"{base}/tap"
    for name, c in found.items():
        if name != "ivo://ivoa.net/std/TAP":
            assert tap.ask(c.find("interface/accessURL").text).status == 200, name
    query = "SELECT TOP 1 object_id FROM nightshift.object"
    for declared in access.iter("outputFormat"):
        for name in [declared.find("mime").text, *[alias.text for alias in declared.iter("alias")]]:
            answer = tap.sync(base, query, RESPONSEFORMAT=name)
            assert answer.status == 200 and answer.headers["Content-Type"].split(";")[0] == declared.find("mime").text.split(";")[0], name
    for version in access.iter("version"):
        assert tap.sync(base, query, LANG=f"ADQL-{version.text}").status == 200


def test_tables_are_those_of_the_schema_file(base):
    schema = yaml.safe_load((ROOT / "catalog/schema/schema.yaml").read_text())
    want = {f"{g['name']}.{t['name']}": [c["name"] for c in t["columns"]] for g in schema["schemas"] for t in g["tables"]}
    document = tap.ask(f"{base}/tap/tables").xml
    assert {t.find("name").text: [c.find("name").text.strip('"') for c in t.iter("column")] for t in document.iter("table")} == want
    small = tap.ask(f"{base}/tap/tables?detail=min").xml
    assert {t.find("name").text for t in small.iter("table")} == set(want) and not list(small.iter("column"))
    one = tap.ask(f"{base}/tap/tables/nightshift.detection").xml
    assert one.find("name").text == "nightshift.detection" and len(list(one.iter("column"))) == len(want["nightshift.detection"])
    assert tap.ask(f"{base}/tap/tables/nothing").status == 404
    assert tap.ask(f"{base}/tap/tables?detail=some").status == 400


def test_availability(base):
    document = tap.ask(f"{base}/tap/availability").xml
    ns = "{http://www.ivoa.net/xml/VOSIAvailability/v1.0}"
    assert document.tag == f"{ns}availability" and document.find(f"{ns}available").text == "true"


def test_each_example_runs(base):
    answer = tap.ask(f"{base}/tap/examples")
    assert answer.headers["Content-Type"].startswith("application/xhtml+xml")
    ns = "{http://www.w3.org/1999/xhtml}"
    examples = [e for e in answer.xml.iter(f"{ns}div") if e.get("typeof") == "example"]
    assert len(examples) == len(yaml.safe_load((ROOT / "catalog/schema/examples.yaml").read_text())) >= 5
    for example in examples:
        query = next(e for e in example.iter() if e.get("property") == "query").text
        result = tap.sync(base, query)
        assert result.status == 200, (example.get("id"), result.text)
        assert example.get("resource") == "#" + example.get("id")


def test_declared_example_of_each_table_is_read(base):
    names = [row[0] for row in tap.rows(tap.sync(base, "SELECT table_name FROM tap_schema.tables"))]
    for name in names:
        answer = tap.sync(base, f"SELECT TOP 1 * FROM {name}")
        assert answer.status == 200, (name, answer.text)
