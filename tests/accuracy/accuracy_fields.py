"""Simulated fields for the accuracy tables: make, extract, match with the truth, bounds from the true PSF."""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
ISOLATION = 5.0  # FWHM without a true neighbour of any brightness
MARGIN = 30.0    # pixels from the edge


def program():
    path = pathlib.Path(os.environ.get("NIGHTSHIFT_PROGRAM", ROOT / "build/release/nightshift"))
    if not path.exists():
        sys.exit(f"{path} is not built; set NIGHTSHIFT_PROGRAM")
    return str(path)


def run(*words):
    done = subprocess.run([program(), *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"nightshift {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stderr


class Psf:
    """The simulator's Moffat profile, integrated over pixels."""

    def __init__(self, fwhm, beta, e1, e2):
        self.fwhm, self.beta = fwhm, beta
        a = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
        s = 1 / (a * a * np.sqrt(1 - e1 * e1 - e2 * e2))
        self.c = ((1 - e1) * s, (1 + e1) * s, -2 * e2 * s)
        self.norm = (beta - 1) / (np.pi * a * a)

    def stamp(self, dx, dy, half=25):
        node, weight = np.polynomial.legendre.leggauss(7)
        g = np.arange(-half, half + 1)
        p = np.zeros((g.size, g.size))
        for u, wu in zip(node / 2, weight / 2):
            for v, wv in zip(node / 2, weight / 2):
                x, y = np.meshgrid(g + u - dx, g + v - dy)
                p += wu * wv * (1 + self.c[0] * x * x + self.c[1] * y * y + self.c[2] * x * y) ** -self.beta
        return p * self.norm

    def noise_area(self):
        return 1 / np.sum(self.stamp(0, 0) ** 2)

    def bound(self, flux, sky, phases=4):
        """Cramer-Rao bound of x and y (sigma, pixels) of a star whose flux is fitted too; mean over places in the pixel."""
        h, out = 1e-3, []
        for k in range(phases):
            dx, dy = (k % 2) * 0.5 - 0.25, (k // 2) * 0.5 - 0.25
            p = self.stamp(dx, dy, 15)
            px = (self.stamp(dx + h, dy, 15) - self.stamp(dx - h, dy, 15)) / (2 * h)
            py = (self.stamp(dx, dy + h, 15) - self.stamp(dx, dy - h, 15)) / (2 * h)
            t = np.stack([p, flux * px, flux * py]).reshape(3, -1)
            fisher = (t / (sky + flux * p).ravel()) @ t.T
            c = np.linalg.inv(fisher)
            out.append(0.5 * (c[1, 1] + c[2, 2]))
        return np.sqrt(np.mean(out))


class Field:
    """One image with its catalogue matched to the truth. Columns of `stars` are those of the catalogue, true_* beside them."""

    def __init__(self, folder, seed, options, extract=(), isolation=ISOLATION):
        folder = pathlib.Path(folder)
        run("simulate", folder, "--preset", "bench-medium", "--seed", seed, "--galaxies", 0, *options)
        run("extract", folder / "image.fits", "-o", folder / "cat.fits", *extract)
        self.header = fits.getheader(folder / "image.fits")
        with fits.open(folder / "truth.fits") as f:
            truth, head = np.array(f[1].data), f[0].header
        with fits.open(folder / "cat.fits") as f:
            self.cat = np.array(f["LDAC_OBJECTS"].data)
            cards = np.atleast_1d(f["LDAC_IMHEAD"].data.field(0)[0])
            self.cards = fits.Header.fromstring("".join(str(c).ljust(80) for c in cards))
        self.psf = Psf(self.header["FWHM"], self.header["BETA"], head.get("E1", 0.0), head.get("E2", 0.0))
        self.sky = self.header["SKY"] + self.header["RDNOISE"] ** 2
        self.match(truth, isolation)

    def match(self, truth, isolation):
        place = np.c_[truth["X_IMAGE"], truth["Y_IMAGE"]]
        near = cKDTree(place).query(place, k=2)[0][:, 1]
        nx, ny = self.header["NAXIS1"], self.header["NAXIS2"]
        inside = np.all((place > MARGIN) & (place < [nx - MARGIN, ny - MARGIN]), axis=1)
        use = inside & (near > isolation * self.psf.fwhm)
        found = cKDTree(np.c_[self.cat["X_IMAGE"], self.cat["Y_IMAGE"]])
        away, which = found.query(place[use], distance_upper_bound=0.6 * self.psf.fwhm)
        hit = np.isfinite(away)
        t, c = truth[use][hit], self.cat[which[hit]]
        good = ((c["FLAGS"] & 4) == 0) & ((c["FLAGS_PSF"] & 128) == 0)
        self.lost = int((~hit).sum())
        self.true, self.stars = t[good], c[good]
        self.snr = self.true["FLUX"] / np.sqrt(self.psf.noise_area() * self.sky)


def fields(count, first_seed, options, **words):
    """Fields one after the other, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        for k in range(count):
            yield Field(folder, first_seed + k, options, **words)


class Verdict:
    def __init__(self):
        self.failed = 0

    def __call__(self, good):
        self.failed += not good
        return "ok" if good else "FAIL"
