"""Stems over samples: published lengths and counts, a slow convolution, norms by their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auricle.encoders.parts.waveform_stem import (
    CPC,
    VQ_WAV2VEC,
    WAV2VEC,
    WAV2VEC2,
    WAV2VEC2_LAYER,
    ChannelNorm,
    WaveformStem,
    WaveformStemConfig,
)
from auricle.errors import ConfigError

_SECONDS = (0.5, 1.0, 2.37, 10.0)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize(
    ("config", "field", "hop", "steps"),
    [
        (WAV2VEC2, 400, 320, [(int(s * 16_000) - 400) // 320 + 1 for s in _SECONDS]),
        (WAV2VEC2_LAYER, 400, 320, [24, 49, 118, 499]),
        (WAV2VEC, 465, 160, [(int(s * 16_000) - 465) // 160 + 1 for s in _SECONDS]),
        (VQ_WAV2VEC, 465, 160, [48, 98, 235, 998]),
        (CPC, 465, 160, [int(s * 16_000) // 160 for s in _SECONDS]),
    ],
)
def test_published_fields_and_lengths(config: WaveformStemConfig, field: int, hop: int, steps: list[int]) -> None:
    assert (config.receptive_field, config.hop) == (field, hop)
    lengths = [int(s * 16_000) for s in _SECONDS]
    assert [config.frames(n) for n in lengths] == steps
    assert config.lengths(torch.tensor(lengths)).tolist() == steps
    stem = config.narrow(4).build()
    assert [stem(torch.zeros(1, n)).shape for n in lengths] == [(1, n, 4) for n in steps]
    assert stem(torch.zeros(1, config.least)).shape == (1, 1, 4)
    assert config.frames(config.least - 1) == 0
    assert config.lengths(torch.tensor([config.least - 1, 0])).tolist() == [0, 0]


def test_cpc_windows_give_128_steps_and_counts_are_published() -> None:
    assert CPC.frames(20_480) == 128
    with torch.device("meta"):
        assert sum(p.numel() for p in WAV2VEC2.build().parameters()) == 4_200_448  # 4.2 M
    assert len(VQ_WAV2VEC.layers) == 8
    assert len(WAV2VEC.layers) == 7


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Return `(C, N)` by loops over steps and channels."""
    kernel = weight.shape[2]
    steps = (x.shape[1] - kernel) // stride + 1
    out = torch.empty(weight.shape[0], steps, dtype=x.dtype)
    for n in range(steps):
        for c in range(weight.shape[0]):
            out[c, n] = (x[:, n * stride : n * stride + kernel] * weight[c]).sum() + (0.0 if bias is None else bias[c])
    return out


def normalise(x: Tensor, axes: int | tuple[int, ...], unbiased: bool) -> Tensor:
    """Return `(C, N)` with zero mean and unit variance over the axes."""
    mean = x.mean(axes, keepdim=True)
    count = math.prod(x.shape[a] for a in ((axes,) if isinstance(axes, int) else axes))
    variance = (x - mean).pow(2).sum(axes, keepdim=True) / (count - unbiased)
    return (x - mean) / (variance + 1e-5).sqrt()


@pytest.mark.parametrize("norm", ["group_first", "layer", "channel", "group", "none"])
@pytest.mark.parametrize("padding", ["none", "left"])
def test_equal_to_slow_loops(norm: str, padding: str) -> None:
    config = WaveformStemConfig(
        layers=((3, 4, 2), (5, 3, 2)),
        norm=norm,  # type: ignore[arg-type]
        bias=norm != "group",
        activation="relu" if norm == "group" else "gelu",
        log_compression=norm == "group",
        padding=padding,  # type: ignore[arg-type]
    )
    stem = config.build().double()
    with torch.no_grad():
        for place, p in enumerate(stem.parameters()):
            p.add_(noise(*p.shape, seed=place) * 0.3)
    wave = noise(2, 31)
    out = stem(wave)
    for b in range(2):
        x = wave[b : b + 1]
        for place, (conv, layer, (_, kernel, stride)) in enumerate(
            zip(stem.convs, stem.norms, config.layers, strict=True)
        ):
            if padding == "left":
                x = torch.cat([x.new_zeros(x.shape[0], kernel - stride), x], 1)
            x = convolve(x, conv.weight, conv.bias, stride)
            axes = {"layer": 0, "channel": 0, "group": (0, 1), "none": None, "group_first": None if place else 1}[norm]
            if axes is not None:
                x = normalise(x, axes, norm == "channel") * layer.weight[:, None] + layer.bias[:, None]
            x = x.clamp(min=0) if config.activation == "relu" else x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        x = (1 + x.abs()).log() if config.log_compression else x
        torch.testing.assert_close(out[b].T, x, rtol=1e-10, atol=1e-12)


def test_left_padding_and_channel_norm_never_look_ahead() -> None:
    stem = CPC.narrow(8).build().double()
    wave = noise(1, 3200)
    before = stem(wave)
    for place in (0, 159, 160, 161, 1600, 3199):
        other = wave.clone()
        other[:, place:] += noise(1, 3200 - place, seed=place + 1)
        changed = (stem(other) - before).abs().amax((0, 2)) > 0
        # Step t sees samples up to 160 (t + 1) - 1.
        assert not changed[: place // 160].any()
        assert changed[place // 160]


def test_valid_steps_are_those_of_the_clip_alone() -> None:
    config = WAV2VEC2_LAYER.narrow(4)
    stem = config.build().double()
    lengths = torch.tensor([4000, 1359, 1360, 400, 399])
    wave = noise(5, 4000) * (torch.arange(4000) < lengths[:, None])
    valid = config.valid(lengths, config.frames(4000))
    assert valid is not None
    assert valid.sum(1).tolist() == [12, 3, 4, 1, 0]
    whole = stem(wave)
    for b in range(4):
        alone = stem(wave[b : b + 1, : int(lengths[b])])
        torch.testing.assert_close(whole[b][valid[b]], alone[0], rtol=1e-12, atol=1e-12)
    assert config.valid(torch.tensor([4000, 3920]), 12) is None


def test_channel_norm_in_half_precision_keeps_small_deviations() -> None:
    norm = ChannelNorm(64)
    x = 100 + noise(1, 64, 5).float()
    narrow = norm(x.bfloat16())
    torch.testing.assert_close(narrow, norm(x.bfloat16().float()))


def test_equal_seeds_equal_weights_and_the_global_generator_has_no_say() -> None:
    torch.manual_seed(1)
    one = CPC.narrow(8).build(torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    two, other = CPC.narrow(8).build(torch.Generator().manual_seed(3)), CPC.narrow(8).build()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.convs[0].weight, other.convs[0].weight)
    weight = WaveformStemConfig(layers=((400, 10, 5), (400, 3, 2))).build().convs[1].weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 1200), rel=0.01)


def test_presets_travel_as_json() -> None:
    for config in (WAV2VEC2, WAV2VEC2_LAYER, WAV2VEC, VQ_WAV2VEC, CPC):
        assert WaveformStemConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ()}, "expected"),
        ({"layers": ((4, 0, 1),)}, "at least 1"),
        ({"layers": ((4, 2, 3),)}, "leaves samples unread"),
        ({"norm": "chanel"}, "did you mean 'channel'"),
        ({"activation": "tanh"}, "activation is 'tanh'"),
        ({"padding": "same"}, "padding is 'same'"),
    ],
)
def test_settings_that_no_stem_can_have_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WaveformStemConfig(**settings)  # type: ignore[arg-type]


def test_single_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        ChannelNorm(1)


@pytest.mark.parametrize("config", [WAV2VEC2_LAYER.narrow(32), CPC.narrow(32)])
def test_gradients_stay_finite_and_small_on_silence(config: WaveformStemConfig) -> None:
    """Norms without variance would overflow on digital silence in the middle of a clip."""
    stem = WaveformStem(config, torch.Generator().manual_seed(0))
    wave = torch.randn(2, 16000, generator=torch.Generator().manual_seed(1)) * 0.1
    loud = stem(wave).square().mean()
    usual = max(float(g.abs().max()) for g in torch.autograd.grad(loud, list(stem.parameters())))
    wave[0, 4000:12000] = 0.0
    wave[1] = 0.0
    loss = stem(wave).square().mean()
    found = max(float(g.abs().max()) for g in torch.autograd.grad(loss, list(stem.parameters())))
    assert found < 1e3 * usual
