"""Tokens for evaluations: one folder of caches for all encoders and layers that read a corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.evaluation.driver import Evaluation, Layers
from auricle.tokens.cache import TokenCache
from auricle.tokens.clip_store import say
from auricle.tokens.extract import extract


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
        """Return the tokens of an encoder; what the folder does not hold is extracted."""
        wanted = {
            None: None,
            "blocks": tuple(range(1, encoder.depth + 1)) or (0,),
            "states": tuple(range(encoder.depth + 1)),
        }[layers]
        old = [path.parent for path in self.folder.glob("*/manifest.json")]
        if old:
            say(
                f"{len(old)} token caches of an earlier version in {self.folder} are not read; delete their folders to "
                f"free the disk: {', '.join(path.name for path in old[:3])}"
            )
        encoder = encoder.to(self.device)
        return extract(encoder, self.corpus, self.folder, layers=wanted, batch=self.batch, progress=self.progress)

    def opener(self) -> Callable[[Evaluation], TokenCache]:
        """Return `drive`'s `open_cache` that opens each cache once."""
        opened: dict[tuple[str, Layers], TokenCache] = {}

        def open_cache(one: Evaluation) -> TokenCache:
            encoder = one.evaluated.encoder
            if (encoder.fingerprint, one.layers) not in opened:
                opened[encoder.fingerprint, one.layers] = self.open(encoder, one.layers)
            return opened[encoder.fingerprint, one.layers]

        return open_cache
