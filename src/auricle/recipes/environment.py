"""The environment of a run: versions, platform, device, threads."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from auricle.recipes.recipe import Recipe
from auricle.recipes.registry import methods
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.threads import step_threads


def note_session(run: RunFolder, recipe: Recipe, ranks: Ranks) -> None:
    """Add this process to `environment.json`; a resumed run has several."""
    environment = run.read("environment.json") or {"sessions": []}
    session = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **versions()},
        "platform": platform.platform(),
        "processor": _processor(),
        "device": str(ranks.device),
        "ranks": ranks.world,
        "threads": step_threads(recipe.train.threads, local_world=ranks.local_world),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "seed": recipe.train.seed,
    }
    for before in environment["sessions"][-1:]:
        for name in ("threads", "ranks", "device"):
            if before[name] != session[name]:
                run.log(
                    f"{name} changed from {before[name]} to {session[name]}: the last bits of the numbers may differ"
                )
    environment["sessions"].append(session)
    method = methods().get(recipe.name)
    if method is not None and recipe.size in method.sizes:
        measured = {"frontend.mean", "frontend.std"} if recipe.measure_statistics else set()
        changes = method.recipe(recipe.size).changes(recipe)
        environment["overrides"] = {name: list(pair) for name, pair in changes.items() if name not in measured}
    run.write("environment.json", environment)


def versions() -> dict[str, str]:
    """Return the versions of auricle and of the libraries that its numbers depend on."""
    found = {}
    for name in ("auricle", "torch", "numpy", "soundfile", "soxr", "datasets", "accelerate", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
