-- What translated ADQL calls (catalog/adql_functions.c, catalog/adql_writer.c). A result that does not exist is NULL, so that
-- one odd row does not end a query: the logarithm of a negative number, the root of one.
-- Shapes are arrays of degrees: 2 numbers a point, 3 a circle, 6 and more a polygon (common/hpx_polygon.h says what is inside).
CREATE SCHEMA adql;
GRANT USAGE ON SCHEMA adql TO PUBLIC;

-- ---- numbers -------------------------------------------------------------------------------------------------------
CREATE FUNCTION adql.log(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE WHEN x > 0 THEN ln(x) END;
CREATE FUNCTION adql.log10(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE WHEN x > 0 THEN pg_catalog.log(x) END;
CREATE FUNCTION adql.sqrt(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE WHEN x >= 0 THEN pg_catalog.sqrt(x) END;
CREATE FUNCTION adql.asin(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN x >= -1 AND x <= 1 THEN pg_catalog.asin(x) END;
CREATE FUNCTION adql.acos(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN x >= -1 AND x <= 1 THEN pg_catalog.acos(x) END;
CREATE FUNCTION adql.power(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (x = 0 AND y < 0) OR (x < 0 AND y <> floor(y)) THEN NULL ELSE pg_catalog.power(x, y) END;
CREATE FUNCTION adql.mod(x float8, y float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN x - y * trunc(x / nullif(y, 0));

-- Half away from zero, on the decimal digits one sees: round(2.675, 2) is 2.68.
CREATE FUNCTION adql.round(x float8, n integer DEFAULT 0) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN pg_catalog.round(x::text::numeric, n)::float8;
CREATE FUNCTION adql.truncate(x float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN trunc(x);
CREATE FUNCTION adql.truncate(x float8, n integer) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN trunc(x::text::numeric, n)::float8;

-- A seed starts the sequence of this transaction once, when the first row asks.
CREATE FUNCTION adql.rand() RETURNS float8 LANGUAGE sql VOLATILE RETURN random();
CREATE FUNCTION adql.rand(seed integer) RETURNS float8 LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF current_setting('adql.seed', true) IS DISTINCT FROM seed::text THEN
        PERFORM set_config('adql.seed', seed::text, true), setseed(seed / 2147483648.0);
    END IF;
    RETURN random();
END $$;

-- ---- positions -----------------------------------------------------------------------------------------------------
-- Great-circle distance in degrees: the haversines of the distance and of that to the antipode together keep their digits
-- at any distance.
CREATE FUNCTION adql.distance(lon1 float8, lat1 float8, lon2 float8, lat2 float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 2 * degrees(atan2(
        pg_catalog.sqrt(pg_catalog.power(sin(radians((lat2 - lat1) / 2)), 2)
                        + cos(radians(lat1)) * cos(radians(lat2)) * pg_catalog.power(sin(radians((lon2 - lon1) / 2)), 2)),
        pg_catalog.sqrt(pg_catalog.power(sin(radians((lat2 + lat1) / 2)), 2)
                        + cos(radians(lat1)) * cos(radians(lat2)) * pg_catalog.power(cos(radians((lon2 - lon1) / 2)), 2))));

CREATE FUNCTION adql.coord1(g float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE WHEN cardinality(g) = 2 THEN g[1] END;
CREATE FUNCTION adql.coord2(g float8[]) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE WHEN cardinality(g) = 2 THEN g[2] END;

-- Nested HEALPix pixel (Gorski et al. 2005), as common/hpx.c computes it.
CREATE FUNCTION adql.healpix(p_order integer, lon float8, lat float8) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    n CONSTANT bigint := 1::bigint << 29;
    z float8 := sin(radians(lat));
    quarter float8 := (lon - 360 * floor(lon / 360)) / 90;
    a float8; b float8; u float8; v float8; t float8; sigma float8;
    face bigint; q integer; x bigint; y bigint; pix bigint := 0;
BEGIN
    IF p_order < 0 OR p_order > 29 OR NOT (abs(lat) <= 90) OR lon - lon <> 0 THEN
        RETURN NULL;
    END IF;
    IF quarter >= 4 THEN
        quarter := 0;
    END IF;
    IF abs(z) <= 2.0 / 3 THEN
        a := 0.5 + quarter - 0.75 * z;
        b := 0.5 + quarter + 0.75 * z;
        face := CASE WHEN floor(a) = floor(b) THEN (floor(a)::integer & 3) + 4
                     WHEN floor(a) < floor(b) THEN floor(a)::integer & 3 ELSE (floor(b)::integer & 3) + 8 END;
        u := b - floor(b);
        v := 1 - (a - floor(a));
    ELSE
        q := least(3, floor(quarter))::integer;
        t := quarter - q;
        sigma := cos(radians(lat)) / pg_catalog.sqrt((1 + abs(z)) / 3);
        face := CASE WHEN z > 0 THEN q ELSE q + 8 END;
        u := CASE WHEN z > 0 THEN 1 - (1 - t) * sigma ELSE t * sigma END;
        v := CASE WHEN z > 0 THEN 1 - t * sigma ELSE (1 - t) * sigma END;
    END IF;
    x := greatest(0, least(n - 1, floor(u * n)))::bigint;
    y := greatest(0, least(n - 1, floor(v * n)))::bigint;
    FOR i IN 0 .. 28 LOOP
        pix := pix | ((x >> i & 1) << (2 * i)) | ((y >> i & 1) << (2 * i + 1));
    END LOOP;
    RETURN (face << 58 | pix) >> (2 * (29 - p_order));
END $$;

-- ---- shapes --------------------------------------------------------------------------------------------------------
-- The corners of a box (common/hpx_polygon.h, hpx_box).
CREATE FUNCTION adql.box(lon float8, lat float8, width float8, height float8) RETURNS float8[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    w float8 := radians(width / 2);
    top float8; x float8; y float8; z float8; xx float8; zz float8; ret float8[] := '{}';
BEGIN
    IF NOT (width >= 0 AND width < 180 AND height >= 0 AND height < 180) THEN
        RETURN NULL;
    END IF;
    top := atan(tan(radians(height / 2)) * cos(w));
    FOR i IN 0 .. 3 LOOP
        x := cos(top) * cos(w);
        y := cos(top) * sin(w) * CASE WHEN i IN (0, 3) THEN 1 ELSE -1 END;
        z := sin(top) * CASE WHEN i >= 2 THEN 1 ELSE -1 END;
        xx := x * cos(radians(lat)) - z * sin(radians(lat));
        zz := x * sin(radians(lat)) + z * cos(radians(lat));
        ret := ret || (lon + degrees(atan2(y, xx))) || degrees(atan2(zz, pg_catalog.sqrt(xx * xx + y * y)));
    END LOOP;
    RETURN ret;
END $$;

-- 'Circle ICRS 1 2 0.5', 'Polygon ICRS 1 1 2 2 1 2', 'Box ICRS 1 2 0.5 0.5', 'Position ICRS 1 2'; NULL for anything else.
CREATE FUNCTION adql.region(region text) RETURNS float8[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    words text[] := regexp_split_to_array(btrim(region, E' \t\r\n'), '[\s,]+');
    shape text := lower(words[1]);
    v float8[] := ARRAY(SELECT w::float8 FROM unnest(words) WITH ORDINALITY AS u (w, i)
                        WHERE w ~ '^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?$' ORDER BY i);
    n integer := cardinality(v);
BEGIN
    RETURN CASE WHEN shape = 'circle' AND n = 3 THEN v
                WHEN shape IN ('position', 'point') AND n = 2 THEN v
                WHEN shape = 'box' AND n = 4 THEN adql.box(v[1], v[2], v[3], v[4])
                WHEN shape = 'polygon' AND n >= 6 AND n % 2 = 0 THEN v END;
END $$;

CREATE FUNCTION adql.stc(g float8[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN array_position(g, NULL) IS NULL THEN
        CASE cardinality(g) WHEN 2 THEN 'Position ICRS ' WHEN 3 THEN 'Circle ICRS ' ELSE 'Polygon ICRS ' END || array_to_string(g, ' ') END;

-- One look at a polygon: is the position inside, how far is the nearest edge (degrees); area (steradian) and the sum of
-- edge normals, weighted with the lengths of the edges, which points to the centroid.
CREATE FUNCTION adql.polygon_look(p float8[], lon float8, lat float8, OUT inside boolean, OUT gap float8, OUT area float8, OUT cx float8, OUT cy float8,
                                  OUT cz float8) LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    n integer := cardinality(p) / 2;
    k integer;
    vx float8[]; vy float8[]; vz float8[]; ra float8[];
    px float8 := cos(radians(lat)) * cos(radians(lon));
    py float8 := cos(radians(lat)) * sin(radians(lon));
    pz float8 := sin(radians(lat));
    pra float8 := lon - 360 * floor(lon / 360);
    mx float8 := 0; my float8 := 0; mz float8 := 0; qra float8;
    ax float8; ay float8; az float8; ex float8; ey float8; ez float8; nx float8; ny float8; nz float8; r float8; d float8; w float8; s float8 := 0;
    low float8; high float8; spans_p boolean; spans_q boolean; longest float8 := -1; odd_p boolean := false; odd_q boolean := false; half boolean := true;
BEGIN
    gap := 180;
    cx := 0; cy := 0; cz := 0;
    FOR i IN 1 .. n LOOP
        vx[i] := cos(radians(p[2 * i])) * cos(radians(p[2 * i - 1]));
        vy[i] := cos(radians(p[2 * i])) * sin(radians(p[2 * i - 1]));
        vz[i] := sin(radians(p[2 * i]));
        ra[i] := p[2 * i - 1] - 360 * floor(p[2 * i - 1] / 360);
        mx := mx + vx[i]; my := my + vy[i]; mz := mz + vz[i];
    END LOOP;
    FOR i IN 2 .. n - 1 LOOP -- triangles with the first vertex
        ax := vx[i] - vx[1]; ay := vy[i] - vy[1]; az := vz[i] - vz[1];
        ex := vx[i + 1] - vx[1]; ey := vy[i + 1] - vy[1]; ez := vz[i + 1] - vz[1];
        s := s + 2 * atan2(vx[1] * (ay * ez - az * ey) + vy[1] * (az * ex - ax * ez) + vz[1] * (ax * ey - ay * ex),
                           1 + vx[1] * vx[i] + vy[1] * vy[i] + vz[1] * vz[i] + vx[i] * vx[i + 1] + vy[i] * vy[i + 1] + vz[i] * vz[i + 1]
                             + vx[1] * vx[i + 1] + vy[1] * vy[i + 1] + vz[1] * vz[i + 1]);
    END LOOP;
    s := s - 4 * pi() * pg_catalog.round(s / (4 * pi()));
    area := abs(s);
    FOR i IN 1 .. n LOOP
        half := half AND mx * vx[i] + my * vy[i] + mz * vz[i] > 0;
    END LOOP;
    IF half THEN -- opposite the middle is outside
        mx := -mx; my := -my; mz := -mz;
    ELSE -- on the outer side of the longest edge
        FOR i IN 1 .. n LOOP
            k := i % n + 1;
            r := 1 - (vx[i] * vx[k] + vy[i] * vy[k] + vz[i] * vz[k]);
            IF r > longest THEN
                longest := r;
                nx := vy[i] * vz[k] - vz[i] * vy[k]; ny := vz[i] * vx[k] - vx[i] * vz[k]; nz := vx[i] * vy[k] - vy[i] * vx[k];
                mx := vx[i] + vx[k] - 1e-6 * sign(s) * nx; my := vy[i] + vy[k] - 1e-6 * sign(s) * ny; mz := vz[i] + vz[k] - 1e-6 * sign(s) * nz;
            END IF;
        END LOOP;
    END IF;
    qra := degrees(atan2(my, mx));
    IF qra < 0 THEN
        qra := qra + 360;
    END IF;
    FOR i IN 1 .. n LOOP
        k := i % n + 1;
        ax := vx[i]; ay := vy[i]; az := vz[i]; ex := vx[k]; ey := vy[k]; ez := vz[k];
        nx := (ay + ey) * (ez - az) - (az + ez) * (ey - ay); -- (a + b) x (b - a) = 2 a x b
        ny := (az + ez) * (ex - ax) - (ax + ex) * (ez - az);
        nz := (ax + ex) * (ey - ay) - (ay + ey) * (ex - ax);
        r := pg_catalog.sqrt(nx * nx + ny * ny + nz * nz);
        CONTINUE WHEN r = 0;
        nx := nx / r; ny := ny / r; nz := nz / r;
        w := atan2(r / 2, ax * ex + ay * ey + az * ez); -- length of the edge
        cx := cx + w * nx; cy := cy + w * ny; cz := cz + w * nz;
        d := nx * px + ny * py + nz * pz;
        IF (ny * az - nz * ay) * px + (nz * ax - nx * az) * py + (nx * ay - ny * ax) * pz >= 0
           AND (ey * nz - ez * ny) * px + (ez * nx - ex * nz) * py + (ex * ny - ey * nx) * pz >= 0 THEN
            gap := least(gap, degrees(pg_catalog.asin(least(1, abs(d)))));
        ELSE
            gap := least(gap, degrees(2 * pg_catalog.asin(least(1, pg_catalog.sqrt((px - ax) * (px - ax) + (py - ay) * (py - ay) + (pz - az) * (pz - az)) / 2))),
                         degrees(2 * pg_catalog.asin(least(1, pg_catalog.sqrt((px - ex) * (px - ex) + (py - ey) * (py - ey) + (pz - ez) * (pz - ez)) / 2))));
        END IF;
        r := ra[k] - ra[i]; -- edges crossed on the way north
        r := CASE WHEN r > 180 THEN r - 360 WHEN r <= -180 THEN r + 360 ELSE r END;
        CONTINUE WHEN r = 0;
        low := CASE WHEN r > 0 THEN ra[i] ELSE ra[k] END;
        high := CASE WHEN r > 0 THEN ra[k] ELSE ra[i] END;
        spans_p := CASE WHEN low < high THEN pra >= low AND pra < high ELSE pra >= low OR pra < high END;
        spans_q := CASE WHEN low < high THEN qra >= low AND qra < high ELSE qra >= low OR qra < high END;
        IF spans_p AND sign(r) * d < 0 THEN
            odd_p := NOT odd_p;
        END IF;
        IF spans_q AND sign(r) * (nx * mx + ny * my + nz * mz) < 0 THEN
            odd_q := NOT odd_q;
        END IF;
    END LOOP;
    cx := cx * sign(s); cy := cy * sign(s); cz := cz * sign(s);
    inside := odd_p <> odd_q OR gap < 2.5e-14;
END $$;

-- Do the edges of two polygons cross?
CREATE FUNCTION adql.edges_cross(p float8[], q float8[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    n integer := cardinality(p) / 2;
    m integer := cardinality(q) / 2;
    k integer; a float8[]; b float8[]; c float8[]; d float8[]; v float8[]; u float8[]; s1 float8; s2 float8; s3 float8; s4 float8;
    pv float8[] := '{}'; qv float8[] := '{}';
BEGIN
    FOR i IN 1 .. n LOOP
        pv := pv || ARRAY[cos(radians(p[2 * i])) * cos(radians(p[2 * i - 1])), cos(radians(p[2 * i])) * sin(radians(p[2 * i - 1])), sin(radians(p[2 * i]))];
    END LOOP;
    FOR i IN 1 .. m LOOP
        qv := qv || ARRAY[cos(radians(q[2 * i])) * cos(radians(q[2 * i - 1])), cos(radians(q[2 * i])) * sin(radians(q[2 * i - 1])), sin(radians(q[2 * i]))];
    END LOOP;
    FOR i IN 1 .. n LOOP
        k := i % n + 1;
        a := pv[3 * i - 2 : 3 * i]; b := pv[3 * k - 2 : 3 * k];
        v := ARRAY[a[2] * b[3] - a[3] * b[2], a[3] * b[1] - a[1] * b[3], a[1] * b[2] - a[2] * b[1]];
        FOR j IN 1 .. m LOOP
            k := j % m + 1;
            c := qv[3 * j - 2 : 3 * j]; d := qv[3 * k - 2 : 3 * k];
            s1 := v[1] * c[1] + v[2] * c[2] + v[3] * c[3];
            s2 := v[1] * d[1] + v[2] * d[2] + v[3] * d[3];
            CONTINUE WHEN s1 * s2 > 0;
            u := ARRAY[c[2] * d[3] - c[3] * d[2], c[3] * d[1] - c[1] * d[3], c[1] * d[2] - c[2] * d[1]];
            s3 := u[1] * a[1] + u[2] * a[2] + u[3] * a[3];
            s4 := u[1] * b[1] + u[2] * b[2] + u[3] * b[3];
            -- On opposite sides of each other's great circle, and on the same half of the sky.
            IF s3 * s4 <= 0 AND (a[1] + b[1]) * (c[1] + d[1]) + (a[2] + b[2]) * (c[2] + d[2]) + (a[3] + b[3]) * (c[3] + d[3]) > 0 THEN
                RETURN true;
            END IF;
        END LOOP;
    END LOOP;
    RETURN false;
END $$;

-- Is a inside b? Borders count as inside.
CREATE FUNCTION adql.contains(a float8[], b float8[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    n integer := cardinality(a);
    m integer := cardinality(b);
BEGIN
    IF array_position(a, NULL) IS NOT NULL OR array_position(b, NULL) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    IF a[1] - a[1] <> 0 OR NOT (abs(a[2]) <= 90) THEN
        RETURN false; -- NaN is nowhere
    END IF;
    IF n <= 3 AND m <= 3 THEN
        RETURN adql.distance(a[1], a[2], b[1], b[2]) + (CASE WHEN n = 3 THEN a[3] ELSE 0 END) - (CASE WHEN m = 3 THEN b[3] ELSE 0 END) <= 0;
    ELSIF n <= 3 THEN
        RETURN (SELECT l.inside AND l.gap >= CASE WHEN n = 3 THEN a[3] ELSE 0 END FROM adql.polygon_look(b, a[1], a[2]) AS l);
    ELSIF m = 2 THEN
        RETURN false;
    ELSIF m = 3 AND b[3] <= 90 THEN
        RETURN (SELECT bool_and(adql.distance(a[2 * i - 1], a[2 * i], b[1], b[2]) - b[3] <= 0) FROM generate_series(1, n / 2) AS i);
    ELSIF m = 3 THEN -- the rest of the sky is a circle around the antipode
        RETURN (SELECT NOT l.inside AND l.gap >= 180 - b[3] FROM adql.polygon_look(a, b[1] + 180, -b[2]) AS l);
    END IF;
    RETURN (SELECT bool_and(l.inside) FROM generate_series(1, n / 2) AS i, adql.polygon_look(b, a[2 * i - 1], a[2 * i]) AS l)
           AND NOT adql.edges_cross(a, b);
END $$;

CREATE FUNCTION adql.intersects(a float8[], b float8[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    n integer := cardinality(a);
    m integer := cardinality(b);
BEGIN
    IF array_position(a, NULL) IS NOT NULL OR array_position(b, NULL) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    IF n = 2 THEN
        RETURN adql.contains(a, b);
    ELSIF m = 2 THEN
        RETURN adql.contains(b, a);
    ELSIF n = 3 AND m = 3 THEN
        RETURN adql.distance(a[1], a[2], b[1], b[2]) - (a[3] + b[3]) <= 0;
    ELSIF n = 3 THEN
        RETURN (SELECT l.inside OR l.gap <= a[3] FROM adql.polygon_look(b, a[1], a[2]) AS l);
    ELSIF m = 3 THEN
        RETURN (SELECT l.inside OR l.gap <= b[3] FROM adql.polygon_look(a, b[1], b[2]) AS l);
    END IF;
    RETURN adql.edges_cross(a, b) OR (adql.polygon_look(b, a[1], a[2])).inside OR (adql.polygon_look(a, b[1], b[2])).inside;
END $$;

-- Square degrees.
CREATE FUNCTION adql.area(g float8[]) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF array_position(g, NULL) IS NOT NULL THEN
        RETURN NULL;
    ELSIF cardinality(g) = 2 THEN
        RETURN 0;
    ELSIF cardinality(g) = 3 THEN
        RETURN 4 * pi() * pg_catalog.power(sin(radians(g[3] / 2)), 2) * pg_catalog.power(180 / pi(), 2);
    END IF;
    RETURN (adql.polygon_look(g, 0, 0)).area * pg_catalog.power(180 / pi(), 2);
END $$;

CREATE FUNCTION adql.centroid(g float8[]) RETURNS float8[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    l record;
BEGIN
    IF array_position(g, NULL) IS NOT NULL THEN
        RETURN NULL;
    ELSIF cardinality(g) <= 3 THEN
        RETURN g[1:2];
    END IF;
    SELECT * INTO l FROM adql.polygon_look(g, 0, 0);
    RETURN ARRAY[(degrees(atan2(l.cy, l.cx)) + 360) - 360 * floor((degrees(atan2(l.cy, l.cx)) + 360) / 360),
                 degrees(atan2(l.cz, pg_catalog.sqrt(l.cx * l.cx + l.cy * l.cy)))];
END $$;
