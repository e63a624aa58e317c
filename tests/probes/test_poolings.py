"""What poolings promise beside their formulas: scale, norms, class tokens, maps of attention, memory, real sounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.config import Config
from auricle.corpus.sources import open_corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError
from auricle.probes.contract import Inputs, Labelled, ProbeConfig, ProbeHead, drop
from auricle.probes.heads.abmilp import AbmilpConfig
from auricle.probes.heads.conv import ConvConfig
from auricle.probes.heads.ep import EpConfig
from auricle.probes.heads.jepa import JepaConfig
from auricle.probes.heads.linear import LinearConcatConfig, LinearConfig
from auricle.probes.heads.linear_pre import LinearPreConfig
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.heads.mlp import MlpConfig
from auricle.probes.heads.pooled_head import AttentiveHead, TokenConfig
from auricle.probes.heads.simpool import SimPoolConfig
from auricle.probes.heads.token_moments import training_moments
from auricle.probes.registry import PROBES
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.search import fit_probe
from auricle.tokens.extract import extract
from auricle.tokens.token_set import TokenSet, TokenShape

S, B, T, FREQ, D, C = 3, 6, 5, 2, 16, 4
N = T * FREQ
SHAPE = TokenShape(D, D, 2, FREQ)
ATTENTIVE: list[ProbeConfig] = [
    MhcaConfig(heads=4, queries=2),
    EpConfig(queries=4),
    SimPoolConfig(),
    SimPoolConfig(gamma=2.0),
    AbmilpConfig(),
    AbmilpConfig(depth=1),
    AbmilpConfig(self_attention="map"),
    JepaConfig(heads=2),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(config: ProbeConfig, shape: TokenShape = SHAPE) -> ProbeHead:
    """A head whose settings all differ, in float64."""
    head = config.build(shape, C, settings=S, generator=generator()).double()
    noise = generator(1)
    for p in head.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=noise, dtype=torch.float64)
    return head


def clips(seed: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.randn(B, N, D, generator=generator(seed), dtype=torch.float64) + 0.2
    return x, torch.arange(N)[None] < torch.tensor([N, 4, 6, 2, N, 8])[:, None]


@pytest.mark.parametrize("config", ATTENTIVE, ids=lambda config: type(config).__name__)
def test_attention_is_a_distribution_over_the_valid_tokens(config: ProbeConfig) -> None:
    head = build(config).eval()
    assert isinstance(head, AttentiveHead)
    x, valid = clips()
    weights = head.attention(Inputs(x.masked_fill(~valid.unsqueeze(-1), float("nan")), valid))
    assert weights.shape == (S, B, N)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(S, B, dtype=torch.float64))
    assert (weights[:, ~valid] == 0).all()
    # It follows its token when tokens change places; positions are off.
    order = torch.randperm(N, generator=generator())
    full = torch.ones_like(valid)
    moved = head.attention(Inputs(x[:, order], full))
    torch.testing.assert_close(moved, head.attention(Inputs(x, full))[..., order])


@pytest.mark.parametrize("config", ATTENTIVE[:3] + ATTENTIVE[4:6], ids=lambda config: type(config).__name__)
def test_attention_weighs_what_is_pooled(config: ProbeConfig) -> None:
    """Raising one token along what its weight pulls moves the pooled vector by that weight: d pooled / d values."""
    head = build(config.replace(norm="none", pooled_norm="none")).eval()
    x, _ = clips()
    weights = head.attention(Inputs(x))
    if isinstance(config, SimPoolConfig):
        z = torch.nn.functional.layer_norm(x, (D,), eps=1e-6)
        expected = torch.einsum("sbn,bnd->sbd", weights, z) * head.gain[:, None] + head.shift[:, None]
    elif isinstance(config, AbmilpConfig):
        expected = torch.einsum("sbn,bnd->sbd", weights, x)
    else:
        # Heads and queries differ; a map shows their mean, which one head and one query make exact.
        one = {"heads": 1, "queries": 1} if isinstance(config, MhcaConfig) else {"queries": 1}
        head = build(config.replace(norm="none", pooled_norm="none", **one)).eval()
        seen = torch.einsum("sbn,bnd->sbd", head.attention(Inputs(x)), x)
        expected = torch.einsum("sbd,skd->sbk", seen, head.value)
    torch.testing.assert_close(head.pool(Inputs(x)), expected)


@pytest.mark.parametrize(
    "config",
    [*ATTENTIVE[1:], ConvConfig(channels=3), LinearPreConfig(), MlpConfig()],
    ids=lambda config: type(config).__name__,
)
def test_the_scale_of_tokens_does_not_matter(config: ProbeConfig) -> None:
    x, valid = clips()
    found = []
    for scale in (1.0, 1000.0):
        inputs = Inputs(scale * x, valid) if not isinstance(config, MlpConfig) else Inputs(scale * x.mean(1))
        head = build(config)
        head.calibrate([inputs])
        found.append(head(inputs))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_pooled_norm_is_batch_norm() -> None:
    plain, normed = (build(EpConfig(queries=4, pooled_norm=norm)) for norm in ("none", "batch"))
    norms = [torch.nn.BatchNorm1d(D, eps=1e-6, affine=False).double() for _ in range(S)]
    for seed in (2, 3, 4):
        x, valid = clips(seed)
        pooled = plain.pool(Inputs(x, valid))
        expected = torch.stack(
            [norm(p) @ w.T + b for norm, p, w, b in zip(norms, pooled, plain.weight, plain.bias, strict=True)]
        )
        torch.testing.assert_close(normed(Inputs(x, valid)), expected)
    normed.eval()
    rows = [norm.eval()(p) @ w.T + b for norm, p, w, b in zip(norms, pooled, plain.weight, plain.bias, strict=True)]
    torch.testing.assert_close(normed(Inputs(x, valid)), torch.stack(rows))
    # One clip has no variance to divide by: it is treated as in evaluation.
    torch.testing.assert_close(normed.train()(Inputs(x[:1])), normed.eval()(Inputs(x[:1])))


@pytest.mark.parametrize(
    "config",
    [EpConfig(queries=4), JepaConfig(heads=2), AbmilpConfig(position="sincos")],
    ids=lambda config: type(config).__name__,
)
def test_class_tokens_in_front_of_the_map(config: TokenConfig) -> None:
    x, valid = clips()
    cls = torch.randn(B, 2, D, generator=generator(7), dtype=torch.float64)
    tokens = TokenSet.from_tensors(x, valid=valid, class_tokens=cls, freq=FREQ)
    head = build(config.replace(tokens="all")).float()
    inputs = head.read(tokens.batch(range(B)))
    assert inputs.valid is not None
    torch.testing.assert_close(inputs.x[:, :2], cls.float())
    assert inputs.valid[:, :2].all()
    assert torch.equal(inputs.valid[:, 2:], valid)
    head.calibrate([inputs])
    weights = head.eval().attention(inputs)
    assert weights.shape == (S, B, N)
    assert (weights.sum(-1) < 1).all()
    # The class tokens take part: other ones give other logits.
    other = TokenSet.from_tensors(x, valid=valid, class_tokens=-cls, freq=FREQ)
    assert not torch.allclose(head(inputs), head(head.read(other.batch(range(B)))))
    without = TokenSet.from_tensors(x, valid=valid, freq=FREQ)
    with pytest.raises(ConfigError, match="use 'patch'"):
        head.read(without.batch([0]))
    with pytest.raises(ConfigError, match="use 'patch'"):
        config.replace(tokens="all").build(without.shape, C, settings=1, generator=generator())


def test_the_reference_power_mean_depends_on_the_batch_and_ours_does_not() -> None:
    x, valid = clips()
    for least, same in (("clip", True), ("batch", False)):
        head = build(SimPoolConfig(gamma=2.0, least=least, norm="none")).eval()
        together, alone = (
            head(Inputs(x, valid)),
            torch.cat([head(Inputs(x[b : b + 1], valid[b : b + 1])) for b in range(B)], 1),
        )
        assert torch.allclose(together, alone, rtol=1e-9) == same
        if not same:
            weights = head.attention(Inputs(x, valid))
            z = torch.nn.functional.layer_norm(x, (D,), eps=1e-6)
            for s in range(S):
                v = z * head.gain[s] + head.shift[s]
                v = v - v[valid].min() + 1e-6
                pooled = torch.stack([(weights[s, b][valid[b]] @ v[b][valid[b]] ** 2) ** 0.5 for b in range(B)])
                torch.testing.assert_close(together[s], pooled @ head.weight[s].T + head.bias[s])


@pytest.mark.parametrize(
    "config",
    [AbmilpConfig(), ConvConfig(channels=32), SimPoolConfig(gamma=2.0), LinearPreConfig(pool="logsumexp")],
    ids=lambda config: type(config).__name__,
)
def test_memory_for_the_gradient_does_not_grow_with_the_settings(config: ProbeConfig) -> None:
    """What the backward pass keeps is the batch and small things for each setting, never the map for each setting."""
    x = torch.randn(8, 512, 32, generator=generator())
    kept = {}
    for settings in (1, 24):
        head = config.build(TokenShape(32, 32, 0, 8), 20, settings=settings, generator=generator())
        sizes: dict[int, int] = {}

        def pack(t: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            head(Inputs(x)).sum().backward()
        kept[settings] = sum(sizes.values())
    assert kept[24] - kept[1] < 24 * x.nbytes / 4
    assert kept[1] < 8 * x.nbytes


@given(seed=st.integers(0, 1000), pieces=st.integers(1, 5), shift=st.sampled_from([0.0, 1e3]))
def test_training_moments(seed: int, pieces: int, shift: float) -> None:
    draw = generator(seed)
    x = torch.randn(20, 3, 4, generator=draw) + shift
    x[..., 2] = 7.0
    valid = torch.rand(20, 3, generator=draw) < 0.7
    valid[0, 0] = True
    before = x.clone()
    mean, std = training_moments(Inputs(a, b) for a, b in zip(x.chunk(pieces), valid.chunk(pieces), strict=True))
    rows = x[valid].double().numpy()
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(std[:2], rows.std(0)[:2], rtol=1e-9)
    assert std[2] == float("inf")
    assert torch.equal(x, before)


def test_moments_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="no training clips"):
        training_moments([])


def test_one_dropout_mask_for_all_settings() -> None:
    h = torch.ones(S, B, 1000)
    out = drop(h, 0.3, generator())
    assert torch.equal(out[0], out[1])
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert drop(h, 0.0, None) is h
    head = build(MlpConfig(dropout=0.5))
    g = Inputs(torch.randn(B, D, generator=generator(), dtype=torch.float64))
    assert not torch.equal(head(g, generator(1)), head(g, generator(2)))
    assert torch.equal(head.eval()(g, generator(1)), head(g, generator(2)))


@pytest.mark.parametrize("name", sorted(PROBES))
def test_settings_survive_json(name: str) -> None:
    assert Config.from_json(json.loads(json.dumps(PROBES[name].to_json()))) == PROBES[name]


def test_every_pooling_of_the_study_has_a_name() -> None:
    study = ("linear", "mlp", "linearc", "conv", "linpre", "mhca", "ep", "simpool", "abmilp", "proto", "protofloat")
    layers = ("cgp", "gated_linear", "weighted_sum", "layer_attentive")
    assert {*study, "protobin", *layers} <= set(PROBES)
    assert {name for name, config in PROBES.items() if config.reads == "layers"} == set(layers)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (EpConfig(queries=5), "can't be shared by 5 queries"),
        (EpConfig(d_out=3), "can't be reduced by d_out 3"),
        (MhcaConfig(heads=5), "can't be split into 5 heads"),
        (JepaConfig(heads=3), "can't be split into 3 heads"),
        (JepaConfig(mlp_ratio=0.01), "no hidden unit"),
    ],
)
def test_refused_settings(config: ProbeConfig, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        config.build(SHAPE, C, settings=1, generator=generator())


def test_refused_shapes() -> None:
    with pytest.raises(ConfigError, match="a width that 4 divides, found 6"):
        AbmilpConfig(position="sincos").build(TokenShape(6, 6, 0, 1), C, settings=1, generator=generator())
    with pytest.raises(ConfigError, match="has none"):
        LinearConcatConfig(parts=("cls",)).build(TokenShape(8, 8, 0, 1), C, settings=1, generator=generator())
    with pytest.raises(ConfigError, match="no position on the map"):
        ConvConfig(tokens="all")
    with pytest.raises(TypeError, match="no such class"):
        TokenConfig().build(SHAPE, C, settings=1, generator=generator())


def test_one_frequency_row_is_convolved_in_time_only() -> None:
    head = ConvConfig(channels=8).build(TokenShape(D, D, 0, 1), C, settings=1, generator=generator())
    assert head.params == 3 * D * 8 + 8 + C * 9


def test_queries_fit_the_width_by_default() -> None:
    for width, queries in ((768, 32), (192, 32), (24, 24), (100, 25)):
        head = EpConfig().build(TokenShape(width, width, 0, 1), C, settings=1, generator=generator())
        assert head.query.shape[1] == queries


@pytest.mark.real
def test_real_sounds_are_told_apart(shared_audio: Path, tmp_path: Path) -> None:
    """Dog, helicopter, rain from mel tokens that never saw training; one fold held out, one to choose by."""
    classes = ("dog", "helicopter", "rain")
    corpus = open_corpus(shared_audio / "esc10").filter(lambda clip: clip.labels[0] in classes)
    encoder = FrozenEncoder(KaldiFbankConfig(rate=16000).build(), LogMelStatisticsConfig().build(), name="log-mel")
    tokens = extract(encoder, corpus, tmp_path, progress=False).select(np.arange(len(corpus)))
    labels = torch.tensor([classes.index(clip.labels[0]) for clip in corpus])
    fold = np.array([str(clip.fold) for clip in corpus])
    train, valid, test = (np.flatnonzero(m) for m in (~np.isin(fold, ["1", "2"]), fold == "2", fold == "1"))
    search = SearchConfig(epochs=12, lr=(1e-3, 5e-3), weight_decay=(1e-4,), halving=())
    for name in ("mlp", "linearc", "linearc_map", "conv", "linpre", "ep", "simpool", "abmilp", "jepa"):
        labelled, chooses = (Labelled(tokens.select(m), labels[m]) for m in (train, valid))
        scores = fit_probe(name, labelled, chooses, classes=classes, search=search).predict(tokens.select(test))
        assert (scores.argmax(1) == labels[test].numpy()).mean() > 0.6, name
        wrong = Labelled(tokens.select(train), (labels[train] + 1) % 3)
        chooses_wrong = Labelled(chooses.tokens, (chooses.targets + 1) % 3)
        scores = fit_probe(name, wrong, chooses_wrong, classes=classes, search=search).predict(tokens.select(test))
        assert (scores.argmax(1) == labels[test].numpy()).mean() < 0.3, name


def test_linear_reads_maximum_and_deviation() -> None:
    x, valid = clips()
    batch = TokenSet.from_tensors(x, valid=valid, freq=FREQ).batch(range(B))
    for source, oracle in (("max", np.max), ("std", np.std)):
        head = LinearConfig(source=source).build(SHAPE, C, settings=1, generator=generator())
        rows = [oracle(x[b][valid[b]].float().numpy(), axis=0) for b in range(B)]
        np.testing.assert_allclose(head.read(batch).x, rows, rtol=2e-6, atol=1e-6)
