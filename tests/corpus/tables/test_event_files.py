"""Strong labels as people have them: tables of other tools, label files of Raven and Audacity, unknown recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from auricle.corpus.readers.table_file import read_table, write_table
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus, Event
from auricle.errors import CorpusError

EVENTS = [("s0.wav", 0.3, 0.7, "low"), ("s0.wav", 0.85, 0.95, "high"), ("s1.wav", 0.3, 0.7, "low")]


@pytest.fixture
def folder(tmp_path: Path, record: Callable[..., Path]) -> Path:
    for i in range(4):
        record(tmp_path / f"s{i}.wav", seconds=1.0, rate=8000, seed=i)
    return tmp_path


def opened(folder: Path, *lines: str, name: str = "events.csv") -> Corpus:
    (folder / name).write_text("\n".join(lines) + "\n")
    return open_corpus(folder)


def lines(header: str, sign: str = ",", scale: float = 1, file: str = "{}") -> list[str]:
    return [header, *(sign.join((file.format(f), f"{a * scale:g}", f"{b * scale:g}", x)) for f, a, b, x in EVENTS)]


@pytest.mark.parametrize(
    "header",
    [
        "file,onset,offset,label", "filename,onset,offset,event_label", "path,start,end,class",
        "File,Begin Time (s),End Time (s),Species", "fname,start_time,stop,category",
    ],
)  # fmt: skip
def test_tables_of_events_may_have_the_names_of_other_tools(folder: Path, header: str) -> None:
    corpus = opened(folder, *lines(header))
    assert corpus.events == [Event(*event) for event in EVENTS]
    assert corpus.annotated == {"s0.wav", "s1.wav"}
    (folder / "events.csv").unlink()
    assert opened(folder, *lines(header.replace(",", "\t"), "\t"), name="events.tsv").events == corpus.events
    both = opened(folder, "file,onset,offset,label", "s3.wav,0,1,x")
    assert [event.file for event in both.events] == ["s3.wav"]
    assert "events.tsv was not read, since events.csv is there too" in both.notes


def test_times_in_milliseconds_and_lengths_instead_of_ends(folder: Path) -> None:
    expected = [Event(*event) for event in EVENTS]
    corpus = opened(folder, *lines("file,onset,offset,label", scale=1000))
    assert corpus.events == expected
    assert any("onset and offset: read as milliseconds" in note for note in corpus.notes)
    assert opened(folder, *lines("file,onset_ms,offset_ms,label", scale=1000)).events == expected
    assert opened(folder, "file,start,duration,label", "s0.wav,0.25,0.5,x").events == [Event("s0.wav", 0.25, 0.75, "x")]
    assert opened(folder, "file;onset;offset;label", "s0.wav;0,25;0,5;x").events == [Event("s0.wav", 0.25, 0.5, "x")]


def test_rows_without_times_are_recordings_without_events(folder: Path) -> None:
    corpus = opened(folder, *lines("file,onset,offset,label"), "s2.wav,,,", "s1.wav,NA,NA,")
    assert corpus.annotated == {"s0.wav", "s1.wav", "s2.wav"}
    assert corpus.events == [Event(*event) for event in EVENTS]
    back = read_table(write_table(corpus, folder / "t.parquet"))
    assert (back.annotated, back.events) == (corpus.annotated, corpus.events)
    none = opened(folder, "file,onset,offset,label", "s2.wav,,,")
    assert (none.events, none.annotated) == ([], {"s2.wav"})
    half = opened(folder, "file,onset,offset,label", "s0.wav,0.1,,x", "s0.wav,0.1,0.2,x")
    assert half.ledger.sentence.endswith("1 of 2 events used; 1 skipped: 1 with a time that is no number")


def test_events_of_recordings_with_other_endings_are_found_or_counted(folder: Path) -> None:
    upper = opened(folder, *lines("file,onset,offset,label", file="{}").__class__(
        line.replace("s0.wav", "s0.WAV").replace("s1.wav", "s1") for line in lines("file,onset,offset,label")
    ))  # fmt: skip
    assert upper.events == [Event(*event) for event in EVENTS]
    assert "found by a name in another case: 1 recording of events.csv" in upper.notes
    unknown = opened(folder, *lines("file,onset,offset,label"), "s9.wav,0,1,x", "s0.mp3,0,1,x")
    assert unknown.ledger.sentence == ("4 of 4 recordings used. 3 of 5 events used; 2 skipped: 2 of unknown recordings")
    near = unknown.ledger.skipped("event")[1]
    assert near.name == "events.csv, line 6"
    assert "there is no such file, but s0.wav; correct the name" in near.reason


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["file,onset,label", "s0.wav,0,x"], "has no column 'offset'; found file, onset, label"),
        (["onset,offset,label", "0,1,x"], "has no column 'file'"),
        (["file,onset,offset", "s0.wav,0,1"], "has no column 'label'"),
        (["file,onset,offset,label", "s0.wav,0,one,x"], "line 2: offset is 'one'; expected seconds or nothing"),
    ],
)
def test_tables_of_events_that_can_not_be_read(folder: Path, rows: list[str], words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        opened(folder, *rows)


RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


def raven(path: Path, *events: tuple[float, float, str]) -> Path:
    rows = [
        f"{i}\t{view} 1\t1\t{a}\t{b}\t100.0\t3000.0\t{x}\n"
        for i, (a, b, x) in enumerate(events, 1)
        for view in ("Waveform", "Spectrogram")
    ]
    path.write_text(RAVEN + "".join(rows))
    return path


def test_selection_tables_of_raven(folder: Path) -> None:
    """Each selection has a row for each view; a table without a row is of a recording without events."""
    raven(folder / "s0.Table.1.selections.txt", (0.3, 0.7, "low"), (0.85, 0.95, "NA"))
    raven(folder / "s1.wav.selections.txt")
    (folder / "s2.txt").write_text("a remark on the weather\n")
    corpus = open_corpus(folder)
    assert corpus.events == [Event("s0.wav", 0.3, 0.7, "low"), Event("s0.wav", 0.85, 0.95, "NA")]
    assert corpus.annotated == {"s0.wav", "s1.wav"}
    assert "events were read from 2 selection tables of Raven beside the recordings" in corpus.notes
    assert corpus.ledger.sentence.endswith("2 of 4 events used; 2 skipped: 2 repeated")
    assert corpus.ledger.used["file"] == 2
    (folder / "s1.wav.selections.txt").unlink()
    assert "events were read from 1 selection table of Raven beside the recordings" in open_corpus(folder).notes


def test_a_table_of_raven_over_several_recordings_is_not_taken_for_one(folder: Path) -> None:
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
    (folder / "s1.Table.1.selections.txt").write_text(
        header + "1\t0.1\t0.2\ts0.wav\t0.1\tx\n2\t1.5\t1.75\ts1.wav\t0.5\ty\n3\t1.8\t1.9\ts1.wav\t0.8\t\n"
    )
    corpus = open_corpus(folder)
    assert corpus.events == [Event("s1.wav", 0.5, 0.75, "y")]
    causes = [entry.cause for entry in corpus.ledger.skipped("event")]
    assert causes == ["of another recording", "without a label"]


def test_label_tracks_of_audacity(folder: Path) -> None:
    (folder / "s0.txt").write_text("0.300000\t0.700000\tlow\n\\\t100.0\t3000.0\n0,850000\t0,950000\thigh\n")
    (folder / "s1.txt").write_text("")
    corpus = open_corpus(folder)
    assert corpus.events == [Event("s0.wav", 0.3, 0.7, "low"), Event("s0.wav", 0.85, 0.95, "high")]
    assert corpus.annotated == {"s0.wav", "s1.wav"}
    (folder / "s0.flac").write_bytes((folder / "s0.wav").read_bytes())
    unclear = open_corpus(folder)
    assert unclear.events == []
    (folder / "s0.txt").rename(folder / "s0.wav.txt")
    assert [event.file for event in open_corpus(folder).events] == ["s0.wav"] * 2


def test_crowsetta_reads_the_same(folder: Path) -> None:
    crowsetta = pytest.importorskip("crowsetta")
    path = raven(folder / "s0.selections.txt", (0.3, 0.7, "low"), (0.85, 0.95, "high"))
    boxes = crowsetta.formats.bbox.Raven.from_file(path, annot_col="Species").to_bbox()
    theirs = list(dict.fromkeys((box.onset, box.offset, box.label) for box in boxes))
    assert [(e.onset, e.offset, e.label) for e in open_corpus(folder).events] == theirs
    path.unlink()
    (folder / "s0.txt").write_text("0.3\t0.7\tlow\n0.85\t0.95\thigh\n")
    found = crowsetta.formats.seq.AudSeq.from_file(folder / "s0.txt")
    theirs = list(zip(found.start_times, found.end_times, found.labels, strict=True))
    assert [(e.onset, e.offset, e.label) for e in open_corpus(folder).events] == theirs


def test_events_without_a_label_or_an_onset_are_skipped(tmp_path: Path, record: Callable[..., Path]) -> None:
    for i, name in enumerate(("a.wav", "b.wav")):
        record(tmp_path / name, seconds=1.0, seed=i)
    lines = ["a.wav,0.1,0.2,x", "a.wav,0.3,0.4,", "a.wav,,0.4,", "b.wav,,,"]
    (tmp_path / "events.csv").write_text("file,onset,offset,label\n" + "\n".join(lines) + "\n")
    corpus = open_corpus(tmp_path)
    assert [event.label for event in corpus.events] == ["x"]
    assert corpus.annotated == {"a.wav", "b.wav"}
    assert "1 of 3 events used; 2 skipped: 1 with a time that is no number, 1 with no label" in corpus.ledger.sentence
