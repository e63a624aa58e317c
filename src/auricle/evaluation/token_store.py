"""Token caches of a corpus, each extracted once and shared by all probes that read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.tokens.cache import TokenCache
from auricle.tokens.clip_store import say
from auricle.tokens.extract import extract

if TYPE_CHECKING:
    from auricle.evaluation.driver import Evaluation

Layers = Literal["blocks", "states"] | None
"""What a probe reads of an encoder: its output (None), the output of each block, or all hidden states."""
_COMPARED = 1000  # clips whose vectors are compared
_CONSTANT = 1e-3  # of their size


@dataclass(frozen=True)
class TokenStore:
    """Token caches of a corpus in one folder; each is extracted once and shared by all probes that read it.

    Attributes:
        corpus: the clips.
        folder: of the caches.
        batch: clips encoded at once.
        device: where encoders run.
        progress: show progress bars.
    """

    corpus: Corpus
    folder: Path
    batch: int = 16
    device: str = "cpu"
    progress: bool = True

    def open(self, encoder: FrozenEncoder, layers: Layers = None) -> TokenCache:
        """Return the tokens of an encoder; what the folder does not hold is extracted.

        The encoder runs on this store's device, and returns to its own.
        """
        wanted = {
            None: None,
            "blocks": tuple(range(1, encoder.depth + 1)) or (0,),
            "states": tuple(range(encoder.depth + 1)),
        }[layers]
        _name_old_caches(self.folder)
        home = encoder.device
        try:
            encoder.to(self.device)
            return extract(encoder, self.corpus, self.folder, layers=wanted, batch=self.batch, progress=self.progress)
        finally:
            encoder.to(home)

    def opener(self) -> Callable[[Evaluation], TokenCache]:
        """Return `drive`'s `open_cache` that opens each cache once, of the corpus of each task."""
        opened: dict[tuple[str, str, Layers], TokenCache] = {}

        def open_cache(one: Evaluation) -> TokenCache:
            encoder, corpus = one.evaluated.encoder, one.task.corpus
            key = (corpus.fingerprint, encoder.fingerprint, one.layers)
            if key not in opened:
                opened[key] = replace(self, corpus=corpus).open(encoder, one.layers)
            return opened[key]

        return open_cache


@lru_cache
def _name_old_caches(folder: Path) -> None:
    """Say, once for each folder, which caches in it are of an earlier version."""
    old = [path.parent for path in folder.glob("*/manifest.json")]
    if old:
        say(
            f"{len(old)} token caches of an earlier version in {folder} are not read; delete their folders to "
            f"free the disk: {', '.join(path.name for path in old[:3])}"
        )


def constant_note(cache: TokenCache) -> str | None:
    """Return a note where the clip vectors of a cache hardly differ; None where they do, or there is one clip."""
    rows = cache.present
    if len(rows) < 2:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _COMPARED)).astype(int)]
    vectors = np.asarray(cache.select(np.unique(rows)).pooled, dtype=np.float64)
    if vectors.var(0).mean() > _CONSTANT**2 * np.square(vectors).mean():
        return None
    return (
        "its vectors are the same for every clip (to 1 part in 1,000), so that scores of clip vectors mean nothing: "
        "the recordings are equal, or the encoder has collapsed"
    )


def progress_bar(show: bool) -> Progress:
    """Return a progress bar with counts and an estimate."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, disable=not show)
