"""A pre-trained pair of towers, ready to be asked: clips and texts as unit vectors in one space."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from auricle.corpus.table import Corpus
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
# Most words or classes that a message spells out.
_NAMED = 8


class AudioText:
    """A pre-trained pair of towers, only read from: clips and texts as unit vectors in one space.

    Args:
        encoder: front end and audio encoder.
        objective: text tower and projections.
        run: folder of the run, which tells what it was trained on; None where there is none.

    Attributes:
        name: of the run.
    """

    def __init__(self, encoder: FrozenEncoder, objective: Clap, run: Path | None = None) -> None:
        self.encoder, self.objective, self.run = encoder, objective.eval().requires_grad_(False), run
        self.name = encoder.name

    def texts(self, texts: Sequence[str], batch: int = 256) -> NDArray[np.float64]:
        """Return unit vectors `(n, dim)` of texts."""
        parts = [self.objective.place_text(texts[i : i + batch]) for i in range(0, len(texts), batch)]
        return _rows(parts)

    def tokens(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return what the text tower reads of each text: its token numbers, without padding."""
        ids, inside = self.objective.text.tokenise(texts)
        return [tuple(row[there].tolist()) for row, there in zip(ids, inside, strict=True)]

    def check_apart(self, classes: Sequence[str], prompts: Sequence[Sequence[str]]) -> None:
        """Refuse classes that the text tower can't tell apart: a clip would get the first of them, whatever it holds.

        Args:
            classes: names.
            prompts: for each template, the texts of the classes in their order.

        Raises:
            ConfigError: two classes are the very same tokens in all templates.
        """
        alike: dict[tuple[tuple[int, ...], ...], list[str]] = {}
        for name, read in zip(classes, zip(*map(self.tokens, prompts), strict=True), strict=True):
            alike.setdefault(read, []).append(name)
        groups = [names for names in alike.values() if len(names) > 1]
        if groups:
            own = self.objective.text.unknown_words([name for names in groups for name in names])
            unknown = sorted({word for words in own for word in words})
            never = f" (it never learnt {_some(unknown)})" if unknown else ""
            train = "pre-train on captions that hold these words, or " if unknown else ""
            raise ConfigError(
                f"the text tower of {self.name} reads the classes {'; '.join(map(_some, groups[:_NAMED]))} as the very "
                f"same tokens{never} and can't tell them apart; {train}take other templates (--template) or a column "
                "of other labels (--labels)"
            )

    def unknown_note(self, texts: Sequence[str], kind: str, *, spell: bool = False) -> tuple[str, ...]:
        """Return a note on the words of texts that the text tower never learnt; none where it knows all of them.

        Args:
            texts: different ones.
            kind: what they are, in the plural.
            spell: name the texts that hold such words.
        """
        words = {word for text in texts for word in split_words(text)}
        own = self.objective.text.unknown_words(texts)
        unknown = sorted({word for each in own for word in each})
        if not unknown:
            return ()
        touched = [text for text, each in zip(texts, own, strict=True) if each]
        return (
            f"the text tower never learnt {len(unknown)} of the {len(words)} different words of the {kind} "
            f"({len(unknown) / len(words):.0%}), and reads all of them as one: {_some(unknown)}; {len(touched)} of "
            f"{len(texts)} {kind} hold such words{': ' + _some(touched) if spell else ''}",
        )

    def alike_note(self, texts: Sequence[str], kind: str) -> tuple[str, ...]:
        """Return a note on different texts that the text tower can't tell apart; none where there are none."""
        alike = sum(count for count in Counter(self.tokens(texts)).values() if count > 1)
        if not alike:
            return ()
        return (
            f"{alike} of {len(texts)} {kind} can't be told apart from another of them: to the text tower they are the "
            "very same tokens",
        )

    def waves(self, wave: NDArray[Any] | Sequence[NDArray[Any]], rate: int) -> NDArray[np.float64]:
        """Return unit vectors `(n, dim)` of clips; see `FrozenEncoder.embed` for what may be given."""
        return self._place(np.atleast_2d(self.encoder.embed(wave, rate)))

    def corpus(self, corpus: Corpus, *, progress: bool = True) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows of the clips that can be read `(n,)`, and their unit vectors `(n, dim)`."""
        numbered = corpus.with_column(_ROW, list(range(len(corpus))))
        with tempfile.TemporaryDirectory() as folder:
            done = embed_corpus(self.encoder, numbered, Path(folder) / "vectors.parquet", progress=progress)
            table = pq.read_table(done.path, columns=[_ROW, "embedding"])
        rows = np.array([int(row) for row in table.column(_ROW).to_pylist()], dtype=np.int64)
        return rows, self._place(np.array(table.column("embedding").to_pylist(), dtype=np.float32))

    def _place(self, pooled: NDArray[Any]) -> NDArray[np.float64]:
        return _rows([self.objective.place_audio(torch.from_numpy(np.ascontiguousarray(pooled)))])


def open_audio_text(run: str | Path, step: int | None = None) -> AudioText:
    """Open a run that was trained on captions.

    Args:
        run: a run folder, or one of its checkpoints.
        step: which checkpoint of a run folder; None: the latest.

    Raises:
        CheckpointError: there is no such run, it is damaged, or it was not trained on captions.
        ConfigError: its text encoder can't be opened.
    """
    recipe = load_recipe(run)
    if not isinstance(recipe.objective, ClapConfig):
        raise CheckpointError(
            f"{run} was trained by {recipe.name}, which hears no captions: it can't be asked in words; pre-train with "
            "a recipe whose objective is ClapConfig (clap)"
        )
    path = Path(run)
    checkpoint = path if (path / "training.json").is_file() else RunFolder.open(path).checkpoint(step)
    encoder = load(run, step)
    objective = Clap(recipe.objective, encoder.encoder, generator(recipe.train.seed, "objective"))
    load_weights(objective, verify_file(checkpoint, "objective.safetensors", read_state(checkpoint)))
    return AudioText(encoder, objective, checkpoint.resolve().parent.parent)


def untrained_audio_text(run: str | Path, towers: AudioText, seed: int = 0) -> AudioText:
    """Return the control of a run: its towers as a training begins, with other random weights.

    What is no weight of the text tower (its vocabulary) is the run's; a text tower that begins with published weights
    has those.

    Args:
        run: a run folder that was trained on captions, or one of its checkpoints.
        towers: what was opened of it.
        seed: of the weights.
    """
    encoder = random_control(run, seed)
    objective = Clap(towers.objective.config, encoder.encoder, generator(seed, "objective"))
    objective.text.load_state_dict(dict(towers.objective.text.named_buffers()), strict=False)
    return AudioText(encoder, objective)


def _some(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many follow."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


def _rows(parts: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = torch.cat(list(parts)).double().cpu().numpy()
    return rows
