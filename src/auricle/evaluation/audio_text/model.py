"""A pre-trained pair of towers, audio and text: clips and texts as unit vectors in one space."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from auricle.corpus.table import Corpus
from auricle.devices import Precision, find_device, find_precision
from auricle.encoders.features import OUTPUT
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError, ConfigError
from auricle.objectives.text.clap import Clap, ClapConfig
from auricle.objectives.text.text_tower import split_words
from auricle.recipes.building import generator
from auricle.recipes.loading import load, load_recipe, random_control
from auricle.tokens.embeddings import embed_corpus
from auricle.training.checkpoint import load_weights, read_state, verify_file
from auricle.training.run_folder import RunFolder

_ROW = "clip_row"
# Most words or classes that a message lists.
_NAMED = 8


@dataclass(frozen=True)
class EmbeddedClips:
    """Clips of a corpus in the space shared with text.

    Attributes:
        present: `(n,)` corpus rows of the clips that could be read.
        missing: corpus row of each other clip -> the reason.
        vectors: `(n, dim)` unit vectors.
    """

    present: NDArray[np.int64]
    missing: dict[int, str]
    vectors: NDArray[np.float64]


class AudioText:
    """A pre-trained pair of towers in evaluation mode: clips and texts as unit vectors in one space.

    Args:
        encoder: front end and audio encoder.
        objective: text tower and projections.
        run: folder of the run, which records what it was trained on; None: there is none.

    Attributes:
        name: of the run.
    """

    def __init__(self, encoder: FrozenEncoder, objective: Clap, run: Path | None = None) -> None:
        # The projections were trained on the encoder's own pooling.
        self.encoder = encoder.reading(OUTPUT)
        self.objective, self.run = objective.eval().requires_grad_(False), run
        self.name = encoder.name

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight or setting of the text tower and the projections."""
        digest = hashlib.sha256(json.dumps(self.objective.config.to_json(), sort_keys=True).encode())
        for name, tensor in sorted(self.objective.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def texts(self, texts: Sequence[str], batch: int = 256) -> NDArray[np.float64]:
        """Return unit vectors `(n, dim)` of texts."""
        parts = [self.objective.place_text(texts[i : i + batch]) for i in range(0, len(texts), batch)]
        return _rows(parts)

    def tokens(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the token numbers of each text, without padding."""
        ids, inside = self.objective.text.tokenise(texts)
        return [tuple(row[there].tolist()) for row, there in zip(ids, inside, strict=True)]

    def check_apart(self, classes: Sequence[str], prompts: Sequence[Sequence[str]]) -> None:
        """Refuse classes that the text tower can't distinguish: every clip would get the first of them.

        Args:
            classes: names.
            prompts: for each template, the texts of the classes in their order.

        Raises:
            ConfigError: two classes have the same tokens in all templates.
        """
        alike: dict[tuple[tuple[int, ...], ...], list[str]] = {}
        for name, read in zip(classes, zip(*map(self.tokens, prompts), strict=True), strict=True):
            alike.setdefault(read, []).append(name)
        groups = [names for names in alike.values() if len(names) > 1]
        if groups:
            own = self.objective.text.unknown_words([name for names in groups for name in names])
            unknown = sorted({word for words in own for word in words})
            never = f" (unknown to it: {_some(unknown)})" if unknown else ""
            # Words that are unknown are so in every template; a long template cuts off what follows it.
            remedy = "pre-train on captions that contain these words" if unknown else "set a shorter --template"
            raise ConfigError(
                f"the text tower of {self.name} has the same tokens for the classes "
                f"{'; '.join(map(_some, groups[:_NAMED]))}{never} and can't distinguish them; {remedy}, or choose a "
                "column of other labels (--labels)"
            )

    def unknown_note(self, texts: Sequence[str], kind: str, *, spell: bool = False) -> tuple[str, ...]:
        """Return a note on the words of texts that are unknown to the text tower; none where it knows all of them.

        Args:
            texts: without repetitions.
            kind: of the texts, in the plural.
            spell: list the texts that contain such words.
        """
        words = {word for text in texts for word in split_words(text)}
        own = self.objective.text.unknown_words(texts)
        unknown = sorted({word for each in own for word in each})
        if not unknown:
            return ()
        touched = [text for text, each in zip(texts, own, strict=True) if each]
        return (
            f"{len(unknown)} of the {len(words)} different words of the {kind} ({len(unknown) / len(words):.0%}) are "
            f"unknown to the text tower, which has one token for all of them: {_some(unknown)}; {len(touched)} of "
            f"{len(texts)} {kind} contain such words{': ' + _some(touched) if spell else ''}",
        )

    def alike_note(self, texts: Sequence[str], kind: str) -> tuple[str, ...]:
        """Return a note on different texts that the text tower can't distinguish; none where there are none."""
        alike = sum(count for count in Counter(self.tokens(texts)).values() if count > 1)
        if not alike:
            return ()
        return (
            f"{alike} of {len(texts)} {kind} can't be distinguished from another of them: their tokens are the same",
        )

    def waves(self, wave: NDArray[Any] | Sequence[NDArray[Any]], rate: int) -> NDArray[np.float64]:
        """Return unit vectors `(n, dim)` of clips; arguments are those of `FrozenEncoder.embed`."""
        return self.place(np.atleast_2d(self.encoder.embed(wave, rate)))

    def embed(self, corpus: Corpus, rows: NDArray[np.int64] | None = None, *, progress: bool = True) -> EmbeddedClips:
        """Embed clips of a corpus.

        Args:
            corpus: the clips.
            rows: of the clips to embed; None: all.
            progress: show a progress bar.
        """
        numbered = corpus.with_column(_ROW, list(range(len(corpus))))
        wanted = numbered if rows is None else numbered.select(rows)
        with tempfile.TemporaryDirectory() as folder:
            done = embed_corpus(self.encoder, wanted, Path(folder) / "vectors.parquet", progress=progress)
            table = pq.read_table(done.path, columns=[_ROW, "embedding"])
        present = np.array([int(row) for row in table.column(_ROW).to_pylist()], dtype=np.int64)
        missing = {}
        for row in sorted({int(row) for row in wanted.column(_ROW)} - set(present.tolist())):
            file = corpus[row].file
            # Ranges of a recording are listed as `FILE [start + seconds]`.
            reasons = (said for name, said in done.broken.items() if name == file or name.startswith(f"{file} ["))
            missing[row] = next(reasons, "could not be read")
        vectors = np.array(table.column("embedding").to_pylist(), dtype=np.float32)
        return EmbeddedClips(present, missing, self.place(vectors))

    def place(self, pooled: NDArray[Any]) -> NDArray[np.float64]:
        """Return the unit vectors `(n, dim)` of clip vectors `(n, D)` of the encoder."""
        vectors = torch.from_numpy(np.ascontiguousarray(pooled)).to(self.objective.log_scale.device)
        return _rows([self.objective.place_audio(vectors)])


def open_audio_text(
    run: str | Path, step: int | None = None, *, device: str = "auto", precision: Precision = "fp32"
) -> AudioText:
    """Open a run that was trained on captions.

    Args:
        run: a run folder, or one of its checkpoints.
        step: which checkpoint of a run folder; None: the latest.
        device: where to compute: `auto`, `cpu`, `cuda` or `mps`.
        precision: of the audio encoder: `fp32`, `bf16` (autocast), or `auto`: bfloat16 on CUDA.

    Raises:
        CheckpointError: there is no such run, it is damaged, or it was not trained on captions.
        ConfigError: its text encoder can't be opened, or there is no such device here.
    """
    recipe = load_recipe(run)
    if not isinstance(recipe.objective, ClapConfig):
        raise CheckpointError(
            f"{run} was trained by {recipe.name}, which has no text tower; expected a recipe whose objective is "
            "ClapConfig (clap): pre-train with that"
        )
    path = Path(run)
    checkpoint = path if (path / "training.json").is_file() else RunFolder.open(path).checkpoint(step)
    encoder = load(run, step)
    objective = Clap(recipe.objective, encoder.encoder, generator(recipe.train.seed, "objective"))
    load_weights(objective, verify_file(checkpoint, "objective.safetensors", read_state(checkpoint)))
    place = find_device(device)
    encoder.precision = find_precision(precision, place)
    return AudioText(encoder.to(place), objective.to(place), checkpoint.resolve().parent.parent)


def untrained_audio_text(run: str | Path, towers: AudioText, seed: int = 0) -> AudioText:
    """Return the control of a run: its towers before any training, with other random weights.

    Its vocabulary is the run's; a text tower that starts from published weights has those.

    Args:
        run: a run folder that was trained on captions, or one of its checkpoints.
        towers: the opened run.
        seed: of the weights.
    """
    encoder = random_control(run, seed)
    objective = Clap(towers.objective.config, encoder.encoder, generator(seed, "objective"))
    objective.text.load_state_dict(dict(towers.objective.text.named_buffers()), strict=False)
    place = towers.encoder.device
    encoder.precision = towers.encoder.precision
    return AudioText(encoder.to(place), objective.to(place))


def _some(names: Sequence[str]) -> str:
    """Return the first names of a list, and the number of others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _rows(parts: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = torch.cat(list(parts)).double().cpu().numpy()
    return rows
