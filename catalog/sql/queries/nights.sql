-- $1 rows at most.
SELECT c.night, e.instrument, count(DISTINCT c.exposure_id) AS exposures, count(*) AS ccds, sum(c.n_det) AS detections,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.seeing_arcsec) AS seeing_arcsec,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY c.mag_lim) AS mag_lim, max(n.associated_at) AS associated_at
  FROM ccd c JOIN exposure e USING (exposure_id) LEFT JOIN night n ON n.night = c.night
 WHERE c.published_at IS NOT NULL AND c.retired_at IS NULL
 GROUP BY c.night, e.instrument
 ORDER BY c.night DESC, e.instrument
 LIMIT $1::bigint
