"""Cosmic rays of real frames and of the simulator, astroscrappy as a second opinion."""
import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

astroscrappy = pytest.importorskip("astroscrappy")
COSMIC, DETECTED, INTERPOLATED = 1 << 3, 1 << 12, 1 << 10
EVERYWHERE = np.ones((3, 3))


def found_in(groups, mask):
    """Of the connected groups of one mask, how many touch the other?"""
    label, n = ndimage.label(groups, EVERYWHERE)
    return (np.asarray(ndimage.maximum(mask, label, range(1, n + 1))) > 0).sum() if n else 0, n


def test_real_frames_agree_with_astroscrappy(nightshift, data, tmp_path):
    raw = data / "arcsat-20250530-night"
    if not raw.is_dir():
        pytest.skip(f"NO REAL FRAMES: '{raw}' is not there")
    lights = sorted(raw.glob("LPSEB35*"))[::3]
    nightshift("master", raw, "--out", tmp_path, code=0)
    for name, reject in (("plain", "false"), ("mended", "true")):
        nightshift("reduce", *lights, "--masters", tmp_path / "masters", "--out", tmp_path / name, "--cosmic-reject", reject, code=0)
    sure = ours_sure = ours = theirs_too = 0
    for path in sorted((tmp_path / "plain").glob("2*/arcsat/*_cal.fits.fz")):
        with fits.open(path) as plain, fits.open(tmp_path / "mended" / path.relative_to(tmp_path / "plain")) as mended:
            sci, mask, header = plain["SCI"].data.astype("f4"), mended["MASK"].data, mended["SCI"].header
            known = dict(inmask=plain["MASK"].data & ~np.uint16(DETECTED) != 0, gain=1.0, readnoise=header["RDNOISE"], satlevel=np.inf, sepmed=False)
            hit = mask & COSMIC != 0
            assert plain["SCI"].header["NSCOSMIC"] is False and header["NSCOSMIC"] is True and header["NSNCOSM"] == hit.sum()
            assert (mask[hit] & INTERPOLATED != 0).all()
            # what astroscrappy is sure of at 8 sigma, and what it sees with settings like ours
            strong, _ = astroscrappy.detect_cosmics(sci, sigclip=8, sigfrac=0.5, objlim=5, **known)
            alike, _ = astroscrappy.detect_cosmics(sci, sigclip=4.5, sigfrac=0.5, objlim=3, niter=6, **known)
            found, n = found_in(strong, hit)
            sure, ours_sure = sure + n, ours_sure + found
            found, n = found_in(hit, ndimage.binary_dilation(alike))
            ours, theirs_too = ours + n, theirs_too + found
    print(f"\n{len(lights)} frames: {sure} groups that astroscrappy is sure of, {ours_sure} found; {ours} groups here, {theirs_too} of them astroscrappy's too")
    assert sure >= 10 and ours_sure >= 0.95 * sure
    # the rest: its noise comes from the median image alone and is not that of the variance plane
    assert theirs_too >= 0.8 * ours


@pytest.mark.parametrize("seeing", [0.8, 1.28, 2.0], ids=["FWHM 2", "FWHM 3.2", "FWHM 5"])
def test_simulated_tracks_are_in_the_mask(nightshift, tmp_path, seeing):
    """The whole way: raw frames, masters, signature; truth by the simulator's mask."""
    nightshift("simulate", tmp_path, "--preset", "small-night", "--seed", 5, "--ccds", 1, "--frames", 2, "--cosmics", 2, "--seeing", seeing, "--truth-images",
               "--streaks", 0, code=0)
    nightshift("master", tmp_path / "raw", "--out", tmp_path / "out", code=0)
    nightshift("reduce", tmp_path / "raw", "--out", tmp_path / "out", code=0)
    hits = found = flagged = false = 0
    for path in sorted((tmp_path / "out").glob("2*/simcam/*_cal.fits.fz")):
        stem = path.name.replace("_cal.fits.fz", "")
        with fits.open(path) as f, fits.open(tmp_path / "truth" / f"{stem}_image.fits") as truth:
            ours, true = f["MASK"].data & COSMIC != 0, truth["MASK01"].data & COSMIC != 0
        hits, found = hits + true.sum(), found + (true & ours).sum()
        flagged, false = flagged + ours.sum(), false + (ours & ~ndimage.binary_dilation(true, EVERYWHERE)).sum()
    print(f"\nFWHM {seeing / 0.4:.1f}: {found} of {hits} pixels that a track touches (however little), {false} of {flagged} flagged pixels away from any")
    assert found > 0.5 * hits  # the truth marks a single electron already; 5 sigma: tests/accuracy
    assert false <= 0.03 * flagged
