-- {columns} of any published table with a position and an hpx29. Parameters as in cone_detection.sql.
SELECT {columns}
  FROM (SELECT t.*, sphere_distance(t.{ra}, t.{dec}, $1::float8, $2::float8) * 3600 AS distance
          FROM unnest($4::bigint[], $5::bigint[]) AS r (first, last)
         CROSS JOIN LATERAL (SELECT * FROM {relation} x WHERE x.{hpx} BETWEEN r.first AND r.last OFFSET 0) t) q
 WHERE q.distance <= $3::float8 * 3600
 ORDER BY q.distance{order}
 LIMIT $6::bigint
