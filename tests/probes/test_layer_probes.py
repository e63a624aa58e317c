"""Probes of all layers: published values, slow forms in float64, padding, and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead
from auricle.probes.heads.cgp import Cgp, CgpConfig
from auricle.probes.heads.layer_attentive import LayerAttentive, LayerAttentiveConfig
from auricle.probes.heads.layer_gated import GatedLinear, GatedLinearConfig, WeightedSum, WeightedSumConfig
from auricle.probes.search.feed import Feed
from auricle.tokens.token_set import TokenBatch, TokenSet, TokenShape
from auricle.zoo.families.audiomosaic_heads import AttentiveSum

S, B, L, T, FREQ, D, C = 2, 4, 3, 3, 2, 8, 5
N = T * FREQ
SHAPE = TokenShape(D, D, 1, FREQ, L)
ALL = [CgpConfig(3, dropout=0.0), CgpConfig(3, middle="mean", dropout=0.0), WeightedSumConfig(), GatedLinearConfig()]
ALL += [WeightedSumConfig("mean_with_cls", "layer"), GatedLinearConfig("cls"), LayerAttentiveConfig(heads=2)]
ALL += [LayerAttentiveConfig("mean", repeat_last=False), WeightedSumConfig("cls", "none")]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(config: ProbeConfig) -> ProbeHead:
    """A head whose settings all differ, in float64."""
    head = config.build(SHAPE, C, settings=S, generator=generator()).double()
    noise = generator(1)
    for p in head.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=noise, dtype=torch.float64)
    return head


def batch(garbage: float = 0.0, rows: slice = slice(None)) -> TokenBatch:
    stack = torch.randn(B, L, N, D, generator=generator(2), dtype=torch.float64) * torch.tensor([1, 5, 0.2]).view(
        3, 1, 1
    )
    valid = (torch.arange(N)[None] < torch.tensor([N, 2, 4, 1])[:, None])[rows]
    cls = torch.randn(B, L, 1, D, generator=generator(3), dtype=torch.float64)[rows]
    longest = int(valid.sum(1).max())
    valid = valid[:, :longest]
    stack = stack[rows, :, :longest].masked_fill(~valid[:, None, :, None], garbage)
    stack_valid = valid.unsqueeze(1).expand(-1, L, -1)
    pooled = stack[:, -1].mean(1)
    grid = Grid(-(-longest // FREQ), FREQ, 1.0)
    return TokenBatch(stack[:, -1], valid, cls[:, -1], pooled, grid, stack, stack_valid, cls, (grid,) * L)


def each(found: TokenBatch) -> list[tuple[Tensor, Tensor]]:
    """Each clip's layers without padding, `(L, n, D)`, and its class tokens, `(L, D)`."""
    assert found.stack is not None
    assert found.stack_cls is not None
    return [(x[:, v], c[:, 0]) for x, v, c in zip(found.stack, found.valid, found.stack_cls, strict=True)]


def cgp_slow(head: Cgp, s: int, x: Tensor, cls: Tensor) -> Tensor:
    gates, p = head.gates[s].softmax(0), F.normalize(head.prototypes[s], dim=-1)
    z = sum((gates[k] * F.normalize(x[k], dim=-1) for k in range(L)), torch.zeros(()))
    c = sum((gates[k] * F.normalize(cls[k], dim=-1) for k in range(L)), torch.zeros(()))
    cosines = p @ z.T
    middle = p @ c if head.cls else cosines.mean(1)
    features = [value for k in range(len(p)) for value in (cosines[k].min(), middle[k], cosines[k].max())]
    return head.weight[s] @ torch.stack(features) + head.bias[s]


def vector(source: str, x: Tensor, cls: Tensor, norm: Callable[[Tensor], Tensor]) -> Tensor:
    rows = {"mean": x, "cls": cls.unsqueeze(1), "mean_with_cls": torch.cat([cls.unsqueeze(1), x], 1)}[source]
    return torch.stack([torch.stack([norm(token) for token in layer]).mean(0) for layer in rows])


def layer_norm(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + 1e-6).sqrt()


def weighted_slow(head: WeightedSum, s: int, x: Tensor, cls: Tensor) -> Tensor:
    norm = layer_norm if head.config.normalise == "layer" else lambda token: token
    g = (vector(head.config.source, x, cls, norm) - head.mean[s]) * head.scale_by[s]
    return head.weight[s] @ (head.gates[s].softmax(0) @ g) + head.bias[s]


def gated_slow(head: GatedLinear, s: int, x: Tensor, cls: Tensor) -> Tensor:
    g = F.normalize(vector(head.config.source, x, cls, lambda token: token), dim=-1)
    y = layer_norm(head.gates[s].softmax(0) @ g) * head.norm.weight[s] + head.norm.bias[s]
    return head.weight[s] @ y + head.bias[s]


def attentive_slow(head: LayerAttentive, s: int, x: Tensor, cls: Tensor) -> Tensor:
    """Every entry projected, heads in a loop, each token through its own affine layer norm."""
    rows = {"mean": x, "mean_with_cls": torch.cat([cls.unsqueeze(1), x], 1)}[head.source]
    rows = torch.cat([rows, rows[-1:]]) if head.config.repeat_last else rows
    entries = torch.stack(
        [
            torch.stack(
                [layer_norm(t) * head.entry_norms.weight[s, e] + head.entry_norms.bias[s, e] for t in layer]
            ).mean(0)
            for e, layer in enumerate(rows)
        ]
    )
    k, v = entries @ head.key[s].T, entries @ head.value[s].T
    dh = D // head.config.heads
    out = []
    for h in range(head.config.heads):
        part = slice(h * dh, (h + 1) * dh)
        out.append((k[:, part] @ head.query[s, part] / math.sqrt(dh)).softmax(0) @ v[:, part])
    y = layer_norm(torch.cat(out)) * head.norm.weight[s] + head.norm.bias[s]
    return head.weight[s] @ y + head.bias[s]


def slow(head: ProbeHead, found: TokenBatch) -> Tensor:
    forms = {Cgp: cgp_slow, WeightedSum: weighted_slow, GatedLinear: gated_slow, LayerAttentive: attentive_slow}
    form = forms[type(head)]
    return torch.stack([torch.stack([form(head, s, x, cls) for x, cls in each(found)]) for s in range(S)])  # type: ignore[operator]


@pytest.mark.parametrize("config", ALL, ids=str)
def test_heads_equal_slow_forms_and_padding_never_counts(config: ProbeConfig) -> None:
    head = build(config).train()
    dirty = head.read(batch(float("nan")))
    head.calibrate([dirty])
    found, expected = head(dirty), slow(head, batch())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    params = list(head.parameters())
    weight = torch.randn(found.shape, generator=generator(5), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), params),
        torch.autograd.grad((expected * weight).sum(), params),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)
    # A clip alone, without the padding, gives the same logits.
    head.eval()
    alone = head(head.read(batch(rows=slice(1, 2))))
    torch.testing.assert_close(alone, head(dirty)[:, 1:2], rtol=1e-9, atol=1e-11)
    before = head(dirty)
    head.keep(torch.tensor([1]))
    assert torch.equal(head(dirty), before[1:])


def test_weighted_sum_standardises_each_layer_by_the_training_clips() -> None:
    head = build(WeightedSumConfig())
    pieces = [head.read(batch(rows=slice(0, 2))), head.read(batch(rows=slice(2, 4)))]
    head.calibrate(pieces)
    x = torch.cat([piece.x for piece in pieces])
    torch.testing.assert_close(head.mean[1], x.mean(0))
    torch.testing.assert_close(head.scale_by[0], 1 / x.std(0, correction=0))


# --- published values -------------------------------------------------------------------------------------------------


def fill(head: ProbeHead) -> None:
    head.double().eval()
    for k, (_, p) in enumerate(head.named_parameters()):
        i = torch.arange(p[0].numel(), dtype=torch.float64)
        p.data.copy_((0.05 * torch.sin(0.7 * i + 1.3 * k)).view(p[0].shape).expand_as(p))


@pytest.mark.parametrize(
    ("middle", "total", "first"),
    [
        ("cls", -0.225374, [-0.040117, -0.056226, -0.048960, -0.019336]),
        ("mean", -0.272733, [-0.038327, -0.053661, -0.045623, -0.037528]),
    ],
)
def test_convex_gated_probing_golden_values(middle: str, total: float, first: list[float]) -> None:
    j = torch.arange(2 * 20 * 24, dtype=torch.float64)
    x = torch.cos(0.37 * j + 0.1).view(2, 20, 24)
    stack = torch.stack([x, x.roll(1, -1)], 1)
    valid = torch.ones(2, 20, dtype=torch.bool)
    grid = Grid(5, 4, 1.0)
    cls = stack.mean(2, keepdim=True)
    found = TokenBatch(x, valid, None, x.mean(1), grid, stack, valid.unsqueeze(1).expand(-1, 2, -1), cls, (grid,) * 2)
    head = CgpConfig(count=6, middle=middle).build(TokenShape(24, 24, 1, 4, 2), 3, settings=2, generator=generator())  # type: ignore[arg-type]
    fill(head)
    logits = head(head.read(found))
    for s in range(2):
        assert logits[s].sum().item() == pytest.approx(total, abs=6e-7)
        assert logits[s].flatten()[:4].tolist() == pytest.approx(first, abs=6e-7)


def test_layer_attentive_golden_values() -> None:
    """AudioMosaic's attentive probe on its small golden encoder: the published logits, from the layers' tokens."""
    config = SpectrogramTransformerConfig(width=96, depth=2, heads=3, drop_path=0.0)
    whole = AttentiveSum(config.build(), 7).double().eval()
    names = whole.official_names()
    state = {}
    for j, name in enumerate(sorted(names.values())):
        shape = next(t.shape for ours, t in whole.state_dict().items() if names[ours] == name)
        s = torch.from_numpy(np.sin(0.7 * np.arange(math.prod(shape), dtype=np.float64) + 1.3 * j + 0.1))
        plain = len(shape) == 1 and name.endswith(".weight")
        state[name] = (1 + 0.1 * s if plain else 0.05 * s).view(shape)
    whole.load_official(state)
    t, f = np.arange(1024)[:, None], np.arange(128)[None]
    x = torch.from_numpy(np.sin(0.01 * t + 0.05 * f) + 0.3 * np.cos(0.002 * t * f))[None]
    with torch.no_grad():
        tokens = whole.encoder(Features(x, torch.tensor([1024]), 100.0), layers=(1, 2))
    assert tokens.layers is not None
    stack = torch.stack([layer.block for layer in tokens.layers], 1)
    cls = torch.stack([layer.cls for layer in tokens.layers if layer.cls is not None], 1)
    valid = torch.ones(1, 2, stack.shape[2], dtype=torch.bool)
    grids = (tokens.grid, tokens.grid)
    found = TokenBatch(tokens.x, valid[:, 0], tokens.cls, tokens.x.mean(1), tokens.grid, stack, valid, cls, grids)
    head = LayerAttentiveConfig().build(TokenShape(96, 96, 1, 8, 2), 7, settings=1, generator=generator()).double()
    weights = {
        "query": whole.attn_query.flatten(),
        "key": whole.attn_key.weight,
        "value": whole.attn_value.weight,
        "entry_norms.weight": torch.stack([norm.weight for norm in whole.layer_norms]),
        "entry_norms.bias": torch.stack([norm.bias for norm in whole.layer_norms]),
        "norm.weight": whole.encoder.fc_norm.weight,
        "norm.bias": whole.encoder.fc_norm.bias,
        "weight": whole.head.weight,
        "bias": whole.head.bias,
    }
    head.load_state_dict({name: w.detach().unsqueeze(0) for name, w in weights.items()})
    golden = [-0.05291745, -0.05819311, 0.18730016, -0.03139391, -0.20486972, 0.07355014, 0.04694588]
    assert head(head.read(found))[0, 0].tolist() == pytest.approx(golden, abs=2e-8)


def test_published_parameter_counts() -> None:
    build = {"settings": 1, "generator": generator()}
    assert LayerAttentiveConfig().build(TokenShape(768, 768, 1, 8, 12), 527, **build).params == 1_607_183
    cgp = CgpConfig(count=10_000).build(TokenShape(768, 768, 1, 8, 12), 527, **build).params
    assert cgp == 7_680_000 + 12 + 30_000 * 527 + 527
    assert WeightedSumConfig().build(SHAPE, C, **build).params == L + C * (D + 1)
    assert GatedLinearConfig().build(SHAPE, C, **build).params == L + 2 * D + C * (D + 1)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (CgpConfig(middle="cls"), "needs a class token"),
        (WeightedSumConfig("cls"), "needs a class token"),
        (GatedLinearConfig("mean_with_cls"), "needs a class token"),
        (LayerAttentiveConfig("cls"), "needs a class token"),
        (LayerAttentiveConfig(heads=3), "can't be split into 3 heads"),
    ],
)
def test_refused_settings(config: ProbeConfig, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        config.build(TokenShape(8, 8, 0, 1, 2), C, settings=1, generator=generator())


@pytest.mark.parametrize("config", ALL, ids=str)
def test_tokens_of_one_layer_are_refused(config: ProbeConfig) -> None:
    tokens = TokenSet.from_tensors(torch.randn(2, 4, D, generator=generator()), class_tokens=torch.zeros(2, 1, D))
    head = config.build(tokens.shape, C, settings=1, generator=generator())
    with pytest.raises(ConfigError, match="select them with layers='all'"):
        head.read(tokens.batch([0]))


def two_grids() -> TokenSet:
    draw = generator()
    fine = TokenSet.from_tensors(torch.randn(6, 8, D, generator=draw), freq=2, layer=1)
    return TokenSet.of_layers([fine, TokenSet.from_tensors(torch.randn(6, 4, D, generator=draw), freq=1, layer=2)])


def test_layers_on_different_grids() -> None:
    """Where each layer is averaged first, grids may differ; where tokens are compared, they may not."""
    tokens = two_grids()
    head = WeightedSumConfig(normalise="none").build(tokens.shape, C, settings=1, generator=generator())
    x = head.read(tokens.batch([3, 1])).x
    for place, layer in enumerate(tokens.stack):
        torch.testing.assert_close(x[:, place], layer.batch([3, 1]).x.mean(1))
    feed = Feed(tokens, head)
    assert feed.held is not None
    assert feed.held.shape == (6, 2, D)
    with pytest.raises(ConfigError, match=r"different grids \[\(4, 1\), \(4, 2\)\]"):
        CgpConfig(2).build(tokens.shape, C, settings=1, generator=generator()).read(tokens.batch([0]))


def test_dropout_of_cosines() -> None:
    head = build(CgpConfig(3, dropout=0.5)).train()
    inputs: Inputs = head.read(batch())
    a, b, c = (head(inputs, generator(k)) for k in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(head.eval()(inputs, generator(1)), head(inputs, generator(2)))


def test_fast_precision_is_close_and_for_training_only() -> None:
    heads = [
        CgpConfig(4, precision=p, dropout=0.0).build(SHAPE, C, settings=S, generator=generator())
        for p in ("fast", "exact")
    ]
    found = batch()
    assert found.stack is not None
    single = TokenBatch(
        found.x.float(),
        found.valid,
        None,
        found.pooled.float(),
        found.grid,
        found.stack.float(),
        found.stack_valid,
        found.stack_cls.float() if found.stack_cls is not None else None,
        found.stack_grids,
    )
    inputs = heads[0].read(single)
    fast, exact = (head.train()(inputs) for head in heads)
    assert not torch.equal(fast, exact)
    torch.testing.assert_close(fast, exact, rtol=0.02, atol=0.01)
    grads = [
        torch.autograd.grad(out.square().sum(), [head.gates])[0] for out, head in zip((fast, exact), heads, strict=True)
    ]
    torch.testing.assert_close(*grads, rtol=0.1, atol=0.02)
    fast, exact = (head.eval()(inputs) for head in heads)
    assert torch.equal(fast, exact)
