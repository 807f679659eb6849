-- $1 exposure, $2 CCD, $3 recipe, $4 version
SELECT cal_path, cat_path, bias_path, dark_path, flat_path, current, instrument, object, filter, exposure_key, night, nx, ny, ra, dec, pixel_scale
  FROM published_image
 WHERE exposure_id = $1::bigint AND ccd = $2::smallint AND recipe = $3 AND version = $4::smallint
