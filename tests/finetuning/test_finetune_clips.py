"""Training batches: order, cuts, mixtures, masks and drawing by class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auricle.audio.batch import Features
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.table import Corpus
from auricle.encoders.features import LAYERS
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.finetuning.clips import (
    Batches,
    Clips,
    class_weights,
    longest_window,
    mask_spectrum,
    reading_order,
)
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.run import finetune_encoder
from auricle.models import load
from auricle.results.predictions import load_predictions
from auricle.tasks.card import TaskCard

TRUTH = np.eye(3, dtype=bool)[np.arange(12) % 3]


def batches(
    corpus: Corpus, *, mixup: float = 0.0, most: int | None = None, seed: int = 0, **settings: object
) -> Batches:
    config = FinetuneConfig(batch=5, **settings)  # type: ignore[arg-type]
    clips = Clips(corpus, 16000, 100)
    return Batches(clips, np.arange(12), TRUTH, config, mixup=mixup, most=most, seed=seed)


def test_an_epoch_has_every_clip_once_in_an_order_of_its_own(tones: Callable[..., Corpus]) -> None:
    corpus = tones(12)
    made = batches(corpus)
    assert made.steps == 2
    energies = np.array([float(np.abs(corpus.audio(i, 16000)).sum()) for i in range(12)])
    orders = []
    for epoch in (0, 1):
        found = list(made.epoch(epoch))
        seen = np.concatenate([b.audio.wave.abs().sum(1).numpy() for b in found])
        order = np.abs(seen[:, None] - energies).argmin(1)
        assert sorted(order) == list(range(12))
        np.testing.assert_array_equal(np.concatenate([b.targets.numpy() for b in found]), TRUTH[order])
        orders.append(order.tolist())
    assert orders[0] != orders[1]
    again = [b.audio.wave for b in batches(corpus).epoch(1)]
    assert all(torch.equal(a, b.audio.wave) for a, b in zip(again, made.epoch(1), strict=True))
    other = [b.audio.wave for b in batches(corpus, seed=1).epoch(1)]
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(again, other, strict=True))


def test_mixed_clips_are_the_sum_that_their_labels_say(tones: Callable[..., Corpus]) -> None:
    corpus = tones(12)
    plain = {i: corpus.audio(i, 16000) for i in range(12)}
    for batch in batches(corpus, mixup=1.0).epoch(0):
        for wave, length, target in zip(batch.audio.wave, batch.audio.lengths.tolist(), batch.targets, strict=True):
            assert target.sum().item() == pytest.approx(1, abs=1e-6)
            mixed = wave[:length].numpy()
            # Least squares over all clips of that length finds the two parts and their shares.
            basis = np.stack([np.pad(p, (0, 8000))[:length] for p in plain.values()], 1)
            shares = np.linalg.lstsq(basis, mixed, rcond=None)[0]
            assert np.sort(shares)[-2:].sum() == pytest.approx(1, abs=0.02)
            by_class = [shares[np.arange(12) % 3 == c].sum() for c in range(3)]
            np.testing.assert_allclose(by_class, target.numpy(), atol=0.03)


def test_long_clips_are_cut_at_random_places(tones: Callable[..., Corpus]) -> None:
    corpus = tones(12)
    made = batches(corpus, most=4000)
    starts = set()
    for epoch in range(3):
        for batch in made.epoch(epoch):
            assert set(batch.audio.lengths.tolist()) == {4000}
            for wave in batch.audio.wave.numpy():
                whole = next(
                    (c, k)
                    for c in (corpus.audio(i, 16000) for i in range(12))
                    for k in [int(np.correlate(c, wave, "valid").argmax())]
                    if np.allclose(c[k : k + 4000], wave, atol=1e-4)
                )
                starts.add(whole[1])
    assert len(starts) > 20
    assert max(starts) > 2000


def test_class_weights_by_a_slow_loop() -> None:
    truth = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 0]], dtype=bool)
    expected = [1 / 4, 1 / 4, 1 / 4, 1 / 2, 1 / 4 + 1 / 2, 1 / 2, 1 / 2]
    np.testing.assert_allclose(class_weights(truth), np.array(expected) / sum(expected))


def test_balanced_drawing_evens_the_classes_out(tones: Callable[..., Corpus]) -> None:
    corpus = tones(40)
    truth = np.zeros((40, 2), dtype=bool)
    truth[:36, 0] = truth[36:, 1] = True
    config = FinetuneConfig(batch=20, balanced=True)
    made = Batches(Clips(corpus, 16000, 100), np.arange(40), truth, config, mixup=0, most=None, seed=0)
    drawn = np.concatenate([made._order(epoch) for epoch in range(50)])
    assert 0.45 < truth[drawn, 1].mean() < 0.55
    assert len(made._order(0)) == 40


@given(seed=st.integers(0, 10_000), freq=st.sampled_from([0.0, 0.3, 1.0]), time=st.sampled_from([0.0, 0.3, 1.0]))
def test_masks_are_one_band_and_one_stretch_within_their_limits(seed: int, freq: float, time: float) -> None:
    B, T, F = 4, 40, 16
    lengths = torch.tensor([40, 25, 10, 1])
    features = Features(torch.ones(B, T, F), lengths, 100.0, pad=-2.0)
    masked = mask_spectrum(features, freq, time, torch.Generator().manual_seed(seed))
    hidden = masked.x == -2.0
    assert bool(((masked.x == 1) | hidden).all())
    for b in range(B):
        bands, frames = hidden[b].all(0), hidden[b].all(1)
        n = int(lengths[b])
        assert int(frames.sum()) <= time * n
        assert int(bands.sum()) <= freq * F or bool(hidden[b].all())
        assert not frames[n:].any() or bool(bands.all())
        for line in (bands, frames):
            place = line.nonzero().squeeze(1)
            assert len(place) == 0 or int(place[-1] - place[0]) + 1 == len(place)
        # Nothing but whole bands and whole frames is hidden.
        assert torch.equal(hidden[b], bands | frames.unsqueeze(1))


def test_masks_of_waveforms_hide_time_only() -> None:
    features = Features(torch.ones(3, 1000), torch.tensor([1000, 1000, 500]), 16000.0)
    masked = mask_spectrum(features, 1.0, 0.5, torch.Generator().manual_seed(0))
    shares = (masked.x == 0).float().mean(1)
    assert bool((shares <= 0.5).all())
    assert float(shares.max()) > 0


def test_the_longest_window_is_what_the_encoder_takes() -> None:
    frontend = KaldiFbankConfig(mels=32).build()
    encoder = SpectrogramTransformerConfig(width=32, depth=1, heads=1, mels=32, frames=64).build()
    most = longest_window(frontend, encoder, None)
    assert most is not None
    assert frontend.frames(most) == 64
    assert frontend.frames(most + 1) == 65
    assert longest_window(frontend, encoder, 0.25) == 4000
    encoder.max_frames = None
    assert longest_window(frontend, encoder, None) is None


def test_clips_are_read_once_and_broken_ones_listed(tones: Callable[..., Corpus]) -> None:
    corpus = tones(12)
    (corpus.root / corpus[3].file).write_bytes(b"RIFF no sound")
    clips = Clips(corpus, 16000, 100)
    told: list[int] = []
    present = clips.read_all(range(12), told.append)
    assert present.tolist() == [i for i in range(12) if i != 3]
    assert list(clips.missing) == [3]
    assert told == list(range(1, 13))
    for i in range(12):
        if i != 3:
            (corpus.root / corpus[i].file).unlink()
    np.testing.assert_allclose(clips[0].shape, (6400,))


def test_clips_are_read_together_by_length(tones: Callable[..., Corpus]) -> None:
    corpus = tones(12)
    clips = Clips(corpus, 16000, 100)
    together = list(reading_order(clips, np.arange(12), True, 5))
    assert sorted(i for group in together for i in group) == list(range(12))
    assert max(len(group) for group in together) == 5
    apart = list(reading_order(clips, np.arange(12), False, 5))
    assert sorted(i for group in apart for i in group) == list(range(12))
    assert all(len({len(clips[i]) for i in group}) == 1 for group in apart)


def test_layers_on_other_grids_are_predicted_as_if_each_clip_were_alone(
    tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    config = SliceCNNConfig(channels=(8, 8, 8), mels=32)
    plain = FrozenEncoder(KaldiFbankConfig(mels=32).build(), config.build(), name="slices")
    layers = plain.reading(LAYERS)
    corpus = tones(12, seconds=[0.4, 0.5] * 6)
    card = TaskCard(name="toy", labels="single", protocol="folds", folds=3)
    how: dict[str, Any] = {
        "config": FinetuneConfig(epochs=1, batch=6, precision="fp32"),
        "controls": False,
        "device": "cpu",
        "progress": False,
    }
    (output,) = finetune_encoder(plain, card, corpus, out=tmp_path / "output", **how)
    assert not any("were padded in training" in note for note in output.notes)
    (found,) = finetune_encoder(layers, card, corpus, out=tmp_path, **how)
    padded = "clips of several lengths were padded in training, which changes what is read of this encoder"
    assert padded in found.notes
    saved = load(tmp_path / "finetuned" / found.key, device="cpu")
    predictions: Any = load_predictions(tmp_path / str(found.predictions))
    mine = predictions.fold == [chosen["fold"] for chosen in found.chosen].index(saved.card["fold"])
    names = {f"{clip.file}@{clip.start:.6f}": row for row, clip in enumerate(corpus)}
    rows = [names[unit] for unit in predictions.names[mine]]
    assert len({len(corpus.audio(row, 16000)) for row in rows}) == 2
    alone = np.stack([saved.predict(corpus.audio(row, 16000), 16000) for row in rows])
    np.testing.assert_allclose(predictions.scores[0][mine], alone, atol=1e-5)
