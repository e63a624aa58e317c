"""A downstream task as data: corpus, labels, protocol, metric, licence, citation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.rule import TaskRule

Rule = TypeVar("Rule", bound=TaskRule)

METRICS: dict[str, tuple[str, ...]] = {
    "single": ("accuracy", "macro_f1", "balanced_accuracy"),
    "multi": ("mAP", "macro_auc"),
}


@dataclass(frozen=True)
class TaskCard(Config):
    """A downstream task.

    Attributes:
        name: short name, as on the command line.
        title: one line for lists.
        labels: `single` (one label a clip), `multi` (any number, none too), or `auto`: `multi` if any clip has several
            labels, else `single`; clips without labels are excluded.
        corpus: path, folder name or built-in id where the corpus is usually found; "" for the user's own.
        label: column of the corpus that holds the label (`;`-separated where there are several).
        protocol: `folds` (the corpus's own, or made ones), `split` (train / valid / test) or `auto`: a split if the
            corpus names training and test clips, else its folds, else folds made here.
        folds: number of folds to make where the corpus has none.
        metric: headline metric; "" means the first of the type (clips: `accuracy`, or `mAP` for several labels).
        loss: training loss of the probes; "" means `ce` (single) or `asl` (multi).
        source: column whose equal values must not be on both sides of a split (one recording, one animal, one day).
        made: origin of the folds or the split, in a phrase.
        licence: of the audio.
        citation: publication or author of the audio.
        notes: anything else.
        rule: settings of the type of task; `ClipsRule`: labelled clips.
    """

    name: str
    title: str = ""
    labels: Literal["single", "multi", "auto"] = "auto"
    corpus: str = ""
    label: str = "label"
    protocol: Literal["folds", "split", "auto"] = "auto"
    folds: Annotated[int, Ge(2)] = 5
    metric: str = ""
    loss: str = ""
    source: str = "source"
    made: str = ""
    licence: str = ""
    citation: str = ""
    notes: str = ""
    rule: TaskRule = field(default_factory=ClipsRule)

    def __post_init__(self) -> None:
        known = [m for k, ms in METRICS.items() if self.labels in (k, "auto") for m in ms]
        if isinstance(self.rule, ClipsRule) and self.metric and self.metric not in known:
            raise ConfigError(f"task {self.name!r} has metric {self.metric!r}; expected one of {', '.join(known)}")

    def rule_as(self, kind: type[Rule], reader: str = "this") -> Rule:
        """Return the rule, for code that serves one type of task.

        Args:
            kind: class of the type's rules.
            reader: what serves them, in the error.

        Raises:
            ConfigError: the rule is of another class.
        """
        if not isinstance(self.rule, kind):
            raise ConfigError(
                f"task {self.name!r} is of type {self.rule.type_name}; {reader} takes tasks of type {kind.type_name}: "
                "choose one with --task (`auricle tasks` lists them by type)"
            )
        return self.rule

    def training_loss(self, kind: Literal["single", "multi"]) -> str:
        """Return the name of the probes' loss for labels of this kind: cross-entropy, or the asymmetric loss.

        arXiv 2509.24901 trains every probe with the asymmetric loss; on labels that exclude each other it is a
        handicap, so cross-entropy is used there.
        """
        return self.loss or ("ce" if kind == "single" else "asl")
