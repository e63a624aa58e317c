"""What a type of task promises: what it needs of a corpus, which readers serve it, and how one of them is judged."""

from __future__ import annotations

import io
import json
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config, nearest
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.probes import LossConfig, SearchConfig
from auricle.results.predictions import TaskPredictions
from auricle.storage import write_atomic
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold
from auricle.tokens.cache import TokenCache
from auricle.tokens.token_set import TokenSet

Kept = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Protocol:
    """All that decides a result beside encoder, corpus, card and reader; part of every result's key."""

    seeds: tuple[int, ...]
    search: SearchConfig
    loss: LossConfig | None
    refit: bool
    resamples: int
    confidence: float
    split_seed: int


@dataclass(frozen=True)
class TaskPlan:
    """A task laid over a corpus, before any encoder is asked.

    Attributes:
        rows: `(n,)` corpus rows of the clips that take part.
        protocol: `folds`, `split`, or what the type calls its division.
        words: how training, validation and test units were chosen.
        groups: `(n,)` source of each clip: clips of one source are no independent evidence.
        notes: what a reader of the scores must know.
        payload: what the type needs itself (targets, folds, trials ...).
    """

    rows: NDArray[np.int64]
    protocol: str
    words: str
    groups: NDArray[np.str_]
    notes: tuple[str, ...] = ()
    payload: Any = None


@dataclass(frozen=True)
class Outcome:
    """What judging one reader yields.

    Attributes:
        judged: answers of all test units.
        fold_names: of the divisions.
        sizes: per division, `[training, validation, test]` numbers of clips.
        units_total: test units there would be if every clip could be read.
        chosen: per division, what validation chose.
        tried: settings tried per division.
        params: trained parameters of the reader.
        macs: multiply-adds of the reader per clip; None: not counted.
        settings: what was searched and how.
        refit: trained again on training and validation clips at the chosen settings.
        notes: what a reader of the score must know.
        details: JSON-ready extras, beside those of `TaskPredictions.detail`.
    """

    predictions: TaskPredictions
    fold_names: Sequence[str]
    sizes: Sequence[Sequence[int]]
    units_total: int
    chosen: list[dict[str, Any]] = field(default_factory=list)
    tried: int = 0
    params: int = 0
    macs: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    refit: bool = False
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One encoder, one reader, one task.

    Attributes:
        card: the task.
        corpus: its clips.
        plan: the task laid over the corpus.
        encoder: the frozen encoder.
        name: of the reader.
        reader: its settings.
        cache: the encoder's tokens of the corpus.
        protocol: seeds, search and the like.
        device: where readers are trained.
        folder: where finished parts are kept until the whole is done.
        tell: called with the share of the work that is done, 0 ... 1.
    """

    card: TaskCard
    corpus: Corpus
    plan: TaskPlan
    encoder: FrozenEncoder
    name: str
    probe: Config
    cache: TokenCache
    protocol: Protocol
    device: str
    folder: Path
    tell: Callable[[float], None]

    @property
    def here(self) -> NDArray[np.bool_]:
        """`(n,)` over `plan.rows`: which clips could be read and encoded."""
        here: NDArray[np.bool_] = np.isin(self.plan.rows, self.cache.present)
        return here

    @property
    def clip_names(self) -> NDArray[np.str_]:
        """`(n,)` over `plan.rows`: unique names of the clips, equal for equal clips in any corpus table."""
        return clip_names(self.corpus, self.plan.rows)

    def tokens(self, places: np.ndarray | None = None, *, layers: bool = False) -> TokenSet:
        """Return the tokens of clips that are here.

        Args:
            places: places in `plan.rows`, in the order wanted; None: all that are here.
            layers: with the stack of all cached layers, for readers of layers.
        """
        rows = self.plan.rows[self.here if places is None else np.asarray(places, dtype=np.int64)]
        return self.cache.select(rows, layers="all") if layers else self.cache.select(rows)

    def readable(self, folds: Sequence[Fold]) -> list[Fold]:
        """Return the folds with their unread clips left out; places count in `tokens()`, not in `plan.rows`.

        Raises:
            CorpusError: a side of a fold has no clip left.
        """
        here = self.here
        present = np.where(here, np.cumsum(here) - 1, -1)
        return [_readable(fold, here, present) for fold in folds]

    def kept(self, name: str, make: Callable[[], Kept]) -> Kept:
        """Return a finished part of the work from disk, or make it and keep it.

        So a stopped evaluation goes on where it was. A part that can't be read is made again.

        Args:
            name: of the part, unique in this job.
            make: returns JSON-ready data and arrays.
        """
        path = self.folder / f"{name}.npz"
        held = _load_part(path)
        if held is None:
            held = make()
            packed = io.BytesIO()
            arrays: dict[str, Any] = {f"a.{key}": array for key, array in held[1].items()}
            np.savez(packed, json=np.array(json.dumps(held[0])), **arrays)
            write_atomic(path, packed.getvalue())
        return held


class TaskType(ABC):
    """A type of task.

    Attributes:
        name: `clips`, `events` ...
        readers: the readers that serve it, by the names that a user gives.
        default_readers: those taken where none is named.
    """

    name: ClassVar[str]
    probes: ClassVar[dict[str, Config]]
    default_probes: ClassVar[tuple[str, ...]]

    def probe(self, asked: str | Config) -> tuple[str, Config]:
        """Return a reader's name and settings.

        Raises:
            ConfigError: none is called so, or these settings are of no reader of this type.
        """
        if isinstance(asked, Config):
            kinds = {type(config) for config in self.probes.values()}
            if not isinstance(asked, tuple(kinds)):
                known = ", ".join(sorted(self.probes))
                raise ConfigError(f"{type(asked).__name__} reads no task of type {self.name!r}; its readers: {known}")
            names = [name for name, config in self.probes.items() if config == asked]
            made = f"{type(asked).__name__.removesuffix('Config').lower()}-{asked.fingerprint()[:6]}"
            return (names[0] if names else made), asked
        if asked not in self.probes:
            raise ConfigError(
                f"no reader of tasks of type {self.name!r} is called {asked!r}{nearest(asked, self.probes)}"
            )
        return asked, self.probes[asked]

    @abstractmethod
    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Lay the task over a corpus. Whatever can be refused is refused here, before anything is encoded.

        Args:
            card: the task.
            corpus: its clips.
            seed: of folds and validation clips that are made here.

        Raises:
            CorpusError: the corpus can't serve the task.
        """

    def usual(self, plan: TaskPlan) -> tuple[str, ...]:
        """Return the readers taken where none is named, of those that this plan allows."""
        return self.default_probes

    def check(self, probe: Config, plan: TaskPlan) -> None:  # noqa: B027 - most types need nothing
        """Refuse a reader that can't serve a plan, before anything is encoded.

        Raises:
            CorpusError: the plan lacks what the reader needs.
        """

    def layers(self, probe: Config) -> Literal["all"] | None:
        """Return which layers of an encoder a reader wants: None: its output; `all`: the output of each block."""
        return None

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """Judge one reader of one encoder."""

    def headline(self, card: TaskCard, predictions: TaskPredictions) -> str:
        """Return the name of the headline metric."""
        return card.metric or predictions.metrics[0]


def clip_names(corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return a unique name for each clip: its file, and where it begins."""
    files, starts = corpus.column("file"), corpus.column("start")
    return np.array([f"{files[r]}@{starts[r]:.6f}" for r in rows], dtype=np.str_)


def cells(corpus: Corpus, column: str, rows: NDArray[np.int64]) -> list[Any]:
    """Return a column's values for some rows."""
    values = corpus.column(column)
    return [values[row] for row in rows]


def labels_of(card: TaskCard, corpus: Corpus) -> list[Any]:
    """Return what each clip's label cell holds.

    Raises:
        CorpusError: the corpus has no such column.
    """
    if card.label not in corpus.columns:
        raise CorpusError(
            f"corpus {corpus.name} has no column {card.label!r}, which task {card.name!r} reads: name another one with "
            f"--label{nearest(card.label, corpus.columns)}"
        )
    return corpus.column(card.label)


def source_groups(card: TaskCard, corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return the source of each clip; clips without one belong to their file."""
    files = cells(corpus, "file", rows)
    sources = cells(corpus, card.source, rows) if card.source in corpus.columns else [None] * len(files)
    named = [f"source {s}" if s not in (None, "") else f"file {f}" for s, f in zip(sources, files, strict=True)]
    return np.array(named, dtype=np.str_)


def _readable(fold: Fold, here: NDArray[np.bool_], present: NDArray[np.int64]) -> Fold:
    sides = {name: present[rows[here[rows]]] for name, rows in (("t", fold.train), ("v", fold.valid), ("e", fold.test))}
    if not all(len(rows) for rows in sides.values()):
        raise CorpusError(
            f"fold {fold.name} has no readable clips on one side (training {len(sides['t'])}, validation "
            f"{len(sides['v'])}, test {len(sides['e'])}): mend those that `auricle corpus scan` calls broken"
        )
    return Fold(fold.name, sides["t"], sides["v"], sides["e"])


def _load_part(path: Path) -> Kept | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name[2:]: file[name] for name in file.files if name.startswith("a.")}
            return json.loads(str(file["json"])), arrays
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError):
        return None
