#!/usr/bin/python3
"""nightshift extract against Source Extractor on the same images with the same .sex and .param: one table.

    tests/juries/parity_detect.py [--program build/release/nightshift] [--threads N] [IMAGE.fits ...]

Without images: three simulated fields, and the real frames of the shared data folder where it exists. A match is the mutual
nearest neighbour within one pixel. 'clean' objects have FLAGS = 0 in both catalogues and S/N > 20; deblended ones FLAGS & 2.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARE = pathlib.Path("/usr/share/source-extractor")
COLUMNS = """NUMBER X_IMAGE Y_IMAGE XWIN_IMAGE YWIN_IMAGE A_IMAGE B_IMAGE THETA_IMAGE FLUX_ISO FLUX_AUTO FLUXERR_AUTO MAG_AUTO
KRON_RADIUS FLUX_MAX BACKGROUND THRESHOLD FLUX_RADIUS FWHM_IMAGE ELONGATION CLASS_STAR FLAGS""".split()


def moffat_field(nx, ny, sources, seed, fwhm=3.2, sky=1000.0, noise=31.6, galaxies=0.2):
    """Stars (Moffat, beta 2.5) and exponential galaxies on a sloping sky; fluxes follow a power law, many faint."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:ny, :nx]
    image = sky + 60 * np.sin(3 * xx / nx) + 40 * np.cos(4 * yy / ny)
    flux = np.minimum(1000.0 * noise / 31.6 * (rng.pareto(0.9, sources) + 0.3), 3e6)
    place = rng.uniform((-5, -5), (nx + 5, ny + 5), (sources, 2))
    for (x, y), f in zip(place, flux):
        reach = 30 if f < 3e4 else 80
        x0, x1, y0, y1 = max(0, int(x) - reach), min(nx, int(x) + reach + 1), max(0, int(y) - reach), min(ny, int(y) + reach + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        dy, dx = np.mgrid[y0:y1, x0:x1]
        dx, dy = dx - x, dy - y
        if rng.uniform() < galaxies:
            angle, ratio, scale = rng.uniform(0, np.pi), rng.uniform(0.4, 1), rng.uniform(1.5, 4)
            u, v = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) / ratio
            profile = np.exp(-np.sqrt(u * u + v * v + 0.5) / scale)
        else:
            width = fwhm / 2 / np.sqrt(2 ** (1 / 2.5) - 1)
            profile = (1 + (dx * dx + dy * dy) / width**2) ** -2.5
        image[y0:y1, x0:x1] += f * profile / profile.sum()
    image += rng.normal(0, 1, image.shape) * noise * np.sqrt(np.maximum(image, 1) / sky)
    return image.astype(np.float32)


def write_settings(folder, satur=50000.0, extra=()):
    """default.sex of the installed program with one parameter file for both. Returned: path of the .sex file."""
    (folder / "parity.param").write_text("\n".join(COLUMNS) + "\n")
    text = subprocess.run(["source-extractor", "-dd"], capture_output=True, text=True, check=True).stdout
    keys = {"PARAMETERS_NAME": folder / "parity.param", "FILTER_NAME": SHARE / "default.conv", "STARNNW_NAME": SHARE / "default.nnw",
            "CATALOG_TYPE": "FITS_LDAC", "SATUR_LEVEL": satur, "VERBOSE_TYPE": "QUIET", **dict(extra)}
    lines = [line for line in text.splitlines() if line.split("#")[0].strip() and line.split()[0] not in keys]
    (folder / "parity.sex").write_text("\n".join(lines + [f"{k} {v}" for k, v in keys.items()]) + "\n")
    return folder / "parity.sex"


def run_both(program, image, sex, folder, threads=1):
    """Returned: (Source Extractor's table, ours, seconds of each)."""
    theirs, ours = folder / "sex.cat", folder / "nightshift.cat"
    start = time.monotonic()
    subprocess.run(["source-extractor", image, "-c", sex, "-CATALOG_NAME", theirs], check=True, capture_output=True)
    middle = time.monotonic()
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "LOG_FORMAT": "console", "LOG_LEVEL": "error"}
    done = subprocess.run([program, "extract", image, "-c", sex, "-o", ours], capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"nightshift extract: exit {done.returncode}: {done.stderr}")
    end = time.monotonic()
    return fits.getdata(theirs, 2), fits.getdata(ours, "LDAC_OBJECTS"), (middle - start, end - middle)


def compare(theirs, ours):
    """One row of the table as a dict."""
    a, b = (np.c_[t["X_IMAGE"], t["Y_IMAGE"]].astype(float) for t in (theirs, ours))
    distance, index = cKDTree(b).query(a)
    back = cKDTree(a).query(b)[1]
    match = (distance < 1) & (back[index] == np.arange(len(a)))
    s, o = theirs[match], ours[index[match]]
    offset = np.hypot(s["X_IMAGE"] - o["X_IMAGE"], s["Y_IMAGE"] - o["Y_IMAGE"])
    window = np.hypot(s["XWIN_IMAGE"] - o["XWIN_IMAGE"], s["YWIN_IMAGE"] - o["YWIN_IMAGE"])
    with np.errstate(all="ignore"):
        mag = 1000 * (o["MAG_AUTO"] - s["MAG_AUTO"])
        bright = s["FLUX_AUTO"] / s["FLUXERR_AUTO"] > 20
    usable = np.isfinite(mag) & (np.abs(mag) < 50000) & bright
    clean = usable & (s["FLAGS"] == 0) & (o["FLAGS"] == 0)
    blends = usable & ((s["FLAGS"] & 2) > 0)
    median = lambda v: float(np.median(v)) if len(v) else float("nan")
    spread = lambda v: 1.4826 * median(np.abs(v - median(v)))
    return {"theirs": len(a), "ours": len(b), "matched": match.sum() / max(len(a), len(b), 1),
            "flags": float(np.mean(s["FLAGS"] == o["FLAGS"])) if len(s) else 1.0,
            "flags_detect": float(np.mean((s["FLAGS"] & 14) == (o["FLAGS"] & 14))) if len(s) else 1.0,
            "position": median(offset[clean]), "position_all": float(np.mean(offset < 0.01)) if len(s) else 1.0,
            "window": median(window[clean]), "clean": int(clean.sum()), "mag": median(mag[clean]), "mag_spread": spread(mag[clean]),
            "blends": int(blends.sum()), "blend_mag": median(mag[blends]), "blend_spread": spread(mag[blends]),
            "shape": median(np.abs(o["A_IMAGE"] / s["A_IMAGE"] - 1)[clean]), "iso": median(np.abs(o["FLUX_ISO"] / s["FLUX_ISO"] - 1)[clean])}


HEAD = ("field              SEx   ours  matched%  FLAGS=%  (2|4|8)=%  |dx|<.01%  clean  pos px    win px    mag mmag  MAD mmag  "
        "blends mag mmag  MAD mmag  SEx s  ours s")


def row(name, r, seconds):
    return (f"{name[:16]:16s} {r['theirs']:6d} {r['ours']:6d}  {100 * r['matched']:7.2f}  {100 * r['flags']:7.2f}  {100 * r['flags_detect']:8.2f}"
            f"  {100 * r['position_all']:8.2f}  {r['clean']:6d}  {r['position']:.1e}  {r['window']:.1e}  {r['mag']:8.3f}  {r['mag_spread']:8.3f}"
            f"  {r['blends']:6d} {r['blend_mag']:8.2f}  {r['blend_spread']:8.2f}  {seconds[0]:5.2f}  {seconds[1]:6.2f}")


def simulated(folder):
    for name, args in (("sparse", (1000, 900, 700, 1)), ("medium", (2048, 2048, 3100, 2)), ("crowded", (2048, 2048, 12000, 7))):
        path = folder / f"{name}.fits"
        fits.PrimaryHDU(moffat_field(*args)).writeto(path)
        yield path


def real_frames(most=3):
    folder = pathlib.Path(os.environ.get("NIGHTSHIFT_TEST_DATA", ROOT / "../shared/data")) / "arcsat-20250530-night"
    return sorted(folder.glob("LPSEB35_*.fits"))[:most]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=pathlib.Path)
    parser.add_argument("--program", default=os.environ.get("NIGHTSHIFT_PROGRAM", ROOT / "build/release/nightshift"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not shutil.which("source-extractor"):
        sys.exit("source-extractor is missing: apt-get install source-extractor")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        sex = write_settings(folder)
        print(HEAD)
        for image in options.images or [*simulated(folder), *real_frames()]:
            theirs, ours, seconds = run_both(options.program, image, sex, folder, options.threads)
            print(row(image.stem, compare(theirs, ours), seconds), flush=True)


if __name__ == "__main__":
    main()
