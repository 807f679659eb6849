"""Check-images, ANALYSIS_THRESH and default.sex against Source Extractor."""
import shutil
import subprocess

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import distance_transform_edt

from test_extract_dropin import COLUMNS, both, check, folder  # noqa: F401: a fixture
from test_parity_sextractor import SHARE

pytestmark = pytest.mark.skipif(not shutil.which("source-extractor"), reason="NO source-extractor ON THIS MACHINE")
SMOOTH = ["BACKGROUND", "BACKGROUND_RMS", "MINIBACKGROUND", "MINIBACK_RMS", "-BACKGROUND", "FILTERED", "OBJECTS", "-OBJECTS"]


def images(program, folder, out, columns, *extra):  # noqa: F811
    """kind -> (theirs, ours), all from default.sex as it is installed."""
    kinds = SMOOTH + ["SEGMENTATION", "APERTURES"]
    (out / "c.param").write_text("\n".join(["NUMBER", *columns]) + "\n")
    names = {who: [str(out / f"{who}{kind}.fits") for kind in kinds] for who in ("theirs", "ours")}
    words = ["-PARAMETERS_NAME", out / "c.param", "-FILTER_NAME", f"{SHARE}/default.conv", "-STARNNW_NAME", f"{SHARE}/default.nnw",
             "-CATALOG_TYPE", "FITS_LDAC", "-VERBOSE_TYPE", "QUIET", "-CHECKIMAGE_TYPE", ",".join(kinds), *extra]
    sex = f"{SHARE}/default.sex"
    subprocess.run(["source-extractor", folder / "a.fits", "-c", sex, "-CATALOG_NAME", out / "t.cat", *words, "-CHECKIMAGE_NAME", ",".join(names["theirs"])],
                   check=True, capture_output=True)
    program("extract", folder / "a.fits", "-c", sex, "-o", out / "o.cat", *words, "-CHECKIMAGE_NAME", ",".join(names["ours"]), code=0)
    return {kind: tuple(fits.getdata(names[who][i]).astype(float) for who in names) for i, kind in enumerate(kinds)}


@pytest.mark.parametrize("conv", ["default.conv", "gauss_4.0_7x7.conv", "tophat_2.0_3x3.conv", "none"])
def test_checkimages__agree(verb, folder, tmp_path, conv):  # noqa: F811
    keys = ["-FILTER", "N"] if conv == "none" else ["-FILTER_NAME", f"{SHARE}/{conv}"]
    pairs = images(verb("extract"), folder, tmp_path, ["FLUX_AUTO", "FLUX_APER(1)", "FLUX_PETRO"], *keys, "-BACK_SIZE", "64,48")
    for kind in SMOOTH:
        if kind == "FILTERED" and conv == "none":
            continue
        theirs, ours = pairs[kind]
        off = np.abs(theirs - ours) > 2e-4 * np.median(pairs["BACKGROUND_RMS"][0]) + 1e-6 * np.abs(theirs)
        print(f"{conv} {kind}: largest difference {np.abs(theirs - ours).max():.2g}, off {off.mean():.2g}")
        # without a filter 859 pixels that are objects in their SEGMENTATION stay in their -OBJECTS; ours leaves them out
        assert theirs.shape == ours.shape and off.mean() <= (4e-3 if (kind, conv) == ("-OBJECTS", "none") else 0), kind
    theirs, ours = pairs["SEGMENTATION"]
    assert ((theirs > 0) != (ours > 0)).mean() < 1e-3
    for name in ("MINIBACKGROUND", "MINIBACK_RMS"):
        a, b = (fits.getheader(tmp_path / f"{who}{name}.fits") for who in ("theirs", "ours"))
        for key in ("CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            assert np.isclose(a[key], b[key], rtol=1e-6), key


@pytest.mark.parametrize("columns", [["FLUX_AUTO"], ["MAG_APER(2)"], ["FLUX_PETRO"], ["FLUX_AUTO", "FLUX_APER(2)", "X_IMAGE"], ["X_IMAGE"]])
def test_checkimages__apertures_are_outlined(verb, folder, tmp_path, columns):  # noqa: F811
    pairs = images(verb("extract"), folder, tmp_path, columns, "-PHOT_APERTURES", "7,15")
    level, ink = pairs["-BACKGROUND"][0], 30 * np.median(pairs["BACKGROUND_RMS"][0])
    theirs, ours = (image - level > 0.5 * ink for image in pairs["APERTURES"])
    if columns == ["X_IMAGE"]:
        assert not theirs.any() and not ours.any()
        return
    added = (pairs["APERTURES"][1] - level)[ours]
    assert abs(np.median(added) / ink - 1) < 0.02
    far = distance_transform_edt(~ours)[theirs], distance_transform_edt(~theirs)[ours]
    shares = [(d < 1.5).mean() for d in far]
    print(f"{columns}: {theirs.sum()} pixels theirs, {ours.sum()} ours, {(theirs & ours).sum()} in both; within a pixel {shares[0]:.4f} {shares[1]:.4f}")
    assert (theirs & ours).sum() > 0.8 * max(theirs.sum(), ours.sum()) and min(shares) > 0.98


@pytest.mark.parametrize("detect,analysis,kind", [(2, 6, "RELATIVE"), (5, 1.5, "RELATIVE"), (3, 1.5, "RELATIVE"), (60, 150, "ABSOLUTE")])
def test_analysis_thresh(verb, folder, detect, analysis, kind):  # noqa: F811
    pair = both(verb("extract"), folder, "a", DETECT_THRESH=detect, ANALYSIS_THRESH=analysis, THRESH_TYPE=kind)
    check(*pair, least=0.9)


def test_analysis_thresh__two_images(verb, folder):  # noqa: F811
    check(*both(verb("extract"), folder, "ab", DETECT_THRESH=2, ANALYSIS_THRESH=5), least=0.9)
