"""data2vec and data2vec 2.0 learn latents that no place and no constant tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.audio.frontends.presets import preset
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.recipes import get_recipe
from learning import Lesson, lesson

pytestmark = pytest.mark.real


def check(school: Lesson) -> None:
    """Learn, and learn from other clips' targets."""
    _, after = school.learn()
    _, control = school.learn(shuffled=True)
    assert after["latent"] < 0.9 * min(after["latent/constant"], after["latent/position"])
    # Neither the target nor what is predicted has become constant.
    assert after["latent/std_target"] > 0.1
    assert after["latent/std_prediction"] > 0.1
    assert control["latent"] > 0.95 * min(control["latent/constant"], control["latent/position"])


def test_data2vec(shared_audio: Path) -> None:
    # 0.66 s, and a stem of three convolutions for seven; the hop stays 20 ms.
    recipe = get_recipe("data2vec", "tiny")
    stem = recipe.encoder.stem.replace(layers=((32, 20, 10), (32, 8, 8), (32, 4, 4)))
    recipe = recipe.replace(
        window=recipe.window.replace(seconds=0.66),
        encoder=recipe.encoder.replace(stem=stem, width=96, depth=4, heads=4),
        objective=recipe.objective.replace(teacher=TeacherConfig(0.98, 0.998, scope="context")),
    )
    check(lesson(recipe, shared_audio, steps=120, batch=16, lr=2e-3))


def test_data2vec2(shared_audio: Path) -> None:
    # On frames of a filter bank: behind a stem on samples the same takes several times the steps of a test.
    recipe = get_recipe("data2vec2", "tiny")
    encoder = layout(
        "eat", "tiny", width=96, depth=4, heads=4, patch=(2, 128), frames=96, cls=False, pooling="mean",
        positions="learned", position_init="normal",
    )  # fmt: skip
    recipe = recipe.replace(
        window=recipe.window.replace(seconds=0.96),
        frontend=preset("kaldi128"),
        measure_statistics=True,
        encoder=encoder,
        objective=recipe.objective.replace(
            teacher=TeacherConfig(0.98, 0.998, scope="context"), decoder=Conv1dDecoderConfig(96, 2, groups=8)
        ),
    )
    check(lesson(recipe, shared_audio, steps=80, batch=16, lr=2e-3))
