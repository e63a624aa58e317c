"""Copies of training clips among test clips: found, counted, named, refused and dropped; and what is no copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from auricle.corpus.copies import find_copies
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CorpusError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.leaks import check_leaks, leaking_pairs
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.run import finetune_encoder
from auricle.kits.evaluate import evaluate_by_protocol
from auricle.results.export import render_results
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.types import task_type

RATE = 16000


def sound(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Some noise bursts and a tone, all drawn: what two clips of one class have in common."""
    draw = np.random.default_rng(seed)
    wave = draw.standard_normal(int(seconds * rate)) * np.repeat(draw.uniform(0.02, 0.3, 10), int(seconds * rate) // 10)
    return (wave + 0.1 * np.sin(2 * np.pi * 440 * np.arange(len(wave)) / rate)).astype(np.float32).clip(-1, 1)


def corpus_of(folder: Path, waves: dict[str, tuple[np.ndarray, int]], **columns: list) -> Corpus:
    folder.mkdir(exist_ok=True)
    for name, (wave, rate) in waves.items():
        soundfile.write(folder / name, wave, rate)
    seconds = [len(wave) / rate for wave, rate in waves.values()]
    return Corpus.from_columns({"file": list(waves), "seconds": seconds, **columns}, root=folder)


def test_copies_are_found_by_what_they_hold(tmp_path: Path) -> None:
    """Every form of one sound, and none of the sounds that are only like it."""
    wave = soundfile.read(_written(tmp_path / "a.wav", sound(0)), dtype="float32")[0]
    late = np.concatenate([np.zeros(400, np.float32), wave])
    forms = {
        "a.wav": (wave, RATE),
        "same.flac": (wave, RATE),
        "quiet.wav": (0.2 * wave, RATE),
        "inverted.wav": (-wave, RATE),
        "rate.wav": (soxr.resample(wave, RATE, 22050), 22050),
        "a.mp3": (wave, RATE),
        "a.ogg": (wave, RATE),
        "late.wav": (late, RATE),
    }
    others = {f"other{i}.wav": (sound(i), RATE) for i in range(1, 5)}
    # The spectrum of the first with other phases.
    phases = np.exp(2j * np.pi * np.random.default_rng(1).random(RATE // 2 + 1))
    others["alike.wav"] = (np.fft.irfft(np.abs(np.fft.rfft(wave)) * phases).astype(np.float32), RATE)
    corpus = corpus_of(tmp_path / "clips", forms | others)
    shutil.copy(tmp_path / "clips" / "a.wav", tmp_path / "clips" / "b.wav")
    corpus = Corpus.from_columns(
        {"file": [*corpus.column("file"), "b.wav"], "seconds": [*corpus.column("seconds"), 1.0]}, root=corpus.root
    )
    names = corpus.column("file")
    found = {names[c.second]: c.kind for c in find_copies(corpus, range(len(corpus))) if c.first == 0}
    near = dict.fromkeys(list(forms)[2:], "near")
    assert found == {"same.flac": "samples", "b.wav": "bytes", **near}
    again = find_copies(corpus, [names.index("other1.wav"), names.index("other2.wav"), names.index("alike.wav")])
    assert again == []


def _written(path: Path, wave: np.ndarray) -> Path:
    soundfile.write(path, wave, RATE)
    return path


@pytest.mark.parametrize(("shared", "copies"), [(0.92, 0), (0.97, 1)])
def test_two_strokes_of_one_instrument_are_no_copies(tmp_path: Path, shared: float, copies: int) -> None:
    one, other = 0.1 * np.random.default_rng(0).standard_normal((2, 2 * RATE))
    second = shared * one + np.sqrt(1 - shared**2) * other
    corpus = corpus_of(tmp_path / "clips", {"a.wav": (one, RATE), "b.wav": (second, RATE)})
    assert len(find_copies(corpus, [0, 1])) == copies


def test_silent_short_and_unreadable_clips(tmp_path: Path) -> None:
    """Silence is equal to silence, and no near copy of anything."""
    silence, tick = np.zeros(RATE, np.float32), np.full(20, 0.5, np.float32)
    waves = {"s1.wav": silence, "s2.flac": silence, "tick.wav": tick, "hiss.wav": 1e-4 * sound(1)}
    corpus = corpus_of(tmp_path / "clips", {name: (wave, RATE) for name, wave in waves.items()})
    (tmp_path / "clips" / "bad.wav").write_bytes(b"no audio")
    columns = {"file": [*waves, "bad.wav", "none.wav"], "seconds": [*corpus.column("seconds"), 1.0, 1.0]}
    copies = find_copies(Corpus.from_columns(columns, root=corpus.root), range(6))
    assert [(copy.first, copy.second, copy.kind) for copy in copies] == [(0, 1, "samples")]


def test_long_clips_are_compared_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.corpus.copies._PIECE", 0.5)
    long = soundfile.read(_written(tmp_path / "a.wav", sound(0, 3.0)), dtype="float32")[0]
    other = long.copy()
    other[-5] += 0.25
    corpus = corpus_of(tmp_path / "clips", {"a.wav": (long, RATE), "b.flac": (long, RATE), "c.wav": (other, RATE)})
    kinds = {(copy.first, copy.second): copy.kind for copy in find_copies(corpus, range(3))}
    assert kinds == {(0, 1): "samples", (0, 2): "near", (1, 2): "near"}


@pytest.mark.parametrize("cells", [1, 40])
def test_near_copies_are_found_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """Clips of 1 to 3 s in no order, each with a copy that is quieter and longer; in blocks of one and two clips."""
    lengths = [1.5, 1.0, 3.0, 1.0, 2.0, 1.5, 2.5, 1.0]
    waves = {f"{i}.wav": (sound(i, s), RATE) for i, s in enumerate(lengths)}
    late = np.zeros(160, np.float32)
    waves |= {f"{i}.flac": (np.concatenate([late, 0.3 * sound(i, s)]), RATE) for i, s in enumerate(lengths)}
    monkeypatch.setattr("auricle.corpus.copies._CELLS", cells)
    found = find_copies(corpus_of(tmp_path / "clips", waves), range(16))
    assert [(copy.first, copy.second, copy.kind) for copy in found] == [(i, i + 8, "near") for i in range(8)]


def test_pairs_of_many_equal_clips_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five equal clips and four quieter ones: with a limit of one, all are paired with the first of each form."""
    monkeypatch.setattr("auricle.corpus.copies._EQUAL", 1)
    waves = {f"{i}.wav": ((1.0 if i < 5 else 0.3) * sound(0), RATE) for i in range(9)}
    found = find_copies(corpus_of(tmp_path / "clips", waves), range(9))
    near = {(copy.first, copy.second) for copy in found if copy.kind == "near"}
    assert near == {(0, 5), (0, 6), (0, 7), (0, 8), (1, 5), (2, 5), (3, 5), (4, 5)}
    assert len(found) == len(near) + 4 + 3


def test_clips_are_compared_as_they_are_read_with_time_expansion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All above 20 kHz: copies are found by the recording's own samples, and of it in the band that is read."""
    high = np.sin(2 * np.pi * 24000 * np.arange(96000) / 96000 * 1.02)
    waves = {f"{i}.wav": ((sound(i, 1.0, 96000) * high).astype(np.float32), 96000) for i in range(3)}
    waves["late.wav"] = (0.3 * np.concatenate([np.zeros(900, np.float32), waves["0.wav"][0]]), 96000)
    corpus = read_as(corpus_of(tmp_path / "clips", waves), time_expansion=10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing is remembered of these clips
    rates: list[float] = []
    audio = Corpus.audio
    monkeypatch.setattr(
        Corpus, "audio", lambda self, row, rate=16000, **more: (rates.append(rate), audio(self, row, rate, **more))[1]
    )
    found = find_copies(corpus, range(4))
    assert max(rates) == 9600
    assert [(copy.first, copy.second, copy.kind) for copy in found] == [(0, 3, "near")]


CARD = TaskCard(name="split", corpus="c")
QUICK: dict[str, Any] = {"seeds": 1, "controls": (), "device": "cpu"}


@pytest.fixture
def leaky(tmp_path: Path) -> Corpus:
    """Twelve training, four validation and six test clips; two test clips are copies, one with another label."""
    waves = {f"{i}.wav": (sound(i), RATE) for i in range(20)}
    waves["20.flac"] = (soundfile.read(_written(tmp_path / "x.wav", sound(0)), dtype="float32")[0], RATE)
    waves["21.wav"] = (0.3 * sound(3), RATE)
    labels = [*"ab" * 10, "b", "b"]
    return corpus_of(tmp_path / "clips", waves, label=labels, split=["train"] * 12 + ["valid"] * 4 + ["test"] * 6)


def test_a_result_says_which_test_clips_are_copies(leaky: Corpus, encoder: FrozenEncoder, tmp_path: Path) -> None:
    (result,) = evaluate(
        [encoder], CARD, leaky, out=tmp_path / "out", probes=["knn"], config=EvaluationConfig(**QUICK), progress=False
    )
    copies = result.details["copies"]
    assert copies["clips"] == {"samples": 1, "near": 1}
    assert (copies["of"], copies["dropped"], copies["contradictory"]) == (6, 0, 1)
    assert copies["pairs"] == [["20.flac", "0.wav", "samples"], ["21.wav", "3.wav", "near"]]
    said = (
        "2 of 6 test clips are copies of training clips (1 equal samples, 1 near copies; such as 20.flac of 0.wav): "
        "the score is optimistic; --on-leak drop removes them"
    )
    assert said in result.notes
    assert "1 pairs of equal clips have different labels, such as 0.wav and 20.flac" in result.notes
    from rich.console import Console

    console = Console(width=1000, record=True)
    console.print(render_results([result]))
    assert said in console.export_text()
    line = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    assert line["details"]["copies"]["pairs"] == copies["pairs"]


def test_of_too_many_clips_only_equal_ones_are_searched(leaky: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("corpus.copies", "evaluation.leaks"):
        monkeypatch.setattr(f"auricle.{module}.MOST_NEAR", 21)
    kind = task_type(CARD)
    facts = check_leaks(kind, CARD, leaky, kind.plan(CARD, leaky, 0), "warn", seed=0)[2]
    assert facts["clips"] == {"samples": 1}
    assert facts["said"][0].startswith(
        "22 clips are more than 21: copies of equal bytes and samples were searched, not"
    )
    clean = leaky.select([row for row in range(22) if row != 20]).with_column("split", leaky.column("split")[:21])
    monkeypatch.setattr("auricle.evaluation.leaks.MOST_NEAR", 20)
    monkeypatch.setattr("auricle.corpus.copies.MOST_NEAR", 20)
    assert list(check_leaks(kind, CARD, clean, kind.plan(CARD, clean, 0), "warn", seed=0)[2]) == ["said"]


@pytest.mark.parametrize("verb", ["probe", "kit", "finetune"])
def test_copies_are_refused_or_dropped_by_every_verb(
    verb: str, leaky: Corpus, encoder: FrozenEncoder, tmp_path: Path
) -> None:
    def run(on_leak: str, corpus: Corpus, out: str) -> Any:
        config = EvaluationConfig(**{**QUICK, "on_leak": on_leak})
        if verb == "probe":
            more: dict[str, Any] = {"probes": ["knn"], "config": config}
            return evaluate([encoder], CARD, corpus, out=tmp_path / out, progress=False, **more)
        if verb == "kit":
            kit = EvaluationConfig(controls=(), device="cpu", on_leak=on_leak)
            more = {"protocol": "xares", "config": kit}
            return evaluate_by_protocol([encoder], CARD, corpus, out=tmp_path / out, progress=False, **more)
        tune = FinetuneConfig(mode="head", epochs=1)
        return finetune_encoder(
            encoder, CARD, corpus, out=tmp_path / out, config=tune, controls=False, save=False, on_leak=on_leak,
            device="cpu", progress=False,
        )  # fmt: skip

    with pytest.raises(CorpusError, match=r"2 of 6 test clips are copies .* --on-leak drop to evaluate without them"):
        run("refuse", leaky, "out")
    assert not (tmp_path / "out" / "results.jsonl").exists()
    dropped, warned = run("drop", leaky, "out")[0], run("warn", leaky, "out")[0]
    clean = run("refuse", leaky.select(range(20)), "clean")[0]
    assert (dropped.clips, warned.clips, clean.clips) == (4, 6, 4)
    assert dropped.details["copies"]["dropped"] == 2
    assert any("2 skipped: 2 copy" in note for note in dropped.notes), dropped.notes
    assert set(dropped.missing) >= {"20.flac", "21.wav"}
    assert dropped.value == clean.value
    assert dropped.key != warned.key


def test_in_folds_one_clip_of_each_group_stays(tmp_path: Path, encoder: FrozenEncoder) -> None:
    waves = {f"{i}.wav": (sound(i % 13), RATE) for i in range(16)}
    corpus = corpus_of(tmp_path / "clips", waves, label=[*"ab" * 8], fold=[i % 4 + 1 for i in range(16)])
    # 13, 14 and 15 hold what 0, 1 and 2 hold, each in another fold.
    folds = corpus.column("fold")
    leaking = sum(folds[i] != folds[i + 13] for i in range(3))
    assert leaking == 3
    config = EvaluationConfig(**{**QUICK, "on_leak": "drop"})
    (result,) = evaluate(
        [encoder], get_task("folder"), corpus, out=tmp_path / "out", probes=["knn"], config=config, progress=False
    )
    assert result.details["copies"]["clips"] == {"bytes": 6}
    assert (result.details["copies"]["dropped"], result.clips) == (3, 13)


def test_folds_that_are_made_again_divide_no_copies(tmp_path: Path) -> None:
    """Of 60 clips, 30 hold what the others hold: without some of them the folds are others."""
    waves = {f"{i:02}.wav": (sound(i % 30, 0.2), RATE) for i in range(60)}
    corpus = corpus_of(tmp_path / "clips", waves, label=["ab"[i % 30 % 2] for i in range(60)])
    kind, card = task_type(get_task("folder")), get_task("folder")
    for seed in range(3):
        plan = kind.plan(card, corpus, seed)
        assert leaking_pairs(plan, find_copies(corpus, plan.rows))
        kept, new, facts = check_leaks(kind, card, corpus, plan, "drop", seed=seed)
        assert leaking_pairs(new, find_copies(kept, range(len(kept)))) == []
        assert len(kept) == 60 - facts["dropped"] >= 30


@pytest.mark.real
@pytest.mark.parametrize(("name", "clips"), [("fsdd", 120), ("piano_notes", 120), ("esc10", 60)])
def test_real_recordings_of_one_kind_are_no_copies(shared_audio: Path, name: str, clips: int) -> None:
    """The same digit by the same speaker, the same note at other loudness, the same class."""
    corpus = open_corpus(shared_audio / name)
    assert find_copies(corpus, range(clips)) == []


@pytest.mark.real
def test_real_clips_are_found_after_encoding_them_again(shared_audio: Path, tmp_path: Path) -> None:
    corpus = open_corpus(shared_audio / "esc10").select(range(0, 60, 5))
    waves: dict[str, tuple[np.ndarray, int]] = {}
    for row in range(len(corpus)):
        wave, rate = soundfile.read(str(corpus[row].path), dtype="float32")
        waves[f"{row}.wav"] = (wave, rate)
        waves[f"{row}.{['mp3', 'ogg', 'flac'][row % 3]}"] = (wave, rate)
    made = corpus_of(tmp_path / "clips", waves)
    pairs = {(copy.first, copy.second) for copy in find_copies(made, range(len(made)))}
    assert pairs == {(2 * row, 2 * row + 1) for row in range(len(corpus))}
