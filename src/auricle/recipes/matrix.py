"""Every objective on every encoder: which pairs train, which are refused, and why.

An objective comes from a recipe (with its views, front end and window), an encoder from a family at a small size. No
pair is listed here: the contracts refuse a pair, naming the need that is not met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from auricle.audio.batch import Audio
from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.views import PlainViewsConfig
from auricle.devices import Precision, autocast_dtype, find_device
from auricle.encoders.contract import MEETS, Ability, Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AuricleError, NeedError
from auricle.objectives.contract import Objective, Preparation, View
from auricle.recipes.families import MICRO, Family, on_family
from auricle.recipes.recipe import Recipe

CLIPS = 4
# Clips that clusters and tokenizers are fitted on.
PREPARED = 96
Outcome = Literal["trains", "refused"]


@dataclass(frozen=True)
class Cell:
    """A pair's outcome.

    Attributes:
        objective: name of its recipe.
        encoder: the family.
        outcome: `trains`: a step is finite; `refused`: by a contract.
        why: message of the refusal.
        needs: missing abilities, where that is the reason.
        loss: of the step.
        idle: trainable parameters that no gradient reached.
        built: class of the encoder, which messages name.
    """

    objective: str
    encoder: str
    outcome: Outcome
    why: str = ""
    needs: tuple[str, ...] = ()
    loss: float = float("nan")
    idle: tuple[str, ...] = ()
    built: str = ""


def pair(recipe: Recipe, family: Family) -> Recipe:
    """Return the recipe on a small encoder of the family; its stages stay as they are."""
    return on_family(recipe.replace(previous=None), family, MICRO).replace(previous=recipe.previous)


def try_pair(
    recipe: Recipe, family: Family, seed: int = 0, *, device: str = "auto", precision: Precision = "fp32"
) -> Cell:
    """Make one step of a recipe's objective on an encoder of the family, on synthetic sounds.

    A refusal is an outcome; any other error is a defect and is raised.

    Raises:
        ConfigError: there is no such device here, or it does not compute in that precision.
    """
    own, place = pair(recipe, family), find_device(device)
    dtype = autocast_dtype(precision, place)
    built = type(own.encoder).__name__.removesuffix("Config")
    try:
        encoder = own.encoder.build(torch.Generator().manual_seed(seed))
        objective = own.objective.build(encoder, torch.Generator().manual_seed(seed + 1))
        frontend = own.frontend.build()
        make_ready(own, frontend, encoder, objective, seed)
        encoder, objective = encoder.to(place), objective.to(place)
        views = shown(own, frontend, objective, seed, device=place)
        with torch.random.fork_rng(devices=[]), torch.autocast(place.type, torch.bfloat16, enabled=dtype is not None):
            torch.manual_seed(seed)
            loss = objective(encoder.train(), views, torch.Generator().manual_seed(seed))
        if not loss.total.requires_grad:
            return Cell(recipe.name, family.name, "refused", "neither encoder nor heads have parameters to train")
        loss.total.backward()
    except NeedError as error:
        return Cell(recipe.name, family.name, "refused", str(error), error.needs, built=built)
    except AuricleError as error:
        return Cell(recipe.name, family.name, "refused", str(error), built=built)
    named = [(f"encoder.{n}", p) for n, p in encoder.named_parameters()]
    named += [(f"objective.{n}", p) for n, p in objective.named_parameters()]
    idle = tuple(n for n, p in named if p.requires_grad and (p.grad is None or not bool(p.grad.any())))
    return Cell(recipe.name, family.name, "trains", loss=float(loss.total.detach()), idle=idle)


def shown(
    recipe: Recipe,
    frontend: FrontEnd,
    objective: Objective,
    seed: int = 0,
    clips: int = CLIPS,
    device: torch.device | str = "cpu",
) -> list[View]:
    """Return the views of a batch of synthetic sounds, as in a training step."""
    audio = made_audio(recipe, frontend.rate, clips, seed).to(device)
    views: Any = recipe.augment.build(frontend)
    if isinstance(views, nn.Module):
        views = views.to(device)
    made = views(audio, objective.views, torch.Generator().manual_seed(seed + 2))
    place = torch.arange(clips, device=device)
    return [View(view.features, place, view.certificate, view.reference) for view in made]


def made_audio(recipe: Recipe, rate: int, clips: int, seed: int = 0) -> Audio:
    """Return gliding tones with noise, one per clip, each as long as the recipe's window."""
    samples = recipe.window.samples(rate)
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    waves = []
    for _ in range(clips):
        low, high = generator.uniform(100, 0.4 * rate, 2)
        phase = 2 * np.pi * (low * time + (high - low) * time**2 / (2 * time[-1]))
        beat = 1 + np.sin(2 * np.pi * generator.uniform(1, 8) * time)
        waves.append((0.2 * beat * np.sin(phase) + 0.02 * generator.standard_normal(samples)).astype(np.float32))
    return Audio.stack(waves, rate)


def make_ready(recipe: Recipe, frontend: FrontEnd, encoder: Encoder, objective: Objective, seed: int = 0) -> None:
    """Prepare an objective for its first step, on synthetic sounds; the previous stage has random weights."""
    if objective.columns:
        objective.take_columns({name: [f"a sound of kind {i}" for i in range(PREPARED)] for name in objective.columns})
    if not objective.prepares:
        return
    plain = PlainViewsConfig().build(frontend)

    def views(clips: int) -> Iterator[View]:
        for start in range(0, min(clips, PREPARED), 8):
            audio = made_audio(recipe, frontend.rate, 8, seed + 100 + start)
            (made,) = plain(audio, 1, torch.Generator())
            yield View(made.features, torch.arange(start, start + 8), made.certificate, made.reference)

    objective.prepare(
        encoder, Preparation(views, PREPARED, previous_stage(recipe), torch.Generator().manual_seed(seed + 3), _silent)
    )


def previous_stage(recipe: Recipe) -> FrozenEncoder | None:
    """Return the encoder of the previous stage with random weights, or None where there is no such stage."""
    if recipe.previous is None:
        return None
    encoder = recipe.previous.encoder.build()
    return FrozenEncoder(recipe.previous.frontend.build(), encoder, name=recipe.previous.name)


def _silent(text: str) -> None:
    """Drop a line of the log."""


def markdown(cells: Sequence[Cell]) -> str:
    """Return the matrix as a Markdown page."""
    rows = list(dict.fromkeys(cell.objective for cell in cells))
    columns = list(dict.fromkeys(cell.encoder for cell in cells))
    at = {(cell.objective, cell.encoder): cell for cell in cells}
    reasons: dict[str, int] = {}
    lines = [
        "# Objectives and encoders",
        "",
        "Made by `auricle matrix --out docs/matrix.md`; every cell is one training step on synthetic sounds, and the "
        "test suite repeats all of them.",
        "",
        "● trains · a number: refused, for the reason with that number below.",
        "",
        "| objective | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in rows:
        marks = []
        for column in columns:
            cell = at[row, column]
            if cell.outcome == "trains":
                marks.append("●")
            else:
                reason = reason_of(cell)
                marks.append(str(reasons.setdefault(reason, len(reasons) + 1)))
        lines.append(f"| {row} | " + " | ".join(marks) + " |")
    lines += ["", "## Why a pair is refused", ""]
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    trained = sum(cell.outcome == "trains" for cell in cells)
    lines += ["", f"{trained} of {len(cells)} pairs train."]
    return "\n".join(lines) + "\n"


def reason_of(cell: Cell) -> str:
    """Return why a pair is refused, in words that pairs share."""
    if cell.needs:
        said = [
            f"{need}: an encoder that {Ability[need].value}; offered by {MEETS[Ability[need]]}" for need in cell.needs
        ]
        return f"needs {'; '.join(said)}"
    return cell.why.replace(cell.built, "the encoder") if cell.built else cell.why
