"""The one opener: every command and every function that takes a model takes what `load` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from auricle.audio.batch import Audio
from auricle.config import nearest
from auricle.corpus.sources import open_corpus
from auricle.devices import find_device, find_precision
from auricle.encoders.callables import open_callable
from auricle.encoders.features import FeaturesConfig, get_features
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.transformers.encoder import PREFIX as HUB
from auricle.encoders.transformers.encoder import open_transformers
from auricle.errors import CheckpointError, ConfigError
from auricle.models.folder import CARD, FILE, open_folder, save_model
from auricle.models.frame_heads import SequenceHead
from auricle.models.heads import Head
from auricle.models.older import OLD_FILE
from auricle.models.vector_heads import VerificationHead
from auricle.recipes.loading import load as load_run
from auricle.zoo.families.audiomosaic import frozen_audiomosaic

ZOO = "zoo:"
_FILES = (FILE, OLD_FILE)
# Families of published checkpoint files, `zoo:FAMILY:FILE`.
FAMILIES: dict[str, Callable[[str], FrozenEncoder]] = {"audiomosaic": frozen_audiomosaic}
TAKES = (
    "a run folder, one of its checkpoints, a fitted model, hf:user/name, zoo:FAMILY:FILE, or module:Class of your own"
)


@dataclass(frozen=True)
class Model:
    """A front end and an encoder, with a head where the model was fitted or fine-tuned.

    Attributes:
        encoder: embeds, and gives token maps.
        head: of a fitted model; None: there is none.
        folder: where results about the model are written by default.
        run: the run folder that records what was seen in pre-training; None: not known.
        card: what is known of a fitted model: task, corpus, expected performance ...; empty for others.
        own: the encoder as the head reads it, whatever features `encoder` was opened with; None: `encoder`.
    """

    encoder: FrozenEncoder
    head: Head | None
    folder: Path
    run: Path | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    own: FrozenEncoder | None = None

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
        """Names of the classes of a fitted model; empty for others."""
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

    @property
    def fitted(self) -> Head:
        """The head.

        Raises:
            ConfigError: the model has none.
        """
        if self.head is None:
            raise ConfigError(f"{self.name} has no head to predict with; fit one first: auricle fit {self.folder} ...")
        return self.head

    @property
    def reader(self) -> FrozenEncoder:
        """The encoder as the head reads it."""
        return self.own or self.encoder

    def predict(self, wave: np.ndarray | Tensor | Sequence[np.ndarray], rate: int, *, batch: int = 16) -> np.ndarray:
        """Return the head's scores, float32: probabilities of `classes`, numbers in their units, or anomaly scores.

        Args:
            wave: see `FrozenEncoder.embed`; each clip is scored as a whole.
            rate: sample rate in Hz.
            batch: clips encoded at once.

        Returns:
            `(C,)` for one clip `(S,)`, else `(B, C)`.

        Raises:
            ConfigError: the model has no head, or one that has no score of a clip.
            AudioError: the audio is empty or not finite.
        """
        head, reader = self.fitted, self.reader
        return reader.over_clips(wave, rate, lambda audio: head.scores(reader, audio), batch=batch)

    def predict_file(self, path: str | Path, **settings: Any) -> pa.Table:
        """Return the rows of predictions of a recording of any length, in constant memory.

        Args:
            path: a recording, or anything that `open_corpus` opens.
            settings: those of `auricle.models.scoring.PredictConfig`: `segment`, `hop`, `threshold`, `top`, `merge`,
                `shortest`, `batch`.

        Returns:
            Columns `file`, `start`, `end` (seconds), `label`, `score`; of anomalies also `threshold`, `anomalous`,
            `nearest`, `nearest_distance`. The metadata `lost` is a JSON list of `[file, start, end, reason]` of the
            stretches that can't be used.

        Raises:
            ConfigError: the model has no head, or a setting does not fit it.
            CorpusError: nothing could be predicted.
        """
        from auricle.models.prediction_rows import predict_all

        return predict_all(self, open_corpus(path), settings)

    def transcribe(self, wave: np.ndarray | Tensor | Sequence[np.ndarray], rate: int) -> str | list[str]:
        """Return the text of one clip `(S,)`, else a list of B texts, by a model of sequences.

        Args:
            wave: see `FrozenEncoder.embed`.
            rate: sample rate in Hz.

        Raises:
            ConfigError: the head is none of sequences.
            AudioError: the audio is empty or not finite.
        """
        head, reader = self.fitted, self.reader
        if not isinstance(head, SequenceHead):
            raise ConfigError(f"{self.name} has a head of type {head.kind}, which has no texts; call `predict`")
        texts: list[str] = []

        def number(audio: Audio) -> Tensor:
            texts.extend(head.texts(reader, audio))
            return torch.arange(len(texts) - len(audio), len(texts))

        places = reader.over_clips(wave, rate, number)
        return texts[int(places)] if np.ndim(places) == 0 else [texts[int(place)] for place in places]

    def verify(self, first: np.ndarray, second: np.ndarray, rate: int) -> tuple[float, bool | None]:
        """Return the cosine of two clips `(S,)` and whether it is high enough for one identity (None: no threshold).

        Raises:
            ConfigError: the head is none of verification.
            AudioError: the audio is empty or not finite.
        """
        head = self._verifier()
        score = float(head.similarity(*(self.reader.embed([clip], rate) for clip in (first, second)))[0])
        return score, None if head.accept is None else score >= head.accept

    def enrol(self, name: str, wave: np.ndarray | Tensor | Sequence[np.ndarray], rate: int) -> Model:
        """Return the model with an identity more, known by some clips; one of this name is replaced.

        Raises:
            ConfigError: the head is none of verification.
            AudioError: the audio is empty or not finite.
        """
        return replace(self, head=self._verifier().enrol(name, np.atleast_2d(self.reader.embed(wave, rate))))

    def save(self, folder: str | Path) -> Path:
        """Write the model with its head, for `load`; see `auricle.models.folder.save_model`.

        Raises:
            ConfigError: the model has no head, or its encoder can't be rebuilt.
            StorageError: the disk is full, or the folder can't be written.
        """
        return save_model(folder, self.reader, self.fitted, card=self.card)

    def _verifier(self) -> VerificationHead:
        if not isinstance(self.fitted, VerificationHead):
            raise ConfigError(f"{self.name} has a head of type {self.fitted.kind}; expected one of verification")
        return self.fitted

    def with_head(self, head: Head) -> Model:
        """Return the model with another head, such as one that `auricle probe --keep-heads` kept.

        Raises:
            ConfigError: the head was fitted on another encoder, or on other features of it.
        """
        if head.reads not in ("", self.encoder.fingerprint):
            raise ConfigError(
                f"the head was fitted on encoder {head.reads}, and {self.name} is {self.encoder.fingerprint}; open "
                "the model that was probed, with the same precision and features"
            )
        return replace(self, head=head, own=self.encoder)


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
        what: a run folder; a checkpoint folder of it, or a file in it; the folder of `auricle fit` or `auricle
            finetune`, or a folder or file inside; `hf:user/name[@revision]` or `hf:FOLDER`, an audio encoder of
            transformers; `zoo:FAMILY:FILE`, a published checkpoint file; `module:Class`, your own callable (see
            `auricle.encoders.callables`).
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: `fp32`, `bf16` (autocast), or `auto`: bfloat16 on CUDA.
        trust_remote_code: run the Python code of a Hub repository, or the `module:Class` that the folder of a fitted
            model names; only for these two, and only if you trust their authors.
        step: which checkpoint of a run folder; None: the latest.
        features: what is read of the encoder: `recipe`, as the run's recipe says (of other models the output);
            `output`; `layers`, mean and deviation of all layers; or settings. A head keeps its own.

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
    # Before other features are read: the encoder that reads them is a copy, and a head keeps this one.
    found.encoder.to(place).precision = find_precision(precision, place)
    read = found.encoder.reading(get_features(features, found.encoder.features), marked=True)
    return replace(found, encoder=read, own=found.encoder)


def _open(what: str, trust_remote_code: bool, step: int | None) -> Model:
    named = ":" in what and not Path(what).exists()
    if step is not None and named:
        raise ConfigError(f"only a run folder has steps to choose from, and {what} is none; leave step out")
    fitted = None if named else _fitted(Path(what))
    if trust_remote_code and fitted is None and not what.startswith(HUB):
        raise ConfigError(
            f"trust_remote_code is for models of the Hub (hf:user/name) and fitted models, and {what} is none; leave "
            "it out"
        )
    home = Path("runs") / what.replace(":", "-")
    if what.startswith(HUB):
        return Model(open_transformers(what, trust_remote_code=trust_remote_code), None, home)
    if what.startswith(ZOO):
        return Model(_open_published(what), None, home)
    if named:
        return Model(open_callable(what), None, home)
    path = Path(what)
    if fitted is not None:
        saved = open_folder(fitted, trust_remote_code=trust_remote_code)
        return Model(saved.encoder, saved.head, fitted, card=saved.card)
    checkpoint = path.parent if path.suffix == ".safetensors" and (path.parent / "training.json").is_file() else path
    # Results about a checkpoint belong to its run.
    run = checkpoint.resolve().parent.parent if (checkpoint / "training.json").is_file() else checkpoint
    if not path.exists() and len(path.parts) == 2 and not path.suffix:
        raise CheckpointError(f"there is no run folder {what}; for a model of the Hub, write hf:{what}")
    if checkpoint.is_file():
        raise CheckpointError(f"{path} is a file, and no checkpoint of auricle; expected {TAKES}")
    return Model(load_run(checkpoint, step), None, run, run)


def _fitted(path: Path) -> Path | None:
    """Return the folder of a fitted model at or below a path; None: there is none.

    Raises:
        CheckpointError: there are several.
    """
    if path.name in _FILES and path.is_file():
        return path.parent
    if any((path / name).is_file() for name in (*_FILES, CARD)):
        return path
    if (path / "recipe.json").exists() or (path / "training.json").exists():
        return None  # a run; what was fine-tuned below it is another model
    # `OUT/finetuned` holds one folder for each configuration that was fine-tuned.
    found = {file.parent for name in _FILES for where in ("*", "finetuned/*") for file in path.glob(f"{where}/{name}")}
    inside = sorted(found)
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
