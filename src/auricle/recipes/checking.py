"""Checks of your own recipe or objective: what every published one passes, with one message per fault."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch

from auricle.devices import Precision, find_device
from auricle.encoders.callables import guarded, import_object
from auricle.encoders.checking import Finding
from auricle.errors import AuricleError, ConfigError
from auricle.objectives.contract import ObjectiveConfig
from auricle.recipes.building import build
from auricle.recipes.families import families
from auricle.recipes.matrix import Cell, make_ready, shown, try_pair
from auricle.recipes.recipe import Recipe
from auricle.recipes.registry import get_method
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep

STEPS = 3


def check_recipe(what: str | Recipe, *, device: str = "auto", precision: Precision = "fp32") -> list[Finding]:
    """Check a recipe: the name of a method (every size of it), `module:function`, or the recipe itself.

    Checks: it can be made; settings survive JSON; notes; three training steps on synthetic sounds are finite and
    repeatable; a gradient reaches every parameter; evidence that it learns.

    Args:
        what: the recipe.
        device: where to compute: `auto`, `cpu`, `cuda` or `mps`.
        precision: of the steps, as `TrainConfig.precision`: `fp32`, `bf16` (autocast) or `auto`.

    Raises:
        ConfigError: there is no such device here.

    Examples:
        >>> from auricle.encoders.checking import faults
        >>> faults(check_recipe("apc"))
        []
    """
    place = find_device(device)
    if isinstance(what, Recipe):
        return list(_recipe(what, what.size or "recipe", place, precision))
    findings: list[Finding] = []
    try:
        if ":" in what:
            with guarded(f"{what} can't be made: it"):
                made = {"recipe": import_object(what)()}
            evidence = None
        else:
            method = get_method(what)
            made = {size: method.recipe(size) for size in method.sizes if size != "paper"}
            evidence = Finding("evidence", "ok" if method.learns else "warning", method.evidence)
    except AuricleError as error:
        return [Finding("can be made", "fault", str(error))]
    for size, recipe in made.items():
        if not isinstance(recipe, Recipe):
            return [Finding("can be made", "fault", f"{what} returns {type(recipe).__name__}; expected a Recipe")]
        findings += _recipe(recipe, size, place, precision)
    return [*findings, *([evidence] if evidence else [])]


def check_objective(
    what: str | ObjectiveConfig, *, device: str = "auto", precision: Precision = "fp32"
) -> list[Finding]:
    """Check an objective: `module:Config`, the name of a recipe that uses it, or the settings themselves.

    The objective makes one step on every encoder family. A refusal by a contract is fine; an exception is a fault.

    Args:
        what: the objective.
        device: as for `check_recipe`.
        precision: as for `check_recipe`.

    Raises:
        ConfigError: there is no such device here.

    Examples:
        >>> from auricle.encoders.checking import faults
        >>> faults(check_objective("apc"))
        []
    """
    find_device(device)
    try:
        recipe = _around(what)
    except AuricleError as error:
        return [Finding("can be made", "fault", str(error))]
    findings = [Finding("can be made", "ok", type(recipe.objective).__name__)]
    cells: list[Cell] = []
    for family in families().values():
        try:
            with guarded(f"on {family.name}: the objective"):
                cells.append(try_pair(recipe, family, device=device, precision=precision))
        except AuricleError as error:
            findings.append(Finding(f"step on {family.name}", "fault", str(error)))
    trains = [cell for cell in cells if cell.outcome == "trains"]
    for cell in trains:
        if not torch.isfinite(torch.tensor(cell.loss)):
            findings.append(Finding(f"step on {cell.encoder}", "fault", f"the loss is {cell.loss}"))
    if not trains:
        why = cells[0].why if cells else "every step raised"
        return [*findings, Finding("trains", "fault", f"on no encoder family; for example: {why}")]
    idle = {name for cell in trains for name in cell.idle if name.startswith("objective.")}
    if idle:
        findings.append(Finding("gradients", "warning", f"none reaches {', '.join(sorted(idle)[:5])}"))
    refused = [cell.encoder for cell in cells if cell.outcome == "refused"]
    findings.append(Finding("trains", "ok", f"on {', '.join(cell.encoder for cell in trains)}"))
    if refused:
        findings.append(Finding("refused", "ok", f"by its needs on {', '.join(refused)}"))
    return findings


def _around(what: str | ObjectiveConfig) -> Recipe:
    """Return a recipe with the objective.

    Raises:
        ConfigError: there is none.
    """
    if isinstance(what, str) and ":" not in what:
        return get_method(what).recipe("tiny")
    made: Any = what
    if isinstance(what, str):
        with guarded(f"{what} can't be made: it"):
            made = import_object(what)()
    if not isinstance(made, ObjectiveConfig):
        raise ConfigError(f"{what} is {type(made).__name__}; expected settings of an objective (an ObjectiveConfig)")
    return Recipe(objective=made)


def _recipe(recipe: Recipe, size: str, device: torch.device, precision: Precision) -> Iterator[Finding]:
    try:
        with guarded("it", remedy="; fix the recipe"):
            yield from _settings(recipe, size)
            first, loss, idle = _steps(recipe, device, precision)
            again, _, _ = _steps(recipe, device, precision)
    except AuricleError as error:
        yield Finding(f"{size}: steps", "fault", str(error))
        return
    finite = bool(torch.isfinite(torch.tensor(loss)))
    yield Finding(f"{size}: steps", "ok" if finite else "fault", f"{STEPS} steps, loss {loss:.4g}")
    same = first == again
    message = "the same weights twice" if same else "other weights from the same seed: draw from the given generator"
    yield Finding(f"{size}: repeatable", "ok" if same else "fault", message)
    named = f"none reaches {', '.join(idle[:5])}" if idle else "one reaches every parameter"
    yield Finding(f"{size}: gradients", "warning" if idle else "ok", named)


def _settings(recipe: Recipe, size: str) -> Iterator[Finding]:
    equal = Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    yield Finding(f"{size}: settings", "ok" if equal else "fault", "survive JSON" if equal else "change through JSON")
    notes = recipe.notes
    lacking = [name for name in ("reference", "faithful", "cost", "when_to_use") if not getattr(notes, name)]
    if not notes.reference.title:
        lacking = ["reference", *[name for name in lacking if name != "reference"]]
    message = f"lack {', '.join(lacking)}" if lacking else "complete"
    yield Finding(f"{size}: notes", "warning" if lacking else "ok", message)


def _steps(recipe: Recipe, device: torch.device, precision: Precision) -> tuple[str, float, list[str]]:
    """Make some steps; return a fingerprint of all weights, the last loss, and parameters without a gradient."""
    train = recipe.train.replace(steps=STEPS + 1, warmup_steps=1, micro_batch=None, precision=precision)
    recipe = recipe.replace(train=train)
    frontend, encoder, objective = build(recipe, 0)
    make_ready(recipe, frontend, encoder, objective)
    step = TrainingStep(encoder, objective, recipe.augment.build(frontend), recipe.train, Ranks(0, 1, device))
    parts = (("encoder", encoder), ("objective", objective))
    named = {f"{part}.{name}": p for part, module in parts for name, p in module.named_parameters()}
    reached: set[str] = set()
    loss = float("nan")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for number in range(STEPS):
            loss = float(step(number, shown(recipe, frontend, objective, seed=number, device=device)).values["loss"])
            reached |= {name for name, p in named.items() if p.grad is not None and bool(p.grad.any())}
    digest = hashlib.sha256()
    for name, p in named.items():
        digest.update(name.encode() + p.detach().cpu().numpy().tobytes())
    return digest.hexdigest(), loss, sorted({name for name, p in named.items() if p.requires_grad} - reached)
