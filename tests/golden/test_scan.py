"""What scan makes of known files: the real night exactly, made-up ones by what must be said.

UPDATE=1 pytest tests/golden/test_scan.py writes the expected table anew."""
import json
import os
import pathlib

import numpy as np
import pytest
from astropy.io import fits

EXPECTED = pathlib.Path(__file__).parent / "scan"


def frame(path, kind, when, size=(16, 16), extra=None, **cards):
    header = fits.Header([("IMAGETYP", kind), ("DATE-OBS", when), ("EXPTIME", 0.0 if kind == "BIAS" else 30.0), ("SITELONG", "-70 30 00")])
    header.update(cards)
    fits.PrimaryHDU(np.zeros(size, np.uint16), header).writeto(path)
    return path


def small_night(folder):
    """3 biases, 3 darks, 3 flats in g and 2 in r, lights in g and r, and one file of each trouble."""
    for i in range(3):
        frame(folder / f"b{i}.fits", "BIAS", f"2025-05-30T00:00:0{i}")
        frame(folder / f"d{i}.fits", "Dark Frame", f"2025-05-30T00:10:0{i}")
        frame(folder / f"fg{i}.fits", "Dome Flat", f"2025-05-30T00:20:0{i}", FILTER="g")
    for i in range(2):
        frame(folder / f"fr{i}.fits", "FLAT", f"2025-05-30T00:30:0{i}", FILTER="r")
    frame(folder / "lg.fits", "LIGHT", "2025-05-30T03:00:00", FILTER="g")
    frame(folder / "lr.fits", "LIGHT", "2025-05-30T03:10:00", FILTER="r")
    frame(folder / "li.fits", "LIGHT", "2025-05-30T03:20:00", FILTER="i", XBINNING=2)
    frame(folder / "odd.fits", "mystery", "2025-05-30T03:30:00")
    frame(folder / "focus.fits", "Focus", "2025-05-30T03:40:00")
    (folder / "broken.fits").write_bytes((folder / "lg.fits").read_bytes()[:3000])
    (folder / "notes.txt").write_text("clouds")
    (folder / ".hidden.fits").write_bytes(b"x")
    (folder / "deep/er").mkdir(parents=True)
    frame(folder / "deep/er/lg2.fits", "LIGHT", "2025-05-30T04:00:00", FILTER="g")


@pytest.fixture
def scan(verb):
    program = verb("scan")

    def run(*argv, code):
        return program("scan", *argv, code=code).out

    return run


def scan_json(scan, *argv, code):
    found = json.loads(scan(*argv, "--json", code=code))
    return found, {pathlib.Path(f["path"]).name: f for f in found["frames"]}


def test_scan__the_real_night(scan, data):
    night = data / "arcsat-20250530-night"
    if not night.is_dir():
        pytest.skip(f"NO REAL FRAMES: '{night}' is not there")
    got = scan(night, code=0)
    expected = EXPECTED / "arcsat.txt"
    if os.environ.get("UPDATE"):
        expected.write_text(got)
    assert got == expected.read_text()


def test_scan__the_real_night_as_json_agrees_with_astropy(scan, data):
    night = data / "arcsat-20250530-night"
    if not night.is_dir():
        pytest.skip(f"NO REAL FRAMES: '{night}' is not there")
    found, frames = scan_json(scan, night, code=0)
    assert found["summary"] == {"used": 28, "held": 0, "refused": 0, "ignored": 0, "files": 28, "frames": 28, "not_fits": 1}
    from astropy.time import Time
    for name, f in frames.items():
        header = fits.getheader(night / name)
        assert f["type"] == header["IMAGETYP"].strip().lower()
        assert f["exptime_s"] == pytest.approx(header["EXPTIME"], abs=1e-9)
        assert f["mjd_start"] == pytest.approx(Time(header["DATE-OBS"], scale="utc").mjd, abs=1e-9)  # a tenth of a millisecond
        assert f["wcs"] == ("good" if "CD1_1" in header else "none")
        assert f["night"] == 20250529 and f["instrument"] == "arcsat" and not f["gain_known"]


def test_scan__what_is_held_refused_and_ignored_says_why(scan, tmp_path):
    small_night(tmp_path)
    found, frames = scan_json(scan, tmp_path, code=3)
    groups = {g["group"]: g for g in found["groups"]}
    verdicts = {name: (f["verdict"], f["reason"]) for name, f in frames.items() if f["verdict"] != "used"}
    assert verdicts == {
        "fr0.fits": ("held", "2 flat frames, and a master needs 3 (master.min_frames)"),
        "fr1.fits": ("held", "2 flat frames, and a master needs 3 (master.min_frames)"),
        "lr.fits": ("held", "no flat of filter 'r' (nearest is of 'g') (or --without flat)"),
        "li.fits": ("held", "no bias binned 2x2 (nearest is 1x1) (or --without bias); no dark binned 2x2 (nearest is 1x1) (or --without dark); "
                    "no flat binned 2x2 (nearest is 1x1) (or --without flat)"),
        "odd.fits": ("held", "unknown frame type 'mystery' (IMAGETYP, OBSTYPE, IMAGETYPE, FRAMETYP ...)"),
        "focus.fits": ("ignored", "neither bias, dark, flat nor light"),
        "broken.fits": ("refused", verdicts["broken.fits"][1]),
    }
    assert frames["broken.fits"]["code"] == "corrupt" and "data end early" in frames["broken.fits"]["reason"]
    lights = frames["lg.fits"], frames["lg2.fits"]
    assert lights[0]["group"] == lights[1]["group"]
    for light in lights:
        assert [groups[light[k]]["type"] for k in ("bias", "dark", "flat")] == ["bias", "dark", "flat"]
    assert found["summary"]["not_fits"] == 1
    table = scan(tmp_path, code=3)
    for word in ("lr.fits: no flat of filter 'r'", "makes master #1", "1 file without a FITS suffix passed over"):
        assert word in table


def test_scan__same_bytes_for_any_thread_count(scan, tmp_path):
    small_night(tmp_path)
    outputs = {scan(tmp_path, "--json", "--threads", n, code=3) for n in (1, 2, 8)}
    assert len(outputs) == 1


def test_scan__one_file_gives_its_own_code(scan, tmp_path):
    small_night(tmp_path)
    scan(tmp_path / "broken.fits", code=10)
    scan(tmp_path / "lg.fits", code=3)
    scan(tmp_path / "b0.fits", "--master-min-frames", 1, code=0)
    scan(tmp_path / "nowhere.fits", code=10)


def test_scan__nothing_to_scan_is_said(verb, tmp_path):
    program = verb("scan")
    (tmp_path / "a.txt").write_text("x")
    program.fails(10, "scan", tmp_path, says=r"there is no FITS file \(1 other files\)")
    program.fails(2, "scan", says="which files")


def test_scan__frames_of_unknown_gain_need_flats(scan, tmp_path):
    frame(tmp_path / "l.fits", "LIGHT", "2025-05-30T03:00:00", FILTER="g")
    assert "no gain is known" in scan(tmp_path, "--without", "bias,dark,flat", code=3)
    frame(tmp_path / "l.fits.gz", "LIGHT", "2025-05-30T03:01:00", FILTER="g", GAIN=1.5)
    scan(tmp_path / "l.fits.gz", "--without", "bias,dark,flat", code=0)
    scan(tmp_path, "--without", "cosmic", code=2)


def test_scan__assumptions_are_said(scan, tmp_path):
    frame(tmp_path / "b0.fits", "BIAS", "2025-05-30T00:00:00", SITELONG="?", TIMESYS="1993.0")
    out = scan(tmp_path, "--master-min-frames", 1, code=0)
    assert "longitude 0 was assumed for the night of 1 frame" in out
    assert "TIMESYS '1993.0' is unknown: taken as UTC" in out
    assert "assumed" not in scan(tmp_path, "--master-min-frames", 1, "--site-longitude", "-70", code=0)


def test_scan__tables_are_ignored_and_nothing_is_refused(scan, tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(3))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    fits.PrimaryHDU().writeto(tmp_path / "bare.fits")
    _, frames = scan_json(scan, tmp_path, code=3)
    assert (frames["table.fits"]["verdict"], frames["table.fits"]["reason"]) == ("ignored", "tables, no image")
    assert (frames["bare.fits"]["verdict"], frames["bare.fits"]["code"]) == ("refused", "unsupported")


def test_scan__an_exposure_given_twice(scan, tmp_path):
    for i in range(2):
        frame(tmp_path / f"b{i}.fits", "BIAS", "2025-05-30T00:00:00")
        frame(tmp_path / f"c{i}.fits", "BIAS", "2025-05-30T00:01:00", EXPID="7")
    _, frames = scan_json(scan, tmp_path, "--master-min-frames", 1, code=3)
    assert "begins at the same time as" in frames["b1.fits"]["note"] and frames["b1.fits"]["verdict"] == "used"
    assert frames["c1.fits"]["verdict"] == "held" and "the exposure '7' is there already" in frames["c1.fits"]["reason"]


def simcam(path, kind, when, ccds=2, counted=None):
    """A multi-extension frame of two amplifiers per CCD, as `simulate` writes it."""
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "SIMCAM", "OBSID": path.stem, "IMAGETYP": kind, "EXPTIME": 30.0, "FILTER": "r", "DATE-OBS": when,
                           "LONGITUD": -70.8, "NCCD": counted or ccds})
    hdus = [primary]
    for n in range(1, ccds + 1):
        hdu = fits.ImageHDU(np.zeros((20, 50), np.uint16), name=f"CCD{n:02}")
        hdu.header.update({"CCDNUM": n, "NAMPS": 2, "CCDSUM": "1 1", "DATASEC1": "[1:20,1:20]", "BIASSEC1": "[21:25,1:20]",
                           "DETSEC1": "[1:20,1:20]", "DATASEC2": "[31:50,1:20]", "BIASSEC2": "[26:30,1:20]", "DETSEC2": "[21:40,1:20]",
                           "GAIN1": 1.5, "GAIN2": 1.6})
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)


def test_scan__many_frames_of_one_remark_are_counted(scan, tmp_path):
    for i in range(5):
        frame(tmp_path / f"l{i}.fits", "LIGHT", f"2025-05-30T03:00:0{i}", FILTER="g")
    out = scan(tmp_path, code=3)
    assert "  5 frames: there is no bias (or --without bias); there is no dark" in out
    assert "l2.fits and 2 more (--json names all)" in out and "l3.fits" not in out


def test_scan__a_simulated_night(verb, scan, tmp_path):
    program = verb("scan", "simulate")
    program("simulate", tmp_path, "--preset", "small-night", "--truth-images", code=0)
    found, frames = scan_json(scan, tmp_path, code=0)
    assert found["summary"]["used"] == 34 and found["summary"]["held"] == found["summary"]["refused"] == 0
    assert frames["sc_0010_light_image.fits"]["verdict"] == "ignored"
    program("simulate", tmp_path / "bad", "--preset", "small-night", "--damage", "nodate", code=0)
    found, frames = scan_json(scan, tmp_path / "bad", code=3)
    held = [f for f in found["frames"] if f["verdict"] == "held"]
    assert held and all(f["reason"] == "no time of observation (DATE-OBS, MJD-OBS)" for f in held)


def test_scan__every_ccd_of_a_file(scan, tmp_path):
    for i in range(3):
        simcam(tmp_path / f"b{i}.fits", "BIAS", f"2025-05-30T00:00:0{i}")
        simcam(tmp_path / f"f{i}.fits", "FLAT", f"2025-05-30T00:10:0{i}")
    simcam(tmp_path / "o.fits", "OBJECT", "2025-05-30T03:00:00")
    assert "there is no dark (or --without dark)" in scan(tmp_path, code=3)
    found, _ = scan_json(scan, tmp_path, "--without", "dark", code=0)
    lights = [f for f in found["frames"] if f["type"] == "light"]
    assert [(f["ccd"], f["hdu"], f["nccd"], f["size"], f["overscan"], f["gain_known"]) for f in lights] == [
        (1, 2, 2, [40, 20], True, True), (2, 3, 2, [40, 20], True, True)]
    assert lights[0]["flat"] != lights[1]["flat"] and lights[0]["dark"] is None
    simcam(tmp_path / "lost.fits", "OBJECT", "2025-05-30T03:10:00", counted=3)
    _, frames = scan_json(scan, tmp_path, "--without", "dark", code=3)
    assert frames["lost.fits"]["reason"] == "the header counts 3 CCDs, the file holds 2"
