"""The simulator judged by astropy, numpy and fitsverify: files, noise, fluxes, positions, repeatability."""
import filecmp
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

@pytest.fixture(scope="module")
def simulate(nightshift):
    """Run the verb with a number of threads; returns what it said."""
    def run(out, *options, threads=2, code=0, env=None):
        return nightshift("simulate", out, *options, "--threads", threads, code=code, env=env).err
    return run


@pytest.fixture(scope="module")
def night(simulate, tmp_path_factory):
    out = tmp_path_factory.mktemp("night")
    simulate(out, "--preset", "small-night", "--truth-images", "--seed", "7", "--streaks", "0.5")
    return out


def files(out, pattern="raw/*"):
    return sorted(out.glob(pattern))


def section(text):
    x, y = text.strip("[]").split(",")
    (x0, x1), (y0, y1) = (map(int, a.split(":")) for a in (x, y))
    return slice(y0 - 1, y1), slice(x0 - 1, x1)


def amplifiers(h):
    for a in range(1, h["NAMPS"] + 1):
        yield section(h["DATASEC%d" % a]), section(h["BIASSEC%d" % a]), section(h["DETSEC%d" % a]), h["GAIN%d" % a], h["RDNOISE%d" % a]


def assemble(hdu):
    """Electrons of the trimmed frame, overscan of each row subtracted."""
    h, raw = hdu.header, hdu.data.astype(float)
    parts = [(det, (raw[data] - raw[over].mean(axis=1, keepdims=True)) * gain) for data, over, det, gain, _ in amplifiers(h)]
    out = np.zeros((max(d[0].stop for d, _ in parts), max(d[1].stop for d, _ in parts)))
    for det, e in parts:
        out[det] = e
    return out


def test_files_and_layout(night):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in files(night) + files(night, "truth/*"):
            with fits.open(path, checksum=True) as f:
                for h in f:
                    h.data
    with fits.open(files(night, "raw/*light*")[0]) as f:
        assert f[0].header["INSTRUME"] == "SIMCAM" and f[0].header["IMAGETYP"] == "OBJECT"
        assert f[0].data is None and len(f) == 1 + f[0].header["NCCD"]
        assert f[1].header["EXTNAME"] == "CCD01" and f[1].header["BITPIX"] == 16 and f[1].data.dtype == np.uint16
        assert f[1].header["WCSFRAME"] == "TRIMMED"


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="fitsverify is not installed")
def test_fitsverify_is_clean(night):
    for path in files(night) + files(night, "truth/*"):
        said = subprocess.run(["fitsverify", "-q", str(path)], capture_output=True, text=True).stdout
        assert "verification OK" in said, said


def test_bias_level_and_read_noise(night):
    with fits.open(files(night, "raw/*bias*")[0]) as f, fits.open(files(night, "raw/*bias*")[1]) as g:
        for ccd in range(1, len(f)):
            for data, over, _, gain, rdnoise in amplifiers(f[ccd].header):
                difference = f[ccd].data[data].astype(float) - g[ccd].data[data]
                rows = f[ccd].data[over].astype(float)
                difference -= np.median(difference, axis=1, keepdims=True)
                sigma = difference[np.abs(difference) < 25 / gain * np.sqrt(2)].std() / np.sqrt(2) * gain
                quantised = np.sqrt(rdnoise ** 2 + gain ** 2 / 12)
                print("ccd", ccd, "read noise", sigma, "expected", quantised)
                assert abs(sigma / quantised - 1) < 0.05  # cosmic rays are cut off; the MAD of integers would move in steps
                assert abs(np.std(rows - rows.mean(axis=1, keepdims=True)) * gain / quantised - 1) < 0.05
                assert 890 < np.median(rows) < 1310


def test_gain_from_flat_pairs(night):
    """Photon transfer: variance of the difference of two flats over their mean is 1/gain."""
    with fits.open(files(night, "raw/*flat*")[0]) as f, fits.open(files(night, "raw/*flat*")[1]) as g:
        for ccd in range(1, len(f)):
            for data, over, _, gain, rdnoise in amplifiers(f[ccd].header):
                a, b = (h[ccd].data[data].astype(float) - h[ccd].data[over].mean() for h in (f, g))
                ratio = np.median(a) / np.median(b)
                d = (a - b * ratio)[50:-50, 20:-20]
                d = d[np.abs(d - np.median(d)) < 6 * 1.4826 * np.median(np.abs(d))]
                signal = np.mean(a[50:-50, 20:-20])
                variance = d.var() / (1 + ratio) - (rdnoise / gain) ** 2
                measured = signal / variance
                print("ccd", ccd, "gain", measured, "header", gain)
                assert abs(measured / gain - 1) < 0.03  # 50,000 pixels: 0.6 %, and the level changes by 15 % over the frame


def test_dark_current_is_poisson(night):
    with fits.open(files(night, "raw/*dark*")[0]) as f:
        e = assemble(f[1])
        good = np.abs(e - np.median(e)) < 60
        exptime = f[0].header["EXPTIME"]
        rate = e[good].mean() / exptime
        print("dark rate", rate)
        assert 0.0 < rate < 0.2
        assert (e > 150).sum() > 10  # hot pixels and cosmic rays


def test_truth_positions_match_the_wcs(night):
    for path in files(night, "raw/*light*")[:3]:
        truth = night / "truth" / (path.name.split(".")[0] + "_truth.fits")
        with fits.open(path) as f:
            for ccd in range(1, len(f)):
                t = Table.read(truth, hdu=ccd)
                x, y = WCS(f[ccd].header).all_world2pix(t["RA"], t["DEC"], 1, tolerance=1e-8, maxiter=50)
                away = np.hypot(x - t["X_IMAGE"], y - t["Y_IMAGE"]).max()
                print(path.name, ccd, "positions agree to", away, "px")
                assert away < 1e-5


def test_light_equals_the_truth_image(night):
    """Flat-fielded, dark-subtracted lights against noiseless light: median residual below half an electron."""
    flats = [fits.open(p) for p in files(night, "raw/*flat*")]
    darks = [fits.open(p) for p in files(night, "raw/*dark*")]
    biases = [fits.open(p) for p in files(night, "raw/*bias*")]
    light = files(night, "raw/*light*")[0]
    with fits.open(light) as f, fits.open(night / "truth" / (light.stem + "_image.fits")) as t:
        for ccd in (1, 2):
            bias = np.median([assemble(b[ccd]) for b in biases], axis=0)
            dark = np.median([assemble(d[ccd]) for d in darks], axis=0) - bias
            flat = np.mean([assemble(b[ccd]) - bias for b in flats], axis=0)
            flat /= np.median(flat)
            science = (assemble(f[ccd]) - bias - dark) / flat
            want, mask = t["CCD%02d" % ccd].data, t["MASK%02d" % ccd].data
            residual = (science - want)[mask == 0]
            sky = np.median(want)
            print("ccd", ccd, "median residual", np.median(residual), "sky", sky)
            assert abs(np.median(residual)) < 0.5 + 0.005 * sky  # three flats of 25,000 e- and their small tilt


def isolated(t, s, shape):
    """Nothing but s within 30 pixels that could matter, and no edge."""
    x, y = s["X_IMAGE"] - 1, s["Y_IMAGE"] - 1
    near = np.hypot(t["X_IMAGE"] - 1 - x, t["Y_IMAGE"] - 1 - y) < 30
    return min(x, y, shape[1] - 1 - x, shape[0] - 1 - y) > 45 and not np.any(near & (t["ID"] != s["ID"]) & (t["FLUX"] > 1e-3 * s["FLUX"]))


def test_star_fluxes_by_summation(night):
    """Light on the truth image, sky taken away, equals FLUX: aperture sums of isolated stars, corrected by the Moffat curve."""
    checked = 0
    for truth in files(night, "truth/*light_truth*"):
        h, t = fits.getheader(truth), Table.read(truth, hdu=1)
        image = fits.open(str(truth).replace("_truth", "_image"))
        data = image["CCD01"].data.astype(float)
        alpha = h["FWHM"] / 2 / np.sqrt(2 ** (1 / h["BETA"]) - 1)
        outside = lambda r: (1 + (r / alpha) ** 2) ** (1 - h["BETA"])
        yy, xx = np.mgrid[:data.shape[0], :data.shape[1]]
        for s in t[(t["RE_PIX"] == 0) & (t["FLUX"] > 3e4)]:
            r = np.hypot(xx - s["X_IMAGE"] + 1, yy - s["Y_IMAGE"] + 1)
            if not isolated(t, s, data.shape) or (image["MASK01"].data[r < 40] & (1 << 9)).any():
                continue
            inside, ring = r < 14, (r > 32) & (r < 40)
            wing = s["FLUX"] * (outside(32) - outside(40)) / ring.sum()  # what the ring still holds of the star
            got, want = (data[inside] - (np.median(data[ring]) - wing)).sum(), s["FLUX"] * (1 - outside(14.0))
            assert abs(got / want - 1) < 0.01, (s["ID"], got, want)  # the edge of the aperture is ragged
            assert s["FLUX_STAMP"] / s["FLUX"] == pytest.approx(1, abs=2e-3)
            checked += 1
    print(checked, "stars")
    assert checked >= 8


def test_cosmic_ray_truth(night):
    with fits.open(files(night, "truth/*image*")[0]) as t:
        for ccd in (1, 2):
            cosmic = (t["MASK%02d" % ccd].data & (1 << 3)) > 0
            print("cosmic-ray pixels", cosmic.sum())
            assert t["MASK%02d" % ccd].header["MP_COSMIC"] == 3


@pytest.mark.parametrize("options", [["--preset", "small-night", "--frames", "2", "--truth-images"],
                                     ["--preset", "small-night", "--frames", "2", "--amps", "4", "--ccds", "3", "--fz"],
                                     ["--preset", "bench-sparse", "--size", "600x500", "--stars", "300", "--galaxies", "20"]])
def test_same_bytes_for_any_number_of_threads(simulate, tmp_path, options):
    for name, threads in (("one", 1), ("two", 2), ("eight", 8), ("again", 2)):
        simulate(tmp_path / name, *options, threads=threads)
    names = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.fits*")]
    assert names
    for other in ("two", "eight", "again"):
        for n in names:
            assert filecmp.cmp(tmp_path / "one" / n, tmp_path / other / n, shallow=False), (other, n)


def test_same_bytes_for_any_instruction_set(simulate, tmp_path):
    options = ["--preset", "small-night", "--frames", "1"]
    simulate(tmp_path / "best", *options)
    simulate(tmp_path / "generic", *options, env={"NIGHTSHIFT_ISA": "generic"})
    for p in (tmp_path / "best").rglob("*.fits"):
        assert filecmp.cmp(p, tmp_path / "generic" / p.relative_to(tmp_path / "best"), shallow=False)


def test_seeds_differ(simulate, tmp_path):
    for seed in "12":
        simulate(tmp_path / seed, "--preset", "small-night", "--frames", "1", "--seed", seed)
    assert not filecmp.cmp(tmp_path / "1/raw/sc_0001_bias.fits", tmp_path / "2/raw/sc_0001_bias.fits", shallow=False)


@pytest.mark.parametrize("amps", [1, 2, 3, 4])
def test_amplifier_layouts_cover_the_detector(simulate, tmp_path, amps):
    simulate(tmp_path, "--preset", "small-night", "--frames", "0", "--flat", "1", "--bias", "0", "--dark", "0", "--amps", str(amps), "--size", "130x70")
    with fits.open(tmp_path / "raw/sc_0001_flat.fits") as f:
        seen = np.zeros((70, 130), int)
        for data, _, det, _, _ in amplifiers(f[1].header):
            seen[det] += 1
            assert f[1].data[data].shape == seen[det].shape
        assert (seen == 1).all()
        e = assemble(f[1])
        assert 15000 < np.median(e) < 30000


def test_damage(simulate, tmp_path):
    kinds = "truncate,empty,flip,nan,nowcs,nodate,badcard,manycards,saturated,notfits"
    simulate(tmp_path, "--preset", "small-night", "--frames", "11", "--damage", kinds, "--size", "64x64", "--stars", "3")
    lights = files(tmp_path, "raw/*light*")
    by_kind = dict(zip(kinds.split(","), lights[1:]))
    assert by_kind["empty"].stat().st_size == 0
    assert by_kind["truncate"].stat().st_size < lights[0].stat().st_size
    assert by_kind["notfits"].read_bytes().startswith(b"<html>")
    assert np.isnan(fits.getdata(by_kind["nan"], 1)).any()
    assert "CTYPE1" not in fits.getheader(by_kind["nowcs"], 1)
    assert "DATE-OBS" not in fits.getheader(by_kind["nodate"], 0)
    assert (fits.getdata(by_kind["saturated"], 1) == 65535).all()
    assert b"\x80" in by_kind["badcard"].read_bytes()[:5760]
    assert len(fits.getheader(by_kind["manycards"], 1)) > 100000
    assert by_kind["flip"].stat().st_size == lights[0].stat().st_size


def test_bench_image(simulate, tmp_path):
    simulate(tmp_path, "--preset", "bench-sparse", "--size", "1000x900", "--stars", "100", "--galaxies", "0")
    data, h = fits.getdata(tmp_path / "image.fits"), fits.getheader(tmp_path / "image.fits")
    t = Table.read(tmp_path / "truth.fits", hdu=1)
    assert data.shape == (900, 1000) and data.dtype.kind == "f" and h["BUNIT"] == "electron"
    sigma = 1.4826 * np.median(np.abs(data - np.median(data)))
    want = np.sqrt(h["SKY"] + h["RDNOISE"] ** 2)
    print("sky", np.median(data), h["SKY"], "sigma", sigma, want)
    assert abs(np.median(data) / h["SKY"] - 1) < 0.02 and abs(sigma / want - 1) < 0.03
    x, y = WCS(h).all_world2pix(t["RA"], t["DEC"], 1, tolerance=1e-8, maxiter=50)
    assert np.hypot(x - t["X_IMAGE"], y - t["Y_IMAGE"]).max() < 1e-5


@pytest.mark.parametrize("options", [["--ccds", "65"], ["--amps", "5"], ["--size", "big"], ["--size", "4x4"], ["--filters", "x"],
                                     ["--preset", "nothing"], ["--seed", "-1"], ["--damage", "rust"], ["--beta", "2.7"], ["--crowding", "2"]])
def test_bad_options_are_usage_errors(simulate, tmp_path, options):
    said = simulate(tmp_path / "out", *(["--preset", "small-night", "--frames", "1"] + options), code=2)
    assert options[0].lstrip("-").split("-")[0] in said or options[1] in said


def test_variables_vary_and_transients_appear(simulate, tmp_path):
    simulate(tmp_path, "--preset", "small-night", "--frames", "6", "--size", "64x64", "--stars", "300", "--transients", "40", "--ccds", "1")
    flux = {}
    for path in files(tmp_path, "truth/*_truth.fits"):
        t = Table.read(path, hdu=1)
        for row in t:
            flux.setdefault((row["ID"], row["KIND"].strip()), []).append(row["MAG"])
    spread = {k: np.ptp(v) for k, v in flux.items()}
    assert max(v for (_, kind), v in spread.items() if kind == "star") < 1e-9
    assert max(v for (_, kind), v in spread.items() if kind == "sinus") > 0.01
    assert any(kind == "transient" and len(v) < 6 for (_, kind), v in flux.items())
