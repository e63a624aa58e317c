"""Published constants of the recipes that compare two views."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.clip_log_mel import LevelLogMelConfig
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import LinearFaderConfig, ResizeCropConfig
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.objectives.contrastive.pair_losses import BarlowConfig, InBatchConfig, NTXentConfig
from auricle.recipes import get_recipe
from auricle.recipes.building import build


def parameters(name: str) -> int:
    return sum(p.numel() for p in get_recipe(name, "paper").encoder.build().parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("byol-a", 6_333_376),
        ("byol-a-v1", 5_321_856),
        ("cola", 4_007_260),
        ("clar", 11_170_240),
        ("clmr", 2_370_176),
    ],
)
def test_published_encoders(name: str, count: int) -> None:
    assert parameters(name) == pytest.approx(count, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "ratio", "lr", "ops"),
    [
        ("byol-a", 0.2, 1e-4, (LogMixupExpConfig, ResizeCropConfig, LinearFaderConfig)),
        ("byol-a-v1", 0.4, 3e-4, (LogMixupExpConfig, ResizeCropConfig)),
    ],
)
def test_byol_a(name: str, ratio: float, lr: float, ops: tuple[type, ...]) -> None:
    paper = get_recipe(name, "paper")
    plan, objective = paper.augment, paper.objective
    assert tuple(type(op) for op in plan.feature) == ops
    assert (plan.feature[0].ratio, plan.feature[0].entries, plan.joint) == (ratio, 2048, "standardise")
    assert (plan.feature[1].canvas, plan.feature[1].time_scale) == ((1.0, 1.5), (0.6, 1.5))
    assert (objective.projector.hidden, objective.projector.out) == ((4096,), 256)
    assert objective.predictor == objective.projector
    assert (objective.teacher.decay, objective.teacher.end, objective.teacher_by_batch) == (0.99, 0.99, True)
    assert (paper.train.lr, paper.train.schedule, paper.train.weight_decay) == (lr, "constant", 0.0)
    assert (paper.loader.batch, paper.train.steps) == (256, 767_100)
    assert paper.frontend.build().frames(paper.window.samples(16000)) == 96
    assert (paper.frontend.scale == "slaney") == (name == "byol-a")


def test_byol_a_shows_both_views_normalised_together() -> None:
    recipe = get_recipe("byol-a", "tiny")
    views = recipe.augment.build(recipe.frontend.build())
    wave = torch.randn(4, 20000, generator=torch.Generator().manual_seed(0)) * 0.1
    audio = Audio(wave, torch.tensor([20000, 20000, 9000, 20000]), 16000)
    made = views(audio, 2, torch.Generator().manual_seed(1))
    together = torch.cat([view.features.x for view in made])
    assert together.shape == (8, 96, 64)
    assert float(together.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(together.std()) == pytest.approx(1.0, abs=1e-5)
    assert not torch.equal(made[0].features.x, made[1].features.x)


def test_cola() -> None:
    paper = get_recipe("cola", "paper")
    assert (paper.augment.crop.seconds, paper.augment.crop.each) == (0.96, True)
    assert (paper.augment.level, paper.augment.level_over) == ("l2", "clip")
    assert paper.augment.wave == (WaveNoiseConfig(sigma=(0.001, 0.001)),)
    assert paper.augment.clean == (0,)
    assert paper.objective.loss == InBatchConfig("bilinear", symmetric=False, draw="normal")
    assert (paper.objective.projector.hidden, paper.objective.projector.out) == ((), 512)
    assert (paper.objective.projector.end, paper.objective.norm_scope) == ("layer_tanh", "joint")
    assert (paper.loader.batch, paper.train.lr, paper.train.steps) == (1024, 1e-4, 100_000)
    assert isinstance(paper.frontend, LevelLogMelConfig)
    assert (paper.frontend.mels, paper.frontend.window, paper.frontend.low, paper.frontend.high) == (64, 400, 60, 7800)


def test_cola_disturbs_the_second_view_only() -> None:
    recipe = get_recipe("cola", "tiny")
    views = recipe.augment.build(recipe.frontend.build())
    wave = torch.randn(3, 32000, generator=torch.Generator().manual_seed(0))
    made = views(Audio(wave, torch.full((3,), 32000), 16000), 2, torch.Generator().manual_seed(1))
    assert "sigma" not in made[0].certificate
    assert "sigma" in made[1].certificate
    assert not torch.equal(made[0].certificate["start"], made[1].certificate["start"])


def test_clar_reads_spectrograms_or_samples() -> None:
    for name, width in (("clar", 3), ("clar-wave", 2)):
        paper = get_recipe(name, "paper")
        assert isinstance(paper.objective.loss, NTXentConfig)
        assert paper.objective.projector.out == 128
        assert len(paper.objective.projector.hidden) == 2
        assert paper.augment.crop.each
        made = paper.augment.build(paper.frontend.build())(
            Audio(torch.randn(2, 32000) * 0.1, torch.full((2,), 32000), 16000), 2, torch.Generator()
        )
        assert made[0].features.x.dim() == width
    assert get_recipe("clar", "paper").frontend.build().frame_rate == 125.0


def test_clar_as_released() -> None:
    paper = get_recipe("clar", "paper")
    frontend, head = paper.frontend, paper.objective.projector
    assert (frontend.n_fft, frontend.hop, frontend.mels, frontend.low, frontend.high) == (2048, 128, 128, 40.0, 8000.0)
    assert (head.hidden, head.out, head.norm, paper.objective.loss.temperature) == ((512, 512), 128, "batch", 0.5)
    assert [(type(op).__name__.removesuffix("Config"), op.p) for op in paper.augment.wave] == [
        ("WaveFade", 0.5), ("WaveTimeMask", 0.25), ("TimeStretch", 0.5), ("PitchShift", 0.5), ("WaveRoll", 0.5),
        ("WaveNoise", 0.5),
    ]  # fmt: skip
    _, mask, stretch, pitch, _, noise = paper.augment.wave
    assert (mask.fraction, stretch.speed, pitch.semitones, noise.snr_db) == (
        (0.125, 0.125), (0.5, 1.5), (-15.0, 15.0), (0.0, 20.0),
    )  # fmt: skip
    assert (paper.loader.batch, paper.train.weight_decay, paper.train.min_lr) == (256, 1e-6, 0.0)


def test_clmr() -> None:
    paper = get_recipe("clmr", "paper")
    assert {type(op).__name__: op.p for op in paper.augment.wave} == {
        "PolarityConfig": 0.8, "WaveNoiseConfig": 0.01, "WaveGainConfig": 0.3, "PassFilterConfig": 0.8,
        "EchoConfig": 0.3, "PitchShiftConfig": 0.6, "ReverbConfig": 0.6,
    }  # fmt: skip
    assert paper.augment.crop.samples(paper.frontend.rate) == 59049
    assert paper.encoder.build().grid(59049).tokens == 1
    assert (paper.objective.loss.temperature, paper.loader.batch, paper.train.lr) == (0.5, 48, 3e-4)


def test_audio_barlow_has_byol_as_views() -> None:
    ours, theirs = get_recipe("audio-barlow", "paper"), get_recipe("byol-a", "paper")
    assert isinstance(ours.objective.loss, BarlowConfig)
    head = ours.objective.projector
    assert (head.hidden, head.out, head.norm, head.bias) == ((8192,), 256, "batch", False)
    assert (ours.objective.loss.off_diagonal, ours.loader.batch) == (0.005, 128)
    assert (ours.augment, ours.frontend, ours.window) == (theirs.augment, theirs.frontend, theirs.window)
    assert set(build(get_recipe("audio-barlow", "tiny"), 0)[2].state_dict()) & {"teacher_encoder"} == set()


def test_atst_clip() -> None:
    paper = get_recipe("atst-clip", "paper")
    frontend = paper.frontend
    # Decibels from -79.65 to 50.68 onto -1 ... 1.
    for decibels, value in ((-79.65, -1.0), (50.68, 1.0)):
        raw = decibels * 0.23025850929940458
        assert (raw - frontend.mean) / (frontend.divisor * frontend.std) == pytest.approx(value, abs=1e-6)
    assert (paper.encoder.patch, paper.encoder.width, paper.encoder.depth, paper.encoder.pooling) == (
        (4, 64), 768, 12, "cls",
    )  # fmt: skip
    assert (paper.augment.crop.seconds, paper.augment.crop.each) == (5.99, True)  # 600 frames
    teacher = paper.objective.teacher
    assert (teacher.decay, teacher.end, teacher.curve) == (0.9995, 1.0, "cosine")
    assert paper.objective.norm_scope == "joint"
    # 2e-4 for every 256 of 6 x 256 clips.
    assert (paper.train.lr, paper.train.warmup_steps) == (pytest.approx(1.2e-3), 15_860)
    assert (paper.train.weight_decay, paper.train.weight_decay_end) == (0.04, 0.4)
    assert (paper.train.steps, paper.loader.batch, paper.encoder.drop_path) == (318_000, 1536, 0.1)
    for head in (paper.objective.projector, paper.objective.predictor):
        assert (head.hidden, head.out, head.norm, head.bias) == ((4096,), 256, "batch", False)
    mixup, crop = paper.augment.feature
    assert (mixup.ratio, crop.frequency_scale, crop.time_scale) == (0.4, (0.6, 1.5), (0.6, 1.5))


@pytest.mark.parametrize("name", ["byol-a", "cola", "clar", "clmr"])
def test_short_clips_fill_with_silence(name: str) -> None:
    """A clip shorter than a crop becomes a whole crop, so that fixed-length encoders and banks take it."""
    recipe = get_recipe(name, "tiny")
    frontend, encoder, _ = build(recipe, 0)
    wave = torch.randn(2, frontend.rate // 4, generator=torch.Generator().manual_seed(0)) * 0.1
    made = recipe.augment.build(frontend)(
        Audio(wave, torch.full((2,), wave.shape[1]), frontend.rate), 2, torch.Generator()
    )
    pooled = encoder.eval().pool(encoder(made[0].features))
    assert torch.isfinite(pooled).all()
