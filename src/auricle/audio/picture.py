"""Spectrograms as small PNG files, without a plotting library."""

from __future__ import annotations

import struct
import zlib

import numpy as np

# A dark-to-light map of even steps in lightness (eight colours of matplotlib's `inferno`, CC0).
ANCHORS = np.array(
    [
        [0, 0, 4],
        [40, 11, 84],
        [101, 21, 110],
        [159, 42, 99],
        [212, 72, 66],
        [245, 125, 21],
        [250, 193, 39],
        [252, 255, 164],
    ],
    dtype=np.float64,
)
SHADES = 64


def spectrogram_png(features: np.ndarray, *, columns: int = 256, rows: int = 64) -> bytes:
    """Draw features as an image: time to the right, frequency upwards, quiet dark, loud bright.

    Args:
        features: `(T, F)` log energies.
        columns: greatest width in pixels; longer clips are averaged over time.
        rows: greatest height in pixels; more bands are averaged.

    Returns:
        An indexed PNG of `SHADES` colours. Brightness spans the 2nd to the 99.5th percentile.
    """
    picture = np.flipud(_shrink(_shrink(np.asarray(features, np.float64), columns).T, rows))
    low, high = np.percentile(picture, [2, 99.5])
    scaled = (picture - low) / max(high - low, 1e-9)
    shades = np.clip(scaled * (SHADES - 1), 0, SHADES - 1).astype(np.uint8)
    place = np.linspace(0, len(ANCHORS) - 1, SHADES)
    palette = np.stack([np.interp(place, np.arange(len(ANCHORS)), ANCHORS[:, c]) for c in range(3)], 1)
    return png(shades, palette.round().astype(np.uint8))


def png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Return a PNG file.

    Args:
        pixels: uint8, `(rows, columns)` indices into the palette, or `(rows, columns, 4)` of red, green, blue, opacity.
        palette: `(colours, 3)` uint8; None: for pixels that are colours themselves.
    """
    lines = b"".join(b"\x00" + line.tobytes() for line in pixels)
    kind = 6 if palette is None else 3
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, kind, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", palette.tobytes()))
    chunks += [(b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _shrink(values: np.ndarray, size: int) -> np.ndarray:
    """Average neighbouring rows to at most `size` rows."""
    if values.shape[0] <= size:
        return values
    starts = np.arange(size) * values.shape[0] // size
    counts = np.diff(np.append(starts, values.shape[0]))
    shrunk: np.ndarray = np.add.reduceat(values, starts, axis=0) / counts[:, None]
    return shrunk
