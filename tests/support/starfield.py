"""Star fields with a known sky, for tests that need an image but no camera."""
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

PIXEL_DEG = 0.4 / 3600


def wcs_cards(nx, ny, kind="TAN", ra=150.0, dec=2.0, rotation_deg=12.0):
    """Header cards of a TAN, TAN-SIP or TPV solution; the distortions reach some pixels at the corners."""
    h = fits.Header()
    c, s = np.cos(np.radians(rotation_deg)) * PIXEL_DEG, np.sin(np.radians(rotation_deg)) * PIXEL_DEG
    suffix = {"TAN": "-TAN", "SIP": "-TAN-SIP", "TPV": "-TPV"}[kind]
    h["CTYPE1"], h["CTYPE2"] = "RA--" + suffix, "DEC-" + suffix
    h["CRVAL1"], h["CRVAL2"], h["CRPIX1"], h["CRPIX2"] = ra, dec, nx / 2 + 0.5, ny / 2 + 0.5
    h["CD1_1"], h["CD1_2"], h["CD2_1"], h["CD2_2"] = -c, s, s, c
    h["CUNIT1"] = h["CUNIT2"] = "deg"
    h["RADESYS"], h["EQUINOX"] = "ICRS", 2000.0
    if kind == "SIP":
        h["A_ORDER"] = h["B_ORDER"] = 3
        h["A_2_0"], h["A_1_1"], h["B_0_2"], h["B_2_1"], h["A_0_3"] = 8e-6, -3e-6, 6e-6, 2e-9, -4e-9
    if kind == "TPV":
        h["PV1_0"], h["PV1_1"], h["PV1_2"], h["PV1_4"] = 0.0, 1.0002, 0.0001, 0.02
        h["PV2_0"], h["PV2_1"], h["PV2_2"], h["PV2_6"] = 0.0, 0.9999, -0.0001, -0.03
    return h


def field(nx=512, ny=480, n=250, fwhm=3.0, sky=800.0, gain=2.0, readnoise_e=6.0, wcs="TAN", seed=1, flux=(500.0, 2e5), border=8):
    """Given: fluxes log-uniform, in the image's unit (ADU). Returned: image (float64), header, truth (x, y 1-based, flux)."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, dtype=[("x", "f8"), ("y", "f8"), ("flux", "f8")])
    truth["x"], truth["y"] = rng.uniform(1 + border, nx - border, n), rng.uniform(1 + border, ny - border, n)
    truth["flux"] = np.exp(rng.uniform(*np.log(flux), n))
    image = np.full((ny, nx), sky)
    sigma, reach = fwhm / 2.3548, int(np.ceil(5 * fwhm))
    for star in truth:
        x0, y0 = star["x"] - 1, star["y"] - 1
        xs = np.arange(max(0, int(x0) - reach), min(nx, int(x0) + reach + 1))
        ys = np.arange(max(0, int(y0) - reach), min(ny, int(y0) + reach + 1))
        px, py = np.exp(-((xs - x0) ** 2) / (2 * sigma**2)), np.exp(-((ys - y0) ** 2) / (2 * sigma**2))
        image[np.ix_(ys, xs)] += star["flux"] / (2 * np.pi * sigma**2) * np.outer(py, px)
    image = (rng.poisson(image * gain) + rng.normal(0, readnoise_e, image.shape)) / gain
    header = wcs_cards(nx, ny, wcs) if wcs else fits.Header()
    header["GAIN"], header["RDNOISE"], header["SATURATE"], header["EXPTIME"] = gain, readnoise_e, 65000.0, 30.0
    header["DATE-OBS"], header["FILTER"], header["OBJECT"], header["BUNIT"] = "2025-05-30T04:30:00.000", "g", "field", "adu"
    return image, header, truth


def write(path, image, header):
    fits.PrimaryHDU(np.asarray(image, np.float32), header).writeto(path, overwrite=True)
    return path


def sky_of(header, x, y):
    """RA and Dec by astropy's wcslib, FITS pixel convention."""
    return WCS(header).all_pix2world(x, y, 1)
