"""HTS-AT: equal to transformers' CLAP audio encoder, counts, grids, shorter and longer clips."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.hts_at import HtsAt, HtsAtConfig
from auricle.encoders.parts.shifted_windows import WindowAttention
from auricle.errors import ConfigError
from auricle.zoo.families.hts_at import hts_at_weights

SMALL = HtsAtConfig(width=8, depths=(2, 2, 2, 2), heads=(1, 2, 2, 4), drop_path=0.0)
LITTLE = HtsAtConfig(
    width=8, depths=(2, 2, 2), heads=(2, 2, 4), window=4, mels=32, fold=2, clip_frames=125, drop_path=0.0
)


def features(frames: int, mels: int, lengths: list[int] | None = None, seed: int = 0) -> Features:
    rows = 2 if lengths is None else len(lengths)
    x = torch.randn(rows, frames, mels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ends = [frames] * rows if lengths is None else lengths
    for row, end in zip(x, ends, strict=True):
        row[end:] = 0.3
    return Features(x, torch.tensor(ends), 100.0, 0.3)


def shaken(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move weights and running statistics far from where they start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.2
                value.copy_((value + noise).abs() + 0.1 if name.endswith("running_var") else value + noise)
    return model.double().eval()


def clap(**changes: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    settings = {
        "patch_embeds_hidden_size": SMALL.width,
        "depths": list(SMALL.depths),
        "num_attention_heads": list(SMALL.heads),
        "hidden_size": SMALL.width * 8,
        "enable_fusion": False,
    }
    config = transformers.ClapAudioConfig(**{**settings, **changes})
    return shaken(transformers.ClapAudioModel(config))


def test_it_equals_claps_audio_encoder_on_the_same_weights() -> None:
    theirs, ours = clap(), SMALL.build().double().eval()
    ours.load_state_dict(hts_at_weights(theirs.state_dict()))
    data = features(1001, 64)
    with torch.no_grad():
        expected = theirs.audio_encoder(
            data.x.unsqueeze(1), output_hidden_states=True, output_hidden_states_before_downsampling=True
        )
        tokens = ours(data, range(5))
    assert tokens.valid is None
    # Theirs is (B, D, 2, 32): frequency, then time.
    torch.testing.assert_close(
        tokens.x, expected.last_hidden_state.permute(0, 3, 2, 1).flatten(1, 2), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(ours.pool(tokens), expected.pooler_output, atol=1e-9, rtol=0)
    assert tokens.layers is not None
    for layer, images in zip(tokens.layers, expected.hidden_states, strict=True):
        # (B, C, 4 folds of frequency, columns) to time-major.
        B, C, H, W = images.shape
        unfolded = images.view(B, C, 4, H // 4, W).permute(0, 2, 4, 3, 1).reshape(B, 4 * W * (H // 4), C)
        torch.testing.assert_close(layer.block, unfolded, atol=1e-9, rtol=0)


@torch.no_grad()
def test_fewer_mel_bins_are_stretched_as_the_original_does() -> None:
    theirs, ours = clap(num_mel_bins=64), SMALL.replace(mels=40, bins=64, clip_frames=1024).build().double().eval()
    weights = hts_at_weights(theirs.state_dict())
    for name in ("weight", "bias", "running_mean", "running_var"):
        weights[f"input_norm.{name}"] = getattr(theirs.audio_encoder.batch_norm, name)[:40].clone()
        getattr(theirs.audio_encoder.batch_norm, name).data = weights[f"input_norm.{name}"]
    ours.load_state_dict(weights)
    data = features(1024, 40)
    pooled = theirs.audio_encoder(data.x.unsqueeze(1)).pooler_output
    torch.testing.assert_close(ours.pool(ours(data)), pooled, atol=1e-9, rtol=0)


def test_weights_of_other_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 0 names"):
        hts_at_weights({"x": torch.zeros(1)})
    with pytest.raises(ConfigError, match="feature fusion"):
        hts_at_weights(clap(enable_fusion=True, fusion_type="aff_2d").state_dict())


@pytest.mark.parametrize(("size", "millions"), [("base", 27.5), ("large", 67.8), ("tiny", 3.1), ("small", 12.3)])
def test_parameter_counts(size: str, millions: float) -> None:
    with torch.device("meta"):
        model = HtsAtConfig.size(size).build()
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    # 1001 frames become 1024, 32 of which are a token.
    [(0.5, 2), (1, 4), (2.37, 8), (10, 32), (10.01, 32), (10.02, 33), (30, 96)],
)
def test_grid(seconds: float, tokens: int) -> None:
    grid = HtsAtConfig.size("tiny").build().grid(round(seconds * 100))
    assert (grid.time, grid.freq) == (tokens, 2)
    assert grid.rate == pytest.approx(100 * 1024 / 1001 / 32)
    assert HtsAtConfig(width=8, heads=(1, 1, 1, 1), clip_frames=1024).build().grid(1000).rate == 3.125


def image_attention(x: torch.Tensor, layer: torch.nn.Module, real: torch.Tensor) -> torch.Tensor:
    """Attention of one image `(H, W, C)`, place by place: who shares a window, found by division alone."""
    H, W, C = x.shape
    heads, window, (down, along) = layer.heads, layer.window, layer.shift
    d = C // heads
    out = torch.zeros_like(x)
    places = [(r, c) for r in range(H) for c in range(W) if real[r, c]]

    def home(r: int, c: int) -> tuple[int, int]:
        # Moved by `shift`, windows begin at shift - window, shift, shift + window, ...
        return (r + window - down) // window, (c + window - along) // window

    for r, c in places:
        mates = [(r2, c2) for r2, c2 in places if home(r2, c2) == home(r, c)]
        q = layer.qkv(x[r, c])[:C].view(heads, d)
        keys = torch.stack([layer.qkv(x[m])[C : 2 * C].view(heads, d) for m in mates])
        values = torch.stack([layer.qkv(x[m])[2 * C :].view(heads, d) for m in mates])
        bias = torch.stack(
            [layer.table[(r - r2 + window - 1) * (2 * window - 1) + c - c2 + window - 1] for r2, c2 in mates]
        )
        weight = ((keys * q).sum(2) / d**0.5 + bias).softmax(0)
        out[r, c] = layer.proj((weight.unsqueeze(2) * values).sum(0).flatten())
    return out


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (6, 5), (3, 9)])
@torch.no_grad()
def test_windows_equal_a_slow_loop_on_images_of_any_size(shift: int, size: tuple[int, int]) -> None:
    layer = shaken(WindowAttention(6, 2, 4, shift))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, *size, 6, generator=generator, dtype=torch.float64)
    real = torch.ones(2, *size, dtype=torch.bool)
    real[1, :, 3:] = False
    for mask in (None, real):
        y = layer(x, mask)
        for row in range(2):
            there = torch.ones(size, dtype=torch.bool) if mask is None else mask[row]
            expected = image_attention(x[row], layer, there)
            torch.testing.assert_close(y[row][there], expected[there], atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_longer_clip_is_images_side_by_side() -> None:
    model = shaken(LITTLE.build())
    data = features(290, 32)
    whole = model(data, (1, 3))
    parts = [
        model(Features(data.x[:, a:b], torch.tensor([b - a] * 2), 100.0, 0.3), (1, 3))
        for a, b in ((0, 125), (125, 250), (250, 290))
    ]
    torch.testing.assert_close(whole.x, torch.cat([p.x for p in parts], 1), atol=1e-12, rtol=0)
    assert whole.grid.time == sum(p.grid.time for p in parts) == 8 + 8 + 3
    for i in (0, 1):
        blocks = torch.cat([p.layers[i].block for p in parts], 1)
        torch.testing.assert_close(whole.layers[i].block, blocks, atol=1e-12, rtol=0)


@torch.no_grad()
def test_what_is_empty_has_no_say() -> None:
    """Before any shift a clip of one window's width has the tokens that it has at the start of a full clip."""
    model = shaken(LITTLE.replace(depths=(1, 1, 1), clip_frames=128).build())
    data = features(128, 32)
    short = model(Features(data.x[:, :16], torch.tensor([16, 16]), 100.0, 0.3), (1,))
    long = model(data, (1,))
    torch.testing.assert_close(short.layers[0].block, long.layers[0].block[:, : 4 * 8], atol=1e-12, rtol=0)
    assert short.x.shape == (2, 2, 32)


def test_training_statistics_leave_padding_out() -> None:
    model = LITTLE.build().double().train()
    data = features(100, 32, [100, 40, 7])
    model.tokenize(data)
    frames = torch.cat([row[:end] for row, end in zip(data.x, data.lengths, strict=True)])
    torch.testing.assert_close(model.input_norm.running_mean, frames.mean(0) * 0.1)
    torch.testing.assert_close(model.input_norm.running_var, frames.var(0) * 0.1 + 0.9)


def test_weights_come_from_the_generator_only() -> None:
    built = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        built.append(LITTLE.build(torch.Generator().manual_seed(5)).state_dict())
    other = LITTLE.build(torch.Generator().manual_seed(6)).state_dict()
    assert all(torch.equal(a, b) for a, b in zip(*(b.values() for b in built), strict=True))
    assert not torch.equal(built[0]["patch_proj.weight"], other["patch_proj.weight"])


@torch.no_grad()
def test_feedforward_is_the_branch_before_it_is_added() -> None:
    model: HtsAt = LITTLE.build().double().eval()
    layer = model(features(125, 32), (2,)).layers[0]
    model.stages[1].blocks[-1].fc2.weight.zero_()
    model.stages[1].blocks[-1].fc2.bias.zero_()
    without = model(features(125, 32), (2,)).layers[0]
    assert layer.feedforward.any()
    torch.testing.assert_close(without.block + layer.feedforward, layer.block)


def test_dropped_tokens_are_refused() -> None:
    model = LITTLE.build()
    data = features(125, 32)
    tokens = model.tokenize(Features(data.x.float(), data.lengths, data.rate, data.pad))
    with pytest.raises(ConfigError, match=r"needs all of them.*DROP"):
        model.contextualize(tokens.keep(torch.zeros(2, 1, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (2, 2, 2)}, "one number per stage"),
        ({"heads": (4, 8, 16, 5)}, "stage 4 has width 768, expected a multiple of its 5 heads"),
        ({"mels": 80}, "80 rows of mel bins must be a multiple of 32.*set bins"),
        ({"mels": 96}, "the last stage has 12 rows.*set bins to a larger"),
        ({"mels": 80, "bins": 64}, "found bins 64, expected at least the 80 mel bins"),
        ({"window": 7}, "found window 7, expected an even number"),
        ({"window": 6}, "the last stage has 8 rows"),
        ({"clip_frames": 1025}, "expected at most 1024"),
        ({"width": 0}, "width is 0"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"frame_rate": 0.0}, "frame_rate"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HtsAtConfig(**changes)


def test_unknown_size() -> None:
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        HtsAtConfig.size("bas")


def test_json() -> None:
    assert HtsAtConfig.from_json(LITTLE.to_json()) == LITTLE
