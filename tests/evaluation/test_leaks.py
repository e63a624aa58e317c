"""Copies of training clips among test clips: found, counted, named, refused and dropped; and what is no copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from leak_sounds import RATE, corpus_of, sound, written

from auricle.corpus.copies import find_copies
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CorpusError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.leaks import check_leaks, leaking_pairs
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.run import finetune_encoder
from auricle.kits.evaluate import evaluate_by_protocol
from auricle.kits.protocols import get_protocol
from auricle.kits.task import KitTask
from auricle.results.export import render_results
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.types import task_type

CARD = TaskCard(name="split", corpus="c")
QUICK: dict[str, Any] = {"seeds": 1, "controls": (), "device": "cpu"}


@pytest.fixture
def leaky(tmp_path: Path) -> Corpus:
    """Twelve training, four validation and six test clips; two test clips are copies, one with another label."""
    waves = {f"{i}.wav": (sound(i), RATE) for i in range(20)}
    waves["20.flac"] = (soundfile.read(written(tmp_path / "x.wav", sound(0)), dtype="float32")[0], RATE)
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
        "2 of 6 test clips are copies of training clips (1 equal samples, 1 near copy; such as 20.flac of 0.wav): "
        "1 of them has another label, and by the others the score is optimistic; --on-leak drop removes them"
    )
    assert said in result.notes
    assert "1 pair of equal clips has different labels, such as 0.wav and 20.flac" in result.notes
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
    facts = check_leaks(kind, CARD, leaky, kind.plan(CARD, leaky, 0), "warn", seed=0)[2]()
    assert facts["clips"] == {"samples": 1}
    assert facts["said"][0].startswith(
        "22 clips are more than 21: copies of equal bytes and samples were searched, not"
    )
    clean = leaky.select([row for row in range(22) if row != 20]).with_column("split", leaky.column("split")[:21])
    monkeypatch.setattr("auricle.evaluation.leaks.MOST_NEAR", 20)
    monkeypatch.setattr("auricle.corpus.copies.MOST_NEAR", 20)
    assert list(check_leaks(kind, CARD, clean, kind.plan(CARD, clean, 0), "warn", seed=0)[2]()) == ["said"]


@pytest.mark.parametrize(
    ("rows", "label", "said"),
    [
        ([*range(20), 21], "b", "1 of 5 test clips is a copy of a training clip (1 near copy; such as 21.wav of "
         "3.wav): the score is optimistic; --on-leak drop removes them"),
        (range(22), "a", "2 of 6 test clips are copies of training clips (1 equal samples, 1 near copy; such as "
         "20.flac of 0.wav): copies with another label make the score pessimistic; --on-leak drop removes them"),
    ],
)  # fmt: skip
def test_what_copies_do_to_a_score_follows_from_their_labels(
    leaky: Corpus, rows: Sequence[int], label: str, said: str
) -> None:
    corpus = leaky.with_column("label", [*leaky.column("label")[:20], "b", label]).select(list(rows))
    kind = task_type(CARD)
    assert check_leaks(kind, CARD, corpus, kind.plan(CARD, corpus, 0), "warn", seed=0)[2]()["said"][0] == said


def test_a_known_result_needs_no_check(
    leaky: Corpus, encoder: FrozenEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluationConfig(**QUICK)
    first = evaluate([encoder], CARD, leaky, out=tmp_path / "out", probes=["knn"], config=config, progress=False)
    searched: list[str] = []
    monkeypatch.setattr("auricle.evaluation.leaks.find_copies", lambda *a, **k: searched.append("all") or [])
    again = evaluate([encoder], CARD, leaky, out=tmp_path / "out", probes=["knn"], config=config, progress=False)
    assert (again, searched) == (first, [])


def test_the_same_clips_are_compared_once(leaky: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, audio = find_copies(leaky, range(22)), Corpus.audio
    decoded: list[Any] = []
    monkeypatch.setattr(Corpus, "audio", lambda self, *a, **k: (decoded.append(a), audio(self, *a, **k))[1])
    again = find_copies(leaky, range(22))
    assert (again, decoded) == (first, [])
    assert len(first) == 2
    half = np.arange(22) >= 12
    assert find_copies(leaky, range(22), sides=half) == first
    assert find_copies(leaky, range(22), sides=np.arange(22) >= 22) == []
    assert decoded


def test_the_folds_of_a_kit_are_checked(tmp_path: Path) -> None:
    """X-ARES selects on the test clips: copies among them are no leak, those of training clips are told."""
    waves = {f"{i}.wav": (sound(i % 14), RATE) for i in range(16)}
    corpus = corpus_of(tmp_path / "kit", waves, label=[*"ab" * 8], fold=[i % 2 + 1 for i in range(16)])
    kind, card = KitTask(get_protocol("xares")[0]), get_task("folder")
    for fold, clips in ((corpus.column("fold"), None), ([1, 1, *corpus.column("fold")[2:]], {"bytes": 2})):
        divided = corpus.with_column("fold", fold)
        plan = kind.plan(card, divided, 0)
        assert all(set(fold.valid) == set(fold.test) for fold in plan.folds)
        facts = check_leaks(kind, card, divided, plan, "warn", seed=0)[2]()
        assert facts.get("clips") == clips


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
    dropped = run("drop", leaky, "out")[0]
    listed = next((tmp_path / "out").glob("*ledger.jsonl"))  # each head of a kit has its list
    head, *skipped = map(json.loads, listed.read_text().splitlines())
    assert head["sentence"] in dropped.notes
    assert (head["came"]["recording"], head["used"]["recording"], len(skipped)) == (22, 20, 2)
    warned = run("warn", leaky, "out")[0]
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
        assert len(kept) == 60 - facts()["dropped"] >= 30
