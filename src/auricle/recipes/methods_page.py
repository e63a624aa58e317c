"""The page about all methods, made from what their recipes say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.recipes.recipe import Paradigm, Recipe, RecipeEntry, get_recipe, recipes

PARADIGMS = get_args(Paradigm)


def stages(recipe: Recipe) -> int:
    """Return how many stages a recipe trains, itself included."""
    return 1 if recipe.previous is None else 1 + stages(recipe.previous)


def parts(recipe: Recipe) -> str:
    """Return the encoder, the objective and the views of a recipe in a line."""
    objective = type(recipe.objective).__name__.removesuffix("Config")
    encoder = type(recipe.encoder).__name__.removesuffix("Config")
    views = type(recipe.augment).__name__.removesuffix("Config")
    return f"{objective} on {encoder}, views by {views}"


def methods_page(entries: Sequence[RecipeEntry]) -> str:
    """Return the Markdown page: a table by paradigm, then a section for each method."""
    lines = [
        "# Methods",
        "",
        "Made by `auricle recipes --out docs/methods.md` from what the recipes say of themselves. Every method runs by "
        "`auricle pretrain NAME --data FOLDER --out RUN`; which objective runs on which encoder is in "
        "[matrix.md](matrix.md).",
        "",
    ]
    first = {entry.name: get_recipe(entry.name, entry.sizes[0]) for entry in entries}
    for paradigm in PARADIGMS:
        own = [entry for entry in entries if entry.paradigm == paradigm]
        lines += [
            f"## {paradigm[0].upper()}{paradigm[1:]}",
            "",
            "| recipe | what it does | sizes | stages |",
            "|---|---|---|---|",
        ]
        for entry in own:
            lines.append(
                f"| [{entry.name}](#{_anchor(entry.name)}) | {entry.summary} | {', '.join(entry.sizes)} | "
                f"{stages(first[entry.name])} |"
            )
        lines.append("")
    for entry in sorted(entries, key=lambda e: (PARADIGMS.index(e.paradigm), e.name)):
        lines += _section(entry, first[entry.name])
    return "\n".join(lines).rstrip() + "\n"


def describe(name: str) -> str:
    """Return the section about one method.

    Raises:
        ConfigError: there is no such recipe.
    """
    entry = next((entry for entry in recipes() if entry.name == name), None)
    if entry is None:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, [entry.name for entry in recipes()])}")
    return "\n".join(_section(entry, get_recipe(name, entry.sizes[0])))


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _section(entry: RecipeEntry, recipe: Recipe) -> list[str]:
    reference = recipe.reference
    paper = reference.title + (f", {reference.authors}" if reference.authors else "")
    if reference.arxiv:
        paper += f", [arXiv {reference.arxiv}](https://arxiv.org/abs/{reference.arxiv})"
    if reference.section:
        paper += f" ({reference.section})"
    lines = [f"## {entry.name}", "", entry.summary, "", f"**Paper** {paper}", "", f"**Parts** {parts(recipe)}", ""]
    lines += [f"**Choose it** {recipe.choose}", "", f"**Cost** {recipe.cost}", ""]
    lines += ["**Kept**", "", *(f"- {line}" for line in recipe.kept), ""]
    shared: set[str] = set()
    made = {size: get_recipe(entry.name, size) for size in entry.sizes}
    if len(made) > 1:
        shared = set.intersection(*(set(each.deviations) for each in made.values()))
        if shared:
            every = [line for line in recipe.deviations if line in shared]
            lines += ["**Differs, in every size**", "", *(f"- {line}" for line in every), ""]
    for size, each in made.items():
        rest = [line for line in each.deviations if line not in shared]
        if rest:
            lines += [f"**Differs, size {size}**", "", *(f"- {line}" for line in rest), ""]
    lines += ["**Unknown, and chosen**", "", *(f"- {line}" for line in recipe.unknown), ""]
    return lines
