"""One vector per clip, in a table: what is refused, what is skipped, how batches are bounded."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.cli import main
from auricle.corpus.losses import clip_names
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.contract import Tokens
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import CheckpointError, ConfigError, CorpusError, StorageError
from auricle.models import Model
from auricle.models.embedding import embed as auricle_embed
from auricle.tokens import embedding_files, embeddings
from auricle.tokens.embeddings import EmbeddedCorpus, embed_corpus

RATE = 16000
LENGTHS = [0.5, 1.3, 0.4, 0.5, 0.9, 2.0]


@pytest.fixture(scope="module")
def encoder() -> FrozenEncoder:
    config = SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=32, frames=64)
    encoder = config.build(torch.Generator().manual_seed(0))
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), encoder, name="toy")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = tmp_path / "clips"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i, seconds in enumerate(LENGTHS):
        sf.write(folder / f"{i}.wav", 0.1 * draw.standard_normal(int(seconds * RATE)), RATE)
    return open_corpus(folder)


def embed(encoder: FrozenEncoder, corpus: Corpus, out: Path, **settings: float) -> EmbeddedCorpus:
    return embed_corpus(encoder, corpus, out, overwrite=True, progress=False, **settings)  # type: ignore[arg-type]


def spied(encoder: FrozenEncoder, monkeypatch: pytest.MonkeyPatch) -> list[Audio]:
    """Every batch that the encoder gets from here on."""
    seen: list[Audio] = []
    encode = encoder.encode

    def spy(audio: Audio) -> tuple[Tokens, torch.Tensor]:
        seen.append(audio)
        return encode(audio)

    monkeypatch.setattr(encoder, "encode", spy)
    return seen


@pytest.mark.parametrize("settings", [{}, {"batch": 1}, {"batch": 2}, {"batch_seconds": 1.5}])
def test_rows_are_each_clips_own_vector(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, settings: dict[str, float]
) -> None:
    done = embed(encoder, corpus, tmp_path / "new" / "e.parquet", **settings)
    assert (done.clips, done.width, done.broken) == (6, encoder.pooled_width, {})
    table = pq.read_table(done.path)
    assert table["file"].to_pylist() == corpus.column("file")
    for row in range(6):
        alone = encoder.pooled(Audio.stack([corpus.audio(row)], RATE))[0]
        np.testing.assert_allclose(table["embedding"][row].as_py(), alone.numpy(), atol=1e-4)


def test_batches_are_bounded_by_seconds_and_by_clips(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(encoder, monkeypatch)
    embed(encoder, corpus, tmp_path / "e.parquet", batch_seconds=1.5)
    # Sorted: 0.4 0.5 0.5 | 0.9 | 1.3 | 2.0, and the last is beyond the bound by itself.
    assert [tuple(audio.wave.shape) for audio in seen] == [(3, 8000), (1, 14400), (1, 20800), (1, 32000)]
    seen.clear()
    embed(encoder, corpus, tmp_path / "e.parquet", batch=4)
    assert [len(audio) for audio in seen] == [4, 2]


def test_wrong_tables_do_not_overfill_a_batch(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(encoder, monkeypatch)
    embed(encoder, corpus.with_column("seconds", [0.1] * 6), tmp_path / "e.parquet", batch_seconds=2.0)
    assert all(audio.wave.numel() <= 2 * RATE for audio in seen)


@pytest.mark.parametrize("settings", [{"batch": 0}, {"batch_seconds": 0.0}])
def test_empty_batches_are_refused(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, settings: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match="expected at least 1 clip"):
        embed(encoder, corpus, tmp_path / "e.parquet", **settings)


def test_places_that_cannot_be_written_are_refused_before_the_work(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spied(encoder, monkeypatch)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a folder; name a file in it"):
        embed(encoder, corpus, tmp_path)
    for out in (tmp_path / "file" / "e.parquet", tmp_path / "file" / "deeper" / "e.parquet"):
        with pytest.raises(StorageError, match="file is a file, not a folder; choose another path"):
            embed(encoder, corpus, out)

    def denied(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Not by mode bits: a superuser writes where they forbid it.
    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(StorageError, match="Permission denied; choose a folder that can be written"):
        embed(encoder, corpus, tmp_path / "e.parquet")
    assert not seen


def test_a_full_disk_leaves_the_old_file_and_the_work(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "e.parquet"
    embed(encoder, corpus, out)
    before = out.read_bytes()

    def full(table: object, file: object, **how: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    whole = embedding_files.pq.write_table
    monkeypatch.setattr(embedding_files.pq, "write_table", full)
    with pytest.raises(StorageError, match=r"no space left to write .*e\.parquet .*free some space or write elsewhere"):
        embed(encoder, corpus, out)
    assert sorted(p.name for p in out.parent.iterdir()) == [
        ".e.parquet.unfinished",
        "e.parquet",
        "e.parquet.ledger.jsonl",
    ]
    assert out.read_bytes() == before
    monkeypatch.setattr(embedding_files.pq, "write_table", whole)
    seen = spied(encoder, monkeypatch)
    embed_corpus(encoder, corpus, out, resume=True, overwrite=True, progress=False)
    assert (seen, out.read_bytes()) == ([], before)
    assert sorted(p.name for p in out.parent.iterdir()) == ["e.parquet", "e.parquet.ledger.jsonl"]


def test_late_clips_of_a_long_recording_have_names_of_their_own(encoder: FrozenEncoder, tmp_path: Path) -> None:
    """Of three clips within 0.1 s after 10,000 s only one is damaged: `:g` would name all three alike."""
    sf.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    starts = [10_000.01, 10_000.02, 10_000.03]
    clips = Corpus.from_columns({"file": ["a.wav"] * 3, "start": starts, "seconds": [0.5] * 3}, root=tmp_path)
    assert clip_names(clips, [0, 1, 2]) == [f"a.wav [{start} s + 0.5 s]" for start in starts]
    short = Corpus.from_columns({"file": ["a.wav"], "start": [1 / 3], "seconds": [0.1 + 0.2]}, root=tmp_path)
    assert clip_names(short, [0]) == ["a.wav [0.3333333333 s + 0.3 s]"]


def test_broken_clips_and_vectors_have_no_row(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus.root / "1.wav").write_bytes(b"no audio")
    sf.write(corpus.root / "4.wav", np.full(8000, 1e30), RATE, subtype="FLOAT")
    encode = encoder.encode

    def overflowing(audio: Audio) -> tuple[Tokens, torch.Tensor]:
        tokens, vectors = encode(audio)
        vectors[audio.lengths == 6400, 3] = torch.inf
        return tokens, vectors

    monkeypatch.setattr(encoder, "encode", overflowing)
    done = embed(encoder, corpus, tmp_path / "e.parquet")
    assert sorted(done.broken) == ["1.wav", "2.wav", "4.wav"]
    assert done.broken["2.wav"] == "the embedding is not finite"
    table = pq.read_table(done.path)
    assert table["file"].to_pylist() == ["0.wav", "3.wav", "5.wav"]
    assert np.isfinite(np.array(table["embedding"].to_pylist())).all()
    with pytest.raises(CorpusError, match=r"could be embedded .*not finite"):
        embed(encoder, corpus.select([2]), tmp_path / "none.parquet")


@pytest.mark.parametrize("batch", [1, 16])
def test_clips_shorter_than_the_encoder_needs_have_no_row_in_any_batch(
    corpus: Corpus, tmp_path: Path, batch: int
) -> None:
    body = WaveformTransformerConfig.size("tiny").build(torch.Generator().manual_seed(0))
    waves = FrozenEncoder(WaveformConfig().build(), body, name="waves")
    sf.write(corpus.root / "2.wav", np.full(100, 0.1), RATE)
    clips = open_corpus(corpus.root)
    done = embed(waves, clips, tmp_path / "e.parquet", batch=batch)
    expected = "shorter than the encoder needs: 100 samples of 400 (about 0.025 s)"
    assert done.broken == {"2.wav": expected}
    table = pq.read_table(done.path)
    assert table["file"].to_pylist() == ["0.wav", "1.wav", "3.wav", "4.wav", "5.wav"]
    assert np.abs(np.array(table["embedding"].to_pylist())).max(1).min() > 0
    with pytest.raises(CorpusError, match=r"the first, '2\.wav': .*100 samples of 400 \(about 0\.025 s\)"):
        embed(waves, clips.select([2]), tmp_path / "none.parquet", batch=batch)


def test_clips_without_a_valid_token_have_no_row(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = encoder.encode

    def deaf(audio: Audio) -> tuple[Tokens, torch.Tensor]:
        tokens, vectors = encode(audio)
        assert tokens.valid is not None
        return replace(tokens, valid=tokens.valid & (audio.lengths != 6400)[:, None]), vectors

    monkeypatch.setattr(encoder, "encode", deaf)
    for batch in (1, 16):
        done = embed(encoder, corpus, tmp_path / "e.parquet", batch=batch)
        assert done.broken == {"2.wav": "no valid token: shorter than the encoder needs"}
        assert pq.read_table(done.path)["file"].to_pylist() == ["0.wav", "1.wav", "3.wav", "4.wav", "5.wav"]


def test_broken_pieces_of_a_recording_are_told_apart(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    pieces = corpus.select([4, 5]).segments(1.0)
    (corpus.root / "5.wav").write_bytes(b"no audio")
    assert sorted(embed(encoder, pieces, tmp_path / "e.parquet").broken) == ["5.wav [0 s + 1 s]", "5.wav [1 s + 1 s]"]


TINY = [
    "--loader.batch", "4", "--loader.workers", "0", "--train.steps", "1", "--train.warmup-steps", "0",
    "--train.threads", "1", "--encoder.depth", "1", "--encoder.width", "48", "--encoder.frames", "64",
    "--window.seconds", "0.64",
]  # fmt: skip


def test_segments_on_the_command_line(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, long, out = tmp_path / "run", tmp_path / "long", tmp_path / "e.parquet"
    assert main(["pretrain", "audiomosaic", "--data", str(corpus.root), "--out", str(run), *TINY]) == 0
    long.mkdir()
    sf.write(long / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(20 * RATE), RATE)
    arguments = ["embed", str(run), "--data", str(long), "--out", str(out)]
    assert main([*arguments, "--segment", "5"]) == 0
    table = pq.read_table(out)
    assert table["file"].to_pylist() == ["a.wav"] * 4
    assert table["start"].to_pylist() == [0.0, 5.0, 10.0, 15.0]
    assert table["seconds"].to_pylist() == [5.0] * 4
    assert len({tuple(row) for row in table["embedding"].to_pylist()}) == 4
    assert main([*arguments, "--overwrite"]) == 0
    assert pq.read_table(out).num_rows == 1
    capsys.readouterr()
    assert main([*arguments, "--segment", "0"]) == 2
    assert "segments of 0.0 s every 0.0 s; expected both above 0" in capsys.readouterr().err
    assert main(["probe", str(run), "--task", "scenes", "--segment", "5"]) == 2
    assert "--segment needs --data" in capsys.readouterr().err


def test_a_table_of_other_vectors_is_replaced_only_on_request(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e.csv"
    first = embed_corpus(encoder, corpus, out, progress=False)
    before, seen = out.read_bytes(), spied(encoder, monkeypatch)
    again = embed_corpus(encoder, corpus, out, resume=True, progress=False)
    assert (again.clips, again.width, again.ledger) == (first.clips, first.width, first.ledger)
    assert again.notes[-1].endswith("by this model already: nothing was encoded")
    others = {
        "6 vectors of the corpus clips by the model toy; expected": (encoder, corpus.select([0, 1])),
        "6 vectors of the corpus clips by the model toy;": (encoder.randomised(1), corpus),
    }
    for said, (model, clips) in others.items():
        for resume in (False, True):
            with pytest.raises(StorageError, match=f"holds {said}.*another --out, or add --overwrite"):
                embed_corpus(model, clips, out, resume=resume, progress=False)
    out.write_bytes(before + b"mine")
    with pytest.raises(StorageError, match="did not write, that was changed since, or that an earlier version wrote"):
        embed_corpus(encoder, corpus, out, progress=False)
    assert seen == []
    assert out.read_bytes() == before + b"mine"
    embed_corpus(encoder, corpus.select([0, 1]), out, overwrite=True, progress=False)
    assert len(out.read_text().splitlines()) == 3
    assert not list(tmp_path.glob(".*"))


def test_each_table_has_a_list_of_its_own(encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path) -> None:
    (corpus.root / "1.wav").write_bytes(b"no audio")
    for ending, rows in ((".csv", [0, 1]), (".npz", [2, 3]), (".jsonl", [0])):
        embed_corpus(encoder, corpus.select(rows), tmp_path / f"e{ending}", progress=False)
    lists = {path.name: path.read_text().count("\n") for path in tmp_path.glob("*.ledger.jsonl")}
    assert lists == {"e.csv.ledger.jsonl": 2, "e.npz.ledger.jsonl": 1, "e.jsonl.ledger.jsonl": 1}


def test_a_second_process_on_one_file_is_refused(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is stopped inside the encoder while the second one tries."""
    model, out = Model(encoder, None, tmp_path), tmp_path / "e.csv"
    encode, refused = encoder.encode, []

    def meanwhile(audio: Audio) -> tuple[Tokens, torch.Tensor]:
        for resume in (False, True):
            with pytest.raises(CheckpointError, match=r"work on e\.csv by another process .*Wait until it ends"):
                auricle_embed(model, corpus, out, resume=resume, progress=False)
            refused.append(resume)
        return encode(audio)

    monkeypatch.setattr(encoder, "encode", meanwhile)
    assert auricle_embed(model, corpus, out, resume=True, progress=False).clips == 6
    assert refused[:2] == [False, True]
    assert not list(tmp_path.glob(".*"))
    # A refused call leaves nothing behind either.
    with pytest.raises(StorageError, match="holds 6 vectors"):
        auricle_embed(model, corpus.select([0]), out, progress=False)
    assert not list(tmp_path.glob(".*"))


def test_the_lock_stays_until_the_call_ends(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process that comes when the parts are deleted is refused, and its lock is not deleted with them."""
    model, out, refused = Model(encoder, None, tmp_path), tmp_path / "e.csv", []
    remove = embeddings.UnfinishedEmbedding.remove

    def meanwhile(work: embeddings.UnfinishedEmbedding) -> None:
        remove(work)
        with pytest.raises(CheckpointError, match=r"work on e\.csv by another process"):
            auricle_embed(model, corpus, out, progress=False)
        refused.append(True)

    monkeypatch.setattr(embeddings.UnfinishedEmbedding, "remove", meanwhile)
    auricle_embed(model, corpus, out, progress=False)
    assert refused == [True]
    assert not list(tmp_path.glob(".*"))
