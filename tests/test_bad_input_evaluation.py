"""What evaluation may be fed with that is wrong, met through the command itself.

Every case ends with a message that names what is wrong (exit code 2), or goes on and counts what was left out in the
record (exit code 0); and what was finished before is still there. An exception that escapes `main` fails the test.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.corpus.published import download as downloads
from auricle.corpus.published.archive import Archive, DataSet

RATE = 16000
QUICK = ["--no-controls", "--seeds", "1", "--search.epochs", "2", "--search.lr-count", "2"]
ENCODERS = '''
import torch


class Bands:
    """Mean magnitudes of eight bands, ten times a second."""

    rate, width = 16000, 8

    def __call__(self, wave):
        spectrum = torch.fft.rfft(wave.unfold(1, 1600, 1600)).abs()[..., :800]
        return spectrum.unflatten(-1, (8, 100)).mean(-1).log1p()


class Fragile(Bands):
    """Says NaN to loud clips."""

    def __call__(self, wave):
        bands = super().__call__(wave)
        bands[wave.abs().amax(1) > 0.8] = float("nan")
        return bands


class Infinite(Bands):
    """Says infinity to loud clips, in one number of one token."""

    def __call__(self, wave):
        bands = super().__call__(wave)
        bands[wave.abs().amax(1) > 0.8, 0, 3] = float("inf")
        return bands


class Nothing(Bands):
    """Says NaN to everything."""

    def __call__(self, wave):
        return super().__call__(wave) * float("nan")


class Louder(Bands):
    """Other weights."""

    def __call__(self, wave):
        return super().__call__(wave * 2)
'''


def tone(pitch: float, seconds: float = 0.5, seed: int = 0, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 0.01 * np.random.default_rng(seed).standard_normal(len(time))
    return (level * np.sin(2 * np.pi * pitch * time) + noise).astype(np.float32)


PITCH = {"a": 400.0, "b": 1600.0, "c": 5200.0}


def table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def clips(folder: Path, rows: Sequence[tuple[str, str]], column: str = "split", loud: Sequence[int] = ()) -> Path:
    """Write a clip for each (label, cell of the column); the labels of a clip are joined with `;`."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for i, (labels, cell) in enumerate(rows):
        parts = [tone(PITCH[name], seed=i, level=0.25) for name in labels.split(";") if name] or [tone(90, seed=i)]
        wave = np.sum(parts, axis=0)
        soundfile.write(folder / f"{i:02d}.wav", wave * (0.95 / np.abs(wave).max()) if i in loud else wave, RATE)
        listed.append((f"{i:02d}.wav", labels, cell))
    table(folder / "metadata.csv", ("file", "label", column), listed)
    return folder


def dealt(labels: str, train: int, valid: int, test: int) -> list[tuple[str, str]]:
    """So many clips of each one-letter label on each side."""
    sides = [("train", train), ("valid", valid), ("test", test)]
    return [(label, side) for side, count in sides for label in labels for _ in range(count)]


class Command:
    """Runs `auricle` and keeps what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capsys, self.folder = capsys, folder
        self.out = self.err = ""

    def __call__(self, *words: object) -> int:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def refused(self, *words: object) -> str:
        """The one message of a command that can't go on."""
        assert self(*words) == 2, self.out
        lines = [line for line in self.err.splitlines() if line.startswith("auricle: ")]
        assert len(lines) == 1, self.err
        return self.err[self.err.index("auricle: ") :]

    def probe(self, data: Path, *words: object, task: str = "folder", encoder: str = "Bands") -> list[str]:
        """The words of a probe whose results go to `out/TASK`."""
        out = self.folder / "out" / task
        return [str(w) for w in ("probe", f"bad_input_encoders:{encoder}", "--task", task, "--data", data, "--out", out,
                                 *QUICK, *words)]  # fmt: skip

    def results(self, task: str = "folder") -> dict[str, dict[str, Any]]:
        """The records by probe."""
        lines = (self.folder / "out" / task / "results.jsonl").read_text(encoding="utf-8").splitlines()
        return {record["probe"]: record for record in map(json.loads, lines)}

    def table(self) -> str:
        """What was said, on one line."""
        return " ".join(self.out.split())


@pytest.fixture
def auricle(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.setenv("COLUMNS", "250")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "bad_input_encoders.py").write_text(ENCODERS)
    monkeypatch.chdir(tmp_path / "work")
    yield Command(capsys, tmp_path)
    sys.modules.pop("bad_input_encoders", None)


def noted(record: dict[str, Any], text: str) -> str:
    """The one note with this text."""
    (note,) = [note for note in record["notes"] if text in note]
    return str(note)


# Labels


@pytest.mark.parametrize("reader", ["knn", "logistic", "centroid", "ridge", "linear"])
def test_labels_that_training_never_showed_count_as_errors(auricle: Command, tmp_path: Path, reader: str) -> None:
    data = clips(tmp_path / "data", [*dealt("ab", 5, 2, 3), ("c", "test"), ("c", "test")])
    # Enough epochs for a probe to learn the other classes; two leave its answers to its random start.
    words = ["--probes", reader, "--search.epochs", "30", "--search.lr-count", "4"]
    assert auricle(*auricle.probe(data, *words)) == 0
    (record,) = auricle.results().values()
    assert noted(record, "in test but never in training (counted as errors)").endswith("c (fold test)")
    assert "never in training" in auricle.table()
    assert record["clips"] == record["clips_total"] == 8
    assert record["per_class"]["c"]["recall"] == 0
    assert record["value"] <= 0.75


def test_a_class_without_positives_is_not_in_the_score(auricle: Command, tmp_path: Path) -> None:
    several = [("a;b", "train"), ("a", "train"), ("b", "train"), ("c", "train"), ("", "train"), ("a;c", "train")] * 2
    several += [("a", "valid"), ("b", "valid"), ("", "valid"), ("a", "test"), ("b", "test"), ("", "test")]
    data = clips(tmp_path / "data", several)
    words = ["--probes", "linear", "knn", "logistic"]
    # An empty cell says nothing in a task of one label or several; only `sed_synth`-like cards take it for "none".
    assert auricle(*auricle.probe(data, *words)) == 0
    for record in auricle.results().values():
        assert "c (fold test)" in noted(record, "in training but without test clips (not in the score there)")
        assert noted(record, "without a label were excluded").startswith("4 clips")
        assert record["per_class"]["c"]["ap"] is None
        defined = [record["per_class"][name]["ap"] for name in "ab"]
        assert record["value"] == pytest.approx(np.mean(defined))
    assert "not in the score there" in auricle.table()


def test_a_class_that_only_test_clips_have_keeps_its_chance_precision(auricle: Command, tmp_path: Path) -> None:
    several = [("a;b", "train"), ("a", "train"), ("b", "train")] * 4
    several += [("a", "valid"), ("b", "valid"), ("a;c", "test"), ("b", "test"), ("a", "test"), ("b", "test")]
    data = clips(tmp_path / "data", several)
    assert auricle(*auricle.probe(data, "--probes", "linear", "logistic")) == 0
    for record in auricle.results().values():
        assert "c (fold test)" in noted(record, "in test but never in training (scored at chance)")
        assert record["per_class"]["c"]["ap"] is not None
        assert math.isfinite(record["value"])


@pytest.mark.parametrize("reader", ["linear", "knn", "logistic", "centroid", "ridge"])
def test_a_fold_that_tests_one_class_only(auricle: Command, tmp_path: Path, reader: str) -> None:
    """Its accuracy is that of the one class; the others' lack of clips is said."""
    rows = [(label, str(fold)) for fold in (1, 2, 3) for label in "ab" for _ in range(3)] + [("a", "4")] * 4
    data = clips(tmp_path / "data", rows, "fold")
    assert auricle(*auricle.probe(data, "--probes", reader)) == 0
    (record,) = auricle.results().values()
    assert len(record["per_fold"]) == 4
    assert all(value is not None and math.isfinite(value) for value in record["per_fold"])
    assert "b (fold 4)" in noted(record, "without test clips")


def test_a_fold_that_teaches_one_class_only(auricle: Command, tmp_path: Path) -> None:
    """With three folds one of them teaches alone while the next validates; what was judged by then is kept."""
    rows = [(label, str(fold)) for fold in (1, 2) for label in "ab" for _ in range(3)] + [("a", "3")] * 4
    data = clips(tmp_path / "data", rows, "fold")
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "linear"))
    assert "class 'a'" in message
    assert set(auricle.results()) == {"knn"}
    assert math.isfinite(auricle.results()["knn"]["value"])


def test_a_split_whose_training_clips_are_of_one_class(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", [*dealt("a", 5, 2, 3), ("b", "test"), ("b", "test")])
    message = auricle.refused(*auricle.probe(data, "--probes", "linear"))
    assert "class 'a'" in message
    assert not (tmp_path / "out" / "folder" / "results.jsonl").exists()
    # A reader that needs no training loop may answer `a` always, and says what it never saw.
    if auricle(*auricle.probe(data, "--probes", "knn")) == 0:
        assert auricle.results()["knn"]["value"] == pytest.approx(3 / 5)
        noted(auricle.results()["knn"], "never in training")


# Embeddings that are no numbers


@pytest.mark.parametrize("encoder", ["Fragile", "Infinite"])
def test_clips_whose_embeddings_are_not_finite_are_counted(auricle: Command, tmp_path: Path, encoder: str) -> None:
    data = clips(tmp_path / "data", dealt("ab", 5, 3, 4), loud=(0, 12, 20))
    assert auricle(*auricle.probe(data, "--probes", "linear", "knn", "protobin", encoder=encoder)) == 0
    for record in auricle.results().values():
        assert set(record["missing"]) == {"00.wav", "12.wav", "20.wav"}
        assert all("not finite" in reason for reason in record["missing"].values())
        assert (record["clips"], record["clips_total"]) == (7, 8)
        assert math.isfinite(record["value"])
    assert "7 of 8 test clips" in auricle.table()


def test_an_encoder_that_says_nan_to_everything(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", dealt("ab", 3, 2, 2))
    message = auricle.refused(*auricle.probe(data, encoder="Nothing"))
    assert "not one of the 14 clips" in message
    assert "not finite" in message
    assert not list((tmp_path / "out").rglob("manifest.json"))
    assert auricle("check", "encoder", "bad_input_encoders:Nothing") == 2


def test_a_side_without_one_finite_embedding(auricle: Command, tmp_path: Path) -> None:
    rows = dealt("ab", 4, 2, 2)
    data = clips(tmp_path / "data", rows, loud=[i for i, (_, side) in enumerate(rows) if side == "test"])
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", encoder="Fragile"))
    assert "fold test" in message
    assert "and 0 test clips that can be read" in message


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("folder_regression", ["--label", "number", "--probes", "ridge"]),
        ("folder_anomaly", ["--rule.normal", "a"]),
        ("folder_retrieval", ["--probes", "cosine"]),
        ("folder_few_shot", ["--rule.ways", "2", "--rule.shots", "1", "--rule.queries", "1", "--rule.episodes", "30"]),
        ("folder_clustering", []),
    ],
)
def test_every_type_of_task_counts_embeddings_that_are_not_finite(
    auricle: Command, tmp_path: Path, task: str, words: list[str]
) -> None:
    data = clips(tmp_path / "data", [(label, "") for label in "ab" for _ in range(8)], loud=(3, 11))
    rows = list(csv.reader((data / "metadata.csv").open()))[1:]
    table(data / "metadata.csv", ("file", "label", "number"), [(row[0], row[1], 10 * i) for i, row in enumerate(rows)])
    assert auricle(*auricle.probe(data, *words, task=task, encoder="Fragile")) == 0
    for record in auricle.results(task).values():
        assert set(record["missing"]) == {"03.wav", "11.wav"}
        assert record["clips"] < record["clips_total"]
        assert math.isfinite(record["value"])


# Caches


def test_tokens_of_another_corpus_are_refused_and_results_stay(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", dealt("ab", 4, 2, 2))
    words = auricle.probe(data, "--probes", "knn")
    assert auricle(*words) == 0
    before = (tmp_path / "out" / "folder" / "results.jsonl").read_bytes()
    clips(data, dealt("ab", 4, 2, 3))
    message = auricle.refused(*words)
    assert str(tmp_path / "out" / "folder" / "tokens") in message
    assert "corpus" in message
    assert (tmp_path / "out" / "folder" / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize("file", ["tokens.bin", "clips.npz", "manifest.json"])
def test_damaged_tokens_are_refused_and_results_stay(auricle: Command, tmp_path: Path, file: str) -> None:
    data = clips(tmp_path / "data", dealt("ab", 4, 2, 2))
    assert auricle(*auricle.probe(data, "--probes", "knn")) == 0
    before = (tmp_path / "out" / "folder" / "results.jsonl").read_bytes()
    (damaged,) = (tmp_path / "out").rglob(file)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    # Another reader needs the tokens again.
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "linear"))
    assert str(damaged.parent) in message
    assert "delete" in message
    assert (tmp_path / "out" / "folder" / "results.jsonl").read_bytes() == before


def test_another_encoder_never_reads_the_tokens_of_the_first(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", dealt("ab", 4, 2, 2))
    for encoder in ("Bands", "Louder"):
        assert auricle(*auricle.probe(data, "--probes", "knn", encoder=encoder)) == 0
    lines = (tmp_path / "out" / "folder" / "results.jsonl").read_text().splitlines()
    assert len({json.loads(line)["encoder_fingerprint"] for line in lines}) == 2
    assert len(list((tmp_path / "out").rglob("manifest.json"))) == 2


# Event tables

EVENTS = ["--probes", "linear", "--rule.no-psds"]


def event_folder(folder: Path, more: Sequence[Sequence[object]]) -> Path:
    """Ten clips of two seconds with two good events each, and more rows of the table."""
    folder.mkdir()
    rows: list[Sequence[object]] = []
    for i in range(10):
        wave = 0.01 * np.random.default_rng(i).standard_normal(2 * RATE).astype(np.float32)
        for name, begin in (("a", 0.2), ("b", 1.1)):
            part = slice(round(begin * RATE), round((begin + 0.6) * RATE))
            wave[part] += tone(PITCH[name], 0.6)
            rows.append((f"{i}.wav", begin, begin + 0.6, name))
        soundfile.write(folder / f"{i}.wav", wave, RATE)
    table(folder / "events.csv", ("file", "onset", "offset", "label"), [*rows, *more])
    return folder


def test_events_of_impossible_times_are_counted_and_overlaps_joined(auricle: Command, tmp_path: Path) -> None:
    wrong = [
        ("0.wav", -0.5, 0.5, "a"),
        ("1.wav", 0.9, 0.4, "a"),
        ("2.wav", 7.0, 8.0, "b"),
        ("3.wav", 1.5, 9.0, "a"),
        ("4.wav", 0.5, 1.0, "a"),
    ]
    data = event_folder(tmp_path / "data", wrong)
    assert auricle(*auricle.probe(data, *EVENTS, task="folder_events")) == 0
    (record,) = auricle.results("folder_events").values()
    assert noted(record, "a negative onset").startswith("1 of 25 events were left out")
    assert noted(record, "an offset that is not after the onset").startswith("1 of 25 events were left out")
    assert noted(record, "an onset after the recording's end").startswith("1 of 25 events were left out")
    assert noted(record, "end after their recording and were cut there").startswith("1 events")
    assert noted(record, "that they overlap or touch").startswith("1 events were joined")
    assert record["clips"] == 10
    assert math.isfinite(record["value"])
    assert "negative onset" in auricle.table()


def test_an_event_table_with_nothing_possible_in_it(auricle: Command, tmp_path: Path) -> None:
    data = event_folder(tmp_path / "data", [])
    table(data / "events.csv", ("file", "onset", "offset", "label"), [(f"{i}.wav", -1, 1, "a") for i in range(10)])
    message = auricle.refused(*auricle.probe(data, *EVENTS, task="folder_events"))
    assert "negative onset" in message
    assert not (tmp_path / "out").exists()


def test_an_event_whose_time_is_a_word(auricle: Command, tmp_path: Path) -> None:
    data = event_folder(tmp_path / "data", [("0.wav", "soon", "later", "a")])
    code = auricle(*auricle.probe(data, *EVENTS, task="folder_events"))
    if code == 0:
        (record,) = auricle.results("folder_events").values()
        assert noted(record, "a time that is no number").startswith("1 of 21")
    else:
        assert "events.csv" in auricle.err
        assert "soon" in auricle.err


# Trials


def trial_folder(folder: Path, trials: Sequence[Sequence[object]], loud: Sequence[int] = ()) -> Path:
    data = clips(folder, [(label, "") for label in "abc" for _ in range(4)], "source", loud)
    rows = list(csv.reader((data / "metadata.csv").open()))[1:]
    table(data / "metadata.csv", ("file", "label", "source"), [(row[0], row[1], row[1]) for row in rows])
    table(data / "trials.csv", ("enroll", "test", "target"), trials)
    return data


GOOD_TRIALS = [(f"{i:02d}.wav", f"{j:02d}.wav", int(i // 4 == j // 4)) for i in range(8) for j in range(i + 1, 8)]
VERIFY = ["--probes", "cosine"]


def test_trials_that_name_unknown_clips(auricle: Command, tmp_path: Path) -> None:
    data = trial_folder(tmp_path / "data", [*GOOD_TRIALS, ("00.wav", "ghost.wav", 1), ("spirit.wav", "01.wav", 0)])
    message = auricle.refused(*auricle.probe(data, *VERIFY, task="folder_verification"))
    assert "trials.csv names 2 clips" in message
    assert "'ghost.wav'" in message
    assert not (tmp_path / "out").exists()


def test_trials_of_a_clip_that_is_broken_twice_or_beside_itself_are_counted(auricle: Command, tmp_path: Path) -> None:
    trials = [*GOOD_TRIALS, ("02.wav", "02.wav", 1), GOOD_TRIALS[0], ("00.wav", "gone.wav", 1)]
    data = trial_folder(tmp_path / "data", trials, loud=(7,))
    (data / "gone.wav").write_bytes(b"not audio")
    rows = list(csv.reader((data / "metadata.csv").open()))
    table(data / "metadata.csv", rows[0], [*rows[1:], ("gone.wav", "a", "a")])
    assert auricle(*auricle.probe(data, *VERIFY, task="folder_verification", encoder="Fragile")) == 0
    (record,) = auricle.results("folder_verification").values()
    assert "1 of 31 trials" in noted(record, "a clip with itself")
    assert "1 of 31 trials" in noted(record, "they occur twice")
    # Seven good trials are of the loud clip.
    assert record["clips"] == len(GOOD_TRIALS) - 7
    assert set(record["missing"]) == {"gone.wav", "07.wav"}
    assert math.isfinite(record["value"])


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([("00.wav", "01.wav", "maybe")], "'maybe'"),
        ([("00.wav", "01.wav", 1), ("02.wav", "03.wav", 1)], "non-target"),
        ([*GOOD_TRIALS, (*GOOD_TRIALS[0][:2], 0)], "both the same and different"),
        ([("00.wav", "", 1)], "empty value"),
    ],
)
def test_trials_that_decide_nothing(auricle: Command, tmp_path: Path, trials: list[Any], said: str) -> None:
    data = trial_folder(tmp_path / "data", trials)
    message = auricle.refused(*auricle.probe(data, *VERIFY, task="folder_verification"))
    assert said in message
    assert "trials.csv" in message


# Downloads

BODY = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()


class Server(ThreadingHTTPServer):
    """Serves BODY; each number in `cut` ends one answer after so many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cut: list[int] = []
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._head(0)

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self._head(start)
        rest = BODY[start:]
        self.wfile.write(rest[: self.server.cut.pop(0)] if self.server.cut else rest)

    def _head(self, start: int) -> None:
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.send_header("ETag", '"1"')
        self.end_headers()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def offer(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes `toy` a data set of one file on this machine, with this sum."""
    monkeypatch.setattr("auricle.corpus.published.fetching.time.sleep", lambda seconds: None)

    def make(total: str) -> None:
        archive = Archive(f"http://127.0.0.1:{server.server_address[1]}/toy.bin", sum=total)
        toy = DataSet("toy", "Toy set", "CC0", "nobody", "http://127.0.0.1/", "0.2 MB", archives=(archive,))
        monkeypatch.setitem(downloads.DATA_SETS, "toy", toy)

    return make


MD5 = "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest()


def test_a_download_that_is_cut_goes_on_where_it_was(
    auricle: Command, tmp_path: Path, server: Server, offer: Callable[[str], None]
) -> None:
    offer(MD5)
    words = ["data", "download", "toy", "--to", tmp_path / "sets", "--yes"]
    server.cut = [80_000, 0, 0, 0, 0, 0, 0]
    message = auricle.refused(*words)
    assert "80000 bytes" in message
    assert "toy.bin.part" in message
    assert (tmp_path / "sets" / "toy.bin.part").read_bytes() == BODY[:80_000]
    assert not (tmp_path / "sets" / "toy.bin").exists()
    server.cut, server.ranges = [], []
    assert auricle(*words) == 0
    assert server.ranges == ["bytes=80000-"]
    assert (tmp_path / "sets" / "toy.bin").read_bytes() == BODY
    assert "CC0" in auricle.err


def test_a_download_with_a_wrong_sum_is_set_aside(
    auricle: Command, tmp_path: Path, offer: Callable[[str], None]
) -> None:
    offer("md5:" + "0" * 32)
    words = ["data", "download", "toy", "--to", tmp_path / "sets", "--yes"]
    message = auricle.refused(*words)
    assert "md5" in message
    assert "0" * 32 in message
    assert "toy.bin.wrong" in message
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["toy.bin.wrong"]
    # The right file replaces it.
    offer(MD5)
    assert auricle(*words) == 0
    assert (tmp_path / "sets" / "toy.bin").read_bytes() == BODY


def test_a_download_that_nobody_agreed_to(
    auricle: Command, tmp_path: Path, server: Server, offer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(MD5)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    message = auricle.refused("data", "download", "toy", "--to", tmp_path / "sets")
    assert "not downloaded" in message
    assert server.ranges == []
    assert not (tmp_path / "sets").exists()
    assert "did you mean" in auricle.refused("data", "download", "us8kk", "--to", tmp_path / "sets")


# A full disk


class FullDisk:
    """While `full`, no file whose path holds `name` may be forced to the disk or moved into place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.full, self.name = True, name
        self.hits = 0
        replace, opened = Path.replace, Path.open

        def refuse(path: object) -> None:
            if self.full and self.name in str(path):
                self.hits += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        def replacing(path: Path, target: Any) -> Path:
            refuse(target)
            return replace(path, target)

        def opening(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if set(mode) & set("wax+"):
                refuse(path)
            return opened(path, mode, *rest, **more)

        monkeypatch.setattr(Path, "replace", replacing)
        monkeypatch.setattr(Path, "open", opening)


@pytest.mark.parametrize("name", ["tokens.bin", "manifest.json", "predictions", "results.jsonl", "fits", "map.json"])
def test_a_disk_that_fills_up_while_probing(
    auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = clips(tmp_path / "data", dealt("ab", 4, 2, 2))
    words = auricle.probe(data, "--probes", "knn", "linear")
    disk = FullDisk(monkeypatch, name)
    message = auricle.refused(*words)
    assert disk.hits
    assert "space" in message
    # The tokens' writer names the folder.
    assert ("tokens" if name == "tokens.bin" else name) in message
    assert not list((tmp_path / "out").rglob("*.writing"))
    disk.full = False
    assert auricle(*words) == 0
    assert set(auricle.results()) == {"knn", "linear"}


def test_a_disk_that_fills_up_keeps_what_was_measured_before(
    auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clips(tmp_path / "data", dealt("ab", 4, 2, 2))
    assert auricle(*auricle.probe(data, "--probes", "knn")) == 0
    before = (tmp_path / "out" / "folder" / "results.jsonl").read_bytes()
    disk = FullDisk(monkeypatch, "results.jsonl")
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "centroid"))
    assert "results.jsonl" in message
    assert (tmp_path / "out" / "folder" / "results.jsonl").read_bytes() == before
    export = tmp_path / "out" / "table.md"
    disk.name = "table.md"
    assert "space" in auricle.refused("results", tmp_path / "out", "--format", "markdown", "--out", export)
    disk.full = False
    assert auricle("results", tmp_path / "out", "--format", "markdown", "--out", export) == 0
    assert "knn" in export.read_text()


def test_a_disk_that_fills_up_while_downloading(
    auricle: Command,
    tmp_path: Path,
    server: Server,
    offer: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(MD5)
    words = ["data", "download", "toy", "--to", tmp_path / "sets", "--yes"]
    server.cut = [50_000, 0, 0, 0, 0, 0]
    auricle.refused(*words)
    server.cut, server.ranges = [], []
    disk = FullDisk(monkeypatch, "toy.bin")
    message = auricle.refused(*words)
    assert "the disk is full" in message
    assert "toy.bin.part" in message
    assert (tmp_path / "sets" / "toy.bin.part").stat().st_size == 50_000
    disk.full = False
    assert auricle(*words) == 0
    assert server.ranges[-1] == "bytes=50000-"
    assert (tmp_path / "sets" / "toy.bin").read_bytes() == BODY


# Results


def test_a_damaged_line_of_results_is_named(auricle: Command, tmp_path: Path) -> None:
    data = clips(tmp_path / "data", dealt("ab", 4, 2, 2))
    assert auricle(*auricle.probe(data, "--probes", "knn")) == 0
    path = tmp_path / "out" / "folder" / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40] + b"\n")
    code = auricle("results", tmp_path / "out")
    said = auricle.out + auricle.err
    assert "line 2" in " ".join(said.split())
    assert code == 2 or "knn" in said
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "centroid"))
    assert "line 2" in message
    assert path.read_bytes().startswith(whole)
