"""Sequence readers against torch's own layers, the loss against all paths, decoding against all strings."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auricle.errors import ConfigError, MissingExtraError
from auricle.probes import SearchConfig
from auricle.probes.contract import Inputs
from auricle.probes.ctc.decode import beam_search, greedy
from auricle.probes.ctc.heads import CTC, BiLstm, CtcConfig, CtcHead
from auricle.probes.ctc.search import _losses, fit_ctc
from auricle.probes.ctc.utterances import Utterances, feasible
from auricle.tokens.token_set import TokenSet, TokenShape

SHAPE = TokenShape(width=5, pooled_width=5, cls=0, freq=2)


def build(config: CtcConfig, settings: int = 2, classes: int = 4) -> CtcHead:
    return config.build(SHAPE, classes, settings=settings, generator=torch.Generator().manual_seed(0)).eval()


def shaken(head: CtcHead) -> CtcHead:
    """Settings that differ: equal ones would hide a mix-up."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in head.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.2)
    return head


def copy(layer: nn.Module, **weights: Tensor) -> nn.Module:
    with torch.no_grad():
        for name, value in weights.items():
            getattr(layer, name).copy_(value)
    return layer


@pytest.mark.parametrize("name", list(CTC))
@pytest.mark.parametrize("rows", ["flat", "mean"])
def test_padding_and_batch_mates_change_nothing(name: str, rows: str) -> None:
    head = shaken(build(CTC[name].replace(rows=rows, upsample=3, hidden=6)))
    tokens = torch.randn(3, 14, 5, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(14) < torch.tensor([[14], [6], [10]])
    noisy = tokens.masked_fill(~valid.unsqueeze(-1), 50.0)
    together = TokenSet.from_tensors(noisy, valid=valid, freq=2)
    inputs = head.read(together.batch([0, 1, 2]))
    logits, lengths = head(inputs), head.lengths(inputs)
    assert lengths.tolist() == [21, 9, 15]
    for i, length in enumerate(lengths.tolist()):
        alone = TokenSet.from_tensors(tokens[i : i + 1, : length // 3 * 2], freq=2)
        torch.testing.assert_close(head(head.read(alone.batch([0])))[:, 0], logits[:, i, :length])


def test_columns_that_are_not_valid_are_taken_out() -> None:
    head = build(CTC["ctc_flat"].replace(upsample=1))
    x = torch.randn(1, 8, 5, generator=torch.Generator().manual_seed(1))
    valid = torch.tensor([[True, True, False, False, True, False, False, False]])
    inputs = head.read(TokenSet.from_tensors(x, valid=valid, freq=2).batch([0]))
    assert head.lengths(inputs).tolist() == [2]
    torch.testing.assert_close(inputs.x[0, 0], x[0, :2].flatten())
    # The third column's second token is not valid: what stands there reads as zero.
    torch.testing.assert_close(inputs.x[0, 1], torch.cat([x[0, 4], torch.zeros(5)]))


def test_splitting_a_column_is_a_transposed_convolution() -> None:
    head = shaken(build(CTC["ctc_flat"].replace(upsample=3)))
    x = torch.randn(2, 7, 10, generator=torch.Generator().manual_seed(2))
    found = head(Inputs(x))
    for s in range(2):
        weight = head.weight[s].view(3, 4, 10).permute(2, 1, 0)
        layer = copy(nn.ConvTranspose1d(10, 4, 3, stride=3, bias=False), weight=weight)
        expected = layer(x.transpose(1, 2)).transpose(1, 2) + head.bias[s].view(3, 4).repeat(7, 1)
        torch.testing.assert_close(found[s], expected)


def test_convolutions_are_those_of_torch() -> None:
    head = shaken(build(CTC["ctc_conv"].replace(upsample=2, hidden=6, kernel=3)))
    x = torch.randn(2, 7, 10, generator=torch.Generator().manual_seed(2))
    found = head(Inputs(x))
    for s in range(2):
        h = F.gelu(F.linear(x, head.project[s], head.project_bias[s]))
        for weight, bias in ((head.first, head.first_bias), (head.second, head.second_bias)):
            layer = copy(nn.Conv1d(6, 6, 3, padding=1), weight=weight[s].view(6, 3, 6).transpose(1, 2), bias=bias[s])
            h = h + F.gelu(layer(h.transpose(1, 2)).transpose(1, 2))
        expected = F.linear(h, head.weight[s], head.bias[s]).reshape(2, 14, 4)
        torch.testing.assert_close(found[s], expected)


def test_the_lstm_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(4)
    mine = BiLstm(3, 5, 2, generator)
    with torch.no_grad():
        for p in mine.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.3)
    x = torch.randn(2, 4, 9, 3, generator=generator)
    lengths = torch.tensor([9, 4, 1, 6])
    found = mine(x, lengths)
    for s in range(2):
        theirs = nn.LSTM(3, 5, batch_first=True, bidirectional=True)
        for d, end in enumerate(("", "_reverse")):
            copy(
                theirs,
                **{
                    f"weight_ih_l0{end}": mine.into[s, d],
                    f"weight_hh_l0{end}": mine.around[s, d],
                    f"bias_ih_l0{end}": mine.bias[s, d],
                    f"bias_hh_l0{end}": torch.zeros(20),
                },
            )
        packed = nn.utils.rnn.pack_padded_sequence(x[s], lengths, batch_first=True, enforce_sorted=False)
        expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
        torch.testing.assert_close(found[s], expected)


@pytest.mark.parametrize("name", ["ctc", "ctc_conv", "ctc_bilstm"])
def test_settings_do_not_touch_each_other(name: str) -> None:
    head = shaken(build(CTC[name].replace(upsample=2, hidden=4), settings=3))
    x = torch.randn(2, 6, head.width, generator=torch.Generator().manual_seed(1))
    before = head(Inputs(x))
    before[1].square().sum().backward()
    for p in head.parameters():
        assert p.grad is not None
        assert (p.grad[[0, 2]] == 0).all()
        assert (p.grad[1] != 0).any()
    head.keep(torch.tensor([2]))
    torch.testing.assert_close(head(Inputs(x)), before[2:].detach())
    assert head.params == sum(p.numel() for p in head.parameters())


def paths(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Probability of every string: the sum over all ways to spell it with repetitions and blanks."""
    T, C = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(C), repeat=T):
        string = tuple(c for t, c in enumerate(path) if c and (t == 0 or path[t - 1] != c))
        found[string] = found.get(string, 0.0) + float(np.exp(log_probs[np.arange(T), path].sum()))
    return found


def test_the_loss_is_the_sum_over_all_paths() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, 3, generator=generator)
    labels = [np.array([1, 1]), np.array([2]), np.array([1, 2, 1])]
    lengths = torch.tensor([5, 3, 4])
    found = _losses(logits, lengths, labels)
    for s in range(2):
        for b, (length, label) in enumerate(zip(lengths.tolist(), labels, strict=True)):
            table = logits[s, b, :length].double().log_softmax(-1).numpy()
            expected = -np.log(paths(table)[tuple(label.tolist())]) / len(label)
            assert found[s, b].item() == pytest.approx(expected, rel=1e-4)


def test_greedy_decoding_is_the_definition() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 4, 9, 4))
    lengths = np.array([9, 3, 0, 6])
    found = greedy(scores, lengths)
    for s in range(2):
        for b, length in enumerate(lengths):
            path = scores[s, b, :length].argmax(1).tolist()
            assert found[s][b].tolist() == [c for c, _ in itertools.groupby(path) if c]


def test_beam_search_finds_the_likeliest_string() -> None:
    generator = np.random.default_rng(0)
    tables = [torch.from_numpy(generator.normal(size=(5, 3))).log_softmax(-1).numpy() for _ in range(40)]
    differ = 0
    for table, found in zip(tables, beam_search(tables, beam=200), strict=True):
        strings = paths(table)
        best = max(strings, key=lambda k: strings[k])
        assert tuple(found.tolist()) == best
        differ += tuple(greedy(table[None, None], np.array([5]))[0][0].tolist()) != best
    assert differ > 3
    assert beam_search([np.zeros((0, 3))])[0].tolist() == []
    with pytest.raises(ConfigError, match="finite log-probabilities"):
        beam_search([np.full((4, 3), np.nan)])
    with pytest.raises(ConfigError, match="keeps 0 strings"):
        beam_search(tables, beam=0)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MissingExtraError, match=r"auricle\[speech\]"):
        beam_search([np.zeros((2, 3))])


def test_the_split_follows_from_the_rate() -> None:
    assert [CtcConfig().for_rate(rate).upsample for rate in (6.25, 25.0, 50.0, 100.0, 12.4)] == [8, 2, 1, 1, 8]
    assert CtcConfig(upsample=3).for_rate(6.25).upsample == 3
    with pytest.raises(ConfigError, match="upsample is not decided"):
        build(CtcConfig())


def spoken(utterances: int, seed: int) -> Utterances:
    """Strings of three symbols; a column's first dimension pair tells which two of them it holds."""
    generator = np.random.default_rng(seed)
    labels, rows, valid = [], [], []
    for _ in range(utterances):
        said = generator.integers(1, 4, size=2 * generator.integers(1, 5))
        x = np.zeros((8, 12), dtype=np.float32)
        for t, (a, b) in enumerate(said.reshape(-1, 2)):
            x[t, a - 1] = x[t, 3 + b - 1] = 3.0
        x += generator.normal(size=x.shape) * 0.3
        labels.append(said)
        rows.append(x)
        valid.append(np.arange(8) < len(said) // 2)
    tokens = TokenSet.from_tensors(torch.from_numpy(np.stack(rows)), valid=torch.from_numpy(np.stack(valid)))
    return Utterances(tokens, tuple(labels))


@pytest.mark.parametrize(("name", "epochs"), [("ctc", 20), ("ctc_conv", 12), ("ctc_bilstm", 10)])
def test_a_reader_learns_to_spell(name: str, epochs: int) -> None:
    config = CTC[name].replace(upsample=4, hidden=16, kernel=3)
    search = SearchConfig(epochs=epochs, lr=(1e-6, 0.02), weight_decay=(1e-4,), halving=((0.5, 0.5),), min_batches=16)
    fitted = fit_ctc(config, spoken(160, 0), spoken(40, 1), symbols=3, search=search)
    assert fitted.trial.lr == 0.02
    assert [t.epochs for t in fitted.trials] == [epochs // 2, epochs]
    assert -fitted.trial.score < 0.1
    assert len(fitted.trial.scores) == epochs
    test = spoken(30, 2)
    right = [said.tolist() == one.tolist() for said, one in zip(fitted.decode(test.tokens), test.labels, strict=True)]
    assert np.mean(right) > 0.7


def test_the_same_seed_gives_the_same_reader() -> None:
    config = CTC["ctc_conv"].replace(upsample=4, hidden=8, kernel=3)
    search = SearchConfig(epochs=2, lr=(0.01,), weight_decay=(1e-4,), min_batches=4)
    one, two, other = (
        fit_ctc(config, spoken(40, 0), spoken(20, 1), symbols=3, search=search, seed=s) for s in (0, 0, 1)
    )
    assert one.trial.loss == two.trial.loss != other.trial.loss


def test_many_settings_train_as_each_alone() -> None:
    both = SearchConfig(epochs=3, lr=(3e-3, 1e-2), weight_decay=(1e-4,), halving=(), min_batches=4)
    config = CTC["ctc_conv"].replace(upsample=4, hidden=8, dropout=0.0)
    train, valid = spoken(40, 0), spoken(20, 1)
    together = fit_ctc(config, train, valid, symbols=3, search=both)
    for k, lr in enumerate((3e-3, 1e-2)):
        alone = fit_ctc(config, train, valid, symbols=3, search=both.replace(lr=(lr,)))
        np.testing.assert_allclose(alone.trial.scores, together.trials[k].scores, atol=0.02)
        assert alone.trial.loss == pytest.approx(together.trials[k].loss, rel=1e-3)


def test_what_can_not_be_spelt_is_refused() -> None:
    train = spoken(20, 0)
    assert feasible(train.tokens, train.labels, 4).all()
    assert not feasible(train.tokens, train.labels, 1).any()
    # Two equal symbols need a blank between them: three frames.
    two = TokenSet.from_tensors(torch.zeros(2, 1, 3))
    assert feasible(two, [np.array([1, 2]), np.array([1, 1])], 2).tolist() == [True, False]
    search = SearchConfig(epochs=1, lr=(0.01,), weight_decay=(1e-4,))
    config = CTC["ctc"].replace(upsample=1)
    with pytest.raises(ConfigError, match="fewer frames than symbols"):
        fit_ctc(config, train, None, symbols=3, search=search)
    with pytest.raises(ConfigError, match="symbol 3, expected 1 to 2"):
        fit_ctc(config, train, None, symbols=2, search=search)
    with pytest.raises(ConfigError, match="no setting can be chosen"):
        fit_ctc(config, train, None, symbols=3)
    with pytest.raises(ConfigError, match="method 'grid'"):
        fit_ctc(config, train, train, symbols=3, search=SearchConfig(method="tpe"))
    with pytest.raises(ConfigError, match="no symbol, or a symbol below 1"):
        Utterances(train.tokens, tuple(one * 0 for one in train.labels))
    broken = TokenSet.from_tensors(torch.full((20, 8, 12), torch.nan))
    with pytest.raises(ConfigError, match="20 training clips have tokens that are not finite"):
        fit_ctc(config.replace(upsample=4), Utterances(broken, train.labels), None, symbols=3, search=search)
