"""Frame-wise heads against slow loops, and what they learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from auricle.errors import ConfigError
from auricle.probes import SearchConfig
from auricle.probes.contract import ProbeConfig
from auricle.probes.frames.contract import FrameConfig, FrameLabelled, FrameLossConfig, cut_pieces, valid_frames
from auricle.probes.frames.protobin import FrameProtobinConfig
from auricle.probes.frames.search import FittedFrames, FrameFeed, fit_frames, frame_scores
from auricle.probes.frames.stack import FrameConvConfig, FrameLinearConfig, FrameMlpConfig
from auricle.tokens.token_set import TokenSet

CONFIGS: list[FrameConfig] = [
    FrameLinearConfig(),
    FrameLinearConfig(rows="mean", upsample=3),
    FrameMlpConfig(hidden=7, layers=2),
    FrameConvConfig(hidden=6, kernel=5, layers=2, upsample=2),
    FrameProtobinConfig(per_class=3, upsample=2),
]
C, F_ROWS, D = 3, 2, 4


def ragged(times: tuple[int, ...], seed: int = 0, rate: float = 10.0) -> TokenSet:
    """Clips of different length."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(times)
    x = torch.randn(len(times), longest * F_ROWS, D, generator=generator)
    valid = torch.zeros(len(times), longest * F_ROWS, dtype=torch.bool)
    for i, time in enumerate(times):
        valid[i, : time * F_ROWS] = True
    x[~valid] = float("nan")
    dense = TokenSet.from_tensors(x, valid=valid, pooled=torch.zeros(len(times), D), freq=F_ROWS, rate=rate)
    return replace(dense, time=np.array(times, dtype=np.int64))


def slow(config: FrameConfig, head: torch.nn.Module, s: int, clip: torch.Tensor) -> torch.Tensor:
    """Logits `(T U, C)` of one clip `(T, F, D)` at setting s, frame by frame in float64."""
    p = {name: tensor[s].double() for name, tensor in head.state_dict().items()}
    clip = clip.double()
    T = len(clip)
    out = []
    if isinstance(config, FrameProtobinConfig):
        signs = torch.where(p["prototypes"] >= 0, 1.0, -1.0)
        for t in range(T):
            h = [max(float(F.cosine_similarity(clip[t, f], sign, dim=0)) for f in range(F_ROWS)) for sign in signs]
            out.append(p["weight"] @ torch.tensor(h, dtype=torch.float64) + p["bias"])
    else:
        columns = clip.flatten(1) if config.rows == "flat" else clip.mean(1)
        h = (columns - p["mean"]) * p["scale"]
        layers = len([name for name in p if name.startswith("weights")])
        kernels = [1] * layers
        if isinstance(config, FrameConvConfig):
            kernels = [1, *[config.kernel] * config.layers, 1]
        for k, kernel in enumerate(kernels):
            weight, bias, side = p[f"weights.{k}"], p[f"biases.{k}"], kernel // 2
            H = h.shape[1]
            new = []
            for t in range(T):
                row = bias.clone()
                for j in range(kernel):
                    if 0 <= t + j - side < T:
                        row = row + weight.view(len(bias), H, kernel)[:, :, j] @ h[t + j - side]
                new.append(row)
            h = torch.stack(new)
            if k < layers - 1:
                h = F.gelu(h)
        out = list(h)
    return torch.stack(out).view(T * config.upsample, C)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_heads_are_their_slow_loops_and_padding_never_counts(config: FrameConfig) -> None:
    times = (5, 3, 7)
    tokens = ragged(times)
    head = config.build(tokens.shape, C, settings=2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for p in head.parameters():
            p += torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) * 0.1
    inputs = head.read(tokens.batch([0, 1, 2]))
    head.calibrate([inputs])
    head.eval()
    logits = head(inputs)
    assert logits.shape == (2, sum(times) * config.upsample, C)
    clips = [tokens.batch([i]).x[0, : t * F_ROWS].view(t, F_ROWS, D) for i, t in enumerate(times)]
    for s in range(2):
        expected = torch.cat([slow(config, head, s, clip) for clip in clips])
        torch.testing.assert_close(logits[s].double(), expected, rtol=1e-4, atol=1e-5)
    assert head.params == sum(p[0].numel() for p in head.parameters())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: type(c).__name__)
def test_settings_do_not_touch_each_other(config: FrameConfig) -> None:
    tokens = ragged((6, 6))
    head = config.build(tokens.shape, C, settings=3, generator=torch.Generator().manual_seed(1))
    inputs = head.read(tokens.batch([0, 1]))
    head.calibrate([inputs])
    head.eval()
    logits = head(inputs)
    torch.testing.assert_close(logits[0], logits[2])
    logits[1].square().sum().backward()
    for p in head.parameters():
        assert p.grad is not None
        assert p.grad[1].abs().sum() > 0
        assert p.grad[0].abs().sum() == p.grad[2].abs().sum() == 0
    before = head(inputs)[1]
    head.keep(torch.tensor([1]))
    torch.testing.assert_close(head(inputs)[0], before)


def test_parameters_are_counted() -> None:
    shape = ragged((4,)).shape
    build = lambda config: config.build(shape, C, settings=1, generator=torch.Generator()).params  # noqa: E731
    assert build(FrameLinearConfig(upsample=2)) == 2 * C * (F_ROWS * D + 1)
    assert build(FrameMlpConfig(hidden=10)) == 10 * (F_ROWS * D + 1) + C * 11
    assert build(FrameConvConfig(hidden=10, kernel=3, layers=1)) == 10 * (F_ROWS * D + 1) + 10 * 31 + C * 11
    assert build(FrameProtobinConfig(per_class=5)) == 5 * C * D + C * (5 * C + 1)


def test_loss_over_frames_is_the_plain_mean_over_valid_ones() -> None:
    tokens = ragged((3, 5))
    tables = [np.eye(3, dtype=np.float32), np.eye(5, 3, dtype=np.float32)]
    labelled = FrameLabelled.of(tokens, tables)
    assert labelled.padded.shape == (2, 5, 3)
    assert torch.equal(labelled.targets, torch.from_numpy(np.concatenate(tables)))
    logits = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    loss = FrameLossConfig()
    expected = [F.binary_cross_entropy_with_logits(row, labelled.targets) for row in logits]
    torch.testing.assert_close(loss(logits, labelled.targets), torch.stack(expected))
    torch.testing.assert_close(loss(logits, labelled.padded), torch.stack(expected))
    with pytest.raises(ConfigError, match="3 x 1 frames, its targets have shape"):
        FrameLabelled.of(tokens, [np.zeros((4, 3)), np.zeros((5, 3))])


def test_pieces_cover_every_frame_once() -> None:
    tokens = ragged((400, 37, 90), rate=10.0)
    tables = [np.arange(t * 2 * C, dtype=np.float32).reshape(t * 2, C) + 1000 * i for i, t in enumerate((400, 37, 90))]
    cut, parts = cut_pieces(tokens, tables, 2, pieces=10)
    assert all(10 <= t <= 100 for t in cut.time)
    assert len(cut) == len(parts) == 8 + 1 + 2  # of about 52.7 columns each
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(tables))
    frames = np.concatenate([cut.batch([i]).x[0].numpy() for i in range(len(cut))])
    whole = np.concatenate([tokens.batch([i]).x[0].numpy()[valid_frames(tokens, i, F_ROWS)] for i in range(3)])
    np.testing.assert_array_equal(frames, whole)
    few, _ = cut_pieces(tokens, tables, 2, pieces=1)
    assert max(few.time) <= 110


def toy(clips: int, seed: int, *, shuffled: bool = False) -> tuple[TokenSet, list[np.ndarray]]:
    """Columns whose class is the sign of a token's entries; clips of two lengths."""
    tokens = ragged(tuple(20 + 10 * (i % 2) for i in range(clips)), seed)
    tables = []
    for i, time in enumerate(tokens.time.tolist()):
        x = tokens.batch([i]).x[0].view(time, F_ROWS, D)
        tables.append((x[:, 0, :C] > 0.5).float().numpy())
    if shuffled:
        generator = np.random.default_rng(seed)
        tables = [generator.permutation(table) for table in tables]
    return tokens, tables


SEARCH = SearchConfig(epochs=20, lr=(1e-4, 2e-2), weight_decay=(1e-5,), halving=())


@pytest.mark.parametrize("config", [FrameLinearConfig(), FrameConvConfig(hidden=16, layers=1)])
def test_frames_are_learnt_and_shuffled_ones_are_not(config: FrameConfig) -> None:
    found = []
    for shuffled in (False, True):
        fitted = fit_frames(
            config, toy(24, 0, shuffled=shuffled), toy(8, 1, shuffled=shuffled), classes="abc", search=SEARCH
        )
        found.append(fitted.validation)
    assert fitted.metric == "map"
    assert found[0] > 0.95
    assert found[1] < 0.45  # a third of the frames are positive


def test_a_fitted_reader_scores_frames_and_comes_back_from_disk(tmp_path) -> None:
    config = FrameLinearConfig(upsample=2)
    tokens, tables = toy(24, 0)
    twice = (tokens, [np.repeat(t, 2, axis=0) for t in tables])
    ticks: list[tuple[int, int]] = []
    fitted = fit_frames(
        config, twice, twice, classes="abc", search=SEARCH, progress=lambda done, of: ticks.append((done, of))
    )
    assert ticks[-1] == (20, 20)
    assert fitted.trial.lr == 2e-2
    again = FittedFrames.load(fitted.save(tmp_path))
    assert isinstance(again.config, ProbeConfig)
    scores, same = frame_scores(fitted, tokens), frame_scores(again, tokens)
    assert [s.shape for s in scores] == [(t * 2, 3) for t in tokens.time]
    for a, b in zip(scores, same, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="fitted on encoder"):
        fitted.predict(replace(tokens, encoder="another"))
    assert fitted.predict(tokens.select([])).shape == (0, 3)
    # One setting by itself is trained to the same weights as among others.
    alone = fit_frames(config, twice, None, classes="abc", search=SEARCH.replace(lr=(2e-2,), best_epoch=False))
    last = fit_frames(config, twice, twice, classes="abc", search=SEARCH.replace(best_epoch=False))
    torch.testing.assert_close(alone.head.state_dict(), last.head.state_dict(), rtol=1e-4, atol=1e-6)


def test_columns_that_are_not_valid_take_no_part() -> None:
    tokens, tables = toy(12, 0)
    hole = int(tokens.start[0]) + 4 * F_ROWS
    tokens.valid[hole : hole + 2 * F_ROWS] = False
    tokens.tokens[hole : hole + 2 * F_ROWS] = np.nan
    known = FrameLabelled.of(tokens, tables)
    assert len(known.targets) == int(tokens.time.sum()) - 2
    for config in (FrameConvConfig(hidden=8, layers=1), FrameProtobinConfig(per_class=2)):
        fitted = fit_frames(config, (tokens, tables), (tokens, tables), classes="abc", search=SEARCH)
        scores = frame_scores(fitted, tokens)
        assert (scores[0][4:6] == 0).all()
        assert np.isfinite(scores[0]).all()
        assert (np.delete(scores[0], [4, 5], axis=0) > 0).all()


def test_pieces_of_a_feed_come_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ragged((5, 9, 2, 7))
    for config in CONFIGS:
        head = config.build(tokens.shape, C, settings=1, generator=torch.Generator().manual_seed(1)).eval()
        with torch.no_grad():
            whole = FrameFeed(tokens, head).gather(head)
            assert whole.shape == (1, 23 * config.upsample, C)
            with monkeypatch.context() as patch:
                patch.setattr("auricle.probes.search.feed._READ_BYTES", 1)
                torch.testing.assert_close(FrameFeed(tokens, head).gather(head), whole)


def test_guided_search_and_reruns_work_on_frames() -> None:
    pytest.importorskip("optuna")
    search = SearchConfig(epochs=2, method="tpe", trials=4, startup=2, top_k=2, reruns=2)
    fitted = fit_frames(FrameLinearConfig(), toy(16, 0), toy(8, 1), classes="abc", search=search)
    assert len(fitted.trials) == 4
    assert len(fitted.trial.reruns) == 2


def test_what_does_not_fit_is_refused() -> None:
    train, valid = toy(8, 0), toy(4, 1)
    with pytest.raises(ConfigError, match="use 'bce'"):
        fit_frames(FrameLinearConfig(), train, valid, classes="abc", loss="ce")
    with pytest.raises(ConfigError, match="can't choose among frame-wise probes"):
        fit_frames(FrameLinearConfig(), train, valid, classes="abc", search=SearchConfig(metric="accuracy"))
    with pytest.raises(ConfigError, match="without validation clips"):
        fit_frames(FrameLinearConfig(), train, None, classes="abc")
    silent = (train[0], [np.zeros_like(t) for t in train[1]])
    with pytest.raises(ConfigError, match="nothing to learn"):
        fit_frames(FrameLinearConfig(), silent, valid, classes="abc")


def test_an_encoder_without_a_time_axis_is_refused() -> None:
    tokens = TokenSet(
        tokens=np.zeros((2, F_ROWS, D), np.float32),
        valid=np.ones((2, F_ROWS), bool),
        start=np.array([0, 1]),
        time=np.array([1, 1]),
        freq=F_ROWS,
        rate=0.0,
        vectors=np.zeros((2, D), np.float32),
        row=np.arange(2),
    )
    with pytest.raises(ConfigError, match="one vector for a whole clip, and events are found in tokens along time"):
        cut_pieces(tokens, [np.zeros((1, C))] * 2, 1, pieces=2)
