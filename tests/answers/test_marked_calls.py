"""Windows of calls that are marked inside recordings: by which rule, from which files, and what is not used."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.answers.fitting.dividing import divisible
from auricle.answers.fitting.marked import label_windows, with_annotations
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus, Event
from auricle.errors import ConfigError, CorpusError
from auricle.tasks.card import TaskCard

RATE = 8000


def recordings(folder: Path, seconds: float = 10.0, names: tuple[str, ...] = ("a.wav", "b.wav")) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        soundfile.write(folder / name, np.random.default_rng(0).normal(size=int(seconds * RATE)) * 0.1, RATE)
    return folder


def marked(folder: Path, events: list[Event], **more: object) -> Corpus:
    corpus = open_corpus(recordings(folder))
    columns = {"file": corpus.column("file"), "seconds": corpus.column("seconds")}
    return Corpus.from_columns(columns, root=folder, events=events)


def windows(corpus: Corpus) -> dict[tuple[str, float], str | None]:
    return {(clip.file, clip.start): ";".join(clip.labels) or None for clip in corpus}


def test_a_window_has_the_calls_that_cover_enough_of_the_shorter(tmp_path: Path) -> None:
    events = [
        Event("a.wav", 2.2, 2.6, "owl"),  # whole in 2 ... 4
        Event("a.wav", 3.9, 4.3, "fox"),  # a quarter in 2 ... 4, three quarters in 4 ... 6
        Event("a.wav", 5.0, 9.0, "rain"),  # half of 4 ... 6, all of 6 ... 8, half of 8 ... 10
    ]
    made = label_windows(marked(tmp_path / "m", events), segment=2.0, hop=2.0, min_overlap=0.5)
    assert windows(made) == {
        ("a.wav", 2.0): "owl",
        ("a.wav", 4.0): "fox;rain",
        ("a.wav", 6.0): "rain",
        ("a.wav", 8.0): "rain",
    }
    notes = " ".join(made.notes)
    assert "4 windows of 2 s with a call (0.5 of the shorter of both)" in notes
    assert "1 window without a call was excluded" in notes
    assert "5 windows of recordings without marks were excluded" in notes
    strict = label_windows(marked(tmp_path / "n", events), segment=2.0, hop=2.0, min_overlap=0.9)
    assert windows(strict) == {("a.wav", 2.0): "owl", ("a.wav", 6.0): "rain"}
    assert "2 windows that a call touches by less were excluded" in " ".join(strict.notes)


def test_background_only_where_the_user_says_so(tmp_path: Path) -> None:
    events = [Event("a.wav", 2.2, 2.6, "owl")]
    corpus = marked(tmp_path / "m", events)
    assert set(windows(label_windows(corpus, segment=1.0, hop=1.0)).values()) == {"owl"}
    made = windows(label_windows(corpus, segment=1.0, hop=1.0, background=True))
    assert sum(value is None for value in made.values()) == 9
    # Nothing is known of the recording without marks.
    assert {file for file, _ in made} == {"a.wav"}
    again = windows(label_windows(corpus, segment=0.1, hop=0.1, min_overlap=0.9, background=True, seed=1))
    assert sum(value is None for value in again.values()) == 10 * sum(value is not None for value in again.values())


def test_calls_that_can_not_be_are_counted(tmp_path: Path) -> None:
    events = [
        Event("a.wav", 1.0, 1.5, "owl"),
        Event("a.wav", 1.2, 1.7, "owl"),  # overlaps the first one
        Event("a.wav", 1.3, 1.6, "fox"),
        Event("a.wav", 30.0, 31.0, "owl"),  # after the recording's end
        Event("a.wav", 5.0, 4.0, "owl"),  # ends before it begins
    ]
    made = label_windows(marked(tmp_path / "m", events), segment=2.0, hop=2.0)
    assert windows(made) == {("a.wav", 0.0): "owl;fox"}
    assert "2 skipped" in " ".join(made.notes) or "2 of 5" in " ".join(made.notes) or "3 of 5" in " ".join(made.notes)


@pytest.mark.parametrize("overlap", [0.0, -1.0, 1.5])
def test_overlaps_that_are_none(overlap: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a share above 0 and at most 1"):
        label_windows(marked(tmp_path / "m", [Event("a.wav", 1, 2, "x")]), segment=1.0, min_overlap=overlap)


def test_no_call_at_all(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no call with times and a label"):
        label_windows(marked(tmp_path / "m", [Event("a.wav", 40, 41, "x")]), segment=1.0)
    plain = open_corpus(recordings(tmp_path / "n"))
    with pytest.raises(CorpusError, match="has no marked calls to make windows of"):
        label_windows(plain, segment=1.0)


def test_files_of_raven_and_audacity(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "m")
    columns = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Species"]
    rows = [["1", "Spectrogram 1", "1", "2.2", "2.6", "owl"], ["2", "Spectrogram 1", "1", "7.0", "7.5", "owl"]]
    table = "\n".join("\t".join(row) for row in [columns, *rows])
    (folder / "a.Table.1.selections.txt").write_text(table + "\n")
    (folder / "b.txt").write_text("1.0\t1.5\tfox\n")
    made = label_windows(open_corpus(folder), segment=2.0, hop=2.0)
    assert windows(made) == {("a.wav", 2.0): "owl", ("a.wav", 6.0): "owl", ("b.wav", 0.0): "fox"}


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 10
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "calls"
        xmin = 0
        xmax = 10
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 2.2
            text = ""
        intervals [2]:
            xmin = 2.2
            xmax = 2.6
            text = "owl"
        intervals [3]:
            xmin = 2.6
            xmax = 10
            text = ""
"""


def test_files_that_crowsetta_reads(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "m")
    (folder / "a.TextGrid").write_text(TEXTGRID)
    made = label_windows(with_annotations(open_corpus(folder), "textgrid"), segment=2.0, hop=2.0)
    assert windows(made) == {("a.wav", 2.0): "owl"}
    assert "calls were read from 1 textgrid file by crowsetta" in made.notes
    labels = tmp_path / "labels"
    labels.mkdir()
    (folder / "a.TextGrid").rename(labels / "a.TextGrid")
    assert len(label_windows(with_annotations(open_corpus(folder), "textgrid", labels), segment=2.0, hop=2.0)) == 1
    with pytest.raises(CorpusError, match=r"no recording of m has a textgrid file"):
        with_annotations(open_corpus(folder), "textgrid")
    with pytest.raises(ConfigError, match="crowsetta has no format 'textgird'"):
        with_annotations(open_corpus(folder), "textgird")
    (labels / "a.TextGrid").write_text("nothing of the kind")
    with pytest.raises(CorpusError, match="is no textgrid file that crowsetta reads"):
        with_annotations(open_corpus(folder), "textgrid", labels)


def test_one_recording_is_divided_into_parts_without_sharing_windows(tmp_path: Path) -> None:
    events = [Event("a.wav", 0.1 + i, 0.6 + i, "owl") for i in range(9)]
    made = label_windows(marked(tmp_path / "m", events), segment=0.5, hop=0.5, background=True)
    card, cut = divisible(TaskCard(name="owls", labels="multi"), made)
    parts: dict[str, list[float]] = {}
    for clip in cut:
        parts.setdefault(str(clip.source), []).append(clip.start)
    assert len(parts) == card.folds == 5
    spans = sorted((min(starts), max(starts)) for starts in parts.values())
    assert all(one[1] < two[0] for one, two in itertools.pairwise(spans))


@pytest.mark.parametrize("calls", [7, 9, 20])
@pytest.mark.parametrize("seed", range(3))
def test_no_call_is_in_two_parts_of_a_recording(calls: int, seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    onsets = 5 + 12 * np.arange(calls) + draw.uniform(0, 3, calls)
    ends = onsets + draw.uniform(0.5, 7, calls)
    folder = recordings(tmp_path / "m", 12.0 * calls + 20, ("a.wav",))
    events = [Event("a.wav", float(a), float(b), "owl") for a, b in zip(onsets, ends, strict=True)]
    corpus = Corpus.from_columns({"file": ["a.wav"], "seconds": [12.0 * calls + 20]}, root=folder, events=events)
    card, cut = divisible(TaskCard(name="owls", labels="multi"), label_windows(corpus, segment=3.0, background=True))
    assert 3 <= card.folds <= 5
    parts: dict[str, list[tuple[float, float]]] = {}
    for clip in cut:
        parts.setdefault(str(clip.source), []).append((clip.start, clip.start + clip.seconds))
    heard = [{i for i in range(calls) for a, b in spans if onsets[i] < b and ends[i] > a} for spans in parts.values()]
    assert sum(map(len, heard)) == len(set().union(*heard)) == calls
    for one, two in itertools.combinations(parts.values(), 2):
        assert max(b for _, b in one) <= min(a for a, _ in two) or max(b for _, b in two) <= min(a for a, _ in one)


def test_calls_without_a_pause_are_divided_all_the_same_and_a_note_says_so(tmp_path: Path) -> None:
    events = [Event("a.wav", 0.0, 8.0, "owl")]
    made = label_windows(marked(tmp_path / "m", events), segment=1.0, background=True)
    card, cut = divisible(TaskCard(name="owls", labels="multi"), made)
    assert card.folds >= 3
    assert "one call may be in two parts" in " ".join(cut.notes)
    spans: dict[str, list[float]] = {}
    for clip in cut:
        spans.setdefault(str(clip.source), []).append(clip.start)
    ordered = sorted((min(starts), max(starts) + 1) for starts in spans.values())
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(ordered))
