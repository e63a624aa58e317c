"""The published constants of CPC, APC, VQ-APC, wav2vec and vq-wav2vec."""

from __future__ import annotations

import pytest

from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig
from auricle.encoders.parts.quantisers.kmeans import KMeansLayerConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig, WaveformRecurrentConfig
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.objectives.predictive.future_prediction import FuturePredictionConfig
from auricle.objectives.targets.learned_codes import TemperatureConfig
from auricle.recipes import get_recipe
from auricle.recipes.building import build


def test_cpc() -> None:
    recipe = get_recipe("cpc", "paper")
    encoder, objective = recipe.encoder, recipe.objective
    assert isinstance(encoder, WaveformRecurrentConfig)
    assert isinstance(objective, FutureContrastConfig)
    assert [layer[1:] for layer in encoder.stem.layers] == [(10, 5), (8, 4), (4, 2), (4, 2), (4, 2)]
    assert (encoder.stem.width, encoder.width, encoder.cell, encoder.depth) == (256, 256, "lstm", 2)
    assert recipe.window.samples(16000) == 20480
    assert encoder.stem.frames(20480) == 128
    assert (objective.steps, objective.first, objective.negatives) == (12, 1, 128)
    assert (objective.pool, objective.column, objective.loss, objective.scale) == ("column", "speaker", "nce", "mean")
    assert recipe.train.lr == 2e-4
    # A ramp over 10 of 200 epochs, which the released code calls necessary for other predictors than transformers.
    assert recipe.train.warmup_steps * 20 == recipe.train.steps
    tiny = get_recipe("cpc", "tiny")
    assert (tiny.encoder.depth, tiny.objective.pool, tiny.train.lr) == (1, "clip", 1e-3)
    assert tiny.window.samples(16000) == 20480


def test_apc() -> None:
    recipe = get_recipe("apc", "paper")
    assert recipe.encoder == FrameRecurrentConfig(
        width=512, depth=3, cell="gru", residual=True, dropout=0.1, mels=80, frame_rate=100.0
    )
    assert recipe.objective == FuturePredictionConfig(ahead=3, measure="l1")
    assert (recipe.train.lr, recipe.loader.batch, recipe.train.clip_norm) == (1e-4, 32, 1.0)
    _, encoder, objective = build(recipe, 0)
    assert round(sum(p.numel() for p in (*encoder.parameters(), *objective.parameters())) / 1e6, 3) == 4.105


def test_vq_apc() -> None:
    recipe = get_recipe("vq-apc", "paper")
    encoder, objective = recipe.encoder, recipe.objective
    assert isinstance(encoder, FrameRecurrentConfig)
    assert isinstance(objective, FuturePredictionConfig)
    assert encoder.quantised_after == (3,)
    assert (encoder.quantiser.entries, encoder.quantiser.groups, encoder.quantiser.temperature) == (512, 1, 0.5)
    assert (objective.ahead, objective.diversity, objective.temperature) == (5, 0.0, None)
    assert recipe.train.steps * 10 == get_recipe("apc", "paper").train.steps


def test_wav2vec() -> None:
    recipe = get_recipe("wav2vec", "paper")
    encoder, objective = recipe.encoder, recipe.objective
    assert isinstance(encoder, WaveformConvolutionConfig)
    assert isinstance(objective, FutureContrastConfig)
    assert isinstance(recipe.frontend, WaveformConfig)
    assert encoder.kernels == tuple(range(2, 14))
    assert encoder.width == encoder.stem.width == 512
    assert (encoder.stem.receptive_field, encoder.stem.hop, encoder.residual_scale) == (465, 160, 0.5)
    # The first step that shares no sample with what was heard.
    assert objective.first == -(-encoder.stem.receptive_field // encoder.stem.hop) == 3
    assert (objective.steps, objective.negatives, objective.pool) == (12, 10, "clip")
    assert (objective.loss, objective.negative_weight, objective.scale) == ("binary", 1.0, "sum")
    assert objective.bias
    assert recipe.window.samples(16000) == 150_000
    train = recipe.train
    assert (train.lr, train.schedule, train.warmup_steps, train.steps) == (5e-3, "cosine", 500, 400_000)


def test_vq_wav2vec() -> None:
    recipe = get_recipe("vq-wav2vec", "paper")
    encoder, objective = recipe.encoder, recipe.objective
    assert isinstance(encoder, WaveformConvolutionConfig)
    assert isinstance(objective, FutureContrastConfig)
    assert (len(encoder.stem.layers), encoder.stem.activation, encoder.activation) == (8, "gelu", "gelu")
    quantiser = encoder.quantiser
    assert isinstance(quantiser, GumbelLayerConfig)
    assert (quantiser.groups, quantiser.entries, quantiser.shared, quantiser.depth) == (2, 320, True, 2)
    assert objective.temperature == TemperatureConfig(2.0, 0.5, 0.999995)
    assert (objective.source, objective.loss, recipe.train.lr) == ("codes", "binary", 1e-5)
    assert KMeansLayerConfig().commitment == 0.25


@pytest.mark.parametrize("quantiser", [KMeansLayerConfig(2, 32)])
def test_vq_wav2vec_takes_k_means(quantiser: KMeansLayerConfig) -> None:
    recipe = get_recipe("vq-wav2vec")
    recipe = recipe.replace(encoder=recipe.encoder.replace(quantiser=quantiser))  # type: ignore[call-arg]
    _, encoder, objective = build(recipe, 0)
    assert isinstance(objective.config, FutureContrastConfig)  # type: ignore[attr-defined]
    assert not len(objective.quantisers)  # type: ignore[arg-type]
    assert sum(p.numel() for p in encoder.parameters()) > 1e6
