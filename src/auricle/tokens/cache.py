"""A token cache on disk: every clip's frozen tokens once, fp16, with the fingerprints of their origin.

A cache is a folder: `tokens.bin` (fp16 rows of D, clip after clip, layer after layer), `valid.bin` (one byte a row),
`clips.npz` (each clip's first row, grid, clip vector and class tokens), and `manifest.json`, written last: a folder
without it holds an unfinished extraction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError, StaleCacheError
from auricle.tokens.row_file import RowFile
from auricle.tokens.token_set import TokenSet

FORMAT = 1
MANIFEST = "manifest.json"
TOKENS = "tokens.bin"
VALID = "valid.bin"
CLIPS = "clips.npz"


@dataclass(frozen=True)
class Manifest:
    """Content and origin of a cache; all but the counts must match for the cache to be used.

    Attributes:
        encoder: fingerprint of weights and front end.
        encoder_name: for messages.
        frontend: settings of the front end, as JSON data.
        corpus: fingerprint of the corpus's table.
        corpus_name: for messages.
        clips: number of clips in the corpus.
        layers: the layers kept, in order.
        width: D.
        freq: frequency rows of each layer's grid.
        rate: time columns per second of each layer's grid (Hz).
        rows: tokens stored, over all clips and layers.
        missing: clips that could not be encoded: row in the corpus -> reason.
        checksums: SHA-256 of each file.
        dtype: of the tokens.
        format: of the folder.
    """

    encoder: str
    encoder_name: str
    frontend: dict[str, Any]
    corpus: str
    corpus_name: str
    clips: int
    layers: tuple[int, ...]
    width: int
    freq: tuple[int, ...] = ()
    rate: tuple[float, ...] = ()
    rows: int = 0
    missing: dict[int, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    dtype: str = "float16"
    format: int = FORMAT

    def differences(self, wanted: Manifest) -> list[str]:
        """Name the differences between this cache's origin and the wanted one."""
        same = {
            "weights or front end": (self.encoder, wanted.encoder),
            "front end": (self.frontend, wanted.frontend),
            "corpus": (self.corpus, wanted.corpus),
            "number of clips": (self.clips, wanted.clips),
            "layers": (self.layers, wanted.layers),
            "width": (self.width, wanted.width),
            "format": (self.format, wanted.format),
        }
        return [f"{name}: cached {old}, wanted {new}" for name, (old, new) in same.items() if old != new]

    def to_json(self) -> str:
        """Return the manifest as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `to_json`'s text.

        Raises:
            ValueError: the text is no manifest.
        """
        try:
            data = json.loads(text)
            for name in ("layers", "freq", "rate"):
                data[name] = tuple(data[name])
            data["missing"] = {int(row): reason for row, reason in data["missing"].items()}
            return cls(**data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a manifest: {error}") from error


def wanted_manifest(encoder: FrozenEncoder, corpus: Corpus, layers: Sequence[int] | None) -> Manifest:
    """Return the manifest of an encoder's cache of a corpus.

    Raises:
        ConfigError: a layer does not exist or is named twice.
    """
    chosen = (encoder.depth,) if layers is None else tuple(layers)
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) > encoder.depth:
        raise ConfigError(f"layers {list(chosen)}: choose different ones from 0 to {encoder.depth} of {encoder.name}")
    return Manifest(
        encoder=encoder.fingerprint,
        encoder_name=encoder.name,
        frontend=json.loads(json.dumps(encoder.frontend.config.to_json())),
        corpus=corpus.fingerprint,
        corpus_name=corpus.name,
        clips=len(corpus),
        layers=chosen,
        width=encoder.width,
    )


class TokenCache:
    """A complete cache, opened.

    Attributes:
        folder: of the cache.
        manifest: its content and origin.

    Raises:
        StaleCacheError: the folder holds no complete cache, or a damaged one.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = Manifest.from_json((self.folder / MANIFEST).read_text())
        except FileNotFoundError as error:
            raise StaleCacheError(f"no complete token cache in {self.folder}; extract the tokens first") from error
        except (ValueError, OSError) as error:
            raise StaleCacheError(f"{self.folder / MANIFEST} is damaged ({error}); delete the folder") from error
        if self.manifest.format != FORMAT:
            raise StaleCacheError(f"{self.folder} has format {self.manifest.format}, expected {FORMAT}; extract again")
        rows, width = self.manifest.rows, self.manifest.width
        for name, size in ((TOKENS, rows * width * 2), (VALID, rows)):
            found = (self.folder / name).stat().st_size if (self.folder / name).is_file() else -1
            if found != size:
                raise StaleCacheError(
                    f"{self.folder / name} has {max(found, 0)} bytes, expected {size}: the cache is damaged; "
                    "delete the folder"
                )
        self._check(CLIPS)
        with np.load(self.folder / CLIPS, allow_pickle=False) as clips:
            self._start, self._time = clips["start"], clips["time"]

    @classmethod
    def open(
        cls, folder: Path | str, *, encoder: FrozenEncoder, corpus: Corpus, layers: Sequence[int] | None = None
    ) -> TokenCache:
        """Open the cache of this encoder, this corpus and these layers.

        Raises:
            StaleCacheError: there is none, it is damaged, or of another origin (naming the differences).
        """
        cache = cls(folder)
        cache.require(wanted_manifest(encoder, corpus, layers))
        return cache

    def require(self, wanted: Manifest) -> None:
        """Check that the cache is the wanted one.

        Raises:
            StaleCacheError: naming the differences.
        """
        differing = self.manifest.differences(wanted)
        if differing:
            raise StaleCacheError(
                f"the token cache in {self.folder} is stale: {'; '.join(differing)}; delete it, or choose another"
            )

    def __len__(self) -> int:
        """Clips in the corpus, including missing ones."""
        return self.manifest.clips

    @property
    def missing(self) -> dict[int, str]:
        """Rows of the corpus whose clip could not be encoded, with the reason."""
        return self.manifest.missing

    @cached_property
    def present(self) -> np.ndarray:
        """Rows of the corpus in the cache, in order, `(n,)` int64."""
        return np.setdiff1d(np.arange(len(self)), np.fromiter(self.missing, dtype=np.int64, count=len(self.missing)))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum((self.folder / name).stat().st_size for name in (TOKENS, VALID, CLIPS))

    @cached_property
    def _tables(self) -> tuple[RowFile, RowFile, RowFile, RowFile]:
        """Tokens, validity, clip vectors and class tokens of all layers, shared by all selections, read on demand."""
        rows, width = self.manifest.rows, self.manifest.width
        return (
            RowFile(self.folder / TOKENS, np.float16, rows, (width,)),
            RowFile(self.folder / VALID, bool, rows),
            RowFile.in_archive(self.folder / CLIPS, "pooled"),
            RowFile.in_archive(self.folder / CLIPS, "cls"),
        )

    @cached_property
    def _class_rows(self) -> tuple[RowFile | None, ...]:
        cls = self._tables[3]
        return tuple(cls.column(place) if cls.shape[2] else None for place in range(len(self.manifest.layers)))

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
        kept = self.manifest.layers
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
        return TokenSet(
            tokens=tokens,
            valid=valid,
            start=self._start[rows, place],
            time=self._time[rows, place],
            freq=self.manifest.freq[place],
            rate=self.manifest.rate[place],
            vectors=vectors,
            row=rows,
            class_rows=self._class_rows[place],
            encoder=self.manifest.encoder,
            corpus=self.manifest.corpus,
            layer=self.manifest.layers[place],
        )

    def verify(self) -> None:
        """Read every byte and compare checksums.

        Raises:
            StaleCacheError: a file has changed.
        """
        for name in (TOKENS, VALID, CLIPS):
            self._check(name)

    def _check(self, name: str) -> None:
        path = self.folder / name
        if not path.is_file() or file_checksum(path) != self.manifest.checksums.get(name):
            raise StaleCacheError(f"{path} is missing or damaged: its checksum differs; delete the folder")


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
