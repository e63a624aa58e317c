"""Fine-tuning on a number for each clip: results as of the regression probes, and a model that predicts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.evaluation.driver import EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.run import finetune_encoder
from auricle.models import load
from auricle.results.predictions import load_predictions
from auricle.tasks.card import TaskCard
from auricle.tasks.regression.rule import RegressionRule

CARD = TaskCard(name="pitch", folds=3, label="pitch", rule=RegressionRule(unit="semitones"))
CONFIG = FinetuneConfig(epochs=8, batch=8, lr=1e-3, head_lr=1e-2, precision="fp32", warmup=0.0)


def test_pitch_of_tones(encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path) -> None:
    corpus = tones(36, pitch=[59.2, 83.2, 104.9] * 12)
    how: dict[str, Any] = {"controls": False, "device": "cpu", "progress": False}
    (tuned,) = finetune_encoder(encoder, CARD, corpus, out=tmp_path, config=CONFIG, **how)
    (probed,) = evaluate(
        [encoder], CARD, corpus, out=tmp_path / "probes", probes=["ridge"],
        config=EvaluationConfig(controls=False, device="cpu"), progress=False,
    )  # fmt: skip
    assert (tuned.type_name, tuned.metric, tuned.unit) == (probed.type_name, probed.metric, probed.unit)
    assert tuned.metrics.keys() == probed.metrics.keys()
    assert tuned.metrics["r2"] > 0.8
    assert tuned.constant_metrics["r2"] < 0.1
    model = load(tmp_path / "finetuned" / tuned.key, device="cpu")
    assert (model.fitted.kind, model.classes) == ("regression", ("value",))
    assert model.fitted.details == {"unit": "semitones"}
    predictions: Any = load_predictions(tmp_path / str(tuned.predictions))
    fold = [c["fold"] for c in tuned.chosen].index(model.card["fold"])
    names = {f"{clip.file}@{clip.start:.6f}": row for row, clip in enumerate(corpus)}
    rows = [names[unit] for unit in predictions.names[predictions.fold == fold]]
    said = model.predict([corpus.audio(row, 16000) for row in rows], 16000)[:, 0]
    np.testing.assert_allclose(said, predictions.predicted[0][predictions.fold == fold], atol=0.05)


@pytest.mark.parametrize(
    ("change", "match"),
    [({"loss": "ce"}, "use mse, mae or huber"), ({"balanced": True}, "leave --balanced out")],
)
def test_settings_of_labels_are_refused(
    change: dict[str, Any], match: str, encoder: FrozenEncoder, tones: Callable[..., Corpus], tmp_path: Path
) -> None:
    corpus = tones(18, pitch=[1.0, 2.0, 3.0] * 6)
    with pytest.raises(ConfigError, match=match):
        finetune_encoder(
            encoder, CARD, corpus, out=tmp_path, config=CONFIG.replace(**change), controls=False, progress=False
        )
