"""The OpenAPI document against the routes in the sources and the service that runs."""
import json
import pathlib
import re

import pytest
from test_discovery import get
from test_service import serving

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def document():
    return json.loads((ROOT / "catalog/pages/openapi.json").read_text())


def operations(document):
    return {(method.upper(), path): op for path, item in document["paths"].items() for method, op in item.items()}


def test_it_has_every_route_of_the_sources_and_no_other(document):
    method = '"(GET|POST|PUT|PATCH|DELETE)"'
    routes = {m for source in (ROOT / "catalog").glob("*.c") for m in re.findall(rf'(?:\{{|httpd_route\(\w+, ){method}, "(/[^"]*)"', source.read_text())}
    routes |= {("GET", path) for path in re.findall(r'\{"(/[^"]*)", \w+', (ROOT / "catalog/vosi.c").read_text())}
    assert set(operations(document)) == routes


def test_it_is_whole(document):
    assert document["openapi"].startswith("3.0.")
    text = json.dumps(document)
    for ref in re.findall(r'"\$ref": "#/([^"]+)"', text):
        node = document
        for part in ref.split("/"):
            node = node[part]
    tags = {t["name"] for t in document["tags"]}
    for (method, path), op in operations(document).items():
        declared = {p["name"] for p in map(lambda p: document["components"]["parameters"][p["$ref"].rsplit("/", 1)[1]] if "$ref" in p else p, op.get("parameters", [])) if p["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path)) or method != "GET", path
        assert set(op["tags"]) <= tags and op["summary"] and any(code[0] in "23" for code in op["responses"]), path


def test_what_it_calls_public_is_and_the_rest_is_not(document, database, tmp_path):
    with serving(database, tmp_path, "--serve-anonymous", "") as (url, _):
        status, headers, body = get(url + "/openapi.json")
        assert status == 200 and headers["Content-Type"] == "application/json" and json.loads(body) == document
        for (method, path), op in operations(document).items():
            if method != "GET" or "{name}" in path:
                continue
            got = get(url + re.sub(r"\{\w+\}", "1", path))[0]
            assert got in (200, 503) if op.get("security") == [] else got == 401, (path, got)
