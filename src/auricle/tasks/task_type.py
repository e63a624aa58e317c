"""The contract of a type of task: plan a card on a corpus, name the probes, evaluate one probe of one encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config, nearest
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.probes import LossConfig, ProbeConfig, SearchConfig
from auricle.results.predictions import TaskPredictions
from auricle.results.scoring import Scores, score
from auricle.storage import read_part, write_part
from auricle.tasks.card import TaskCard
from auricle.tasks.folds import Fold, readable_folds
from auricle.tasks.targets import clip_names
from auricle.tokens.cache import TokenCache
from auricle.tokens.token_set import TokenSet

Probe = TypeVar("Probe", bound=Config)
Kept = tuple[dict[str, Any], dict[str, np.ndarray]]  # a finished part of an evaluation: JSON-ready data, and arrays
# Takes what was fitted: name of the division, seed, the fitted probe, and further facts of the type.
KeepHead = Callable[[str, int, Any, dict[str, Any]], None]


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a result beside encoder, corpus, card and probe; part of every result's key."""

    seeds: tuple[int, ...]
    search: SearchConfig
    loss: LossConfig | None
    refit: bool
    confidence: float
    split_seed: int

    def score(self, predictions: TaskPredictions, metric: str) -> Scores:
        """Score predictions with this protocol's confidence."""
        return score(predictions, metric, confidence=self.confidence)


@dataclass(frozen=True)
class TaskPlan:
    """A task on one corpus, before any encoder is run.

    Attributes:
        rows: `(n,)` corpus rows of the clips that take part.
        protocol: `folds`, `split`, or the type's name for its division.
        description: how training, validation and test units were chosen.
        groups: `(n,)` source of each clip: clips of one source are no independent evidence.
        notes: caveats for whoever reads the scores.
        metric: the headline that the labels ask for; "": the first of the type.
        payload: data of the type itself (targets, folds, trials ...).
        folds: its divisions into training, validation and test clips, as indices into `rows`; empty where it has none.
    """

    rows: NDArray[np.int64]
    protocol: str
    description: str
    groups: NDArray[np.str_]
    notes: tuple[str, ...] = ()
    payload: Any = None
    metric: str = ""
    folds: tuple[Fold, ...] = ()

    def headline(self, card: TaskCard) -> str:
        """Return the headline that the card or the labels ask for; "": the first of the type."""
        return card.metric or self.metric


@dataclass(frozen=True)
class Outcome:
    """Result of evaluating one probe of one encoder.

    Attributes:
        predictions: of all test units.
        fold_names: of the divisions.
        sizes: per division, `[training, validation, test]` numbers of clips.
        units_total: number of test units if every clip could be read.
        chosen: per division, the settings that validation chose.
        tried: settings tried per division.
        params: trained parameters of the probe.
        macs: multiply-adds of the probe per clip; None: not counted.
        settings: what was searched and how.
        refit: trained again on training and validation clips at the chosen settings.
        notes: caveats for whoever reads the score.
        details: JSON-ready extras, added to those of `TaskPredictions.detail`.
        constant: predictions that ignore the sound, and their name; None: those of `TaskPredictions.constant`.
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
    constant: tuple[str, TaskPredictions] | None = None


@dataclass(frozen=True)
class Job:
    """One evaluation: one probe of one encoder on one task.

    Attributes:
        card: the task.
        corpus: its clips.
        plan: the task on this corpus.
        encoder: the frozen encoder.
        name: of the probe.
        probe: its settings.
        cache: the encoder's tokens of the corpus.
        protocol: seeds, search, confidence.
        device: where probes are trained.
        folder: holds finished parts until the whole is done.
        progress: called with the share of the work that is done, 0 ... 1.
        keep: called with each fitted probe, before its part is finished; None: they are not kept.
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
    progress: Callable[[float], None]
    keep: KeepHead | None = None

    def keep_heads(
        self, fold: str, seeds: Sequence[int], fitted: Sequence[Any], facts: Sequence[dict[str, Any]]
    ) -> None:
        """Keep what was fitted on a division with each seed, where that was asked for; `facts` as `KeepHead` takes."""
        if self.keep is not None:
            for seed, one, more in zip(seeds, fitted, facts, strict=True):
                self.keep(fold, seed, one, more)

    def probe_as(self, kind: type[Probe]) -> Probe:
        """Return the settings of the probe, for a type of task that has one kind of probes.

        Raises:
            ConfigError: the settings are of another class.
        """
        if not isinstance(self.probe, kind):
            raise ConfigError(
                f"{type(self.probe).__name__} does not serve task {self.card.name!r}; expected {kind.__name__}"
            )
        return self.probe

    @property
    def training(self) -> dict[str, Any]:
        """`search`, `refit` and `device`, as the functions that fit a fold take them."""
        search = self.protocol.search.by(self.plan.headline(self.card))
        return {"search": search, "refit": self.protocol.refit, "device": self.device}

    @property
    def present(self) -> NDArray[np.bool_]:
        """`(n,)` over `plan.rows`: whether each clip could be read and encoded."""
        return np.asarray(np.isin(self.plan.rows, self.cache.present))

    @property
    def clip_names(self) -> NDArray[np.str_]:
        """`(n,)` over `plan.rows`: unique names of the clips, equal for equal clips in any corpus table."""
        return clip_names(self.corpus, self.plan.rows)

    def tokens(self, places: np.ndarray | None = None, *, layers: bool = False) -> TokenSet:
        """Return the tokens of clips that could be read.

        Args:
            places: indices into `plan.rows`, in the order wanted; None: all clips that could be read.
            layers: include the stack of all cached layers, for probes of layers.
        """
        rows = self.plan.rows[self.present if places is None else np.asarray(places, dtype=np.int64)]
        return self.cache.select(rows, layers="all") if layers else self.cache.select(rows)

    def readable(self, folds: Sequence[Fold]) -> list[Fold]:
        """Return the folds without unreadable clips; indices are into `tokens()`, not into `plan.rows`.

        Raises:
            CorpusError: a side of a fold has no clip left.
        """
        return readable_folds(folds, self.present)

    def kept(self, name: str, make: Callable[[], Kept]) -> Kept:
        """Return the finished part `name` from disk, or make it and keep it, so that a stopped evaluation resumes.

        A damaged part is made again.
        """
        path = self.folder / f"{name}.npz"
        held = read_part(path)
        if held is None:
            held = make()
            write_part(path, *held)
        return held

    def each_fold(self, folds: Sequence[Fold], fit: Callable[[Fold, Callable[[float], None]], Kept]) -> list[Kept]:
        """Return the finished part of each fold, from disk or from `fit`.

        `fit` is called with a fold, and with a function that takes the share of the fold's work that is done.
        """
        parts = []
        for number, fold in enumerate(folds):

            def report(share: float, number: int = number) -> None:
                self.progress((number + share) / len(folds))

            parts.append(self.kept(f"fold-{number}", lambda fold=fold, report=report: fit(fold, report)))  # type: ignore[misc]
            report(1.0)
        return parts

    def test_units(self, folds: Sequence[Fold]) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Return the test clips of all folds in a row: their indices into `tokens()`, and the fields of predictions.

        The fields are `names`, `group` and `fold` of `TaskPredictions`.
        """
        rows = np.concatenate([fold.test for fold in folds])
        present = self.present
        fold = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
        names, group = self.clip_names[present][rows], self.plan.groups[present][rows]
        return rows, {"names": names, "group": group, "fold": fold}


class TaskType(ABC):
    """A type of task.

    Attributes:
        name: of the type, that of its rule (`TaskRule.type_name`).
        probes: the probes that serve it, by name.
        default_probes: those evaluated where none is named.
    """

    name: ClassVar[str]
    probes: ClassVar[Mapping[str, Config]]
    default_probes: ClassVar[tuple[str, ...]]

    def probe(self, asked: str | Config) -> tuple[str, Config]:
        """Return a probe's name and settings, or refuse what serves no task of this type (`ConfigError`)."""
        if isinstance(asked, Config):
            if not isinstance(asked, tuple({type(config) for config in self.probes.values()})):
                raise ConfigError(
                    f"{type(asked).__name__} serves no task of type {self.name!r}; its probes are "
                    f"{', '.join(sorted(self.probes))}"
                )
            names = [name for name, config in self.probes.items() if config == asked]
            made = f"{type(asked).__name__.removesuffix('Config').lower()}-{asked.fingerprint()[:6]}"
            return (names[0] if names else made), asked
        if asked not in self.probes:
            raise ConfigError(
                f"no probe of tasks of type {self.name!r} is called {asked!r}{nearest(asked, self.probes)}"
            )
        return asked, self.probes[asked]

    @abstractmethod
    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Apply a task to a corpus. Everything that can be refused is refused here, before anything is encoded.

        Args:
            card: the task.
            corpus: its clips.
            seed: of folds, validation clips, trials or episodes that are drawn here.

        Raises:
            CorpusError: the corpus does not fit the task (no labels, one class only, fewer clips than folds ...).
            ConfigError: the card does not fit the type.
        """

    def usual(self, plan: TaskPlan) -> tuple[str, ...]:
        """Return the probes evaluated where none is named, of those that this plan allows."""
        return self.default_probes

    def check(self, probe: Config, plan: TaskPlan) -> None:  # noqa: B027 - most types need nothing
        """Refuse a probe that can't serve a plan, before anything is encoded.

        Raises:
            CorpusError: the plan lacks what the probe needs.
        """

    def layers(self, probe: Config) -> Literal["all"] | None:
        """Return the layers of the encoder that a probe reads: None: its output; `all`: the output of each block."""
        return "all" if isinstance(probe, ProbeConfig) and probe.reads == "layers" else None

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """Evaluate one probe of one encoder."""

    def headline(self, card: TaskCard, plan: TaskPlan, predictions: TaskPredictions) -> str:
        """Return the name of the headline metric: the card's, else the one that the plan asks for, else the first."""
        return plan.headline(card) or predictions.metrics[0]


def fold_outcome(
    predictions: TaskPredictions,
    folds: Sequence[Fold],
    planned: Sequence[Fold],
    parts: Sequence[dict[str, Any]],
    settings: dict[str, Any],
    *,
    refit: bool,
    notes: Sequence[str] = (),
    details: dict[str, Any] | None = None,
    constant: tuple[str, TaskPredictions] | None = None,
) -> Outcome:
    """Return the outcome of a probe that was fitted fold by fold.

    Args:
        predictions: of the test clips of all folds.
        folds: of the clips that could be read.
        planned: the folds of all clips.
        parts: `chosen`, `tried`, `params`, `macs` and `notes` of each fold.
        settings: as in `Outcome`.
        refit: as in `Outcome`.
        notes: in front of those of the parts.
        details: as in `Outcome`.
        constant: as in `Outcome`.
    """
    return Outcome(
        predictions=predictions,
        fold_names=[fold.name for fold in folds],
        sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
        units_total=sum(len(fold.test) for fold in planned),
        chosen=[part["chosen"] for part in parts],
        tried=parts[0]["tried"],
        params=parts[0]["params"],
        macs=parts[0]["macs"],
        settings=settings,
        refit=refit,
        notes=list(dict.fromkeys([*notes, *(note for part in parts for note in part["notes"])])),
        details=details or {},
        constant=constant,
    )
