"""The schema file, TAP_SCHEMA and the live database say the same."""
import pathlib

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SQL = {"boolean": "boolean", "short": "smallint", "int": "integer", "long": "bigint", "float": "real", "double": "double precision",
       "text": "text", "timestamp": "timestamp with time zone"}
VOTABLE = {"text": "char", "timestamp": "char"}


@pytest.fixture(scope="module")
def schema():
    return yaml.safe_load((ROOT / "catalog/schema/schema.yaml").read_text())


def tables(schema):
    return [(group["name"], table) for group in schema["schemas"] for table in group["tables"]]


def live_columns(database, relation):
    rows = database.sql(f"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{relation}'::regclass "
                        "AND attnum > 0 AND NOT attisdropped")
    return dict(rows)


def test_relations_have_the_columns_with_these_types(database, schema):
    for group, table in tables(schema):
        live = live_columns(database, table["relation"])
        for column in table["columns"]:
            assert live.get(column["name"]) == SQL[column["type"]], f"{group}.{table['name']}.{column['name']}"


def test_tap_schema_is_the_file(database, schema):
    rows = database.json("SELECT * FROM tap_schema.columns ORDER BY table_name, column_index")
    held = {(row["table_name"], row["column_name"].strip('"')): row for row in rows}
    listed = 0
    for group, table in tables(schema):
        for place, column in enumerate(table["columns"], 1):
            row = held[f"{group}.{table['name']}", column["name"]]
            text = column["type"] in VOTABLE
            want = {"datatype": VOTABLE.get(column["type"], column["type"]), "arraysize": column.get("arraysize", "*" if text else None),
                    "unit": column.get("unit"), "ucd": column.get("ucd"), "utype": column.get("utype"), "description": column["description"],
                    "xtype": column.get("xtype", "timestamp" if column["type"] == "timestamp" else None), "column_index": place,
                    **{flag: column.get(flag, 0) for flag in ("principal", "indexed", "std")}}
            assert {key: row[key] for key in want} == want, (table["name"], column["name"])
            listed += 1
    assert listed == len(rows)
    assert database.one("SELECT count(*) FROM tap_schema.tables") == str(len(tables(schema)))
    assert database.one("SELECT count(*) FROM tap_schema.keys") == str(len(schema["keys"]))


def test_keys_join(database, schema):
    relation = {f"{group}.{table['name']}": table["relation"] for group, table in tables(schema)}
    for key in schema["keys"]:
        on = " AND ".join(f"a.{left} = b.{right}" for left, right in key["columns"])
        database.sql(f"SELECT FROM {relation[key['from']]} a JOIN {relation[key['to']]} b ON {on} LIMIT 1")


def test_a_changed_file_is_published_again_and_the_same_one_is_not(database):
    database.sql("DELETE FROM tap_schema.key_columns; DELETE FROM tap_schema.keys")
    database("db", "migrate", code=0)
    assert database.one("SELECT count(*) FROM tap_schema.keys") == "0" # the checksum fits: nothing is written
    database.sql("UPDATE schema_published SET sha256 = 'of another file'")
    database("db", "migrate", code=0)
    assert int(database.one("SELECT count(*) FROM tap_schema.keys")) >= 10
    assert database.one("SELECT count(*) FROM schema_published") == "1"


def test_columns_of_positions_and_orders_exist(schema):
    for _, table in tables(schema):
        names = {column["name"] for column in table["columns"]}
        assert len(names) == len(table["columns"])
        assert set(table.get("position", [])) | set(table.get("order", [])) <= names
