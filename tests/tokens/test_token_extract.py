"""Tokens of real front ends and encoders, written to disk and read back."""

from __future__ import annotations

import errno
import json
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_tokens import RATE, contents, run

from auricle import storage
from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Encoder, Grid, Layer, Tokens
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError, StorageError
from auricle.tokens import writer
from auricle.tokens.clip_store import FILES, JOURNAL, TOKENS
from auricle.tokens.extract import estimate_size


def test_each_clip_has_the_tokens_it_has_alone(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    cache = run(encoder, corpus, tmp_path / "cache", layers=(1, 3), batch=4)
    assert len(cache) == 6
    assert cache.missing == {}
    for place, layer in enumerate((1, 3)):
        tokens = cache.select(layer=layer)
        assert (tokens.encoder, tokens.corpus, tokens.layer) == (encoder.fingerprint, corpus.fingerprint, layer)
        for row in range(6):
            alone, pooled = encoder.encode(Audio.stack([corpus.audio(row)], RATE), (1, 3))
            assert alone.layers is not None
            hidden = alone.layers[place]
            batch = tokens.batch([row])
            keep = int(alone.valid.sum())
            assert batch.x.shape[1] == keep
            assert batch.valid.all()
            torch.testing.assert_close(batch.x, hidden.block[:, :keep], rtol=2e-3, atol=2e-3)
            torch.testing.assert_close(batch.cls, hidden.cls, rtol=2e-3, atol=2e-3)
            torch.testing.assert_close(batch.pooled, pooled, rtol=1e-4, atol=1e-5)
            assert (batch.grid.freq, batch.grid.rate) == (hidden.grid.freq, hidden.grid.rate)


def test_default_layer_is_the_encoders_output(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    tokens = run(encoder, corpus, tmp_path / "cache").select([1])
    alone = encoder.tokens(Audio.stack([corpus.audio(1)], RATE))
    torch.testing.assert_close(tokens.batch([0]).x[0], alone.x[0, alone.valid[0]], rtol=2e-3, atol=2e-3)
    assert tokens.layer == 3


def test_a_batch_is_padded_and_marked(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    tokens = run(encoder, corpus, tmp_path / "cache").select([1, 2, 4])
    batch = tokens.batch([2, 0, 1])
    assert batch.valid.sum(1).tolist() == tokens.counts[[2, 0, 1]].tolist()
    assert batch.x.shape[1] == tokens.counts.max()
    assert not batch.x[~batch.valid].any()
    assert torch.equal(tokens.select([1, 0]).batch([0]).x, tokens.batch([1]).x)


def test_broken_clips_are_skipped_counted_and_listed(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    (corpus.root / "1.wav").write_bytes(b"not audio")
    (corpus.root / "4.wav").unlink()
    cache = run(encoder, corpus, tmp_path / "cache")
    assert sorted(cache.missing) == [1, 4]
    assert "not readable as audio" in cache.missing[1]
    assert cache.present.tolist() == [0, 2, 3, 5]
    with pytest.raises(CorpusError, match=r"clip 4 has no tokens \(.*no such file"):
        cache.select([0, 4])
    with pytest.raises(CorpusError, match="the corpus has 6 clips"):
        cache.select([6])
    with pytest.raises(ConfigError, match="layer 1 is not in this cache"):
        cache.select(layer=1)


def test_no_clip_at_all(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    for path in corpus.root.iterdir():
        path.write_bytes(b"not audio")
    with pytest.raises(CorpusError, match="not one of the 6 clips"):
        run(encoder, corpus, tmp_path / "cache")


@pytest.mark.parametrize("after", [1, 2, 4])
def test_killed_and_resumed_equals_uninterrupted(
    after: int, encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus.root / "0.wav").write_bytes(b"not audio")
    monkeypatch.setattr("auricle.tokens.extract._COMMIT_CLIPS", 1)
    whole = run(encoder, corpus, tmp_path / "whole", batch=1)
    calls = 0
    real = encoder.encode

    def dying(audio: Audio, layers: Sequence[int] = ()) -> tuple[Tokens, Tensor]:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return real(audio, layers)

    folder = tmp_path / "cache"
    monkeypatch.setattr(encoder, "encode", dying)
    with pytest.raises(KeyboardInterrupt):
        run(encoder, corpus, folder, batch=1)
    (store,) = folder.iterdir()
    # What a killed process left behind the last commit: half a clip, half a line.
    for name in FILES:
        with (store / name).open("ab") as file:
            file.write(b"\x01" * 7)
    with (store / JOURNAL).open("a") as journal:
        journal.write('{"clips": [{"row"')
    calls = -100
    resumed = run(encoder, corpus, folder, batch=1)
    assert calls == -100 + 5 - after
    assert contents(folder) == contents(tmp_path / "whole")
    assert np.array_equal(resumed.select().pooled, whole.select().pooled)


def test_size_is_estimated_before_writing(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    for layers in (None, (1, 2, 3)):
        cache = run(encoder, corpus, tmp_path / f"cache{layers}", layers=layers)
        assert estimate_size(encoder, corpus, layers=layers) == pytest.approx(cache.nbytes, rel=0.1, abs=1500)


def test_too_little_room_is_refused_before_writing(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(StorageError, match=r"needs about .* MB free; free some space"):
        run(encoder, corpus, tmp_path / "cache")
    assert [path.stat().st_size for path in (tmp_path / "cache").rglob(TOKENS)] == [0]


def test_a_disk_that_fills_up(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setattr("auricle.tokens.extract._COMMIT_CLIPS", 1)
    synced = 0

    def full(_: int) -> None:
        nonlocal synced
        synced += 1
        if synced > 11 + 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer.os, "fsync", full)
        with pytest.raises(StorageError, match=r"no space left .*start again: committed clips are kept"):
            run(encoder, corpus, folder, batch=1)
    (journal,) = folder.rglob(JOURNAL)
    assert len(journal.read_text().splitlines()) == 2
    assert len(run(encoder, corpus, folder, batch=1).select()) == 6


def test_a_folder_that_cannot_be_written(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a folder that can be written"):
        run(encoder, corpus, tmp_path / "file" / "cache")


@pytest.mark.parametrize("layers", [(), (4,), (-1,), (1, 1)])
def test_layers_that_do_not_exist(
    layers: tuple[int, ...], encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="from 0 to 3"):
        run(encoder, corpus, tmp_path / "cache", layers=layers)


class Inexact(Encoder):
    """Tokens depend on the batch's length; layers have grids of their own; nothing promises exact padding."""

    width, depth, max_frames = 4, 2, None
    seen: list[int]
    scale = 1.0

    def grid(self, frames: int) -> Grid:
        return Grid(frames, 1, 100.0)

    def tokenize(self, features: Features) -> Tokens:
        self.seen.append(len(features))
        B, T, _ = features.x.shape
        valid = torch.arange(T) < features.lengths[:, None]
        x = torch.full((B, T, 4), float(T)) * self.scale
        x[~valid] = float("nan")
        return Tokens(x, self.grid(T), valid=valid)

    def contextualize(self, tokens: Tokens, layers: Sequence[int] = ()) -> Tokens:
        T = tokens.x.shape[1]
        half = -(-T // 2)
        hidden = {1: Layer(tokens.x[:, : 2 * half : 2], Grid(half, 1, 50.0)), 2: Layer(tokens.x, tokens.grid)}
        return replace(tokens, layers=tuple(hidden[layer] for layer in layers) or None)

    def pool(self, tokens: Tokens) -> Tensor:
        return tokens.mean().nan_to_num()


def inexact(scale: float = 1.0) -> FrozenEncoder:
    toy = Inexact()
    toy.seen, toy.scale = [], scale
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), toy, name="inexact", fingerprint=f"inexact {scale}")


def test_an_encoder_that_feels_padding_gets_clips_of_one_length(corpus: Corpus, tmp_path: Path) -> None:
    encoder = inexact()
    cache = run(encoder, corpus, tmp_path / "cache", layers=(1, 2))
    assert sorted(encoder.encoder.seen) == [1, 1, 1, 1, 2]
    fine, coarse = cache.select(layer=2), cache.select(layer=1)
    for row in range(6):
        assert fine.batch([row]).x.unique().tolist() == [float(fine.time[row])]
        assert coarse.time[row] == -(-fine.time[row] // 2)
    assert (fine.rate, coarse.rate) == (100.0, 50.0)
    assert fine.cls is None


def test_tokens_beyond_fp16_are_listed(corpus: Corpus, tmp_path: Path) -> None:
    cache = run(inexact(600.0), corpus, tmp_path / "cache")
    assert cache.missing == {1: "tokens are not finite, or too large for fp16"}


def test_origin_says_what_tokens_were_made_from(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    (path,) = {run(encoder, corpus, tmp_path / "cache").store.folder / "origin.json"}
    data = json.loads(path.read_text())
    assert data["encoder"] == encoder.fingerprint
    assert data["frontend"]["kind"] == "KaldiFbankConfig"
    assert (data["layers"], data["width"]) == ([3], 16)


@pytest.mark.real
def test_real_clips(shared_audio: Path, encoder: FrozenEncoder, tmp_path: Path) -> None:
    from auricle.corpus.sources import open_corpus

    corpus = open_corpus(shared_audio / "esc10").select(range(0, 400, 50))
    cache = run(encoder, corpus, tmp_path / "cache")
    assert cache.present.tolist() == list(range(8))
    assert estimate_size(encoder, corpus) == pytest.approx(cache.nbytes, rel=0.05, abs=1500)
