"""Proposals, detectors and their scores, against slow loops and a known truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_labels import Truth, made_library, opened, write_scenes
from sklearn.metrics import average_precision_score
from toy_library import RATE

import auricle
from auricle.answers.label_log import Key
from auricle.answers.label_segments import HELD_OUT, Segments
from auricle.answers.labelling import Labelling, Proposal
from auricle.answers.library import Library
from auricle.errors import ConfigError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    return made_library(tmp_path_factory.mktemp("made"))


@pytest.fixture
def library(made: tuple[Path, Truth], tmp_path: Path) -> Path:
    return shutil.copytree(made[0], tmp_path / "library")


@pytest.fixture
def answer(made: tuple[Path, Truth]) -> Callable[[Labelling, Proposal], tuple[str, ...]]:
    truth = made[1]

    def label(labelling: Labelling, proposal: Proposal, tab: str = "tab") -> tuple[str, ...]:
        there = truth[labelling.segments.key(proposal.row)]
        labelling.label(proposal.row, there, proposal.origin, tab)
        return there

    return label


def labelled(labelling: Labelling, count: int, answer: Callable, way: str = "random") -> list[Proposal]:
    proposals = []
    for _ in range(count):
        proposal = labelling.propose(way, "owl", "tab")  # type: ignore[arg-type]
        assert proposal is not None
        answer(labelling, proposal)
        proposals.append(proposal)
    return proposals


def test_a_fifth_is_held_out_and_shares_no_sound_with_what_is_trained(tmp_path: Path) -> None:
    write_scenes(tmp_path / "recordings", files=60, seconds=20)
    auricle.index("toy_library:Bands", tmp_path / "recordings", tmp_path / "half", segment=1.0, hop=0.5, progress=False)
    auricle.index("toy_library:Bands", tmp_path / "recordings", tmp_path / "own", segment=1.0, progress=False)
    for name in ("half", "own"):
        segments = Segments(Library.open(tmp_path / name))
        assert segments.held_out.mean() == pytest.approx(HELD_OUT, abs=0.05)
        keys = [segments.key(row) for row in range(len(segments))]
        for row in np.random.default_rng(0).choice(len(segments), 150, replace=False):
            own = keys[row]
            touching = [i for i, k in enumerate(keys) if k.file == own.file and k.start < own.end and k.end > own.start]
            assert sorted(segments.overlapping(own)) == touching
            assert segments.trainable[row] == (not segments.held_out[touching].any())
            assert segments.row(own) == row
        # Without overlap nothing is lost beside the sample; with it, the neighbours of each block.
        lost = (~segments.held_out & ~segments.trainable).mean()
        assert lost == 0 if name == "own" else 0 < lost < 0.06


def test_what_is_held_out_stays_so_where_the_library_grows_or_is_made_again(library: Path, tmp_path: Path) -> None:
    before = Segments(Library.open(library))
    write_scenes(tmp_path / "more" / "other", files=10, seed=5)
    auricle.index("toy_library:Bands", tmp_path / "more", library, progress=False)
    after = Segments(Library.open(library))
    assert len(after) == len(before) + 50
    for row in range(len(before)):
        now = after.row(before.key(row))
        assert now is not None
        assert after.held_out[now] == before.held_out[row]


def test_one_in_five_is_of_the_random_sample_and_nothing_comes_twice(library: Path, answer: Callable) -> None:
    labelling = opened(library)
    proposals = labelled(labelling, 40, answer)
    held = [p.origin == "held_out" for p in proposals]
    assert [sum(held[:n]) for n in (5, 10, 20, 40)] == [1, 2, 4, 8]
    assert len({p.row for p in proposals}) == 40
    assert all(labelling.segments.held_out[p.row] == h for p, h in zip(proposals, held, strict=True))
    # The same labels and draws are there when the page is opened again.
    again = opened(library, ())
    assert again.classes == ("owl", "fox")
    assert again.log.labels == labelling.log.labels
    assert again.propose("random", "owl", "tab") == labelling.propose("random", "owl", "tab")


def test_margin_highest_and_similar_are_what_they_say(library: Path, answer: Callable) -> None:
    labelling = opened(library)
    labelled(labelling, 21, answer)
    found = labelling.fit()
    scores, segments = found.scores["owl"], labelling.segments
    free = [
        row for row in range(len(segments)) if segments.trainable[row] and segments.key(row) not in labelling.log.labels
    ]
    wanted = {
        "margin": min(free, key=lambda row: abs(scores[row] - 0.5)),
        "highest": max(free, key=lambda row: scores[row]),
    }
    for way, row in wanted.items():
        assert labelling.propose(way, "owl", "tab") == Proposal(row, way)  # type: ignore[arg-type]
    last = max(
        (each for each in labelling.log.labels.values() if "owl" in (each.classes or ()) and each.origin != "held_out"),
        key=lambda each: each.number,
    )
    vectors = labelling.library.vectors().astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = segments.row(last.key)
    assert own is not None
    nearest = max(free, key=lambda row: unit[row] @ unit[own])
    assert labelling.propose("similar", "owl", "tab") == Proposal(nearest, "similar")


def test_detectors_learn_and_never_from_the_random_sample(library: Path, answer: Callable, made: tuple) -> None:
    labelling = opened(library)
    assert labelling.fit().scores == {}
    assert labelling.missing("owl") == "label one segment with owl and one without owl first"
    labelled(labelling, 40, answer, "margin")
    found = labelling.fit()
    assert found.positives["owl"] + found.negatives["owl"] == 32
    trained = set(labelling.log.labels) - {draw.key for draw in labelling.log.draws}
    others = [row for row in range(len(labelling.segments)) if labelling.segments.key(row) not in trained]
    for name in ("owl", "fox"):
        there = [name in made[1][labelling.segments.key(row)] for row in others]
        assert average_precision_score(there, found.scores[name][others]) > 0.9
    # Other answers in the sample change the estimate and no score.
    for draw in labelling.log.draws:
        row = labelling.segments.row(draw.key)
        assert row is not None
        was = labelling.log.labels[draw.key].classes or ()
        labelling.label(row, [name for name in ("owl", "fox") if name not in was], "held_out", "other")
    before = labelling.estimate("owl")
    again = labelling.fit()
    np.testing.assert_array_equal(again.scores["owl"], found.scores["owl"])
    assert before == labelling.estimate("owl")
    ranking = labelling.ranking("owl", 10)
    order = np.argsort(-again.scores["owl"], kind="stable")[:10]
    assert [each.score for each in ranking] == pytest.approx(again.scores["owl"][order].tolist())
    assert labelling.detections("owl") == int((again.scores["owl"] >= 0.5).sum())


def test_the_estimate_is_that_of_the_whole_library_in_the_end(library: Path, answer: Callable, made: tuple) -> None:
    labelling = opened(library)
    labelled(labelling, 20, answer)
    labelling.fit()
    # Everything that is left, so that the whole sample is known: estimates are its shares exactly.
    while (proposal := labelling.propose("random", "owl", "tab")) is not None:
        answer(labelling, proposal)
    scores = labelling.detectors.scores["owl"]  # type: ignore[union-attr]
    held = np.flatnonzero(labelling.segments.held_out)
    truth = np.array(["owl" in made[1][labelling.segments.key(row)] for row in held])
    found = labelling.estimate("owl")
    assert found is not None
    assert found.drawn == len(held)
    detected = scores[held] >= 0.5
    assert found.precision.value == pytest.approx(truth[detected].mean())
    assert found.recall.value == pytest.approx(detected[truth].mean())
    assert found.prevalence.value == pytest.approx(truth.mean())


def test_a_segment_of_the_sample_that_nobody_labelled_comes_again(library: Path, answer: Callable) -> None:
    labelling = opened(library)
    labelled(labelling, 4, answer)
    drawn = labelling.propose("random", "owl", "tab")
    assert drawn is not None
    assert drawn.origin == "held_out"
    assert labelling.propose("random", "owl", "tab") == drawn
    # Not for another tab as long as this one shows it; after a restart for any.
    other = labelling.propose("random", "owl", "other")
    assert other is not None
    assert other.row != drawn.row
    assert opened(library).propose("random", "owl", "new") == drawn


def test_a_held_out_segment_of_the_ranking_counts_when_it_is_drawn(library: Path, answer: Callable) -> None:
    labelling = opened(library)
    for row in np.flatnonzero(labelling.segments.held_out):
        answer(labelling, Proposal(int(row), "highest"))
    labelled(labelling, 12, answer)
    labelling.fit()
    assert labelling.estimate("owl").drawn == len(labelling.log.draws) > 0  # type: ignore[union-attr]
    assert labelling.detectors.positives["owl"] + labelling.detectors.negatives["owl"] == 12  # type: ignore[union-attr]


def test_tabs_get_different_segments_and_undo_their_own(library: Path) -> None:
    labelling = opened(library)
    one, two = (labelling.propose("random", "owl", tab) for tab in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.row != two.row
    first, _ = labelling.label(one.row, ["owl"], "random", "one")
    second, replaced = labelling.label(one.row, [], "random", "two")
    assert replaced == first
    assert labelling.log.label_of(first.key) == second
    # Tab one takes its own label back: the other one's counts on.
    assert labelling.undo("one") == first
    assert labelling.log.label_of(first.key) == second
    assert labelling.undo("two") == second
    assert labelling.log.label_of(first.key) is None
    assert labelling.undo("two") is None


def test_detectors_are_due_after_the_first_labels_and_every_ten(library: Path, answer: Callable) -> None:
    labelling = opened(library)
    due = [labelling.due]
    for _ in range(21):
        labelled(labelling, 1, answer)
        due.append(labelling.due)
    assert [number for number, each in enumerate(due) if each] == [1, 2, 3, 4, 5, 10, 20]


def test_a_class_that_comes_later_knows_nothing_of_earlier_labels(library: Path, answer: Callable) -> None:
    labelled(opened(library, ("owl",)), 10, lambda labelling, p: labelling.label(p.row, [], p.origin, "tab"))
    labelling = opened(library, ("newt",))
    assert labelling.classes == ("owl", "newt")
    assert labelling.missing("newt") == "label one segment with newt and one without newt first"
    assert labelling.missing("owl") == "label one segment with owl first"


def test_rows_to_label_first(library: Path) -> None:
    segments = opened(library).segments
    wanted = [int(segments.ids[row]) for row in (50, 7, 60, 11)]
    held = [int(segments.ids[row]) for row in np.flatnonzero(segments.held_out)[:2]]
    usable = [number for number in wanted if segments.trainable[segments.row_of_id(number)]]
    labelling = opened(library, first=[*wanted, *held])
    assert any("of 6 rows of --first are held out" in note for note in labelling.notes)
    for number in usable[:3]:
        proposal = labelling.propose("margin", "owl", "tab")
        assert proposal == Proposal(labelling.segments.row_of_id(number), "first")
        labelling.label(proposal.row, [], "first", "tab")
    with pytest.raises(ConfigError, match="has no row 9999"):
        opened(library, first=[9999])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "no class is named"),
        (tuple("abcdefghij"), "there are 10 classes .* at most 9"),
        (("a;b",), "'a;b' is no name of a class"),
        (("a\nb",), "is no name of a class"),
        (("  ",), "'' is no name of a class"),
    ],
)
def test_odd_classes(library: Path, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(library, classes)


def test_labels_of_another_library(library: Path, tmp_path: Path) -> None:
    labelling = opened(library)
    labelling.log.label(Key("elsewhere.wav", 0, 1), ("owl",), ("owl",), "margin", "tab")
    with pytest.raises(ConfigError, match=r"none of the 1 labelled segments .* name another file with --labels"):
        opened(library)
    labelling.label(3, ["owl"], "random", "tab")
    assert "1 of 2 labelled segments are not in this library: not used" in opened(library).notes
    with pytest.raises(ConfigError, match="there is no class 'owls'"):
        labelling.label(3, ["owls"], "random", "tab")


def test_labels_follow_their_recordings(tmp_path: Path) -> None:
    folder, truth = made_library(tmp_path)
    recordings = tmp_path / "recordings"
    labelling = opened(folder)
    held = {labelling.segments.content(labelling.segments.key(row)): labelling.segments.held_out[row] for row in [0]}
    rows = [row for row in np.flatnonzero(labelling.segments.trainable) if labelling.segments.key(row).start == 0][:4]
    names = [labelling.segments.key(row).file for row in rows]
    for row in rows:
        labelling.label(int(row), truth[labelling.segments.key(row)], "margin", "tab")
    said = {name: labelling.log.labels[Key(name, 0, 1)].classes for name in names}
    # Two swap their names, one is renamed, and a card is used again: another recording has the name of the fourth.
    (recordings / names[0]).rename(recordings / "kept")
    (recordings / names[1]).rename(recordings / names[0])
    (recordings / "kept").rename(recordings / names[1])
    (recordings / names[2]).rename(recordings / "renamed.wav")
    write_scenes(tmp_path / "other", files=1, seed=7)
    (tmp_path / "other" / "scene 00.wav").rename(recordings / names[3])
    auricle.index("toy_library:Bands", recordings, folder, progress=False)
    again = opened(folder)
    found = {key.file: label.classes for key, label in again.log.labels.items()}
    assert found == {names[1]: said[names[0]], names[0]: said[names[1]], "renamed.wav": said[names[2]]}
    assert "1 of 4 labelled segments are not in this library: not used" in again.notes
    # What is held out moves with the recordings too: what was trained on is not scored on.
    assert all(again.segments.trainable[again.segments.row(key)] for key in again.log.labels)
    for content, was in held.items():
        row = again.segments.row(Key(again.segments.recordings[content], 0.0, 1.0))
        assert row is not None
        assert again.segments.held_out[row] == was


def test_a_larger_library_has_a_new_random_sample(tmp_path: Path) -> None:
    """Owls are frequent in the first recordings and rare in those that come later."""
    folder, truth = made_library(tmp_path)
    labelling = opened(folder)

    def label(count: int) -> None:
        for _ in range(count):
            proposal = labelling.propose("margin", "owl", "tab")
            assert proposal is not None
            there = truth.get(labelling.segments.key(proposal.row), ())
            labelling.label(proposal.row, there, proposal.origin, "tab")

    label(60)
    labelling.fit()
    before = labelling.draws
    assert len(before) == labelling.estimate("owl").drawn == 12  # type: ignore[union-attr]
    assert [draw.key for draw in opened(folder).draws] == [draw.key for draw in before]
    time = np.arange(RATE * 200)
    for number in range(4):
        noise = np.random.default_rng(number).normal(size=len(time)) * 0.02
        soundfile.write(tmp_path / "recordings" / f"quiet {number}.wav", noise, RATE)
    auricle.index("toy_library:Bands", tmp_path / "recordings", folder, progress=False)
    labelling = opened(folder)
    assert any("12 segments of the random sample were drawn: a new sample is begun" in note for note in labelling.notes)
    labelling.fit()
    assert labelling.estimate("owl").drawn == 0  # type: ignore[union-attr]
    # Held-out labels of the earlier sample are not trained on, and count where they are drawn again.
    trained = labelling.detectors.positives["owl"] + labelling.detectors.negatives["owl"]  # type: ignore[union-attr]
    assert trained == 48
    label(40)
    labelling.fit()
    found, known = labelling.estimate("owl"), [truth.get(key, ()) for key in map(labelling.segments.key, range(1000))]
    assert found is not None
    assert found.drawn >= 20
    held = np.flatnonzero(labelling.segments.held_out)
    real = np.mean(["owl" in known[row] for row in held])
    assert found.prevalence.interval.low <= real <= found.prevalence.interval.high
