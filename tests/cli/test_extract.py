"""nightshift extract: its files, its keys, what it says when it cannot."""
import numpy as np
import pytest
from astropy.io import fits

import starfield


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extract")
    image, header, truth = starfield.field(nx=300, ny=280, n=60, seed=9, flux=(3e3, 2e5))
    starfield.write(folder / "a.fits", image, header)
    return folder / "a.fits"


def catalogue(path):
    return fits.getdata(path, "LDAC_OBJECTS")


def test_extract__columns_in_the_order_asked(verb, field, tmp_path):
    (tmp_path / "a.param").write_text("FLAGS\nFLUX_APER(2)\nX_IMAGE\nNO_SUCH_COLUMN\n#Y_IMAGE\nFLUX_RADIUS\n")
    run = verb("extract")("extract", field, "-o", tmp_path / "a.cat", "-PARAMETERS_NAME", tmp_path / "a.param", "-PHOT_APERTURES", "4,8,16", code=0)
    rows = catalogue(tmp_path / "a.cat")
    assert rows.names == ["FLAGS", "FLUX_APER", "X_IMAGE", "FLUX_RADIUS"]
    assert rows["FLUX_APER"].shape == (len(rows), 2)
    assert "NO_SUCH_COLUMN" in run.err


def test_extract__keys_without_effect_are_named_in_one_line(verb, field, tmp_path):
    (tmp_path / "a.sex").write_text("DETECT_THRESH 3\nASSOC_NAME my.list\nMEMORY_BUFSIZE 4096\nINTERP_TYPE NONE\nNO_SUCH_KEY 1\n")
    run = verb("extract")("extract", field, "-c", tmp_path / "a.sex", "-o", tmp_path / "a.cat", code=0)
    lines = [line for line in run.lines if "no effect" in line]
    assert len(lines) == 1 and "ASSOC_NAME" in lines[0] and "INTERP_TYPE" in lines[0] and "MEMORY_BUFSIZE" not in lines[0]
    assert any("NO_SUCH_KEY" in line for line in run.lines)


def test_extract__a_second_threshold_moves_areas_and_widths_alone(verb, field, tmp_path):
    program = verb("extract")
    (tmp_path / "a.param").write_text("X_IMAGE\nFLUX_ISO\nFLUX_AUTO\nISOAREA_IMAGE\nISO3\nFWHM_IMAGE\nTHRESHOLD\n")
    for analysis in ("3", "9"):
        program("extract", field, "-o", tmp_path / f"{analysis}.cat", "-PARAMETERS_NAME", tmp_path / "a.param", "-DETECT_THRESH", "3",
                "-ANALYSIS_THRESH", analysis, code=0)
    same, other = (catalogue(tmp_path / f"{a}.cat") for a in "39")
    for name in ("X_IMAGE", "FLUX_ISO", "FLUX_AUTO", "THRESHOLD"):
        np.testing.assert_array_equal(same[name], other[name])
    assert (other["ISOAREA_IMAGE"] < same["ISOAREA_IMAGE"]).mean() > 0.95 and (other["ISO3"] <= same["ISO3"]).all()


def test_extract__a_flag_image_counts_when_flags_are_asked_for(verb, field, tmp_path):
    program = verb("extract")
    (tmp_path / "a.param").write_text("X_IMAGE\n")
    (tmp_path / "b.param").write_text("X_IMAGE\nIMAFLAGS_ISO\n")
    words = ("-FLAG_IMAGE", tmp_path / "flag.fits", "-PARAMETERS_NAME")  # there is no such file
    program("extract", field, "-o", tmp_path / "a.cat", *words, tmp_path / "a.param", code=0)
    program.fails({3, 10, 11}, "extract", field, "-o", tmp_path / "b.cat", *words, tmp_path / "b.param", says="flag.fits")


def test_extract__the_filtered_image_is_sky_where_there_is_no_weight(verb, field, tmp_path):
    image, header = fits.getdata(field, header=True)
    weight = np.ones(image.shape, np.float32)
    image[100:110], weight[100:110] = 3e4, 0  # rows nobody believes
    fits.writeto(tmp_path / "a.fits", image, header)
    fits.writeto(tmp_path / "w.fits", weight)
    verb("extract")("extract", tmp_path / "a.fits", "-o", tmp_path / "a.cat", "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", tmp_path / "w.fits",
                    "-CHECKIMAGE_TYPE", "FILTERED,-BACKGROUND", "-CHECKIMAGE_NAME", f"{tmp_path}/f.fits,{tmp_path}/v.fits", code=0)
    filtered, value = (fits.getdata(tmp_path / name).astype(float) for name in ("f.fits", "v.fits"))
    assert not filtered[101:109].any() and value[101:109].min() > 1e4
    value[100:110] = 0
    padded = np.pad(value, 1)
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    np.testing.assert_allclose(filtered, (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16, rtol=1e-5, atol=1e-2)


def test_extract__long_values_of_keys_are_whole(verb, field, tmp_path):
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    names = [folder / f"{i}.fits" for i in range(4)]
    verb("extract")("extract", field, "-o", tmp_path / "a.cat", "-CHECKIMAGE_TYPE", "FILTERED,APERTURES,MINIBACKGROUND,MINIBACK_RMS",
                    "-CHECKIMAGE_NAME", ",".join(map(str, names)), code=0)
    assert [n.exists() for n in names] == [True] * 4


def test_extract__the_command_line_beats_the_file(verb, field, tmp_path):
    (tmp_path / "a.sex").write_text("DETECT_THRESH 50\n")
    program = verb("extract")
    program("extract", field, "-c", tmp_path / "a.sex", "-o", tmp_path / "few.cat", code=0)
    program("extract", field, "-c", tmp_path / "a.sex", "-DETECT_THRESH", "1.5", "-o", tmp_path / "all.cat", code=0)
    assert len(catalogue(tmp_path / "few.cat")) < len(catalogue(tmp_path / "all.cat"))


def test_extract__compat_is_an_empty_file_of_keys(verb, field, tmp_path):
    (tmp_path / "empty.sex").write_text("")
    program = verb("extract")
    program("extract", field, "--compat", "sextractor", "-o", tmp_path / "a.cat", code=0)
    program("extract", field, "-c", tmp_path / "empty.sex", "-o", tmp_path / "b.cat", code=0)
    program("extract", field, "-o", tmp_path / "own.cat", code=0)
    read = lambda name: (tmp_path / name).read_bytes()
    assert read("a.cat") == read("b.cat") != read("own.cat")
    program.fails(2, "extract", field, "--compat", "daophot", "-o", tmp_path / "c.cat", says="daophot.*not known")


@pytest.mark.parametrize("kind", ["ASCII", "ASCII_HEAD"])
def test_extract__text_catalogues_say_the_same(verb, field, tmp_path, kind):
    program = verb("extract")
    (tmp_path / "a.param").write_text("NUMBER\nX_IMAGE\nFLUX_AUTO\nFLUX_APER(2)\nFLAGS\n")
    for name, form in (("a.txt", kind), ("a.cat", "FITS_LDAC"), ("a.fits", "FITS_1.0")):
        program("extract", field, "-o", tmp_path / name, "-CATALOG_TYPE", form, "-PARAMETERS_NAME", tmp_path / "a.param", "-PHOT_APERTURES", "5,9", code=0)
    text, rows = np.loadtxt(tmp_path / "a.txt"), catalogue(tmp_path / "a.cat")
    np.testing.assert_allclose(text[:, 1], rows["X_IMAGE"], atol=6e-5)
    np.testing.assert_allclose(text[:, 2], rows["FLUX_AUTO"], rtol=1e-6)
    np.testing.assert_allclose(text[:, 3:5], rows["FLUX_APER"], rtol=1e-6)
    assert (tmp_path / "a.txt").read_text().startswith("#   1 NUMBER") == (kind == "ASCII_HEAD")
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits", "OBJECTS")["FLUX_AUTO"], rows["FLUX_AUTO"])


def test_extract__check_images(verb, field, tmp_path):
    kinds = ["BACKGROUND", "BACKGROUND_RMS", "-BACKGROUND", "SEGMENTATION", "OBJECTS"]
    names = [tmp_path / f"{i}.fits" for i in range(len(kinds))]
    verb("extract")("extract", field, "-o", tmp_path / "a.cat", "-CHECKIMAGE_TYPE", ",".join(kinds), "-CHECKIMAGE_NAME", ",".join(map(str, names)), code=0)
    image, (sky, rms, minus, labels, objects) = fits.getdata(field), [fits.getdata(n) for n in names]
    np.testing.assert_allclose(minus, image - sky, atol=1e-3)
    assert labels.max() == len(catalogue(tmp_path / "a.cat")) and labels.min() == 0
    np.testing.assert_array_equal(objects, np.where(labels > 0, minus, 0))
    assert 0.8 < np.median(rms) / np.std(minus[labels == 0]) < 1.2


@pytest.mark.parametrize("kind", ["MAP_RMS", "MAP_VAR", "MAP_WEIGHT"])
def test_extract__weight_maps_scale_errors_and_hide_pixels(verb, field, tmp_path, kind):
    """A map of constant noise with a dead corner: the same objects as without it, none in the corner."""
    program = verb("extract")
    image = fits.getdata(field)
    sigma = 21.0
    value = {"MAP_RMS": sigma, "MAP_VAR": 7.0, "MAP_WEIGHT": 3.0}[kind]  # variances and weights are relative
    weight = np.full(image.shape, value, np.float32)
    weight[:100, :100] = 0.0
    fits.writeto(tmp_path / "w.fits", weight)
    program("extract", field, "-o", tmp_path / "plain.cat", "-GAIN", "2", code=0)
    program("extract", field, "-o", tmp_path / "map.cat", "-WEIGHT_TYPE", kind, "-WEIGHT_IMAGE", tmp_path / "w.fits", "-GAIN", "2", code=0)
    plain, mapped = catalogue(tmp_path / "plain.cat"), catalogue(tmp_path / "map.cat")
    corner = (mapped["X_IMAGE"] < 95) & (mapped["Y_IMAGE"] < 95)
    assert not corner.any() and ((plain["X_IMAGE"] < 95) & (plain["Y_IMAGE"] < 95)).any()
    far = (plain["X_IMAGE"] > 130) & (plain["Y_IMAGE"] > 130) & (plain["FLAGS"] == 0)
    near = [np.argmin(np.hypot(mapped["X_IMAGE"] - r["X_IMAGE"], mapped["Y_IMAGE"] - r["Y_IMAGE"])) for r in plain[far]]
    ratio = mapped["FLUXERR_AUTO"][near] / plain["FLUXERR_AUTO"][far]
    print(f"\n{kind}: FLUXERR_AUTO with the map over without: {np.median(ratio):.4f}")
    assert abs(np.median(ratio) - 1) < 0.05  # the noise of the field is 20.6 ADU, and the frame's own rms is used for the scale


def product(path, image, header, mask=None):
    """What reduce writes: SCI, VAR, MASK in electrons."""
    gain = header["GAIN"]
    sci, var = image * gain, image * gain + header["RDNOISE"] ** 2
    header = header.copy()
    header["BUNIT"] = "electron"
    mask = np.zeros(image.shape, np.int16) if mask is None else mask
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(sci.astype(np.float32), header, name="SCI"), fits.ImageHDU(var.astype(np.float32), name="VAR"),
                  fits.ImageHDU(mask, name="MASK")]).writeto(path)


def test_extract__a_reduced_frame_has_gain_1_and_its_own_variance(verb, tmp_path):
    image, header, truth = starfield.field(nx=300, ny=280, n=40, seed=19, flux=(2e4, 2e5))
    product(tmp_path / "p.fits", image, header)
    starfield.write(tmp_path / "a.fits", image, header)
    program = verb("extract")
    program("extract", tmp_path / "p.fits", "-o", tmp_path / "p.cat", code=0)
    program("extract", tmp_path / "a.fits", "-o", tmp_path / "a.cat", code=0)
    p, a = catalogue(tmp_path / "p.cat"), catalogue(tmp_path / "a.cat")
    assert len(p) == len(a) and fits.open(tmp_path / "p.cat")["LDAC_OBJECTS"].columns["FLUX_AUTO"].unit == "electron"
    np.testing.assert_allclose(p["FLUX_AUTO"], a["FLUX_AUTO"] * header["GAIN"], rtol=2e-3)
    # the same noise reached by two ways: gain and sky rms, or the variance plane
    assert abs(np.median(p["FLUXERR_AUTO"] / (a["FLUXERR_AUTO"] * header["GAIN"])) - 1) < 0.02


def test_extract__masked_pixels_are_replaced_and_reported(verb, tmp_path):
    image, header, truth = starfield.field(nx=300, ny=280, n=25, seed=29, flux=(5e4, 2e5), border=40)
    mask = np.zeros(image.shape, np.int16)
    bad = image.copy()
    for star in truth:  # a bad pixel beside each star, far above it
        y, x = int(round(star["y"] - 1)), int(round(star["x"] - 1)) + 2
        bad[y, x], mask[y, x] = 60000.0, 1
    product(tmp_path / "clean.fits", image, header)
    product(tmp_path / "bad.fits", bad, header, mask)
    program = verb("extract")
    for name in ("clean", "bad"):
        program("extract", tmp_path / f"{name}.fits", "-o", tmp_path / f"{name}.cat", code=0)
    clean, masked = catalogue(tmp_path / "clean.cat"), catalogue(tmp_path / "bad.cat")
    near = [np.argmin(np.hypot(masked["X_IMAGE"] - r["X_IMAGE"], masked["Y_IMAGE"] - r["Y_IMAGE"])) for r in clean]
    lonely = clean["FLAGS"] == 0
    change = (masked["FLUX_AUTO"][near] / clean["FLUX_AUTO"] - 1)[lonely]
    print(f"\nbad pixels mirrored: FLUX_AUTO changes by {np.median(change):+.4f}, worst {np.abs(change).max():.4f}")
    # 60,000 ADU would add 30 to 120 %; the mirrored pixel is as bright as the true one to the offset of the centroid
    assert np.abs(np.median(change)) < 0.02 and np.abs(change).max() < 0.15


@pytest.mark.parametrize("argv, says", [
    (["-DETECT_MINAREA", "x"], "DETECT_MINAREA"),
    (["-MASK_TYPE", "MAYBE"], "CORRECT"),
    (["-PARAMETERS_NAME", "/nowhere/a.param"], "/nowhere/a.param"),
    (["-FILTER_NAME", "/nowhere/a.conv"], "/nowhere/a.conv"),
    (["-PHOT_APERTURES", "0"], "aperture"),
    (["-DETECT_TRESH", "1"], "DETECT_TRESH"),
    (["--hdu", "-1"], "HDU"),
])
def test_extract__a_wrong_key_is_one_clear_line(verb, field, tmp_path, argv, says):
    verb("extract").fails(2, "extract", field, "-o", tmp_path / "a.cat", *argv, says=says)
    assert not (tmp_path / "a.cat").exists()


def test_extract__no_name_for_the_catalogue(verb, field):
    verb("extract").fails(2, "extract", field, says="-o FILE")


def test_extract__an_image_without_a_single_good_pixel(verb, tmp_path):
    fits.writeto(tmp_path / "nan.fits", np.full((90, 80), np.nan, np.float32))
    verb("extract")("extract", tmp_path / "nan.fits", "-o", tmp_path / "a.cat", code=0)
    assert len(catalogue(tmp_path / "a.cat")) == 0
    fits.writeto(tmp_path / "flat.fits", np.full((90, 80), 7, np.float32))
    verb("extract")("extract", tmp_path / "flat.fits", "-o", tmp_path / "b.cat", code=0)
    assert len(catalogue(tmp_path / "b.cat")) == 0
    fits.writeto(tmp_path / "one.fits", np.full((1, 1), 7, np.float32))
    verb("extract")("extract", tmp_path / "one.fits", "-o", tmp_path / "c.cat", code=0)
