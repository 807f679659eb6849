/* Constants of the field. */
#ifndef NIGHTSHIFT_COMMON_UNITS_H
#define NIGHTSHIFT_COMMON_UNITS_H

#define PI               3.14159265358979323846
#define DEG_PER_RAD      (180.0 / PI)
#define RAD_PER_DEG      (PI / 180.0)
#define ARCSEC_PER_DEG   3600.0
#define SEC_PER_DAY      86400.0
#define MJD_OFFSET       2400000.5          /* JD - MJD */
#define SIGMA_PER_MAD    1.482602218505602  /* Gaussian sigma / median absolute deviation */
#define FWHM_PER_SIGMA   2.354820045030949  /* 2 sqrt(2 ln 2) */
#define MAG_PER_LN       1.0857362047581296 /* 2.5 / ln 10: sigma_mag = this * sigma_f / f */
#define NJY_PER_AB_ZERO  3631e9             /* AB magnitude 0 in nJy */

#endif
