"""wav2vec2, w2v-bert and decoar2: the published constants, and recipes that can be built, stored and described."""

from __future__ import annotations

import pytest

from auricle.encoders.conformer import ConformerConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.contrastive.quantised_contrast import QuantisedContrastConfig
from auricle.objectives.masks.spans import BernoulliSpanMask, SpanMask
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.targets.code_uses import CodeDiversityConfig, CodeLabelsConfig, CodeRegressionConfig
from auricle.objectives.targets.learned_codes import LearnedCodesConfig
from auricle.recipes import Recipe, get_recipe
from auricle.recipes.building import build

NAMES = ("wav2vec2", "w2v-bert", "decoar2")


def objective(recipe: Recipe) -> MaskedPredictionConfig:
    assert isinstance(recipe.objective, MaskedPredictionConfig)
    return recipe.objective


def codes(recipe: Recipe) -> LearnedCodesConfig:
    found = objective(recipe).terms[0]
    assert isinstance(found, LearnedCodesConfig)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_every_field_is_filled_and_survives_json(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    assert Recipe.from_json(recipe.to_json()) == recipe
    notes = recipe.notes
    for field in ("faithful", "not_specified", "cost", "when_to_use"):
        assert getattr(notes, field), field
    assert notes.deviations or size == "paper"
    assert notes.reference.title
    assert notes.reference.authors
    assert notes.reference.arxiv
    assert notes.reference.section


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_size_is_small(name: str) -> None:
    _, encoder, made = build(get_recipe(name), 0)
    assert 1e6 < sum(p.numel() for module in (encoder, made) for p in module.parameters()) < 6e6


def test_wav2vec2_has_its_published_constants() -> None:
    recipe = get_recipe("wav2vec2", "paper")
    own, found = objective(recipe), codes(recipe)
    assert own.mask == SpanMask(p=0.65, length=10, min_spans=2, same_count=True)
    assert (own.hide, own.fill) == ("token", "learned")
    assert (found.groups, found.entries, found.width, found.dropout) == (2, 320, 256, 0.1)
    assert (found.temperature.first, found.temperature.end, found.temperature.factor) == (2.0, 0.5, 0.999995)
    assert found.uses == (
        QuantisedContrastConfig(dim=256, distractors=100, temperature=0.1), CodeDiversityConfig(weight=0.1)
    )  # fmt: skip
    assert own.terms[1] == StemPenaltyConfig(weight=10.0)
    assert recipe.encoder == WaveformTransformerConfig()
    assert recipe.encoder.stem_gradient == 0.1
    assert recipe.window.samples(16_000) == 250_000
    assert (recipe.window.variable, recipe.loader.buckets, recipe.loader.batch_seconds) == (True, 16, 5600)
    train = recipe.train
    assert (train.steps, train.warmup_steps, train.lr, train.schedule) == (400_000, 32_000, 5e-4, "linear")
    assert (train.betas, train.eps, train.weight_decay) == ((0.9, 0.98), 1e-6, 0.01)


def test_wav2vec2_has_as_many_parameters_as_published() -> None:
    _, encoder, made = build(get_recipe("wav2vec2", "paper"), 0)
    count = sum(p.numel() for module in (encoder, made) for p in module.parameters())
    # 94.37 M and what the contrast needs: 95.0 M, counted in transformers' Wav2Vec2ForPreTraining.
    assert count == 95_044_608


def test_w2v_bert_has_its_published_constants() -> None:
    recipe = get_recipe("w2v-bert", "paper")
    own, found = objective(recipe), codes(recipe)
    assert own.mask == BernoulliSpanMask(start=0.065, length=10)
    assert (own.hide, own.fill, own.fill_std) == ("token", "noise", 0.1)
    assert (found.groups, found.entries, found.width) == (1, 1024, 1024)
    contrast, diversity, labels = found.uses
    assert isinstance(contrast, QuantisedContrastConfig)
    assert (contrast.source, contrast.distractors, contrast.temperature) == ("layer 12", 100, 0.1)
    assert diversity == CodeDiversityConfig(weight=0.1)
    # As re-implemented in WeNet.
    assert labels == CodeLabelsConfig(source="encoder", weight=1.0, ramp_steps=recipe.train.warmup_steps)
    assert own.terms[1] == StemPenaltyConfig(of="tokens", weight=0.01, name="feature_penalty")
    assert isinstance(recipe.encoder, ConformerConfig)
    assert (recipe.encoder.width, recipe.encoder.depth, recipe.encoder.subsampling) == (1024, 24, "conv2d")
    assert recipe.encoder.mels == 80
    assert (recipe.loader.batch, recipe.train.steps) == (2048, 400_000)


def test_decoar2_has_its_published_constants() -> None:
    recipe = get_recipe("decoar2", "paper")
    found = codes(recipe)
    assert (found.source, found.groups, found.entries) == ("encoder", 2, 320)
    regression, diversity = found.uses
    assert isinstance(regression, CodeRegressionConfig)
    assert regression.measure == "l1"
    assert diversity == CodeDiversityConfig(weight=0.1)
    encoder = recipe.encoder
    assert isinstance(encoder, SpectrogramTransformerConfig)
    assert (encoder.width, encoder.depth, encoder.heads, encoder.patch) == (768, 12, 12, (1, 80))
    assert (encoder.positions, encoder.conv_position.kernel, encoder.conv_position.groups) == ("conv", 128, 16)
    assert encoder.layer_drop == 0.05
    assert objective(recipe).hide == "token"
