"""Heads against slow published forms in float64, and against what stands at padded places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, ProbeConfig, ProbeHead
from auricle.probes.heads import best_tokens
from auricle.probes.heads.best_tokens import best_token
from auricle.probes.heads.linear import LinearConfig
from auricle.probes.heads.mhca import Mhca, MhcaConfig
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.probes.registry import PROBES, get_probe
from auricle.tokens.token_set import TokenBatch, TokenSet, TokenShape

TOKEN_PROBES = sorted(name for name, config in PROBES.items() if config.reads == "tokens")

S, B, T, FREQ, D, C = 3, 5, 4, 2, 12, 4
N = T * FREQ
SHAPE = TokenShape(D, D, 1, FREQ)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(config: ProbeConfig) -> ProbeHead:
    """A head whose settings all differ, in float64."""
    head = config.build(SHAPE, C, settings=S, generator=generator()).double()
    noise = generator(1)
    for p in head.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=noise, dtype=torch.float64)
    return head


def ragged() -> tuple[Tensor, Tensor]:
    x = torch.randn(B, N, D, generator=generator(2), dtype=torch.float64) + 0.3
    valid = torch.arange(N)[None] < torch.tensor([N, 2, 6, 4, N])[:, None]
    return x, valid


def token_batch(x: Tensor, valid: Tensor) -> TokenBatch:
    cls = torch.randn(B, 1, D, generator=generator(3), dtype=torch.float64)
    pooled = torch.randn(B, D, generator=generator(4), dtype=torch.float64)
    tokens = TokenSet.from_tensors(x, valid=valid, pooled=pooled, class_tokens=cls, freq=FREQ)
    batch = tokens.batch(range(B))
    return TokenBatch(x, valid, cls, pooled, batch.grid)


def mhca_slow(head: Mhca, s: int, x: Tensor) -> Tensor:
    """One clip `(n, D)` of one setting, every token projected, heads in a loop."""
    dh = D // head.heads
    k, v = x @ head.key[s].T, x @ head.value[s].T
    out = []
    for h in range(head.heads):
        part = slice(h * dh, (h + 1) * dh)
        weight = (k[:, part] @ head.query[s, 0, part] / dh**0.5).softmax(0)
        out.append(weight @ v[:, part])
    return torch.cat(out) @ head.weight[s].T + head.bias[s]


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_mhca_equals_projecting_every_token(norm: str) -> None:
    head = build(MhcaConfig(heads=3, norm=norm))
    x, valid = ragged()
    found = head(Inputs(x, valid))
    flat = x[valid]
    mean, std = flat.mean(0), (flat.var(0, correction=0) + 1e-6).sqrt()
    clips = [(x[b][valid[b]] - mean) / std if norm == "batch" else x[b][valid[b]] for b in range(B)]
    slow = torch.stack([torch.stack([mhca_slow(head, s, clip) for clip in clips]) for s in range(S)])
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)
    params = list(head.parameters())
    weight = torch.randn(found.shape, generator=generator(5), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), params),
        torch.autograd.grad((slow * weight).sum(), params),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_mhca_uses_running_statistics_in_evaluation() -> None:
    head = build(MhcaConfig(heads=2))
    x, valid = ragged()
    norm = torch.nn.BatchNorm1d(D, eps=1e-6, affine=False).double()
    for _ in range(3):
        head(Inputs(x, valid))
        norm(x[valid])
    found = head.eval()(Inputs(x, valid))
    clips = [norm.eval()(x[b][valid[b]]) for b in range(B)]
    slow = torch.stack([torch.stack([mhca_slow(head, s, clip) for clip in clips]) for s in range(S)])
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)


def protobin_slow(head: Protobin, x: Tensor, valid: Tensor) -> Tensor:
    """Autograd through sign (straight through), normalisation after the sign, cosine, maximum."""
    hard = torch.where(head.prototypes >= 0, 1.0, -1.0).to(x)
    p = F.normalize(hard + head.prototypes - head.prototypes.detach(), dim=-1)
    cosines = torch.einsum("bnd,spd->sbpn", F.normalize(x, dim=-1), p)
    h = cosines.masked_fill(~valid[None, :, None], -2).amax(-1)
    return torch.einsum("sbp,scp->sbc", h, head.weight) + head.bias.unsqueeze(1)


@pytest.mark.parametrize("chunk", [2**20, 7, 40, 400])
def test_protobin_equals_autograd_at_any_chunk(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(best_tokens, "_CPU_CHUNK", chunk)
    head = build(ProtobinConfig(per_class=3, precision="exact"))
    head.prototypes.data[0, 0, :2] = 0.0
    x, valid = ragged()
    found = head(head.read(token_batch(x, valid)))
    slow = protobin_slow(head, x, valid)
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)
    params = list(head.parameters())
    weight = torch.randn(found.shape, generator=generator(5), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), params),
        torch.autograd.grad((slow * weight).sum(), params),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_fast_precision_finds_almost_the_best_token() -> None:
    x = F.normalize(torch.randn(6, 300, 192, generator=generator()), dim=-1)
    valid = torch.arange(300)[None] < torch.tensor([300, 299, 1, 20, 257, 150])[:, None]
    unit = torch.randn(50, 192, generator=generator(1)).sign() * 192**-0.5
    exact, _ = best_token(unit, x, valid, fast=False)
    fast, winner = best_token(unit, x, valid, fast=True)
    chosen = torch.einsum("rd,brd->rb", unit, x.gather(1, winner.t().unsqueeze(-1).expand(-1, -1, 192)))
    assert valid.gather(1, winner.t()).all()
    torch.testing.assert_close(fast, exact, rtol=0.01, atol=1e-3)
    torch.testing.assert_close(chosen, exact, rtol=0.01, atol=2e-3)


def test_protobin_predicts_in_full_precision() -> None:
    heads = [
        ProtobinConfig(per_class=3, precision=p).build(SHAPE, C, settings=S, generator=generator())
        for p in ("fast", "exact")
    ]
    inputs = Inputs(F.normalize(torch.randn(B, N, D, generator=generator()), dim=-1))
    fast, exact = (head.eval()(inputs) for head in heads)
    assert torch.equal(fast, exact)
    fast, exact = (head.train()(inputs) for head in heads)
    assert not torch.equal(fast, exact)
    torch.testing.assert_close(fast, exact, rtol=0.02, atol=0.01)


def test_flip_rate() -> None:
    head = build(ProtobinConfig(per_class=1))
    assert head.watch() == {}
    head.prototypes.data[1] *= -1
    assert head.watch()["flips"].tolist() == [0.0, 1.0, 0.0]


def test_dropout_acts_in_training_only_and_from_the_generator() -> None:
    head = build(ProtobinConfig(per_class=3, dropout=0.5, precision="exact"))
    x, valid = ragged()
    inputs = head.read(token_batch(x, valid))
    a, b, c = (head(inputs, generator(k)) for k in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(head.eval()(inputs, generator(1)), head(inputs, generator(2)))


@pytest.mark.parametrize("name", TOKEN_PROBES)
@pytest.mark.parametrize("garbage", [1e4, float("nan"), float("inf")])
def test_padding_never_counts(name: str, garbage: float) -> None:
    head = build(get_probe(name)).eval()
    x, valid = ragged()
    dirty = x.masked_fill(~valid.unsqueeze(-1), garbage)
    batches = [token_batch(t, valid) for t in (x, dirty)]
    for inputs in ([head.read(batch) for batch in batches],):
        head.calibrate(inputs)
        clean, found = (head.train()(i) for i in inputs)
        assert clean.isfinite().all()
        assert torch.equal(clean, found)
        grads = [torch.autograd.grad(out.square().sum(), list(head.parameters())) for out in (clean, found)]
        for a, b in zip(*grads, strict=True):
            assert torch.equal(a, b)
    # A clip alone, without the padding, gives the same logits.
    head.eval()
    alone = TokenSet.from_tensors(
        x[1:2, :2], pooled=batches[0].pooled[1:2], class_tokens=batches[0].cls[1:2], freq=FREQ
    ).batch([0])
    short = TokenBatch(x[1:2, :2], alone.valid, batches[0].cls[1:2], batches[0].pooled[1:2], alone.grid)
    torch.testing.assert_close(head(head.read(short)), head(head.read(batches[1]))[:, 1:2], rtol=1e-9, atol=1e-12)


def test_linear_sources_by_loop() -> None:
    x, valid = ragged()
    batch = token_batch(x, valid)
    for b in range(B):
        rows = x[b][valid[b]]
        mean = LinearConfig(source="mean").build(SHAPE, C, settings=1, generator=generator()).read(batch).x[b]
        np.testing.assert_allclose(mean, np.mean(rows.numpy(), 0), rtol=1e-12)
        kept = LinearConfig(source="mean_t_flat_f").build(SHAPE, C, settings=1, generator=generator()).read(batch).x[b]
        expected = np.concatenate([rows[f::FREQ].numpy().mean(0) for f in range(FREQ)])
        np.testing.assert_allclose(kept, expected, rtol=1e-12)
    assert torch.equal(build(LinearConfig(source="cls")).read(batch).x, batch.cls[:, 0])
    assert torch.equal(build(LinearConfig()).read(batch).x, batch.pooled)


def test_linear_standardises_by_the_training_clips() -> None:
    x = torch.randn(50, D, generator=generator(), dtype=torch.float64) * 30 + 5
    x[:, 3] = 7.0
    head = build(LinearConfig())
    head.calibrate([Inputs(x[:20]), Inputs(x[20:])])
    y = (x - x.mean(0)) / x.std(0, correction=0)
    y[:, 3] = 0
    for s in range(S):
        torch.testing.assert_close(head(Inputs(x))[s], y @ head.weight[s].T + head.bias[s])
    plain = build(LinearConfig(normalise="none"))
    plain.calibrate([Inputs(x)])
    torch.testing.assert_close(plain(Inputs(x))[1], x @ plain.weight[1].T + plain.bias[1])


def test_keep_cuts_settings_out() -> None:
    x, valid = ragged()
    batch = token_batch(x, valid)
    for name in TOKEN_PROBES:
        head = build(get_probe(name)).eval()
        before = head(head.read(batch))
        head.keep(torch.tensor([2, 0]))
        assert head.settings == 2
        assert torch.equal(head(head.read(batch)), before[[2, 0]])


@pytest.mark.parametrize(
    ("config", "shape", "match"),
    [
        (LinearConfig(source="cls"), TokenShape(8, 8, 0, 1), "no class token|has none"),
        (MhcaConfig(heads=5), SHAPE, "can't be split"),
    ],
)
def test_refused_settings(config: ProbeConfig, shape: TokenShape, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        config.build(shape, C, settings=1, generator=generator())


def test_unknown_words_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'protobin'"):
        get_probe("protbin")
