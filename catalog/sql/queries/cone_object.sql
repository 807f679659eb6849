-- {columns} of published_object, with the band that has most points. Parameters as in cone_detection.sql.
SELECT {columns}
  FROM (SELECT o.object_id, o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd, b.filter, b.n, b.flux_mean, b.flux_std, b.chi2,
               o.published_at IS NOT NULL AS final, o.first_night, o.distance
          FROM unnest($4::bigint[], $5::bigint[]) AS r (first, last)
         CROSS JOIN LATERAL (SELECT x.*, sphere_distance(x.ra, x.dec, $1::float8, $2::float8) * 3600 AS distance FROM object x
                              WHERE x.hpx29 BETWEEN r.first AND r.last OFFSET 0) o
          LEFT JOIN LATERAL (SELECT * FROM object_band WHERE object_band.object_id = o.object_id ORDER BY object_band.n DESC, filter LIMIT 1) b ON true
         WHERE o.distance <= $3::float8 * 3600) q
 ORDER BY q.distance, q.object_id
 LIMIT $6::bigint
