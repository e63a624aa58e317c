"""Every pooling against its published form: one clip and one setting at a time, every token projected, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.encoders.parts.positions import sincos_grid
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead
from auricle.probes.heads import best_tokens, recompute
from auricle.probes.heads.abmilp import AbmilpConfig
from auricle.probes.heads.conv import ConvConfig
from auricle.probes.heads.ep import EpConfig
from auricle.probes.heads.jepa import JepaConfig
from auricle.probes.heads.linear import LinearConcatConfig
from auricle.probes.heads.linear_pre import LinearPreConfig
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.heads.mlp import MlpConfig
from auricle.probes.heads.simpool import SimPoolConfig
from auricle.tokens.token_set import TokenSet, TokenShape

S, B, T, FREQ, D, C = 3, 5, 4, 2, 12, 4
N = T * FREQ
SHAPE = TokenShape(D, D, 1, FREQ)
LENGTHS = torch.tensor([N, 2, 6, 4, N])

Slow = Callable[[ProbeHead, int, Tensor], Tensor]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(config: ProbeConfig) -> ProbeHead:
    """A head whose settings all differ, in float64."""
    head = config.build(SHAPE, C, settings=S, generator=generator()).double()
    noise = generator(1)
    for p in head.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=noise, dtype=torch.float64)
    return head


def ragged() -> tuple[Tensor, Tensor]:
    x = torch.randn(B, N, D, generator=generator(2), dtype=torch.float64) * 2 + 0.3
    return x, torch.arange(N)[None] < LENGTHS[:, None]


def compare(head: ProbeHead, found: Tensor, slow: Tensor) -> None:
    """Values, and the gradients of every parameter."""
    torch.testing.assert_close(found, slow, rtol=1e-9, atol=1e-11)
    params = list(head.parameters())
    weight = torch.randn(found.shape, generator=generator(5), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), params),
        torch.autograd.grad((slow * weight).sum(), params),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def ep(head: ProbeHead, s: int, z: Tensor) -> Tensor:
    Q = head.query.shape[1]
    attention = (z @ head.query[s].T / D**0.5).softmax(0)
    values = (z @ head.value[s].T).view(len(z), Q, -1)
    return torch.cat([attention[:, m] @ values[:, m] for m in range(Q)])


def mhca(head: ProbeHead, s: int, z: Tensor) -> Tensor:
    H, dh = head.heads, D // head.heads
    k, v = z @ head.key[s].T, z @ head.value[s].T
    out = []
    for q in range(head.query.shape[1]):
        parts = [slice(h * dh, (h + 1) * dh) for h in range(H)]
        weights = [(k[:, p] @ head.query[s, q, p] / dh**0.5).softmax(0) for p in parts]
        out.append(torch.cat([w @ v[:, p] for w, p in zip(weights, parts, strict=True)]))
    return torch.stack(out).mean(0)


def simpool(head: ProbeHead, s: int, z: Tensor) -> Tensor:
    values = F.layer_norm(z, (D,), head.gain[s], head.shift[s], eps=1e-6)
    query, keys = head.query[s] @ z.mean(0), values @ head.key[s].T
    weight = (keys @ query / D**0.5).softmax(0)
    if head.gamma is None:
        return weight @ values
    return (weight @ (values - values.min() + 1e-6) ** head.gamma) ** (1 / head.gamma)


def abmilp(head: ProbeHead, s: int, z: Tensor) -> Tensor:
    attended = z
    if head.self_attention != "none":
        q, k, v = (z @ part.T for part in head.qkv[s].chunk(3))
        attended = (q @ k.T / D**0.5).softmax(-1) @ v @ head.proj_weight[s].T + head.proj_bias[s]
    scored = attended
    if head.position == "sincos":
        scored = scored + sincos_grid(len(z) // FREQ, FREQ, D)
    for layer in range(head.depth):
        weight, bias = (getattr(head, f"score_{part}{layer}")[s] for part in ("weight", "bias"))
        scored = scored @ weight.T + bias
        if layer < head.depth - 1:
            scored = scored.tanh() if head.activation == "tanh" else scored.relu()
    return scored[:, 0].softmax(0) @ (attended if head.self_attention == "both" else z)


def jepa(head: ProbeHead, s: int, z: Tensor) -> Tensor:
    H, dh = head.heads, D // head.heads
    z = F.layer_norm(z, (D,), head.norm1_gain[s], head.norm1_shift[s], eps=1e-5)
    q = head.q_weight[s] @ head.query[s] + head.q_bias[s]
    k, v = z @ head.k_weight[s].T + head.k_bias[s], z @ head.v_weight[s].T + head.v_bias[s]
    parts = [slice(h * dh, (h + 1) * dh) for h in range(H)]
    read = torch.cat([(k[:, p] @ q[p] / dh**0.5).softmax(0) @ v[:, p] for p in parts])
    out = head.query[s] + head.proj_weight[s] @ read + head.proj_bias[s]
    h = F.layer_norm(out, (D,), head.norm2_gain[s], head.norm2_shift[s], eps=1e-5)
    h = F.gelu(head.fc1_weight[s] @ h + head.fc1_bias[s])
    return out + head.fc2_weight[s] @ h + head.fc2_bias[s]


def conv(head: ProbeHead, s: int, z: Tensor) -> Tensor:
    grid = z.view(1, len(z) // FREQ, FREQ, D).permute(0, 3, 1, 2)
    h = F.conv2d(grid, head.kernel[s], head.offset[s], padding=head.kernel.shape[-1] // 2)[0].flatten(1)
    h = h.relu() if head.activation == "relu" else F.gelu(h)
    return h.mean(1) if head.reduce == "mean" else h.amax(1)


POOLINGS: list[tuple[ProbeConfig, Slow]] = [
    (MhcaConfig(heads=3, queries=2, norm="train"), mhca),
    (EpConfig(queries=4), ep),
    (EpConfig(queries=3, d_out=2, norm="none"), ep),
    (EpConfig(), ep),
    (SimPoolConfig(), simpool),
    (SimPoolConfig(norm="none"), simpool),
    (SimPoolConfig(gamma=2.0), simpool),
    (SimPoolConfig(gamma=0.7, norm="none"), simpool),
    (AbmilpConfig(), abmilp),
    (AbmilpConfig(depth=1, activation="relu"), abmilp),
    (AbmilpConfig(depth=3, activation="relu", norm="none"), abmilp),
    (AbmilpConfig(depth=1, position="sincos"), abmilp),
    (AbmilpConfig(self_attention="map", position="sincos"), abmilp),
    (AbmilpConfig(self_attention="both", depth=1), abmilp),
    (JepaConfig(heads=3), jepa),
    (JepaConfig(norm="train", mlp_ratio=1.5), jepa),
    (ConvConfig(channels=5), conv),
    (ConvConfig(channels=5, kernel=5, activation="gelu", pool="max", norm="none"), conv),
]


@pytest.mark.parametrize(("config", "slow"), POOLINGS, ids=lambda value: type(value).__name__.removesuffix("Config"))
@pytest.mark.parametrize("pieces", [2**22, 200])
def test_pooling_equals_its_published_form(
    config: ProbeConfig, slow: Slow, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompute, "_CPU_ELEMENTS", pieces)
    head = build(config.replace(pooled_norm="none"))
    x, valid = ragged()
    dirty = x.masked_fill(~valid.unsqueeze(-1), float("nan"))
    head.calibrate([Inputs(dirty[:2], valid[:2]), Inputs(dirty[2:], valid[2:])])
    clips = [x[b, : LENGTHS[b]] for b in range(B)]
    if config.norm == "train":
        flat = torch.cat(clips)
        clips = [(clip - flat.mean(0)) / flat.std(0, correction=0) for clip in clips]
    rows = [torch.stack([head.weight[s] @ slow(head, s, z) + head.bias[s] for z in clips]) for s in range(S)]
    compare(head, head(Inputs(dirty, valid)), torch.stack(rows))
    # Without padding, the other branch: the same clips.
    full = LENGTHS == N
    torch.testing.assert_close(head(Inputs(x[full])), torch.stack(rows)[:, full], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("reduce", ["max", "logsumexp", "mean"])
@pytest.mark.parametrize("chunk", [2**22, 30])
def test_tokens_classified_before_pooling(reduce: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_tokens, "_CPU_CHUNK", chunk)
    monkeypatch.setattr(recompute, "_CPU_ELEMENTS", chunk)
    head = build(LinearPreConfig(pool=reduce))
    x, valid = ragged()
    head.calibrate([Inputs(x, valid)])
    flat = x[valid]
    rows = []
    for s in range(S):
        for b in range(B):
            z = (x[b][valid[b]] - flat.mean(0)) / flat.std(0, correction=0)
            logits = z @ head.weight[s].T + head.bias[s]
            pooled = {"max": logits.amax(0), "logsumexp": logits.exp().mean(0).log(), "mean": logits.mean(0)}
            rows.append(pooled[reduce])
    slow = torch.stack(rows).view(S, B, C)
    compare(head, head(Inputs(x.masked_fill(~valid.unsqueeze(-1), float("nan")), valid)), slow)
    full = LENGTHS == N
    torch.testing.assert_close(head(Inputs(x[full])), slow[:, full], rtol=1e-9, atol=1e-11)


def test_the_mean_of_token_logits_is_a_linear_probe() -> None:
    """The reason why `max` is the default."""
    head = build(LinearPreConfig(pool="mean", norm="none"))
    x, valid = ragged()
    means = torch.stack([x[b][valid[b]].mean(0) for b in range(B)])
    torch.testing.assert_close(
        head(Inputs(x, valid)), torch.einsum("bd,scd->sbc", means, head.weight) + head.bias[:, None]
    )


@pytest.mark.parametrize("layers", [1, 3])
def test_perceptron(layers: int) -> None:
    head = build(MlpConfig(hidden=7, layers=layers, activation="relu"))
    g = torch.randn(B, D, generator=generator(3), dtype=torch.float64) * 9 + 4
    head.calibrate([Inputs(g)])
    rows = []
    for s in range(S):
        h = (g - g.mean(0)) / g.std(0, correction=0)
        for w, b in zip(head.hidden_weights, head.hidden_biases, strict=True):
            h = (h @ w[s].T + b[s]).relu()
        rows.append(h @ head.weight[s].T + head.bias[s])
    compare(head, head(Inputs(g)), torch.stack(rows))


def test_concatenation_keeps_a_coarse_map() -> None:
    head = LinearConcatConfig(parts=("cls", "map", "std", "max"), bins=3).build(
        SHAPE, C, settings=1, generator=generator()
    )
    x, valid = ragged()
    cls = torch.randn(B, 1, D, generator=generator(3), dtype=torch.float64)
    batch = TokenSet.from_tensors(x, valid=valid, class_tokens=cls, freq=FREQ).batch(range(B))
    found = head.read(batch).x
    assert head.params == C * ((1 + 3 * FREQ + 1 + 1) * D + 1)
    for b in range(B):
        clip = x[b, : LENGTHS[b]].float()
        grid = clip.view(1, -1, FREQ, D).permute(0, 3, 1, 2)
        coarse = F.adaptive_avg_pool2d(grid, (3, FREQ))[0].permute(1, 2, 0).flatten()
        expected = torch.cat([cls[b, 0].float(), coarse, clip.std(0, correction=0), clip.amax(0)])
        torch.testing.assert_close(found[b], expected)


def test_what_is_concatenated_by_default() -> None:
    x, valid = ragged()
    cls = torch.randn(B, 1, D, generator=generator(3), dtype=torch.float64)
    for class_tokens, expected in ((cls, lambda b, clip: [cls[b, 0].float(), clip.mean(0)]), (None, None)):
        tokens = TokenSet.from_tensors(x, valid=valid, class_tokens=class_tokens, freq=FREQ)
        head = LinearConcatConfig().build(tokens.shape, C, settings=1, generator=generator())
        found = head.read(tokens.batch(range(B))).x
        for b in range(B):
            clip = x[b, : LENGTHS[b]].float()
            parts = [clip.mean(0), clip.amax(0)] if expected is None else expected(b, clip)
            torch.testing.assert_close(found[b], torch.cat(parts))
