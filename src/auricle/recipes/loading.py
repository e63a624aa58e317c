"""Loading: from a run folder to an encoder that is ready to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.audio.frontends.frontend import FrontEnd
from auricle.encoders.callables import guarded
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AuricleError, CheckpointError
from auricle.recipes.building import build_encoder
from auricle.recipes.recipe import Recipe
from auricle.training.batch_statistics import settle_control
from auricle.training.checkpoint import load_weights, read_state, verify_file
from auricle.training.run_folder import RunFolder


def load(run: str | Path, step: int | None = None) -> FrozenEncoder:
    """Load a pre-trained encoder with its front end; parts that only the objective needs may be missing.

    Args:
        run: a run folder, or one of its checkpoint folders.
        step: which checkpoint of a run folder; None: the latest.

    Raises:
        CheckpointError: there is no run or no such checkpoint, it is damaged, or its weights do not fit its recipe.
    """
    recipe, checkpoint, name = _find(Path(run), step)
    frontend, encoder = _built(recipe, recipe.train.seed, Path(run))
    state = read_state(checkpoint)
    load_weights(encoder, verify_file(checkpoint, "encoder.safetensors", state))
    notes = (
        f"{recipe.name} {recipe.size}, step {state['step']} of {state['progress'].get('steps', recipe.train.steps)}",
    )
    return FrozenEncoder(frontend, encoder, name=name, notes=notes, features=recipe.features)


def random_control(run: str | Path, seed: int = 0) -> FrozenEncoder:
    """Return the random-weight control of a run: its front end, and its encoder untrained.

    Raises:
        CheckpointError: there is no run.
    """
    recipe, _, name = _find(Path(run), None)
    frontend, encoder = _built(recipe, seed, Path(run))
    notes = (f"random weights, seed {seed}",)
    name = f"{name} (random weights)"
    return settle_control(FrozenEncoder(frontend, encoder, name=name, notes=notes, features=recipe.features))


def load_recipe(run: str | Path) -> Recipe:
    """Return the resolved recipe of a run folder or of a checkpoint folder.

    Raises:
        CheckpointError: there is no recipe, or this version of auricle can't read it.
    """
    path = Path(run)
    if (path / "training.json").is_file():
        return parse_recipe(read_state(path).get("recipe"), path)
    return parse_recipe(RunFolder.open(path).recipe, path)


def _built(recipe: Recipe, seed: int, run: Path) -> tuple[FrontEnd, Encoder]:
    with guarded(f"the recipe in {run} can't be built: it", CheckpointError, "; it is damaged or was edited"):
        return build_encoder(recipe, seed)


def _find(path: Path, step: int | None) -> tuple[Recipe, Path, str]:
    if (path / "training.json").is_file():
        if step is not None:
            raise CheckpointError(f"{path} is a checkpoint already; name its run folder to choose a step")
        home = path.resolve().parent
        name = home.parent.name if home.name == "checkpoints" else path.name
        return load_recipe(path), path, name
    folder = RunFolder.open(path)
    return load_recipe(path), folder.checkpoint(step), folder.path.resolve().name


def parse_recipe(data: Any, path: Path, modules: Any = ()) -> Recipe:
    """Return the recipe that a run folder or a checkpoint holds as JSON data.

    Args:
        data: of the recipe.
        path: where it was found, for messages.
        modules: of plug-ins that the run used, for messages: data does not decide which code runs.

    Raises:
        CheckpointError: it can't be read.
    """
    try:
        return Recipe.from_json(data)
    except AuricleError as error:
        why = str(error)
    # Whatever is wrong with data that somebody edited, it is no defect of ours.
    except (TypeError, AttributeError, ValueError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
    named = " ".join(f"--plugin {module}" for module in modules or ()) if isinstance(modules, list | tuple) else ""
    raise CheckpointError(
        f"the recipe in {path} can't be read: {why}; it is damaged, or of another version of auricle, or uses a "
        f"plug-in: import its module first (auricle {named or '--plugin MODULE'} ...)"
    )
