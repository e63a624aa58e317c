from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.corpus.ledger import Entry, Ledger
from auricle.corpus.readers.joining import join
from auricle.corpus.readers.table_file import read_table, write_table
from auricle.corpus.table import Corpus, Event
from auricle.errors import AudioError, ConfigError, CorpusError, StorageError


@pytest.fixture
def corpus(tmp_path, record):
    for i, seconds in enumerate((0.5, 1.0, 2.25)):
        record(tmp_path / f"{i}.wav", seconds=seconds, seed=i)
    return Corpus.from_columns(
        {
            "file": ["0.wav", "1.wav", "2.wav"],
            "seconds": [0.5, 1.0, 2.25],
            "label": ["dog", "cat; dog", None],
            "split": ["train", "test", None],
            "fold": [1, 2, None],
            "midi": [60, 61, 62],
        },
        root=tmp_path,
        name="pets",
        events=[Event("2.wav", 0.5, 1.5, "cat"), Event("1.wav", 0.0, 0.2, "dog")],
    )


def test_a_row_is_a_clip(corpus, tmp_path):
    clip = corpus[1]
    assert (clip.file, clip.path, clip.start, clip.seconds) == ("1.wav", tmp_path / "1.wav", 0.0, 1.0)
    assert (clip.labels, clip.split, clip.fold, clip.source) == (("cat", "dog"), "test", 2, None)
    assert clip.extra == {"midi": 61}
    assert corpus[-1].labels == ()
    assert corpus.classes == ("cat", "dog")
    assert corpus.seconds == 3.75
    assert [c.index for c in corpus] == [0, 1, 2]
    with pytest.raises(IndexError):
        corpus[3]


def test_columns_and_their_errors(corpus):
    assert corpus.columns == ["file", "start", "seconds", "label", "split", "fold", "source", "midi"]
    assert corpus.column("midi") == [60, 61, 62]
    with pytest.raises(CorpusError, match="no column 'fould'; did you mean 'fold'"):
        corpus.column("fould")
    with pytest.raises(CorpusError, match="differ in length"):
        Corpus.from_columns({"file": ["a"], "seconds": [1.0, 2.0]}, root=".")
    with pytest.raises(CorpusError, match="needs the column 'seconds'"):
        Corpus.from_columns({"file": ["a"]}, root=".")
    with pytest.raises(CorpusError, match="'fold' can't be read"):
        Corpus.from_columns({"file": ["a"], "seconds": [1.0], "fold": ["one"]}, root=".")
    assert corpus.with_column("midi", [1, 2, 3]).column("midi") == [1, 2, 3]
    with pytest.raises(CorpusError, match="has 2 values"):
        corpus.with_column("midi", [1, 2])


def test_select_and_filter(corpus):
    assert corpus.select([2, 0]).column("file") == ["2.wav", "0.wav"]
    assert corpus.select(np.array([True, False, True])).column("file") == ["0.wav", "2.wav"]
    assert corpus.select([]).column("file") == []
    assert corpus.filter(lambda clip: "dog" in clip.labels).column("file") == ["0.wav", "1.wav"]
    with pytest.raises(CorpusError, match="mask of 2 rows"):
        corpus.select([True, False])


def test_audio_is_the_recording(corpus, tmp_path):
    expected, _ = sf.read(tmp_path / "1.wav", dtype="float32")
    np.testing.assert_array_equal(corpus.audio(1, 16000), expected)
    np.testing.assert_array_equal(corpus.audio(1, 16000, start=0.25, seconds=0.5), expected[4000:12000])
    assert len(corpus.audio(1, 8000)) == 8000
    missing = corpus.with_column("_key", ["0.wav", "gone.wav", "2.wav"])
    with pytest.raises(AudioError, match=r"gone\.wav"):
        missing.audio(1)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("short", [(0, 1.0), (1.0, 1.0), (2.0, 0.25)]),
        ("shift", [(0, 1.0), (1.0, 1.0), (1.25, 1.0)]),
        ("drop", [(0, 1.0), (1.0, 1.0)]),
    ],
)
def test_segments_are_ranges(corpus, tmp_path, last, expected):
    made = corpus.segments(1.0, last=last)
    assert made.column("file") == ["0.wav", "1.wav"] + ["2.wav"] * len(expected)
    assert [(c.start, c.seconds) for c in made][2:] == expected
    assert made[3].extra == {"midi": 62}
    whole, _ = sf.read(tmp_path / "2.wav", dtype="float32")
    for i, (start, seconds) in enumerate(expected):
        begin = round(start * 16000)
        np.testing.assert_array_equal(made.audio(2 + i), whole[begin : begin + round(seconds * 16000)])
    assert made.is_whole(1)
    assert not made.is_whole(2)
    with pytest.raises(ConfigError, match="above 0"):
        corpus.segments(0.0)
    with pytest.raises(ConfigError, match=r"every 0\.0 s"):
        corpus.segments(1.0, 0.0)


def test_segments_overlap_with_a_hop(corpus):
    made = corpus.segments(1.0, 0.5)
    assert [(c.start, c.seconds) for c in made][2:] == [(0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (1.5, 0.75)]
    assert corpus.segments(1.0, None).fingerprint == corpus.segments(1.0, 1.0).fingerprint
    again = made.segments(0.5, 0.25, last="drop")
    assert [c.start for c in again if c.file == "2.wav"][:3] == [0.0, 0.25, 0.5]


@settings(max_examples=60, deadline=None)
@given(
    total=st.floats(0.1, 50), seconds=st.floats(0.5, 9), hop=st.floats(0.3, 9), last=st.sampled_from(("short", "shift"))
)
def test_segments_never_leave_the_clip(total, seconds, hop, last):
    corpus = Corpus.from_columns({"file": ["x"], "seconds": [total]}, root=".")
    ranges = [(c.start, c.start + c.seconds) for c in corpus.segments(seconds, hop, last=last)]
    assert all(-1e-9 <= begin < end <= total + 1e-6 for begin, end in ranges)
    if last == "shift" and total > seconds:
        assert ranges[-1][1] == pytest.approx(total, abs=1e-5) or hop > seconds


def test_events_follow_their_clips(corpus):
    assert corpus.events_of(2) == [Event("2.wav", 0.5, 1.5, "cat")]
    made = corpus.segments(1.0)
    assert made.events_of(2) == [Event("2.wav", 0.5, 1.0, "cat")]
    assert made.events_of(3) == [Event("2.wav", 0.0, 0.5, "cat")]
    assert made.events_of(4) == []
    assert corpus.select([1]).events == [Event("1.wav", 0.0, 0.2, "dog")]


def test_fingerprint_is_the_content(corpus, tmp_path):
    shutil.copytree(tmp_path, tmp_path / "moved")
    elsewhere = Corpus.from_columns(
        {name: corpus.column(name) for name in corpus.columns if name != "start"},
        root=tmp_path / "moved",
        name="other",
        events=corpus.events,
    )
    assert elsewhere.fingerprint == corpus.fingerprint
    assert len(corpus.fingerprint) == 16
    rounded = corpus.with_column("seconds", [0.501, 1.0, 2.25])
    assert rounded.fingerprint == corpus.fingerprint
    assert corpus.with_column("scan_peak", [1.0, 1.0, 1.0]).fingerprint == corpus.fingerprint
    changed = [
        corpus.with_column("label", ["dog", "cat; dog", "cat"]),
        corpus.with_column("_size", [1, 2, 3]),
        corpus.with_column("midi", [60, 61, 63]),
        corpus.select([1, 0, 2]),
        corpus.select([0, 1]),
        corpus.segments(1.0),
        corpus.segments(0.9),
        replace(corpus, event_table=None),
    ]
    assert len({c.fingerprint for c in [corpus, *changed]}) == len(changed) + 1
    assert corpus.select([0, 1, 2]).fingerprint == corpus.fingerprint


def test_concat_keeps_names_apart(corpus, tmp_path, record):
    record(tmp_path / "b" / "0.wav", seconds=0.5, seed=9)
    other = Corpus.from_columns(
        {"file": ["0.wav"], "seconds": [0.5], "midi": ["C4"]},
        root=tmp_path / "b",
        events=[Event("0.wav", 0.1, 0.2, "fox")],
        ledger=Ledger().add("recording", used=1, skipped=[Entry("recording", "x.wav", "why")]),
    )
    both = join([corpus, other, other])
    assert both.column("file") == ["pets/0.wav", "pets/1.wav", "pets/2.wav", "b/0.wav", "b-2/0.wav"]
    assert both.column("corpus") == ["pets"] * 3 + ["b", "b-2"]
    assert both.column("midi") == ["60", "61", "62", "C4", "C4"]
    assert both.column("label") == ["dog", "cat; dog", None, None, None]
    assert both.events_of(3) == [Event("b/0.wav", 0.1, 0.2, "fox")]
    assert both.ledger.reasons() == {"b/x.wav": "why", "b-2/x.wav": "why"}
    np.testing.assert_array_equal(both.audio(3), other.audio(0))
    np.testing.assert_array_equal(both.audio(1), corpus.audio(1))
    with pytest.raises(CorpusError, match="no corpora"):
        join([])


def test_parquet_comes_back_also_after_a_move(corpus, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    before = corpus.fingerprint
    for file in tmp_path.glob("*.wav"):
        shutil.move(file, here)
    moved = Corpus.from_columns(
        {name: corpus.column(name) for name in corpus.columns if name != "start"},
        root=here,
        events=corpus.events,
        ledger=Ledger().add("recording", used=3, skipped=[Entry("recording", "bad\n.wav", "why")]),
        notes=("note",),
    )
    write_table(moved, here / "table.parquet")
    assert moved.fingerprint == before
    shutil.move(here, tmp_path / "there")
    back = read_table(tmp_path / "there" / "table.parquet")
    assert back.table.equals(moved.table)
    assert back.fingerprint == before
    assert back.events == corpus.events
    assert (back.ledger, back.notes, back.name) == (moved.ledger, ("note",), "here")
    assert back.root == tmp_path / "there"
    assert len(back.audio(2)) == 36000
    assert sorted(p.name for p in (tmp_path / "there").iterdir()) == ["0.wav", "1.wav", "2.wav", "table.parquet"]


def test_parquet_elsewhere_keeps_the_absolute_root(corpus, tmp_path, tmp_path_factory):
    table = write_table(corpus, tmp_path_factory.mktemp("out") / "deep" / "t.parquet")
    assert len(read_table(table).audio(0)) == 8000


def test_parquet_errors(corpus, tmp_path):
    with pytest.raises(CorpusError, match="no readable Parquet file"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(CorpusError, match="no readable Parquet"):
        read_table(tmp_path / "bad.parquet")
    with pytest.raises(StorageError, match="can't write"):
        write_table(corpus, tmp_path / "0.wav" / "t.parquet")
