"""What a run was asked for, kept in its `run.json`: all that `auricle pretrain --resume OUT` has to know."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from auricle.config import Config
from auricle.corpus.published.archive import LAYOUT
from auricle.corpus.synthetic.scenes import PREFIX as BUILTIN
from auricle.corpus.table import Corpus
from auricle.errors import CheckpointError
from auricle.recipes.loading import parse_recipe
from auricle.recipes.recipe import Recipe
from auricle.storage import write_record
from auricle.training.checkpoint import CONTINUE
from auricle.training.run_folder import RunFolder
from auricle.training.run_record import AGAIN, EMPTY, RECORD, STAGE, read_record, resume_command


@dataclass(frozen=True)
class Request:
    """What a run was asked for.

    Attributes:
        recipe: with all its previous stages, before statistics were measured.
        data: as `open_corpus` takes it, with absolute paths; None: Python gave an open corpus, or it is not recorded.
        exclude: sub-corpora that were excluded.
        previous: run folder that serves as the previous stage, absolute; None: it is trained, or there is none.
        channel: channel that is read (see `auricle.corpus.reading.read_as`); None: as the corpus says.
        time_expansion: how many times slower recordings are played; None: as the corpus says.
    """

    recipe: Recipe
    data: str | None = None
    exclude: tuple[str, ...] = ()
    previous: str | None = None
    channel: str | None = None
    time_expansion: float | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        data: str | Path | Corpus,
        exclude: tuple[str, ...],
        previous: str | Path | None,
        channel: str | int | None = None,
        time_expansion: float | None = None,
    ) -> Request:
        """Make a request of what `pretrain` was given."""
        return cls(
            recipe,
            None if isinstance(data, Corpus) else _absolute(str(data)),
            exclude,
            None if previous is None else str(Path(previous).absolute()),
            None if channel is None else str(channel),
            None if time_expansion is None else float(time_expansion),
        )

    def write(self, out: Path, begun: RunFolder | None = None) -> None:
        """Begin a run in a folder with its request; a run that made no step gives it up.

        Args:
            out: the folder.
            begun: the run that is continued by this request: its settings are kept for the next continuation.

        Raises:
            StorageError: the folder can't be written.
        """
        if begun is not None:
            if begun.recorded:
                begun.record(recipe=self.recipe.to_json())
            return
        held = {
            "recipe": self.recipe.to_json(),
            "data": self.data,
            "exclude": list(self.exclude),
            "previous": self.previous,
            "channel": self.channel,
            "time_expansion": self.time_expansion,
            "modules": sorted(_outside(self.recipe)),
        }
        write_record(out / RECORD, {**held, **EMPTY}, CONTINUE)

    def as_read(self, begun: RunFolder) -> tuple[Request, list[str]]:
        """Return this request with the features of the run that it continues, and a remark where it has others.

        They are those of the recipe that the run is read by; a run of before 0.3 states none, and its output is read.
        """
        own = parse_recipe(begun.recipe, begun.path)
        kept = _reading(self.recipe, own)
        if self.recipe.features == own.features:
            return replace(self, recipe=kept), []
        return replace(self, recipe=kept), [
            f"the run keeps the features that it began with ({own.features.place}), and the recipe names others "
            f"({self.recipe.features.place}). To read others of it, set --features layers or --features output in "
            "embed, probe and finetune"
        ]

    def check(self, other: Request, out: Path) -> None:
        """Refuse to continue the run of this request by another one; where the data lie may differ.

        Raises:
            CheckpointError: naming what differs, with both values.
        """
        RunFolder(out, {}).check_recipe(other.recipe.to_json(), self.recipe.to_json())
        for field in ("exclude", "previous", "channel", "time_expansion"):
            own, its, name = getattr(self, field), getattr(other, field), field.replace("_", "-")
            # The previous stage is in the checkpoints by now: it may have moved.
            if own != its and not (field == "previous" and own and its and RunFolder(out, {}).checkpoints):
                raise CheckpointError(
                    f"{out} was started with --{name} {_said(own)}, and this is --{name} {_said(its)}; expected the "
                    f"same. Leave --{name} to the run ({resume_command(out)}), or choose another --out"
                )


def read_request(out: str | Path) -> Request | None:
    """Return what the run in a folder was asked for; None where there is no run, or auricle 0.2 began it.

    Raises:
        CheckpointError: the record is damaged, or uses parts that this process does not know.
    """
    out = Path(out)
    record = read_record(out)
    if record is None or "recipe" not in record:
        return None
    data, exclude, previous = record.get("data"), record.get("exclude"), record.get("previous")
    channel, expansion = record.get("channel"), record.get("time_expansion")
    names = [*exclude, data or "", previous or "", channel or ""] if isinstance(exclude, list) else [None]
    if not all(isinstance(each, str) for each in names) or not isinstance(expansion or 1.0, int | float):
        raise CheckpointError(f"{out / RECORD} is damaged: its data, exclude or previous are no names; {AGAIN}")
    recipe = parse_recipe(record["recipe"], out, record.get("modules"))
    return Request(recipe, data, tuple(exclude or ()), previous, channel, expansion)


def requested(out: str | Path, data: str | Path | None = None) -> Request:
    """Return the request of the run that is to be continued; its `data` is known.

    Args:
        out: its folder.
        data: where the data lie now; None: where they lay.

    Raises:
        CheckpointError: there is no run, it is a stage of another one, or it does not know its data.
    """
    out = Path(out)
    if out.name == STAGE and (out.parent / RECORD).exists():
        raise CheckpointError(
            f"{out} is a previous stage of the run {out.parent}; expected the run itself: {resume_command(out.parent)}"
        )
    found = read_request(out)
    if found is None and (out / "recipe.json").exists():
        # Of a run that auricle 0.2 began, the recipe and the excluded corpora are known.
        run = RunFolder.open(out)
        found = Request(parse_recipe(run.recipe, out), None, tuple((run.read("corpus.json") or {}).get("exclude", ())))
    if found is None:
        raise CheckpointError(
            f"there is no run in {out} to continue; expected the --out of a run. Start one with auricle pretrain "
            f"RECIPE --data FOLDER --out {shlex.quote(str(out))}"
        )
    if found.data is None and data is None:
        raise CheckpointError(
            f"the run in {out} does not record where its data lie: Python gave it an open corpus, or auricle 0.2 began "
            f"it. Add --data: {resume_command(out)}"
        )
    return found if data is None else replace(found, data=str(data))


def _reading(recipe: Recipe, own: Recipe) -> Recipe:
    """Return a recipe, and its previous stages, with the features of another one and its stages."""
    stages = {}
    if recipe.previous is not None and own.previous is not None:
        stages["previous"] = _reading(recipe.previous, own.previous)
    return recipe.replace(features=own.features, **stages)


def _absolute(data: str) -> str:
    """Return a description of data in which each folder and file that exists here has its absolute path."""
    if data.startswith(("hub:", BUILTIN)):
        return data
    if data.startswith(LAYOUT):
        kind, _, folder = data.removeprefix(LAYOUT).partition(":")
        return f"{LAYOUT}{kind}:{_absolute(folder)}"
    path = Path(data).expanduser()
    try:
        if path.exists():
            return str(path.absolute())
    except OSError:
        return data  # no path: such as a name that is too long to be one
    return "+".join(map(_absolute, data.split("+"))) if "+" in data else data


def _outside(value: Any) -> set[str]:
    """Return the modules of settings that plug-ins brought: a process that reads them again has to import these."""
    if isinstance(value, tuple):
        return {name for part in value for name in _outside(part)}
    if not isinstance(value, Config):
        return set()
    module = type(value).__module__
    own = set() if module.partition(".")[0] in ("auricle", "__main__") else {module}
    return own | {name for f in fields(value) for name in _outside(getattr(value, f.name))}


def _said(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) and value else str(value or "(none)")
