-- $1 object_id, $2 rows at most. bjd_tdb is filled in by the service.
SELECT l.mjd, NULL::float8 AS bjd_tdb, l.filter, l.mag_auto, l.magerr_auto, l.flux_auto, l.fluxerr_auto, l.mag_aper2, l.magerr_aper2,
       l.flux_aper2, l.fluxerr_aper2, l.flags, l.det_id, l.exposure_id, l.ccd, l.night, l.exptime_s, l.airmass, l.seeing_arcsec,
       l.magzero, l.magzero_kind, l.quality, o.ra, o.dec, l.longitude, l.latitude, l.height_m
  FROM light_curve l JOIN object o USING (object_id)
 WHERE l.object_id = $1::bigint
 ORDER BY l.mjd, l.det_id
 LIMIT $2::bigint
