"""Joined corpora: names stay unique, audio and events stay with their clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auricle.corpus.columns import typed, untyped
from auricle.corpus.ledger import Entry, Ledger
from auricle.corpus.readers.joining import _distinct, join
from auricle.corpus.table import Corpus, Event
from auricle.errors import CorpusError


def part(root: Path, name: str, files: int = 2, **columns: list) -> Corpus:
    names = [f"{i}.wav" for i in range(files)]
    return Corpus.from_columns({"file": names, "seconds": [1.0] * files, **columns}, root=root, name=name)


@given(names=st.lists(st.sampled_from(["a", "a-2", "a-3", "a-2-2", "b"]), max_size=9))
def test_names_become_unique_even_if_they_look_numbered(names: list[str]) -> None:
    made = _distinct(names)
    assert len(set(made)) == len(names)
    assert all(new == old or new.startswith(f"{old}-") for old, new in zip(names, made, strict=True))
    assert all(made[names.index(name)] == name or name in made[: names.index(name)] for name in names)


def test_corpora_of_one_name_keep_their_files_apart(tmp_path: Path) -> None:
    joined = join([part(tmp_path / str(i), name) for i, name in enumerate(("a", "a-2", "a"))])
    files = joined.column("file")
    assert len(set(files)) == 6
    assert [clip.path for clip in joined] == [tmp_path / str(i) / f"{k}.wav" for i in range(3) for k in range(2)]
    assert joined.column("corpus") == [name for name in ("a", "a-2", "a-3") for _ in range(2)]


def test_columns_of_different_types_become_text_and_missing_ones_none(tmp_path: Path) -> None:
    one = part(tmp_path / "one", "one", year=[1999, None], only=[True, False])
    two = part(tmp_path / "two", "two", year=["unknown", "2001"])
    joined = join([one, two])
    assert joined.column("year") == ["1999", None, "unknown", "2001"]
    assert joined.column("only") == [True, False, None, None]
    assert joined.select([0, 1]).column("seconds") == [1.0, 1.0]


def test_audio_is_that_of_the_clip_in_a_join_of_joins(tmp_path: Path, record) -> None:
    corpora = []
    for seed, name in enumerate(("x", "y", "z")):
        for file in range(2):
            record(tmp_path / name / f"{file}.wav", seconds=0.1, seed=10 * seed + file)
        corpora.append(part(tmp_path / name, name))
    joined = join([join(corpora[:2]), corpora[2]])
    for index in range(6):
        np.testing.assert_array_equal(joined.audio(index), corpora[index // 2].audio(index % 2))
    assert joined.column("corpus")[4:] == ["z", "z"]


def test_events_and_problems_carry_the_corpus_in_their_name(tmp_path: Path) -> None:
    heard = Corpus.from_columns(
        {"file": ["0.wav"], "seconds": [4.0]}, root=tmp_path, name="b",
        events=[Event("0.wav", 1.0, 2.0, "dog")], notes=("old table",),
        ledger=Ledger().add("recording", used=1, skipped=[Entry("recording", "9.wav", "is empty")]),
    )  # fmt: skip
    joined = join([part(tmp_path, "a"), heard])
    assert joined.events_of(2) == [Event("b/0.wav", 1.0, 2.0, "dog")]
    assert joined.events_of(0) == []
    assert joined.ledger.reasons() == {"b/9.wav": "is empty"}
    assert joined.ledger.sentence == "3 of 4 recordings used; 1 skipped: 1 corrupt"
    assert joined.notes == ("b: old table",)


def test_nothing_to_join_is_refused() -> None:
    with pytest.raises(CorpusError, match="no corpora to join; pass at least one"):
        join([])


def test_a_row_that_is_not_there_is_refused_instead_of_another_clip(tmp_path: Path, record) -> None:
    """Row 5 of two clips must not be row 1."""
    for file in range(2):
        record(tmp_path / f"{file}.wav", seconds=0.1, seed=file)
    corpus = part(tmp_path, "c")
    np.testing.assert_array_equal(corpus.audio(-1), corpus.audio(1))
    for index in (2, 5, -3):
        with pytest.raises(IndexError, match=f"clip {index} of a corpus of 2"):
            corpus.audio(index)
        with pytest.raises(IndexError, match=f"clip {index} of a corpus of 2"):
            corpus[index]
    with pytest.raises(IndexError, match="clip 0 of a corpus of 0"):
        corpus.select([]).audio(0)


def test_columns_of_a_wrong_type_are_named() -> None:
    import pyarrow as pa

    with pytest.raises(CorpusError, match=r"column 'fold' can't be read as int64"):
        typed("fold", ["one"], pa.int64())
    assert typed("fold", pa.chunked_array([[1], [2]]), pa.int64()).to_pylist() == [1, 2]
    assert typed("seconds", pa.array([1, 2]), pa.float64()).to_pylist() == [1.0, 2.0]
    assert untyped([1, "a", None]).to_pylist() == ["1", "a", None]
    assert untyped([1, None]).to_pylist() == [1, None]
