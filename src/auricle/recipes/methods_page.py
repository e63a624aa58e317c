"""The page about all methods, made from the notes of their recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auricle.recipes.recipe import Recipe
from auricle.recipes.registry import PARADIGMS, Method, get_method


def methods_page(methods: Sequence[Method]) -> str:
    """Return the Markdown page: a table by paradigm, then a section for each method."""
    lines = [
        "# Methods",
        "",
        "Made by `auricle recipes --out docs/methods.md` from the notes of the recipes. Every method runs by "
        "`auricle pretrain NAME --data FOLDER --out RUN`; [matrix.md](matrix.md) shows which objective runs on which "
        "encoder. A method is shown to learn by a test or benchmark on held-out clips, against its baselines.",
        "",
    ]
    for paradigm in PARADIGMS:
        lines += [
            f"## {paradigm[0].upper()}{paradigm[1:]}",
            "",
            "| recipe | summary | sizes | stages | evidence |",
            "|---|---|---|---|---|",
        ]
        for method in methods:
            if method.paradigm == paradigm:
                stages = _stages(method.recipe(method.sizes[0]))
                lines.append(
                    f"| [{method.name}](#{method.name}) | {method.summary} | {', '.join(method.sizes)} | {stages} | "
                    f"{'shown to learn' if method.learns else 'not shown to learn'} |"
                )
        lines.append("")
    for method in sorted(methods, key=lambda m: (PARADIGMS.index(m.paradigm), m.name)):
        lines += _section(method)
    return "\n".join(lines).rstrip() + "\n"


def describe(name: str) -> str:
    """Return the section about one method.

    Raises:
        ConfigError: there is no such method; the nearest name is given.
    """
    return "\n".join(_section(get_method(name)))


def _stages(recipe: Recipe) -> int:
    """Return the number of stages that a recipe trains, itself included."""
    return 1 if recipe.previous is None else 1 + _stages(recipe.previous)


def _parts(recipe: Recipe) -> str:
    """Return the encoder, the objective and the views of a recipe in a line."""
    parts = (recipe.objective, recipe.encoder, recipe.augment)
    objective, encoder, views = (type(part).__name__.removesuffix("Config") for part in parts)
    return f"{objective} on {encoder}, views by {views}"


def _features(made: Mapping[str, Recipe]) -> str:
    """Return what is read of the encoder, of each size where they differ."""
    words = {size: recipe.features.words for size, recipe in made.items()}
    kinds = list(dict.fromkeys(words.values()))
    if len(kinds) == 1:
        return kinds[0]
    return ". ".join(f"{', '.join(size for size in words if words[size] == kind)}: {kind}" for kind in kinds)


def _section(method: Method) -> list[str]:
    made = {size: method.recipe(size) for size in method.sizes}
    recipe = made[method.sizes[0]]
    notes, reference = recipe.notes, recipe.notes.reference
    paper = reference.title + (f", {reference.authors}" if reference.authors else "")
    if reference.arxiv:
        paper += f", [arXiv {reference.arxiv}](https://arxiv.org/abs/{reference.arxiv})"
    if reference.section:
        paper += f" ({reference.section})"
    lines = [f"## {method.name}", "", method.summary, ""]
    for title, text in (
        ("Paper", paper),
        ("Parts", _parts(recipe)),
        ("Features", _features(made)),
        ("When to use", notes.when_to_use),
        ("Cost", notes.cost),
        ("Shown to learn", f"by {method.learns}") if method.learns else ("Not shown to learn", "by any test here"),
    ):
        lines += [f"**{title}** {text}", ""]
    every = [line for line in notes.deviations if all(line in each.notes.deviations for each in made.values())]
    lists: dict[str, Sequence[str]] = {"As in the paper": notes.faithful, "Deviations, in every size": every}
    for size, each in made.items():
        lists[f"Deviations, size {size}"] = [line for line in each.notes.deviations if line not in every]
    lists["Not specified"] = notes.not_specified
    for title, entries in lists.items():
        if entries:
            lines += [f"**{title}**", "", *(f"- {line}" for line in entries), ""]
    return lines
