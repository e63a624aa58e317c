"""A head that an evaluation keeps reproduces the test predictions that were scored, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.corpus.table import Corpus, Event
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.token_store import TokenStore
from auricle.models import Model, load, load_head
from auricle.models.clip_heads import ProbedHead
from auricle.models.folder import save_model
from auricle.models.frame_heads import EventsHead, SequenceHead
from auricle.models.vector_heads import AnomalyHead, VerificationHead
from auricle.probes import SearchConfig
from auricle.probes.frames.search import frame_scores
from auricle.results.predictions import load_predictions
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.events.decoding import Decoding, decode
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.regression.rule import RegressionRule
from auricle.tasks.sequence.rule import SequenceRule
from auricle.tasks.verification.rule import VerificationRule

SEARCH = SearchConfig(epochs=3, lr=(0.003, 0.01), weight_decay=(0.0,), halving=(), min_batches=2)
CONFIG = EvaluationConfig(seeds=2, controls=False, search=SEARCH, device="cpu", keep_heads=True)
Kept = tuple[Any, dict[tuple[str, int], Any], Callable[[np.ndarray], Any], list[str]]


def kept(encoder: FrozenEncoder, card: TaskCard, corpus: Corpus, probe: str, out: Path) -> Kept:
    """Evaluate; return predictions, heads by fold and seed, a function from rows to tokens, and the names of clips."""
    (result,) = evaluate([encoder], card, corpus, out=out, probes=[probe], config=CONFIG, progress=False)
    predictions = load_predictions(out / str(result.predictions))
    (folder,) = (out / "heads").iterdir()
    heads = {}
    for place in sorted(folder.iterdir()):
        fold, _, seed = place.name.removeprefix("fold-").rpartition("-seed-")
        heads[fold, int(seed)] = load_head(place)
    layers = "blocks" if probe == "cgp" else None
    cache = TokenStore(corpus, out / "tokens", progress=False).open(encoder, layers)  # type: ignore[arg-type]
    names = [f"{clip.file}@{clip.start:.6f}" for clip in corpus]

    def tokens(units: np.ndarray) -> Any:
        rows = [names.index(str(unit)) for unit in units]
        return cache.select(rows, layers="all") if layers else cache.select(rows)

    heads["names"] = result.fold_names  # type: ignore[index]
    return predictions, heads, tokens, names


@pytest.mark.parametrize("probe", ["linear", "protobin", "cgp"])
def test_clips(probe: str, encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(24, several=True)
    card = TaskCard(name="toys", folds=3, labels="multi")
    predictions, heads, tokens, _ = kept(encoder, card, corpus, probe, tmp_path)
    for number, fold in enumerate(heads.pop("names")):
        mine = predictions.fold == number
        for seed in (0, 1):
            head = heads[fold, seed]
            assert isinstance(head, ProbedHead)
            said = head.finished(head.of_tokens(tokens(predictions.names[mine]))).numpy()
            assert np.array_equal(said, predictions.scores[seed][mine])


def test_numbers(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(24, pitch=[250.0, 1000.0, 3500.0] * 8)
    card = TaskCard(name="pitch", folds=3, label="pitch", rule=RegressionRule())
    predictions, heads, tokens, _ = kept(encoder, card, corpus, "linear", tmp_path / "linear")
    for number, fold in enumerate(heads.pop("names")):
        mine = predictions.fold == number
        said = heads[fold, 1].of_tokens(tokens(predictions.names[mine])).numpy()[:, 0]
        assert np.array_equal(said.astype(np.float64), predictions.predicted[1][mine])
    predictions, heads, tokens, _ = kept(encoder, card, corpus, "ridge", tmp_path / "ridge")
    for number, fold in enumerate(heads.pop("names")):
        mine = predictions.fold == number
        said = heads[fold, 0].of_tokens(tokens(predictions.names[mine])).numpy()[:, 0]
        np.testing.assert_allclose(said, predictions.predicted[0][mine], rtol=1e-3, atol=1)


def test_events(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    plain = tones(18)
    events = [Event(clip.file, 0.1, 0.3, str(clip.labels[0])) for clip in plain]
    columns = {"file": plain.column("file"), "seconds": plain.column("seconds")}
    corpus = Corpus.from_columns(columns, root=plain.root, name="events", events=events)
    card = TaskCard(name="calls", folds=3, rule=EventsRule(psds=False))
    predictions, heads, tokens, _ = kept(encoder, card, corpus, "linear", tmp_path)
    seconds = dict(zip((f"{clip.file}@0.000000" for clip in corpus), corpus.column("seconds"), strict=True))
    said = predictions.found(0)
    for number, fold in enumerate(heads.pop("names")):
        head = heads[fold, 0]
        assert isinstance(head, EventsHead)
        how = Decoding(head.thresholds, head.details["decoding"]["smooth"], head.details["decoding"]["shortest"])
        for place in np.flatnonzero(predictions.fold == number):
            clip = tokens(predictions.names[[place]])
            (table,) = frame_scores(head.probe, clip)
            found = decode(table, clip.rate, seconds[str(predictions.names[place])], head.classes, how)
            assert found == said[place]


def test_texts(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(18, transcript=["ab", "ba", "aab"] * 6)
    card = TaskCard(name="texts", folds=3, label="transcript", rule=SequenceRule())
    predictions, heads, tokens, _ = kept(encoder, card, corpus, "ctc", tmp_path)
    for number, fold in enumerate(heads.pop("names")):
        mine = predictions.fold == number
        for seed in (0, 1):
            head = heads[fold, seed]
            assert isinstance(head, SequenceHead)
            assert head.texts_of(tokens(predictions.names[mine])) == predictions.said[seed][mine].tolist()


@pytest.mark.parametrize("probe", ["nearest", "gaussian"])
def test_anomalies(probe: str, encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    card = TaskCard(name="machines", folds=3, rule=AnomalyRule(normal=("low",)))
    predictions, heads, tokens, _ = kept(encoder, card, tones(24), probe, tmp_path)
    folds = heads.pop("names")
    for number, fold in enumerate(folds):
        mine = predictions.fold == number
        head = heads[f"{fold}-low", 0]
        assert isinstance(head, AnomalyHead)
        units = np.array([name.removeprefix("low: ") for name in predictions.names[mine]])
        x = tokens(units).pooled.astype(np.float32)
        (model,) = head._models
        assert np.array_equal(model(x), predictions.scores[0][mine])


def test_trials(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(24, source=[f"bird {i % 4}" for i in range(24)])
    card = TaskCard(name="birds", rule=VerificationRule(trials="", made=40, made_of=2))
    predictions, heads, tokens, _ = kept(encoder, card, corpus, "cosine_centred", tmp_path)
    heads.pop("names")
    (head,) = heads.values()
    assert isinstance(head, VerificationHead)
    sides = [np.array([name.split(" | ")[i] for name in predictions.names]) for i in (0, 1)]
    found = head.similarity(*(tokens(side).pooled.astype(np.float32) for side in sides))
    assert np.array_equal(found, predictions.scores[0])


def test_heads_on_their_encoder(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus, card = tones(24), TaskCard(name="toys", folds=3)
    how: dict[str, Any] = {"out": tmp_path, "progress": False}
    (plain,) = evaluate([encoder], card, corpus, probes=["linear"], config=CONFIG.replace(keep_heads=False), **how)
    assert not (tmp_path / "heads").exists()
    # Known results are made again where heads are asked for, with the same numbers; then they are known.
    (again,) = evaluate([encoder], card, corpus, probes=["linear"], config=CONFIG, **how)
    assert (again.key, again.value, again.per_fold) == (plain.key, plain.value, plain.per_fold)
    (place,) = (tmp_path / "heads").iterdir()
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")}
    assert len(before) == 6
    evaluate([encoder], card, corpus, probes=["linear", "knn"], config=CONFIG, **how)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")} == before
    model = Model(encoder, None, tmp_path).with_head(load_head(place / "fold-1-seed-0"))
    wave = corpus.audio(0, 16000)
    assert model.predict(wave, 16000).shape == (3,)
    folder = save_model(tmp_path / "whole", encoder, model.fitted, card={})
    assert np.array_equal(load(folder, device="cpu").predict(wave, 16000), model.predict(wave, 16000))
    with pytest.raises(ConfigError, match="open the model that was probed"):
        Model(encoder.randomised(2), None, tmp_path).with_head(model.fitted)
    with pytest.raises(CheckpointError, match="no head at"):
        load_head(tmp_path)
