-- $1 rows at most.
SELECT c.night, c.instrument, count(DISTINCT c.exposure_id) AS exposures, count(*) AS ccds, sum(c.n_det) AS detections,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.seeing_arcsec) AS seeing_arcsec,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.mag_lim) AS mag_lim, max(n.associated_at) AS associated_at
  FROM published_ccd c LEFT JOIN night n ON n.night = c.night
 GROUP BY c.night, c.instrument
 ORDER BY c.night DESC, c.instrument
 LIMIT $1::bigint
