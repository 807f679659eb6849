-- Light curves of the objects $1 (bigint[]); $2 rows at most; $3: with forced photometry. Rows by object in the order of the
-- list, then by time. bjd_tdb is filled in by the service. The columns are those of the view
-- light_curve; LATERAL keeps the planner to one look-up a row.
SELECT q.object_id, q.mjd, NULL::float8 AS bjd_tdb, q.filter, q.mag_auto, q.magerr_auto, q.flux_auto, q.fluxerr_auto, q.mag_aper2, q.magerr_aper2,
       q.flux_aper2, q.fluxerr_aper2, q.mag_psf, q.magerr_psf, q.flux_psf, q.fluxerr_psf, q.flux_limit, q.forced, q.flags, q.det_id, q.exposure_id, q.ccd,
       q.night, q.exptime_s, q.airmass, q.seeing_arcsec, q.magzero, q.magzero_kind, q.quality, q.ra, q.dec, q.longitude, q.latitude, q.height_m
  FROM unnest($1::bigint[]) WITH ORDINALITY AS w (object_id, place)
 CROSS JOIN LATERAL (
       SELECT a.object_id, a.mjd, c.filter, flux_mag(a.flux_auto, c.exptime_s, c.magzero) AS mag_auto, flux_magerr(a.flux_auto, a.fluxerr_auto) AS magerr_auto,
              a.flux_auto * c.njy_per_electron AS flux_auto, a.fluxerr_auto * c.njy_per_electron AS fluxerr_auto,
              flux_mag(a.flux_aper2, c.exptime_s, c.magzero) AS mag_aper2, flux_magerr(a.flux_aper2, a.fluxerr_aper2) AS magerr_aper2,
              a.flux_aper2 * c.njy_per_electron AS flux_aper2, a.fluxerr_aper2 * c.njy_per_electron AS fluxerr_aper2,
              flux_mag(a.flux_psf, c.exptime_s, c.magzero) AS mag_psf, flux_magerr(a.flux_psf, a.fluxerr_psf) AS magerr_psf,
              a.flux_psf * c.njy_per_electron AS flux_psf, a.fluxerr_psf * c.njy_per_electron AS fluxerr_psf,
              NULL::float8 AS flux_limit, false AS forced, a.flags::integer AS flags, a.det_id, c.exposure_id, c.ccd, a.night, c.exptime_s, c.airmass,
              c.seeing_arcsec, c.magzero, c.magzero_kind, c.quality, o.ra, o.dec, c.longitude, c.latitude, c.height_m
         FROM object o
        CROSS JOIN LATERAL (SELECT * FROM association s WHERE s.object_id = o.object_id OFFSET 0) a
        CROSS JOIN LATERAL (SELECT * FROM ccd WHERE ccd.exposure_id = a.det_id >> 31 AND ccd.ccd = ((a.det_id >> 22) & 511)::smallint
                               AND ccd.recipe_id = a.recipe_id AND ccd.version = a.version
                               AND ccd.published_at IS NOT NULL AND ccd.retired_at IS NULL LIMIT 1) c
        WHERE o.object_id = w.object_id
        UNION ALL
       SELECT f.object_id, f.mjd, c.filter, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
              flux_mag(f.flux, c.exptime_s, c.magzero), flux_magerr(f.flux, f.fluxerr), f.flux * c.njy_per_electron, f.fluxerr * c.njy_per_electron,
              f.flux_limit * c.njy_per_electron, true, f.flags::integer, NULL, b.exposure_id, b.ccd, b.night, c.exptime_s, c.airmass,
              c.seeing_arcsec, c.magzero, c.magzero_kind, c.quality, f.ra, f.dec, c.longitude, c.latitude, c.height_m
         FROM (SELECT * FROM forced_phot s WHERE s.object_id = w.object_id AND $3::boolean OFFSET 0) f
        CROSS JOIN LATERAL (SELECT * FROM forced_batch s WHERE s.batch_id = f.batch_id AND s.published_at IS NOT NULL AND s.retired_at IS NULL LIMIT 1) b
         LEFT JOIN LATERAL (SELECT * FROM ccd WHERE ccd.exposure_id = b.exposure_id AND ccd.ccd = b.ccd
                               AND ccd.published_at IS NOT NULL AND ccd.retired_at IS NULL LIMIT 1) c ON true) q
 ORDER BY w.place, q.mjd, q.det_id
 LIMIT $2::bigint
