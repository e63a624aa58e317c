"""Tables of embeddings: formats by ending, reserved names, spreadsheets, killed runs, refusals before work."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from auricle.audio.batch import Audio
from auricle.cli import main
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, StorageError
from auricle.storage import csv_lines
from auricle.tokens import embeddings
from auricle.tokens.embeddings import EmbeddedCorpus, embed_corpus

NAMES = ["=1+1", "+A1", "@sum", "-3.5", "-dash", "plain"]


@pytest.fixture
def named(tones: Callable[..., Corpus]) -> Corpus:
    corpus = tones(clips=6, said=NAMES, level=[1.0, -2.5, None, 0.0, -1.0, 3.0])
    return corpus.with_column("embedding", [str(i) for i in range(6)])


def run(encoder: FrozenEncoder, corpus: Corpus, out: Path, **more: bool) -> EmbeddedCorpus:
    return embed_corpus(encoder, corpus, out, batch=2, progress=False, **more)


def test_every_format_holds_the_same_columns_and_vectors(encoder: FrozenEncoder, named: Corpus, tmp_path: Path) -> None:
    done = {ending: run(encoder, named, tmp_path / f"e{ending}") for ending in (".parquet", ".csv", ".jsonl", ".npz")}
    table = pq.read_table(done[".parquet"].path)
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    assert vectors.shape == (6, encoder.pooled_width)
    said = "the column 'embedding' of the table is written as 'table_embedding': its name is that of the vectors"
    assert all(said in one.notes for one in done.values())
    assert table["table_embedding"].to_pylist() == list("012345")
    records = [json.loads(line) for line in done[".jsonl"].path.read_text().splitlines()]
    assert [r["said"] for r in records] == NAMES
    np.testing.assert_array_equal(np.array([r["embedding"] for r in records], np.float32), vectors)
    with np.load(done[".npz"].path, allow_pickle=False) as held:
        np.testing.assert_array_equal(held["embedding"], vectors)
        assert held["file"].tolist() == table["file"].to_pylist()
        np.testing.assert_array_equal(held["level"], [1.0, -2.5, np.nan, 0.0, -1.0, 3.0])
    with done[".csv"].path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    held = np.array([[float(r[f"embedding_{i}"]) for i in range(vectors.shape[1])] for r in rows], np.float32)
    np.testing.assert_array_equal(held, vectors)
    # A spreadsheet would run the others; numbers stay numbers.
    assert [r["said"] for r in rows] == ["'=1+1", "'+A1", "'@sum", "-3.5", "'-dash", "plain"]
    assert [r["level"] for r in rows] == ["1.0", "-2.5", "", "0.0", "-1.0", "3.0"]


@pytest.mark.parametrize("cell", ["=A1", "+A1", "-A1", "@A1", "\t=A1", "\r=A1"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(cell: str) -> None:
    text = "".join(csv_lines(["=head", "n"], [[cell, -1], [None, "x"]]))
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in read] == ["'=head", f"'{cell}", ""]
    assert [row[1] for row in read] == ["n", "-1", "x"]


def test_names_and_labels_that_look_like_formulas_are_read_back_as_they_were(
    encoder: FrozenEncoder, tmp_path: Path
) -> None:
    names = ["-dash.wav", "=cmd().wav", "@at.wav", "-1", "plain.wav", "'quoted.wav", "'=.wav"]
    labels = ["-dash", "=cmd()", "'=x", "-1.5", "''@", "'tis", "x"]
    for i, name in enumerate(names):
        with (tmp_path / name).open("wb") as file:
            soundfile.write(file, np.random.default_rng(i).normal(0, 0.1, 16000), 16000, format="WAV")
    columns = {"file": names, "label": labels, "seconds": [1.0] * len(names)}
    written = run(encoder, Corpus.from_columns(columns, root=tmp_path), tmp_path / "e.csv").path
    text = written.read_text()
    assert not re.search(r"(^|,)([=@+]|-[^0-9])", text, re.MULTILINE)
    # The readers of tables without and with quotes.
    for content in (text, text.replace("plain.wav", '"plain.wav"')):
        written.write_text(content)
        again = open_corpus(written)
        assert again.column("file") == names
        assert again.column("label") == labels


@pytest.mark.parametrize(("name", "said"), [("x.xlsx", "ends in '.xlsx'"), ("x", "ends in ''"), ("x.cvs", "'.csv'")])
def test_an_unknown_ending_is_refused_before_the_model_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    out = tmp_path / name
    assert main(["embed", "no-such-model", "--data", "no-such-folder", "--out", str(out)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert said in error
    assert ".parquet, .csv, .jsonl, .npz" in error


def test_a_disk_without_room_is_refused_before_any_clip(
    encoder: FrozenEncoder, named: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "free_bytes", lambda path: 1000)
    monkeypatch.setattr(encoder, "encode", None)
    with pytest.raises(StorageError, match=r"need about 0 MB, and the disk has 0 MB free; free some space"):
        run(encoder, named, tmp_path / "e.csv")


class Killed(BaseException):
    """What a kill is to the process."""


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".npz", ".jsonl"])
def test_a_killed_run_ends_in_the_same_bytes(
    encoder: FrozenEncoder, named: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(embeddings, "_COMMIT_SECONDS", 0.0)
    (named.root / "003 t\N{LATIN SMALL LETTER O WITH DIAERESIS}n.wav").write_bytes(b"no audio")
    whole = run(encoder, named, tmp_path / f"whole{ending}")
    assert len(whole.broken) == 1
    encode, calls = encoder.encode, []
    for stop in range(4):
        out = tmp_path / f"{stop}{ending}"

        def killed(audio: Audio, stop: int = stop) -> object:
            calls.append(len(audio))
            if len(calls) == stop + 1:
                raise Killed
            return encode(audio)

        calls.clear()
        monkeypatch.setattr(encoder, "encode", killed)
        if stop < 3:
            with pytest.raises(Killed):
                run(encoder, named, out)
        monkeypatch.setattr(encoder, "encode", encode)
        if stop in (1, 2):
            with pytest.raises(StorageError, match="continue it with --resume"):
                run(encoder, named, out)
        done = run(encoder, named, out, resume=True)
        assert out.read_bytes() == whole.path.read_bytes()
        assert (done.broken, done.clips) == (whole.broken, 5)
        assert not list(tmp_path.glob(".*"))


def test_unfinished_work_of_other_arguments_or_damaged_is_refused(
    encoder: FrozenEncoder, named: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e.npz"
    monkeypatch.setattr(embeddings, "write_table", lambda *args: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        run(encoder, named, out)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="unfinished work of another batch; delete that folder"):
        embed_corpus(encoder, named, out, batch=3, resume=True, progress=False)
    with pytest.raises(StorageError, match="unfinished work of another corpus and number of clips"):
        embed_corpus(encoder, named.select([0, 1]), out, batch=2, resume=True, progress=False)
    (part,) = (tmp_path / ".e.npz.unfinished").glob("part-*")
    held = bytearray(part.read_bytes())
    held[len(held) // 3] ^= 1
    part.write_bytes(held)
    with pytest.raises(StorageError, match=r"is damaged .*delete .*e\.npz\.unfinished"):
        run(encoder, named, out, resume=True)
    shutil.rmtree(tmp_path / ".e.npz.unfinished")
    assert run(encoder, named, out, resume=True).clips == 6


def test_a_folder_is_opened(encoder: FrozenEncoder, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "a.wav", 0.1 * np.ones(8000) * np.sin(np.arange(8000)), 16000)
    done = embed_corpus(encoder, str(tmp_path / "clips"), str(tmp_path / "e.parquet"), progress=False)
    assert pq.read_table(done.path)["file"].to_pylist() == ["a.wav"]
    with pytest.raises(ConfigError, match=r"ends in '\.txt'"):
        embed_corpus(encoder, str(tmp_path / "none"), str(tmp_path / "e.txt"), progress=False)
