"""The plans of PostgreSQL: conditions on the sky are answered by the index of hpx29, whichever way they are said."""
import pytest

ROWS = 20000


@pytest.fixture(scope="module")
def big(world):
    """A table like those of the catalogue, large enough that a scan of it is no choice."""
    world.database.sql(f"""
        SELECT setseed(0.25);
        CREATE TABLE adql_big AS SELECT i AS id, 10 + 10 * random() AS ra, 20 + 10 * random() AS dec, random() AS x, 0::int8 AS hpx29 FROM generate_series(1, {ROWS}) i;
        UPDATE adql_big SET hpx29 = adql.healpix(29, ra, dec);
        CREATE INDEX adql_big_hpx29 ON adql_big (hpx29);
        CREATE TABLE adql_small AS SELECT i AS id, 10 + 10 * random() AS lon, 20 + 10 * random() AS lat, 0.02::float8 AS size FROM generate_series(1, 150) i;
        INSERT INTO object (object_id, hpx29, ra, dec, ref_ra, ref_dec, first_night, founder_det_id, founder_recipe_id, founder_version)
            SELECT id, hpx29, ra, dec, ra, dec, 20250530, id, 1, 1 FROM adql_big;
        VACUUM ANALYZE adql_big; ANALYZE adql_small; ANALYZE object;""")
    return [{"name": "big", "relation": "adql_big", "nrow": ROWS, "position": ["ra", "dec", "hpx29"],
             "columns": [["id", "int"], ["ra", "double", "deg"], ["dec", "double", "deg"], ["x", "double"], ["hpx29", "long"]]},
            {"name": "small", "relation": "adql_small", "nrow": 150, "columns": [["id", "int"], ["lon", "double"], ["lat", "double"], ["size", "double"]]}]


def plan(world, query, uploads):
    answer = world.ask(query, uploads=uploads, explain=True)
    assert "sqlerror" not in answer and "error" not in answer, answer
    assert answer["jury"] is None
    return "\n".join(row[0] for row in answer["rows"]), answer


REGIONS = [
    "1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',15,25,0.05))", "CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05))=1", "0<>CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05))",
    "CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05))>0", "NOT 0=CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05))", "1=INTERSECTS(CIRCLE(15,25,0.05),POINT(ra,dec))",
    "DISTANCE(POINT(ra,dec),POINT(15,25))<0.05", "DISTANCE(15,25,ra,dec) <= 3./60", "0.05 > DISTANCE(POINT(15,25),POINT(ra,dec))", "3600*DISTANCE(POINT(ra,dec),POINT(15,25)) < 180",
    "DISTANCE(POINT(ra,dec),POINT(15,25))/0.5 < 0.1", "DISTANCE(POINT(ra,dec),POINT(15,25)) BETWEEN 0.01 AND 0.05", "1=CONTAINS(POINT(15,25),CIRCLE(ra,dec,0.05))",
    "1=CONTAINS(POINT(ra,dec),POLYGON(15,25,15.1,25,15.1,25.1))", "1=CONTAINS(POINT(ra,dec),POLYGON(15,25,15.2,25,15.05,25.05,15,25.2))", "1=CONTAINS(POINT(ra,dec),BOX(15,25,0.1,0.1))",
    "1=CONTAINS(POINT(ra,dec),REGION('Polygon ICRS 15 25 15.1 25 15.1 25.1'))", "1=CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05)) AND x < 0.5",
    "1=CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05)) OR 1=CONTAINS(POINT(ra,dec),CIRCLE(12,22,0.05))",
    "(x < 0.5 OR x > 0.9) AND 1=CONTAINS(POINT(ra,dec),CIRCLE(-345,25,0.05))"]


@pytest.mark.parametrize("region", REGIONS)
def test_a_constant_region_uses_the_index(world, big, region):
    for table in "TAP_UPLOAD.big", "(SELECT id, ra, dec, x FROM TAP_UPLOAD.big) AS q":
        text, answer = plan(world, f"SELECT id FROM {table} WHERE {region}", big)
        assert answer["indexed"] and "adql_big_hpx29" in text and "Seq Scan on adql_big" not in text, text
    slow = region.replace("ra,dec", "ra+0,dec").replace("ra, dec", "ra+0,dec")
    text, answer = plan(world, f"SELECT id FROM TAP_UPLOAD.big WHERE {slow}", big)
    assert not answer["indexed"] and "Seq Scan on adql_big" in text
    assert sorted(world.run(f"SELECT id FROM TAP_UPLOAD.big WHERE {region}", uploads=big)) == sorted(world.run(f"SELECT id FROM TAP_UPLOAD.big WHERE {slow}", uploads=big))


@pytest.mark.parametrize("query", [
    "WITH q AS (SELECT * FROM TAP_UPLOAD.big) SELECT id FROM q WHERE 1=CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05))",
    "SELECT COUNT(*) FROM TAP_UPLOAD.big WHERE 1=CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05))",
    "SELECT z.id FROM (SELECT y.id, y.ra AS a, y.dec AS d FROM (SELECT id, ra, dec FROM TAP_UPLOAD.big) AS y) AS z WHERE 1=CONTAINS(POINT(z.a,z.d),CIRCLE(15,25,0.05))",
    "SELECT TOP 10 b.id FROM TAP_UPLOAD.big AS b WHERE 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(15,25,0.05)) ORDER BY DISTANCE(POINT(b.ra,b.dec),POINT(15,25))",
    "SELECT id FROM TAP_UPLOAD.small WHERE id IN (SELECT id FROM TAP_UPLOAD.big WHERE 1=CONTAINS(POINT(ra,dec),CIRCLE(15,25,0.05)))"])
def test_inside_other_queries(world, big, query):
    text, _ = plan(world, query, big)
    assert "adql_big_hpx29" in text and "Seq Scan on adql_big" not in text, text


@pytest.mark.parametrize("query", [
    "SELECT b.id, s.id FROM TAP_UPLOAD.big AS b JOIN TAP_UPLOAD.small AS s ON 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(s.lon,s.lat,0.01))",
    "SELECT b.id, s.id FROM TAP_UPLOAD.small AS s JOIN TAP_UPLOAD.big AS b ON 1=CONTAINS(POINT(s.lon,s.lat),CIRCLE(b.ra,b.dec,0.01))",
    "SELECT b.id, s.id FROM TAP_UPLOAD.big AS b, TAP_UPLOAD.small AS s WHERE 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(s.lon,s.lat,s.size))",
    "SELECT b.id, s.id FROM TAP_UPLOAD.small AS s LEFT JOIN TAP_UPLOAD.big AS b ON DISTANCE(POINT(b.ra,b.dec),POINT(s.lon,s.lat)) < 30./3600",
    "SELECT s.id FROM TAP_UPLOAD.small AS s WHERE EXISTS (SELECT 1 FROM TAP_UPLOAD.big AS b WHERE 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(s.lon,s.lat,0.01)))",
    "SELECT a.id, b.id FROM TAP_UPLOAD.big AS a JOIN TAP_UPLOAD.big AS b ON 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(a.ra,a.dec,0.01)) WHERE a.x < 0.01",
    "SELECT a.id, b.id FROM TAP_UPLOAD.big AS a, TAP_UPLOAD.big AS b WHERE 1=CONTAINS(POINT(a.ra,a.dec),CIRCLE(15,25,0.1)) AND 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(a.ra,a.dec,0.01))"])
def test_joins_use_the_index(world, big, query):
    text, answer = plan(world, query, big)
    assert len(answer["preludes"]) == 1 and "adql_ranges_1" in text and "Index Cond: ((hpx29 >= g1.first) AND (hpx29 <= g1.last))" in text, text
    slow = query.replace("b.ra,", "b.ra+0,")
    if "EXISTS" not in query:
        assert "big AS a" in query or not world.ask(slow, uploads=big, run=False)["preludes"]
        rows = world.run(query, uploads=big)
        assert sorted(rows, key=repr) == sorted(world.run(slow, uploads=big), key=repr) and len(rows) >= 2


@pytest.mark.parametrize("query", [
    "SELECT object_id FROM nightshift.object WHERE 1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',15,25,0.05))",
    "SELECT o.object_id, s.id FROM object AS o JOIN TAP_UPLOAD.small AS s ON 1=CONTAINS(POINT('ICRS',o.ra,o.dec),CIRCLE('ICRS',s.lon,s.lat,0.01))"])
def test_the_published_objects(world, big, query):
    text, _ = plan(world, query, big)
    assert "object_hpx29" in text and "Seq Scan on object" not in text, text


@pytest.mark.parametrize("query", [
    "SELECT det_id FROM nightshift.detection WHERE 1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',15,25,0.05))",
    "SELECT d.det_id, s.id FROM detection AS d JOIN TAP_UPLOAD.small AS s ON 1=CONTAINS(POINT('ICRS',d.ra,d.dec),CIRCLE('ICRS',s.lon,s.lat,0.01))"])
def test_the_published_detections(world, big, query):
    world.database.sql("SELECT detection_partition(20250530);")
    answer = world.ask(query, uploads=big, explain=True, settings="SET LOCAL enable_seqscan = off")
    text = "\n".join(row[0] for row in answer["rows"])
    assert "hpx29" in text and "Index Cond" in text and "sqlerror" not in answer, text


def test_no_more_circles_than_allowed_are_read(world, big):
    """The filter of the smaller side goes with it."""
    answer = world.ask("SELECT b.id FROM TAP_UPLOAD.big AS b, TAP_UPLOAD.small AS s WHERE 1=CONTAINS(POINT(b.ra,b.dec),CIRCLE(s.lon,s.lat,s.size)) AND s.id < 20 AND b.x > 0.5", uploads=big)
    assert answer["preludes"] == ['SELECT DISTINCT t2."lon" AS lon, t2."lat" AS lat, t2."size" AS radius FROM "adql_small" AS t2 WHERE (t2."id" < 20)']
