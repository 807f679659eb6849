"""astropy opens what we write: images, LDAC catalogues, units, checksums, and the same sky."""
import warnings

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

import starfield


def ldac_header(hdu):
    """The image header that travels in LDAC_IMHEAD: one row of 80-character cards."""
    text = hdu.data.field(0)[0]
    text = text if isinstance(text, str) else b"".join(np.atleast_1d(text)).decode("ascii") \
        if not np.issubdtype(np.asarray(text).dtype, np.str_) else "".join(card.ljust(80) for card in np.atleast_1d(text))
    return fits.Header.fromstring(text)


@pytest.fixture(scope="module", params=["TAN", "SIP", "TPV"])
def measured(nightshift, request, tmp_path_factory):
    """(image header, catalogue path) of one extract."""
    if "extract" not in nightshift.verbs():
        pytest.skip("NO SUCH VERB IN THIS BUILD: extract")
    folder = tmp_path_factory.mktemp("astropy")
    image, header, _ = starfield.field(wcs=request.param, seed=11)
    starfield.write(folder / "field.fits", image, header)
    nightshift("extract", folder / "field.fits", "-o", folder / "field_cat.fits", code=0)
    return header, folder / "field_cat.fits"


def test_astropy__ldac_opens_without_a_warning(measured):
    with warnings.catch_warnings():
        warnings.simplefilter("error", VerifyWarning)
        warnings.simplefilter("error", AstropyWarning)
        with fits.open(measured[1], checksum=True) as hdus:
            hdus.verify("exception")
            assert [h.name for h in hdus] == ["PRIMARY", "LDAC_IMHEAD", "LDAC_OBJECTS"]
            assert len(hdus["LDAC_OBJECTS"].data) > 150  # 250 stars, down to S/N of about 7


def test_astropy__every_unit_is_a_unit(measured):
    table = Table.read(measured[1], hdu="LDAC_OBJECTS")
    for name in table.colnames:
        assert not isinstance(table[name].unit, units.UnrecognizedUnit), f"{name}: {table[name].unit}"
    assert table["ALPHA_J2000"].unit == units.deg and table["X_IMAGE"].unit == units.pix
    assert table["FLUX_AUTO"].unit == units.adu


def test_astropy__columns_explain_themselves(measured):
    header = fits.getheader(measured[1], "LDAC_OBJECTS")
    for i in range(1, header["TFIELDS"] + 1):
        assert header.comments[f"TTYPE{i}"].strip(), f"{header[f'TTYPE{i}']} has no meaning beside its name"


def test_astropy__same_sky_from_the_travelling_header_and_from_the_image(measured):
    """Both centroids of every row, through wcslib here and there: equal to 1e-9 degree, 4 microarcseconds (rounding of doubles)."""
    image_header, path = measured
    with fits.open(path) as hdus:
        rows, inside = hdus["LDAC_OBJECTS"].data, ldac_header(hdus["LDAC_IMHEAD"])
    for header in (image_header, inside):
        for x, y, ra, dec in (("X_IMAGE", "Y_IMAGE", "ALPHA_J2000", "DELTA_J2000"),
                              ("XWIN_IMAGE", "YWIN_IMAGE", "ALPHAWIN_J2000", "DELTAWIN_J2000")):
            want_ra, want_dec = starfield.sky_of(header, rows[x], rows[y])
            off = np.hypot((rows[ra] - want_ra) * np.cos(np.radians(want_dec)), rows[dec] - want_dec)
            assert off.max() < 1e-9, f"{x}: {off.max()} degrees off"


def test_astropy__image_header_travels_whole(measured):
    image_header, path = measured
    with fits.open(path) as hdus:
        inside = ldac_header(hdus["LDAC_IMHEAD"])
    for key in ("NAXIS1", "NAXIS2", "EXPTIME", "GAIN", "DATE-OBS", "FILTER", "CTYPE1", "CD1_1", "CRVAL2", "CRPIX1"):
        assert key in inside, f"{key} is not in LDAC_IMHEAD"
    assert inside["NAXIS1"] == 512 and inside["NAXIS2"] == 480


def test_astropy__values_are_finite_or_flagged(measured):
    rows = fits.getdata(measured[1], "LDAC_OBJECTS")
    good = rows[rows["FLAGS"] == 0]
    assert len(good) > 50
    for name in ("X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "ALPHA_J2000", "FLUX_AUTO", "FLUXERR_AUTO", "A_IMAGE", "B_IMAGE", "BACKGROUND"):
        assert np.isfinite(good[name]).all(), name
    assert (good["FLUXERR_AUTO"] > 0).all() and (good["A_IMAGE"] >= good["B_IMAGE"]).all()


def test_astropy__calibrated_frame_of_reduce(verb, tmp_path):
    """SCI, VAR and MASK open decompressed, with checksums, units and mask planes; SCI's sky is the catalogue's sky."""
    program = verb("simulate", "master", "reduce")
    program("simulate", tmp_path / "night", "--preset", "small-night", "--ccds", "1", "--frames", "1", code=0)
    program("master", tmp_path / "night/raw", "--out", tmp_path / "out", code=0)
    program("reduce", tmp_path / "night/raw", "--out", tmp_path / "out", code=0)
    image = next((tmp_path / "out").rglob("*_cal.fits.fz"))
    catalogue = next((tmp_path / "out").rglob("*_cat.fits"))
    with fits.open(image, checksum=True) as hdus, fits.open(catalogue) as cat:
        sci, var, mask = hdus["SCI"], hdus["VAR"], hdus["MASK"]
        assert sci.data.shape == var.data.shape == mask.data.shape
        assert sci.header["BUNIT"] == "electron" and var.header["BUNIT"] == "electron**2"
        assert mask.header["MP_BAD"] == 0 and mask.header["MP_SATURATED"] == 1 and mask.header["MP_DETECTED"] == 12
        good = mask.data == 0
        # The variance is that of the sky's pixels: clipped scatter against its square root, to 5 % (thousands of pixels).
        values = sci.data[good]
        scatter = 1.4826 * np.median(np.abs(values - np.median(values)))
        assert abs(scatter / np.sqrt(np.median(var.data[good])) - 1) < 0.05
        rows = cat["LDAC_OBJECTS"].data
        ra, dec = starfield.sky_of(sci.header, rows["X_IMAGE"], rows["Y_IMAGE"])
        off = np.hypot((rows["ALPHA_J2000"] - ra) * np.cos(np.radians(dec)), rows["DELTA_J2000"] - dec)
        assert off.max() < 1e-9
