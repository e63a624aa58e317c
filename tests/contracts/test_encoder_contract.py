"""What every encoder promises, tested on each. A new encoder adds one line to ENCODERS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability, Encoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig

_SMALL = SpectrogramTransformerConfig(width=32, depth=3, heads=2, mels=32, frames=160, drop_path=0.0)

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "spectrogram_transformer": _SMALL.build,
    "spectrogram_transformer-plain": _SMALL.replace(
        cls=False, pooling="mean", patch_norm=False, pre_norm=False, final="norm"
    ).build,
    "spectrogram_transformer-flat_patches": _SMALL.replace(patch=(4, 32), pooling="cls").build,
    "log_mel_statistics": LogMelStatisticsConfig(mels=32).build,
}
MELS = 32
PAD = 0.46875  # the same number in every precision


@pytest.fixture(params=list(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    built = ENCODERS[request.param]()
    with torch.no_grad():  # beyond the tiny initial weights, so that what should differ does
        for p in built.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.1)
    return built.eval()


def batch(lengths: list[int], frames: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Features:
    clips = []
    for i, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(seed + i)
        clip = torch.randn(max(length, 1), MELS, generator=generator)[:length]
        clips.append(torch.nn.functional.pad(clip, (0, 0, 0, frames - length), value=PAD))
    return Features(torch.stack(clips).to(dtype), torch.tensor(lengths), 100.0, PAD)


@pytest.mark.parametrize("lengths", [[160, 5], [100, 99, 1], [33, 32, 31, 16, 17]])
def test_padding_never_changes_a_valid_token(encoder: Encoder, lengths: list[int]) -> None:
    if Ability.EXACT_PADDING not in encoder.abilities:
        pytest.skip(f"{type(encoder).__name__} does not promise EXACT_PADDING")
    layers = range(encoder.depth + 1)
    encoder.double()
    together = encoder(batch(lengths, 160, torch.float64), layers)
    pooled = encoder.pool(together)
    for b, length in enumerate(lengths):
        alone = encoder(batch([length], length, torch.float64, seed=b), layers)
        count = alone.x.shape[1]
        valid = together.valid[b] if together.valid is not None else torch.ones(together.x.shape[1], dtype=torch.bool)
        assert valid[:count].all()
        assert not valid[count:].any()
        torch.testing.assert_close(together.x[b, :count], alone.x[0], rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(pooled[b], encoder.pool(alone)[0], rtol=1e-9, atol=1e-10)
        assert together.layers is not None
        assert alone.layers is not None
        for ours, theirs in zip(together.layers, alone.layers, strict=True):
            torch.testing.assert_close(ours.block[b, :count], theirs.block[0], rtol=1e-9, atol=1e-10)


def test_more_padding_changes_nothing(encoder: Encoder) -> None:
    short, long = encoder(batch([50, 20], 64)), encoder(batch([50, 20], 160))
    count = short.x.shape[1]
    for b in range(2):
        valid = torch.ones(count, dtype=torch.bool) if short.valid is None else short.valid[b]
        torch.testing.assert_close(short.x[b][valid], long.x[b, :count][valid], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.pool(short), encoder.pool(long), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100, 160])
def test_grid(encoder: Encoder, frames: int) -> None:
    tokens, grid = encoder(batch([frames], frames)), encoder.grid(frames)
    assert tokens.grid == grid
    assert tokens.x.shape == (1, grid.tokens, encoder.width)
    step = 100.0 / grid.rate
    assert step * (grid.time - 1) < frames <= step * grid.time


def test_tokens_are_time_major(encoder: Encoder) -> None:
    """Changing the input around one place of the grid changes that token before context, and no other."""
    data = batch([160], 160)
    grid = encoder.grid(160)
    before = encoder.tokenize(data).x
    time, freq = int(100 / grid.rate), MELS // grid.freq
    for t, f in ((0, 0), (grid.time - 1, 0), (3, grid.freq - 1)):
        x = data.x.clone()
        x[0, t * time : (t + 1) * time, f * freq : (f + 1) * freq] += torch.arange(freq) * 0.3
        changed = (encoder.tokenize(replace(data, x=x)).x - before).abs().amax(-1)[0] > 1e-5
        assert changed.nonzero().flatten().tolist() == [t * grid.freq + f]


def test_layers_come_in_the_order_asked(encoder: Encoder) -> None:
    data = batch([160, 160], 160)
    wanted = [encoder.depth, 0]
    layers = encoder(data, wanted).layers
    assert layers is not None
    assert len(layers) == 2
    for layer in layers:
        assert layer.block.shape == (2, layer.grid.tokens, encoder.width)
    assert encoder(data).layers is None


def test_evaluation_is_deterministic(encoder: Encoder) -> None:
    data = batch([160, 40], 160)
    one, two = encoder(data), encoder(data)
    assert torch.equal(one.x, two.x)
    assert torch.equal(encoder.pool(one), encoder.pool(two))


def test_abilities_are_kept(encoder: Encoder) -> None:
    tokens = encoder.tokenize(batch([160, 160], 160))
    if Ability.CLS in encoder.abilities:
        assert tokens.cls is not None
    if Ability.DROP in encoder.abilities:
        index = torch.stack([torch.randperm(tokens.grid.tokens)[:5] for _ in range(2)])
        kept = encoder.contextualize(tokens.keep(index))
        assert kept.x.shape == (2, 5, encoder.width)
        assert kept.index is not None
        assert torch.equal(kept.index, index)
        # What was dropped had no say: its content doesn't matter.
        other = tokens.x + 1
        mixed = other.scatter(1, index[..., None].expand(-1, -1, encoder.width), kept_inputs(tokens.x, index))
        again = encoder.contextualize(replace(tokens, x=mixed).keep(index))
        torch.testing.assert_close(kept.x, again.x)
        # And order doesn't matter either.
        turned = encoder.contextualize(tokens.keep(index.flip(1)))
        torch.testing.assert_close(turned.x, kept.x.flip(1), rtol=1e-4, atol=1e-5)
    if Ability.MASK in encoder.abilities:
        masked = tokens.x.clone()
        masked[:, 2] = 0.5
        out, plain = encoder.contextualize(replace(tokens, x=masked)), encoder.contextualize(tokens)
        assert out.x.shape == plain.x.shape
        assert not torch.allclose(out.x[:, 3], plain.x[:, 3])


def kept_inputs(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def test_dropping_the_padding_equals_masking_it(encoder: Encoder) -> None:
    if Ability.DROP not in encoder.abilities:
        pytest.skip(f"{type(encoder).__name__} does not promise DROP")
    tokens = encoder.tokenize(batch([50], 160))
    assert tokens.valid is not None
    index = tokens.valid[0].nonzero().T
    kept, masked = encoder.contextualize(tokens.keep(index)), encoder.contextualize(tokens)
    torch.testing.assert_close(kept.x, masked.x[:, index[0]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.pool(kept), encoder.pool(masked), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", [[160, 160], [160, 40]])
def test_every_parameter_gets_a_gradient(encoder: Encoder, lengths: list[int]) -> None:
    parameters = dict(encoder.named_parameters())
    if not parameters:
        pytest.skip("no parameters")
    encoder.train()
    tokens = encoder(batch(lengths, 160))
    target = encoder.pool(tokens).pow(3).sum() + tokens.x.pow(3).mean()
    target.backward()
    without = [n for n, p in parameters.items() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert without == []
    assert all(p.grad.isfinite().all() for p in parameters.values() if p.grad is not None)


@pytest.mark.parametrize("lengths", [[160, 160], [160, 7]])
def test_half_precision_stays_finite_and_close(encoder: Encoder, lengths: list[int]) -> None:
    data = batch(lengths, 160)
    with torch.no_grad():
        exact = encoder.pool(encoder(data))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = encoder.pool(encoder(data))
    assert pooled.isfinite().all()
    assert torch.nn.functional.cosine_similarity(pooled.float(), exact).min() > 0.99
    if pooled.requires_grad:
        pooled.float().square().sum().backward()
        for name, p in encoder.named_parameters():
            assert p.grad is None or (p.grad.dtype == torch.float32 and p.grad.isfinite().all()), name


def test_a_large_input_stays_finite(encoder: Encoder) -> None:
    data = batch([160], 160)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder.pool(encoder(replace(data, x=data.x * 1e4))).isfinite().all()
