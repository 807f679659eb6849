-- $1 object_id.
SELECT o.object_id, o.ra, o.dec, o.ra_err, o.dec_err, o.n_det, o.first_mjd, o.last_mjd, b.filter, b.n, b.flux_mean, b.flux_std, b.chi2,
       o.final, o.first_night, NULL::float8 AS distance
  FROM published_object o LEFT JOIN object_band b USING (object_id)
 WHERE o.object_id = $1::bigint
 ORDER BY b.n DESC NULLS LAST, b.filter
