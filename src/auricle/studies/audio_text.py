"""A pre-trained pair of towers, ready to be asked: clips and texts as unit vectors in one space."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import CheckpointError
from auricle.objectives.clap import Clap, ClapConfig
from auricle.recipes.building import generator
from auricle.recipes.load import load, load_recipe, random_control
from auricle.tokens.embeddings import embed_corpus
from auricle.training.checkpoint import load_weights, read_state, verify_file
from auricle.training.run_folder import RunFolder

_ROW = "clip_row"


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
    objective = recipe.objective.build(encoder.encoder, generator(recipe.train.seed, "objective"))
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
    objective = towers.objective.config.build(encoder.encoder, generator(seed, "objective"))
    objective.text.load_state_dict(dict(towers.objective.text.named_buffers()), strict=False)
    return AudioText(encoder, objective)


def _rows(parts: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = torch.cat(list(parts)).double().cpu().numpy()
    return rows
