"""Sequence recognition from clips to error rates: spelt tones, real words, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError, CorpusError, MissingExtraError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.metrics.transcription import character_errors
from auricle.probes import SearchConfig
from auricle.probes.ctc.heads import CTC
from auricle.results.predictions import load_predictions
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.few import CARDS_FEW
from auricle.tasks.sequence import run as sequence_task
from auricle.tasks.sequence.answers import Transcripts
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.sequence.run import SequenceTask

TONES = {"a": 300.0, "b": 1000.0, "c": 3300.0}
SEARCH = SearchConfig(epochs=12, lr=(1e-2, 1e-1), weight_decay=(1e-4,), halving=((0.5, 0.5),), min_batches=10)
QUICK = EvaluationConfig(seeds=1, search=SEARCH, controls=False)
CARD = TaskCard(name="spelling", label="transcript", protocol="split", rule=SequenceRule())


@pytest.fixture
def spelling(tmp_path: Path) -> Callable[..., Corpus]:
    """Makes a corpus whose letters are tones of 0.16 s, with a pause for a space."""

    def make(clips: int = 100, *, name: str = "spelling", **columns: list) -> Corpus:
        generator = np.random.default_rng(0)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        t = np.arange(2560) / 16000
        files, texts, seconds = [], [], []
        for i in range(clips):
            # No letter twice in a row: one long tone does not tell how many it is.
            letters = generator.permutation(list("abc")).tolist()[: generator.integers(2, 4)]
            letters.insert(1, " ")
            wave = np.concatenate([np.sin(2 * np.pi * TONES[x] * t) if x in TONES else 0 * t for x in letters]) * 0.2
            files.append(f"{i:03d}.wav")
            texts.append("".join(letters).upper() + ".")
            seconds.append(len(wave) / 16000)
            soundfile.write(folder / files[-1], wave + generator.normal(size=wave.size) * 0.01, 16000)
        split = ["train"] * (clips - 20) + ["valid"] * 10 + ["test"] * 10
        columns = {"split": split, "source": [f"s{i % 10}" for i in range(clips)], **columns}
        table = {"file": files, "seconds": seconds, "transcript": texts, **columns}
        return Corpus.from_columns(table, root=folder, name=name)

    return make


@pytest.fixture
def plain() -> FrozenEncoder:
    """Log-mel frames at 25 Hz."""
    config = LogMelStatisticsConfig(mels=32, frames_per_token=4)
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), config.build(), name="log-mel")


@pytest.fixture
def quick(tmp_path: Path) -> dict:
    return {"out": tmp_path / "out", "config": QUICK, "progress": False}


def test_spelt_tones_are_read(
    encoder: FrozenEncoder, plain: FrozenEncoder, spelling: Callable[..., Corpus], quick: dict
) -> None:
    corpus = spelling()
    search = SEARCH.replace(epochs=20)
    options = {**quick, "config": QUICK.replace(search=search, seeds=2)}
    (read,) = evaluate([plain], CARD, corpus, probes=["ctc"], **options)
    few = {**options, "config": QUICK.replace(search=SEARCH.replace(epochs=2))}
    (blind,) = evaluate([encoder], CARD, spelling(40, name="few"), probes=["ctc"], **few)
    assert (read.type_name, read.metric, read.better, read.unit) == ("sequence", "wer", "lower", "%")
    # A constant answer scores 0.7 or worse.
    assert read.metrics["cer"] < 0.35
    assert read.low <= read.value <= read.high
    assert read.sizes == [[80, 10, 10]]
    assert (read.clips, read.tried, read.seeds, read.refit) == (10, 2, [0, 1], True)
    assert read.settings["frames_per_second"] == 50
    assert any("into 2 frames: " in note for note in read.notes)
    assert read.details["symbols"] == [" ", "a", "b", "c"]
    assert read.params == 2 * 5 * 33
    assert read.macs is not None
    assert read.macs > 0
    saved = load_predictions(quick["out"] / read.predictions)
    assert isinstance(saved, Transcripts)
    rates = [character_errors(saved.truth.tolist(), said.tolist()).rate()[0] for said in saved.said]
    assert np.mean(rates) == pytest.approx(read.metrics["cer"])
    # Columns of 160 ms are split into eight.
    assert blind.settings["probe"]["upsample"] == 8
    assert any("6.25 a second" in note for note in blind.notes)


def test_greedy_and_beam_read_the_same_model(
    plain: FrozenEncoder, spelling: Callable[..., Corpus], quick: dict
) -> None:
    options = {**quick, "config": QUICK.replace(search=SEARCH.replace(epochs=6), refit=False)}
    greedy, beam = evaluate([plain], CARD, spelling(60), probes=["ctc", "ctc_beam"], **options)
    assert greedy.chosen[0]["validation"] == beam.chosen[0]["validation"]
    assert max(greedy.metrics["cer"], beam.metrics["cer"]) < 0.4
    assert greedy.refit is False
    assert len(greedy.chosen[0]["epoch"]) == 1
    assert (greedy.settings["probe"]["decode"], beam.settings["probe"]["decode"]) == ("greedy", "beam")


def test_utterances_without_frames_enough_are_counted_and_named(
    plain: FrozenEncoder, spelling: Callable[..., Corpus], quick: dict
) -> None:
    corpus = spelling(60)
    texts = list(corpus.column("transcript"))
    texts[3] = "abc" * 40
    texts[55] = "cab" * 40
    texts[5] = " .. "
    corpus = spelling(60, transcript=texts)
    options = {**quick, "config": QUICK.replace(search=SEARCH.replace(epochs=2))}
    (result,) = evaluate([plain], CARD, corpus, probes=["ctc"], **options)
    assert [name.split("@")[0] for name in result.details["infeasible"]] == ["003.wav", "055.wav"]
    assert any("2 utterances have more symbols than frames" in note for note in result.notes)
    assert any("1 clip without a transcript was excluded" in note for note in result.notes)
    # One of them is a test clip: it is judged all the same.
    assert result.clips == 10
    short = CTC["ctc"].replace(upsample=1)
    hopeless = spelling(60, name="long", transcript=["abc" * 30] * 60)
    with pytest.raises(CorpusError, match="set a larger `upsample` of the probe"):
        evaluate([plain], CARD, hopeless, probes=[short], **{**options, "out": quick["out"] / "b"})


def test_a_stopped_evaluation_goes_on(
    plain: FrozenEncoder, spelling: Callable[..., Corpus], quick: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = spelling(40, fold=[i % 3 for i in range(40)], split=[""] * 40)
    card = replace(CARD, protocol="folds", source="file")
    options = {**quick, "config": QUICK.replace(search=SEARCH.replace(epochs=2)), "probes": ["ctc"]}
    real, calls = sequence_task.fit_sequence_fold, []

    def die(*args, **kwargs):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(sequence_task, "fit_sequence_fold", die)
    with pytest.raises(KeyboardInterrupt):
        evaluate([plain], card, corpus, **options)
    (result,) = evaluate([plain], card, corpus, **options)
    assert len(calls) == 4
    (whole,) = evaluate([plain], card, corpus, **{**options, "out": quick["out"] / "whole"})
    assert whole.values == result.values


def test_what_is_refused_and_what_is_noted(
    plain: FrozenEncoder, spelling: Callable[..., Corpus], quick: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = spelling(40)
    task = SequenceTask()
    with pytest.raises(CorpusError, match="needs transcripts in column 'words'"):
        task.plan(replace(CARD, label="words"), corpus, 0)
    with pytest.raises(CorpusError, match="no clip has a transcript"):
        task.plan(CARD, spelling(40, transcript=["."] * 40), 0)
    with pytest.raises(ConfigError, match="did you mean 'ctc_conv'"):
        task.probe("ctc_conf")
    texts = ["abc"] * 20 + ["cab"] * 10 + ["bż"] * 5 + ["abc"] * 5
    notes = task.plan(CARD, spelling(40, transcript=texts), 0).notes
    assert "in test but never in training (counted as errors): 'ż'" in notes
    assert any("the texts of 5 of 10 test utterances also occur in training" in note for note in notes)
    phones = replace(CARD, rule=SequenceRule(unit="phones"))
    script = task.plan(phones, spelling(40, transcript=["sh IY1"] * 40), 0).payload
    assert script.symbols == ("IY1", "sh")
    assert script.labels[0].tolist() == [2, 1]
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MissingExtraError, match=r"auricle\[speech\]"):
        task.probe("ctc_beam")
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MissingExtraError, match=r"auricle\[speech\]"):
        task.plan(CARD, corpus, 0)


@pytest.mark.real
def test_real_words_are_spelt(shared_audio: Path, plain: FrozenEncoder, tmp_path: Path) -> None:
    card = next(card for card in CARDS_FEW if card.name == "fsdd_asr")
    whole = open_corpus(str(shared_audio / "fsdd"))
    # A fifth of the corpus still beats silence (an error rate of 1) by far.
    folds, takes = np.array(whole.column("fold")), np.array(whole.column("take")).astype(int)
    corpus = whole.select((folds <= 3) & (takes < 20))
    search = SearchConfig(epochs=15, lr=(3e-3,), weight_decay=(1e-4,), halving=(), min_batches=10)
    (result,) = evaluate(
        [plain],
        replace(card, protocol="split"),
        corpus,
        out=tmp_path,
        probes=[CTC["ctc_conv"].replace(hidden=64)],
        config=QUICK.replace(search=search),
        progress=False,
    )
    assert result.metrics["cer"] < 0.6
    # Three speakers are in the test folds: too few for an interval.
    assert "too few sources" in result.interval
    assert any("also occur in training" in note for note in result.notes)


@pytest.mark.real
def test_every_transcript_of_the_cards_can_be_read(shared_audio: Path) -> None:
    for card in CARDS_FEW:
        if isinstance(card.rule, SequenceRule):
            plan = SequenceTask().plan(card, open_corpus(str(shared_audio / card.corpus)), 0)
            assert len(plan.rows) in (8, 360, 3000)
            assert 15 <= len(plan.payload.symbols) <= 40
            for fold in plan.payload.plan.folds:
                groups = plan.groups
                assert not set(groups[fold.train]) & set(groups[fold.test])
