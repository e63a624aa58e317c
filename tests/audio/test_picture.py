"""Spectrograms as PNG files, read back by a reader written from the format's specification."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np
import pytest

from auricle.audio.picture import ANCHORS, SHADES, spectrogram_png


def read_png(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices `(height, width)` and the palette of an indexed PNG without filters; check every sum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (found,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert found == zlib.crc32(name + body), name
        chunks[name] = body
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_time_runs_to_the_right_and_frequency_upwards() -> None:
    features = np.zeros((30, 8))
    features[20:, 6] = 10.0
    indices, palette = read_png(spectrogram_png(features))
    assert indices.shape == (8, 30)
    assert palette.shape == (SHADES, 3)
    assert (indices[8 - 1 - 6, 20:] == SHADES - 1).all()
    assert indices.sum() == 10 * (SHADES - 1)
    np.testing.assert_array_equal(palette[0], ANCHORS[0])
    np.testing.assert_array_equal(palette[-1], ANCHORS[-1])


def test_lighter_colours_are_louder() -> None:
    _, palette = read_png(spectrogram_png(np.random.default_rng(0).normal(size=(5, 5))))
    luminance = palette @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()


def test_large_clips_are_averaged_over_equal_parts() -> None:
    features = np.random.default_rng(1).normal(size=(1003, 130))
    indices, _ = read_png(spectrogram_png(features, columns=100, rows=40))
    starts, bands = np.arange(101) * 1003 // 100, np.arange(41) * 130 // 40
    means = np.array(
        [[features[a:b, c:d].mean(0).mean() for a, b in itertools.pairwise(starts)]
         for c, d in itertools.pairwise(bands)]
    )[::-1]  # fmt: skip
    low, high = np.percentile(means, [2, 99.5])
    expected = np.clip((means - low) / (high - low) * (SHADES - 1), 0, SHADES - 1).astype(int)
    assert np.abs(indices.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("value", [0.0, -1e6, 3.5])
@pytest.mark.parametrize("shape", [(1, 1), (1, 64), (400, 1)])
def test_silence_and_single_cells_are_dark(value: float, shape: tuple[int, int]) -> None:
    indices, _ = read_png(spectrogram_png(np.full(shape, value)))
    assert indices.shape == (min(64, shape[1]), min(256, shape[0]))
    assert not indices.any()


def test_neither_an_offset_nor_a_gain_in_decibels_changes_the_picture() -> None:
    features = np.random.default_rng(2).normal(size=(50, 20))
    assert spectrogram_png(features) == spectrogram_png(4.0 * features - 8.0)
