"""Batches keep their clips, whatever is sliced, moved or stacked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auricle.audio.batch import Audio, Features

CLIPS = st.lists(st.lists(st.floats(-1, 1, width=32), max_size=9), min_size=1, max_size=6)


@given(clips=CLIPS)
def test_stacked_clips_come_back_and_padding_is_zero(clips: list[list[float]]) -> None:
    audio = Audio.stack(clips, 8000)
    assert len(audio) == len(clips)
    assert audio.wave.shape == (len(clips), max(map(len, clips)))
    assert audio.wave.dtype == torch.float32
    assert audio.lengths.dtype == torch.int64
    for row, length, clip in zip(audio.wave, audio.lengths.tolist(), clips, strict=True):
        assert row[:length].tolist() == clip
        assert not row[length:].any()


@given(clips=CLIPS, bounds=st.tuples(st.integers(-7, 7), st.integers(-7, 7)))
def test_a_slice_is_the_batch_of_its_clips(clips: list[list[float]], bounds: tuple[int, int]) -> None:
    audio = Audio.stack(clips, 8000)
    part = audio[slice(*bounds)]
    kept = clips[slice(*bounds)]
    assert len(part) == len(kept)
    assert part.rate == 8000
    assert [row[:n].tolist() for row, n in zip(part.wave, part.lengths.tolist(), strict=True)] == kept


def test_samples_of_any_kind_become_float32() -> None:
    audio = Audio.stack([np.array([1, -1], np.int16), torch.tensor([0.5], dtype=torch.float64), [0.25]], 16000)
    assert audio.wave.tolist() == [[1.0, -1.0], [0.5, 0.0], [0.25, 0.0]]


def test_clips_of_several_channels_are_not_taken_for_longer_ones() -> None:
    with pytest.raises(RuntimeError):
        Audio.stack([np.zeros((2, 5), np.float32)], 16000)


def test_features_keep_rate_and_pad_on_every_way() -> None:
    features = Features(torch.arange(24.0).view(3, 4, 2), torch.tensor([4, 2, 1]), 62.5, -1.25)
    moved, part = features.to("meta"), features[1:]
    assert (moved.x.device.type, moved.lengths.device.type) == ("meta", "meta")
    assert (moved.rate, moved.pad, part.rate, part.pad, len(part)) == (62.5, -1.25, 62.5, -1.25, 2)
    assert torch.equal(part.x, features.x[1:])
    assert part.lengths.tolist() == [2, 1]
