"""PASE's encoder: filters against scipy, whole nets against plain layers on the same weights, sizes from the sheet."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from auricle.audio.batch import Features
from auricle.encoders.contract import Ability
from auricle.encoders.parts.pase_block import SincFilters
from auricle.encoders.pase import Pase, PaseConfig
from auricle.errors import ConfigError

NARROW = PaseConfig(
    filters=6, blocks=tuple((8 + i, *block[1:]) for i, block in enumerate(PaseConfig().blocks)), width=10
)


def clips(*lengths: int, dtype: torch.dtype = torch.float64) -> Features:
    x = torch.zeros(len(lengths), max(lengths), dtype=dtype)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = torch.randn(length, generator=torch.Generator().manual_seed(length))
    return Features(x, torch.tensor(lengths), 16000.0)


def count(encoder: torch.nn.Module) -> int:
    return sum(p.numel() for p in encoder.parameters())


def moved(config: PaseConfig) -> Pase:
    """An encoder whose norms and rectifiers are not where they start."""
    encoder = config.build().double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if "sinc.filters" not in name:
                p.add_(torch.randn(p.shape, generator=generator) * 0.1)
        for name, b in encoder.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                b.add_(torch.rand(b.shape, generator=generator))
    return encoder.eval()


def test_filters_equal_scipy_s_window_method() -> None:
    filters = SincFilters(64, 251, 16000.0).double()
    low, high = (edge.detach().numpy() for edge in filters.edges())
    taps = filters.taps().detach().numpy()
    for f1, f2, row in zip(low, high, taps, strict=True):
        stop = min(f2, 0.5 - 1e-9)  # firwin wants edges inside the band
        expected = scipy.signal.firwin(251, [f1, stop], window="hamming", pass_zero=False, scale=False, fs=1.0)
        np.testing.assert_allclose(row, expected / (2 * (f2 - f1)), rtol=0, atol=2e-6)
        assert row[125] == pytest.approx(1.0)


def test_filters_start_side_by_side_on_the_mel_scale() -> None:
    filters = SincFilters(64, 251, 16000.0).double()
    low, high = (edge.detach() * 16000 for edge in filters.edges())
    assert float(low[0]) == pytest.approx(80.0, abs=1e-2)
    assert float(high[-1]) == pytest.approx(8000.0, abs=1e-2)
    torch.testing.assert_close(high[:-1] - 50, low[1:], rtol=0, atol=1e-2)
    mel = 2595 * torch.log10(1 + (low - 50) / 700)
    torch.testing.assert_close(mel.diff(), mel.diff().mean().expand(63), rtol=1e-3, atol=0)


def test_a_tone_comes_out_of_its_band() -> None:
    filters = SincFilters(64, 251, 16000.0)
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(4000) / 16000)
    with torch.no_grad():
        # Divided by bandwidth at the middle tap: undo it to compare gains.
        low, high = filters.edges()
        power = (filters(tone[None])[0] * (2 * (high - low)).unsqueeze(1)).square().mean(1)
    inside = (low * 16000 < 1000) & (high * 16000 > 1000)
    assert bool(inside[power.argmax()])
    assert float(power[(low * 16000 > 1200) | (high * 16000 < 800)].max()) < 0.01 * float(power.max())


def test_grid_field_and_size_are_the_published() -> None:
    encoder = PaseConfig.size("base").build()
    assert (encoder.hop, encoder.receptive_field, encoder.width) == (160, 2370, 100)
    for seconds in (0.5, 1.0, 2.37, 10.0):
        grid = encoder.grid(round(seconds * 16000))
        assert (grid.time, grid.rate) == (round(seconds * 100), 100.0)
    assert count(encoder) == pytest.approx(5.8e6, rel=0.01)
    convolutions = sum(
        a * b * k
        for a, b, k in zip(
            (64, 64, 128, 128, 256, 256, 512), (64, 128, 128, 256, 256, 512, 512), [20, *[11] * 6], strict=True
        )
    )
    norms = 3 * (64 + 64 + 128 + 128 + 256 + 256 + 512 + 512)
    assert count(encoder) == 2 * 64 + convolutions + norms + 512 * 100
    assert 0.9e6 < count(PaseConfig.size("tiny").build()) < 6e6
    assert PaseConfig.size("plus").width == 256


def test_a_token_sees_2370_samples() -> None:
    encoder = moved(NARROW)
    data = clips(16000)
    x = data.x.requires_grad_()
    encoder(Features(x, data.lengths, 16000.0)).x[0, 50].pow(2).sum().backward()
    assert x.grad is not None
    seen = x.grad[0].nonzero().flatten()
    # Some of the field's samples lie under a zero of every filter's window or behind a closed rectifier.
    assert 2300 < int(seen.max() - seen.min()) + 1 <= 2370


def plain(encoder: Pase, wave: Tensor, edges: str) -> list[Tensor]:
    """The same net of plain layers, one clip at a time: the filter bank's and every block's output `(C, N)`."""
    mode = "reflect" if edges == "reflect" else "constant"
    x, out = wave[None, None], []
    for i, stage in enumerate(encoder.stages):
        kernel, stride = (251, 1) if i == 0 else encoder.config.blocks[i - 1][1:]
        left = kernel // 2 - 1 if stride > 1 else kernel // 2
        weight = stage.filters.taps()[:, None] if i == 0 else stage.filters.weight
        x = F.conv1d(F.pad(x, (left, kernel // 2), mode=mode), weight, stride=stride)
        n = stage.norm
        x = (x - n.running_mean[:, None]) / (n.running_var[:, None] + 1e-5).sqrt() * n.weight[:, None] + n.bias[:, None]
        x = torch.where(x > 0, x, x * stage.rectifier.weight[:, None])
        out.append(x[0])
    return out


@pytest.mark.parametrize("edges", ["zeros", "reflect"])
@torch.no_grad()
def test_pase_equals_plain_layers(edges: str) -> None:
    encoder = moved(NARROW.replace(edges=edges))
    data = clips(3200)
    got = encoder(data, layers=range(9))
    assert got.layers is not None
    expected = plain(encoder, data.x[0], edges)
    for layer, block in zip(got.layers, expected, strict=False):
        torch.testing.assert_close(layer.block[0].T, block, rtol=0, atol=1e-12)
    y = encoder.output.weight @ expected[-1]
    norm = encoder.output_norm
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    y = (y - norm.running_mean[:, None]) / (norm.running_var[:, None] + 1e-5).sqrt()
    torch.testing.assert_close(got.x[0].T, y, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.layers[-1].block, got.x)
    assert [layer.grid.rate for layer in got.layers] == [16000, 1600, 800, 800, 400, 400, 200, 100, 100]


@torch.no_grad()
def test_pase_plus_equals_plain_layers() -> None:
    """Clips of different lengths; torch's own bidirectional GRU on packed rows; skips averaged in a loop."""
    encoder = moved(NARROW.replace(skips=True, recurrent=8))
    lengths = (3200, 2405, 801, 151)
    data = clips(*lengths)
    got = encoder(data)
    gru = nn.GRU(14, 4, bidirectional=True, batch_first=True).double()
    ahead, back = encoder.recurrent
    gru.load_state_dict(
        {**ahead.rnn.state_dict(), **{f"{name}_reverse": p for name, p in back.rnn.state_dict().items()}}
    )
    maps = [plain(encoder, data.x[row, :length], "zeros") for row, length in enumerate(lengths)]
    steps = [m[-1].shape[1] for m in maps]
    rows = nn.utils.rnn.pad_sequence([m[-1].T for m in maps], batch_first=True)
    packed = gru(pack_padded_sequence(rows, steps, batch_first=True, enforce_sorted=False))[0]
    read = pad_packed_sequence(packed, batch_first=True)[0]
    for row, stages in enumerate(maps):
        y = read[row, : steps[row]] @ encoder.output.weight.T
        for skip, stage, ratio in zip(encoder.skips, stages, (160, 16, 8, 8, 4, 4, 2), strict=False):
            means = torch.stack([stage[:, n * ratio : (n + 1) * ratio].mean(1) for n in range(steps[row])])
            y = y + means @ skip.weight.T
        norm = encoder.output_norm
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        y = (y - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
        torch.testing.assert_close(got.x[row, : steps[row]], y, rtol=0, atol=1e-11)
    assert len(encoder.skips) == 7
    assert encoder.depth == 9


def test_training_statistics_come_from_valid_steps_only() -> None:
    """A batch of padded clips leaves the statistics that its clips without their padding have."""
    encoder = NARROW.build().double().train()
    data = clips(3200, 1600)
    encoder(data)
    with torch.no_grad():
        first = encoder.sinc.filters.taps()[:, None]
        rows = [F.conv1d(F.pad(data.x[r, :n][None, None], (125, 125)), first)[0] for r, n in ((0, 3200), (1, 1600))]
    values = torch.cat(rows, 1)
    torch.testing.assert_close(encoder.sinc.norm.running_mean, 0.1 * values.mean(1))
    torch.testing.assert_close(encoder.sinc.norm.running_var, 0.9 + 0.1 * values.var(1))


def test_equal_generators_draw_equal_weights_and_torch_s_own_is_not_used() -> None:
    config = NARROW.replace(skips=True, recurrent=8)
    torch.manual_seed(1)
    one = config.build(torch.Generator().manual_seed(3))
    torch.manual_seed(2)
    two = config.build(torch.Generator().manual_seed(3))
    other = config.build(torch.Generator().manual_seed(4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.output.weight, other.output.weight)
    assert set(one.no_decay) <= set(dict(one.named_parameters()))


def test_abilities_are_what_the_edges_allow() -> None:
    assert NARROW.build().abilities == frozenset({Ability.EXACT_PADDING})
    assert NARROW.replace(edges="reflect").build().abilities == frozenset()


def test_short_clips_and_wrong_settings_are_refused() -> None:
    encoder = NARROW.build()
    assert encoder.least_frames == 151
    with pytest.raises(ConfigError, match="more or longer clips"):
        encoder.train()(clips(151, dtype=torch.float32))
    encoder.eval()
    assert encoder(clips(151, dtype=torch.float32)).x.shape == (1, 1, 10)
    with pytest.raises(ConfigError, match="at least 151"):
        encoder(clips(150, dtype=torch.float32))
    mirrored = NARROW.replace(edges="reflect").build().eval()
    assert mirrored(clips(mirrored.least_frames, dtype=torch.float32)).x.isfinite().all()
    for wrong, match in (
        ({"filter_taps": 250}, "odd number"),
        ({"recurrent": 5}, "even number"),
        ({"blocks": ()}, "blocks"),
        ({"blocks": ((8, 4, 1),)}, "even at stride 1"),
        ({"edges": "wrap"}, "edges is 'wrap'"),
        ({"rate": 100.0}, "too few"),
    ):
        with pytest.raises(ConfigError, match=match):
            NARROW.replace(**wrong).build()
    with pytest.raises(ConfigError, match="unknown size"):
        PaseConfig.size("huge")
    for name in ("tiny", "plus"):
        config = PaseConfig.size(name)
        assert PaseConfig.from_json(config.to_json()) == config
