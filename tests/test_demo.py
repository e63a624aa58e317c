"""The demonstration at a size of seconds."""

from __future__ import annotations

import inspect
import json
import math
from functools import partial
from pathlib import Path

import pytest
from metrics_lines import read_metrics

from auricle import demo as module
from auricle.answers.calls_demo import SHOWN
from auricle.answers.prediction_table import read_predictions
from auricle.cli.training import DemoArguments
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.probes import SearchConfig
from auricle.recipes.recipe import Recipe
from auricle.results.book import ResultBook
from auricle.results.comparison import Pair, compare_results
from auricle.results.record import CONTROLS, ROLES


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Few clips, few steps, a small encoder, two epochs of one probe; nothing else of the demonstration changes."""
    whole = module.demo_recipe

    def recipe(seed: int) -> Recipe:
        full = whole(seed)
        return full.replace(
            encoder=AudioNTTConfig(width=24, channels=4),
            objective=full.objective.replace(projector=ProjectorConfig(hidden=(16,), out=8)),
            loader=full.loader.replace(workers=0, batch=8),
            train=full.train.replace(threads=1, precision="fp32"),
        )

    search = SearchConfig(epochs=2, lr_count=1, weight_decay=(1e-5,), min_batches=1, halving=())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "STEPS", 4)
    monkeypatch.setattr(module, "demo_recipe", recipe)
    monkeypatch.setattr(module, "probe", partial(module.probe, probes=("linear",)))
    monkeypatch.setattr(module, "ONE_SEED", module.ONE_SEED.replace(search=search))
    monkeypatch.setattr(module, "TRAINING", "builtin:single?clips=24&seconds=2&seed={}")
    monkeypatch.setattr(module, "LABELLED", "builtin:single?clips=80&seconds=1&train_folds=1&seed={}")
    return tmp_path / "demo"


def test_the_demonstration_ends_in_results_and_a_report_and_goes_on_when_called_again(tiny: Path) -> None:
    results, page = module.demo(tiny)
    assert {result.role for result in results} == set(ROLES)
    assert all(result.low <= result.value <= result.high for result in results)
    assert not any(result.seen for result in results)
    # One fold of five trains, one validates, three test: one clip a class and fold.
    assert all(result.sizes == [[16, 16, 48]] for result in results)
    assert page == tiny / "report.html"
    text = page.read_text()
    assert "scenes_single" in text
    assert all(name in text for name in CONTROLS.values())
    # It opens with what a detector of twenty labels found in a minute of sound.
    shown = json.loads((tiny / SHOWN).read_text())
    assert text.index("A detector of 20 labelled calls") < text.index('id="results"')
    assert shown["text"] in text
    assert shown["clip"]["seconds"] == 60
    assert len(shown["truth"]) == 15
    assert read_predictions(tiny / "detection" / "hits.csv").num_rows == len(shown["said"])
    lines = read_metrics(tiny)
    weights = sorted((tiny / "checkpoints").rglob("encoder.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    assert weights

    sheet, _ = module.gains(results, tiny)
    values = {result.role: result.value for result in results}
    shown = {row[0]: float(row[1].split()[0]) for row in sheet.rows}
    expected = {CONTROLS[role]: 100 * (values["pretrained"] - values[role]) for role in CONTROLS}
    assert shown == pytest.approx(expected, abs=0.051)

    again, page = module.demo(tiny)
    assert [result.to_json() for result in again] == [result.to_json() for result in results]
    assert read_metrics(tiny) == lines
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert page.is_file()


def test_the_verdict_follows_the_intervals(tiny: Path) -> None:
    results, _ = module.demo(tiny)
    encoders = {result.role: result.encoder_fingerprint for result in results}
    found = compare_results(ResultBook.collect([tiny]), encoders["pretrained"], encoders["random"])
    condition = found.pairs[0].condition

    def pair(probe: str, gain: float, low: float = math.nan, high: float = math.nan) -> Pair:
        return Pair(condition, probe, 0.5 + gain, 0.5, gain, low, high)

    better, equal, worse = (
        pair("linear", 0.1, 0.05, 0.15),
        pair("mhca", 0.01, -0.02, 0.04),
        pair("mhca", -0.1, -0.2, -0.01),
    )
    said = module.verdict({"random": (better,), "mfcc": (pair("linear", 0.07, 0.01, 0.12),)})
    assert said == "Pre-training pays here: all 2 intervals exclude zero; the smallest gain is 7.0 points."
    said = module.verdict({"random": (better, equal), "mfcc": (worse,)})
    assert said == (
        "1 of 3 intervals exclude zero in favour of pre-training; no difference is shown from random weights (mhca); "
        "pre-training is worse than MFCC statistics (mhca)."
    )
    # Without an interval nothing is shown.
    assert module.verdict({"random": (pair("linear", 0.1),)}).startswith("0 of 1 intervals exclude zero")


def test_the_command_has_the_defaults_of_the_function() -> None:
    defaults = {name: p.default for name, p in inspect.signature(module.demo).parameters.items() if name != "out"}
    assert {name: getattr(DemoArguments(), name) for name in defaults} == defaults
