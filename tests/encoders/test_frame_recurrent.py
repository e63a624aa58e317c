"""APC's encoder against its published size, gate equations written out, and itself in pieces."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.encoders.contract import Ability
from auricle.encoders.frame_recurrent import FrameRecurrent, FrameRecurrentConfig
from auricle.encoders.frozen import weights_fingerprint
from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig, QuantisingEncoder, gumbel_noise
from auricle.errors import ConfigError

SMALL = FrameRecurrentConfig(width=12, depth=3, mels=8, dropout=0.0)


def features(frames: int, rows: int = 2, mels: int = 8, seed: int = 0) -> Features:
    x = torch.randn(rows, frames, mels, generator=torch.Generator().manual_seed(seed))
    return Features(x, torch.full((rows,), frames), 100.0)


def count(encoder: torch.nn.Module) -> int:
    return sum(p.numel() for p in encoder.parameters())


def test_parameters_of_apc() -> None:
    """4.105 M with the 1x1 convolution to 80 bins, which belongs to the objective; an LSTM of that size 5.5 M."""
    gru = count(FrameRecurrentConfig.size("base").build())
    lstm = count(FrameRecurrentConfig.size("base", cell="lstm").build())
    assert gru + 512 * 80 + 80 == 4_105_296
    assert lstm + 512 * 80 + 80 == pytest.approx(5.5e6, rel=0.01)
    assert 0.9e6 < count(FrameRecurrentConfig.size("tiny").build()) < 6e6


def gate(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return weight @ x + bias


def slow_gru(rnn: torch.nn.GRU, x: Tensor) -> Tensor:
    """Cho et al. 2014 in the form with the reset gate after the product, one step and one clip at a time."""
    D = rnn.hidden_size
    out = []
    for clip in x:
        h = x.new_zeros(D)
        for frame in clip:
            a = gate(rnn.weight_ih_l0, rnn.bias_ih_l0, frame)
            b = gate(rnn.weight_hh_l0, rnn.bias_hh_l0, h)
            r, z = torch.sigmoid(a[:D] + b[:D]), torch.sigmoid(a[D : 2 * D] + b[D : 2 * D])
            h = (1 - z) * torch.tanh(a[2 * D :] + r * b[2 * D :]) + z * h
            out.append(h)
    return torch.stack(out).view(*x.shape[:2], D)


@torch.no_grad()
def test_output_equals_the_equations() -> None:
    encoder = SMALL.build().double().eval()
    data = features(9)
    data = Features(data.x.double(), data.lengths, 100.0)
    got = encoder(data, layers=(1, 2, 3))
    one = slow_gru(encoder.layers[0].rnn, data.x)
    two = one + slow_gru(encoder.layers[1].rnn, one)
    three = two + slow_gru(encoder.layers[2].rnn, two)
    for layer, expected in zip(got.layers, (one, two, three), strict=True):
        torch.testing.assert_close(layer.block, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(got.x, three, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.37, 10.0])
def test_one_token_a_frame(seconds: float) -> None:
    grid = SMALL.build().grid(round(seconds * 100))
    assert (grid.time, grid.freq, grid.rate) == (round(seconds * 100), 1, 100.0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@torch.no_grad()
def test_pieces_with_the_state_carried_equal_the_whole(cell: str) -> None:
    codes = GumbelLayerConfig(groups=2, entries=6)
    encoder = SMALL.replace(cell=cell, prenet=1, quantised_after=(2,), quantiser=codes).build().double().eval()
    assert Ability.STREAM in encoder.abilities
    data = features(23)
    whole = encoder(Features(data.x.double(), data.lengths, 100.0)).x
    state, parts = None, []
    for start, stop in ((0, 1), (1, 8), (8, 9), (9, 23)):
        piece = Features(data.x[:, start:stop].double(), torch.full((2,), stop - start), 100.0)
        tokens, state = encoder.stream(piece, state)
        parts.append(tokens.x)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-12)


def test_a_padded_piece_is_refused() -> None:
    piece = Features(torch.zeros(2, 5, 8), torch.tensor([5, 4]), 100.0)
    with pytest.raises(ConfigError, match="padded frames"):
        SMALL.build().stream(piece)


def vq_apc() -> FrameRecurrent:
    return SMALL.replace(quantised_after=(1, 3), quantiser=GumbelLayerConfig(entries=20)).build()


def test_codes_stand_where_the_settings_say() -> None:
    """The layer after a quantiser reads its entries; blocks are kept before quantising; x holds the last entries."""
    encoder = vq_apc().eval()
    assert isinstance(encoder, QuantisingEncoder)
    assert not isinstance(torch.nn.Identity(), QuantisingEncoder)
    with torch.no_grad():
        tokens = encoder.tokenize(features(15))
        out, (first, last) = encoder.contextualize_quantised(tokens, (1, 2, 3))
        assert out.layers is not None
        one, two, three = (layer.block for layer in out.layers)
        expected = encoder.quantisers["1"].quantiser(one, 1.0)
        assert torch.equal(first.codes, expected.codes)
        read = encoder.layers[1](expected.x)[0]
        torch.testing.assert_close(two, read)
        torch.testing.assert_close(three, encoder.layers[2](read)[0])
        entries = encoder.quantisers["3"].quantiser.codebook[0]
        assert torch.equal(out.x, entries[last.codes[..., 0]])
    codes = encoder.codes(tokens)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, torch.cat([first.codes, last.codes], -1))


def test_features_are_hidden_states() -> None:
    """What probes and `embed` read is the last layer's output, not the codes that the training predicts from."""
    encoder = vq_apc().eval()
    with torch.no_grad():
        tokens = encoder.tokenize(features(15))
        coded, _ = encoder.contextualize_quantised(tokens, (3,))
        out = encoder.contextualize(tokens)
        assert out.layers is None
        assert torch.equal(out.x, coded.layers[0].block)
        assert not torch.equal(out.x, coded.x)
        (second,) = encoder.contextualize(tokens, (2,)).layers
        assert torch.equal(second.block, encoder.contextualize_quantised(tokens, (2,))[0].layers[0].block)
        assert len(encoder(features(15)).x.flatten(0, 1).unique(dim=0)) == out.x.shape[0] * out.x.shape[1]


def test_runs_of_before_the_setting_keep_the_codes_that_were_their_features() -> None:
    now = vq_apc().eval()
    earlier = {name: value for name, value in now.config.to_json().items() if name != "features"}
    then = FrameRecurrentConfig.from_json(earlier).build().eval()
    then.load_state_dict(now.state_dict())
    data = features(15)
    with torch.no_grad():
        coded = now.contextualize_quantised(now.tokenize(data), (2,))[0]
        read = then(data, layers=(2,))
        assert torch.equal(read.x, coded.x)
        assert torch.equal(read.layers[0].block, coded.layers[0].block)
        torch.testing.assert_close(then.stream(data)[0].x, coded.x)
    # Other features have another fingerprint: neither cached tokens nor results are taken for those of the other.
    front = LogMelConfig(mels=8).build()
    assert weights_fingerprint(then, front) != weights_fingerprint(now, front)
    # Saved again, and without a quantiser behind the last layer, the setting is what it says.
    assert FrameRecurrentConfig.from_json(now.config.to_json()) == now.config
    assert FrameRecurrentConfig.from_json({"kind": "FrameRecurrentConfig", "quantised_after": [1]}).features == "hidden"


def test_codes_without_a_quantiser_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected layer 3 in encoder\.quantised_after. Add it, or set encoder\.fea"):
        SMALL.replace(quantised_after=(1,), features="codes")
    assert (
        SMALL.replace(quantised_after=(1, 3), features="codes").replace(features="hidden", quantised_after=()).build()
    )


def test_sampling_takes_the_noise_it_is_given_and_reaches_every_layer() -> None:
    encoder = vq_apc()
    tokens = encoder.tokenize(features(15))
    noise = [gumbel_noise(torch.rand(2, 15, 1, 20, generator=torch.Generator().manual_seed(s))) for s in (0, 1)]
    torch.manual_seed(0)
    out, quantised = encoder.contextualize_quantised(tokens, noise=noise)
    torch.manual_seed(1)
    again, _ = encoder.contextualize_quantised(tokens, noise=noise)
    assert torch.equal(out.x, again.x)
    assert encoder.quantisers["3"].last_perplexity is not None
    assert torch.equal(encoder.quantisers["3"].last_perplexity, quantised[1].code_perplexity)
    with pytest.raises(ConfigError, match="noise for 1 quantisers, the encoder has 2"):
        encoder.contextualize_quantised(tokens, noise=noise[:1])
    out.x.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in encoder.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in encoder.parameters())
    copy.deepcopy(encoder)


def test_settings_are_refused_and_survive_json() -> None:
    for wrong, match in (
        ({"cell": "rnn"}, "cell is 'rnn'"),
        ({"dropout": 1.0}, "dropout"),
        ({"depth": 0}, "at least 1"),
        ({"quantised_after": (4,)}, "quantised_after"),
        ({"quantised_after": (1,), "quantiser": GumbelLayerConfig(width=5)}, "width 5"),
    ):
        with pytest.raises(ConfigError, match=match):
            SMALL.replace(**wrong)
    with pytest.raises(ConfigError, match="unknown size 'huge'"):
        FrameRecurrentConfig.size("huge")
    with pytest.raises(ConfigError, match="no quantiser"):
        SMALL.build().codes(SMALL.build().tokenize(features(3)))
    config = SMALL.replace(quantised_after=(3,), quantiser=GumbelLayerConfig(entries=9))
    assert FrameRecurrentConfig.from_json(config.to_json()) == config


def test_masks_need_a_prenet() -> None:
    assert Ability.MASK not in SMALL.build().abilities
    encoder = SMALL.replace(prenet=1).build()
    assert Ability.MASK in encoder.abilities
    assert encoder.tokenize(features(3)).x.shape[-1] == encoder.width


def test_features_of_another_kind_are_refused() -> None:
    encoder = SMALL.build()
    with pytest.raises(ConfigError, match="expected \\(B, T, 8\\)"):
        encoder(features(5, mels=9))
    with pytest.raises(ConfigError, match="100"):
        encoder(Features(torch.zeros(1, 5, 8), torch.tensor([5]), 50.0))
