"""Embeddings that were killed: at any moment the next call continues, or says what is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from auricle.corpus.ledger import Ledger, beside
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import StorageError
from auricle.tokens import embeddings
from auricle.tokens.embeddings import embed_corpus


class Killed(BaseException):
    """What a kill is to the process."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize("ending", [".npz", ".csv"])
def test_a_kill_between_the_table_and_its_list_loses_nothing(
    encoder: FrozenEncoder,
    corpus: Corpus,
    encoded: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    """Tables of two models in npz have one size: the list of the first must not be that of the second."""
    out, other = tmp_path / f"e{ending}", encoder.randomised(1)
    (corpus.root / "1.wav").write_bytes(b"no audio")
    first = embed_corpus(other, corpus, out, overwrite=True, progress=False).ledger
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "write", killed)
        with pytest.raises(Killed):
            embed_corpus(encoder, corpus, out, overwrite=True, progress=False)
    assert encoded
    whole = out.read_bytes()
    with pytest.raises(StorageError, match="holds unfinished work of another model"):
        embed_corpus(other, corpus, out, resume=True, progress=False)
    with pytest.raises(StorageError, match="continue it with --resume"):
        embed_corpus(encoder, corpus, out, progress=False)
    folder = Path(shutil.copytree(tmp_path / f".e{ending}.unfinished", tmp_path / "kept"))
    encoded.clear()
    done = embed_corpus(encoder, corpus, out, resume=True, progress=False)
    assert (encoded, out.read_bytes(), done.ledger, list(done.broken)) == ([], whole, first, ["1.wav"])
    assert json.loads(beside(out).read_text().partition("\n")[0])["made"]["model"] == encoder.name
    # A file that was put there since is no file of this work; without it, the work is not lost.
    folder.rename(tmp_path / f".e{ending}.unfinished")
    out.write_bytes(b"mine")
    with pytest.raises(StorageError, match="did not write"):
        embed_corpus(encoder, corpus, out, resume=True, progress=False)
    assert out.read_bytes() == b"mine"
    out.unlink()
    beside(out).unlink()
    embed_corpus(encoder, corpus, out, resume=True, progress=False)
    assert (encoded, out.read_bytes()) == ([], whole)
    embed_corpus(other, corpus, out, overwrite=True, progress=False)
    assert not list(tmp_path.glob(".*"))


def test_work_that_is_continued_twice_keeps_its_last_part(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e.csv"
    monkeypatch.setattr(embeddings, "write_table", killed)
    for resume in (False, True):
        with pytest.raises(Killed):
            embed_corpus(encoder, corpus, out, resume=resume, progress=False)
    monkeypatch.undo()
    assert embed_corpus(encoder, corpus, out, resume=True, progress=False).clips == 6


def test_work_half_deleted_is_not_taken_for_all(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while the parts of a finished table are deleted."""
    out, unlink = tmp_path / "e.csv", Path.unlink

    def once(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name.startswith("part-"):
            raise Killed

    monkeypatch.setattr(embeddings, "_COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(Path, "unlink", once)
    with pytest.raises(Killed):
        embed_corpus(encoder, corpus, out, batch=2, progress=False)
    monkeypatch.undo()
    whole = out.read_bytes()
    done = embed_corpus(encoder, corpus, out, batch=2, resume=True, progress=False)
    assert (done.clips, out.read_bytes()) == (6, whole)
    assert done.notes[-1].endswith("nothing was encoded")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("edit", [lambda made: None, lambda made: made | {"skipped": made.pop("said")}])
def test_lists_of_earlier_versions_are_named(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, edit: Callable[[dict[str, object]], object]
) -> None:
    out = tmp_path / "e.csv"
    embed_corpus(encoder, corpus, out, progress=False)
    head = json.loads(beside(out).read_text())
    beside(out).write_text(json.dumps(head | {"made": edit(head["made"])}))
    with pytest.raises(StorageError, match=r"or that an earlier version wrote; expected .* add --overwrite"):
        embed_corpus(encoder, corpus, out, progress=False)
    assert embed_corpus(encoder, corpus, out, overwrite=True, progress=False).clips == 6


def test_unfinished_work_of_earlier_versions_is_continued(
    encoder: FrozenEncoder, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wrote the reasons without their causes."""
    (corpus.root / "1.wav").write_bytes(b"no audio")
    whole = embed_corpus(encoder, corpus, tmp_path / "whole.csv", overwrite=True, progress=False)
    monkeypatch.setattr(embeddings, "write_table", killed)
    with pytest.raises(Killed):
        embed_corpus(encoder, corpus, tmp_path / "e.csv", progress=False)
    monkeypatch.undo()
    (part,) = (tmp_path / ".e.csv.unfinished").glob("part-*")
    held = dict(np.load(part))
    said = {name: text for name, (text, _) in json.loads(held["skipped"].tobytes()).items()}
    np.savez(part, **held | {"skipped": np.frombuffer(json.dumps(said).encode(), np.uint8)})
    done = embed_corpus(encoder, corpus, tmp_path / "e.csv", resume=True, progress=False)
    assert (done.broken, done.ledger) == (whole.broken, whole.ledger)
