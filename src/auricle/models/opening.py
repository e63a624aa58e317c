"""The one opener: every command and every function that takes a model takes what `load` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from auricle.config import nearest
from auricle.devices import find_device, find_precision
from auricle.encoders.callables import open_callable
from auricle.encoders.features import FeaturesConfig, get_features
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.transformers.encoder import PREFIX as HUB
from auricle.encoders.transformers.encoder import open_transformers
from auricle.errors import CheckpointError, ConfigError
from auricle.models.finetuned import FILE, Finetuned, load_finetuned
from auricle.recipes.loading import load as load_run
from auricle.zoo.families.audiomosaic import frozen_audiomosaic

ZOO = "zoo:"
# Families of published checkpoint files, `zoo:FAMILY:FILE`.
FAMILIES: dict[str, Callable[[str], FrozenEncoder]] = {"audiomosaic": frozen_audiomosaic}
TAKES = (
    "a run folder, one of its checkpoints, a fine-tuned folder, hf:user/name, zoo:FAMILY:FILE, or module:Class of your "
    "own"
)


@dataclass(frozen=True)
class Model:
    """A front end and an encoder, with a classifier where the model was fine-tuned.

    Attributes:
        encoder: embeds, and gives token maps.
        head: the fine-tuned classifier; None: there is none.
        folder: where results about the model are written by default.
        run: the run folder that records what was seen in pre-training; None: not known.
    """

    encoder: FrozenEncoder
    head: Finetuned | None
    folder: Path
    run: Path | None = None

    @property
    def name(self) -> str:
        """Name of the encoder, for tables."""
        return self.encoder.name

    @property
    def rate(self) -> int:
        """Sample rate in Hz that the encoder reads; other rates are resampled."""
        return self.encoder.rate

    @property
    def width(self) -> int:
        """D, the size of a clip vector."""
        return self.encoder.pooled_width

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of a fine-tuned model; empty for others."""
        return self.head.classes if self.head else ()

    def embed(self, wave: np.ndarray | Tensor | Sequence[np.ndarray], rate: int, *, batch: int = 16) -> np.ndarray:
        """Return one vector per clip, float32: `(D,)` for one clip `(S,)`, else `(B, D)`.

        Args:
            wave: see `FrozenEncoder.embed`.
            rate: sample rate in Hz.
            batch: clips encoded at once.

        Raises:
            AudioError: the audio is empty, not finite, or of another shape.
        """
        return self.encoder.embed(wave, rate, batch=batch)

    def predict(self, wave: np.ndarray | Sequence[np.ndarray], rate: int) -> np.ndarray:
        """Return the probabilities of `classes`: `(C,)` for one clip `(S,)`, else `(B, C)`.

        Args:
            wave: see `FrozenEncoder.embed`.
            rate: sample rate in Hz.

        Raises:
            ConfigError: the model has no classifier.
            AudioError: the audio is empty or not finite.
        """
        if self.head is None:
            raise ConfigError(f"{self.name} has no classifier; fine-tune it first: auricle finetune {self.folder} ...")
        return self.head.predict(wave, rate)


def load(
    what: str | Path,
    *,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    step: int | None = None,
    features: str | FeaturesConfig = "recipe",
) -> Model:
    """Open a model.

    Args:
        what: a run folder; a checkpoint folder of it, or a file in it; the folder of `auricle finetune`, or a folder or
            file inside; `hf:user/name[@revision]` or `hf:FOLDER`, an audio encoder of transformers;
            `zoo:FAMILY:FILE`, a published checkpoint file; `module:Class`, your own callable (see
            `auricle.encoders.callables`).
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16` (autocast), or `auto`: bfloat16 on CUDA.
        trust_remote_code: run the Python code of a Hub repository; only for `hf:`, and only if you trust its authors.
        step: which checkpoint of a run folder; None: the latest.
        features: what is read of the encoder: `recipe`, as the run's recipe says (of other models the output);
            `output`; `layers`, mean and deviation of all layers; or settings. A classifier keeps its own.

    Raises:
        CheckpointError: the folder or file is missing, damaged, or holds no model.
        ConfigError: no such class, model or family, or it is no audio encoder; or no such device; or the encoder does
            not have the layers.

    Examples:
        >>> import auricle
        >>> vector = auricle.load("runs/mine").embed(wave, rate)  # doctest: +SKIP
    """
    found = _open(str(what), trust_remote_code, step)
    place = find_device(device)
    # Before other features are read: the encoder that reads them is a copy, and a classifier keeps this one.
    found.encoder.to(place).precision = find_precision(precision, place)
    return replace(found, encoder=found.encoder.reading(get_features(features, found.encoder.features), marked=True))


def _open(what: str, trust_remote_code: bool, step: int | None) -> Model:
    named = ":" in what and not Path(what).exists()
    if step is not None and named:
        raise ConfigError(f"only a run folder has steps to choose from, and {what} is none; leave step out")
    if trust_remote_code and not what.startswith(HUB):
        raise ConfigError(
            f"trust_remote_code is for models of the Hub (hf:user/name), and {what} is none; leave it out"
        )
    home = Path("runs") / what.replace(":", "-")
    if what.startswith(HUB):
        return Model(open_transformers(what, trust_remote_code=trust_remote_code), None, home)
    if what.startswith(ZOO):
        return Model(_open_published(what), None, home)
    if named:
        return Model(open_callable(what), None, home)
    path = Path(what)
    tuned = _finetuned(path)
    if tuned is not None:
        head = load_finetuned(tuned)
        return Model(head.encoder, head, tuned)
    checkpoint = path.parent if path.suffix == ".safetensors" and (path.parent / "training.json").is_file() else path
    # Results about a checkpoint belong to its run.
    run = checkpoint.resolve().parent.parent if (checkpoint / "training.json").is_file() else checkpoint
    if not path.exists() and len(path.parts) == 2 and not path.suffix:
        raise CheckpointError(f"there is no run folder {what}; for a model of the Hub, write hf:{what}")
    if checkpoint.is_file():
        raise CheckpointError(f"{path} is a file, and no checkpoint of auricle; expected {TAKES}")
    return Model(load_run(checkpoint, step), None, run, run)


def _finetuned(path: Path) -> Path | None:
    """Return the folder of a fine-tuned model at or below a path; None: there is none.

    Raises:
        CheckpointError: there are several.
    """
    if path.name == FILE and path.is_file():
        return path.parent
    if (path / FILE).is_file():
        return path
    if (path / "recipe.json").exists() or (path / "training.json").exists():
        return None  # a run; what was fine-tuned below it is another model
    # `OUT/finetuned` holds one folder for each configuration that was fine-tuned.
    inside = sorted(file.parent for pattern in (f"*/{FILE}", f"finetuned/*/{FILE}") for file in path.glob(pattern))
    if len(inside) > 1:
        raise CheckpointError(
            f"{path} holds {len(inside)} fine-tuned models; name one of them: {', '.join(map(str, inside))}"
        )
    return inside[0] if inside else None


def _open_published(what: str) -> FrozenEncoder:
    family, _, file = what.removeprefix(ZOO).partition(":")
    if family not in FAMILIES:
        raise ConfigError(f"no published family is called {family!r}{nearest(family, FAMILIES)}")
    if not file:
        raise ConfigError(f"{what} names no file; expected zoo:{family}:FILE with the published checkpoint file")
    return FAMILIES[family](file)
