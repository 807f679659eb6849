-- $1 night (NULL: all), $2 after this exposure_id, $3 rows at most.
SELECT c.exposure_id, c.ccd, c.instrument, c.night, c.mjd_start, c.mjd_mid, c.exptime_s, c.filter, c.object, c.ra, c.dec, c.airmass,
       c.seeing_arcsec, c.sky_e, c.mag_lim, c.magzero, c.magzero_err, c.magzero_kind, c.astrom_rms_arcsec, c.n_det, c.quality, c.recipe,
       c.version, c.raw_file, c.cal_path, c.cat_path
  FROM published_ccd c
 WHERE ($1::int IS NULL OR c.night = $1::int) AND c.exposure_id > $2::bigint
 ORDER BY c.exposure_id, c.ccd
 LIMIT $3::bigint
