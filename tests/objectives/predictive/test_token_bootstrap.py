"""Bootstrapped tokens against a slow computation; the slow projector."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.blocks import BlockMask
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig, TransformerDecoderConfig
from auricle.objectives.predictive.joint_views import JointViewsConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.token_bootstrap import TokenBootstrapConfig, TokenMlp

CONFIG = MaskedPredictionConfig(
    mask=BlockMask(0.65, 3), hide="token", views=2, decoder=NoDecoderConfig(), teacher=TeacherConfig(0.9, 0.9),
    terms=(TokenBootstrapConfig(24, 8, slow=TeacherConfig(0.9, 0.9)),),
)  # fmt: skip


def made(config: MaskedPredictionConfig = CONFIG) -> tuple[SpectrogramTransformer, MaskedPrediction]:
    encoder = layout("atst_frame", "tiny", width=16, depth=2, heads=2, frames=100, mels=64).build().double()
    return encoder, config.build(encoder, torch.Generator().manual_seed(1)).double()


def pair() -> list[View]:
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(3, 100, 64, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [View(Features(x, torch.full((3,), 100), 100.0), torch.arange(3)) for x in features]


def slow_mlp(mlp: TokenMlp, x: Tensor) -> Tensor:
    y = x @ mlp.fc1.weight.T
    y = (y - y.mean(0)) / (y.var(0, correction=0) + mlp.norm.eps).sqrt() * mlp.norm.weight + mlp.norm.bias
    return y.clamp(min=0) @ mlp.fc2.weight.T


def test_equals_loops() -> None:
    encoder, objective = made()
    term = objective.terms[0]
    with torch.no_grad():
        for p in [*term.slow.copy.parameters(), *objective.teacher.copy.parameters(), *term.projector.parameters()]:
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(4), dtype=p.dtype)
    student, clean = pair()
    loss = objective(encoder, [student, clean], torch.Generator().manual_seed(0))
    hidden = objective.config.mask.draw(encoder.grid(100), 3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = encoder.tokenize(student.features)
        x = tokens.x.clone()
        for clip, place in hidden.masked.nonzero().tolist():
            x[clip, place] = objective.mask_token + tokens.positions[0, place]
        out = encoder.contextualize(tokens.__class__(x, tokens.grid)).x[hidden.masked]
        taught = objective.teacher.copy(clean.features).x[hidden.masked]
        guess, true = slow_mlp(term.predictor, slow_mlp(term.projector, out)), slow_mlp(term.slow.copy, taught)
        each = [2 - 2 * float(a @ b / (a.norm() * b.norm())) for a, b in zip(guess, true, strict=True)]
    assert float(loss.total.detach()) == pytest.approx(sum(each) / len(each), rel=1e-9)


def test_both_views_predict_each_other() -> None:
    """With `across`, one pass of the heads over both views' masked tokens, against targets in exchanged order."""
    term = TokenBootstrapConfig(24, 8, across=True)
    settings = {name: getattr(CONFIG, name) for name in ("hide", "decoder", "teacher")}
    joint = JointViewsConfig(mask=SpanMask(0.65, 5, same_count=False), terms=(term,), **settings)
    encoder, objective = made(joint)
    (term,) = objective.terms
    with torch.no_grad():
        for p in [*term.slow.copy.parameters(), *objective.teacher.copy.parameters()]:
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(4), dtype=p.dtype)
    views = pair()
    loss = objective(encoder, views, torch.Generator().manual_seed(0))
    masked = joint.mask.draw(encoder.grid(100), 3, torch.Generator().manual_seed(0)).masked
    with torch.no_grad():
        seen, taught = [], []
        for view in views:
            tokens = encoder.tokenize(view.features)
            x = torch.where(masked[..., None], objective.mask_token + tokens.positions, tokens.x)
            seen.append(encoder.contextualize(tokens.__class__(x, tokens.grid)).x[masked])
            taught.append(objective.teacher.copy(view.features).x[masked])
        guess = slow_mlp(term.predictor, slow_mlp(term.projector, torch.cat(seen)))
        true = slow_mlp(term.slow.copy, torch.cat(taught[::-1]))
        each = 2 - 2 * torch.nn.functional.cosine_similarity(guess, true)
    assert float(loss.total.detach()) == pytest.approx(float(each.mean()), rel=1e-9)


def test_the_slow_projector_follows_a_schedule() -> None:
    slow = TeacherConfig(0.5, 1.0, curve="cosine")
    encoder, objective = made(CONFIG.replace(terms=(TokenBootstrapConfig(24, 8, slow=slow),)))
    (term,) = objective.terms
    objective.progress = 0.5
    objective(encoder, pair(), torch.Generator())
    before = copy.deepcopy(term.slow.copy.fc1.weight)
    with torch.no_grad():
        term.projector.fc1.weight.add_(1.0)
    objective.after_step(encoder, 0)
    torch.testing.assert_close(term.slow.copy.fc1.weight, before + 0.25)


def test_a_constant_decay_of_earlier_settings_is_read() -> None:
    data = TokenBootstrapConfig().to_json()
    del data["slow"]
    assert TokenBootstrapConfig.from_json({**data, "decay": 0.9}).slow == TeacherConfig(0.9, 0.9)


def test_the_slow_projector_follows_and_is_never_trained() -> None:
    encoder, objective = made()
    term = objective.terms[0]
    assert not any(p.requires_grad for p in term.slow.parameters())
    before = copy.deepcopy(term.slow.copy.fc1.weight)
    with torch.no_grad():
        term.projector.fc1.weight.add_(1.0)
    objective.after_step(encoder, 0)
    torch.testing.assert_close(term.slow.copy.fc1.weight, before + 0.1)


def test_watch_and_control() -> None:
    encoder, objective = made()
    loss = objective(encoder, pair(), torch.Generator().manual_seed(0))
    assert {"bootstrap/position_ratio", "bootstrap/std_target", "bootstrap/constant"} <= set(loss.watch)
    assert all(torch.isfinite(value) for value in loss.watch.values())
    objective.shuffled = True
    assert not torch.equal(objective(encoder, pair(), torch.Generator().manual_seed(0)).total, loss.total)


def test_refusals() -> None:
    encoder, objective = made(CONFIG.replace(teacher=None))
    with pytest.raises(ConfigError, match=r"set objective\.teacher"):
        objective(encoder, pair(), torch.Generator())
    with pytest.raises(ConfigError, match="NoDecoderConfig"):
        made(CONFIG.replace(decoder=TransformerDecoderConfig(32, 1, 2)))
    encoder, objective = made(CONFIG.replace(terms=(TokenBootstrapConfig(24, 8, across=True),)))
    with pytest.raises(ConfigError, match="JointViewsConfig"):
        objective(encoder, pair(), torch.Generator())
    with pytest.raises(ConfigError, match="clip"):
        TokenBootstrapConfig(where="clip")
