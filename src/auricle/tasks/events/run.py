"""Sound event detection: frame-wise heads, thresholds chosen on validation clips, events of the test clips.

Learning rate and weight decay are chosen by the mean average precision of validation frames, then thresholds, filter
and shortest event by the F1 of validation clips. Then, for each seed, the head is trained again on training and
validation clips together, and its scores of the test clips are decoded with the thresholds chosen before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config, nearest
from auricle.corpus.table import Corpus
from auricle.errors import ConfigError
from auricle.metrics.event_sweep import quick_segment_counts
from auricle.metrics.events import Event
from auricle.probes import SearchConfig, get_loss
from auricle.probes.cost import head_macs
from auricle.probes.frames.contract import FrameConfig
from auricle.probes.frames.protobin import FrameProtobinConfig
from auricle.probes.frames.runs import smoothed
from auricle.probes.frames.search import FittedFrames, fit_frames, frame_scores
from auricle.probes.frames.stack import FrameConvConfig, FrameLinearConfig, FrameMlpConfig
from auricle.tasks.card import TaskCard
from auricle.tasks.events.answers import EventPredictions
from auricle.tasks.events.decoding import Decoding, choose_decoding, decode
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.events.targets import EventLists, frame_targets, make_events
from auricle.tasks.events.timelines import spread_places, timelines, write_examples
from auricle.tasks.folds import Fold, Plan, plan_corpus
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, fold_outcome
from auricle.tokens.token_set import TokenSet


class EventsTask(TaskType):
    """Clips with strong labels: a score for each frame and class, events decoded from these scores."""

    name: ClassVar[str] = EventsRule.type_name
    probes: ClassVar[dict[str, Config]] = {
        "linear": FrameLinearConfig(),
        "linear_mean": FrameLinearConfig(rows="mean"),
        "mlp": FrameMlpConfig(),
        "conv": FrameConvConfig(),
        "protobin": FrameProtobinConfig(),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("linear", "conv", "protobin")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(EventsRule)
        if card.metric and card.metric not in rule.metrics():
            raise ConfigError(
                f"task {card.name!r} has metric {card.metric!r}, which events of {rule.sounds} sounds don't have"
                f"{nearest(card.metric, rule.metrics())}"
            )
        if card.loss and (get_loss(card.loss).single or get_loss(card.loss).regression):
            raise ConfigError(f"task {card.name!r} has loss {card.loss!r}; expected 'bce' or 'asl' for frames")
        lists = make_events(card, rule, corpus)
        targets = lists.targets()
        plan, groups = plan_corpus(card, targets, corpus, seed)
        notes = (*lists.notes, *plan.notes)
        return TaskPlan(targets.rows, plan.protocol, plan.description, groups, notes, (lists, plan), folds=plan.folds)

    def run(self, job: Job) -> Outcome:
        return _Run(job).outcome()


@dataclass(frozen=True)
class _Side:
    """Some clips: their tokens, frame targets, events, names and lengths."""

    tokens: TokenSet
    tables: list[NDArray[np.float32]]
    truth: dict[str, Sequence[Event]]
    seconds: dict[str, float]


class _Run:
    """One evaluation."""

    def __init__(self, job: Job) -> None:
        lists: EventLists
        plan: Plan
        lists, plan = job.plan.payload
        self.job, self.plan, self.rule, self.classes = job, plan, job.card.rule_as(EventsRule), lists.classes
        self.metric = job.card.metric or self.rule.metrics()[0]
        self.tokens, self.folds = job.tokens(), job.readable(plan.folds)
        places = np.flatnonzero(job.present)
        self.events = [lists.events[i] for i in places]
        self.names, self.seconds = job.clip_names[places], lists.seconds[places]
        probe = job.probe_as(FrameConfig)
        upsample = probe.upsample
        if self.rule.frame:
            upsample = max(upsample, math.ceil(1 / (self.tokens.rate * self.rule.frame) - 1e-6))
        self.probe = probe.replace(upsample=upsample)
        self.rate = self.tokens.rate * upsample
        self.loss = job.protocol.loss or get_loss(job.card.loss or "bce")

    def outcome(self) -> Outcome:
        job, folds = self.job, self.folds
        parts = job.each_fold(folds, self._fit)
        heads = [head for head, _ in parts]
        raw = [list(arrays["scores"]) for _, arrays in parts]  # of each fold and seed, all clips in a row
        rows, units = job.test_units(folds)
        predictions, first = self._decode(heads, raw, rows, units)
        shown = spread_places(len(rows))
        shown_rows = job.plan.rows[job.present][rows[shown]]
        # In the folder of results, two levels above the unfinished parts.
        path = job.folder.parent.parent / "events.json"
        lines = timelines(predictions, [first[i] for i in shown], shown)
        starts = [line["start"] for line in lines]
        names = predictions.names[shown]
        write_examples(path, job.encoder.frontend, job.corpus, job.card.name, names, shown_rows, starts)
        return fold_outcome(
            predictions,
            folds,
            self.plan.folds,
            heads,
            self._settings(),
            refit=job.protocol.refit,
            details={
                "frame_seconds": round(1 / self.rate, 6),
                "baselines": self._baselines(predictions),
                "timelines": lines,
            },
        )

    def _fit(self, fold: Fold, progress: Callable[[float], None]) -> Kept:
        protocol = self.job.protocol
        stages = 1 + len(protocol.seeds) if protocol.refit else len(protocol.seeds)

        def fit(train: _Side, valid: _Side | None, search: SearchConfig, seed: int, stage: int) -> FittedFrames:
            return fit_frames(
                self.probe,
                (train.tokens, train.tables),
                None if valid is None else (valid.tokens, valid.tables),
                classes=self.classes,
                loss=self.loss,
                search=search,
                seed=seed,
                device=self.job.device,
                progress=lambda done, of: progress((stage + done / of) / stages),
            )

        train, valid, test = (self._side(rows) for rows in (fold.train, fold.valid, fold.test))
        search = protocol.search.replace(best_epoch=not protocol.refit)
        if not protocol.refit:
            fitted = [fit(train, valid, search, seed, stage) for stage, seed in enumerate(protocol.seeds)]
            found = fitted[0]
            choices = [self._decoding(f, valid) for f in fitted]
        else:
            found = fit(train, valid, search, protocol.seeds[0], 0)
            choices = [self._decoding(found, valid)] * len(protocol.seeds)
            both = self._side(np.concatenate([fold.train, fold.valid]))
            # A setting is validated at its last epoch, so the same epochs are trained again.
            again = protocol.search.replace(
                method="grid", lr=(found.trial.lr,), weight_decay=(found.trial.weight_decay,), halving=(), top_k=1
            )
            fitted = [fit(both, None, again, seed, stage) for stage, seed in enumerate(protocol.seeds, 1)]
        scores = np.stack([np.concatenate(frame_scores(f, test.tokens)) for f in fitted])
        decodings = [decoding for decoding, _, _ in choices]
        facts = [{"decoding": decoding.to_json(), "sounds": self.rule.sounds} for decoding in decodings]
        self.job.keep_heads(fold.name, protocol.seeds, fitted, facts)
        chosen = {
            "fold": fold.name,
            "lr": found.trial.lr,
            "weight_decay": found.trial.weight_decay,
            "validation": choices[0][1],
            "metric": f"F1 of {self.metric} at the chosen thresholds",
            "frames": {"metric": found.metric, "validation": found.validation},
            "decoding": decodings[0].to_json(),
            "decodings_tried": choices[0][2],
            "tried": [
                {
                    "lr": t.lr,
                    "weight_decay": t.weight_decay,
                    "validation": t.score if math.isfinite(t.score) else None,
                }
                for t in found.trials
            ],
        }
        head = {
            "chosen": chosen,
            "decodings": [decoding.to_json() for decoding in decodings],
            "tried": len(found.trials),
            "params": found.params,
            "macs": head_macs(found.head, test.tokens),
            "notes": [*found.notes, *self._without_events(valid, fold.name)],
        }
        return head, {"scores": scores}

    def _side(self, rows: NDArray[np.int64]) -> _Side:
        tokens = self.tokens.select(rows)
        lasting = self.rule.sounds == "lasting"
        tables = [
            frame_targets(self.events[i], self.classes, time * self.probe.upsample, self.rate, lasting=lasting)
            for i, time in zip(rows.tolist(), tokens.time.tolist(), strict=True)
        ]
        names = [str(self.names[i]) for i in rows]
        truth = dict(zip(names, (self.events[i] for i in rows), strict=True))
        return _Side(tokens, tables, truth, dict(zip(names, (float(self.seconds[i]) for i in rows), strict=True)))

    def _decoding(self, fitted: FittedFrames, valid: _Side) -> tuple[Decoding, float, int]:
        scores = dict(zip(valid.truth, frame_scores(fitted, valid.tokens), strict=True))
        return choose_decoding(scores, valid.truth, valid.seconds, self.classes, self.rate, self.rule, self.metric)

    def _without_events(self, valid: _Side, fold: str) -> list[str]:
        seen = {e[2] for events in valid.truth.values() for e in events}
        missing = [name for name in self.classes if name not in seen]
        if not missing or self.rule.thresholds == "global":
            return []
        return [f"fold {fold}: no validation event of {', '.join(missing)}: the common threshold of the others is used"]

    def _decode(
        self, heads: list[dict[str, Any]], raw: list[list[np.ndarray]], rows: NDArray[np.int64], units: dict[str, Any]
    ) -> tuple[EventPredictions, list[np.ndarray]]:
        """Decode all test clips; also return the first seed's filtered scores of each."""
        seeds, lasting = self.job.protocol.seeds, self.rule.sounds == "lasting"
        frames = self.tokens.time * self.probe.upsample
        said: list[list[list[Event]]] = []
        scores: list[list[np.ndarray]] = []
        for s in range(len(seeds)):
            said.append([])
            scores.append([])
            for fold, head, tables in zip(self.folds, heads, raw, strict=True):
                how = Decoding.from_json(head["decodings"][s])
                cuts = np.cumsum(frames[fold.test])[:-1]
                for i, table in zip(fold.test.tolist(), np.split(tables[s], cuts), strict=True):
                    length = float(self.seconds[i])
                    said[s].append(decode(table, self.rate, length, self.classes, how, lasting=lasting))
                    # Frames that begin after the clip's end are padding.
                    kept = table[: max(1, math.ceil(length * self.rate - 1e-6))]
                    scores[s].append(smoothed(kept, self.rate, how.smooth) if lasting else kept)
        predictions = EventPredictions.count(
            rule=self.rule,
            classes=self.classes,
            **units,
            seconds=self.seconds[rows],
            truth=[self.events[i] for i in rows],
            said=said,
            scores=scores,
            rate=self.rate,
            seeds=seeds,
        )
        return predictions, scores[0]

    def _baselines(self, predictions: EventPredictions) -> dict[str, float | None]:
        """Segment F1 of predicting every class all the time."""
        names = [str(clip) for clip in predictions.names]
        lengths = dict(zip(names, predictions.seconds.tolist(), strict=True))
        true = dict(zip(names, predictions.true(), strict=True))
        always = {name: [(0.0, lengths[name], label) for label in predictions.classes] for name in names}
        value = quick_segment_counts(true, always, lengths, predictions.classes, resolution=self.rule.resolution).f1()[
            0
        ]
        return {"segment_f1_always_everything": None if math.isnan(value) else float(value)}

    def _settings(self) -> dict[str, Any]:
        search, loss = self.job.protocol.search, self.loss
        return {
            "probe": self.probe.to_json(),
            "epochs": search.epochs,
            "batch": search.batch,
            "search": search.to_json(),
            "loss": loss.to_json(),
            "rule": self.rule.to_json(),
        }
