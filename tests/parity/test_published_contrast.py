"""Contrastive methods: the published criteria on ruled weights, in the settings of the recipes' paper sizes."""

from __future__ import annotations

import math

import pytest
import torch
from golden import loss_of, shrunk
from published_modules import Published

from auricle.audio.batch import Features
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.objectives.contract import View
from auricle.objectives.contrastive import future_contrast
from auricle.objectives.contrastive.negatives import Negatives
from auricle.objectives.text.clap import ClapConfig
from auricle.objectives.text.text_tower import WordTowerConfig
from auricle.recipes import get_recipe

CLOSE = {"rel": 1e-7, "abs": 0.0}
CPC = {
    r"^stem\.convs\.(\d+)\.": r"model.gEncoder.conv\1.",
    r"^stem\.norms\.(\d+)\.": r"model.gEncoder.batchNorm\1.",
    r"^layers\.(\d+)\.rnn\.(\w+)_l0": r"model.gAR.baseNet.\2_l\1",
}


def test_cpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the recipe's padding at the left."""
    known, stem = Published("cpc"), get_recipe("cpc", "paper").encoder.stem  # type: ignore[attr-defined]
    encoder, objective = shrunk("cpc", {"stem": stem.narrow(16), "width": 16}, pool="batch", negatives=5)
    known.fill(encoder, CPC)
    with torch.no_grad():
        objective.maps.weight.copy_(  # type: ignore[union-attr,operator]
            torch.stack([known.weight(f"criterion.wPrediction.predictors.{number}.weight") for number in range(12)])
        )
    assert known.unused() == set()
    x = known.input("x")
    index = known.given["negatives"].unsqueeze(1).expand(-1, x.shape[1] // 160, -1)
    drawn = Negatives(index, torch.ones(index.shape[:2], dtype=torch.bool), True)
    monkeypatch.setattr(future_contrast, "draw_negatives", lambda *_: drawn)
    view = View(Features(x, torch.full((len(x),), x.shape[1]), 16_000.0), torch.arange(len(x)))
    loss = objective(encoder, [view], torch.Generator().manual_seed(0))
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    maps = dict(objective.named_parameters())["maps.weight"].grad
    assert maps is not None
    for number, gradient in enumerate(maps):
        expected = known.gradients[f"criterion.wPrediction.predictors.{number}.weight"]
        assert float(gradient.norm()) == pytest.approx(expected, rel=1e-6)
    assert known.check_gradients(encoder, CPC, 1e-6) == len(known.gradients) - len(maps)


def test_audio_barlow() -> None:
    """Encoder and projector each take one view after the other, and the loss whitens each view by itself."""
    known, projector = Published("audio_barlow"), get_recipe("audio-barlow", "paper").objective.projector  # type: ignore[attr-defined]
    assert (projector.hidden, projector.out) == ((8192,), 256)
    encoder, objective = shrunk(
        "audio-barlow",
        {"width": 1536, "hidden": 128, "dropout": 0.0},
        projector=projector.replace(hidden=(64,), out=16),
    )
    names = {r"^(features|fc)": r"backbone.\1", "^projector": "head.projector"}
    known.fill(encoder, names)
    known.fill(objective, names)
    assert known.unused() == set()
    loss = loss_of(encoder, objective, [known.input("x1"), known.input("x2")])
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = sum(known.check_gradients(module, names, 1e-6) for module in (encoder, objective))
    assert compared == len(known.gradients)


def test_clmr() -> None:
    known = Published("clmr")
    encoder, objective = shrunk("clmr", {})
    names = {"^sequential": "encoder.sequential"}
    known.fill(encoder, names)
    known.fill(objective, names)
    assert known.unused() == set()
    loss = loss_of(encoder, objective, [known.input("x1"), known.input("x2")])
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = sum(known.check_gradients(module, names, 1e-6) for module in (encoder, objective))
    assert compared == len(known.gradients)


def test_clap() -> None:
    """The projections of both towers' vectors and the loss; the towers have tests of their own."""
    known, settings = Published("clap"), get_recipe("clap", "paper").objective
    assert isinstance(settings, ClapConfig)
    encoder = SpectrogramTransformerConfig(width=24, depth=1, heads=2, mels=32, frames=64).build()
    small = settings.replace(text=WordTowerConfig(width=16, depth=1), dim=12, head=settings.head.replace(hidden=(12,)))
    objective = small.build(encoder).double()
    names = {r"^(audio|text)_head": r"\1_projection"}
    known.fill(objective, names, skip=r"^text\.|log_scale")
    assert float(objective.log_scale.detach()) == pytest.approx(-math.log(0.07))
    objective.log_scale.data.copy_(known.given["log_scale"])
    assert known.unused() == set()
    numbers = torch.arange(6, dtype=torch.float64).unsqueeze(1)
    loss = objective.compare([known.input("audio"), known.input("text"), numbers])
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    assert float(objective.log_scale.grad.norm()) == pytest.approx(known.gradients.pop("logit_scale_a"), rel=1e-6)
    assert known.check_gradients(objective, names, 1e-6) == len(known.gradients)
