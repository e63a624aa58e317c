"""Where prototypes fired."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.errors import ConfigError
from auricle.probes.contract import Labelled, ProbeConfig
from auricle.probes.fitted import FittedProbe
from auricle.probes.heads.cgp import CgpConfig
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.heads.proto import ProtoConfig
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.probes.heads.prototype_maps import activation_map
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.search import fit_probe
from auricle.tokens.token_set import TokenSet

T, FREQ, D, C = 8, 4, 32, 3
CLASSES = ("bell", "rain", "siren")
RATE = 12.5


def clips(n: int, seed: int, *, layers: int = 1) -> tuple[Labelled, Tensor]:
    """Each class is there or not, as a pattern in one token of the first five columns; the places are `(n, C)`."""
    draw = torch.Generator().manual_seed(seed)
    signs = torch.randn(C, D, generator=torch.Generator().manual_seed(9)).sign()
    there = torch.rand(n, C, generator=draw) < 0.5
    places = torch.stack([torch.randperm(5 * FREQ, generator=draw)[:C] for _ in range(n)])
    valid = torch.arange(T * FREQ)[None] < FREQ * torch.randint(5, T + 1, (n, 1), generator=draw)
    sets = []
    for layer in range(layers):
        x = torch.randn(n, T * FREQ, D, generator=draw)
        for c in range(C):
            x[torch.arange(n), places[:, c]] += 3 * signs[c] * there[:, c : c + 1]
        cls = x.mean(1, keepdim=True)
        sets.append(
            TokenSet.from_tensors(x, valid=valid, class_tokens=cls, freq=FREQ, rate=RATE, encoder="e", layer=layer)
        )
    return Labelled(TokenSet.of_layers(sets) if layers > 1 else sets[0], there.float()), places


def fit(config: ProbeConfig, *, layers: int = 1) -> FittedProbe:
    search = SearchConfig(epochs=15, batch=16, lr_count=2, weight_decay=(1e-5,))
    train, valid = clips(160, 0, layers=layers)[0], clips(60, 1, layers=layers)[0]
    return fit_probe(config, train, valid, classes=CLASSES, loss="bce", search=search)


@pytest.fixture(scope="module")
def fitted() -> FittedProbe:
    return fit(ProtobinConfig(4))


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (ProtobinConfig(4), 1),
        (ProtobinConfig(4, values="float", mixer="block"), 1),
        (ProtoConfig(4), 1),
        (CgpConfig(4), 2),
    ],
    ids=["protobin", "protofloat", "proto", "cgp"],
)
def test_maps_point_at_the_event(config: ProbeConfig, layers: int) -> None:
    """The strongest prototypes of a class that is there fire in the token that holds its pattern."""
    fitted = fit(config, layers=layers)
    test, places = clips(40, 2, layers=layers)
    logits = fitted.logits(test.tokens)
    pairs = ((logits > 0) & (test.targets > 0)).nonzero().tolist()
    assert len(pairs) > 0.7 * int(test.targets.sum())
    found = anywhere = peak = 0
    for i, target in pairs:
        shown = activation_map(fitted, test.tokens, CLASSES[target], place=i, count=3)
        assert shown.logit == pytest.approx(float(logits[i, target]), abs=1e-4)
        assert shown.map.shape == (T, FREQ)
        assert shown.seconds == T / RATE
        at = [round(one.seconds[0] * RATE) * FREQ + one.rows[0] for one in shown.firings]
        first = shown.firings[0]
        found += int(places[i, target]) == at[0]
        anywhere += int(places[i, target]) in at
        peak += int(np.nanargmax(shown.map)) == int(places[i, target])
        assert first.seconds[1] - first.seconds[0] == pytest.approx(1 / RATE)
        assert first.band == (first.rows[0] / FREQ, first.rows[1] / FREQ)
        assert first.rows[1] == first.rows[0] + 1
        strengths = [one.strength for one in shown.firings]
        assert strengths == sorted(strengths, reverse=True)
        assert min(strengths) > 0
        assert len(strengths) <= 3
    # By chance one token of twenty.
    assert anywhere > 0.9 * len(pairs)
    assert found > 0.7 * len(pairs)
    assert peak > 0.6 * len(pairs)


def test_a_map_is_the_weighted_sum_of_similarities(fitted: FittedProbe) -> None:
    test, _ = clips(4, 3)
    shown = activation_map(fitted, test.tokens, 1, place=2, count=2)
    head, batch = fitted.head, test.tokens.batch([2])
    assert isinstance(head, Protobin)
    unit = torch.where(head.prototypes[0] >= 0, 1.0, -1.0) / D**0.5
    cosines = torch.nn.functional.normalize(batch.x[0], dim=-1) @ unit.T
    h = cosines[batch.valid[0]].amax(0)
    strength = h * head.weight[0, 1]
    top = strength.argsort(descending=True)[:2]
    assert [one.prototype for one in shown.firings] == top.tolist()
    assert [one.strength for one in shown.firings] == pytest.approx(strength[top].tolist(), rel=1e-5)
    expected = (cosines[:, top] * head.weight[0, 1, top]).sum(1).masked_fill(~batch.valid[0], torch.nan).view(-1, FREQ)
    np.testing.assert_allclose(shown.map, expected.detach().numpy(), rtol=1e-4, atol=1e-6)
    data = shown.to_json()
    assert data["target"] == "rain"
    assert len(data["map"]) == batch.grid.time  # type: ignore[arg-type]
    # Padding shows as nothing.
    marked = replace(test.tokens.select([2]), valid=test.tokens.valid.copy())
    marked.valid[marked.start[0] + 5] = False
    holed = activation_map(fitted, marked, 1)
    assert np.isnan(holed.map.reshape(-1)[5])
    assert holed.to_json()["map"][1][1] is None  # type: ignore[index]


def test_refused_maps(fitted: FittedProbe) -> None:
    tokens = clips(3, 2)[0].tokens
    with pytest.raises(ConfigError, match="did you mean 'siren'"):
        activation_map(fitted, tokens, "sirn")
    with pytest.raises(ConfigError, match="clip 3 of 3"):
        activation_map(fitted, tokens, 0, place=3)
    with pytest.raises(ConfigError, match="has none; fit"):
        activation_map(fit(LinearConfig()), tokens, 0)
    with pytest.raises(ConfigError, match="fitted on encoder 'e'"):
        activation_map(fitted, replace(tokens, encoder="other"), 0)
