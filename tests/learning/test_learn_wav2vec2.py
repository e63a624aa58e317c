"""wav2vec 2.0 learns: hidden steps of spoken words are told apart by their codes, without collapse."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2_LAYER
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.targets.learned_codes import LearnedCodesConfig, TemperatureConfig
from auricle.recipes import Recipe, get_recipe
from learning import lesson

# At 8 kHz, the same hop of 20 ms with a convolution less: half the work.
STEM = WAV2VEC2_LAYER.replace(layers=((32, 10, 5), (32, 3, 2), (32, 3, 2), (32, 3, 2), (32, 2, 2), (32, 2, 2)))


def shrunk(recipe: Recipe) -> Recipe:
    codes, penalty = recipe.objective.terms
    assert isinstance(codes, LearnedCodesConfig)
    contrast, diversity = codes.uses
    codes = codes.replace(
        uses=(contrast.replace(dim=64, distractors=20), diversity.replace(weight=0.2)), entries=16, width=64,
        dropout=0.0,
        temperature=TemperatureConfig(first=2.0, end=0.5, factor=0.993),
    )  # fmt: skip
    return recipe.replace(
        frontend=recipe.frontend.replace(rate=8000),
        window=recipe.window.replace(seconds=0.5),
        encoder=recipe.encoder.replace(
            sample_rate=8000, norm="pre", stem=STEM, width=64, depth=2, heads=2, input_dropout=0.0, dropout=0.0,
            position=ConvPositionConfig(kernel=32, groups=4),
        ),
        objective=recipe.objective.replace(mask=SpanMask(p=0.65, length=4), terms=(codes, penalty)),
    )  # fmt: skip


@pytest.mark.real
def test_wav2vec2_learns(shared_audio: Path) -> None:
    made = lesson(shrunk(get_recipe("wav2vec2")), shared_audio, "arabic_commands", steps=220, batch=16, lr=4e-3)
    before, after = made.learn()
    _, control = made.learn(shuffled=True)
    baseline = min(after["contrast/chance"], after["contrast/position"])
    # Chance and position, not the untrained loss, are to be beaten: codes that coincide make both easier.
    assert after["contrast"] < 0.8 * baseline
    assert after["contrast/accuracy"] > 0.15 + max(before["contrast/accuracy"], after["contrast/position_accuracy"])
    # A contrast is also won by using two codes only.
    assert after["quantiser/used_share"] > 0.5
    assert after["contrast/rank_prediction"] > 4
    assert after["stem_penalty"] < before["stem_penalty"]
    # With the targets of other clips nothing but the place in the clip can be learned.
    assert control["contrast"] > 0.95 * min(control["contrast/chance"], control["contrast/position"])
    assert after["contrast"] < control["contrast"] - 0.5
    assert after["contrast/accuracy"] > 0.15 + control["contrast/accuracy"]
