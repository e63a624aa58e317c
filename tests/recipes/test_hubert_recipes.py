from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from metrics_lines import read_metrics
from safetensors.torch import load_file

from auricle.audio.frontends.mfcc import MfccConfig
from auricle.audio.ops.wave_mixing import UtteranceMixConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.waveform_stem import WAV2VEC2, WAV2VEC2_LAYER
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import CheckpointError, ConfigError
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.heads import CosineHeadConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.targets.clusters import ClusteredFeaturesConfig, ClusteredLayerConfig
from auricle.objectives.targets.online_clusters import OnlineClusterTargetConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes import Recipe, get_recipe, load, pretrain
from auricle.recipes.loading import load_recipe

NAMES = ("hubert", "wavlm", "aves", "distilhubert", "dinosr")
ENCODER = WaveformTransformerConfig.size(
    "tiny", stem=WAV2VEC2_LAYER.narrow(8), width=16, depth=2, heads=2, position=ConvPositionConfig(kernel=5, groups=4)
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_recipes_are_plain_data_and_documented(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert (recipe.name, recipe.size) == (name, size)
    for field in ("deviations", "faithful", "cost", "when_to_use"):
        assert getattr(recipe.notes, field), field
    assert recipe.notes.reference.arxiv
    assert recipe.notes.reference.title
    if size == "tiny":
        encoder = recipe.encoder.build()
        assert 1.0e6 < sum(p.numel() for p in encoder.parameters()) < 6.0e6


@pytest.mark.parametrize("name", ["hubert", "aves", "wavlm"])
def test_published_constants_of_both_iterations(name: str) -> None:
    second = get_recipe(name, "paper")
    first = second.previous
    assert first is not None
    assert first.previous is None
    assert second.begin == "fresh"
    for recipe, clusters, steps in ((first, 100, 250_000), (second, 500, 400_000)):
        assert recipe.objective.mask == SpanMask(p=0.8, length=10, min_spans=2, same_count=True)
        codes, penalty = recipe.objective.terms
        assert penalty == StemPenaltyConfig(weight=10.0)
        assert codes.head == CosineHeadConfig(dim=256, temperature=0.1)
        assert codes.where == "predicted"
        assert (codes.target.clusters, codes.target.batch, codes.target.share) == (clusters, 10_000, 0.1)
        assert (recipe.train.steps, recipe.train.warmup_steps, recipe.train.lr) == (steps, 32_000, 5e-4)
        train = recipe.train
        assert (train.betas, train.eps, train.weight_decay, train.clip_norm) == ((0.9, 0.98), 1e-6, 0.01, 10.0)
        assert recipe.window.samples(16_000) == 250_000
        assert recipe.encoder.stem_gradient == 0.1
        # Whole clips in batches of about one length: padding would take part in the stem's first norm.
        assert (recipe.window.variable, recipe.loader.buckets, recipe.loader.batch_seconds) == (True, 16, 32 * 87.5)
    assert first.objective.terms[0].target.source == ClusteredFeaturesConfig(MfccConfig())
    assert first.encoder == WaveformTransformerConfig.size("base")
    assert second.objective.terms[0].target.source == ClusteredLayerConfig(
        6, PreviousEncoderConfig(first.encoder, first.frontend)
    )
    assert second.encoder == WaveformTransformerConfig.size("wavlm_base" if name == "wavlm" else "base")


@pytest.mark.parametrize("name", ["hubert", "aves", "wavlm", "distilhubert", "wav2vec2"])
def test_tiny_stems_have_the_published_norm_of_samples_as_they_are(name: str) -> None:
    recipe = get_recipe(name, "tiny")
    assert recipe.encoder.stem == WAV2VEC2.narrow(64)
    assert (recipe.encoder.stem.norm, recipe.frontend.normalise) == ("group_first", "none")
    assert recipe.window.seconds == 1.28
    # The teacher is HuBERT's only stage.
    assert (recipe.previous is None) == (name != "distilhubert")


@pytest.mark.parametrize("name", ["data2vec", "data2vec2", "dinosr"])
@pytest.mark.parametrize("size", ["tiny", "paper"])
def test_stems_with_a_norm_in_every_layer_take_normalised_samples(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    assert (recipe.encoder.stem.norm, recipe.frontend.normalise) == ("layer", "clip")


def test_wavlms_mixing_is_the_papers() -> None:
    recipe = get_recipe("wavlm", "paper")
    assert recipe.augment.wave == (
        UtteranceMixConfig(p=0.2, noise_share=0.1, speech_db=(-5.0, 5.0), noise_db=(-5.0, 20.0), longest=0.5),
    )
    assert (recipe.encoder.bias, recipe.encoder.buckets, recipe.encoder.max_distance) == ("wavlm", 320, 800)
    assert recipe.previous.augment == get_recipe("hubert", "paper").augment


def test_distilhuberts_published_constants() -> None:
    recipe = get_recipe("distilhubert", "paper")
    (term,) = recipe.objective.terms
    assert (term.layers, term.measure, term.where, term.begin) == ((4, 8, 12), "l1_cosine", "all", True)
    assert recipe.previous == get_recipe("hubert", "paper")
    assert term.previous.encoder == recipe.previous.encoder
    assert (recipe.train.lr, recipe.train.steps, recipe.train.warmup_steps) == (2e-4, 200_000, 14_000)
    train = recipe.train
    assert (train.betas, train.eps, train.weight_decay, train.clip_norm) == ((0.9, 0.98), 1e-6, 1e-6, 5.0)
    assert (recipe.encoder.layer_drop, recipe.encoder.activation_dropout) == (0.0, 0.1)
    assert (recipe.window.variable, recipe.loader.batch, recipe.loader.buckets) == (True, 24, 16)
    student = recipe.encoder.build()
    assert sum(p.numel() for p in student.parameters()) == pytest.approx(23.5e6, rel=0.005)


def test_dinosrs_published_constants() -> None:
    recipe = get_recipe("dinosr", "paper")
    (term,) = recipe.objective.terms
    assert term.target == OnlineClusterTargetConfig(layers=8, clusters=256, decay=0.9)
    assert recipe.objective.mask == SpanMask(p=0.8, length=10)
    teacher = recipe.objective.teacher
    assert (teacher.decay, teacher.end, teacher.steps, teacher.scope) == (0.999, 0.9999, 30_000, "context")


def small(recipe: Recipe, **train: object) -> Recipe:
    """Shrink a stage, and the stages before it."""
    previous = None if recipe.previous is None else small(recipe.previous)
    codes = recipe.objective.terms[0]
    if hasattr(codes, "target"):
        target = codes.target.replace(clusters=6)
        if previous is not None:
            target = target.replace(source=ClusteredLayerConfig(1, PreviousEncoderConfig(previous.encoder)))
        codes = codes.replace(target=target)
        encoder = ENCODER
    else:
        codes = codes.replace(previous=PreviousEncoderConfig(previous.encoder), layers=(1, 2))
        encoder = ENCODER.replace(depth=1)
    settings = {
        "steps": 4, "warmup_steps": 1, "log_every": 1, "save_every": 2, "keep": 0, "threads": 1, "precision": "fp32",
        "device": "cpu",
    }  # fmt: skip
    return recipe.replace(
        previous=previous,
        encoder=encoder,
        objective=recipe.objective.replace(terms=(codes, *recipe.objective.terms[1:])),
        window=recipe.window.replace(seconds=0.64, variable=False),
        loader=recipe.loader.replace(batch=8, batch_seconds=None, buckets=0, workers=0),
        train=recipe.train.replace(**(settings | train)),
    )


def tensors(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    return load_file(folder / "objective.safetensors") | load_file(folder / "encoder.safetensors")


def test_two_iterations_through_prepare_and_exact_resume(toy_corpus: Path, tmp_path: Path) -> None:
    recipe = small(get_recipe("hubert", "paper"))
    run = pretrain(recipe, toy_corpus, tmp_path / "run", progress=False)
    first = load(run / "previous")
    assert "6 clusters" in (run / "events.log").read_text()
    assert "layer 1 of the previous stage" in (run / "events.log").read_text()
    assert re.search(r"\(Mfcc\) of \d+ clips", (run / "previous" / "events.log").read_text())
    start = tensors(run, 0)
    prefix = "terms.0.target.source.previous.encoder."
    assert all(torch.equal(start[prefix + name], value) for name, value in first.encoder.state_dict().items())
    assert start["terms.0.target.centres"].any()
    assert read_metrics(run)[-1]["codes"] > 0
    # A run of half of the steps, resumed without the folder of the stage before, comes to the same numbers.
    whole = tensors(run, 4)
    stopped = pretrain(recipe, toy_corpus, tmp_path / "again", previous=run / "previous", progress=False)
    for step in (3, 4):
        place = stopped / "checkpoints" / f"step-{step:08d}"
        if place.exists():
            for file in place.iterdir():
                file.unlink()
            place.rmdir()
    again = pretrain(recipe, toy_corpus, stopped, resume=True, previous=tmp_path / "gone", progress=False)
    found = tensors(again, 4)
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_stage_that_does_not_match(toy_corpus: Path, tmp_path: Path) -> None:
    recipe = small(get_recipe("hubert", "paper"))
    first = pretrain(recipe.previous.replace(encoder=ENCODER.replace(depth=3)), toy_corpus, tmp_path / "first",
                     progress=False)  # fmt: skip
    # Another depth is taken as it is; a layer that it lacks is refused.
    run = pretrain(recipe, toy_corpus, tmp_path / "run", previous=first, progress=False)
    assert load_recipe(run).objective.terms[0].target.source.previous.encoder.depth == 3
    term = recipe.objective.terms[0]
    source = term.target.source.replace(layer=2)
    deep = recipe.objective.replace(terms=(term.replace(target=term.target.replace(source=source)),))
    shallow = pretrain(recipe.previous.replace(encoder=ENCODER.replace(depth=1)), toy_corpus, tmp_path / "shallow",
                       progress=False)  # fmt: skip
    with pytest.raises(ConfigError, match=r"layer 2.*1"):
        pretrain(recipe.replace(objective=deep), toy_corpus, tmp_path / "third", previous=shallow, progress=False)
    with pytest.raises((CheckpointError, ConfigError)):
        pretrain(recipe, toy_corpus, tmp_path / "other", previous=tmp_path / "nowhere", progress=False)


def test_distillation_follows_its_teachers_stage(toy_corpus: Path, tmp_path: Path) -> None:
    run = pretrain(small(get_recipe("distilhubert")), toy_corpus, tmp_path / "run", progress=False)
    teacher, start = load(run / "previous").encoder.state_dict(), tensors(run, 0)
    events = (run / "events.log").read_text()
    assert "the student starts with" in events
    assert torch.equal(start["projection.weight"], teacher["projection.weight"])
    assert json.loads((run / "recipe.json").read_text())["name"] == "distilhubert"
    assert load(run).depth == 1
