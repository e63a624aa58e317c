"""HuBERT's and WavLM's first iteration on a small log-mel encoder of 50 tokens a second, which learns within a minute.

The published stem of convolutions over samples needs more steps than a test may take: see benchmarks/paradigms.md.
"""

from __future__ import annotations

from pathlib import Path

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe
from learning import Lesson, lesson


def cluster_lesson(recipe: Recipe, folder: Path, steps: int) -> Lesson:
    """Shrink an iteration to windows of 1 s, 30 clusters, and an encoder of 2 layers."""
    codes, *rest = recipe.objective.terms
    assert isinstance(codes, CodeConfig)
    codes = codes.replace(target=codes.target.replace(clusters=30, least_clips=200))
    small = recipe.replace(
        frontend=LogMelConfig(mels=40),
        measure_statistics=True,
        encoder=SpectrogramTransformerConfig(
            width=96, depth=2, heads=2, mels=40, frames=102, patch=(2, 40), cls=False, pooling="mean", drop_path=0.0
        ),
        objective=recipe.objective.replace(terms=(codes, *rest)),
        window=small_scale.window(1.0),
        train=recipe.train.replace(precision="fp32"),
    )
    return lesson(small, folder, steps=steps, batch=16, lr=2e-3)
