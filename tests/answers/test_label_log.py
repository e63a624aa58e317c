"""Labels on disk survive kills, full disks and damage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input_command import full_disk

from auricle.answers.label_log import Key, LabelLog
from auricle.errors import StorageError
from auricle.storage import sealed

A, B = Key("a\udce4.wav", 0.0, 1.5), Key("b/=c.wav", 0.1 + 0.2, 1.0)


def filled(path: Path) -> LabelLog:
    log = LabelLog.open(path)
    log.draw(B, 0.25, 4)
    log.label(A, ("owl",), ("owl", "fox"), "margin", "one")
    log.label(B, (), ("owl", "fox"), "held_out", "one")
    log.label(A, None, ("owl", "fox"), "highest", "two")
    return log


def meant(log: LabelLog) -> dict[Key, tuple[str, ...] | None]:
    return {key: label.classes for key, label in log.labels.items()}


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "labels.jsonl"
    log = filled(path)
    again = LabelLog.open(path)
    for each in (log, again):
        assert meant(each) == {A: None, B: ()}
        assert each.classes == ("owl", "fox")
        assert (each.draws[0].key, each.draws[0].probability, each.draws[0].left) == (B, 0.25, 4)
        assert (each.last, each.damage) == (4, [])
    # The later label of two tabs counts; undoing it brings the earlier one back.
    last = again.latest_of("two")
    assert last is not None
    again.undo(last)
    assert meant(again) == meant(LabelLog.open(path)) == {A: ("owl",), B: ()}
    assert again.latest_of("two") is None
    assert [label.number for label in again.since(2)] == [3]


def test_a_kill_at_any_byte_loses_no_label_that_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    filled(path)
    content = path.read_bytes()
    begin = content[:-1].rindex(b"\n") + 1
    for end in range(begin, len(content)):
        path.write_bytes(content[:end])
        log = LabelLog.open(path)
        whole = end == len(content) - 1  # only the line end is missing
        assert meant(log) == {A: None if whole else ("owl",), B: ()}
        assert len(log.damage) == (0 if whole or end == begin else 1)
        assert all("was cut off" in each for each in log.damage)
        log.label(A, ("fox",), ("owl", "fox"), "margin", "one")
        again = LabelLog.open(path)
        assert (meant(again), again.damage) == ({A: ("fox",), B: ()}, [])


def test_damaged_lines_are_counted_and_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    filled(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"owl", b"eel", 1), *lines[2:]]))
    log = LabelLog.open(path)
    assert meant(log) == {A: None, B: ()}
    assert log.damage == [f"line 2 of {path} is damaged (its content is not what was written): skipped"]
    before = path.read_bytes()
    log.label(B, ("owl",), ("owl", "fox"), "margin", "one")
    assert path.read_bytes().startswith(before)
    # A line that is gone is missed by its number.
    path.write_bytes(b"\n".join([lines[0], *lines[2:]]))
    assert LabelLog.open(path).damage == [f"{path} lacks 1 line that it once had"]
    # An undo of a label that can't be read any more, an event of nobody's, and no text at all.
    undo = sealed({"number": 1, "event": "undo", "of": 9}).encode()
    path.write_bytes(b"\n".join([b"\xff\xfe", b"{}", undo, b""]))
    assert len(LabelLog.open(path).damage) == 3


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    log = filled(path)
    before = path.read_bytes()
    with full_disk(len(before) + 20), pytest.raises(StorageError, match=r"no space left .* the label was not saved"):
        log.label(B, ("owl",), ("owl",), "margin", "one")
    assert path.read_bytes() == before
    assert meant(log) == {A: None, B: ()}
    log.label(B, ("owl",), ("owl",), "margin", "one")
    assert meant(LabelLog.open(path)) == {A: None, B: ("owl",)}


def test_a_file_that_another_program_changed_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    log = filled(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match="was changed by another program"):
        log.label(B, ("owl",), ("owl",), "margin", "one")
    path.unlink()
    with pytest.raises(StorageError, match="was changed by another program"):
        log.label(B, ("owl",), ("owl",), "margin", "one")
    path.mkdir()
    with pytest.raises(StorageError, match="can't read"):
        LabelLog.open(path)


WRITER = """
import sys
from pathlib import Path
from auricle.answers.label_log import Key, LabelLog
log = LabelLog.open(Path(sys.argv[1]))
for number in range(10000):
    log.label(Key("a.wav", number, number + 1), ("owl",), ("owl",), "margin", "tab")
    print(number, flush=True)
"""


def test_every_confirmed_label_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 20:
            pass
        os.kill(process.pid, signal.SIGKILL)
        confirmed = [20, *map(int, process.stdout.read().split())][-1]
    found = {int(key.start) for key in LabelLog.open(path).labels}
    assert found >= set(range(confirmed + 1))


@pytest.mark.parametrize("content", ["a,b\n1,2", '{"a": 1}\n', "\n\n", "{"])
def test_a_file_of_others_is_not_touched(content: str, tmp_path: Path) -> None:
    path = tmp_path / "precious.csv"
    path.write_text(content)
    with pytest.raises(StorageError, match="holds no labels of `auricle label`"):
        LabelLog.open(path)
    assert path.read_text() == content


def test_labels_follow_their_recordings(tmp_path: Path) -> None:
    """Names are swapped, one recording is gone; a label of an earlier version has its name only."""
    path = tmp_path / "labels.jsonl"
    log = LabelLog.open(path)
    one, two, three, four = (Key(f"{name}.wav", 0.0, 1.0) for name in "abcd")
    for key, classes, recording in ((one, ("owl",), "11"), (two, (), "22"), (three, ("owl",), "33"), (four, (), None)):
        log.label(key, classes, ("owl",), "margin", "tab", recording)
    log.draw(one, 0.5, 2, "sample", "11")
    log.draw(three, 0.5, 2, "sample", "33")
    again = LabelLog.open(path)
    assert again.place({"11": "b.wav", "22": "a.wav", "44": "c.wav"}) == 1
    assert meant(again) == {two: ("owl",), one: (), four: ()}
    assert [(draw.key, draw.sample) for draw in again.draws] == [(two, "sample")]
    # Undone and labelled again, by the new name; the next session finds all by content.
    undone = again.label_of(two)
    assert undone is not None
    again.undo(undone)
    again.label(two, (), ("owl",), "margin", "tab", "11")
    last = LabelLog.open(path)
    last.place({"11": "x.wav", "22": "y.wav", "33": "z.wav"})
    assert {key.file: classes for key, classes in meant(last).items()} == {
        "x.wav": (), "y.wav": (), "z.wav": ("owl",), "d.wav": (),
    }  # fmt: skip
