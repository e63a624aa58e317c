"""Published encoders: parameter counts, grids, and what each layout switches on."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.contract import Ability
from auricle.encoders.spectrogram_layouts import LAYOUTS, layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig
from auricle.errors import ConfigError


def on_meta(config: SpectrogramTransformerConfig) -> SpectrogramTransformer:
    generator = torch.Generator()
    with torch.device("meta"):
        return config.build(generator)


def count(config: SpectrogramTransformerConfig) -> int:
    return sum(p.numel() for p in on_meta(config).parameters())


@pytest.mark.parametrize(
    ("name", "size", "millions"),
    [
        ("ast", "base", 86.19),
        ("ssast", "base", 85.65),
        ("atst_clip", "small", 21.5),
        ("atst_clip", "base", 85.4),
        ("atst_frame", "small", 21.5),
        ("atst_frame", "base", 85.4),
        ("dasheng", "base", 85.45),
        ("dasheng", "0.6B", 630.3),
        ("mockingjay", "base", 21.33),
        ("mockingjay", "large", 85.1),
        ("tera", "base", 21.33),
    ],
)
def test_published_counts(name: str, size: str, millions: float) -> None:
    digits = 2 if round(millions, 1) != millions else 1
    assert round(count(layout(name, size)) / 1e6, digits) == millions


def test_counts_that_include_a_fixed_table() -> None:
    """The 85.65 M of Audio-MAE count its table of positions, which is not trained here either."""
    for name in ("audio_mae", "eat"):
        encoder = on_meta(layout(name))
        assert encoder.positions is not None
        assert not isinstance(encoder.positions, torch.nn.Parameter)
        weights = sum(p.numel() for p in encoder.parameters())
        assert round((weights + encoder.positions.numel()) / 1e6, 2) == 85.65


def test_shared_layers_cost_one() -> None:
    one, twelve = (count(layout("audio_albert", depth=depth)) for depth in (1, 12))
    assert one == twelve
    # What the paper claims beside a Mockingjay of as many layers: 91 % fewer.
    assert 0.91 < 1 - twelve / count(layout("mockingjay", "large")) < 0.92


def test_large_is_the_large_vision_transformer() -> None:
    D = 1024
    by_hand = 24 * (12 * D * D + 13 * D) + (256 * D + D) + D + 2 * D  # blocks, projection, class token, norm
    assert count(layout("audio_mae", "large")) == by_hand


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.37, 10.0])
def test_grids(name: str, seconds: float) -> None:
    frames = round(seconds * 100)
    patches_of_16 = (-(-frames // 16), 6.25)
    time, freq, rate = {
        "ast": ((frames - 16) // 10 + 1, 12, 10.0),
        "ssast_frame": (-(-frames // 2), 1, 50.0),
        "msm_mae": (patches_of_16[0], 5, 6.25),
        "m2d": (patches_of_16[0], 5, 6.25),
        "atst_clip": (-(-frames // 4), 1, 25.0),
        "atst_frame": (-(-frames // 4), 1, 25.0),
        "dasheng": (-(-frames // 4), 1, 25.0),
        "mockingjay": (frames, 1, 100.0),
        "tera": (frames, 1, 100.0),
        "audio_albert": (frames, 1, 100.0),
        "decoar2": (frames, 1, 100.0),
    }.get(name, (patches_of_16[0], 8, 6.25))
    grid = on_meta(layout(name, "tiny", depth=1)).grid(frames)
    assert (grid.time, grid.freq, grid.rate) == (time, freq, rate)


def test_published_token_counts() -> None:
    """1212 of AST, 512 and 512 of SSAST, 190 of M2D at 6.08 s, 252 of Dasheng at 10.08 s."""
    for name, frames, tokens in (
        ("ast", 1024, 1212),
        ("ssast", 1024, 512),
        ("ssast_frame", 1024, 512),
        ("m2d", 608, 190),
        ("dasheng", 1008, 252),
        ("atst_frame", 1000, 250),
    ):
        assert on_meta(layout(name, "tiny", depth=1)).grid(frames).tokens == tokens


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_every_layout_encodes_and_travels_as_json(name: str) -> None:
    config = layout(name, "tiny", width=32, heads=2, depth=2, frames=160 if name != "m2d" else 608)
    assert Config.from_json(config.to_json()) == config
    encoder = config.build().eval()
    x = torch.randn(2, 100, config.mels, generator=torch.Generator().manual_seed(0))
    tokens = encoder(Features(x, torch.tensor([100, 40]), 100.0))
    assert tokens.x.isfinite().all()
    assert encoder.pool(tokens).shape == (2, encoder.pooled_width)
    overlapping = name == "ast"
    assert (Ability.DROP in encoder.abilities) == (Ability.MASK in encoder.abilities) == (not overlapping)
    assert Ability.EXACT_PADDING in encoder.abilities
    classes = 0 if tokens.cls is None else tokens.cls.shape[1]
    assert classes == {"ast": 2, "ssast": 2, "ssast_frame": 2}.get(name, int(config.cls))


def test_atst_has_no_bias_on_queries_keys_and_values() -> None:
    for name in ("atst_clip", "atst_frame"):
        assert all(block.qkv.bias is None for block in on_meta(layout(name, "tiny")).blocks)
    assert all(block.qkv.bias is not None for block in on_meta(layout("m2d", "tiny")).blocks)


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mockingjay'"):
        layout("mockingjai")
    with pytest.raises(ConfigError, match="unknown size 'bsae' of eat; did you mean 'base'"):
        layout("eat", "bsae")
