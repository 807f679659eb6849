"""`nightshift doctor` beside a database that runs."""
import json


def findings(program, env):
    return {f["what"]: f for f in json.loads(program("doctor", "--json", "--out", "/tmp", env=env, code=0).out)["findings"]}


def test_the_private_database(nightshift, cluster):
    found = findings(nightshift, cluster.env)
    assert "is up" in found["database"]["value"] and str(cluster.data) in found["database"]["value"]
    assert found["database server"]["value"].startswith("PostgreSQL 1")
    assert "up to date" in found["database schema"]["value"]
    assert found["database clock"]["grade"] == "ok"
    assert "ms" in found["database writes"]["value"] or found["database writes"]["grade"] == "warn"


def test_the_database_of_a_url(database):
    found = findings(database, {})
    assert "DATABASE_URL" in found["database"]["value"] and "up to date" in found["database schema"]["value"]


def test_pending_migrations_are_said(new_database):
    schema = findings(new_database(migrated=False), {})["database schema"]
    assert schema["grade"] == "warn" and "db migrate" in schema["todo"]
