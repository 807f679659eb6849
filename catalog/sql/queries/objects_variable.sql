-- Objects by how much they vary: $1 fewest points, $2 rows at most. Blends vary with the seeing: who is one in half of its
-- points or more is left out.
SELECT o.object_id, o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd, b.filter, b.n, b.flux_mean, b.flux_std, b.chi2,
       o.final, o.first_night, NULL::float8 AS distance
  FROM object_band b JOIN published_object o USING (object_id)
 WHERE b.n >= $1::int AND b.flux_mean > 0 AND 2 * b.n_blend < b.n
 ORDER BY b.stetson_j DESC NULLS LAST, b.chi2 DESC NULLS LAST, o.object_id
 LIMIT $2::bigint
