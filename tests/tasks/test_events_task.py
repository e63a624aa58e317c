"""Sound events the whole way: from clips to results, on a toy corpus and on real ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus, Event
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.probes import SearchConfig
from auricle.probes.frames.stack import FrameConvConfig
from auricle.results.predictions import load_predictions
from auricle.results.record import read_results
from auricle.results.scoring import compare
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.events import CARDS_EVENTS
from auricle.tasks.events import run as events_task
from auricle.tasks.events.answers import EventPredictions
from auricle.tasks.events.rule import EventsRule

pytest.importorskip("sed_eval")
pytest.importorskip("sed_scores_eval")

TONES = {"low": 300.0, "mid": 1000.0, "high": 3500.0}
CARD = TaskCard(name="toys", folds=3, rule=EventsRule(resolution=0.5))
SEARCH = SearchConfig(epochs=15, lr=(3e-3, 3e-2), weight_decay=(1e-4,), halving=())
QUICK = EvaluationConfig(seeds=1, search=SEARCH, controls=False)


@pytest.fixture
def columns() -> FrozenEncoder:
    """Log-mel columns of 50 ms: an encoder whose tokens are plain to see."""
    plain = LogMelStatisticsConfig(mels=32, frames_per_token=5).build()
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), plain, name="columns")


@pytest.fixture
def scenes(tmp_path: Path) -> Callable[..., Corpus]:
    """Makes a corpus of 3 s clips in which tones sound for a while."""

    def make(clips: int = 18, name: str = "scenes", **more: list) -> Corpus:
        generator = np.random.default_rng(0)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        files, events = [], []
        t = np.arange(3 * 16000) / 16000
        for i in range(clips):
            wave = generator.normal(size=t.size) * 0.01
            files.append(f"{i:02d}.wav")
            for label, hertz in TONES.items():
                if generator.random() < 0.7:
                    onset = float(generator.uniform(0, 2))
                    offset = onset + float(generator.uniform(0.3, 1.0))
                    wave += 0.1 * np.sin(2 * np.pi * hertz * t) * ((t >= onset) & (t < offset))
                    events.append(Event(files[-1], onset, offset, label))
            soundfile.write(folder / files[-1], wave, 16000)
        table = {"file": files, "seconds": [3.0] * clips, **more}
        return Corpus.from_columns(table, root=folder, name=name, events=events)

    return make


def test_results_of_a_labelled_folder(columns: FrozenEncoder, scenes: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = scenes()
    results = evaluate(
        [columns],
        CARD,
        corpus,
        out=tmp_path / "out",
        probes=("linear", "conv"),
        config=QUICK.replace(seeds=2),
        progress=False,
    )
    assert [r.probe for r in results] == ["linear", "conv"]
    assert results == read_results(tmp_path / "out")
    first = results[0]
    assert (first.type_name, first.metric, first.protocol, first.unit) == ("events", "segment_f1", "folds", "%")
    assert (first.clips, first.clips_total, first.tried, len(first.values)) == (18, 18, 2, 2)
    assert first.classes == ["high", "low", "mid"]
    assert first.params == 3 * 33
    # 60 columns of 50 ms: a product of 32 x 3 each.
    assert first.macs == 59 * 32 * 3 or first.macs == 60 * 32 * 3
    baseline = first.details["baselines"]["segment_f1_always_everything"]
    for result in results:
        assert result.value > baseline + 0.2
        assert result.metrics["event_f1"] > 0.75
        assert result.metrics["psds1"] > 0.4
        assert result.low <= result.value <= result.high
    assert set(first.metrics) == set(EventsRule().metrics())
    chosen = first.chosen[0]
    assert chosen["lr"] in SEARCH.lr
    assert len(chosen["decoding"]["threshold"]) == 3
    saved = load_predictions(tmp_path / "out" / first.predictions)
    assert isinstance(saved, EventPredictions)
    assert saved.measure("segment_f1", np.ones((1, 18))).mean() == pytest.approx(first.value)
    difference = compare(results[1], results[0], tmp_path / "out")
    assert difference.value == pytest.approx(results[1].value - results[0].value)

    shown = first.details["timelines"]
    examples = json.loads((tmp_path / "out" / "events.json").read_text())
    assert [c["name"] for c in examples["clips"]] == [line["name"] for line in shown]
    assert len(shown) == 6
    line = shown[0]
    row = saved.names.tolist().index(line["name"])
    assert len(line["truth"]) == len(saved.true()[row])
    assert [e[2] for e in line["said"]] == [e[2] for e in saved.found(0)[row]]
    assert set(line["scores"]) == set(line["classes"])
    assert all(abs(len(curve) * line["step"] - 3.0) < 0.1 for curve in line["scores"].values())
    audio = tmp_path / "sound.mp3"
    audio.write_bytes(base64.b64decode(examples["clips"][0]["audio"]))
    assert soundfile.info(audio).duration == pytest.approx(3.0, abs=0.2)
    assert base64.b64decode(examples["clips"][0]["spectrogram"]).startswith(b"\x89PNG")


def test_columns_are_split_where_the_rule_wants_finer_frames(
    columns: FrozenEncoder, scenes: Callable[..., Corpus], tmp_path: Path
) -> None:
    coarse = FrozenEncoder(
        columns.frontend, LogMelStatisticsConfig(mels=32, frames_per_token=20).build(), name="coarse columns"
    )
    found = {}
    for frame in (0.0, 0.06):
        found[frame] = evaluate(
            [coarse],
            CARD.replace(rule=EventsRule(frame=frame, collar=0.1), protocol="folds", folds=2),
            scenes(clips=12),
            out=tmp_path / f"out{frame}",
            tokens=tmp_path / "tokens",
            probes=("linear", "protobin"),
            config=QUICK,
            progress=False,
        )
    assert [r.details["frame_seconds"] for r in found[0.0]] == [0.2, 0.2]
    assert [r.details["frame_seconds"] for r in found[0.06]] == [0.05, 0.05]
    assert [r.params for r in found[0.0]] == [3 * 33, 60 * 32 + 3 * 61]
    assert [r.params for r in found[0.06]] == [4 * 3 * 33, 60 * 32 + 4 * 3 * 61]
    assert found[0.06][0].value > found[0.06][0].details["baselines"]["segment_f1_always_everything"] + 0.1


def test_finished_folds_are_not_fitted_again(
    columns: FrozenEncoder, scenes: Callable[..., Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, calls, fit = scenes(), [], events_task.fit_frames
    config = QUICK.replace(search=SEARCH.replace(epochs=2))
    settings = {
        "out": tmp_path / "out",
        "probes": ("linear",),
        "config": config,
        "progress": False,
    }

    def counted(*args, **kwargs):
        calls.append(kwargs["seed"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(events_task, "fit_frames", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate([columns], CARD, corpus, **settings)
    result = evaluate([columns], CARD, corpus, **settings)[0]
    assert len(calls) == 4 + 4  # two a fold; the first fold was kept
    fresh = evaluate([columns], CARD, corpus, **{**settings, "out": tmp_path / "fresh"})[0]
    assert (fresh.value, fresh.low, fresh.chosen, fresh.key) == (result.value, result.low, result.chosen, result.key)
    settings = {**settings, "out": tmp_path / "s", "config": config.replace(refit=False, seeds=2)}
    straight = evaluate([columns], CARD, corpus, **settings)
    assert len(calls) == 8 + 6 + 6
    assert straight[0].refit is False


def test_broken_clips_and_bad_events_are_counted(
    columns: FrozenEncoder, scenes: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = scenes()
    (corpus.root / "03.wav").write_bytes(b"no audio")
    bad = [Event("05.wav", -1.0, 1.0, "low"), Event("05.wav", 2.0, 1.0, "low"), Event("06.wav", 2.9, 9.0, "rare")]
    corpus = Corpus.from_columns(
        {"file": corpus.column("file"), "seconds": corpus.column("seconds")},
        root=corpus.root,
        events=[*corpus.events, *bad],
    )
    card = CARD.replace(rule=CARD.rule.replace(least=3))
    result = evaluate(
        [columns],
        card,
        corpus,
        out=tmp_path / "out",
        probes=("linear",),
        config=QUICK.replace(search=SEARCH.replace(epochs=2)),
        progress=False,
    )[0]
    assert (result.clips, result.clips_total, set(result.missing)) == (17, 18, {"03.wav"})
    notes = "\n".join(result.notes)
    assert "a negative onset" in notes
    assert "an offset that is not after the onset" in notes
    assert "cut at the end of the recording" in notes
    assert "rare (1)" in notes


def test_what_can_not_serve_is_refused_before_any_work(
    columns: FrozenEncoder, scenes: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = scenes(clips=6)
    bare = Corpus.from_columns({"file": ["00.wav"], "seconds": [3.0]}, root=corpus.root)
    settings = {"out": tmp_path / "out", "progress": False, "config": EvaluationConfig(search=SEARCH)}
    with pytest.raises(CorpusError, match=r"put an events\.csv"):
        evaluate([columns], CARD, bare, **settings)
    with pytest.raises(ConfigError, match="did you mean 'segment_f1'"):
        evaluate([columns], CARD.replace(metric="segment_f2"), corpus, **settings)
    with pytest.raises(ConfigError, match="'psds1', which events of onsets"):
        evaluate([columns], CARD.replace(metric="psds1", rule=EventsRule(sounds="onsets")), corpus, **settings)
    with pytest.raises(ConfigError, match="expected 'bce' or 'asl' for frames"):
        evaluate([columns], CARD.replace(loss="ce"), corpus, **settings)
    with pytest.raises(ConfigError, match="did you mean 'linear'"):
        evaluate([columns], CARD, corpus, probes=("linaer",), **settings)
    with pytest.raises(CorpusError, match="6 labelled clips for 20 folds"):
        evaluate([columns], CARD.replace(folds=20), corpus, **settings)
    assert not (tmp_path / "out").exists()


# Frames averaged to a column, reader, learning rate; least headline, least segment F1 above saying everything.
REAL = {
    "sed_synth_events": (4, FrameConvConfig(hidden=64), 5e-3, 0.42, 0.15),
    "bengalese_finch_events": (2, FrameConvConfig(hidden=64, layers=1), 2e-2, 0.7, 0.3),
    "mdb_drums_onsets": (2, FrameConvConfig(hidden=64), 5e-3, 0.5, 0.02),
}


@pytest.mark.real
@pytest.mark.parametrize("card", CARDS_EVENTS, ids=lambda card: card.name)
def test_real_events_are_found(card: TaskCard, shared_audio: Path, tmp_path: Path) -> None:
    corpus = open_corpus(shared_audio / card.corpus)
    if card.name == "sed_synth_events":
        corpus = corpus.select(np.arange(len(corpus)) % 2 == 0)
    step, probe, lr, value, above = REAL[card.name]
    plain = LogMelStatisticsConfig(mels=64, frames_per_token=step).build()
    encoder = FrozenEncoder(KaldiFbankConfig(mels=64).build(), plain, name="columns")
    result = evaluate(
        [encoder],
        card,
        corpus,
        out=tmp_path / "out",
        probes=(probe,),
        config=QUICK.replace(search=SearchConfig(epochs=10, lr=(lr,), weight_decay=(1e-5,), halving=())),
        progress=False,
    )[0]
    print(card.name, result.metric, result.value, result.metrics, result.details["baselines"])
    assert result.value > value
    assert result.metrics["segment_f1"] > result.details["baselines"]["segment_f1_always_everything"] + above
    assert len(result.details["timelines"]) >= 5
