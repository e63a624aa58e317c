"""A recipe: everything that a pre-training run is made of, as plain data, and the registry of published ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import tyro

from auricle.audio.augment.config import AugmentConfig
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.views import ViewsConfig
from auricle.config import Config, flatten, nearest
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import ObjectiveConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.training.train_config import TrainConfig

Size = Literal["tiny", "small", "base", "paper"]
Paradigm = Literal["auxiliary", "contrastive", "reconstruction", "discrete tokens", "teacher-student", "multimodal"]


@dataclass(frozen=True)
class Reference(Config):
    """The publication that a recipe follows.

    Attributes:
        title: of the method.
        authors: of the publication.
        arxiv: its number.
        section: which parts of it, and of released code, the recipe was written from.
    """

    title: str = ""
    authors: str = ""
    arxiv: str = ""
    section: str = ""


@dataclass(frozen=True)
class Recipe(Config):
    """A pre-training run as plain data: printable, overridable by field, stored as JSON in every checkpoint.

    Attributes:
        name: of the method; `get_recipe` finds it by that.
        size: which variant of it.
        reference: the publication.
        deviations: every known difference from the publication, in words.
        kept: what of the publication is kept, in words: for `docs/methods.md`.
        unknown: what the publication does not say, and what was chosen.
        cost: what a step costs, in words.
        choose: when to choose this method.
        before: the stage before this one, pre-trained first into the folder `before` of the run; the objective's
            `prepare` is given its encoder (HuBERT's first iteration, BEATs' earlier tokenizer).
        begin: `fresh` weights, or those of the stage before (`earlier`).
        measure_statistics: measure the front end's mean and standard deviation on the corpus, instead of taking those
            of the recipe.
        window: how a clip becomes a training window.
        loader: how windows become batches.
        frontend: how a wave becomes features.
        augment: how features become views.
        encoder: what is trained.
        objective: what trains it.
        train: how long, how fast, how carefully.
    """

    name: Annotated[str, tyro.conf.SuppressFixed, tyro.conf.Fixed] = ""
    size: Annotated[str, tyro.conf.SuppressFixed, tyro.conf.Fixed] = ""
    reference: Annotated[Reference, tyro.conf.SuppressFixed, tyro.conf.Fixed] = field(default_factory=Reference)
    deviations: Annotated[tuple[str, ...], tyro.conf.SuppressFixed, tyro.conf.Fixed] = ()
    kept: Annotated[tuple[str, ...], tyro.conf.SuppressFixed, tyro.conf.Fixed] = ()
    unknown: Annotated[tuple[str, ...], tyro.conf.SuppressFixed, tyro.conf.Fixed] = ()
    cost: Annotated[str, tyro.conf.SuppressFixed, tyro.conf.Fixed] = ""
    choose: Annotated[str, tyro.conf.SuppressFixed, tyro.conf.Fixed] = ""
    previous: Annotated[Recipe | None, tyro.conf.SuppressFixed, tyro.conf.Fixed] = None
    begin: Annotated[Literal["fresh", "previous"], tyro.conf.SuppressFixed, tyro.conf.Fixed] = "fresh"
    measure_statistics: bool = True
    window: WindowConfig = field(default_factory=WindowConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    frontend: FrontEndConfig = field(default_factory=KaldiFbankConfig)
    augment: ViewsConfig = field(default_factory=AugmentConfig)
    encoder: EncoderConfig = field(default_factory=SpectrogramTransformerConfig)
    objective: ObjectiveConfig = field(default_factory=ContrastiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def changes(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Return the settings in which another recipe differs: dotted name -> (this one's, the other's).

        The names are those of the command line (see `config.flatten`); where one has no such setting, None.
        """
        own, its = flatten(self.to_json()), flatten(other.to_json())
        return {
            name: (own.get(name), its.get(name))
            for name in sorted(own.keys() | its.keys())
            if own.get(name) != its.get(name)
        }


def pass_down(recipe: Recipe, default: Recipe) -> Recipe:
    """Give the stages before a recipe what was changed of its window, its loader and its training.

    Who asks for smaller batches, other windows or fewer steps means the whole run.

    Args:
        recipe: as it was changed.
        default: as it was before.
    """
    if recipe.previous is None:
        return recipe
    parts: dict[str, Config] = {}
    for name in ("window", "loader", "train"):
        own, was = getattr(recipe, name), getattr(default, name)
        changed = {f.name: getattr(own, f.name) for f in fields(own) if getattr(own, f.name) != getattr(was, f.name)}
        parts[name] = getattr(recipe.previous, name).replace(**changed)
    previous = recipe.previous.replace(**parts)
    # The changes go further down by comparing with what this stage was.
    return recipe.replace(previous=pass_down(previous, recipe.previous))


@dataclass(frozen=True)
class RecipeEntry:
    """A published recipe in the registry: its name, its sizes, its paradigm, and one line on it."""

    name: str
    sizes: tuple[str, ...]
    paradigm: str
    summary: str
    make: Callable[..., Recipe]


_REGISTRY: dict[str, RecipeEntry] = {}


def recipe(
    name: str, sizes: tuple[str, ...], paradigm: Paradigm
) -> Callable[[Callable[..., Recipe]], Callable[..., Recipe]]:
    """Register a function `make(size) -> Recipe` under a name; the first line of its docstring describes it.

    Args:
        name: what `get_recipe` finds it by.
        sizes: those it makes.
        paradigm: of the survey, which orders lists and pages.
    """

    def register(make: Callable[..., Recipe]) -> Callable[..., Recipe]:
        summary = (make.__doc__ or "").strip().splitlines()[0] if make.__doc__ else ""
        _REGISTRY[name] = RecipeEntry(name, sizes, paradigm, summary, make)
        return make

    return register


def recipes() -> list[RecipeEntry]:
    """Return the registered recipes by name."""
    return [_REGISTRY[name] for name in sorted(_REGISTRY)]


def get_recipe(name: str, size: str = "tiny") -> Recipe:
    """Return a registered recipe.

    Raises:
        ConfigError: there is no such recipe or size; the nearest name is given.
    """
    if name not in _REGISTRY:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, _REGISTRY)}")
    entry = _REGISTRY[name]
    if size not in entry.sizes:
        raise ConfigError(f"recipe {name} has no size {size!r}{nearest(size, entry.sizes)}")
    return entry.make(size)
