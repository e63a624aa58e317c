"""Prototype probes against published values and against slow forms in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auricle.encoders.contract import Grid
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, Labelled, ProbeConfig
from auricle.probes.heads import best_tokens
from auricle.probes.heads.proto import Proto, ProtoConfig
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.probes.heads.prototype_head import PrototypeHead
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.search import fit_probe
from auricle.tokens.token_set import TokenBatch, TokenSet, TokenShape

S, B, T, FREQ, D, C = 3, 5, 4, 2, 12, 4
N = T * FREQ
SHAPE = TokenShape(D, D, 1, FREQ)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(config: ProbeConfig, shape: TokenShape = SHAPE) -> PrototypeHead:
    """A head whose settings all differ, in float64."""
    head = config.build(shape, C, settings=S, generator=generator()).double()
    noise = generator(1)
    for p in head.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=noise, dtype=torch.float64)
    return head


def batch(garbage: float = 0.0) -> TokenBatch:
    x = torch.randn(B, N, D, generator=generator(2), dtype=torch.float64) + 0.3
    valid = torch.arange(N)[None] < torch.tensor([N, 2, 6, 4, N])[:, None]
    cls = torch.randn(B, 1, D, generator=generator(3), dtype=torch.float64)
    return TokenBatch(x.masked_fill(~valid.unsqueeze(-1), garbage), valid, cls, x.mean(1), Grid(T, FREQ, 10.0))


def same_gradients(head: PrototypeHead, found: Tensor, slow: Tensor) -> None:
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)
    params = list(head.parameters())
    weight = torch.randn(found.shape, generator=generator(5), dtype=torch.float64)
    grads = [torch.autograd.grad((out * weight).sum(), params, allow_unused=True) for out in (found, slow)]
    for a, b in zip(*grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def best_of(values: Tensor, valid: Tensor, k: int) -> Tensor:
    """Mean of the k largest valid values of `(S, B, P, N)`, clip by clip."""
    clips = []
    for b in range(values.shape[1]):
        kept = values[:, b, :, valid[b]].sort(-1, descending=True).values
        clips.append(kept[..., :k].mean(-1))
    return torch.stack(clips, 1)


# --- proto ------------------------------------------------------------------------------------------------------------


def test_bird_mae_golden_values() -> None:
    j = torch.arange(2 * 20 * 24, dtype=torch.float64)
    x = torch.cos(0.37 * j + 0.1).view(2, 20, 24)
    head = ProtoConfig(per_class=2).build(TokenShape(24, 24, 0, 4), 3, settings=2, generator=generator())
    head.double().eval()
    i = torch.arange(6 * 24, dtype=torch.float64)
    head.prototypes.data.copy_((0.5 + 0.5 * torch.sin(0.7 * i)).view(6, 24).expand(2, 6, 24))
    valid = torch.ones(2, 20, dtype=torch.bool)
    inputs = head.read(TokenBatch(x, valid, None, x.mean(1), Grid(5, 4, 1.0)))
    for s in range(2):
        h = head.similarities(inputs)[s]
        assert h.sum().item() == pytest.approx(3.067010, abs=6e-7)
        assert h.flatten()[:4].tolist() == pytest.approx([0.313630, 0.249436, 0.206015, 0.312718], abs=6e-7)
        logits = head(inputs)[s]
        assert logits.sum().item() == pytest.approx(-8.932990, abs=6e-7)
        expected = [-1.436934, -1.481267, -1.546900, -1.438423]
        assert logits.flatten()[:4].tolist() == pytest.approx(expected, abs=6e-7)


def proto_slow(head: Proto, found: TokenBatch, k: int) -> Tensor:
    """The published order of operations: tokens of length 64, prototypes of length one, product over 64 * 1.01."""

    def widen(x: Tensor) -> Tensor:
        return torch.cat([x, torch.full((*x.shape[:-1], 2), 1e-4, dtype=x.dtype)], -1)

    def scaled(x: Tensor) -> Tensor:
        return 64 * widen(x) / (widen(x).pow(2).sum(-1, keepdim=True) + 1e-4).sqrt()

    p = widen(head.prototypes)
    p = p / ((p.pow(2).sum(-1, keepdim=True) + 1e-4).sqrt() + 1e-4)
    x = found.x.masked_fill(~found.valid.unsqueeze(-1), 0)
    h = best_of((torch.einsum("bnd,spd->sbpn", scaled(x), p) / (64 * 1.01)).relu(), found.valid, k)
    if head.config.focal:
        assert found.cls is not None
        h = h - (torch.einsum("bd,spd->sbp", scaled(found.cls[:, 0]), p) / (64 * 1.01)).relu()
    J = head.config.per_class
    return torch.stack(
        [(h[..., c * J : (c + 1) * J] * head.weight[:, c].relu().unsqueeze(1)).sum(-1) for c in range(C)], -1
    ) + head.bias.unsqueeze(1)


@pytest.mark.parametrize("config", [ProtoConfig(3), ProtoConfig(3, top_k=3), ProtoConfig(2, top_k=20, focal=True)])
def test_proto_equals_the_published_form(config: ProtoConfig) -> None:
    head = build(config.replace(orthogonality=0.0))
    head.weight.data[0, 0, 0] = -0.5
    inputs = head.read(batch(float("nan")))
    same_gradients(head.train(), head(inputs), proto_slow(head, batch(), config.top_k))
    torch.testing.assert_close(head.eval()(inputs), proto_slow(head, batch(), 1), rtol=1e-10, atol=1e-12)


def test_orthogonality_acts_through_the_gradient_alone() -> None:
    head = build(ProtoConfig(3, orthogonality=0.7))
    inputs = head.read(batch())
    logits = head.train()(inputs)
    plain = build(ProtoConfig(3, orthogonality=0.0)).train()
    assert torch.equal(logits, plain(inputs))
    penalties = []
    for s in range(S):
        gram = []
        for c in range(C):
            p = F.normalize(head.prototypes[s, 3 * c : 3 * c + 3], dim=-1)
            gram.append(p @ p.T - torch.eye(3, dtype=torch.float64))
        penalties.append(torch.cat([g.flatten() for g in gram]).norm() / (9 * C))
    torch.testing.assert_close(head.orthogonality(), torch.stack(penalties))
    (found,) = torch.autograd.grad(logits.square().sum(), [head.prototypes])
    (task,) = torch.autograd.grad(plain(inputs).square().sum(), [plain.prototypes])
    (extra,) = torch.autograd.grad(0.7 * torch.stack(penalties).sum(), [head.prototypes])
    torch.testing.assert_close(found, task + extra, rtol=1e-9, atol=1e-12)
    assert extra.abs().max() > 1e-4


# --- protobin and its variants ----------------------------------------------------------------------------------------


def units(head: Protobin) -> Tensor:
    """Prototypes by plain autograd."""
    p = head.prototypes
    if head.config.values == "sign":
        hard = torch.where(p >= 0, 1.0, -1.0).to(p)
        p = hard + p - p.detach()
        if head.config.gradient == "constant_norm":
            return p * p.shape[-1] ** -0.5
    return F.normalize(p, dim=-1)


def protobin_slow(head: Protobin, found: TokenBatch, k: int) -> Tensor:
    x = F.normalize(found.x.masked_fill(~found.valid.unsqueeze(-1), 0), dim=-1)
    h = best_of(torch.einsum("bnd,spd->sbpn", x, units(head)), found.valid, k)
    J = head.config.per_class
    if head.config.mixer == "block":
        own = [torch.einsum("sbj,sj->sb", h[..., c * J : (c + 1) * J], head.weight[:, c]) for c in range(C)]
        return torch.stack(own, -1) + head.bias.unsqueeze(1)
    return torch.einsum("sbp,scp->sbc", h, head.weight) + head.bias.unsqueeze(1)


VARIANTS = [
    ProtobinConfig(3, values="float"),
    ProtobinConfig(3, mixer="block"),
    ProtobinConfig(3, gradient="constant_norm"),
    ProtobinConfig(2, top_k=3),
    ProtobinConfig(2, top_k=50, values="float", mixer="block"),
]


@pytest.mark.parametrize("config", VARIANTS)
def test_variants_equal_autograd(config: ProtobinConfig) -> None:
    head = build(config.replace(precision="exact"))
    inputs = head.read(batch(float("nan")))
    same_gradients(head.train(), head(inputs), protobin_slow(head, batch(), config.top_k))
    torch.testing.assert_close(head.eval()(inputs), protobin_slow(head, batch(), 1), rtol=1e-10, atol=1e-12)


def test_constant_norm_by_hand() -> None:
    config = ProtobinConfig(per_class=1, gradient="constant_norm")
    head = config.build(TokenShape(4, 4, 0, 1), 1, settings=1, generator=generator())
    head.prototypes.data.copy_(torch.tensor([0.3, -0.2, 0.0, -0.7]).view(1, 1, 4))
    x = torch.tensor([[[1.0, 2, -1, 0.5], [0, -1, 3, 1], [2, 0, 0, -2]]])
    h = head.eval().similarities(Inputs(F.normalize(x, dim=-1)))
    assert h.item() == pytest.approx(0.7071068, abs=1e-7)
    h.sum().backward()
    assert head.prototypes.grad is not None
    assert head.prototypes.grad.flatten().tolist() == pytest.approx([0.3535534, 0, 0, -0.3535534], abs=1e-7)


@pytest.mark.parametrize("top_k", [1, 2])
def test_thousands_of_prototypes_in_chunks_equal_the_direct_form(top_k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 classes of 10: similarities are found in 63 pieces, and nothing of them is approximate."""
    monkeypatch.setattr(best_tokens, "_CPU_CHUNK", 2**16)
    shape, classes = TokenShape(16, 16, 0, 1), 400
    config = ProtobinConfig(per_class=10, mixer="block", top_k=top_k, precision="exact")
    head = config.build(shape, classes, settings=1, generator=generator()).train()
    x = F.normalize(torch.randn(8, 128, 16, generator=generator(1)), dim=-1)
    direct = torch.einsum("pd,bnd->bpn", head.prototypes[0].detach().sign() / 4, x)
    h = head.similarities(Inputs(x))[0]
    torch.testing.assert_close(h, direct.topk(top_k, -1).values.mean(-1), rtol=1e-6, atol=1e-6)
    (grad,) = torch.autograd.grad(h.sum(), [head.prototypes])
    place = direct.topk(top_k, -1).indices
    pulled = torch.stack([x[b][place[b]].mean(1) for b in range(8)]).sum(0)
    unit = head.prototypes[0].detach().sign() / 4
    expected = (pulled - (pulled * unit).sum(-1, keepdim=True) * unit) / 4
    torch.testing.assert_close(grad[0], expected, rtol=1e-4, atol=1e-5)
    assert head.params == 4000 * 16 + 4000 + 400


@pytest.mark.parametrize(
    "config", [ProtobinConfig(3, precision="exact"), ProtobinConfig(3, values="float"), ProtoConfig(3)]
)
def test_frame_similarities_are_maxima_over_frequency(config: ProbeConfig) -> None:
    head = build(config).train()
    found = batch()
    inputs = head.read(found)
    h = head.frame_similarities(inputs, found.grid)
    assert h.shape == (S, B, T, C * 3)
    frames = []
    for t in range(T):
        part = TokenBatch(
            found.x[:, t * FREQ : (t + 1) * FREQ],
            torch.ones(B, FREQ, dtype=torch.bool),
            found.cls,
            found.pooled,
            Grid(1, FREQ, 1.0),
        )
        frames.append(head.similarities(head.read(part)) * found.valid[:, t * FREQ].unsqueeze(-1))
    slow = torch.stack(frames, 2)
    torch.testing.assert_close(h, slow, rtol=1e-10, atol=1e-12)
    assert head.mix(h).shape == (S, B, T, C)
    torch.testing.assert_close(head.mix(h)[:, :, 1], head.mix(h[:, :, 1]))
    grads = [torch.autograd.grad(out.square().sum(), [head.prototypes])[0] for out in (h, slow)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)
    # Where a whole clip is one column, frames are the clip.
    with pytest.raises(ConfigError, match="pass the batch's own grid"):
        head.frame_similarities(inputs, Grid(3, FREQ, 1.0))


def test_focal_frames_start_from_the_class_token() -> None:
    head = build(ProtoConfig(2, focal=True)).eval()
    found = batch()
    inputs = head.read(found)
    plain = build(ProtoConfig(2)).eval()
    gap = plain.frame_similarities(plain.read(found), found.grid) - head.frame_similarities(inputs, found.grid)
    cls = plain.similarities(
        plain.read(TokenBatch(found.cls, torch.ones(B, 1, dtype=torch.bool), None, found.pooled, Grid(1, 1, 1.0)))
    )
    shown = found.valid.view(B, T, FREQ).any(-1)
    expected = cls.unsqueeze(2) * shown[None, :, :, None]
    torch.testing.assert_close(gap, expected)
    maps = head.token_similarities(inputs, torch.tensor([1]))
    torch.testing.assert_close(
        maps.masked_fill(~found.valid[None, :, None], -9).amax(-1)[..., 0], head.similarities(inputs)[..., 1]
    )


def test_parameter_counts() -> None:
    """Width 768: the formulas of the published table."""
    shape = TokenShape(768, 768, 0, 8)

    def count(config: ProbeConfig, classes: int) -> int:
        return config.build(shape, classes, settings=1, generator=generator()).params

    assert count(ProtoConfig(), 10) == 200 * 768 + 200 + 10
    assert count(ProtobinConfig(values="float"), 10) == 155_610
    assert count(ProtobinConfig(), 50) == 818_050
    assert count(ProtobinConfig(mixer="block"), 50) == 1000 * 768 + 1000 + 50


def test_refused_settings() -> None:
    with pytest.raises(ConfigError, match="need a class token"):
        ProtoConfig(focal=True).build(TokenShape(8, 8, 0, 1), C, settings=1, generator=generator())
    with pytest.raises(ConfigError, match="no constant length"):
        ProtobinConfig(values="float", gradient="constant_norm")


def test_only_signs_flip() -> None:
    head = build(ProtobinConfig(1, values="float"))
    head.watch()
    head.prototypes.data *= -1
    assert head.watch() == {}


@pytest.mark.parametrize(
    "config",
    [
        ProtoConfig(3),
        ProtoConfig(3, top_k=2, focal=True),
        ProtobinConfig(3, values="float"),
        ProtobinConfig(3, top_k=2),
    ],
)
def test_learning(config: ProbeConfig) -> None:
    """One token of twelve tells the class, and its place does not; with other clips' targets nothing is learned."""
    signs = torch.randn(C, 16, generator=generator(9)).sign()

    def clips(n: int, seed: int) -> tuple[TokenSet, Tensor]:
        x = torch.randn(n, N, 16, generator=generator(seed))
        labels = torch.arange(n) % C
        x[torch.arange(n), torch.randint(0, N, (n,), generator=generator(seed + 50))] += 2.5 * signs[labels]
        return TokenSet.from_tensors(x, class_tokens=x.mean(1, keepdim=True), freq=FREQ, encoder="e"), labels

    (a, y), (b, z), (test, truth) = clips(160, 0), clips(60, 1), clips(100, 2)
    search = SearchConfig(epochs=12, batch=16, lr_count=3, weight_decay=(1e-5,))
    names = tuple("abcd")
    fitted = fit_probe(config, Labelled(a, y), Labelled(b, z), classes=names, search=search)
    assert (fitted.predict(test).argmax(1) == truth.numpy()).mean() > 0.7
    shuffled = fit_probe(
        config,
        Labelled(a, y.roll(1)[torch.randperm(160, generator=generator())]),
        Labelled(b, z),
        classes=names,
        search=search,
    )
    assert (shuffled.predict(test).argmax(1) == truth.numpy()).mean() < 0.5
