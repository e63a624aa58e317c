"""Sound events: frame-wise readers, thresholds chosen on validation clips, events of the test clips.

Learning rate and weight decay are chosen by the mean average precision of validation frames, then thresholds, filter
and shortest event by the F1 of validation clips. Then, for each seed, the reader is trained again on training and
validation clips together, and its scores of the test clips are read with the thresholds chosen before.
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
from auricle.probes.frames.search import FittedFrames, fit_frames, frame_scores
from auricle.probes.frames.stack import FrameConvConfig, FrameLinearConfig, FrameMlpConfig
from auricle.tasks.card import TaskCard
from auricle.tasks.events.answers import EventPredictions
from auricle.tasks.events.decoding import Decoding, choose_decoding, decode, smoothed
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.events.targets import EventLists, frame_targets, make_events
from auricle.tasks.events.timelines import spread_places, timelines, write_examples
from auricle.tasks.folds import Fold, Plan, plan_folds
from auricle.tasks.task_type import Job, Kept, Outcome, TaskPlan, TaskType, cells, source_groups
from auricle.tokens.token_set import TokenSet


class EventsTask(TaskType):
    """Clips with strong labels: a score a frame and class, events from these scores."""

    name: ClassVar[str] = "events"
    probes: ClassVar[dict[str, Config]] = {
        "linear": FrameLinearConfig(),
        "linear_mean": FrameLinearConfig(rows="mean"),
        "mlp": FrameMlpConfig(),
        "conv": FrameConvConfig(),
        "protobin": FrameProtobinConfig(),
    }
    default_probes: ClassVar[tuple[str, ...]] = ("linear", "conv", "protobin")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        """Read the events and make folds.

        Raises:
            CorpusError: no events, no such column, fewer clips than folds ...
            ConfigError: the card's metric is none of this type, or its loss none of frames.
        """
        rule = _rule(card)
        if card.metric and card.metric not in rule.metrics():
            raise ConfigError(
                f"task {card.name!r} has metric {card.metric!r}, which events of {rule.sounds} sounds don't have"
                f"{nearest(card.metric, rule.metrics())}"
            )
        if card.loss and (get_loss(card.loss).single or get_loss(card.loss).regression):
            raise ConfigError(f"task {card.name!r} has loss {card.loss!r}; frames are learnt with 'bce' or 'asl'")
        lists = make_events(card, rule, corpus)
        targets = lists.targets()
        groups = source_groups(card, corpus, targets.rows)
        plan = plan_folds(
            card,
            targets,
            splits=cells(corpus, "split", targets.rows),
            folds=cells(corpus, "fold", targets.rows),
            groups=groups.tolist(),
            seed=seed,
        )
        return TaskPlan(targets.rows, plan.protocol, plan.words, groups, (*lists.notes, *plan.notes), (lists, plan))

    def run(self, job: Job) -> Outcome:
        """Fit all folds, choose thresholds on their validation clips, and judge their test clips."""
        return _Run(job).outcome()


@dataclass(frozen=True)
class _Side:
    """Some clips: their tokens, frame targets, events, names and lengths."""

    tokens: TokenSet
    tables: list[NDArray[np.float32]]
    truth: dict[str, Sequence[Event]]
    seconds: dict[str, float]

    def named(self, scores: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return a score table by clip."""
        return dict(zip(self.truth, scores, strict=True))


class _Run:
    """One encoder and reader on one task."""

    def __init__(self, job: Job) -> None:
        lists: EventLists
        plan: Plan
        lists, plan = job.plan.payload
        self.job, self.plan, self.rule, self.classes = job, plan, _rule(job.card), lists.classes
        self.metric = job.card.metric or self.rule.metrics()[0]
        self.tokens, self.folds = job.tokens(), job.readable(plan.folds)
        places = np.flatnonzero(job.here)
        self.events = [lists.events[i] for i in places]
        self.names, self.groups = job.clip_names[places], job.plan.groups[places]
        self.seconds = lists.seconds[places]
        if not isinstance(job.probe, FrameConfig):
            raise ConfigError(f"{type(job.probe).__name__} reads no frames; give the settings of a frame-wise reader")
        upsample = job.probe.upsample
        if self.rule.frame:
            upsample = max(upsample, math.ceil(1 / (self.tokens.rate * self.rule.frame) - 1e-6))
        self.probe = job.probe.replace(upsample=upsample)
        self.rate = self.tokens.rate * upsample
        self.loss = job.protocol.loss or get_loss(job.card.loss or "bce")

    def outcome(self) -> Outcome:
        """Fit, decode and count."""
        job, folds = self.job, self.folds
        heads: list[dict[str, Any]] = []
        raw: list[list[np.ndarray]] = []  # scores of each fold and seed, all clips in a row
        for place, fold in enumerate(folds):
            head, arrays = job.kept(f"fold-{place}", self._fold(fold, place))
            heads.append(head)
            raw.append(list(arrays["scores"]))
            job.tell((place + 1) / len(folds))
        predictions = np.concatenate([fold.test for fold in folds])
        answers, first = self._judge(heads, raw, predictions)
        shown = spread_places(len(predictions))
        rows = job.plan.rows[np.flatnonzero(job.here)][predictions[shown]]
        # Beside the results, which lie above the folder of unfinished parts.
        path = job.folder.parent.parent / "events.json"
        write_examples(path, job.encoder.frontend, job.corpus, job.card.name, answers.names[shown], rows)
        return Outcome(
            predictions=answers,
            fold_names=[fold.name for fold in folds],
            sizes=[[len(fold.train), len(fold.valid), len(fold.test)] for fold in folds],
            units_total=sum(len(fold.test) for fold in self.plan.folds),
            chosen=[head["chosen"] for head in heads],
            tried=heads[0]["tried"],
            params=heads[0]["params"],
            macs=heads[0]["macs"],
            settings=self._settings(),
            refit=job.protocol.refit,
            notes=list(dict.fromkeys(note for head in heads for note in head["notes"])),
            details={
                "frame_seconds": round(1 / self.rate, 6),
                "baselines": self._baselines(answers),
                "timelines": timelines(answers, [first[i] for i in shown], shown),
            },
        )

    def _fold(self, fold: Fold, place: int) -> Callable[[], Kept]:
        job, protocol = self.job, self.job.protocol
        stages = 1 + len(protocol.seeds) if protocol.refit else len(protocol.seeds)

        def tell(stage: int) -> Callable[[int, int], None]:
            return lambda done, of: job.tell((place + (stage + done / of) / stages) / len(self.folds))

        def fit(train: _Side, valid: _Side | None, search: SearchConfig, seed: int, stage: int) -> FittedFrames:
            return fit_frames(
                self.probe,
                (train.tokens, train.tables),
                None if valid is None else (valid.tokens, valid.tables),
                classes=self.classes,
                loss=self.loss,
                search=search,
                seed=seed,
                device=job.device,
                progress=tell(stage),
            )

        def make() -> Kept:
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
                # A setting of the search stands for its last epoch, so the same epochs are trained again.
                again = protocol.search.replace(
                    method="grid", lr=(found.trial.lr,), weight_decay=(found.trial.weight_decay,), halving=(), top_k=1
                )
                fitted = [fit(both, None, again, seed, stage) for stage, seed in enumerate(protocol.seeds, 1)]
            scores = np.stack([np.concatenate(frame_scores(f, test.tokens)) for f in fitted])
            decodings = [decoding for decoding, _, _ in choices]
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
                "notes": [*found.notes, *self._unheard(valid, fold.name)],
            }
            return head, {"scores": scores}

        return make

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
        scores = valid.named(frame_scores(fitted, valid.tokens))
        return choose_decoding(scores, valid.truth, valid.seconds, self.classes, self.rate, self.rule, self.metric)

    def _unheard(self, valid: _Side, fold: str) -> list[str]:
        seen = {e[2] for events in valid.truth.values() for e in events}
        missing = [name for name in self.classes if name not in seen]
        if not missing or self.rule.thresholds == "global":
            return []
        return [f"fold {fold}: no validation event of {', '.join(missing)}: the others' common threshold is theirs"]

    def _judge(
        self, heads: list[dict[str, Any]], raw: list[list[np.ndarray]], predictions: NDArray[np.int64]
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
                    # Frames that begin after the clip's end are what padding left.
                    kept = table[: max(1, math.ceil(length * self.rate - 1e-6))]
                    scores[s].append(smoothed(kept, self.rate, how.smooth) if lasting else kept)
        answers = EventPredictions.count(
            rule=self.rule,
            classes=self.classes,
            names=self.names[predictions],
            group=self.groups[predictions],
            fold=np.repeat(np.arange(len(self.folds)), [len(fold.test) for fold in self.folds]),
            seconds=self.seconds[predictions],
            truth=[self.events[i] for i in predictions],
            said=said,
            scores=scores,
            rate=self.rate,
            seeds=seeds,
        )
        return answers, scores[0]

    def _baselines(self, answers: EventPredictions) -> dict[str, float | None]:
        """Segment F1 without listening: every class all the time."""
        names = [str(clip) for clip in answers.names]
        lengths = dict(zip(names, answers.seconds.tolist(), strict=True))
        true = dict(zip(names, answers.true(), strict=True))
        always = {name: [(0.0, lengths[name], label) for label in answers.classes] for name in names}
        value = quick_segment_counts(true, always, lengths, answers.classes, resolution=self.rule.resolution).f1()[0]
        return {"segment_f1_always_everything": None if math.isnan(value) else float(value)}

    def _settings(self) -> dict[str, Any]:
        search, loss = self.job.protocol.search, self.loss
        return {
            "reader": self.probe.to_json(),
            "epochs": search.epochs,
            "batch": search.batch,
            "search": search.to_json(),
            "loss": loss.to_json(),
            "rule": self.rule.to_json(),
        }


def _rule(card: TaskCard) -> EventsRule:
    if not isinstance(card.rule, EventsRule):
        raise ConfigError(f"task {card.name!r} has the rule {type(card.rule).__name__}; expected EventsRule")
    return card.rule
