"""The published constants of EAT, data2vec and their kin are in the recipes' `paper` sizes."""

from __future__ import annotations

import pytest

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.contract import Ability
from auricle.objectives.masks.blocks import BlockMask, InverseBlockMask
from auricle.objectives.masks.jepa import JepaMask
from auricle.objectives.masks.samplers import HalvesMask, RandomMask
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.block_predictor import BlockPredictorConfig
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig, Conv2dDecoderConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.joint_views import JointViewsConfig
from auricle.objectives.predictive.placed_decoder import PlacedDecoderConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.targets.teachers import TeacherClipTargetConfig, TeacherTargetConfig
from auricle.recipes import Recipe, get_recipe


def paper(name: str) -> tuple[Recipe, object]:
    made = get_recipe(name, "paper")
    return made, made.objective


def optimiser(recipe: Recipe) -> tuple[object, ...]:
    train = recipe.train
    return train.steps, train.lr, train.warmup_steps, train.schedule


def test_eat() -> None:
    recipe, o = paper("eat")
    assert recipe.augment == PlainViewsConfig()
    assert (o.mask, o.hide, o.clones) == (InverseBlockMask(0.8, 5, 0.07), "drop", 16)
    assert o.decoder == Conv2dDecoderConfig(width=768, depth=6, kernel=3, groups=16)
    assert o.teacher == TeacherConfig(0.9998, 0.99999, steps=100_000, scope="all")
    patch, clip = o.terms
    assert (patch.target.layers, patch.target.tensor, patch.target.per_layer, patch.target.after) == (
        0, "feedforward", "instance", "layer",
    )  # fmt: skip
    assert clip.target.tokens == patch.target
    assert (patch.reduce, clip.reduce, patch.dims, clip.where) == ("token_mean", "clip_sum", "sum/sqrt", "clip")
    assert (recipe.encoder.width, recipe.encoder.depth, recipe.encoder.patch) == (768, 12, (16, 16))
    assert recipe.frontend.build().frames(163_840) <= 1024 == recipe.encoder.frames
    assert (recipe.loader.batch, recipe.train.betas, recipe.train.weight_decay, recipe.train.clip_norm) == (
        48, (0.9, 0.95), 0.05, 4.0,
    )  # fmt: skip
    assert optimiser(recipe) == (400_000, 5e-4, 53_333, "cosine")


def test_data2vec() -> None:
    recipe, o = paper("data2vec")
    assert (o.mask, o.hide, o.decoder) == (SpanMask(0.65, 10), "token", NoDecoderConfig())
    assert o.teacher == TeacherConfig(0.999, 0.9999, steps=30_000, scope="context", positions="copied")
    assert o.fill_init == "uniform"
    (term,) = o.terms
    assert (term.target.layers, term.target.tensor, term.target.per_layer, term.target.after) == (
        8, "feedforward", "instance", "none",
    )  # fmt: skip
    assert (term.measure, term.dims, term.where) == ("l2", "sum/sqrt", "predicted")
    assert recipe.encoder.position.kernel == 19
    assert recipe.encoder.position.depth == 5
    assert recipe.loader.batch_seconds == 16 * 3_800_000 / 16_000
    assert optimiser(recipe) == (400_000, 5e-4, 12_000, "exponential")
    train = recipe.train
    assert (train.hold_steps, train.min_lr, train.eps, train.betas, train.weight_decay) == (
        0.9 * 400_000, 5e-6, 1e-6, (0.9, 0.98), 0.01,
    )  # fmt: skip
    assert (recipe.frontend.normalise, recipe.window.seconds) == ("clip", 20.0)


def test_dinosr() -> None:
    recipe, o = paper("dinosr")
    assert o.teacher == TeacherConfig(
        0.999, 0.9999, steps=30_000, frozen_after=200_001, scope="context", positions="copied"
    )
    (term,) = o.terms
    assert (term.target.layers, term.target.clusters, term.target.decay) == (8, 256, 0.9)
    assert (o.mask, recipe.train.warmup_steps, recipe.train.hold_steps) == (SpanMask(0.8, 10), 12_000, 0.47 * 400_000)


def test_data2vec2() -> None:
    recipe, o = paper("data2vec2")
    assert (o.mask, o.hide, o.clones) == (SpanMask(0.5, 5, min_spans=1), "drop", 8)
    assert o.decoder == Conv1dDecoderConfig(width=384, depth=4, kernel=7, groups=16, noise=0.01, input_dropout=0.1)
    assert (o.teacher.decay, o.teacher.end, o.teacher.steps) == (0.999, 0.99999, 75_000)
    assert o.terms[0].target.layers == 8
    assert recipe.encoder.bias == "alibi"
    assert optimiser(recipe) == (400_000, 7.5e-4, 8_000, "cosine")
    assert (recipe.train.hold_steps, recipe.train.min_lr, recipe.train.eps) == (0, 0.0, 1e-6)
    assert recipe.loader.batch_seconds == 8 * 1_000_000 / 16_000


def test_sslam() -> None:
    recipe, o = paper("sslam")
    assert isinstance(o, JointViewsConfig)
    assert (o.clones, o.views, recipe.augment.clean) == (8, 2, (0,))
    (mix,) = recipe.augment.feature
    assert (mix.protected, mix.fraction * 1024) == (2, 240)
    assert o.terms[1].target.tokens.layers == 1
    assert (o.terms[1].reduce, o.terms[1].weight) == ("clip_sum", 12 / 48)
    assert recipe.begin == "previous"
    assert recipe.previous == get_recipe("eat", "paper")
    assert optimiser(recipe) == (200_000, 5e-5, 25_000, "cosine")


def test_bat() -> None:
    recipe, o = paper("bat")
    assert (o.mask, o.clones) == (InverseBlockMask(0.8, 5, 0.07), 16)
    decoder = PlacedDecoderConfig(
        768, 6, 12, init="xavier_uniform", positions="learned_sincos", position_grid="released", block_norm="post",
        gate=True, cls=False,
    )  # fmt: skip
    assert (o.decoder, recipe.encoder.attention_gate, recipe.encoder.cls) == (decoder, True, True)
    assert [(term.reduce, term.weight, term.dims) for term in o.terms] == [
        ("token_mean", 1.0, "mean"), ("clip_mean", 1.0, "mean"),
    ]  # fmt: skip
    assert [term.target for term in o.terms] == [
        TeacherTargetConfig(tensor="block", after="layer"),
        TeacherClipTargetConfig(TeacherTargetConfig(tensor="block", after="layer")),
    ]
    assert [type(op).__name__ for op in recipe.augment.wave] == ["WaveRollConfig"]
    assert (recipe.frontend, recipe.encoder.position_init_grid) == (preset("bat128"), "released")
    assert recipe.frontend.build().frames(recipe.window.samples(16000)) == recipe.encoder.frames == 1024
    assert recipe.encoder.init == decoder.init == "xavier_uniform"
    assert (recipe.loader.batch, recipe.train.clip_norm) == (24 * 4, None)
    assert optimiser(recipe) == (400_000, 5e-4, 53_000, "cosine")
    # The clip's target is small: a class token without a head never comes down to it in a short run.
    heads = [type(get_recipe("bat", size).objective.terms[1].head).__name__ for size in ("paper", "tiny")]
    assert heads == ["IdentityHeadConfig", "LinearHeadConfig"]


def test_m2d() -> None:
    recipe, o = paper("m2d")
    assert (o.mask, o.decoder.width, o.decoder.depth) == (RandomMask(0.7), 512, 8)
    assert o.teacher == TeacherConfig(0.99995, 0.99999, scope="context", start="own")
    assert recipe.encoder.cls
    (term,) = o.terms
    assert (term.target.sight, term.target.layers, term.target.per_layer, term.measure) == (
        "masked", -1, "layer", "cosine",
    )  # fmt: skip
    assert (recipe.loader.batch, recipe.train.lr, recipe.train.clip_norm) == (2048, 3e-4 * 8, 3.0)
    assert recipe.train.warmup_steps * 15 == recipe.train.steps


def test_atst_frame() -> None:
    recipe, o = paper("atst-frame")
    assert isinstance(o, JointViewsConfig)
    assert (o.mask, o.hide, recipe.augment.clean) == (SpanMask(0.65, 5, same_count=False), "token", (1,))
    (term,) = o.terms
    assert (term.hidden, term.size, term.across) == (4096, 256, True)
    assert o.teacher == term.slow == TeacherConfig(0.9996, 1.0, curve="cosine")
    mixup, crop = recipe.augment.feature
    assert (mixup.ratio, crop.frequency_scale, crop.time_scale) == (0.4, (0.6, 1.5), (1.0, 1.0))
    assert (recipe.encoder.patch, recipe.encoder.drop_path, recipe.loader.batch) == ((4, 64), 0.1, 7 * 144)
    assert optimiser(recipe) == (398_000, pytest.approx(3.15e-4), 19_900, "cosine")
    assert (recipe.train.weight_decay, recipe.train.weight_decay_end) == (0.04, 0.4)


def test_runs_of_atst_frame_with_blocks_still_open() -> None:
    data = get_recipe("atst-frame").to_json()
    data["objective"]["mask"] = {"kind": "BlockMask", "ratio": 0.65, "size": 5, "adjust": 0.0, "even": True}
    assert Recipe.from_json(data).objective.mask == BlockMask(0.65, 5)


def test_a_jepa_and_dp_mae() -> None:
    _, o = paper("a-jepa")
    assert o.mask == JepaMask(4, 0.15, 0.2, 0.75, 1.5, 0.85, curriculum=True)
    assert (o.decoder, o.teacher) == (BlockPredictorConfig(384, 6), TeacherConfig(0.996, 1.0))
    assert o.terms[0].target.sight == "all"
    _, o = paper("dp-mae")
    assert (o.mask, o.clones) == (HalvesMask(), 2)
    assert [term.name for term in o.terms] == ["patch", "distil"]


@pytest.mark.parametrize("name", ["eat", "data2vec2", "sslam", "bat", "m2d", "a-jepa", "dp-mae"])
def test_visible_tokens_only(name: str) -> None:
    recipe = get_recipe(name, "tiny")
    encoder = recipe.encoder.build()
    assert recipe.objective.build(encoder).needs == {Ability.DROP}
    assert 1e6 < sum(p.numel() for p in encoder.parameters()) < 6e6
