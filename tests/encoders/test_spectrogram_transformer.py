from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.contract import Ability
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError

SMALL = SpectrogramTransformerConfig(width=24, depth=3, heads=2, mels=32, frames=128, drop_path=0.0)


def features(clips: int = 2, frames: int = 128, mels: int = 32, lengths: list[int] | None = None) -> Features:
    x = torch.randn(clips, frames, mels, generator=torch.Generator().manual_seed(0))
    length = torch.tensor(lengths or [frames] * clips)
    x = x.masked_fill(torch.arange(frames)[None, :, None] >= length[:, None, None], 0.467)
    return Features(x, length, 100.0, 0.467)


@pytest.mark.parametrize(("size", "count"), [("tiny", 5_487_552), ("small", 21_591_936), ("base", 85_651_200)])
def test_sizes(size: str, count: int) -> None:
    config = SpectrogramTransformerConfig.size(size)
    assert (config.width, config.depth, config.heads) == {
        "tiny": (192, 12, 3),
        "small": (384, 12, 6),
        "base": (768, 12, 12),
    }[size]
    D, N = config.width, 512
    by_hand = D * 256 + D + 2 * D + D + (N + 1) * D + 2 * D + 12 * (12 * D * D + 13 * D) + 2 * D
    assert by_hand == count
    if size == "tiny":
        assert sum(p.numel() for p in config.build().parameters()) == count


def test_patches_equal_a_strided_convolution() -> None:
    encoder = SMALL.replace(patch_norm=False).build()
    conv = torch.nn.Conv2d(1, 24, 16, 16)
    conv.weight.data = encoder.patch_proj.weight.data.unflatten(1, (1, 16, 16))
    conv.bias.data = encoder.patch_proj.bias.data
    data = features()
    expected = conv(data.x.unsqueeze(1)).flatten(2).transpose(1, 2)  # time-major: t * F + f
    tokens = encoder.tokenize(data)
    torch.testing.assert_close(tokens.x - encoder.positions[:, 1:], expected, atol=1e-5, rtol=1e-5)


def test_shorter_inputs_use_the_first_columns() -> None:
    encoder = SMALL.build()
    whole, part = encoder.tokenize(features()), features()
    cut = encoder.tokenize(Features(part.x[:, :48], torch.tensor([48, 48]), 100.0))
    torch.testing.assert_close(cut.x, whole.x[:, :6])
    assert (cut.grid.time, cut.grid.freq, cut.grid.rate) == (3, 2, 6.25)


def test_layers_in_the_order_asked() -> None:
    encoder = SMALL.build().eval()
    tokens = encoder(features(), layers=[3, 0, 1, 3])
    assert tokens.layers is not None
    assert len(tokens.layers) == 4
    torch.testing.assert_close(tokens.layers[0].block, tokens.x)
    torch.testing.assert_close(tokens.layers[3].block, tokens.x)
    assert tokens.layers[1].feedforward is None
    # By hand: block 1 on what layer 0 shows.
    start = torch.cat([tokens.layers[1].cls, tokens.layers[1].block], 1)
    out, feedforward = encoder.blocks[0](start)
    torch.testing.assert_close(out[:, 1:], tokens.layers[2].block)
    torch.testing.assert_close(feedforward[:, 1:], tokens.layers[2].feedforward)
    with pytest.raises(ConfigError, match="layers \\[4\\]"):
        encoder(features(), layers=[4])


@pytest.mark.parametrize("pooling", ["mean_with_cls", "mean", "cls"])
def test_pooling_against_loops(pooling: str) -> None:
    encoder = SMALL.replace(pooling=pooling).build().eval()
    for data in (features(), features(lengths=[128, 30])):
        tokens = encoder(data)
        assert tokens.cls is not None
        for b in range(2):
            valid = range(16) if tokens.valid is None else tokens.valid[b].nonzero().flatten().tolist()
            rows = [] if pooling == "cls" else [tokens.x[b, i] for i in valid]
            rows += [] if pooling == "mean" else [tokens.cls[b, 0]]
            expected = encoder.fc_norm(torch.stack(rows).mean(0))
            torch.testing.assert_close(encoder.pool(tokens)[b], expected, atol=1e-5, rtol=1e-5)


def test_options() -> None:
    plain = SMALL.replace(cls=False, pooling="mean", patch_norm=False, pre_norm=False, final="norm").build().eval()
    tokens = plain(features())
    assert tokens.cls is None
    assert Ability.CLS not in plain.abilities
    assert plain.positions.shape == (1, 16, 24)
    torch.testing.assert_close(tokens.x.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.pool(tokens), tokens.x.mean(1))
    assert {"fc_norm.weight", "norm_pre.weight", "patch_norm.weight"}.isdisjoint(plain.state_dict())


def test_tokens_without_any_valid_one_stay_finite() -> None:
    encoder = SMALL.replace(cls=False, pooling="mean").build()
    tokens = encoder.tokenize(features(lengths=[128, 10]))
    kept = tokens.keep(torch.tensor([[0, 1], [14, 15]]))  # the second clip keeps padding only
    out = encoder.contextualize(kept)
    assert out.x.isfinite().all()
    encoder.pool(out).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_drop_path() -> None:
    encoder = SMALL.replace(drop_path=0.6, depth=4).build().train()
    assert [block.drop_path for block in encoder.blocks] == pytest.approx([0, 0.2, 0.4, 0.6])
    data = features()
    torch.manual_seed(0)
    one = encoder(data).x
    torch.manual_seed(0)
    two, three = encoder(data).x, encoder(data).x
    assert torch.equal(one, two)
    assert not torch.equal(two, three)
    # A branch is skipped for whole samples, with the expectation kept.
    block, x = encoder.blocks[3], torch.randn(4000, 1, 24)
    branch = torch.ones_like(x)
    change = (block._residual(x, branch) - x)[:, 0]
    torch.testing.assert_close(change, change[:, :1].expand(-1, 24), atol=1e-4, rtol=0)
    assert float(change[:, 0].mean()) == pytest.approx(1, abs=0.06)
    assert float((change[:, 0].abs() < 1e-4).float().mean()) == pytest.approx(0.6, abs=0.03)
    encoder.eval()
    torch.testing.assert_close(block._residual(x, branch), x + 1)


def test_weights_come_from_the_generator() -> None:
    one, same = SMALL.build(), SMALL.build()
    other = SMALL.build(torch.Generator().manual_seed(5))
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        if name.endswith("qkv.weight"):
            assert not torch.equal(a, c)
            assert float(a.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_settings_travel_as_json() -> None:
    config = SpectrogramTransformerConfig.size("small", frames=512, drop_path=0.2)
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "multiple of heads"),
        ({"mels": 100}, "multiple of the patch height"),
        ({"frames": 100}, "multiple of the patch length"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"cls": False}, "reads the class token"),
        ({"pooling": "max"}, "pooling is 'max'"),
        ({"depth": 0}, "at least 1"),
    ],
)
def test_bad_settings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SMALL.replace(**changes)


def test_unknown_size_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        SpectrogramTransformerConfig.size("bases")


def test_features_that_do_not_fit_are_refused() -> None:
    encoder = SMALL.build()
    with pytest.raises(ConfigError, match=r"expected \(B, T, 32\)"):
        encoder(features(mels=64))
    with pytest.raises(ConfigError, match="at most 128"):
        encoder(features(frames=129))
    with pytest.raises(ConfigError, match="features at 50 per second, SpectrogramTransformer expects 100"):
        encoder(Features(features().x, torch.tensor([128, 128]), 50.0))
