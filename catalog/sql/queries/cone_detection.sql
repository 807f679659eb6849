-- {columns} of published_detection around a place. $1 ra, $2 dec, $3 radius (deg); $4, $5: first and last hpx29 of the ranges
-- that cover the cone; $6 rows at most; {nights}: " AND x.night = ANY($7)", from detection_cover, where there are many.
-- The columns are those of the view; LATERAL with OFFSET and LIMIT keep the planner to one look-up a row, whatever it thinks
-- of the number of rows. A packed row knows its object; the association of another is looked up.
SELECT {columns}
  FROM (SELECT d.det_id,
               coalesce(d.object_id, (SELECT s.object_id FROM association s WHERE s.det_id = d.det_id AND s.recipe_id = d.recipe_id AND s.version = d.version)) AS object_id,
               d.hpx29, d.ra, d.dec, d.ra_err, d.dec_err, d.mjd, d.night, c.filter, c.instrument, c.exposure_id, c.ccd, d.x, d.y,
               d.flux_auto * c.njy_per_electron AS flux_auto, d.fluxerr_auto * c.njy_per_electron AS fluxerr_auto,
               d.flux_aper1 * c.njy_per_electron AS flux_aper1, d.fluxerr_aper1 * c.njy_per_electron AS fluxerr_aper1,
               d.flux_aper2 * c.njy_per_electron AS flux_aper2, d.fluxerr_aper2 * c.njy_per_electron AS fluxerr_aper2,
               d.flux_aper3 * c.njy_per_electron AS flux_aper3, d.fluxerr_aper3 * c.njy_per_electron AS fluxerr_aper3,
               flux_mag(d.flux_auto, c.exptime_s, c.magzero) AS mag_auto, flux_magerr(d.flux_auto, d.fluxerr_auto) AS magerr_auto,
               d.flux_auto AS counts_auto, d.fluxerr_auto AS countserr_auto,
               d.flux_psf * c.njy_per_electron AS flux_psf, d.fluxerr_psf * c.njy_per_electron AS fluxerr_psf,
               flux_mag(d.flux_psf, c.exptime_s, c.magzero) AS mag_psf, flux_magerr(d.flux_psf, d.fluxerr_psf) AS magerr_psf,
               d.ra_psf, d.dec_psf, d.x_psf, d.y_psf, d.chi2_psf, d.flags_psf, d.spread_model, d.spreaderr_model,
               d.kron_radius, d.flux_radius, d.a, d.b, d.theta, d.fwhm, d.class_star, d.snr, d.isoarea, d.flags, d.imaflags,
               c.magzero, c.magzero_kind, c.quality, d.distance
          FROM unnest($4::bigint[], $5::bigint[]) AS r (first, last)
         CROSS JOIN LATERAL (SELECT x.*, x.det_id >> 31 AS exposure_id, ((x.det_id >> 22) & 511)::smallint AS ccd,
                                     CASE WHEN $3::float8 < 60 THEN sphere_near(x.ra, x.dec, $1::float8, $2::float8)
                                          ELSE sphere_distance(x.ra, x.dec, $1::float8, $2::float8) END * 3600 AS distance FROM detection x
                              WHERE x.hpx29 BETWEEN r.first AND r.last{nights} OFFSET 0) d
         CROSS JOIN LATERAL (SELECT * FROM ccd WHERE ccd.exposure_id = d.exposure_id AND ccd.ccd = d.ccd AND ccd.recipe_id = d.recipe_id AND ccd.version = d.version
                                AND ccd.published_at IS NOT NULL AND ccd.retired_at IS NULL LIMIT 1) c
         WHERE d.distance <= $3::float8 * 3600) q
 ORDER BY q.distance, q.det_id
 LIMIT $6::bigint
