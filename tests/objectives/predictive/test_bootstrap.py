from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.contract import Encoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.gradient_cache import cached_backward
from auricle.objectives.predictive.bootstrap import Bootstrap, BootstrapConfig, byol_head
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.training.monitors import CollapseAlarm

HEADS = {"projector": byol_head(24, 8), "predictor": byol_head(24, 8)}
NTT = AudioNTTConfig(width=16, mels=32, channels=4, dropout=0.0)
PATCHES = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=64, drop_path=0.0)


def views(clips: int = 6, count: int = 2, seed: int = 1) -> list[View]:
    generator = torch.Generator().manual_seed(seed)
    return [
        View(
            Features(torch.randn(clips, 64, 32, generator=generator).double(), torch.full((clips,), 64), 100.0),
            torch.arange(clips),
        )
        for _ in range(count)
    ]


def parts(config: object = NTT, **changes: object) -> tuple[Encoder, Bootstrap]:
    encoder = config.build().double().train()  # type: ignore[attr-defined]
    objective = BootstrapConfig(**{**HEADS, **changes}).build(encoder)  # type: ignore[arg-type]
    return encoder, objective.double().train()


def go(objective: Bootstrap, encoder: Encoder, data: list[View]) -> Tensor:
    return objective(encoder, data, torch.Generator()).total


def head(module: nn.Sequential, x: Tensor) -> Tensor:
    """A head by hand: linear, normalised by the batch, ReLU, linear."""
    first, norm, _, last = module
    y = F.linear(x, first.weight, first.bias)  # type: ignore[arg-type]
    y = (y - y.mean(0)) / (y.var(0, correction=0) + norm.eps).sqrt() * norm.weight + norm.bias  # type: ignore[operator]
    return F.linear(y.clamp(min=0), last.weight, last.bias)  # type: ignore[arg-type]


def test_loss_is_byols_by_hand() -> None:
    encoder, objective = parts()
    with torch.no_grad():  # a teacher that is not the student
        for p in (*objective.teacher_encoder.parameters(), *objective.teacher_projector.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    slow = copy.deepcopy(objective.teacher_encoder.copy)
    data = views()
    expected = torch.zeros((), dtype=torch.float64)
    for a, b in ((0, 1), (1, 0)):
        prediction = head(objective.predictor, head(objective.projector, encoder.pool(encoder(data[a].features))))
        with torch.no_grad():
            target = head(objective.teacher_projector.copy, slow.pool(slow(data[b].features)))  # type: ignore[arg-type]
        cosines = [p @ t / (p.norm() * t.norm()) for p, t in zip(prediction, target, strict=True)]
        expected = expected + torch.stack([2 - 2 * c for c in cosines]).mean()
    torch.testing.assert_close(go(objective, encoder, data), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("config", [NTT, PATCHES])
def test_joint_statistics_are_those_of_one_forward_over_both_views(config: object) -> None:
    """As ATST-Clip has them; with `PATCHES` only the heads have a BatchNorm, as there."""
    encoder, objective = parts(config, norm_scope="joint")
    slow = copy.deepcopy(objective.teacher_encoder.copy)
    one, two = views()
    both = Features(torch.cat([one.features.x, two.features.x]), torch.full((12,), 64), 100.0)
    prediction = head(objective.predictor, head(objective.projector, encoder.pool(encoder(both))))
    with torch.no_grad():
        target = head(objective.teacher_projector.copy, slow.pool(slow(both)))  # type: ignore[arg-type]
    expected = 2 * (2 - 2 * F.cosine_similarity(prediction, target.roll(6, 0))).mean()
    torch.testing.assert_close(go(objective, encoder, [one, two]), expected, rtol=1e-10, atol=0)
    encoder, apart = parts(config)
    assert abs(float((go(apart, encoder, [one, two]) - expected).detach())) > 1e-6


def test_the_teacher_gets_no_gradient_and_all_else_does() -> None:
    encoder, objective = parts()
    go(objective, encoder, views()).backward()
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    assert {n for n, p in named if p.grad is None} == {n for n, p in named if n.startswith("teacher_")}
    assert all(not p.requires_grad for n, p in named if n.startswith("teacher_"))


def test_the_teacher_follows_by_a_hundredth() -> None:
    encoder, objective = parts()
    before = {n: p.clone() for n, p in objective.teacher_encoder.copy.named_parameters()}
    head_before = objective.teacher_projector.copy[0].weight.clone()  # type: ignore[index,operator,union-attr]
    go(objective, encoder, views())
    with torch.no_grad():
        for p in (*encoder.parameters(), *objective.projector.parameters()):
            p.add_(1.0)
    objective.after_step(encoder, 0)
    for name, p in encoder.named_parameters():
        found = dict(objective.teacher_encoder.copy.named_parameters())[name]
        torch.testing.assert_close(found, 0.99 * before[name] + 0.01 * p.detach(), rtol=1e-12, atol=1e-12)
    expected = 0.99 * head_before + 0.01 * objective.projector[0].weight.detach()  # type: ignore[operator,union-attr]
    torch.testing.assert_close(objective.teacher_projector.copy[0].weight, expected)  # type: ignore[index,arg-type,union-attr]
    # BatchNorm's statistics are copied, not averaged.
    for mine, theirs in zip(objective.teacher_encoder.copy.buffers(), encoder.buffers(), strict=True):
        assert torch.equal(mine, theirs)
    assert objective.step == 1


def test_a_rising_decay_ends_at_one() -> None:
    _, objective = parts(teacher=TeacherConfig(decay=0.9995, end=1.0, curve="cosine"))
    decays = [objective.config.teacher.at(0, progress) for progress in (0, 0.5, 1)]
    assert decays == pytest.approx([0.9995, 0.99975, 1.0])


@pytest.mark.parametrize("by_batch", [True, False])
def test_the_teacher_normalises_by_its_own_batch(by_batch: bool) -> None:
    encoder, objective = parts(teacher_by_batch=by_batch)
    objective.train()
    assert objective.teacher_encoder.copy.training == by_batch
    one = go(objective, encoder, views())
    for module in (objective.teacher_encoder, objective.teacher_projector):
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.7)
    two = go(objective, encoder, views())
    assert bool(torch.isclose(one, two, rtol=1e-12, atol=0)) == by_batch


def test_shuffled_targets_are_another_clips() -> None:
    encoder, objective = parts()
    data = views()
    rolled = [data[0], View(Features(data[1].features.x.roll(1, 0), data[1].features.lengths, 100.0), data[1].clip)]
    encoder_twin, twin = copy.deepcopy(encoder), copy.deepcopy(objective)
    objective.shuffled = True
    loss = objective(encoder, data, torch.Generator())
    # Predictions of the first views meet targets of the second views, each of the clip before.
    f = twin.represent(encoder_twin, [rolled[0], rolled[1]], ())
    p = F.normalize(twin.predictor(twin.projector(f[0])), dim=1)
    t = F.normalize(twin.teacher_projector.copy(f[3]), dim=1)
    first = (2 - 2 * (p * t).sum(1)).mean()
    q = F.normalize(twin.predictor(twin.projector(f[1])), dim=1).roll(-1, 0)
    s = F.normalize(twin.teacher_projector.copy(f[2]), dim=1).roll(1, 0)
    torch.testing.assert_close(loss.total, first + (2 - 2 * (q * s).sum(1)).mean(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scope", ["view", "joint"])
def test_gradient_caching_is_exact(scope: str) -> None:
    encoder, objective = parts(PATCHES, norm_scope=scope)
    twin, twin_objective = copy.deepcopy(encoder), copy.deepcopy(objective)
    data = views(8)
    direct = objective(encoder, data, torch.Generator())
    direct.total.backward()
    cached = cached_backward(twin_objective, twin, data, torch.Generator(), micro_batch=3)
    torch.testing.assert_close(cached.total, direct.total.detach(), rtol=1e-12, atol=0)
    own, its = ([*e.parameters(), *o.parameters()] for e, o in ((encoder, objective), (twin, twin_objective)))
    for one, two in zip(own, its, strict=True):
        if one.grad is None:
            assert two.grad is None
        else:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-7, atol=1e-12)
    assert float(cached.watch["accuracy"]) == float(direct.watch["accuracy"])


class _Deaf(nn.Module):
    """Puts out the same whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[0], 8, dtype=x.dtype) + 0 * x.sum()


def test_collapse_is_seen_although_the_loss_is_zero() -> None:
    encoder, objective = parts()
    objective.projector, objective.predictor = _Deaf(), _Deaf()  # type: ignore[assignment]
    objective.teacher_projector.copy = _Deaf()
    objective.projector.p = nn.Parameter(torch.zeros(1).double())  # type: ignore[assignment]
    loss = objective(encoder, views(), torch.Generator())
    assert float(loss.total.detach()) == pytest.approx(0.0, abs=1e-9)
    watch = {name: float(loss.watch[name]) for name in ("constant", "std_z", "std_target", "rank_z", "accuracy")}
    assert watch["constant"] == pytest.approx(0.0, abs=1e-6)
    assert watch["accuracy"] <= 1 / 6 + 1e-6
    assert CollapseAlarm(patience=10).signs(0, watch).keys() >= {"std_z", "std_target", "rank_z"}


def test_a_fresh_pair_is_near_chance() -> None:
    encoder, objective = parts()
    loss = objective(encoder, views(32), torch.Generator())
    assert 2.0 < float(loss.total.detach()) < 6.0
    assert set(loss.watch) == {
        "accuracy",
        "chance",
        "constant",
        "std_z",
        "std_target",
        "rank_z",
        "rank_f",
        "teacher_gap",
    }
    assert float(loss.watch["teacher_gap"]) == 0.0
    assert all(torch.isfinite(value) for value in loss.watch.values())


def test_refusals() -> None:
    encoder, objective = parts()
    with pytest.raises(ConfigError, match="found 1 views, expected 2"):
        go(objective, encoder, views(4, count=1))
    with pytest.raises(ConfigError, match=r"batch of 1 clip.*loader\.batch"):
        go(objective, encoder, views(1))
    with pytest.raises(ConfigError, match=r"set projector\.out and predictor\.out alike"):
        BootstrapConfig(projector=byol_head(out=8), predictor=byol_head(out=9))
    for wrong in (TeacherConfig(scope="context"), TeacherConfig(start="own")):
        with pytest.raises(ConfigError, match="set them to all and student"):
            BootstrapConfig(teacher=wrong)
    with pytest.raises(ConfigError, match="BatchNorm in training mode"):
        cached_backward(objective, encoder, views(4), torch.Generator(), micro_batch=2)
    config = BootstrapConfig(**HEADS)
    assert Config.from_json(config.to_json()) == config
