"""Alarms and ends of a training that goes wrong: provoked on tiny runs, and gone where the advice is followed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import RATE, Command, after, changed, executes, pretrain, tones

from auricle.training.monitors import CollapseAlarm

EACH = ["--train.log-every", "1"]
FAST = [
    "--loader.batch", "8", "--loader.workers", "0", "--loader.sampling", "clip", "--train.threads", "1",
    "--train.warmup-steps", "0", "--train.precision", "fp32", "--window.seconds", "0.6", *EACH,
]  # fmt: skip


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm expects something learned after three steps, not after hundreds."""
    monkeypatch.setattr("auricle.training.loop.CollapseAlarm", lambda patience: CollapseAlarm(patience=3))


def sounds(folder: Path, make: Callable[[int], np.ndarray], clips: int = 12) -> Path:
    folder.mkdir()
    for number in range(clips):
        soundfile.write(folder / f"{number:02d}.wav", make(number), RATE)
    return folder


def noise(number: int, samples: int = 11200) -> np.ndarray:
    return 0.1 * np.random.default_rng(number).standard_normal(samples)


def train(recipe: str, out: str, *more: str, data: str = "data", steps: int = 6) -> list[str]:
    words = ["pretrain", recipe, "--data", data, "--out", out, "--train.steps", str(steps), *FAST]
    for flag, value in zip(more[::2], more[1::2], strict=True):
        words = changed(words, flag, value)
    return words


def events(auricle: Command, words: list[str]) -> str:
    """What a run says of itself on one line."""
    auricle.works(*words)
    return auricle.read(Path(words[words.index("--out") + 1]) / "events.log").replace("\n", " ")


@executes("the weights are those before the first of them", "steps were skipped, having no finite loss")
def test_steps_without_a_finite_loss(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "data")
    high = pretrain("high", "data", "--train.lr", "1e20", *EACH)
    words = [*changed(high, "--train.steps", "8"), "--train.skip-limit", "2"]
    message = auricle.refused(*words)
    auricle.works(*changed(changed(words, after(message, "): lower ", r"([\w.-]+)"), "1e-3"), "--out", "low"))
    for number, flag in enumerate(
        (r"raise ([\w.-]+)", r"set (--train\.clip-norm 1)", r"try (--train\.precision fp32)")
    ):
        found = after(message, ", " if number < 2 else "or ", flag).split()
        auricle.begins(*changed(changed(words, found[0], *(found[1:] or ["4"])), "--out", f"begun {number}"))
    said = events(auricle, changed(high, "--out", "done"))
    flag = after(said, "no finite loss or gradient: lower ", r"([\w.-]+)")
    assert "skipped, having" not in events(auricle, changed(changed(high, flag, "1e-3"), "--out", "lower"))
    precision = after(said, "or set ", r"(--train\.precision fp32)").split()
    auricle.begins(*changed(changed(high, *precision), "--out", "fp32"))


@executes("tensors hold weights that are not finite")
def test_weights_that_overflow(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "data")
    words = changed(pretrain("high", "data", "--train.lr", "1e38"), "--train.steps", "4")
    message = auricle.refused(*words)
    out = after(message, "start again in another ")
    auricle.works(*changed(changed(words, after(message, ": lower ", r"([\w.-]+)"), "1e-3"), out, "low"))
    for number, flag in enumerate((r"raise ([\w.-]+)", r"set (--train\.clip-norm 1)", r"or (--train\.precision fp32)")):
        found = after(message, " 1 " if number == 2 else ", ", flag).split()
        auricle.begins(*changed(changed(words, found[0], *(found[1:] or ["9"])), out, f"begun {number}"))


@executes("until accuracy leaves chance")
def test_collapsed_embeddings(auricle: Command, tmp_path: Path, impatient: None) -> None:
    sounds(tmp_path / "short", lambda number: noise(number, 900))
    words = changed(pretrain("padded", "short", "--window.short", "pad", *EACH), "--train.steps", "2")
    said = events(auricle, words)
    assert "the embeddings are one point" in said
    repeat = after(said, "differ in nothing (", r"(--window\.short repeat)").split()
    assert "one point" not in events(auricle, changed(changed(words, *repeat), "--out", "repeated"))
    sounds(tmp_path / "data", noise)
    words = changed(pretrain("chance", "data", *EACH), "--train.steps", "6")
    said = events(auricle, words)
    assert "collapse at step" in said
    for number, (flag, value) in enumerate(
        ((r"lower ([\w.-]+)", "1e-4"), (r"lengthen ([\w.-]+),", "4"), (r"raise ([\w.-]+) \(more", "12"))
    ):
        way = after(said, ("Then ", "or ", ", ")[number], flag)
        auricle.begins(*changed(changed(words, way, value), "--out", f"begun {number}"))
    mask, views = after(said, "weaken ", r"([\w.-]+)\*"), after(said, "weaken --objective.mask.* or ", r"([\w.-]+)\*")
    weak = changed(changed(words, "--out", "weak"), f"{mask}.mode", "none")
    for effect in ("band-stop", "high-pass", "level", "noise", "pitch", "polarity", "stretch"):
        weak = changed(weak, f"{views}.{effect}-p", "0")
    assert "collapse at step" not in events(auricle, [*weak, f"{views}.no-roll"])


@executes("A teacher that follows too fast")
def test_a_target_that_becomes_constant(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "data")
    target = "--objective.terms.0.target."
    words = train("data2vec", "high", f"{target}layers", "2", f"{target}per-layer", "none", "--encoder.depth", "2")
    words = changed(words, "--train.lr", "2e-2")
    said = events(auricle, words)
    decay = after(said, "constant: raise ", r"([\w.-]+) towards 1")
    auricle.begins(*changed(changed(words, decay, "0.99999"), "--out", "slower"))
    lower = changed(words, after(said, "towards 1, lower ", r"([\w.-]+),"), "1e-4")
    assert "target is constant" not in events(auricle, changed(lower, "--out", "lower"))
    assert "or normalise the target per token" in said
    each = changed(words, f"{target}per-layer", "layer")
    assert "target is constant" not in events(auricle, changed(each, "--out", "normalised"))


@executes("Nearly all tokens get one code")
def test_one_code(auricle: Command, tmp_path: Path) -> None:
    sounds(tmp_path / "data", lambda number: np.zeros(11200) if number else noise(number), 24)
    words = [*train("best-rq", "one", steps=3), "--loader.no-skip-silent"]
    flag = after(events(auricle, words), "check the corpus for silence (", r"([\w.-]+)\)")
    words = changed(changed(words, "--loader.no-skip-silent"), "--out", "sound")
    assert "one code" not in events(auricle, [*words, flag])


@executes("A guess without any input is as good")
def test_nothing_learned(auricle: Command, tmp_path: Path, impatient: None) -> None:
    tones(tmp_path / "data")
    words = train("apc", "slow", "--train.lr", "1e-6", "--train.min-lr", "0", "--encoder.width", "64", steps=8)
    said = events(auricle, words)
    flag = after(said, "is as good: train longer, raise ", r"([\w.-]+)")
    assert "A guess" not in events(auricle, changed(changed(words, flag, "1e-3"), "--out", "learned"))


@executes("Repeating the last frame is as good")
def test_frames_that_repeat(auricle: Command, tmp_path: Path, impatient: None) -> None:
    def alternating(number: int) -> np.ndarray:
        """Two sounds of 100 Hz, equal in each frame of 10 ms, that fade into each other and back in half a second."""
        time, draw = np.arange(16000) / RATE, np.random.default_rng(number)
        one, other = draw.exponential(size=(2, 70)) @ np.sin(200 * np.pi * np.outer(np.arange(1, 71), time))
        share = 0.5 + 0.5 * np.sin(4 * np.pi * time)
        return 0.01 * (share * one + (1 - share) * other)

    sounds(tmp_path / "data", alternating)
    words = train("apc", "near", "--encoder.width", "64", steps=8)
    said = events(auricle, words)
    flag = after(said, "or predict further ahead (", r"([\w.-]+);")
    assert "Repeating" not in events(auricle, changed([*words, flag, "25"], "--out", "far"))
    flag = after(said, "last frame is as good: train longer, raise ", r"([\w.-]+)")
    auricle.works(*changed(changed(changed(words, flag, "1e-2"), "--train.steps", "60"), "--out", "longer"))
    last = json.loads(Path("longer/metrics.jsonl").read_text().splitlines()[-1])
    assert last["future"] < last["future/copy_last"]
    words = train("cpc", "contrast", "--objective.pool", "clip", steps=8)
    flag = after(events(auricle, words), "(--objective.ahead; ", r"([\w.-]+) of a contrast\)")
    assert "Repeating" not in events(auricle, changed(changed(words, flag, "25"), "--out", "later"))


@executes("Which clip it is predicts as much")
def test_clips_that_are_known_by_their_sound(auricle: Command, tmp_path: Path, impatient: None) -> None:
    def coloured(number: int) -> np.ndarray:
        """Steady noise in a band of each clip's own: what follows is as uncertain near as far."""
        spectrum = np.fft.rfft(noise(number, 16000))
        centre = 300 * 1.35**number
        sound = np.fft.irfft(spectrum * np.exp(-0.5 * ((np.arange(8001) - centre) / (0.15 * centre)) ** 2))
        return 0.2 * sound / np.abs(sound).max()

    sounds(tmp_path / "data", coloured)
    words = train("cpc", "batch", "--objective.pool", "batch", steps=24)
    said = events(auricle, words)
    assert "shortcut at step" in said
    flag, value = after(said, "take negatives from the same clip (", r"([\w.-]+ \w+)\)").split()
    assert "Which clip" not in events(auricle, changed(changed(words, flag, value), "--out", "clip"))
    assert "or train longer" in said
    auricle.begins(*changed(changed(words, "--train.steps", "200"), "--out", "longer"))
