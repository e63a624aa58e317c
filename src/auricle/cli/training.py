"""Verbs about pre-training: `pretrain` and `demo`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from auricle.cli.arguments import ComputeArguments, parse, read_settings, value_of, without
from auricle.config import Natural
from auricle.devices import Device, Precision
from auricle.errors import AuricleError, ConfigError

# The encoder's size where another family is trained by a recipe of this size.
_ENCODER_SIZES = {"paper": "base"}
_OWN = "own"
# Settings of a recipe that its short help shows.
_BRIEF = tuple(
    f"recipe.{name}"
    for name in (
        "window.seconds", "loader.batch", "loader.workers", "train.steps", "train.minutes", "train.lr",
        "train.warmup_steps", "train.weight_decay", "train.micro_batch", "train.save_every", "train.log_every",
        "train.seed", "train.tensorboard",
    )
)  # fmt: skip
# Arguments of the command that a settings file may hold beside those of the recipe.
_ARGUMENTS = ("data", "out", "exclude", "channel", "time_expansion", "previous", "resume", "device", "precision")


def pretrain(argv: Sequence[str]) -> None:
    """Pre-train an encoder."""
    from auricle.recipes.registry import get_recipe

    words, out = _resumed(argv)
    file = value_of("--config", words)
    held = {} if file is None else _nested(read_settings(Path(file)))
    words = words if file is None else without("--config", words)
    given = {key: held[key] for key in _ARGUMENTS if held.get(key) is not None and not isinstance(held[key], dict)}
    # The recipe's fields are flags with its values as defaults, so the recipe has to be known before the rest is read.
    name = words[0] if words and not words[0].startswith("-") else str(held.get("recipe") or held.get("name") or "")
    asked = (given.get("resume") or "--resume" in words) and "--no-resume" not in words
    if asked and out is None and not name and given.get("out"):
        # A file alone names the run to continue, as --resume OUT does.
        out = Path(value_of("--out", words) or given["out"])
    if out is not None:
        given |= {"out": out, "resume": True}
    size, family = "", _OWN
    if out is not None and not name:
        from auricle.recipes.request import requested

        request = requested(out, value_of("--data", words) or given.get("data"))
        recipe = request.recipe
        own = ("data", "exclude", "previous", "channel", "time_expansion")
        given = {field: getattr(request, field) for field in own} | given
        about = (
            f"Continue the run in {out}: recipe {recipe.name}, on {request.data}. The defaults shown are the settings "
            "that it was started with; those that change no number may differ (--train.minutes, --loader.workers ...)."
        )
    else:
        if not name:
            if {"-h", "--help"} & set(words):
                _list_recipes()
                return
            raise AuricleError(
                "no recipe is named; expected auricle pretrain RECIPE --data ... --out ... (auricle recipes), or "
                "auricle pretrain --resume OUT"
            )
        if not words or words[0] != name:
            words = [name, *words]
        if out is not None:
            from auricle.recipes.request import read_request

            kept = read_request(out)
            given = ({} if kept is None or kept.data is None else {"data": kept.data}) | given
        size = value_of("--size", words) or str(held.get("size", "tiny"))
        recipe = get_recipe(name, size)
        family = value_of("--encoder", words) or (held["encoder"] if isinstance(held.get("encoder"), str) else _OWN)
        if family != _OWN:
            from auricle.recipes.families import get_family, on_family

            recipe = on_family(recipe, get_family(family), _ENCODER_SIZES.get(size, size))
        about = (
            "Pre-train an encoder on audio without labels. Every field of the recipe is a flag; the defaults shown are "
            f"those of {recipe.name}, size {size}. --config takes a recipe.json that a run wrote, or part of one (JSON "
            "or YAML). A run that was stopped continues with `auricle pretrain --resume OUT`."
            + (" Changes of window, loader and training hold for the previous stages, too." if recipe.previous else "")
        )
    default, recipe = recipe, _with_settings(recipe, held, file)
    arguments = _pretrain_arguments(recipe, name, size, family, given)
    args: Any = parse(arguments, words, "pretrain", about, leading=name or None, brief=_BRIEF)
    from auricle.recipes.pretraining import pretrain as run
    from auricle.recipes.recipe import pass_down

    changed = args.recipe
    for field in ("device", "precision"):
        if getattr(args, field) is not None:
            changed = changed.replace(train=changed.train.replace(**{field: getattr(args, field)}))
    run(
        pass_down(changed, default),
        args.data,
        args.out,
        resume=args.resume,
        exclude=args.exclude,
        channel=args.channel,
        time_expansion=args.time_expansion,
        previous=args.previous,
    )


def _resumed(argv: Sequence[str]) -> tuple[list[str], Path | None]:
    """Return the words without `--resume OUT`, and its folder; None where no run is resumed by its folder.

    `--resume` alone is the flag beside `--out`.

    Raises:
        ConfigError: `--out` names another folder.
    """
    words = list(argv)
    named = value_of("--resume", words) if any(word.startswith("--resume=") for word in words) else None
    if named is not None:
        words = [word for word in words if not word.startswith("--resume=")]
    elif "--resume" in words:
        place = words.index("--resume")
        if place + 1 < len(words) and not words[place + 1].startswith("-"):
            named = words[place + 1]
            del words[place : place + 2]
        elif words[0].startswith("-") and "--config" not in words:
            named = value_of("--out", words)
            del words[place]
    other = value_of("--out", words)
    if named is not None and other is not None and Path(other) != Path(named):
        raise ConfigError(f"--resume names {named}, and --out {other}; expected one folder. Leave --out out")
    return words, None if named is None else Path(named)


def _with_settings(recipe: Any, held: dict[str, Any], file: str | None) -> Any:
    """Put the settings of a file over a recipe's: a whole recipe.json, or part of one.

    Raises:
        ConfigError: a setting is unknown or out of range; names the file.
    """
    from auricle.recipes.recipe import Recipe

    own = recipe.to_json()
    # Arguments of the command, and the encoder's family by name, are no settings of the recipe.
    named = ("recipe", "name", "size", *(name for name in _ARGUMENTS if name != "previous"))
    settings = {k: v for k, v in held.items() if k not in named}
    settings = {k: v for k, v in settings.items() if not (k in ("encoder", "previous") and isinstance(v, str))}
    if held.get("kind") == "Recipe":
        settings = Recipe.upgraded({**settings, "name": held.get("name", ""), "size": held.get("size", "")})
    try:
        return Recipe.from_json(_merged(own, settings))
    except ConfigError as error:
        raise ConfigError(f"--config {file}: {error}; correct the file") from error


def _nested(held: dict[str, Any]) -> dict[str, Any]:
    """Return settings with dotted names (`train.steps`) as groups."""
    groups: dict[str, Any] = {}
    for name, value in held.items():
        group, (*outer, last) = groups, name.split(".")
        for part in outer:
            group = group.setdefault(part, {})
        group[last] = (
            {**group[last], **value} if isinstance(group.get(last), dict) and isinstance(value, dict) else value
        )
    return groups


def _merged(own: Any, other: Any) -> Any:
    """Return nested settings with those of `other` in their place; settings of another kind replace the whole group."""
    if (
        not isinstance(own, dict)
        or not isinstance(other, dict)
        or other.get("kind", own.get("kind")) != own.get("kind")
    ):
        return other
    return {**own, **{key: _merged(own.get(key), value) for key, value in other.items()}}


def _pretrain_arguments(recipe: Any, name: str, size: str, family: str, given: dict[str, Any]) -> type:
    """Make the dataclass of the command's arguments around the recipe's own settings."""
    from auricle.recipes.families import families
    from auricle.recipes.registry import get_method

    def argument(key: str, kind: Any, text: str, default: Any = dataclasses.MISSING, **conf: Any) -> tuple[Any, ...]:
        default = given.get(key, default)
        if kind in (Path, Path | None) and isinstance(default, str):
            default = Path(default)
        argued = Annotated[kind, tyro.conf.arg(help=text, **conf)]
        return (key, argued) if default is dataclasses.MISSING else (key, argued, dataclasses.field(default=default))

    others = ", ".join(n for n in families() if n != "log-mel-statistics")
    fields = [
        argument(
            "data",
            str,
            "Folder of audio, table (CSV, Parquet), shards, `hub:user/name` or `builtin:scenes`; `a+b` joins several.",
        ),
        argument("out", Path, "Run folder to write."),
        argument("exclude", tuple[str, ...], "Corpora (sub-folders of the data) to exclude.", ()),
        argument(
            "channel", str | None, "Channel that is read: `mix` (the default), `loudest`, or a number from 0.", None
        ),
        argument("time_expansion", float | None, "How many times slower recordings are played, for ultrasound.", None),
        argument(
            "resume",
            bool,
            "Continue the run in --out, or start it where there is none; the result is that of an uninterrupted run. "
            "`--resume OUT` alone needs nothing else.",
            False,
        ),
        argument("previous", Path | None, "Run folder to take as the previous stage, for recipes with stages.", None),
        argument("config", Path | None, "JSON or YAML file of settings; flags override it.", None),
        argument(
            "device",
            Device | None,
            "Sets --train.device; `auto`: a CUDA GPU where there is one, else the CPU.",
            None,
            help_behavior_hint=f"(default: {recipe.train.device})",
        ),
        argument(
            "precision",
            Precision | None,
            "Sets --train.precision; `auto`: bf16 where the GPU or the processor computes in it.",
            None,
            help_behavior_hint=f"(default: {recipe.train.precision})",
        ),
    ]
    if name:  # a run that is continued has its size and family
        fields.insert(
            2,
            argument("size", str, f"Size of the recipe, with its schedule: {', '.join(get_method(name).sizes)}.", size),
        )
        family_argument = argument(
            "family",
            str,
            f"Train an encoder of another family of similar size instead of the recipe's own: {others}. "
            f"`auricle matrix {name}` shows which fit; --encoder.* are then its settings.",
            family,
            name="encoder",
            metavar="FAMILY",
        )
        fields.insert(3, family_argument)
    # Arguments without a default come first; the recipe has no prefix, so that its fields are flags of the first level.
    fields.sort(key=lambda field: len(field))
    fields.append(("recipe", Annotated[type(recipe), tyro.conf.arg(name="")], dataclasses.field(default=recipe)))
    return dataclasses.make_dataclass("PretrainArguments", fields, frozen=True)


def _list_recipes() -> None:
    """Show how to go on: every recipe has its own flags."""
    from rich.console import Console
    from rich.table import Table

    from auricle.recipes.registry import PARADIGMS, recipes

    console = Console()
    console.print(
        "usage: auricle pretrain RECIPE --data FOLDER --out RUN [--size SIZE] [OPTIONS]\n"
        "       auricle pretrain --resume RUN\n\n"
        "Pre-train an encoder on audio without labels. Where to begin:\n\n"
        "  auricle pretrain cola --data FOLDER --out runs/cola --train.minutes 20\n\n"
        "Each setting of a recipe is a flag: `auricle pretrain RECIPE --help` lists them.\n"
        "`auricle recipes RECIPE` describes the method and its sizes.\n",
        markup=False,
        highlight=False,
    )
    known = recipes()
    width = max(len(method.name) for method in known)
    for paradigm in PARADIGMS:
        table = Table.grid("", "", padding=(0, 2, 0, 0))
        table.columns[0].min_width = width + 2
        for method in known:
            if method.paradigm == paradigm:
                table.add_row(f"  {method.name}", method.summary)
        console.print(f"{paradigm}:", table, "", sep="\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoArguments(ComputeArguments):
    """Arguments of `auricle demo`."""

    out: Path = Path("runs/demo")
    """Run folder to write."""
    minutes: float = 3.0
    """Time limit of pre-training; probing takes about as long again."""
    seed: Natural = 3
    """Of the sounds and of pre-training: another seed, another demonstration. Settings were chosen on seeds below 3."""
    precision: Precision = "auto"
    """Precision of pre-training, as in `auricle pretrain`; `auto` probes in fp32."""


def demo(argv: Sequence[str]) -> None:
    """Pre-train, probe and report on the built-in corpus."""
    about = "Pre-train COLA (tiny) on built-in sounds, probe it with few labels beside controls, write report.html."
    args = parse(DemoArguments, argv, "demo", about)
    from rich.console import Console

    from auricle.demo import demo as run
    from auricle.demo import gains
    from auricle.results.export import render_results, render_sheets

    results, page = run(args.out, minutes=args.minutes, seed=args.seed, device=args.device, precision=args.precision)
    sheet, verdict = gains(results, args.out)
    console = Console()
    console.print(render_results(results))
    console.print(render_sheets([sheet]))
    console.print(f"{verdict}\n", style="bold")
    console.print(f"report: {page.resolve()}", soft_wrap=True)
