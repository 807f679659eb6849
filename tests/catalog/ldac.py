"""Catalogues as `reduce` writes them, made from chosen sky positions: FITS_LDAC with provenance cards."""
import hashlib

import numpy as np
from astropy.io import fits

RECIPE = "0123456789abcdef"


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def wcs_cards(h, ra, dec, nx, ny, scale):
    for key, value in {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": nx / 2 + 0.5, "CRPIX2": ny / 2 + 0.5, "CRVAL1": ra, "CRVAL2": dec,
                       "CD1_1": -scale / 3600, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale / 3600, "CUNIT1": "deg", "CUNIT2": "deg",
                       "RADESYS": "ICRS"}.items():
        h[key] = value


def header(exposure="sim/1", ccd=1, night=20250530, mjd=60825.3, centre=(180.0, 0.0), recipe=RECIPE, raw=None, flat="flat-1", exptime=30.0,
           filt="g", instrument="sim", nx=4096, ny=4096, scale=0.5, cards=None):
    h = fits.Header()
    h["SIMPLE"], h["BITPIX"], h["NAXIS"], h["NAXIS1"], h["NAXIS2"] = True, -32, 2, nx, ny
    h["NSINSTR"], h["NSVERS"], h["NSRECIPE"] = instrument, "1", recipe
    h["NSRAW"], h["NSRAWSUM"], h["NSEXPID"] = f"raw{exposure.replace('/', '_')}.fits", raw or sha(f"{exposure}/{ccd}"), exposure
    h["NSCCD"], h["NSNIGHT"], h["MJD-MID"] = ccd, night, mjd
    h["NSFLAT"], h["NSFLATS"], h["NSQUAL"] = True, sha(flat), "pass"
    h["NSSEEING"], h["NSSKY"], h["NSSKYSIG"], h["NSDEPTH"] = 1.6, 200.0, 14.0, -8.0
    h["EXPTIME"], h["FILTER"], h["OBJECT"], h["TELESCOP"] = exptime, filt, "field", "T1"
    if centre is not None:
        wcs_cards(h, *centre, nx, ny, scale)
    for key, value in (cards or {}).items():
        h[key] = value
    return h


def write(path, ra, dec, flux=None, seed=1, x=None, y=None, drop=(), psf=False, flags=None, **options):
    """One catalogue with a row per position; columns not given are seeded noise. Returns the path."""
    rng = np.random.default_rng(seed)
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    n = len(ra)
    h = header(**options)
    text = "".join(c.image for c in h.cards) + "END".ljust(80)
    real = lambda low, high: rng.uniform(low, high, n).astype(np.float32)
    flux = real(100, 10000) if flux is None else np.asarray(flux, np.float32)
    x = rng.uniform(1, 4096, n) if x is None else x
    y = rng.uniform(1, 4096, n) if y is None else y
    columns = [("NUMBER", "J", np.arange(1, n + 1)), ("XWIN_IMAGE", "D", x), ("YWIN_IMAGE", "D", y), ("X_IMAGE", "D", x), ("Y_IMAGE", "D", y),
               ("ALPHAWIN_J2000", "D", ra), ("DELTAWIN_J2000", "D", dec), ("ERRAWIN_IMAGE", "E", np.full(n, 0.2)),
               ("ERRBWIN_IMAGE", "E", np.full(n, 0.1)), ("ERRTHETAWIN_IMAGE", "E", np.full(n, 0.0)),
               ("FLUX_AUTO", "E", flux), ("FLUXERR_AUTO", "E", flux * 0.01 + 1), ("FLUX_APER", "3E", np.outer(flux, [0.5, 0.9, 1.0])),
               ("FLUXERR_APER", "3E", np.outer(flux * 0.01 + 1, [1, 1, 1])), ("FLUX_MAX", "E", flux / 10), ("BACKGROUND", "E", real(190, 210)),
               ("KRON_RADIUS", "E", real(3, 4)), ("FLUX_RADIUS", "E", real(1, 3)), ("A_IMAGE", "E", real(1, 2)), ("B_IMAGE", "E", real(1, 2)),
               ("THETA_IMAGE", "E", real(-90, 90)), ("FWHM_IMAGE", "E", real(2, 4)), ("CLASS_STAR", "E", real(0, 1)), ("SNR_WIN", "E", real(5, 50)),
               ("ISOAREA_IMAGE", "J", rng.integers(5, 50, n)), ("FLAGS", "I", rng.integers(0, 4, n) if flags is None else flags), ("IMAFLAGS_ISO", "J", rng.integers(0, 3, n))]
    if psf:
        columns += [("FLUX_PSF", "E", flux * 1.01), ("FLUXERR_PSF", "E", flux * 0.008 + 1), ("ALPHAPSF_J2000", "D", ra), ("DELTAPSF_J2000", "D", dec),
                    ("XPSF_IMAGE", "D", x), ("YPSF_IMAGE", "D", y), ("CHI2_PSF", "E", real(0.8, 1.3)), ("FLAGS_PSF", "I", rng.integers(0, 3, n)),
                    ("SPREAD_MODEL", "E", real(-0.002, 0.02)), ("SPREADERR_MODEL", "E", real(0.001, 0.002))]
    objects = fits.BinTableHDU.from_columns([fits.Column(name=k, format=f, array=v) for k, f, v in columns if k not in drop], name="LDAC_OBJECTS")
    # one string without TDIM: astropy pads the rows of a string array with NUL, the standard asks for blanks
    imhead = fits.BinTableHDU.from_columns([fits.Column(name="Field Header Card", format=f"{len(text)}A", array=np.array([text]))], name="LDAC_IMHEAD")
    fits.HDUList([fits.PrimaryHDU(), imhead, objects]).writeto(path, overwrite=True)
    return path


def field(n, centre=(180.0, 0.0), radius=0.25, seed=7):
    """n positions within a cone, uniform on the sphere, right at the poles and across RA 0."""
    rng = np.random.default_rng(seed)
    d = np.radians(radius) * np.sqrt(rng.uniform(0, 1, n))
    t = rng.uniform(0, 2 * np.pi, n)
    ra0, dec0 = np.radians(centre)
    dec = np.arcsin(np.clip(np.sin(dec0) * np.cos(d) + np.cos(dec0) * np.sin(d) * np.cos(t), -1, 1))
    ra = ra0 + np.arctan2(np.sin(t) * np.sin(d) * np.cos(dec0), np.cos(d) - np.sin(dec0) * np.sin(dec))
    return np.degrees(ra) % 360, np.degrees(dec)
