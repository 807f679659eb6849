-- $1 ra, $2 dec, $3 radius (deg); $4, $5: first and last hpx29 of the ranges that cover the cone; $6 rows at most.
SELECT d.det_id, d.ra, d.dec, d.mjd, d.filter, d.mag_auto, d.magerr_auto, d.flux_auto, d.fluxerr_auto, d.flags, d.object_id, d.instrument,
       d.exposure_id, d.ccd, d.x, d.y, d.ra_err, d.dec_err, d.fwhm, d.snr, d.imaflags, d.quality, d.night,
       sphere_distance(d.ra, d.dec, $1::float8, $2::float8) * 3600 AS distance
  FROM unnest($4::bigint[], $5::bigint[]) AS r (first, last)
  JOIN published_detection d ON d.hpx29 BETWEEN r.first AND r.last
 WHERE sphere_distance(d.ra, d.dec, $1::float8, $2::float8) <= $3::float8
 ORDER BY distance, d.det_id
 LIMIT $6::bigint
