"""AudioNTT against a plain re-statement of its layers, the numbers of its authors' code, and its published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.audio_ntt import AudioNTT, AudioNTTConfig
from auricle.errors import ConfigError


class Oracle(nn.Module):
    """The layers as the papers list them, in the order in which PyTorch's global generator draws their weights."""

    def __init__(self, blocks: int, width: int, hidden: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in range(blocks):
            layers += [nn.Conv2d(64 if block else 1, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        local = 64 * (64 >> blocks)
        self.late = blocks == 2
        out = width - local if self.late else width
        self.fc = nn.Sequential(nn.Linear(local, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return the clip vector of `(B, 1, mels, frames)`."""
        maps = self.features(x)
        steps = torch.stack([maps[..., t].transpose(1, 2).flatten(1) for t in range(maps.shape[-1])], 1)
        y = self.fc(steps)
        y = torch.cat([steps, y], 2) if self.late else y
        return y.max(1).values + y.mean(1)


def drawn(version: str) -> tuple[Oracle, AudioNTT, Tensor]:
    torch.manual_seed(0)
    oracle = Oracle(3, 512, 512) if version == "2020" else Oracle(2, 3072, 2048)
    torch.manual_seed(1)
    x = torch.randn(2, 1, 64, 96)
    encoder = AudioNTTConfig.size("tiny" if version == "2020" else "2022").build()
    encoder.load_state_dict(oracle.state_dict())
    return oracle.eval(), encoder.eval(), x


def features(x: Tensor, lengths: list[int] | None = None) -> Features:
    frames = x.shape[-1]
    return Features(x[:, 0].transpose(1, 2), torch.tensor(lengths or [frames] * len(x)), 100.0)


@pytest.mark.parametrize(
    ("version", "total", "first"),
    [
        ("2020", 48.93621826, [0.01641229, 0.02465146, 0.0, 0.0]),
        ("2022", 2416.4755859, [0.3347315, 1.4473648, 0.7176487, 0.1197538]),
    ],
)
@torch.no_grad()
def test_the_clip_vector_is_that_of_the_authors(version: str, total: float, first: list[float]) -> None:
    oracle, encoder, x = drawn(version)
    tokens = encoder(features(x))
    pooled = encoder.pool(tokens)
    assert float(pooled.sum()) == pytest.approx(total, rel=1e-5)
    torch.testing.assert_close(pooled[0, :4], torch.tensor(first), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pooled, oracle(x), rtol=1e-5, atol=2e-6)
    if version == "2022":
        last = torch.tensor([0.0, 0.3238839, 0.0526261, 0.1965843])
        torch.testing.assert_close(pooled[0, -4:], last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "count"), [("tiny", 600_192), ("small", 1_649_792), ("base", 5_321_856), ("2022", 6_333_376)]
)
def test_sizes(size: str, count: int) -> None:
    assert sum(p.numel() for p in AudioNTTConfig.size(size).build().parameters()) == count


@pytest.mark.parametrize(("size", "rate", "steps"), [("tiny", 12.5, [12, 12, 50]), ("2022", 25.0, [24, 25, 100])])
def test_steps_of_96_101_and_401_frames(size: str, rate: float, steps: list[int]) -> None:
    encoder = AudioNTTConfig.size(size).build()
    assert [encoder.grid(frames).time for frames in (96, 101, 401)] == steps
    assert encoder.grid(401).freq == 1
    assert encoder.grid(401).rate == rate
    for seconds in (0.5, 1.0, 2.37, 10.0):
        assert encoder.grid(round(100 * seconds)).time == int(round(100 * seconds) // (100 / rate))


def test_layers_have_their_own_grids_and_widths() -> None:
    encoder = AudioNTTConfig.size("tiny").build().eval()
    tokens = encoder(features(torch.randn(1, 1, 64, 96)), range(5))
    assert tokens.layers is not None
    found = [(la.grid.time, la.grid.freq, la.grid.rate, la.block.shape[2]) for la in tokens.layers]
    assert found == [(48, 32, 50.0, 64), (24, 16, 25.0, 64), (12, 8, 12.5, 64), (12, 1, 12.5, 512), (12, 1, 12.5, 512)]
    assert torch.equal(tokens.layers[-1].block, tokens.x)


def test_too_short_inputs_are_refused() -> None:
    encoder = AudioNTTConfig.size("tiny").build()
    assert encoder.least_frames == 8
    assert encoder.grid(8).time == 1
    with pytest.raises(ConfigError, match="7 frames, AudioNTT needs at least 8"):
        encoder.tokenize(features(torch.zeros(1, 1, 64, 7)))
    assert AudioNTTConfig.size("2022").build().least_frames == 4


def test_dropped_tokens_are_refused() -> None:
    encoder = AudioNTTConfig.size("tiny").build()
    tokens = encoder.tokenize(features(torch.zeros(1, 1, 64, 16)))
    with pytest.raises(ConfigError, match=r"found 2 of \d+ tokens, AudioNTT needs all of them.*DROP"):
        encoder.contextualize(tokens.keep(torch.tensor([[0, 1]])))


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2021"},
        {"pooling": "median"},
        {"mels": 7},
        {"dropout": 1.0},
        {"channels": 0},
        {"hidden": 0},
        {"version": "2022", "width": 1024},
        {"width": 0},
    ],
)
def test_settings_are_checked(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        AudioNTTConfig(**change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown size"):
        AudioNTTConfig.size("2023")


def test_settings_travel_as_json() -> None:
    config = AudioNTTConfig.size("2022", mels=80)
    assert AudioNTTConfig.from_json(config.to_json()) == config
