-- Ids of the objects within a cone, nearest first: parameters as in cone_detection.sql.
SELECT q.object_id
  FROM (SELECT o.object_id, sphere_distance(o.ra, o.dec, $1::float8, $2::float8) AS distance
          FROM unnest($4::bigint[], $5::bigint[]) AS r (first, last)
         CROSS JOIN LATERAL (SELECT * FROM object x WHERE x.hpx29 BETWEEN r.first AND r.last OFFSET 0) o) q
 WHERE q.distance <= $3::float8
 ORDER BY q.distance, q.object_id
 LIMIT $6::bigint
