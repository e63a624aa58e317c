"""A recipe: everything that a pre-training run is made of, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import tyro

from auricle.audio.augment.config import AugmentConfig
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.views import ViewsConfig
from auricle.config import Config, flatten
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.features import FeaturesConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import ObjectiveConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes.notes import Notes
from auricle.training.train_config import TrainConfig

# The notes of version 0.1 were fields of the recipe, under these names.
_OLD_NOTES = {
    "reference": "reference",
    "deviations": "deviations",
    "kept": "faithful",
    "unknown": "not_specified",
    "cost": "cost",
    "choose": "when_to_use",
}
# Fields of parts of a recipe that were renamed since then.
_OLD_FIELDS = {"earlier": "previous", "books": "codebooks"}


@dataclass(frozen=True)
class Recipe(Config):
    """A pre-training run as plain data: printable, overridable by field, stored as JSON in every checkpoint.

    Attributes:
        name: of the method, as in `get_recipe(name)`.
        size: variant of the method.
        notes: its publication, what is as in the paper and what is not, in words.
        previous: the previous stage, pre-trained first into the folder `previous` of the run; the objective's
            `prepare` receives its encoder (HuBERT's first iteration, BEATs' tokenizer).
        begin: with `fresh` weights, or with those of the `previous` stage (of --previous).
        measure_statistics: measure the front end's mean and standard deviation on the corpus, instead of taking those
            of the recipe.
        window: how a clip becomes a training window.
        loader: how windows become batches.
        frontend: how a wave becomes features.
        augment: how features become views.
        encoder: the network that is trained.
        features: what is read of the trained encoder, to embed and to probe.
        objective: the loss that trains it.
        train: steps, learning rate, precision, checkpoints.
    """

    name: Annotated[str, tyro.conf.SuppressFixed, tyro.conf.Fixed] = ""
    size: Annotated[str, tyro.conf.SuppressFixed, tyro.conf.Fixed] = ""
    notes: Annotated[Notes, tyro.conf.SuppressFixed, tyro.conf.Fixed] = field(default_factory=Notes)
    previous: Annotated[Recipe | None, tyro.conf.SuppressFixed, tyro.conf.Fixed] = None
    begin: Literal["fresh", "previous"] = "fresh"
    measure_statistics: bool = True
    window: WindowConfig = field(default_factory=WindowConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    frontend: FrontEndConfig = field(default_factory=KaldiFbankConfig)
    augment: ViewsConfig = field(default_factory=AugmentConfig)
    encoder: EncoderConfig = field(default_factory=SpectrogramTransformerConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    objective: ObjectiveConfig = field(default_factory=ContrastiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.notes != Notes() and self.notes.method != self.name:
            raise ConfigError(
                f"recipe {self.name!r} has the notes of {self.notes.method!r}; write notes of its own "
                f"(Notes(method={self.name!r}, ...)) or none (Notes())"
            )

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Read recipes of version 0.1, where notes were fields and the previous stage was called `before`."""
        old = {name: data[name] for name in (*_OLD_NOTES, "before") if name in data}
        if not old:
            return data
        rest = {name: _renamed(value) for name, value in data.items() if name not in old}
        if "before" in old:
            rest["previous"] = old.pop("before")
        if rest.get("begin") == "earlier":
            rest["begin"] = "previous"
        notes = {_OLD_NOTES[name]: value for name, value in old.items()}
        return {**rest, "notes": {"kind": "Notes", "method": data.get("name", ""), **notes}}

    def without_notes(self) -> Recipe:
        """Return the recipe and its previous stages without notes: what decides the numbers of a run."""
        previous = None if self.previous is None else self.previous.without_notes()
        return self.replace(notes=Notes(), previous=previous)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change when any setting changes; notes don't count."""
        return Config.fingerprint(self.without_notes())

    def changes(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Return the settings in which another recipe differs: dotted name -> (this one's, the other's).

        The names are those of the command line (see `config.flatten`); a setting that one of them lacks is None there.
        """
        own, its = flatten(self.without_notes().to_json()), flatten(other.without_notes().to_json())
        return {
            name: (own.get(name), its.get(name))
            for name in sorted(own.keys() | its.keys())
            if own.get(name) != its.get(name)
        }


def _renamed(value: Any) -> Any:
    """Return settings of version 0.1 with the present names of fields and kinds."""
    if isinstance(value, list):
        return [_renamed(part) for part in value]
    if not isinstance(value, dict):
        return value
    renamed = {_OLD_FIELDS.get(name, name): _renamed(part) for name, part in value.items()}
    if str(value.get("kind")).startswith("Earlier"):
        renamed["kind"] = value["kind"].replace("Earlier", "Previous", 1)
    return renamed


def pass_down(recipe: Recipe, default: Recipe) -> Recipe:
    """Apply what was changed of a recipe's window, loader and training to its previous stages, too.

    A request for smaller batches, other windows or fewer steps means the whole run.

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
    # The stage's own previous stage receives the changes in the same way.
    return recipe.replace(previous=pass_down(previous, recipe.previous))


def previous_encoders(value: Any) -> list[PreviousEncoderConfig]:
    """Return the encoders of a previous stage that settings hold, at any depth."""
    if isinstance(value, PreviousEncoderConfig):
        return [value]
    if isinstance(value, tuple):
        return [found for part in value for found in previous_encoders(part)]
    if isinstance(value, Config):
        return [found for f in fields(value) for found in previous_encoders(getattr(value, f.name))]
    return []


def with_previous_encoder(value: Any, found: PreviousEncoderConfig) -> Any:
    """Return settings in which every encoder of a previous stage is this one."""
    if isinstance(value, PreviousEncoderConfig):
        return found
    if isinstance(value, tuple):
        return tuple(with_previous_encoder(part, found) for part in value)
    if isinstance(value, Config):
        changed = {f.name: with_previous_encoder(getattr(value, f.name), found) for f in fields(value)}
        return value.replace(**{k: v for k, v in changed.items() if v is not getattr(value, k)})
    return value
