"""Tables small enough to know by heart, the translator as a child process, and brute force to compare with."""
import datetime
import json
import math
import os
import pathlib
import random
import sqlite3
import subprocess

import numpy
import pytest

L = numpy.longdouble
PI = L("3.14159265358979323846264338327950288")
SEED = int(os.environ.get("ADQL_SEED", "20251121"))


# ---- brute force in 80-bit numbers -------------------------------------------------------------------------------------
def distance(lon1, lat1, lon2, lat2):
    """Degrees, by unit vectors: the angle from the lengths of difference and sum."""
    a, b = vector(lon1, lat1), vector(lon2, lat2)
    minus = numpy.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)))
    plus = numpy.sqrt(sum((x + y) ** 2 for x, y in zip(a, b)))
    return 2 * numpy.arctan2(minus, plus) * 180 / PI


def vector(lon, lat):
    lon, lat = L(lon) * PI / 180, L(lat) * PI / 180
    return numpy.cos(lat) * numpy.cos(lon), numpy.cos(lat) * numpy.sin(lon), numpy.sin(lat)


def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def bearing(p, v):
    """Direction of v seen from p: degrees of no known origin."""
    north = cross(p, (L(0.3), L(-0.5), L(0.81)))
    size = numpy.sqrt(dot(north, north))
    north = tuple(x / size for x in north)
    east = cross(north, p)
    return numpy.arctan2(dot(east, v), dot(north, v))


def polygon_area(vertices):
    """Steradian, signed, from the angles at the vertices: a way unlike the product's. Good for polygons below a hemisphere."""
    v = [vector(*p) for p in vertices]
    total = L(0)
    for i, b in enumerate(v):
        a, c = v[i - 1], v[(i + 1) % len(v)]
        turn = bearing(b, a) - bearing(b, c)
        total += turn % (2 * PI)
    inside = total - (len(v) - 2) * PI
    return inside if inside < 2 * PI else inside - 4 * PI


def in_polygon(vertices, lon, lat):
    """Does the outline wind around the position (or each of an array), in its own sense?"""
    p, v, total = vector(lon, lat), [vector(*q) for q in vertices], L(0)
    for i in range(len(v)):
        turn = bearing(p, v[(i + 1) % len(v)]) - bearing(p, v[i])
        total += (turn + PI) % (2 * PI) - PI
    return total * numpy.sign(polygon_area(vertices)) > PI


def reached_from(vertices, inside, lon, lat):
    """Parity of the edges crossed on the arc from a point known to be inside: for polygons so large that the winding of the
    position and that of its antipode cancel."""
    p, q, v, odd = vector(lon, lat), vector(*inside), [vector(*w) for w in vertices], numpy.zeros(numpy.shape(lon), bool)
    n = cross(p, q)
    for i in range(len(v)):
        a, b = v[i], v[(i + 1) % len(v)]
        m = cross(a, b)
        sides = dot(n, a) > 0, dot(n, b) > 0, dot(m, p) > 0, dot(m, q) > 0
        odd = odd ^ ((sides[0] != sides[1]) & (sides[2] != sides[3]) & (sides[0] != sides[2]))
    return ~odd


def edge_gap(vertices, lon, lat):
    """Degrees to the nearest edge, roughly: cases nearer than a tolerance are left out of comparisons."""
    best = 180.0
    for i in range(len(vertices)):
        a, b = vector(*vertices[i]), vector(*vertices[(i + 1) % len(vertices)])
        n = cross(a, b)
        size = numpy.sqrt(dot(n, n))
        if size:
            best = numpy.minimum(best, abs(numpy.arcsin(dot(n, vector(lon, lat)) / size)) * 180 / PI)
    return best


def nested_pixel(lon, lat):
    """HEALPix of order 29, nested (Gorski et al. 2005)."""
    z, quarter, n = math.sin(math.radians(lat)), (lon % 360) / 90, 1 << 29
    if abs(z) <= 2 / 3:
        up, down = 0.5 + quarter + 0.75 * z, 0.5 + quarter - 0.75 * z
        a, b = math.floor(down), math.floor(up)
        face = (a & 3) + 4 if a == b else a & 3 if a < b else (b & 3) + 8
        u, v = up - b, 1 - (down - a)
    else:
        q = min(3, int(quarter))
        t, sigma = quarter - q, math.cos(math.radians(lat)) / math.sqrt((1 + abs(z)) / 3)
        face = q if z > 0 else q + 8
        u, v = (1 - (1 - t) * sigma, 1 - t * sigma) if z > 0 else (t * sigma, (1 - t) * sigma)
    x, y = (max(0, min(n - 1, math.floor(w * n))) for w in (u, v))
    pixel = face << 58
    for bit in range(29):
        pixel |= (x >> bit & 1) << (2 * bit) | (y >> bit & 1) << (2 * bit + 1)
    return pixel


# ---- the tables --------------------------------------------------------------------------------------------------------
SKY = [("id", "int", ""), ("ra", "double", "deg"), ("dec", "double", "deg"), ("hpx29", "long", ""), ("mag", "float", "mag"), ("band", "text", ""),
       ("n", "short", ""), ("k", "int", ""), ("big", "long", ""), ("x", "double", "Jy"), ("r", "double", "deg"), ("seen", "timestamp", ""),
       ("ok", "boolean", ""), ("note", "text", "")]
BAND = [("band", "text", ""), ("wave", "double", "nm"), ("k", "int", ""), ("label", "text", "")]
FIELD = [("fid", "int", ""), ("lon", "double", "deg"), ("lat", "double", "deg"), ("size", "double", "deg"), ("Odd Name", "int", ""), ("band", "text", ""),
         ("region", "text", "", "adql:REGION")]
SPECIAL = [(0, 0), (0, 90), (0, -90), (359.9999, 10), (0.0001, -45), (180, 0), (45, 41.8103148957786), (123.456, -67.89), (300, 88), (10, 20)]


def sky_rows(rng):
    positions = [(math.degrees(2 * math.pi * rng.random()), math.degrees(math.asin(2 * rng.random() - 1))) for _ in range(900)]
    for lon, lat in SPECIAL:
        positions.append((lon, lat))
        for _ in range(60):
            size, angle = 10 ** rng.uniform(-9, 1), rng.uniform(0, 2 * math.pi)
            dec = max(-90, min(90, lat + size * math.sin(angle)))
            ra = (lon + size * math.cos(angle) / max(1e-9, math.cos(math.radians(min(89.999999, abs(dec)))))) % 360
            positions.append((ra if ra < 360 else 0.0, dec))
    positions += [(180.0, 0.0), (0.0, 90.0), (77.0, 90.0), (200.0, -90.0), (90.0, 0.0), (270.0, 0.0), (None, None), (12.0, None), (None, 3.0), (float("nan"), 1.0)]
    rows = []
    for i, (ra, dec) in enumerate(positions):
        good = ra is not None and dec is not None and not math.isnan(ra)
        rows.append((i, ra, dec, nested_pixel(ra, dec) if good else None, None if i % 7 == 3 else round(rng.uniform(10, 25), 2) if i % 11 else 17.5,
                     (None, "g", "r", "i", "Ha", "")[i % 6], None if i % 13 == 5 else i % 10 - 4, None if i % 17 == 2 else i * 7 % 100 - 50,
                     9007199254740993 + i, None if i % 5 == 1 else rng.uniform(-100, 100), None if i % 19 == 4 else 10 ** rng.uniform(-3, 0.5),
                     None if i % 9 == 0 else datetime.datetime(2025, 1, 1) + datetime.timedelta(hours=i), None if i % 8 == 6 else i % 3 == 0,
                     (None, "plain", "it's", "per%cent", "under_score", 'back\\slash', 'dou"ble', "\u00fcml\u00e4ut", " blank ", "semi;--x")[i % 10]))
    return rows


def field_rows():
    rows = []
    for i, (lon, lat) in enumerate(SPECIAL + [(None, 1.0), (33.3, -12.0)]):
        region = None if lon is None else f"Polygon ICRS {lon} {lat - 1 if lat > 0 else lat} {lon + 3} {lat} {lon + 1} {lat + 1 if lat < 0 else lat - 2}" if i % 3 == 0 \
            else f"Circle ICRS {lon} {lat} 1.5" if i % 3 == 1 else "nonsense"
        rows.append((i, lon, lat, (0.5, 2.0, 10.0, 0.001, 100.0, None)[i % 6], i * i, "gri"[i % 3], region))
    return rows


def band_rows():
    return [("g", 475.0, 1, "green"), ("r", 625.0, 2, "red"), ("i", 775.0, 3, None), ("z", 900.0, None, "infrared"), (None, 1.0, 5, "none"), ("r", 626.0, 7, "red too")]


SQL_TYPE = {"int": "int4", "short": "int2", "long": "int8", "float": "float4", "double": "float8", "text": "text", "timestamp": "timestamptz", "boolean": "bool"}


def literal(v):
    if v is None:
        return "NULL"
    if isinstance(v, bool):
        return str(v).lower()
    if isinstance(v, float) and math.isnan(v):
        return "'NaN'"
    if isinstance(v, (int, float)):
        return repr(v)
    if isinstance(v, datetime.datetime):
        return f"'{v.isoformat()}Z'"
    return "'" + v.replace("'", "''") + "'"


class World:
    def __init__(self, database, tool):
        rng = random.Random(SEED)
        self.rows = {"sky": sky_rows(rng), "band": band_rows(), "field": field_rows()}
        self.columns = {"sky": SKY, "band": BAND, "field": FIELD}
        self.database = database
        sql = ["SET TimeZone = 'UTC';"]
        for name, columns in self.columns.items():
            defs = ", ".join(f'"{c[0]}" {SQL_TYPE[c[1]]}' for c in columns)
            sql.append(f"CREATE TABLE adql_{name} ({defs});")
            values = ",\n".join("(" + ", ".join(literal(v) for v in row) + ")" for row in self.rows[name])
            sql.append(f"INSERT INTO adql_{name} VALUES {values};")
        sql.append("CREATE INDEX ON adql_sky (hpx29); ANALYZE;")
        sql.append(f"ALTER DATABASE {database.one('SELECT current_database()')} SET TimeZone = 'UTC';")
        database.sql("\n".join(sql))
        self.lite = self.make_sqlite()
        self.tool = subprocess.Popen([tool, database.url_text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.uploads = [{"name": n, "relation": f"adql_{n}", "nrow": len(self.rows[n]), "columns": [list(c) for c in columns],
                         "position": ["ra", "dec", "hpx29"] if n == "sky" else []} for n, columns in self.columns.items()]

    def make_sqlite(self):
        """The same tables in a second engine, for what is not geometry."""
        lite = sqlite3.connect(":memory:")
        lite.execute("PRAGMA case_sensitive_like = ON")
        for name, columns in self.columns.items():
            lite.execute(f"CREATE TABLE {name} (" + ", ".join(f'"{c[0]}"' for c in columns) + ")")
            rows = [[v.isoformat() if isinstance(v, datetime.datetime) else None if isinstance(v, float) and math.isnan(v) else
                     float(numpy.float32(v)) if c[1] == "float" and v is not None else v for v, c in zip(row, columns)] for row in self.rows[name]]
            lite.executemany(f"INSERT INTO {name} VALUES (" + ",".join("?" * len(columns)) + ")", rows)
        for name in ("sin", "cos", "tan", "sqrt", "exp", "radians", "degrees", "floor"):
            lite.create_function(name, 1, lambda v, f=getattr(math, name): None if v is None else f(v), deterministic=True)
        return lite

    def ask(self, query, **options):
        message = {"query": query, "uploads": self.uploads, "run": True, **options}
        self.tool.stdin.write(json.dumps(message) + "\n")
        self.tool.stdin.flush()
        line = self.tool.stdout.readline()
        assert line, f"the translator died on {query!r}"
        return json.loads(line)

    def run(self, query, **options):
        """Rows as Python values; the jury has read the SQL."""
        answer = self.ask(query, **options)
        assert "error" not in answer, f"{query}\n{answer['error']}; {answer['hint']}"
        assert answer["jury"] is None, f"{query}\n{answer['jury']}\n{answer['sql']}"
        assert "sqlerror" not in answer, f"{query}\n{answer['sqlerror']}\n{answer['sql']}"
        types = [c["type"] for c in answer["columns"]]
        return [tuple(None if v is None else READ[t](v) for v, t in zip(row, types)) for row in answer["rows"]]

    def one(self, query):
        rows = self.run(query)
        assert len(rows) == 1, rows
        return rows[0][0] if len(rows[0]) == 1 else rows[0]

    def error(self, query, **options):
        answer = self.ask(query, run=False, **options)
        assert "error" in answer, f"accepted: {query}\n{answer.get('sql')}"
        return answer["error"], answer["hint"]

    def close(self):
        self.tool.stdin.close()
        assert self.tool.wait(20) == 0


READ = {"int": int, "short": int, "long": int, "float": float, "double": float, "text": str, "timestamp": str, "boolean": lambda v: v == "t"}


@pytest.fixture(scope="session")
def world(new_database):
    build = os.environ.get("NIGHTSHIFT_BUILD") or pathlib.Path(os.environ.get("NIGHTSHIFT_PROGRAM", "build/release/nightshift")).parent
    print(f"ADQL_SEED={SEED}")
    w = World(new_database(), str(pathlib.Path(build) / "tests/adql_tool"))
    yield w
    w.close()
