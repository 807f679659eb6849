"""Files that should not exist, made on the spot."""
import pathlib

import numpy as np
from astropy.io import fits

BLOCK = 2880


def stars(ny=96, nx=80, n=8, sky=200.0, seed=1):
    """A small honest image: Gaussian stars on a flat sky with its noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ny, :nx]
    image = np.full((ny, nx), sky)
    for _ in range(n):
        cx, cy, flux = rng.uniform(6, nx - 7), rng.uniform(6, ny - 7), rng.uniform(2e3, 2e4)
        image += flux / (2 * np.pi * 1.5**2) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.5**2))
    return rng.poisson(image).astype(np.float64)


def header(kind="light"):
    h = fits.Header()
    h["IMAGETYP"] = kind
    h["DATE-OBS"] = "2025-05-30T04:30:00.000"
    h["EXPTIME"] = 30.0
    h["FILTER"] = "g"
    h["OBJECT"] = "test"
    return h


def plain(path, image=None, **cards):
    """An unsigned 16-bit image, as a camera writes it."""
    h = header()
    h.update(cards)
    image = stars() if image is None else image
    fits.PrimaryHDU(np.clip(image, 0, 65535).astype(np.uint16), h).writeto(path, overwrite=True)
    return pathlib.Path(path)


def floats(path, image, **cards):
    h = header()
    h.update(cards)
    fits.PrimaryHDU(np.asarray(image, np.float32), h).writeto(path, overwrite=True)
    return pathlib.Path(path)


def compressed(path, image=None, kind="RICE_1"):
    image = stars() if image is None else image
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image.astype(np.int32), header(), compression_type=kind)])
    hdus.writeto(path, overwrite=True)
    return pathlib.Path(path)


def two_extensions(path):
    """Small, but of several header and data blocks: what truncation walks through."""
    first, second = stars(40, 48), stars(40, 48, seed=2)
    hdus = fits.HDUList([fits.PrimaryHDU(None, header()), fits.ImageHDU(first.astype(np.uint16), name="CCD1"),
                         fits.ImageHDU(second.astype(np.float32), name="CCD2")])
    for i in range(40):
        hdus[1].header[f"NOTE{i}"] = i
    hdus.writeto(path, overwrite=True, checksum=True)
    return pathlib.Path(path)


def cut(source, target, size):
    pathlib.Path(target).write_bytes(pathlib.Path(source).read_bytes()[:size])
    return pathlib.Path(target)


def flip_bits(source, target, rng, n, first=0, last=None):
    """Flip n random bits between byte offsets first and last."""
    data = bytearray(pathlib.Path(source).read_bytes())
    for at in rng.integers(first, last or len(data), n):
        data[at] ^= 1 << rng.integers(8)
    pathlib.Path(target).write_bytes(data)
    return pathlib.Path(target)


def card(text):
    return text.ljust(80).encode("ascii")


def raw_header(path, cards, data=b"", pad=True):
    """A file from literal cards, for headers no writer would write."""
    block = b"".join(card(c) for c in [*cards, "END"])
    block += b" " * (-len(block) % BLOCK)
    data += b"\0" * (-len(data) % BLOCK if pad else 0)
    pathlib.Path(path).write_bytes(block + data)
    return pathlib.Path(path)


def absurd_headers(folder):
    """(name, file): structural keywords that promise what cannot be."""
    folder = pathlib.Path(folder)
    base = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2"]

    def sized(nx, ny, bitpix=16, data=b"\0" * BLOCK):
        return [base[0], f"BITPIX  = {bitpix:20d}", base[2], f"NAXIS1  = {nx:20d}", f"NAXIS2  = {ny:20d}"], data

    cases = {
        "promises-4-exabytes": sized(2**31 - 1, 2**31 - 1),
        "product-overflows-int64": sized(9223372036854775807, 9223372036854775807),
        "promises-20-gigabytes": sized(100000, 100000),
        "negative-axis": sized(-5, 10),
        "zero-axis": sized(0, 10, data=b""),
        "bitpix-17": sized(10, 10, bitpix=17),
        "bitpix-0": sized(10, 10, bitpix=0),
        "naxis-999": (base[:2] + ["NAXIS   =                  999"], b""),
        "naxis-1": (base[:2] + ["NAXIS   =                    1", "NAXIS1  =                   10"], b"\0" * 20),
        "naxis-missing": (base[:2], b"\0" * BLOCK),
        "bscale-nan": (sized(8, 8)[0] + ["BSCALE  =                  NaN", "BZERO   = 'much'"], b"\1" * 128),
        "bzero-1e308": (sized(8, 8)[0] + ["BSCALE  =               1E308", "BZERO   =               1E308"], b"\1" * 128),
        "gain-is-a-word": (sized(8, 8)[0] + ["GAIN    = 'high'", "EXPTIME = 'long'", "DATE-OBS= 'yesterday'"], b"\1" * 128),
        "exptime-1e400": (sized(8, 8)[0] + ["EXPTIME =               1E400", "DATE-OBS= '9999-99-99T99:99:99'"], b"\1" * 128),
        "unterminated-string": (sized(8, 8)[0] + ["OBJECT  = 'never ends", "FILTER  = 'g'"], b"\1" * 128),
        "singular-wcs": (sized(8, 8)[0] + ["CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", "CD1_1   =  0.0", "CD1_2   =  0.0",
                                           "CD2_1   =  0.0", "CD2_2   =  0.0", "CRVAL1  = 10.", "CRVAL2  = 10."], b"\1" * 128),
        "sip-order-99": (sized(8, 8)[0] + ["CTYPE1  = 'RA---TAN-SIP'", "CTYPE2  = 'DEC--TAN-SIP'", "CD1_1   = -1E-4", "CD1_2   =  0.0",
                                           "CD2_1   =  0.0", "CD2_2   = 1E-4", "A_ORDER =   99", "B_ORDER =   -3"], b"\1" * 128),
    }
    for name, (cards, data) in cases.items():
        yield name, raw_header(folder / f"{name}.fits", cards, data)
    no_end = b"".join(card(c) for c in sized(8, 8)[0]) + b" " * 80 * 31
    (folder / "no-end-card.fits").write_bytes(no_end)
    yield "no-end-card", folder / "no-end-card.fits"
    binary = np.random.default_rng(3).integers(0, 256, 3 * BLOCK, dtype=np.uint8).tobytes()
    (folder / "noise.fits").write_bytes(binary)
    yield "noise", folder / "noise.fits"
    (folder / "simple-then-noise.fits").write_bytes(card("SIMPLE  =                    T") + binary)
    yield "simple-then-noise", folder / "simple-then-noise.fits"
    (folder / "text.fits").write_text("this is not a FITS file\n" * 200)
    yield "text", folder / "text.fits"
    (folder / "page.fits").write_text("<html><body>404 Not Found</body></html>\n")
    yield "web-page", folder / "page.fits"
