"""CPC's and wav2vec's encoders: grids and sizes from the sheet, slow loops, causality, and reading in pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.contract import Ability, Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig, gumbel_noise
from auricle.encoders.parts.waveform_stem import CPC, WAV2VEC
from auricle.encoders.waveform_recurrent import (
    CAUSAL_VQ_WAV2VEC,
    CAUSAL_WAV2VEC,
    WaveformConvolutionConfig,
    WaveformRecurrentConfig,
)
from auricle.errors import ConfigError

RECURRENT = WaveformRecurrentConfig(stem=CPC.narrow(8), width=12)
AGGREGATOR = WaveformConvolutionConfig(stem=CAUSAL_WAV2VEC.narrow(8), width=8, kernels=(2, 3, 5))


def wave(samples: int, rows: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32) -> Features:
    x = torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return Features(x, torch.full((rows,), samples), 16000.0)


def count(encoder: torch.nn.Module) -> int:
    return sum(p.numel() for p in encoder.parameters())


def test_grids_follow_the_published_formula() -> None:
    """CPC with its padding: S / 160; wav2vec without: floor((S - 465) / 160) + 1."""
    cpc, wav2vec = RECURRENT.build(), AGGREGATOR.build()
    assert cpc.grid(20480).time == 128
    for seconds in (0.5, 1.0, 2.37, 10.0):
        samples = round(seconds * 16000)
        assert cpc.grid(samples).time == samples // 160
        assert wav2vec.grid(samples).time == (samples - 465) // 160 + 1
    assert cpc.grid(16000).rate == wav2vec.grid(16000).rate == 100.0
    assert (wav2vec.hop, wav2vec.receptive_field, wav2vec.least_frames, cpc.least_frames) == (160, 465, 465, 160)


def test_parameter_counts() -> None:
    """wav2vec: about 12 M base, about 29 M large; exact numbers by the layers' formulas."""

    def stem(channels: int, kernels: tuple[int, ...], bias: bool) -> int:
        inputs = (1, *[channels] * (len(kernels) - 1))
        return sum(channels * c * k + channels * (2 + bias) for c, k in zip(inputs, kernels, strict=True))

    five = (10, 8, 4, 4, 4)
    base, large = (count(WaveformConvolutionConfig.size(name).build()) for name in ("base", "large"))
    assert base == stem(512, five, False) + 9 * (512 * 512 * 3 + 3 * 512)
    assert large == stem(512, (*five, 1, 1), False) + 512 * 512 * 90 + 12 * 3 * 512
    assert base == pytest.approx(12e6, rel=0.05)
    assert large == pytest.approx(29e6, rel=0.03)
    gru = 3 * 256 * (512 + 256 + 2)
    assert count(WaveformRecurrentConfig.size("original").build()) == stem(512, five, True) + gru
    lstm = 2 * 4 * 256 * (256 + 256 + 2)
    assert count(WaveformRecurrentConfig.size("base").build()) == stem(256, five, True) + lstm
    for tiny in (WaveformRecurrentConfig.size("tiny"), WaveformConvolutionConfig.size("tiny")):
        assert 0.6e6 < count(tiny.build()) < 6e6


def slow_causal_layer(layer: torch.nn.Module, x: np.ndarray, left: str) -> np.ndarray:
    """One clip `(N, C)`: convolution over what came before, norm over channels, ReLU, scaled residual."""
    weight, bias = (p.detach().numpy() for p in (layer.conv.weight, layer.conv.bias))
    gain, shift = (p.detach().numpy() for p in (layer.norm.weight, layer.norm.bias))
    kernel, out = weight.shape[2], []
    before = {"replicate": x[0], "zero": np.zeros_like(x[0])}
    before["learned"] = before["zero"] if layer.before is None else layer.before.detach().numpy()[0, :, 0]
    for n in range(len(x)):
        y = bias.copy()
        for k in range(kernel):
            place = n - kernel + 1 + k
            y = y + weight[:, :, k] @ (x[place] if place >= 0 else before[left])
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-5) * gain + shift
        out.append((x[n] + np.maximum(y, 0)) * math.sqrt(0.5))
    return np.stack(out)


@pytest.mark.parametrize("left", ["replicate", "zero", "learned"])
@torch.no_grad()
def test_causal_convolutions_equal_a_slow_loop(left: str) -> None:
    encoder = AGGREGATOR.replace(left=left).build().double().eval()
    for p in encoder.parameters():  # biases and learned vectors away from where they start
        p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.2)
    tokens = encoder(wave(3000, dtype=torch.float64), layers=(0, 1, 2, 3))
    assert tokens.layers is not None
    for row in range(2):
        x = tokens.layers[0].block[row].numpy()
        for layer, got in zip(encoder.layers, tokens.layers[1:], strict=True):
            x = slow_causal_layer(layer, x, left)
            np.testing.assert_allclose(got.block[row].numpy(), x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tokens.x[1].numpy(), x, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_published_wav2vec_equals_plain_layers() -> None:
    """Group norm over channels and time, replicated left edges, GELU, a projected residual where widths differ."""
    config = AGGREGATOR.replace(norm="group", stem=WAV2VEC.narrow(8), width=10, activation="gelu")
    encoder = config.build().double().eval()
    for p in encoder.parameters():
        p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.2)
    tokens = encoder.tokenize(wave(3000, dtype=torch.float64))
    x = tokens.x.transpose(1, 2)
    for i, (layer, kernel) in enumerate(zip(encoder.layers, config.kernels, strict=True)):
        net = nn.Sequential(
            nn.ReplicationPad1d((kernel - 1, 0)), nn.Conv1d(10 if i else 8, 10, kernel), nn.GroupNorm(1, 10), nn.GELU()
        ).double()
        net[1].load_state_dict(layer.conv.state_dict())
        net[2].load_state_dict(layer.norm.state_dict())
        residual = x if i else torch.einsum("dc,bcn->bdn", layer.project.weight[..., 0], x)
        x = (residual + net(x)) * 0.5**0.5
    torch.testing.assert_close(encoder.contextualize(tokens).x, x.transpose(1, 2), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_frozen_encoder_takes_clips_of_any_length() -> None:
    """Also one too short for a token beside one that is not: it has no valid token, and its vector is zero."""
    for config in (RECURRENT, AGGREGATOR):
        frozen = FrozenEncoder(WaveformConfig().build(), config.build(), name="small")
        audio = Audio.stack([np.ones(n, np.float32) * 0.1 for n in (4000, 1000, 100)], 16000)
        tokens, vectors = frozen.encode(audio, layers=(0, config.build().depth))
        assert tokens.valid is not None
        expected = [config.stem.frames(n) for n in (4000, 1000, 100)]
        assert tokens.valid.sum(1).tolist() == expected
        assert vectors.shape == (3, config.width)
        assert not bool(vectors[2].any())


@torch.no_grad()
def test_the_recurrence_reads_the_stem() -> None:
    encoder = RECURRENT.replace(depth=2).build().double().eval()
    data = wave(4000, dtype=torch.float64)
    tokens = encoder.tokenize(data)
    assert tokens.stem is not None
    assert torch.equal(tokens.stem.x, tokens.x)
    torch.testing.assert_close(tokens.x, encoder.stem(data.x))
    gru = torch.nn.GRU(8, 12, 2, batch_first=True).double()
    gru.load_state_dict(
        {
            name.replace("l0", f"l{i}"): p
            for i, layer in enumerate(encoder.layers)
            for name, p in layer.rnn.state_dict().items()
        }
    )
    torch.testing.assert_close(encoder(data).x, gru(tokens.x)[0], rtol=0, atol=1e-12)


STREAMS = {
    "cpc": RECURRENT,
    "lstm": RECURRENT.replace(cell="lstm", depth=2, stem=CPC.narrow(8).replace(padding="none")),
    "wav2vec": AGGREGATOR,
    "learned": AGGREGATOR.replace(left="learned", stem=AGGREGATOR.stem.replace(padding="left")),
    "vq": AGGREGATOR.replace(quantiser=GumbelLayerConfig(groups=2, entries=6, shared=True)),
}


@pytest.mark.parametrize("name", list(STREAMS))
@torch.no_grad()
def test_pieces_with_the_state_carried_equal_the_whole(name: str) -> None:
    encoder = STREAMS[name].build().double().eval()
    data = wave(4000, dtype=torch.float64)
    whole = encoder(data).x
    state, parts = None, []
    for start, stop in ((0, 3), (3, 700), (700, 701), (701, 1500), (1500, 1507), (1507, 4000)):
        piece = Features(data.x[:, start:stop], torch.full((2,), stop - start), 16000.0)
        tokens, state = encoder.stream(piece, state)
        if tokens is not None:
            parts.append(tokens.x)
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-12)


def latest_sample(encoder: Encoder, place: int, samples: int = 6000) -> int:
    data = wave(samples, rows=1, dtype=torch.float64)
    x = data.x.requires_grad_()
    encoder(data).x[0, place].pow(2).sum().backward()
    assert x.grad is not None
    return int(x.grad[0].nonzero().max())


def test_a_token_sees_samples_up_to_the_end_of_its_own_field() -> None:
    """Unpadded: token n ends with sample 160 n + 464; CPC padded on the left: with sample 160 n + 159."""
    encoder: Encoder
    for encoder in (RECURRENT.build().double(), AGGREGATOR.build().double()):
        last = 159 if isinstance(encoder.config, WaveformRecurrentConfig) else 464
        for place in (0, 7, 20):
            assert latest_sample(encoder, place) == 160 * place + last


def test_the_context_of_the_large_model_is_0_8_s() -> None:
    config = WaveformConvolutionConfig.size("tiny", stem=CAUSAL_WAV2VEC.narrow(4), width=4)
    encoder = config.build().double()
    assert config.kernels == WaveformConvolutionConfig.size("large").kernels
    assert encoder.context == 79
    tokens = encoder.tokenize(wave(465 + 160 * 99, rows=1, dtype=torch.float64))
    z = tokens.x.detach().requires_grad_()
    encoder.contextualize(type(tokens)(z, tokens.grid)).x[0, 95].pow(2).sum().backward()
    assert z.grad is not None
    seen = z.grad[0].abs().sum(-1).nonzero().flatten()
    assert (int(seen.min()), int(seen.max())) == (95 - 78, 95)


def test_the_published_norm_tells_the_future_and_so_promises_nothing() -> None:
    published = AGGREGATOR.replace(norm="group", stem=WAV2VEC.narrow(8)).build().double()
    assert published.abilities == frozenset({Ability.MASK})
    assert latest_sample(published, 3) > 160 * 4 + 464
    with pytest.raises(ConfigError, match="norm over time"):
        published.stream(wave(2000))
    assert count(published) == count(AGGREGATOR.build())


def test_a_quantiser_stands_between_stem_and_context() -> None:
    config = AGGREGATOR.replace(quantiser=GumbelLayerConfig(groups=2, entries=6, shared=True, depth=2, start="normal"))
    encoder = config.build().eval()
    with torch.no_grad():
        tokens = encoder.tokenize(wave(4000))
        out, (quantised,) = encoder.contextualize_quantised(tokens, (0, 1))
        assert out.layers is not None
        assert torch.equal(out.layers[0].block, tokens.x)
        torch.testing.assert_close(out.layers[1].block, encoder.layers[0](quantised.x)[0])
    assert torch.equal(encoder.codes(tokens), quantised.codes)
    assert quantised.codes.shape == (2, tokens.x.shape[1], 2)
    encoder.train()
    noise = gumbel_noise(torch.rand(2, tokens.x.shape[1], 2, 6, generator=torch.Generator().manual_seed(0)))
    one, two = (encoder.contextualize_quantised(tokens, noise=[noise])[0].x for _ in range(2))
    assert torch.equal(one, two)
    vq = WaveformConvolutionConfig.size("vq")
    assert vq.quantiser is not None
    assert (vq.quantiser.groups, vq.quantiser.entries, vq.quantiser.depth) == (2, 320, 2)
    assert len(vq.stem.layers) == 8
    assert CAUSAL_VQ_WAV2VEC.activation == vq.activation == "gelu"


def test_bad_input_is_refused() -> None:
    encoder = AGGREGATOR.build()
    with pytest.raises(ConfigError, match="at least 465"):
        encoder(wave(464))
    with pytest.raises(ConfigError, match="WaveformConfig"):
        encoder(Features(torch.zeros(1, 500, 8), torch.tensor([500]), 16000.0))
    with pytest.raises(ConfigError, match="16000"):
        encoder(Features(torch.zeros(1, 500), torch.tensor([500]), 8000.0))
    with pytest.raises(ConfigError, match="padded samples"):
        encoder.stream(Features(torch.zeros(1, 500), torch.tensor([400]), 16000.0))
    with pytest.raises(ConfigError, match="no quantiser"):
        encoder.codes(encoder.tokenize(wave(2000)))


def test_settings_are_refused_and_survive_json() -> None:
    for config, wrong, match in (
        (RECURRENT, {"cell": "rnn"}, "cell is 'rnn'"),
        (RECURRENT, {"dropout": 1.0}, "dropout"),
        (RECURRENT, {"depth": 0}, "depth is 0"),
        (AGGREGATOR, {"kernels": ()}, "kernels"),
        (AGGREGATOR, {"norm": "batch"}, "norm is 'batch'"),
        (AGGREGATOR, {"left": "mirror"}, "left is 'mirror'"),
        (AGGREGATOR, {"residual_scale": 0.0}, "residual_scale"),
    ):
        with pytest.raises(ConfigError, match=match):
            config.replace(**wrong)
    for config in (*map(WaveformConvolutionConfig.size, ("tiny", "small", "vq")), WaveformRecurrentConfig.size("tiny")):
        assert type(config).from_json(config.to_json()) == config
    for family in (WaveformConvolutionConfig, WaveformRecurrentConfig):
        with pytest.raises(ConfigError, match="unknown size"):
            family.size("huge")


def test_equal_generators_draw_equal_weights() -> None:
    def weights(config: WaveformConvolutionConfig, seed: int) -> list[Tensor]:
        return list(config.build(torch.Generator().manual_seed(seed)).state_dict().values())

    config = AGGREGATOR.replace(left="learned", quantiser=GumbelLayerConfig(entries=6))
    one, two, other = weights(config, 5), weights(config, 5), weights(config, 6)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
