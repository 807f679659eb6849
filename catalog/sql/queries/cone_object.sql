-- $1 ra, $2 dec, $3 radius (deg); $4, $5: first and last hpx29 of the ranges that cover the cone; $6 rows at most.
SELECT o.object_id, o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd, b.filter, b.n, b.flux_mean, b.flux_std, b.chi2,
       o.final, o.first_night, sphere_distance(o.ra, o.dec, $1::float8, $2::float8) * 3600 AS distance
  FROM unnest($4::bigint[], $5::bigint[]) AS r (first, last)
  JOIN published_object o ON o.hpx29 BETWEEN r.first AND r.last
  LEFT JOIN LATERAL (SELECT * FROM object_band WHERE object_band.object_id = o.object_id ORDER BY object_band.n DESC, filter LIMIT 1) b ON true
 WHERE sphere_distance(o.ra, o.dec, $1::float8, $2::float8) <= $3::float8
 ORDER BY distance, o.object_id
 LIMIT $6::bigint
