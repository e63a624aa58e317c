"""The tokens of a corpus's clips: a view of a store of tokens, row by row of the corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np

from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError, Reason
from auricle.tokens.clip_store import ClipStore, Entry, Origin
from auricle.tokens.row_file import RowFile
from auricle.tokens.token_set import TokenSet


def wanted_origin(encoder: FrozenEncoder, layers: Sequence[int] | None) -> Origin:
    """Return the origin of an encoder's tokens.

    Raises:
        ConfigError: a layer does not exist or is named twice.
    """
    chosen = (encoder.depth,) if layers is None else tuple(layers)
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) > encoder.depth:
        raise ConfigError(f"layers {list(chosen)}: choose different ones from 0 to {encoder.depth} of {encoder.name}")
    frontend = json.loads(json.dumps(encoder.frontend.config.to_json()))
    return Origin(encoder.fingerprint, encoder.name, frontend, chosen, encoder.width, layers is None)


class TokenCache:
    """The tokens of a corpus, on disk.

    Args:
        store: holds the tokens.
        keys: of the corpus's clips, in order (`corpus.content.clip_keys`).
        missing: rows of the corpus whose clip could not be encoded, with the reason.
        corpus: fingerprint of the corpus.

    Attributes:
        origin: of the tokens.
        missing: as above.
        present: rows of the corpus in the cache, in order, `(n,)` int64.
    """

    def __init__(self, store: ClipStore, keys: Sequence[bytes], missing: dict[int, Reason], corpus: str = "") -> None:
        self.store, self.origin, self.missing = store, store.origin, missing
        self._corpus, self._keys = corpus, keys
        self.present = np.array([row for row in range(len(keys)) if row not in missing], dtype=np.int64)
        none = Entry(0, 0, (0,) * len(self.origin.layers), 0)
        entries = [none if row in missing else store.entries[key] for row, key in enumerate(keys)]
        self._slot = np.array([entry.slot for entry in entries], dtype=np.int64)
        self._time = np.array([entry.time for entry in entries], dtype=np.int64).reshape(len(keys), -1)
        counts = self._time * np.array(store.grids.freq if store.grids else 1, dtype=np.int64)
        first = np.array([entry.row for entry in entries], dtype=np.int64)
        self._start = first[:, None] + counts.cumsum(1) - counts

    def __len__(self) -> int:
        """Clips in the corpus, including missing ones."""
        return len(self._keys)

    @property
    def nbytes(self) -> int:
        """Bytes on disk of this corpus's clips."""
        return self.store.bytes_of(self._keys)

    @cached_property
    def _tables(self) -> tuple[RowFile, RowFile, RowFile, RowFile]:
        """Tokens, validity, clip vectors and class tokens of all layers, shared by all selections, read on demand."""
        return self.store.tables()

    @cached_property
    def _class_rows(self) -> tuple[RowFile | None, ...]:
        cls = self._tables[3]
        return tuple(cls.column(place) if cls.shape[2] else None for place in range(len(self.origin.layers)))

    def select(
        self,
        rows: Sequence[int] | np.ndarray | None = None,
        *,
        layer: int | None = None,
        layers: Literal["all"] | Sequence[int] | None = None,
    ) -> TokenSet:
        """Return clips of one layer, or of several, without reading their tokens.

        Args:
            rows: rows of the corpus, in the order wanted; None: all in the cache (`present`).
            layer: one of the cached layers; None: the last of them.
            layers: cached layers to stack, in the order wanted (`all`: as extracted); the set itself then reads the
                last of them. None: one layer, and no stack.

        Raises:
            CorpusError: a row's clip is missing or beyond the corpus.
            ConfigError: a layer is not cached, or is named twice; or both `layer` and `layers` are given.
        """
        kept = self.origin.layers
        if layer is not None and layers is not None:
            raise ConfigError(f"found layer={layer} and layers={layers}; expected one layer, or the layers to stack")
        stacked = None if layers is None else kept if layers == "all" else tuple(layers)
        if stacked is not None and (not stacked or len(set(stacked)) < len(stacked)):
            raise ConfigError(f"found layers {list(stacked)} to stack, expected different ones of {list(kept)}")
        wanted = (kept[-1] if layer is None else layer,) if stacked is None else stacked
        for one in wanted:
            if one not in kept:
                raise ConfigError(f"layer {one} is not in this cache of layers {list(kept)}; extract it")
        chosen = self.present if rows is None else np.asarray(rows, dtype=np.int64)
        for row in chosen[~np.isin(chosen, self.present)][:1]:
            reason = self.missing.get(int(row), f"the corpus has {len(self)} clips")
            raise CorpusError(f"clip {row} has no tokens ({reason}); select among `present`")
        sets = [self._layer(chosen, kept.index(one)) for one in wanted]
        return sets[0] if stacked is None else TokenSet.of_layers(sets)

    def _layer(self, rows: np.ndarray, place: int) -> TokenSet:
        tokens, valid, vectors, _ = self._tables
        grids = self.store.grids
        return TokenSet(
            tokens=tokens,
            valid=valid,
            start=self._start[rows, place],
            time=self._time[rows, place],
            freq=grids.freq[place] if grids else 1,
            rate=grids.rate[place] if grids else 1.0,
            vectors=vectors,
            row=self._slot[rows],
            class_rows=self._class_rows[place],
            encoder=self.origin.encoder,
            corpus=self._corpus,
            layer=self.origin.layers[place],
        )
