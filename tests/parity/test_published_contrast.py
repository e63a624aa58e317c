"""Contrastive methods: the published criteria on ruled weights, in the settings of the recipes' paper sizes."""

from __future__ import annotations

import pytest
import torch
from golden import shrunk
from published_modules import Published

from auricle.audio.batch import Features
from auricle.objectives.contract import View
from auricle.objectives.contrastive import future_contrast
from auricle.objectives.contrastive.negatives import Negatives
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
