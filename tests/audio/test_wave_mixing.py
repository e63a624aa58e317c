from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from audio_clips import RATE, always, ragged, rms, seeded

from auricle.audio.ops.wave_mixing import OverlapConfig, UtteranceMixConfig


def test_overlap_adds_another_clip_at_its_ratio():
    audio = ragged(8000, 8000, 8000, 5000)
    made, certified = always(OverlapConfig()).build()(audio, seeded())
    for i, n in enumerate(audio.lengths.tolist()):
        partner = int(certified["partner"][i])
        assert partner != i
        added = made.wave[i, :n] - audio.wave[i, :n]
        found = 20 * math.log10(rms(audio.wave[i, :n]) / rms(added))
        assert found == pytest.approx(float(certified["overlap_db"][i]), abs=0.01)
        source = audio.wave[partner, : int(audio.lengths[partner])].double().numpy()
        around = np.concatenate([source] * (2 + n // len(source)))
        likeness = scipy.signal.correlate(around, added.double().numpy(), "valid")
        place = int(np.argmax(likeness))
        piece = around[place : place + n]
        assert np.corrcoef(piece, added.double().numpy())[0, 1] > 0.9999


def test_mixing_follows_its_draws_and_spares_at_least_half():
    audio = ragged(*[4000] * 400)
    made, certified = UtteranceMixConfig(noise_share=0.3).build()(audio, seeded())
    chosen = ~certified["mix_db"].isnan()
    assert chosen.double().mean().item() == pytest.approx(0.2, abs=0.06)
    noise = certified["noise"]
    assert noise[chosen].double().mean().item() == pytest.approx(0.3, abs=0.15)
    assert ((certified["partner"] >= 0) == (chosen & ~noise)).all()
    for i in chosen.nonzero()[:, 0].tolist():
        first, length = (round(float(certified[k][i]) * RATE) for k in ("mix_start", "mix_seconds"))
        added = made.wave[i] - audio.wave[i]
        assert length <= 2000
        assert first + length <= 4001
        assert (added[:first] == 0).all()
        assert (added[first + length :] == 0).all()
        if length > 100:
            found = 20 * math.log10(rms(audio.wave[i]) / rms(added[first : first + length]))
            assert found == pytest.approx(float(certified["mix_db"][i]), abs=0.05)


def test_partners_are_clean_even_if_they_are_mixed_themselves():
    # Two clips, both mixed with each other: sequential mixing in place would put a clip into itself.
    audio = ragged(4000, 4000)
    made, certified = UtteranceMixConfig(p=1.0, noise_share=0.0, longest=0.5).build()(audio, seeded(2))
    assert certified["partner"].tolist() == [1, 0]
    for i, other in ((0, 1), (1, 0)):
        added = (made.wave[i] - audio.wave[i]).double().numpy()
        first, length = (round(float(certified[k][i]) * RATE) for k in ("mix_start", "mix_seconds"))
        piece = added[first : first + length]
        around = np.concatenate([audio.wave[other].double().numpy()] * 2)
        place = int(np.argmax(scipy.signal.correlate(around, piece, "valid")))
        assert np.corrcoef(around[place : place + length], piece)[0, 1] > 0.99999


def test_a_lone_clip_has_no_partner():
    audio = ragged(4000)
    for config in (OverlapConfig(), UtteranceMixConfig(noise_share=0.0)):
        made, certified = always(config).build()(audio, seeded())
        assert torch.equal(made.wave, audio.wave)
        assert certified["partner"].tolist() == [-1]
