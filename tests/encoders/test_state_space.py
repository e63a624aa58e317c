"""Selective state space encoders: mambapy on the same weights, published counts and grids, streaming, refusals."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.contract import Ability, Grid
from auricle.encoders.parts.mamba_mixer import MambaMixer, ScanDirection, reverse_rows
from auricle.encoders.state_space import BidirectionalStateSpaceConfig, StateSpace, StateSpaceConfig
from auricle.errors import ConfigError

SSAM = StateSpaceConfig(width=32, depth=3, states=5, mels=32, frames=160)


def features(clips: int, frames: int, mels: int = 32, seed: int = 0) -> Features:
    x = torch.randn(clips, frames, mels, generator=torch.Generator().manual_seed(seed))
    return Features(x, torch.full((clips,), frames), 100.0)


def mixer(bidirectional: bool, width: int = 24, states: int = 6, expand: int = 3) -> MambaMixer:
    built = MambaMixer(width, states=states, expand=expand, bidirectional=bidirectional)
    built.initialise(torch.Generator().manual_seed(0), 1)
    return built


def copy_direction(ours: ScanDirection, theirs: nn.Module, ending: str) -> None:
    for name in ("x_proj", "dt_proj"):
        getattr(theirs, name + ending).load_state_dict(getattr(ours, name).state_dict())
    getattr(theirs, "conv1d" + ending).load_state_dict(ours.conv.state_dict())
    with torch.no_grad():
        getattr(theirs, "A_log" + ending).copy_(ours.A_log)
        getattr(theirs, "D" + ending).copy_(ours.D)


def oracle(ours: MambaMixer, width: int = 24, states: int = 6, expand: int = 3) -> nn.Module:
    """mambapy's block with the same weights."""
    plain, vision = pytest.importorskip("mambapy.mamba"), pytest.importorskip("mambapy.vim")
    settings: dict[str, Any] = {"d_model": width, "n_layers": 1, "d_state": states, "expand_factor": expand}
    theirs: Any
    if ours.back is None:
        theirs = plain.MambaBlock(plain.MambaConfig(**settings))
    else:
        theirs = vision.VMambaBlock(vision.MambaConfig(**settings, bidirectional=True, divide_output=True))
        copy_direction(ours.back, theirs, "_b")
    copy_direction(ours.ahead, theirs, "")
    theirs.in_proj.load_state_dict(ours.in_proj.state_dict())
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_mixer_equals_mambapy(bidirectional: bool) -> None:
    ours = mixer(bidirectional)
    theirs = oracle(ours)
    x = torch.randn(2, 45, 24, generator=torch.Generator().manual_seed(1))
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(ours(a), theirs(b), rtol=1e-5, atol=1e-6)
    ours(a).pow(2).sum().backward()
    theirs(b).pow(2).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.ahead.A_log.grad, theirs.A_log.grad, rtol=1e-4, atol=1e-5)


def test_step_by_step_equals_the_whole_and_mambapys_steps() -> None:
    ours = mixer(False)
    theirs = oracle(ours)
    x = torch.randn(2, 20, 24, generator=torch.Generator().manual_seed(1))
    whole, state, cache = ours(x), None, (None, torch.zeros(2, 72, 3))
    for t in range(20):
        y, state = ours.chunk(x[:, t : t + 1], state)
        wanted, cache = theirs.step(x[:, t], cache)
        torch.testing.assert_close(y[:, 0], whole[:, t], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(y[:, 0], wanted, rtol=1e-5, atol=1e-6)


def hidden(encoder: StateSpace, x: Tensor) -> Tensor:
    """The one-directional encoder, written down again with mambapy's blocks."""
    config = encoder.config
    for block in encoder.blocks:
        x = x + oracle(block.mixer, config.width, config.states, config.expand)(block.norm(x))
    return encoder.norm(x)


def test_the_encoder_equals_a_stack_of_mambapys_blocks() -> None:
    encoder = SSAM.replace(cls="first").build().eval()
    tokens = encoder.tokenize(features(2, 100))
    assert tokens.cls is not None
    wanted = hidden(encoder, torch.cat([tokens.cls, tokens.x], 1))
    ours = encoder.contextualize(tokens)
    assert ours.cls is not None
    torch.testing.assert_close(ours.x, wanted[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.cls, wanted[:, :1], rtol=1e-4, atol=1e-5)


def test_pairs_are_combined_as_ssamba_does() -> None:
    """Vision Mamba's loop over pairs: hidden states and residuals of both directions are added."""
    config = BidirectionalStateSpaceConfig(width=32, depth=4, states=4, mels=32, frames=160, norm_twice=True)
    encoder = config.build().eval()
    tokens = encoder.tokenize(features(2, 100))
    assert tokens.cls is not None
    state, residual = torch.cat([tokens.cls, tokens.x], 1), None

    def block(number: int, state: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        residual = state if residual is None else residual + state
        part = encoder.blocks[number]
        return oracle(part.mixer, 32, 4, 2)(part.norm(residual)), residual

    for pair in range(2):
        one, rest_one = block(2 * pair, state, residual)
        two, rest_two = block(2 * pair + 1, state.flip(1), None if residual is None else residual.flip(1))
        state, residual = one + two.flip(1), rest_one + rest_two.flip(1)
    wanted = encoder.norm(encoder.norm(residual + state))
    ours = encoder.contextualize(tokens)
    assert ours.cls is not None
    torch.testing.assert_close(torch.cat([ours.cls, ours.x], 1), wanted, rtol=1e-4, atol=1e-5)


def count(config: StateSpaceConfig) -> int:
    return sum(p.numel() for p in config.build().parameters())


@pytest.mark.parametrize(("name", "published"), [("tiny", 4.81), ("small", 17.99), ("base", 69.44)])
def test_ssam_has_the_published_parameters(name: str, published: float) -> None:
    """The published number counts the pre-training parts too: table of positions, mask vector, two-layer predictor."""
    config = StateSpaceConfig.size(name, cls="first")
    D = config.width
    others = 251 * D + D + (D * D + D) + (64 * D + 64)
    assert round((count(config) + others) / 1e6, 2) == published


@pytest.mark.parametrize(("name", "published"), [("tiny", 6.9), ("small", 25.3), ("base", 96.7)])
def test_ssamba_has_the_published_parameters(name: str, published: float) -> None:
    assert round(count(BidirectionalStateSpaceConfig.size(name)) / 1e6, 1) == published


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.37, 10.0])
def test_grids_follow_the_published_patches(seconds: float) -> None:
    frames = round(seconds * 100)
    for config, time, freq in ((StateSpaceConfig(), 4, 5), (BidirectionalStateSpaceConfig.size("micro"), 16, 8)):
        grid = config.build().grid(frames)
        assert (grid.time, grid.freq) == ((frames + time - 1) // time, freq)
        assert grid.rate == 100 / time
    # Two seconds of SSAM are 250 tokens, 10.24 seconds of SSAMBA 512.
    assert StateSpaceConfig().build().grid(200).tokens == 250
    assert BidirectionalStateSpaceConfig.size("micro").build().grid(1024).tokens == 512


@pytest.mark.parametrize("cls", ["none", "first", "last"])
def test_a_stream_equals_the_whole(cls: str) -> None:
    encoder = SSAM.replace(cls=cls).build().eval().double()
    assert Ability.STREAM in encoder.abilities
    whole = features(2, 100)
    whole = Features(whole.x.double(), whole.lengths, 100.0)
    states, parts = None, []
    for start, end in ((0, 4), (4, 40), (40, 100)):
        chunk = Features(whole.x[:, start:end], torch.full((2,), end - start), 100.0)
        tokens, states = encoder.stream(chunk, states)
        parts.append(tokens.x)
    torch.testing.assert_close(torch.cat(parts, 1), encoder(whole).x, rtol=1e-10, atol=1e-10)


def test_a_first_class_token_of_one_direction_hears_nothing_and_a_last_one_all() -> None:
    one, two = features(2, 100), features(2, 100, seed=1)
    first, last = SSAM.replace(cls="first").build().eval(), SSAM.replace(cls="last", pooling="cls").build().eval()
    assert torch.equal(first(one).cls, first(two).cls)
    assert not torch.allclose(last(one).cls, last(two).cls)
    with pytest.raises(ConfigError, match="same vector"):
        SSAM.replace(cls="first", pooling="cls")


def test_rows_are_turned_by_their_true_lengths() -> None:
    x = torch.arange(10.0).view(2, 5, 1)
    assert reverse_rows(x, torch.tensor([3, 5]))[..., 0].tolist() == [[2, 1, 0, 3, 4], [9, 8, 7, 6, 5]]
    assert reverse_rows(x, None)[0, :, 0].tolist() == [4, 3, 2, 1, 0]


def test_layers_tell_stream_and_branch() -> None:
    encoder = SSAM.build().eval()
    out = encoder(features(2, 100), range(4)).layers
    assert out is not None
    for before, layer in pairwise(out):
        assert layer.feedforward is not None
        torch.testing.assert_close(layer.block, before.block + layer.feedforward)
    torch.testing.assert_close(encoder.norm(out[-1].block), encoder(features(2, 100)).x)


def test_initial_step_sizes_lie_in_the_published_range() -> None:
    ahead = mixer(False).ahead
    dt = F.softplus(ahead.dt_proj.bias).detach()
    assert float(dt.min()) >= 1e-3 * 0.999
    assert float(dt.max()) <= 1e-1 * 1.001
    torch.testing.assert_close(ahead.A_log.exp()[0], torch.arange(1.0, 7.0))
    assert "A_log" in ahead.no_decay


def test_dropped_tokens_are_refused() -> None:
    encoder = SSAM.build()
    assert Ability.DROP not in encoder.abilities
    kept = encoder.tokenize(features(2, 100)).keep(torch.tensor([[0, 3], [1, 2]]))
    with pytest.raises(ConfigError, match="mask vector"):
        encoder.contextualize(kept)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depth": 3, "pairs": "single"}, "even"),
        ({"mels": 33}, "multiple of the patch height"),
        ({"frames": 161}, "multiple of the patch length"),
        ({"width": 30}, "multiple of 4"),
        ({"pooling": "cls"}, "cls is 'none'"),
        ({"cls": "frist"}, "did you mean 'first'"),
        ({"states": 0}, "at least 1"),
        ({"drop_path": 1.0}, "drop_path"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SSAM.replace(**changes)


def test_streams_that_do_not_fit_are_refused() -> None:
    encoder = SSAM.build()
    with pytest.raises(ConfigError, match="whole patches"):
        encoder.stream(features(1, 6))
    _, states = encoder.stream(features(1, 160))
    with pytest.raises(ConfigError, match="start a new stream"):
        encoder.stream(features(1, 4), states)
    with pytest.raises(ConfigError, match="both directions"):
        SSAM.replace(bidirectional=True).build().stream(features(1, 4))


def test_settings_travel_as_json_and_sizes_have_names() -> None:
    config = BidirectionalStateSpaceConfig.size("micro", mels=64)
    assert Config.from_json(config.to_json()) == config
    assert BidirectionalStateSpaceConfig.size("base").width == 768
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        StateSpaceConfig.size("bas")


def test_stochastic_depth_skips_whole_clips_in_training_only() -> None:
    config = SSAM.replace(depth=1, drop_path=0.5)
    encoder = config.build()
    data = features(64, 16)
    torch.manual_seed(0)
    layer = encoder(data, (0, 1)).layers
    assert layer is not None
    skipped = (layer[1].block == layer[0].block).flatten(1).all(1)
    assert 16 < int(skipped.sum()) < 48
    encoder.eval()
    assert torch.equal(encoder(data).x, encoder(data).x)


def test_bands_one_after_the_other() -> None:
    """Reading by bands is reading by time steps of tokens that lie transposed."""
    config = BidirectionalStateSpaceConfig(
        width=32, depth=2, states=4, mels=64, frames=160, drop_path=0.0, order="frequency"
    )
    bands = config.build().eval()
    steps = config.replace(order="time").build().eval()
    tokens = bands.tokenize(features(2, 160, 64))
    swap = torch.arange(40).view(10, 4).T.flatten()
    grid = Grid(4, 10, tokens.grid.rate)
    expected = steps.contextualize(replace(tokens, x=tokens.x[:, swap], grid=grid, positions=None), [1])
    found = bands.contextualize(tokens, [1])
    torch.testing.assert_close(found.x[:, swap], expected.x)
    assert found.layers is not None
    assert expected.layers is not None
    torch.testing.assert_close(found.layers[0].block[:, swap], expected.layers[0].block)
    assert float((found.x - steps.contextualize(tokens).x).abs().max()) > 1e-3
    assert BidirectionalStateSpaceConfig.size("base").order == "frequency"
    with pytest.raises(ConfigError, match="set order to 'time'"):
        StateSpaceConfig(order="frequency")
