"""A probe becomes a head: its setting chosen on validation clips, then fitted at that setting to any clips."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.evaluation.kept_heads import linear_head
from auricle.models.clip_heads import LinearHead, ProbedHead
from auricle.models.heads import Head
from auricle.probes import Labelled, LossConfig, ProbeConfig, SearchConfig, fit_probe, get_loss
from auricle.probes.search.selection import score
from auricle.tasks.shallow import ShallowConfig, Vectors
from auricle.tasks.targets import Targets
from auricle.tokens.token_set import TokenSet

Rows = NDArray[np.int64]
Setting = tuple[float, ...]


@dataclass(frozen=True)
class Chosen:
    """A probe fitted to training clips at the setting that validation clips chose.

    Attributes:
        head: the fitted head.
        setting: learning rate and weight decay, or strength; empty: nothing was to be chosen.
        validation: metric of the choice on the validation clips, higher is better; minus infinity: undefined.
        metric: its name.
        tried: number of settings.
        notes: remarks of the search.
    """

    head: Head
    setting: Setting
    validation: float
    metric: str
    tried: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipTrainer:
    """Fits heads to labelled clips, or to clips with a number.

    Attributes:
        tokens: of all clips.
        targets: labels of these clips.
        loss: of probes of tokens.
        search: of their settings.
        device: where they are trained.
        segment: written into the heads.
        seed: of random starts and orders.
        layers: the same clips with the stack of the layers, for probes that read it; None: there is none.
    """

    tokens: TokenSet
    targets: Targets
    loss: LossConfig
    search: SearchConfig
    device: str = "cpu"
    segment: float | None = None
    seed: int = 0
    layers: TokenSet | None = None

    def choose(self, probe: Config, train: Rows, valid: Rows, report: Callable[[float], None]) -> Chosen:
        """Fit training clips at every setting; return the one that validation clips choose.

        Raises:
            ConfigError: the probe fits no head that could be saved.
        """
        if isinstance(probe, ShallowConfig):
            known, asked = self._vectors(train), self._vectors(valid)
            found = probe.fit_predict(known, asked, asked.x, refit=False, metric=self.search.metric)[1]
            setting = () if "setting" not in found else (float(found["setting"]),)
            metric = self.search.metric or ("accuracy" if self.targets.kind == "single" else "map")
            solved = self._solved(probe, train, setting)
            report(1.0)
            value = found["validation"] if setting else self._score(solved, valid, metric)
            return Chosen(solved, setting, -math.inf if value is None else float(value), metric, len(probe.settings()))
        head = self._fit(probe, train, valid, self.search.replace(best_epoch=False), report)
        fitted, trial = head.probe, head.probe.trial
        value = float(np.mean(trial.reruns or [trial.score]))
        return Chosen(
            head, (trial.lr, trial.weight_decay), value, fitted.metric, len(fitted.trials), tuple(fitted.notes)
        )

    def at(self, probe: Config, rows: Rows, setting: Setting, report: Callable[[float], None]) -> Head:
        """Fit clips at one setting."""
        if isinstance(probe, ShallowConfig):
            report(1.0)
            return self._solved(probe, rows, setting)
        lr, weight_decay = setting
        search = self.search.replace(
            best_epoch=False, lr=(lr,), weight_decay=(weight_decay,), halving=(), method="grid", top_k=1
        )
        return self._fit(probe, rows, rows[:0], search, report)

    def scores(self, head: Head, rows: Rows) -> NDArray[np.float32]:
        """Return calibrated scores `(n, C)` of some clips."""
        layered = isinstance(head, ProbedHead) and head.probe.config.reads == "layers"
        tokens = self._of(layered).select(rows)
        found: NDArray[np.float32] = head.finished(head.of_tokens(tokens)).numpy()
        return found

    def _of(self, layered: bool) -> TokenSet:
        if not layered:
            return self.tokens
        if self.layers is None:
            raise ConfigError("the probe reads the layers of the encoder, and their tokens were not extracted")
        return self.layers

    def _fit(
        self, probe: Config, rows: Rows, valid: Rows, search: SearchConfig, report: Callable[[float], None]
    ) -> ProbedHead:
        if not isinstance(probe, ProbeConfig):
            raise ConfigError(f"{type(probe).__name__} keeps no head; choose a probe that does with --probes")
        tokens = self._of(probe.reads == "layers")
        train = Labelled(tokens.select(rows), self.targets.labels(rows))
        asked = Labelled(tokens.select(valid), self.targets.labels(valid)) if len(valid) else None
        fitted = fit_probe(
            probe,
            train,
            asked,
            classes=self.targets.classes,
            loss=self.loss,
            search=search,
            seed=self.seed,
            device=self.device,
            progress=lambda done, of: report(done / of),
        )
        return ProbedHead(**self._common(rows), probe=fitted)

    def _solved(self, probe: ShallowConfig, rows: Rows, setting: Setting) -> LinearHead:
        found = probe.linear(self._vectors(rows), setting[0] if setting else None)
        if found is None:
            raise ConfigError(
                f"{type(probe).__name__} keeps no head that could be saved; choose for example logistic, centroid or "
                "linear with --probes"
            )
        return linear_head(found, get_loss("ce" if self.targets.kind == "single" else "bce"), **self._common(rows))

    def _common(self, rows: Rows) -> dict[str, Any]:
        unseen = np.flatnonzero(~self.targets.truth[rows].any(0)).tolist()
        return {
            "kind": "clips",
            "classes": self.targets.classes,
            "single": self.targets.kind == "single",
            "segment": self.segment,
            "unseen": tuple(unseen),
        }

    def _vectors(self, rows: Rows) -> Vectors:
        x: NDArray[np.float32] = self.tokens.pooled[rows].astype(np.float32)
        return Vectors(x, self.targets.truth[rows], self.targets.kind == "single")

    def _score(self, head: Head, rows: Rows, metric: str) -> float | None:
        truth = self.targets.labels(rows)
        value = float(score(torch.from_numpy(self.scores(head, rows))[None], truth, metric)[0])
        return value if math.isfinite(value) else None


def usual_setting(settings: Sequence[Setting], values: Sequence[float]) -> Setting:
    """Return the setting that most folds chose; among equals the one with the best mean validation score.

    Examples:
        >>> usual_setting([(1.0,), (0.1,), (0.1,), (1.0,)], [0.5, 0.8, 0.9, 0.6])
        (0.1,)
    """
    count = Counter(settings)

    def rank(setting: Setting) -> tuple[int, float]:
        mine = [value for one, value in zip(settings, values, strict=True) if one == setting]
        return count[setting], float(np.mean(mine))

    return max(dict.fromkeys(settings), key=rank)
