"""Tables beside a corpus: what is wrong in them is refused, or left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from auricle.corpus.readers.event_tables import check_events, tidy_events
from auricle.corpus.readers.side_tables import read_captions, read_trials
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus, Event
from auricle.errors import CorpusError


@pytest.fixture
def corpus(tmp_path: Path, record: Callable[..., Path]) -> Corpus:
    """Four recordings of half a second; `gone.wav` is in the table, but not there."""
    for i in range(4):
        record(tmp_path / "wav" / f"{'ab'[i % 2]}" / f"{i}.wav", seed=i)
    rows = [f"wav/{'ab'[i % 2]}/{i}.wav,{'ab'[i % 2]}" for i in range(4)]
    (tmp_path / "metadata.csv").write_text("file,label\n" + "\n".join([*rows, "wav/a/gone.wav,a"]) + "\n")
    return open_corpus(tmp_path)


def trials_table(corpus: Corpus, *lines: str) -> Path:
    path = corpus.root / "trials.csv"
    path.write_text("\n".join(("enroll,test,target", *lines)) + "\n")
    return path


def test_trials(corpus: Corpus) -> None:
    path = trials_table(
        corpus, "wav/a/0.wav,wav/a/2.wav,1", "wav/a/0.wav,wav/b/1.wav,0", "wav/b/3.wav,wav/b/1.wav,target"
    )
    trials = read_trials(path, corpus)
    names = corpus.column("file")
    assert [(names[e], names[t]) for e, t in zip(trials.enroll, trials.test, strict=True)] == [
        ("wav/a/0.wav", "wav/a/2.wav"),
        ("wav/a/0.wav", "wav/b/1.wav"),
        ("wav/b/3.wav", "wav/b/1.wav"),
    ]
    assert trials.target.tolist() == [True, False, True]
    assert trials.notes == ()


def test_trials_that_make_no_sense_are_left_out_and_counted(corpus: Corpus) -> None:
    path = trials_table(
        corpus,
        "wav/a/0.wav,wav/a/2.wav,1",
        "wav/a/0.wav,wav/a/2.wav,1",
        "wav/a/0.wav,wav/a/0.wav,1",
        "wav/a/gone.wav,wav/a/2.wav,1",
        "wav/a/0.wav,wav/b/1.wav,0",
    )
    trials = read_trials(path, corpus)
    assert trials.target.tolist() == [True, False]
    assert trials.notes == (
        "skipped 1 of 5 trials of trials.csv: one of the two recordings could not be opened",
        "skipped 1 of 5 trials of trials.csv: a clip with itself",
        "skipped 1 of 5 trials of trials.csv: they occur twice",
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["wav/a/0.wav,wav/x/9.wav,1"], r"names 1 clip that corpus .* does not have, such as 'wav/x/9.wav'"),
        (["wav/a/0.wav,wav/a/2.wav,maybe"], "trial 1: target is 'maybe'; expected 1"),
        (["wav/a/0.wav,,1"], "trial 1 has an empty value"),
        (["wav/a/0.wav,wav/a/2.wav,1"], "has 1 target and 0 non-target trials"),
        (
            ["wav/a/0.wav,wav/a/2.wav,1", "wav/a/0.wav,wav/a/2.wav,0"],
            "calls 1 pair both the same and different",
        ),
        ([], "lists nothing"),
    ],
)
def test_trials_that_can_not_be_read(corpus: Corpus, lines: list[str], words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        read_trials(trials_table(corpus, *lines), corpus)


def test_voxcelebs_list_names_files_below_a_folder_of_its_own(corpus: Corpus) -> None:
    path = corpus.root / "veri_test.txt"
    path.write_text("1 a/0.wav a/2.wav\n0 a/0.wav 1.wav\n")
    trials = read_trials(path, corpus)
    names = corpus.column("file")
    assert [names[i] for i in trials.test] == ["wav/a/2.wav", "wav/b/1.wav"]
    path.write_text("1 a/0.wav\n")
    with pytest.raises(CorpusError, match="expected lines such as"):
        read_trials(path, corpus)
    with pytest.raises(CorpusError, match="can't be read"):
        read_trials(corpus.root / "none.txt", corpus)


def test_a_short_name_of_two_clips_is_of_neither(tmp_path: Path, record: Callable[..., Path]) -> None:
    for folder in ("x", "y"):
        record(tmp_path / folder / "1.wav")
    record(tmp_path / "x" / "2.wav")
    corpus = open_corpus(tmp_path)
    with pytest.raises(CorpusError, match=r"such as '1.wav'"):
        read_trials(trials_table(corpus, "1.wav,2.wav,1"), corpus)


def test_captions(corpus: Corpus) -> None:
    path = corpus.root / "captions.csv"
    path.write_text(
        'file,caption_1,caption_2,author\nwav/a/0.wav,A dog,\nwav/b/1.wav,Rain,"Rain, again",me\n'.replace(
            "dog,\n", "dog,,\n"
        )
        + "wav/a/gone.wav,Nothing,,x\n"
    )
    captions = read_captions(path, corpus)
    names = corpus.column("file")
    assert [(names[r], t) for r, t in zip(captions.rows, captions.texts, strict=True)] == [
        ("wav/a/0.wav", "A dog"),
        ("wav/b/1.wav", "Rain"),
        ("wav/b/1.wav", "Rain, again"),
    ]
    assert captions.notes == (
        "captions of 1 recording that could not be opened were skipped",
        "skipped 1 empty caption of captions.csv",
    )
    assert read_captions(path, corpus, ["caption_1"]).texts == ("A dog", "Rain")
    with pytest.raises(CorpusError, match="has no column 'title'"):
        read_captions(path, corpus, ["title"])
    path.write_text("file,caption\nwav/z.wav,x\n")
    with pytest.raises(CorpusError, match=r"does not have, such as 'wav/z\.wav'"):
        read_captions(path, corpus)
    path.write_text("file,words\nwav/a/0.wav,x\n")
    with pytest.raises(CorpusError, match="has no column 'caption'"):
        read_captions(path, corpus)


def events(*rows: tuple[str, float | None, float | None, str]) -> pa.Table:
    names = ("file", "onset", "offset", "label")
    kinds = (pa.string(), pa.float64(), pa.float64(), pa.string())
    columns = zip(*rows, strict=True)
    return pa.table({n: pa.array(list(v), type=k) for n, v, k in zip(names, columns, kinds, strict=True)})


def test_events_that_can_not_be_are_left_out_and_counted() -> None:
    table = events(
        ("a", 0.0, 1.0, "dog"),
        ("a", -0.1, 1.0, "dog"),
        ("a", 2.0, 2.0, "dog"),
        ("a", 3.0, 2.5, "dog"),
        ("a", None, 2.5, "dog"),
        ("a", float("nan"), 2.5, "dog"),
        ("a", 10.0, 11.0, "dog"),
        ("a", 9.0, 12.0, "cat"),
        ("a", 9.5, 10.01, "cow"),
        ("b", 90.0, 120.0, "dog"),
    )
    kept, dropped, notes = tidy_events(table, {"a": 10.0})
    rows = [tuple(row.values()) for row in kept.to_pylist()]
    assert rows == [("a", 0.0, 1.0, "dog"), ("a", 9.0, 10.0, "cat"), ("a", 9.5, 10.0, "cow"), ("b", 90.0, 120.0, "dog")]
    assert Counter(entry.cause for entry in dropped) == {
        "with a time that is no number": 2,
        "with a negative onset": 1,
        "with an offset that is not after the onset": 2,
        "with an onset after the recording's end": 1,
    }
    assert "dog in a, -0.1 to 1.0 s" in [entry.name for entry in dropped]
    assert notes == ("cut at the end of the recording: 1 event (the first: cat in a, 9.0 to 12.0 s)",)


def test_overlaps_of_one_class_are_counted() -> None:
    table = events(
        ("a", 5.0, 6.0, "dog"),
        ("a", 0.0, 2.0, "dog"),
        ("a", 1.0, 1.5, "dog"),
        ("a", 1.8, 3.0, "dog"),
        ("a", 1.0, 4.0, "cat"),
        ("b", 0.0, 2.0, "dog"),
    )
    kept, dropped, notes = tidy_events(table, {})
    assert dropped == ()
    assert kept.equals(table)
    assert notes == ("2 events begin before an earlier one of the same class and recording has ended",)


def test_a_corpus_is_opened_with_its_events_checked(tmp_path: Path, record: Callable[..., Path]) -> None:
    record(tmp_path / "a.wav", seconds=1.0)
    (tmp_path / "metadata.csv").write_text("file,label\na.wav,x\n")
    (tmp_path / "events.csv").write_text("file,onset,offset,label\na.wav,0.2,0.5,x\na.wav,-1,0.5,x\na.wav,0.9,7,y\n")
    corpus = open_corpus(tmp_path)
    assert corpus.events == [Event("a.wav", 0.2, 0.5, "x"), Event("a.wav", 0.9, 1.0, "y")]
    assert len(corpus.notes) == 1
    assert corpus.ledger.sentence.endswith("2 of 3 events used; 1 skipped: 1 with a negative onset")
    assert check_events(corpus).ledger == corpus.ledger
    (tmp_path / "metadata.csv").unlink()
    loose = open_corpus(tmp_path)
    assert loose.events == corpus.events
    assert loose.notes == corpus.notes


@pytest.mark.real
def test_side_tables_of_real_corpora(shared_audio: Path) -> None:
    spoken = open_corpus(shared_audio / "arabic_commands")
    trials = read_trials(shared_audio / "arabic_commands/trials.csv", spoken)
    # Counted in the file: 1,963 of its 2,000 lines are distinct, 966 of them targets.
    assert (len(trials.target), int(trials.target.sum())) == (1963, 966)
    assert trials.notes == ("skipped 37 of 2000 trials of trials.csv: they occur twice",)
    speakers = np.asarray(spoken.column("source"))
    np.testing.assert_array_equal(speakers[trials.enroll] == speakers[trials.test], trials.target)
    captions = read_captions(shared_audio / "esc10/captions.csv", open_corpus(shared_audio / "esc10"))
    assert len(captions.texts) == 400
    for name, count in (("sed_synth", 529), ("bengalese_finch", 3343), ("mdb_drums", 1715)):
        corpus = open_corpus(shared_audio / name)
        assert len(corpus.events) == count, corpus.notes
        assert not corpus.ledger.skipped("event")
