"""Convolutional decoders against slow loops; what lies in hidden places; padding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid, Tokens
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.token_mask import MaskedPositions
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig, Conv2dDecoderConfig, ConvDecoder
from auricle.objectives.targets.target import MaskedBatch

CONFIGS = [
    Conv1dDecoderConfig(width=8, depth=3, kernel=5, groups=4),
    Conv2dDecoderConfig(width=8, depth=3, kernel=3, groups=4),
]


def encoder(width: int = 8) -> SpectrogramTransformer:
    return SpectrogramTransformerConfig(width=width, depth=1, heads=2, mels=48, frames=96).build()


def masked_batch(out: Tokens, clones: int = 1, valid: Tensor | None = None, seed: int = 3) -> MaskedBatch:
    rows, grid = out.x.shape[0], out.grid
    masked = torch.ones(rows, grid.tokens, dtype=torch.bool)
    if out.index is not None:
        masked.scatter_(1, out.index, False)
    view = View(
        Features(torch.zeros(rows // clones, 96, 48), torch.full((rows // clones,), 96), 100.0), torch.arange(1)
    )
    whole = Tokens(torch.zeros(rows // clones, grid.tokens, out.x.shape[2]), grid, valid=valid)
    hidden = MaskedPositions(masked, masked)
    generator = torch.Generator().manual_seed(seed)
    return MaskedBatch(encoder(), view, view, whole, out, {}, hidden, clones, generator, 0.0, 0)


def slow_layer(conv: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    """One layer on `x (T, F, C)`, place by place and group by group."""
    weight, bias = conv.weight.detach(), conv.bias.detach()
    flat = weight.dim() == 3
    weight = weight.unsqueeze(3) if flat else weight
    out, own, tall, wide = weight.shape
    made = torch.zeros(grid.time, grid.freq, out, dtype=x.dtype)
    for t, f, c in itertools.product(range(grid.time), range(grid.freq), range(out)):
        first = c // (out // (x.shape[2] // own)) * own
        total = float(bias[c])
        for i, j in itertools.product(range(tall), range(wide)):
            s, g = t + i - tall // 2, f + j - wide // 2
            if 0 <= s < grid.time and 0 <= g < grid.freq:
                total += float((weight[c, :, i, j] * x[s, g, first : first + own]).sum())
        made[t, f, c] = total
    mean = made.mean(2, keepdim=True)
    made = (made - mean) / (made.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    made = made * 0.5 * (1 + torch.erf(made / math.sqrt(2)))
    return x + made if x.shape == made.shape else made


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("width", [8, 12])
def test_equals_loops(config: Conv1dDecoderConfig | Conv2dDecoderConfig, width: int) -> None:
    decoder = config.build(encoder(width), torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for p in decoder.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    grid = Grid(5, 3, 6.25)
    x = torch.randn(2, 15, width, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    made = decoder(Tokens(x, grid)).x
    for row in range(2):
        slow = x[row].unflatten(0, (5, 3))
        for conv in decoder.convs:
            slow = slow_layer(conv, slow, grid)
        torch.testing.assert_close(made[row], slow.flatten(0, 1), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("config", CONFIGS)
def test_visible_tokens_keep_their_places_and_noise_fills_the_others(
    config: Conv1dDecoderConfig | Conv2dDecoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = config.replace(noise=0.5).build(encoder(), torch.Generator().manual_seed(0))
    seen: list[Tokens] = []
    monkeypatch.setattr(ConvDecoder, "forward", lambda self, out: seen.append(out) or out)
    grid = Grid(20, 3, 6.25)
    index = torch.stack([torch.randperm(60, generator=torch.Generator().manual_seed(i))[:9] for i in range(64)])
    index = index.sort(1).values
    x = 100.0 + torch.arange(64 * 9 * 8.0).view(64, 9, 8)
    decoder.decode(masked_batch(Tokens(x, grid, index=index)))
    full = seen[0].x
    for row in range(64):
        assert torch.equal(full[row, index[row]], x[row])
    noise = full[(full < 50).all(2)]
    assert noise.shape[0] == 64 * 51
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 0.5) < 0.02
    # The same generator, the same noise.
    decoder.decode(masked_batch(Tokens(x, grid, index=index)))
    assert torch.equal(seen[1].x, full)


@pytest.mark.parametrize("config", CONFIGS)
def test_padding_changes_nothing(config: Conv1dDecoderConfig | Conv2dDecoderConfig) -> None:
    decoder = config.build(encoder(), torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for conv in decoder.convs:
            conv.bias.fill_(0.3)
    x = torch.randn(1, 8 * 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    alone = decoder.decode(masked_batch(Tokens(x[:, :15], Grid(5, 3, 6.25)))).x
    valid = torch.arange(24)[None] < 15
    made = decoder.decode(masked_batch(Tokens(x, Grid(8, 3, 6.25)), valid=valid)).x
    torch.testing.assert_close(made[:, :15], alone)


def test_one_axis_keeps_bands_apart() -> None:
    decoder = CONFIGS[0].build(encoder(), torch.Generator().manual_seed(0))
    x = torch.randn(1, 15, 8, generator=torch.Generator().manual_seed(2))
    other = x.clone()
    other[:, 1::3] += 1.0
    one, two = decoder(Tokens(x, Grid(5, 3, 6.25))).x, decoder(Tokens(other, Grid(5, 3, 6.25))).x
    assert torch.equal(one[:, 0::3], two[:, 0::3])
    assert torch.equal(one[:, 2::3], two[:, 2::3])
    assert not torch.allclose(one[:, 1::3], two[:, 1::3])


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="odd"):
        Conv1dDecoderConfig(kernel=4)
    with pytest.raises(ConfigError, match="multiple of its 16 groups"):
        Conv2dDecoderConfig(width=100)
    with pytest.raises(ConfigError, match="at least 1"):
        Conv2dDecoderConfig(depth=0)
    with pytest.raises(ConfigError, match=r"encoder's width 8 .* 16 groups.*objective.decoder.groups"):
        Conv1dDecoderConfig().build(encoder(), torch.Generator())
    with pytest.raises(ConfigError, match="dropped"):
        CONFIGS[0].build(encoder(), torch.Generator())(
            Tokens(torch.zeros(1, 2, 8), Grid(5, 3, 6.25), index=torch.tensor([[0, 1]]))
        )


def test_published_sizes() -> None:
    one, two = Conv1dDecoderConfig(), Conv2dDecoderConfig()
    assert (one.width, one.depth, one.kernel, one.groups, one.noise) == (384, 4, 7, 16, 0.01)
    assert (two.width, two.depth, two.kernel, two.groups) == (768, 6, 3, 16)
    made = two.build(SpectrogramTransformerConfig.size("base").build(), torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in made.parameters()) == 6 * (768 * 48 * 9 + 768)
