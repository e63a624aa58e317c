"""A library: what is in it, what is added, and what a kill leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_library import HOP, RATE, SEGMENT, Bands, write_recordings, write_tone

import auricle
from auricle.answers.additions import IndexedRecordings
from auricle.answers.library import Library
from auricle.corpus.ledger import beside
from auricle.errors import ConfigError, CorpusError, StorageError

MODEL = "toy_library:Bands"


def add(recordings: Path, library: Path, model: str = MODEL, **settings: object) -> IndexedRecordings:
    chosen = {"segment": SEGMENT, "hop": HOP} | settings
    return auricle.index(model, recordings, library, progress=False, **chosen)  # type: ignore[arg-type]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "recordings")


@pytest.fixture
def library(recordings: Path, tmp_path: Path) -> Path:
    add(recordings, tmp_path / "library")
    return tmp_path / "library"


def test_rows_are_the_segments_and_their_vectors_those_of_the_model(recordings: Path, library: Path) -> None:
    opened = Library.open(library)
    rows = opened.rows()
    # 3.2 s in segments of 1 s every 0.5 s: five, and the last 0.7 s.
    assert len(opened) == rows.num_rows == 18
    low = rows.filter(np.array([file == "low.wav" for file in rows.column("file").to_pylist()]))
    assert low.column("start").to_pylist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert low.column("end").to_pylist() == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0, 3.2])
    assert rows.column("id").to_pylist() == list(range(18))
    vectors = opened.vectors()
    assert (vectors.shape, vectors.dtype) == ((18, 16), np.float16)
    corpus = auricle.open_corpus(recordings)
    for place, row in enumerate(rows.to_pylist()):
        index = corpus.column("file").index(row["file"])
        wave = corpus.audio(index, RATE, start=row["start"], seconds=row["end"] - row["start"])
        np.testing.assert_allclose(vectors[place], Bands()(wave).numpy(), rtol=2e-3)
        heard, rate = opened.audio(row["id"])
        assert rate == RATE
        np.testing.assert_array_equal(heard, wave)
    np.testing.assert_array_equal(opened.vectors([7, 2, 7]), vectors[[7, 2, 7]])
    assert opened.rows([5, 3]).column("id").to_pylist() == [3, 5]
    with pytest.raises(ConfigError, match="has no row 18"):
        opened.vectors([1, 18])


def test_a_search_finds_what_a_comparison_with_every_vector_finds(library: Path) -> None:
    opened = Library.open(library)
    vectors = opened.vectors().astype(np.float64)
    for row in (0, 8, 17):
        cosine = vectors @ vectors[row] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[row])
        found = opened.search(vectors[row], 6)
        np.testing.assert_allclose(found.column("score").to_numpy(), np.sort(cosine)[::-1][:6], atol=1e-5)
        assert found.column("id").to_pylist()[0] == row
        assert set(found.column("file").to_pylist()) == {opened.rows([row]).column("file")[0].as_py()}
    for wrong in (np.ones(3), np.zeros(16), np.full(16, np.nan)):
        with pytest.raises(ConfigError, match="vector"):
            opened.search(wrong)
    with pytest.raises(ConfigError, match="top is 0"):
        opened.search(vectors[0], 0)


def test_what_is_there_is_not_encoded_again(recordings: Path, library: Path) -> None:
    before = Library.open(library)
    again = add(recordings, library, segment=None, hop=None)
    assert (again.added, again.rows) == (0, 18)
    write_tone(recordings / "new.wav", 2000.0, seed=9)
    (recordings / "broken.wav").write_bytes(b"no audio")
    third = add(recordings, library)
    assert (third.added, third.rows, list(third.broken)) == (6, 24, ["broken.wav"])
    after = Library.open(library)
    assert after.rows(range(18)).equals(before.rows())
    np.testing.assert_array_equal(after.vectors(range(18)), before.vectors())
    assert third.ledger.sentence == "4 of 5 recordings used; 1 skipped: 1 corrupt"
    assert "broken.wav" in beside(library).read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"segment": 2.0}, "has segment 1.0, and --segment is 2.0"),
        ({"hop": 1.0}, "has hop 0.5, and --hop is 1.0"),
        ({"channel": "0"}, "has channel none, and --channel is 0"),
        ({"time_expansion": 2.0}, "has time expansion none, and --time-expansion is 2.0"),
        ({"space": "text"}, "has space encoder, and --space is text"),
    ],
)
def test_settings_that_are_not_the_librarys_are_refused(
    recordings: Path, library: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        add(recordings, library, **settings)
    assert len(Library.open(library)) == 18


def test_another_model_is_refused(recordings: Path, library: Path) -> None:
    with pytest.raises(CorpusError, match=r"was made by toy_library:Bands .* can't be compared"):
        add(recordings, library, "toy_library:OtherBands")


def test_a_folder_that_holds_anything_else_is_refused(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"holds birds and more and no library\.json"):
        add(recordings, recordings)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file"):
        add(recordings, tmp_path / "file")
    with pytest.raises(StorageError, match="is no library"):
        Library.open(tmp_path)


def test_a_corpus_without_a_usable_clip_is_an_error(tmp_path: Path) -> None:
    write_tone(tmp_path / "short" / "a.wav", 300.0, seconds=1e-3)
    (tmp_path / "short" / "b.wav").write_bytes(b"no audio")
    with pytest.raises(CorpusError, match=r"no clip of short could be encoded \('a.wav': the embedding is not finite"):
        add(tmp_path / "short", tmp_path / "library")


def content(library: Path) -> list[tuple[str, float, float, bytes]]:
    """All that a library holds but the numbers of its rows, in order."""
    opened = Library.open(library)
    rows = opened.rows().to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    vectors = opened.vectors()
    return sorted((r["file"], r["start"], r["end"], v.tobytes()) for r, v in zip(rows, vectors, strict=True))


def test_a_changed_recording_is_replaced_and_its_numbers_are_not_used_again(recordings: Path, library: Path) -> None:
    write_tone(recordings / "low.wav", 700.0, seconds=2.0, seed=4)
    done = add(recordings, library)
    assert (done.added, done.rows) == (3, 15)
    assert "6 rows of 1 recording that changed were replaced by those of the new content" in done.notes
    after = Library.open(library)
    assert after.rows(range(6)).column("file").to_pylist() == ["birds/high.wav"] * 6
    assert set(after.rows().column("id").to_pylist()) == {*range(6), *range(12, 18), 18, 19, 20}
    add(recordings, (fresh := library.with_name("fresh")))
    assert content(library) == content(fresh)
    # Deleting the row with the highest number must not give it to another one.
    top = max(after.rows().column("id").to_pylist())
    write_tone(recordings / "low.wav", 900.0, seconds=1.0, seed=5)
    add(recordings, library)
    assert max(Library.open(library).rows().column("id").to_pylist()) > top


def test_moved_recordings_are_found_and_copies_skipped(recordings: Path, library: Path, tmp_path: Path) -> None:
    before = Library.open(library)
    moved = tmp_path / "elsewhere"
    recordings.rename(moved)
    (moved / "low.wav").rename(moved / "renamed.wav")
    (moved / "copy.wav").write_bytes((moved / "mid.wav").read_bytes())
    done = add(moved, library)
    assert (done.added, done.rows) == (0, 18)
    assert "3 recordings of the library were found moved" in done.notes
    assert "copy" in done.ledger.sentence
    after = Library.open(library)
    np.testing.assert_array_equal(after.vectors(), before.vectors())
    assert set(after.rows().column("file").to_pylist()) == {"renamed.wav", "mid.wav", "birds/high.wav"}
    assert all(len(after.audio(row)[0]) for row in range(18))
    # A copy elsewhere, while the recording is where it was.
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "low.wav").write_bytes((moved / "renamed.wav").read_bytes())
    again = add(tmp_path / "third", library)
    assert (again.added, again.rows) == (0, 18)
    assert "its recording is a copy of renamed.wav" in {str(entry.reason) for entry in again.ledger.entries}


def test_recordings_of_one_name_in_two_folders_are_two(recordings: Path, library: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "other" / "low.wav", 500.0, seed=11)
    done = add(tmp_path / "other", library)
    assert (done.added, done.rows) == (6, 24)
    names = set(Library.open(library).rows().column("file").to_pylist())
    assert names == {"low.wav", "mid.wav", "birds/high.wav", (tmp_path / "other" / "low.wav").as_posix()}
    assert add(tmp_path / "other", library).added == 0
