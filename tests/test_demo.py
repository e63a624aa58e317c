"""The demonstration at a size of seconds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from metrics_lines import read_metrics

from auricle import demo as module
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.probes import SearchConfig
from auricle.recipes import get_recipe
from auricle.recipes.recipe import Recipe
from auricle.results.record import CONTROLS, ROLES


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Few clips, few steps, a small encoder, two epochs of one probe; nothing else of the demonstration changes."""

    def recipe(name: str, size: str) -> Recipe:
        full = get_recipe(name, size)
        return full.replace(
            window=full.window.replace(seconds=0.64),
            encoder=full.encoder.replace(width=24, depth=2, heads=2, frames=64),
            objective=full.objective.replace(projector=ProjectorConfig(hidden=(16,), out=8)),
            loader=full.loader.replace(workers=0),
            train=full.train.replace(threads=1, precision="fp32"),
        )

    search = SearchConfig(epochs=2, lr_count=1, weight_decay=(1e-5,), min_batches=1, halving=())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "get_recipe", recipe)
    monkeypatch.setattr(module, "probe", partial(module.probe, probes=("linear",)))
    monkeypatch.setattr(module, "ONE_SEED", module.ONE_SEED.replace(search=search))
    monkeypatch.setattr(module, "TRAINING", "builtin:scenes?clips=24&seed=1")
    tasks = {"scenes": "builtin:scenes?clips=60&seed=0", "scenes_single": "builtin:single?clips=60&seed=0"}
    monkeypatch.setattr(module, "TASKS", tasks)
    monkeypatch.setattr(module, "STEPS", 4)
    monkeypatch.setattr(module, "BATCH", 8)
    return tmp_path / "demo"


def test_the_demonstration_ends_in_results_and_a_report_and_goes_on_when_called_again(tiny: Path) -> None:
    results, page = module.demo(tiny)
    found = {(result.task, result.role) for result in results}
    assert found == {(task, role) for task in module.TASKS for role in ROLES}
    # Fewer than six test clips have no interval, and the record says so.
    known = [result for result in results if "too few" not in result.interval]
    assert all(result.low <= result.value <= result.high for result in known)
    assert not any(result.seen for result in results)
    assert page == tiny / "report.html"
    text = page.read_text()
    assert all(task in text for task in module.TASKS)
    assert all(name in text for name in CONTROLS.values())
    lines = read_metrics(tiny)
    weights = sorted((tiny / "checkpoints").rglob("encoder.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    assert weights

    again, page = module.demo(tiny)
    assert [result.to_json() for result in again] == [result.to_json() for result in results]
    assert read_metrics(tiny) == lines
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert page.is_file()
