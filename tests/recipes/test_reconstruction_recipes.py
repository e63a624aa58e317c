"""Published constants of the methods that reconstruct, and tell apart, hidden patches and frames."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.frontends.clip_log_mel import ClipNormLogMelConfig
from auricle.audio.frontends.presets import preset
from auricle.audio.view_plan import ViewPlanConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.state_space import StateSpaceConfig
from auricle.objectives.contrastive.patch_contrast import PatchContrastConfig
from auricle.objectives.masks.blocks import ClusterMask
from auricle.objectives.masks.corruption import CorruptionChainConfig, DiceSpansConfig
from auricle.objectives.masks.samplers import GroupMask, RandomMask
from auricle.objectives.predictive.altered_regression import AlteredRegressionConfig
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.heads import LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.placed_decoder import PlacedDecoderConfig
from auricle.objectives.predictive.window_decoder import WindowDecoderConfig
from auricle.recipes import Recipe, get_recipe


def objective(recipe: Recipe) -> MaskedPredictionConfig:
    assert isinstance(recipe.objective, MaskedPredictionConfig)
    return recipe.objective


def transformer(recipe: Recipe) -> SpectrogramTransformerConfig:
    assert isinstance(recipe.encoder, SpectrogramTransformerConfig)
    return recipe.encoder


def hidden(recipe: Recipe) -> tuple[int, int]:
    """Return how many tokens are hidden of how many, in one window of the recipe."""
    frontend, encoder = recipe.frontend.build(), recipe.encoder.replace(width=48, depth=2).build()
    frames = frontend.frames(recipe.window.samples(frontend.rate))
    grid = encoder.grid(frames)
    mask = objective(recipe).mask
    assert mask is not None
    assert encoder.max_frames is None or frames <= encoder.max_frames
    return int(mask.draw(grid, 1, torch.Generator()).masked.sum()), grid.tokens


@pytest.mark.parametrize(
    ("name", "masked", "tokens"),
    [
        # 0.8 of 512; visible ones are counted down: 102.
        ("audio-mae", 410, 512),
        ("maskspec", 372, 496),
        ("msm-mae", 49, 65),
        ("dasheng", 189, 252),
        # 198 frames of 128 bins.
        ("hear", 78, 104),
        ("ssast", 400, 512),
        ("ssamba", 300, 512),
        ("mae-ast", 384, 512),
        ("ssam", 125, 250),
    ],
)
def test_as_many_tokens_are_hidden_as_published(name: str, masked: int, tokens: int) -> None:
    assert hidden(get_recipe(name, "paper")) == (masked, tokens)


def test_audio_mae() -> None:
    recipe = get_recipe("audio-mae", "paper")
    assert (recipe.train.lr, recipe.train.weight_decay, recipe.train.betas) == (4e-4, 1e-4, (0.9, 0.95))
    assert recipe.train.steps == 11 * recipe.train.warmup_steps
    assert recipe.loader.batch == 512
    assert objective(recipe).decoder == WindowDecoderConfig(
        width=512, depth=16, heads=16, window=4, shift=(2, 0), position_grid="released"
    )
    assert isinstance(recipe.augment, ViewPlanConfig)
    assert [type(op).__name__ for op in recipe.augment.wave] == ["WaveRollConfig", "WaveGainConfig"]
    encoder = transformer(recipe)
    assert (encoder.width, encoder.depth, encoder.heads, encoder.positions, encoder.cls) == (
        768,
        12,
        12,
        "sincos",
        True,
    )


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("maskspec", (512, 8, 16)),
        ("msm-mae", (384, 4, 6)),
        ("dasheng", (512, 8, 16)),
        ("hear", (512, 8, 16)),
        ("mae-ast", (768, 2, 12)),
    ],
)
def test_plain_decoders(name: str, decoder: tuple[int, int, int]) -> None:
    found = objective(get_recipe(name, "paper")).decoder
    assert isinstance(found, TransformerDecoderConfig)
    assert (found.width, found.depth, found.heads) == decoder


def test_overrides_of_audio_mae() -> None:
    spec = get_recipe("maskspec", "paper")
    assert spec.frontend == preset("maskspec128")
    front = spec.frontend
    assert (front.rate, front.preemphasis, front.high, front.window) == (32000, 0.97, 15000.0, "hanning")
    assert (spec.train.lr, spec.train.weight_decay, spec.train.min_lr) == (1e-3 * 512 / 256, 0.05, 0.0)
    assert spec.train.steps == 10 * spec.train.warmup_steps == 400 * 3906
    msm = get_recipe("msm-mae", "paper")
    assert msm.train.lr == pytest.approx(1.5e-4 * msm.loader.batch / 128)
    assert msm.train.steps == 10 * msm.train.warmup_steps
    assert (msm.train.weight_decay, msm.train.min_lr, msm.train.betas) == (0.05, 0.0, (0.9, 0.95))
    assert objective(msm).decoder.positions == "sinusoid_bands"
    assert transformer(msm).pooling == "concat_freq"
    large = get_recipe("dasheng", "paper")
    assert objective(large).mask == GroupMask(group=2, keep=0.25)
    assert (large.train.steps, large.train.lr, large.train.weight_decay, large.loader.batch) == (
        1_500_000,
        3e-4,
        0.01,
        256,
    )
    assert (transformer(large).patch, transformer(large).input_norm) == ((4, 64), "batch")
    assert objective(large).decoder.positions == "learned_zero"
    assert (large.train.betas, large.train.min_lr) == ((0.9, 0.999), pytest.approx(3e-4 / 10))
    hear = transformer(get_recipe("hear", "paper"))
    assert (hear.width, hear.depth) == (1024, 24)


@pytest.mark.parametrize("name", ["mockingjay", "audio-albert", "tera"])
def test_masked_acoustic_models(name: str) -> None:
    recipe = get_recipe(name, "paper")
    made = objective(recipe)
    spans = made.corruption.parts[0] if isinstance(made.corruption, CorruptionChainConfig) else made.corruption
    assert spans == DiceSpansConfig(share=0.15, span=7, zero=0.8, swap=0.1)
    assert made.mask is None
    (term,) = made.terms
    assert isinstance(term, AlteredRegressionConfig)
    assert term.measure == "l1"
    encoder = transformer(recipe)
    assert (encoder.width, encoder.depth, encoder.heads, encoder.dropout) == (768, 3, 12, 0.1)
    assert encoder.shared_layers == (name == "audio-albert")
    assert (recipe.train.steps, recipe.train.warmup_steps, recipe.train.lr) == (1_000_000, 70_000, 2e-4)
    assert (recipe.train.schedule, recipe.train.min_lr, recipe.train.clip_norm) == ("linear", 0.0, 5.0)
    assert recipe.loader.batch == 32
    assert isinstance(recipe.frontend, ClipNormLogMelConfig)
    assert recipe.frontend.build().frames(recipe.window.samples(16000)) == pytest.approx(1500, abs=1)


def test_tera_alters_three_ways() -> None:
    corruption = objective(get_recipe("tera", "paper")).corruption
    assert isinstance(corruption, CorruptionChainConfig)
    _, band, noise = corruption.parts
    assert band.to_json() == {"kind": "ChannelBandConfig", "widest": 0.2}
    assert noise.to_json() == {"kind": "MagnitudeNoiseConfig", "probability": 0.15, "std": 0.2, "marks": True}


def test_audio_albert_has_one_block_whatever_its_depth() -> None:
    encoder = transformer(get_recipe("audio-albert", "tiny"))
    counts = {sum(p.numel() for p in encoder.replace(depth=depth).build().parameters()) for depth in (3, 6, 12)}
    assert len(counts) == 1


@pytest.mark.parametrize("name", ["ssast", "ssamba", "mae-ast"])
def test_joint_terms(name: str) -> None:
    made = objective(get_recipe(name, "paper"))
    contrast, patch = made.terms
    assert isinstance(contrast, PatchContrastConfig)
    over = "patches" if name == "mae-ast" else "predictions"
    assert (contrast.weight, contrast.over, contrast.alike) == (1.0, over, "negatives")
    assert (patch.to_json()["weight"], patch.to_json()["measure"]) == (10.0, "l2")
    if name != "mae-ast":
        assert isinstance(made.mask, ClusterMask)
        assert (made.mask.smallest, made.mask.largest, made.separate, made.hide) == (3, 5, True, "token")


def test_mae_ast() -> None:
    recipe = get_recipe("mae-ast", "paper")
    made, encoder = objective(recipe), transformer(recipe)
    assert (made.mask, made.hide, made.separate) == (RandomMask(0.75), "drop", False)
    assert [term.head for term in made.terms] == [LinearHeadConfig("fan_in"), LinearHeadConfig("fan_in")]
    assert made.decoder == PlacedDecoderConfig(
        768, 2, 12, positions="sinusoid", block_norm="post", pre_norm=True, dropout=0.1
    )
    assert (encoder.positions, encoder.block_norm, encoder.cls, encoder.dropout, encoder.layer_drop) == (
        "sinusoid", "post", False, 0.1, 0.05,
    )  # fmt: skip
    train = recipe.train
    assert (train.betas, train.weight_decay, train.steps, train.warmup_steps, train.clip_norm, train.lr) == (
        (0.9, 0.98), 0.01, 400_000, 32_000, 10.0, 1e-4,
    )  # fmt: skip
    # Half of the corpus's deviation, whatever it is.
    assert (recipe.frontend.divisor, recipe.measure_statistics) == (2.0, True)


def test_state_space_sizes() -> None:
    ssamba, ssam = get_recipe("ssamba", "paper").encoder, get_recipe("ssam", "paper").encoder
    assert isinstance(ssamba, StateSpaceConfig)
    assert isinstance(ssam, StateSpaceConfig)
    assert (ssamba.width, ssamba.depth, ssamba.bidirectional, ssamba.pairs) == (768, 24, True, "published")
    assert (ssam.width, ssam.depth, ssam.states, ssam.expand, ssam.patch) == (768, 12, 24, 3, (4, 16))
    assert objective(get_recipe("ssam", "paper")).mask == RandomMask(0.5)
    train = get_recipe("ssamba", "paper").train
    assert (get_recipe("ssamba", "paper").loader.batch, train.lr, train.weight_decay) == (64, 1e-4, 5e-8)
    assert (train.betas, train.warmup_steps, ssamba.norm_twice) == ((0.95, 0.999), 1000, True)
    assert (get_recipe("ssam", "paper").loader.batch, get_recipe("ssam", "paper").train.lr) == (1024, 1.5e-4)
