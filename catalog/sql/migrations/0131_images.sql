-- Files of an image that was ever published, by its identifier: an identifier once given stays good when a newer version is shown.
CREATE VIEW published_image AS
    SELECT c.exposure_id, c.ccd, r.recipe, c.version, c.retired_at IS NULL AS current, e.instrument, e.object, e.filter, e.exposure_key, c.night,
           c.cal_path, c.cat_path, c.raw_file, c.nx, c.ny, c.ra, c.dec, c.pixel_scale,
           b.path AS bias_path, d.path AS dark_path, f.path AS flat_path
      FROM ccd c
      JOIN exposure e USING (exposure_id)
      JOIN recipe r USING (recipe_id)
      LEFT JOIN calibration b ON b.sha256 = c.bias_sha256
      LEFT JOIN calibration d ON d.sha256 = c.dark_sha256
      LEFT JOIN calibration f ON f.sha256 = c.flat_sha256
     WHERE c.published_at IS NOT NULL AND c.cal_path <> '';
