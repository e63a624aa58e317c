"""PASE's workers beat their baselines on held-out real speech, and fall back where targets are other clips'."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.audio.ops.crop import CropConfig
from auricle.encoders.pase import PaseConfig
from auricle.recipes import get_recipe, small_scale
from learning import Lesson, lesson

pytestmark = pytest.mark.real
# Channels of the seven blocks; kernels and strides stay the published ones.
_CHANNELS = (16, 16, 32, 32, 64, 64, 64)


def made(folder: Path, steps: int) -> Lesson:
    recipe = get_recipe("pase", "tiny")
    published = PaseConfig().blocks
    blocks = tuple((channels, *block[1:]) for channels, block in zip(_CHANNELS, published, strict=True))
    recipe = recipe.replace(
        encoder=PaseConfig(filters=16, filter_taps=101, blocks=blocks, width=64),
        window=small_scale.window(1.3),
        augment=recipe.augment.replace(crop=CropConfig(seconds=0.6, each=True)),
        objective=recipe.objective.replace(statistics=60),
    )
    return lesson(recipe, folder, "nemo_pl", steps=steps, batch=16, lr=3e-3)


def test_workers_beat_their_baselines(shared_audio: Path) -> None:
    before, after = made(shared_audio, 60).learn()
    # Targets are standardised: 1 is who predicts the corpus's mean, `constant` who knows the batch's.
    assert after["lps"] < 0.75 * after["lps/constant"]
    assert after["prosody"] < 0.7 * after["prosody/constant"]
    assert after["mfcc"] < 0.95 * after["mfcc/constant"]
    for name in ("lps", "prosody", "mfcc"):
        assert after[f"{name}/position_ratio"] < 0.9
        assert after[name] < before[name]
    assert after["gim/pair_accuracy"] > 0.6
    assert after["frames/rank_frames"] > 5


def test_workers_learn_nothing_of_other_clips(shared_audio: Path) -> None:
    _, after = made(shared_audio, 25).learn(shuffled=True)
    for name in ("lps", "prosody", "mfcc"):
        assert after[name] > 0.95 * after[f"{name}/constant"]
    for name in ("lim", "gim", "spc"):
        assert abs(after[f"{name}/pair_accuracy"] - 0.5) < 0.1
