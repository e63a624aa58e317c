from __future__ import annotations

import copy
import math

import pytest
import torch

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.contract import Ability, Encoder, Grid
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError, NeedError
from auricle.objectives.contract import View
from auricle.objectives.masks.corruption import NoiseFillConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig, TransformerDecoderConfig
from auricle.objectives.predictive.heads import IdentityHeadConfig, LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig, altered_tokens
from auricle.objectives.predictive.teacher import MovingAverage, Teacher, TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig, difference, reduce_tokens
from auricle.objectives.targets.inputs import FrontEndTargetConfig, PatchTargetConfig
from auricle.objectives.targets.teachers import TeacherClipTargetConfig, TeacherTargetConfig

ENCODER = SpectrogramTransformerConfig(width=24, depth=3, heads=2, mels=32, frames=96, drop_path=0.0)
DECODER = TransformerDecoderConfig(width=16, depth=1, heads=2)
PATCH = RegressionConfig(PatchTargetConfig(), name="patch")


def view(clips: int = 4, frames: int = 96, seed: int = 0, lengths: list[int] | None = None) -> View:
    x = torch.randn(clips, frames, 32, generator=torch.Generator().manual_seed(seed)).double()
    return View(Features(x, torch.tensor(lengths or [frames] * clips), 100.0), torch.arange(clips))


def parts(**changes: object) -> tuple[Encoder, MaskedPrediction]:
    encoder = ENCODER.build()
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    objective = MaskedPredictionConfig(**({"decoder": DECODER, "terms": (PATCH,)} | changes)).build(encoder)
    return encoder.double(), objective.double()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_patch_loss_is_a_loop_over_hidden_patches() -> None:
    encoder, objective = parts()
    data = view()
    loss = objective(encoder, [data], seeded())
    masked_batch = objective.look(encoder, [data], seeded(), list(objective.terms))
    prediction = objective.terms[0].head(objective.decoder(masked_batch.out).x)
    total = count = 0
    for b in range(4):
        for t in range(6):
            for f in range(2):
                if not masked_batch.mask.masked[b, t * 2 + f]:
                    continue
                patch = data.features.x[b, t * 16 : (t + 1) * 16, f * 16 : (f + 1) * 16].reshape(-1)
                patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
                total += float((prediction[b, t * 2 + f].detach() - patch).square().mean())
                count += 1
    assert count == 4 * 9  # three quarters of twelve
    assert float(loss.total) == pytest.approx(total / count, rel=1e-10)


def test_what_is_dropped_has_no_say_in_the_encoder() -> None:
    encoder, objective = parts()
    data = view()
    masked_batch = objective.look(encoder, [data], seeded(), [])
    hidden = masked_batch.mask.masked.unflatten(1, (6, 2)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    other = View(Features(torch.where(hidden, 99.0, data.features.x), data.features.lengths, 100.0), data.clip)
    again = objective.look(encoder, [other], seeded(), [])
    torch.testing.assert_close(again.out.x, masked_batch.out.x)


def test_a_hidden_token_keeps_its_place_and_nothing_else() -> None:
    encoder, objective = parts(hide="token", decoder=NoDecoderConfig())
    tokens = encoder.tokenize(view().features)
    hidden = objective._masked(tokens, None, seeded())
    shown = objective._hide(tokens, hidden, seeded())
    assert tokens.positions is not None
    expected = objective.mask_token + tokens.positions[0]
    for b in range(4):
        torch.testing.assert_close(shown.x[b][hidden.masked[b]], expected[hidden.masked[b]])
        torch.testing.assert_close(shown.x[b][~hidden.masked[b]], tokens.x[b][~hidden.masked[b]])


def test_clones_share_a_clip_and_not_a_mask() -> None:
    encoder, objective = parts(clones=3, teacher=TeacherConfig(), terms=(RegressionConfig(TeacherTargetConfig()),))
    masked_batch = objective.look(encoder, [view()], seeded(), list(objective.terms))
    assert masked_batch.mask.masked.shape == (12, 12)
    assert not torch.equal(masked_batch.mask.masked[0], masked_batch.mask.masked[1])
    target = objective.terms[0].target.of_rows(masked_batch, False)
    torch.testing.assert_close(target[0], target[2])
    assert not torch.allclose(target[0], target[3])


def test_shuffled_targets_are_those_of_another_clip() -> None:
    encoder, objective = parts(clones=2)
    masked_batch = objective.look(encoder, [view()], seeded(), list(objective.terms))
    straight, rolled = (objective.terms[0].target.of_rows(masked_batch, shuffled) for shuffled in (False, True))
    torch.testing.assert_close(rolled[2:], straight[:-2])
    torch.testing.assert_close(rolled[:2], straight[-2:])


def test_teacher_latents_are_normalised_branches_averaged() -> None:
    encoder, objective = parts(
        teacher=TeacherConfig(), terms=(RegressionConfig(TeacherTargetConfig(layers=2, after="layer")),)
    )
    data = view()
    found = objective.terms[0].target(objective.look(encoder, [data], seeded(), list(objective.terms)))
    layers = copy.deepcopy(encoder).eval()(data.features, (2, 3)).layers
    assert layers is not None
    mean = torch.zeros(())
    for layer in layers:
        x = layer.feedforward
        assert x is not None
        mean = mean + (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt() / 2
    mean = (mean - mean.mean(-1, keepdim=True)) / (mean.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found, mean)


def test_a_teacher_of_the_hidden_tokens_sees_only_them() -> None:
    target = TeacherTargetConfig(layers=-1, per_layer="layer", sight="masked")
    encoder, objective = parts(teacher=TeacherConfig(), terms=(RegressionConfig(target, measure="cosine"),))
    data = view()
    masked_batch = objective.look(encoder, [data], seeded(), list(objective.terms))
    before = objective.terms[0].target(masked_batch)
    assert bool((before[~masked_batch.mask.masked] == 0).all())
    shown = (~masked_batch.mask.masked).unflatten(1, (6, 2)).repeat_interleave(16, 1).repeat_interleave(16, 2)
    data.features.x[shown] = 5.0
    again = objective.terms[0].target(objective.look(encoder, [data], seeded(), list(objective.terms)))
    torch.testing.assert_close(again, before)


def test_the_teacher_follows_slowly_and_remembers_the_step() -> None:
    encoder, objective = parts(
        teacher=TeacherConfig(decay=0.5, end=0.9, steps=4), terms=(RegressionConfig(TeacherTargetConfig()),)
    )
    start = [p.clone() for p in objective.teacher.copy.parameters()]
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)
    objective.after_step(encoder, 0)
    objective.after_step(encoder, 1)
    for old, new, own in zip(start, objective.teacher.copy.parameters(), encoder.parameters(), strict=True):
        first = 0.5 * old + 0.5 * own
        torch.testing.assert_close(new, 0.6 * first + 0.4 * own)
        assert not new.requires_grad
    assert objective.step == 2
    other = parts(teacher=TeacherConfig(), terms=(RegressionConfig(TeacherTargetConfig()),))[1]
    other.load_state_dict(objective.state_dict())
    assert other.step == 2


@pytest.mark.parametrize(("curve", "half"), [("linear", 0.95), ("cosine", 0.95)])
def test_schedules_of_the_decay(curve: str, half: float) -> None:
    config = TeacherConfig(decay=0.9, end=1.0, curve=curve)
    assert [config.at(0, progress) for progress in (0, 1)] == pytest.approx([0.9, 1.0])
    assert config.at(5, 0.5) == pytest.approx(half)
    quarter = 0.925 if curve == "linear" else 0.9 + 0.1 * (1 - math.cos(math.pi / 4)) / 2
    assert config.at(25, 0.25) == pytest.approx(quarter)


def test_a_moving_average_copies_buffers_and_keeps_its_mode() -> None:
    norm = torch.nn.BatchNorm1d(3)
    slow = MovingAverage(norm)
    norm(torch.randn(8, 3))
    slow.follow(norm, 0.9)
    torch.testing.assert_close(slow.copy.running_mean, norm.running_mean)
    assert not slow.train().copy.training
    assert MovingAverage(norm, training=True).train().copy.training


def test_the_clip_target_is_the_mean_of_valid_tokens() -> None:
    term = RegressionConfig(TeacherClipTargetConfig(), where="clip", name="clip")
    encoder, objective = parts(hide="token", decoder=NoDecoderConfig(), teacher=TeacherConfig(), terms=(term,))
    data = view(lengths=[96, 40, 96, 96])
    masked_batch = objective.look(encoder, [data], seeded(), list(objective.terms))
    tokens = objective.terms[0].target.tokens(masked_batch)
    found = objective.terms[0].target(masked_batch)
    torch.testing.assert_close(found[1], tokens[1, :6].mean(0))
    torch.testing.assert_close(found[0], tokens[0].mean(0))


@pytest.mark.parametrize("reduce", ["token_mean", "clip_mean", "clip_sum"])
def test_reductions_are_what_their_names_say(reduce: str) -> None:
    values = torch.rand(3, 4, generator=seeded()).double()
    chosen = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    by_clip = [values[0, :2].mean(), values[1].mean()]
    expected = {
        "token_mean": values[chosen].mean(),
        "clip_mean": (by_clip[0] + by_clip[1]) / 2,
        "clip_sum": by_clip[0] + by_clip[1],
    }[reduce]
    torch.testing.assert_close(reduce_tokens(values, chosen, reduce), expected)


@pytest.mark.parametrize("measure", ["l1", "l2", "smooth_l1", "cosine", "l1_cosine"])
def test_differences_are_their_formulas(measure: str) -> None:
    a, b = torch.randn(2, 5, 8, generator=seeded()).double().unbind(0)
    for one, two in zip(a, b, strict=True):
        gap = (one - two).abs()
        cos = float(one @ two / one.norm() / two.norm())
        expected = {
            "l1": gap.mean(),
            "l2": (gap**2).mean(),
            "smooth_l1": torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean(),
            "cosine": torch.tensor(2 - 2 * cos).double(),
            "l1_cosine": gap.mean() - math.log(1 / (1 + math.exp(-cos))),
        }[measure]
        torch.testing.assert_close(difference(measure, "mean", one, two), expected)
    torch.testing.assert_close(difference("l2", "sum/sqrt", a, b), ((a - b) ** 2).sum(-1) / 8**0.5)


def test_padding_is_never_compared() -> None:
    encoder, objective = parts()
    short = view(lengths=[96, 40, 96, 96])
    before = objective(encoder, [short], seeded()).total
    short.features.x[1, 48:] = 1e3  # within no valid patch
    torch.testing.assert_close(objective(encoder, [short], seeded()).total, before)


def test_corruption_counts_as_hidden_where_half_a_token_is_lost() -> None:
    altered = torch.zeros(1, 32, 32, dtype=torch.bool)
    altered[0, :8, :16] = True  # half of the first patch
    altered[0, 16:23] = True  # seven of sixteen frames of both patches of the second step
    assert altered_tokens(altered, Grid(2, 2, 6.25)).tolist() == [[True, False, False, False]]
    encoder, objective = parts(
        hide="token", mask=None, corruption=NoiseFillConfig(start=0.03, length=40), decoder=NoDecoderConfig()
    )
    assert objective.mask_token is None
    masked_batch = objective.look(encoder, [view(16)], seeded(), [])
    assert 0.1 < float(masked_batch.mask.predicted.float().mean()) < 0.95


def test_needs_follow_from_where_tokens_go() -> None:
    statistics = LogMelStatisticsConfig(mels=32).build()
    with pytest.raises(NeedError, match=r"needs DROP.*offered by") as caught:
        MaskedPredictionConfig().build(statistics)
    assert caught.value.needs == ("DROP",)
    with pytest.raises(NeedError, match=r"needs MASK"):
        MaskedPredictionConfig(hide="token", decoder=NoDecoderConfig()).build(statistics)
    assert parts()[1].needs == {Ability.DROP}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask": None}, "needs a mask"),
        ({"mask": SpanMask(0.65, 10, same_count=False)}, "different numbers of tokens"),
        ({"hide": "none"}, "nothing would be masked"),
        ({"hide": "dorp"}, "did you mean 'drop'"),
        ({"clones": 0}, "clones is 0"),
        ({"terms": ()}, "found no terms"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MaskedPredictionConfig(**changes)


def test_targets_that_do_not_fit_are_refused() -> None:
    encoder = ENCODER.build()
    data = View(Features(torch.randn(2, 96, 32), torch.tensor([96, 96]), 100.0), torch.arange(2))
    without = MaskedPredictionConfig(decoder=DECODER, terms=(RegressionConfig(TeacherTargetConfig()),)).build(encoder)
    with pytest.raises(ConfigError, match=r"there is no teacher; set objective.teacher"):
        without(encoder, [data], seeded())
    with pytest.raises(ConfigError, match=r"top 9 layers.*has 3"):
        MaskedPredictionConfig(terms=(RegressionConfig(TeacherTargetConfig(layers=9)),)).build(encoder)
    with pytest.raises(ConfigError, match=r"one value a clip"):
        MaskedPredictionConfig(terms=(RegressionConfig(TeacherClipTargetConfig()),)).build(encoder)
    with pytest.raises(ConfigError, match=r"can't map width 16 to a target of width 256"):
        MaskedPredictionConfig(
            decoder=DECODER, terms=(RegressionConfig(PatchTargetConfig(), head=IdentityHeadConfig()),)
        ).build(encoder)
    bare = MaskedPredictionConfig(decoder=NoDecoderConfig(), terms=(PATCH,)).build(encoder)
    with pytest.raises(ConfigError, match=r"no decoder to put the masked ones back"):
        bare(encoder, [data], seeded())


def test_a_mask_that_leaves_nothing_visible_is_refused() -> None:
    encoder, objective = parts(mask=RandomMask(ratio=0.95))
    with pytest.raises(ConfigError, match=r"visible|keeps none|hide"):
        objective(encoder, [view(frames=16)], seeded())


def test_features_of_another_front_end_are_predicted_from_the_clean_waveform() -> None:
    config = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=96, patch=(2, 32), drop_path=0.0)
    encoder = config.build()
    target = FrontEndTargetConfig(frontend=LogMelConfig(mels=20), align="stack", norm="none")
    objective = MaskedPredictionConfig(
        hide="token", decoder=NoDecoderConfig(), terms=(RegressionConfig(target, head=LinearHeadConfig()),)
    ).build(encoder)
    assert objective.terms[0].target.size == 40
    x = torch.randn(2, 96, 32, generator=seeded())
    lengths = torch.tensor([96, 96])
    with pytest.raises(ConfigError, match=r"clean waveform"):
        objective(encoder, [View(Features(x, lengths, 100.0), torch.arange(2))], seeded())
    wave = torch.randn(2, 15360, generator=seeded())
    audio = Audio(wave, torch.tensor([15360, 15360]), 16000)
    masked_batch = objective.look(
        encoder, [View(Features(x, lengths, 100.0), torch.arange(2), reference=audio)], seeded(), list(objective.terms)
    )
    expected = LogMelConfig(mels=20).build()(audio).x
    torch.testing.assert_close(objective.terms[0].target(masked_batch)[:, 3], expected[:, 6:8].flatten(1))


def test_a_teacher_copies_position_convolutions_and_may_be_frozen() -> None:
    config = TeacherConfig(decay=0.5, end=0.5, frozen_after=3, positions="copied")
    assert [config.at(step, 0.0) for step in (0, 2, 3, 9)] == [0.5, 0.5, 1.0, 1.0]
    encoder = layout("decoar2", "tiny", width=16, depth=1, heads=2, frames=40, mels=8, patch=(1, 8)).build()
    for positions, moved in (("copied", 1.0), ("averaged", 0.5)):
        teacher = Teacher(config.replace(positions=positions), copy.deepcopy(encoder), torch.Generator())
        student = copy.deepcopy(encoder)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter += 1.0
        before = {name: p.clone() for name, p in teacher.copy.named_parameters()}
        teacher.follow(student, 1.0)
        assert all(torch.equal(p, before[name]) for name, p in teacher.copy.named_parameters())
        teacher.follow(student, 0.5)
        for name, p in teacher.copy.named_parameters():
            torch.testing.assert_close(p, before[name] + (moved if name.startswith("conv_position") else 0.5))
