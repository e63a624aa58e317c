"""What a downstream task is, as data: corpus, labels, protocol, metric, licence, citation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.tasks.clips.rule import ClipsRule

Kind = Literal["single", "multi", "auto"]
Protocol = Literal["folds", "split", "auto"]

METRICS: dict[str, tuple[str, ...]] = {
    "single": ("accuracy", "macro_f1", "balanced_accuracy"),
    "multi": ("mAP", "macro_auc"),
}


@dataclass(frozen=True)
class TaskCard(Config):
    """A downstream task.

    Attributes:
        name: short name, as on the command line.
        title: one line for people.
        labels: `single` (one label a clip), `multi` (any number, none too), or `auto`: `multi` if any clip has several
            labels, else `single`; clips without labels are left out.
        corpus: path, folder name or built-in id where the corpus is usually found; "" for the user's own.
        label: column of the corpus that holds the label (`;`-separated where there are several).
        protocol: `folds` (the corpus's own, or made ones), `split` (train / valid / test) or `auto`: a split if the
            corpus names training and test clips, else its folds, else folds made here.
        folds: number of folds to make where the corpus has none.
        metric: headline metric; "" means `accuracy` (single) or `mAP` (multi).
        loss: training loss of the probes; "" means `ce` (single) or `asl` (multi).
        source: column whose equal values must not be on both sides of a split (one recording, one animal, one day).
        made: how the folds were made or where they come from, in words.
        licence: of the audio.
        citation: who made it.
        notes: anything else.
        rule: what type of task this is, with its settings; `ClipsRule`: labelled clips.
    """

    name: str
    title: str = ""
    labels: Kind = "auto"
    corpus: str = ""
    label: str = "label"
    protocol: Protocol = "auto"
    folds: int = 5
    metric: str = ""
    loss: str = ""
    source: str = "source"
    made: str = ""
    licence: str = ""
    citation: str = ""
    notes: str = ""
    rule: Config = field(default_factory=ClipsRule)

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if self.labels not in ("single", "multi", "auto"):
            raise ConfigError(f"task {self.name!r} has labels={self.labels!r}; expected 'single', 'multi' or 'auto'")
        if self.protocol not in ("folds", "split", "auto"):
            raise ConfigError(f"task {self.name!r} has protocol {self.protocol!r}; expected 'folds', 'split' or 'auto'")
        if self.folds < 2:
            raise ConfigError(f"task {self.name!r} asks for {self.folds} folds; expected at least 2")
        known = [m for k, ms in METRICS.items() if self.labels in (k, "auto") for m in ms]
        if isinstance(self.rule, ClipsRule) and self.metric and self.metric not in known:
            raise ConfigError(f"task {self.name!r} has metric {self.metric!r}; expected one of {', '.join(known)}")

    def headline(self, kind: Literal["single", "multi"]) -> str:
        """Return the name of the headline metric for labels of this kind."""
        return self.metric or METRICS[kind][0]

    def training_loss(self, kind: Literal["single", "multi"]) -> str:
        """Return the name of the probes' loss for labels of this kind: cross-entropy, or the asymmetric loss.

        The asymmetric loss is what arXiv 2509.24901 trains every probe with; on labels that exclude each other
        it is a handicap, so cross-entropy is used there.
        """
        return self.loss or ("ce" if kind == "single" else "asl")
