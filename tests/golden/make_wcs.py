#!/usr/bin/python3
"""Golden tables for tests/twin/test_skycoord_golden.c, from astropy.

    tests/golden/make_wcs.py DATA      DATA: the folder with robustness/ and decam-legacy-cutouts/

Each tests/golden/wcs/NAME.txt holds the WCS cards of one real header, a line "tolerance DEG", and lines "x y ra dec"
(0-based pixels, ICRS degrees). Headers of astropy's test suite (BSD-3) and of the Legacy Surveys' (BSD-3).

The tolerance is 1e-9 deg where both sides give ICRS directly. FK5: astropy's rotation stands still at J2000, ours
follows FK5's spin (0.6 mas a year) to the date of the frame: 1e-5 deg. Galactic: astropy goes through FK5, ERFA uses
the Hipparcos definition in ICRS: 23 mas, 1e-5 deg.
"""
import glob
import os
import sys
import warnings

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

warnings.simplefilter("ignore")
KEEP = ("NAXIS CTYPE CRPIX CRVAL CDELT CUNIT CROTA CD PC PV LONPOLE LATPOLE RADESYS RADECSYS EQUINOX EPOCH A_ B_ AP_ BP_ WAT "
        "AMDX AMDY PLT PPO CNPIX XPIXELSZ YPIXELSZ DATE-OBS MJD-OBS WCSAXES").split()
X, Y = (g.ravel().astype(float) for g in np.meshgrid([0, 13.5, 100, 400.25], [-3, 50, 211.75]))


def table(name, header, out):
    w = WCS(header)
    if w.naxis != 2:
        w = w.celestial
    world = w.all_pix2world(np.array([X, Y]).T, 0)
    frame = wcs_to_celestial_frame(w)
    sky = SkyCoord(world[:, w.wcs.lng], world[:, w.wcs.lat], unit="deg", frame=frame).icrs
    if not np.isfinite(sky.ra.deg).all():
        return
    cards = [str(c) for c in header.cards if any(c.keyword.startswith(k) for k in KEEP)]
    with open(os.path.join(out, name + ".txt"), "w") as f:
        for c in cards:
            f.write(c[:80].rstrip() + "\n")
        f.write("tolerance %g\n" % (1e-9 if frame.name == "icrs" else 1e-5))
        for row in zip(X, Y, sky.ra.deg, sky.dec.deg):
            f.write("%.2f %.2f %.13f %.13f\n" % row)


def tnx():
    """IRAF's TNX: no real header of the kind is at hand, so one is made up."""
    h = fits.Header()
    h.update(NAXIS=2, CTYPE1="RA---TNX", CTYPE2="DEC--TNX", CRVAL1=210.1, CRVAL2=12.2, CRPIX1=1050.0, CRPIX2=990.0, CD1_1=-1e-4, CD1_2=1e-6,
             CD2_1=1e-6, CD2_2=1.01e-4, RADESYS="ICRS", WAT0_001="system=image")
    for axis, kind, terms in ((1, "lng", "1.1e-5 2.3e-4 -3e-5 1e-5 4e-5 -2e-5 6e-5 1e-6 2e-6 3e-6"),
                              (2, "lat", "-1.1e-5 1.3e-4 3e-5 -1e-5 2e-5 2e-5 -6e-5 4e-6 -2e-6 3e-6")):
        text = 'wtype=tnx axtype=%s %scor = "3. 4. 4. 2. -0.11 0.11 -0.12 0.12 %s "' % ("ra" if axis == 1 else "dec", kind, terms)
        for k in range(0, len(text), 68):
            h["WAT%d_%03d" % (axis, k // 68 + 1)] = text[k:k + 68]
    return h


def main():
    data, out = sys.argv[1], os.path.join(os.path.dirname(os.path.abspath(__file__)), "wcs")
    files = sorted(glob.glob(data + "/robustness/astropy-wcs/*") + glob.glob(data + "/robustness/*sip_flt.fits")
                   + glob.glob(data + "/robustness/chimera*com-wcs.fits") + glob.glob(data + "/decam-legacy-cutouts/*/*ooi*"))
    for path in files:
        name = os.path.basename(path).split(".fits")[0].replace(".hdr", "")
        try:
            if path.endswith(".hdr"):
                raw = open(path, "rb").read()
                headers = [fits.Header.fromtextfile(path) if b"\n" in raw[:100] else fits.Header.fromstring(raw)]
            else:
                headers = [h.header for h in fits.open(path)]
            for i, header in enumerate(h for h in headers if "CTYPE1" in h or "AMDX1" in h):
                if "D2IMDIS1" not in header and i < 2:
                    table(name if i == 0 else "%s-%d" % (name, i), header, out)
        except Exception as why:
            print("left out", name, type(why).__name__)
    table("tnx", tnx(), out)


main()
