"""The promise of intervals and paired tests, by simulation: a short form of `benchmarks/reliability/intervals.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scipy.stats import binom

DRAWS = 120
PLACE = Path(__file__).parents[2] / "benchmarks" / "reliability" / "intervals.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reliability_of_intervals", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("population", "metric", "clips", "sources"),
    [
        ("independent clips, accuracy 0.9", "accuracy", 20, 20),
        ("independent clips, accuracy 0.98", "accuracy", 20, 20),
        ("independent clips, accuracy 0.98", "accuracy", 50, 50),
        ("accuracies of sources: beta(4, 1)", "accuracy", 200, 6),
        ("accuracies of sources: beta(9, 1)", "accuracy", 200, 12),
        ("four unequal classes", "balanced_accuracy", 200, 6),
        ("classes tied to sources", "macro_f1", 200, 12),
        ("tags", "mAP", 200, 6),
        ("verification", "eer", 200, 12),
        ("numbers", "r2", 200, 6),
        ("numbers", "mae", 200, 12),
        ("retrieval", "recall_at_1", 200, 6),
        ("clusters", "ari", 200, 12),
        ("events", "event_f1_macro", 200, 6),
    ],
)
def test_intervals_cover_and_equal_systems_are_rarely_called_different(
    benchmark: ModuleType, population: str, metric: str, clips: int, sources: int
) -> None:
    found = benchmark.simulate(benchmark.POPULATIONS[population], metric, clips, sources, DRAWS, seed=1)
    assert found.told == DRAWS
    # So few that a coverage of 92 % (or 6 % of false alarms) would give them once in a thousand tries.
    assert found.covered >= binom.ppf(0.001, DRAWS, 0.92)
    assert found.clear <= binom.ppf(0.999, DRAWS, 0.06)


@pytest.mark.parametrize("sources", [4, 5])
@pytest.mark.parametrize("population", ["four unequal classes", "tags"])
def test_too_few_sources_never_tell(benchmark: ModuleType, population: str, sources: int) -> None:
    kind = benchmark.POPULATIONS[population]
    found = benchmark.simulate(kind, kind.metrics[0], 200, sources, 5)
    assert (found.told, found.clear) == (0, 0)
