"""Anomaly detection on clip vectors: models that are fitted to normal clips only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.errors import CorpusError
from auricle.probes.normal import GaussianNormalConfig, NearestNormalConfig, NormalModelConfig
from auricle.tasks.anomaly.answers import AnomalyPredictions
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.run import plan_clips
from auricle.tasks.targets import cells, source_groups
from auricle.tasks.task_type import Job, Outcome, TaskPlan, TaskType
from auricle.tasks.vectors import check_finite

# Notes of the folds on classes that are to be classified, as none are here.
_OF_CLASSES = ("in test but never in training", "in training but without test clips")


@dataclass(frozen=True)
class _Model:
    """One model and its normal training clips and test clips, as indices into the plan's rows."""

    name: str
    fold: int
    normal: NDArray[np.int64]
    test: NDArray[np.int64]
    anomalous: NDArray[np.bool_]


class AnomalyTask(TaskType):
    """Models of the normal clips of the training and validation parts; all clips of the test part are scored."""

    name: ClassVar[str] = AnomalyRule.type_name
    probes: ClassVar[dict[str, Config]] = {"nearest": NearestNormalConfig(), "gaussian": GaussianNormalConfig()}
    default_probes: ClassVar[tuple[str, ...]] = ("nearest", "gaussian")

    def plan(self, card: TaskCard, corpus: Corpus, seed: int) -> TaskPlan:
        rule = card.rule_as(AnomalyRule)
        targets, plan = plan_clips(card, corpus, seed)
        domains = np.array(["" for _ in targets.rows], dtype=np.str_)
        if rule.domain:
            domains = np.array([str(v) for v in cells(corpus, rule.domain, targets.rows)], dtype=np.str_)
        for name in rule.normal:
            if name not in targets.classes:
                raise CorpusError(f"no clip has the normal label {name!r}; found {', '.join(targets.classes)}")
        sets = [rule.normal] if rule.normal else [(name,) for name in targets.classes]
        # Classes that training lacks are the anomalies: no fault of the folds.
        models, notes = [], [note for note in plan.notes if not note.startswith(_OF_CLASSES)]
        for normal in sets:
            is_normal = np.any(targets.truth[:, [targets.classes.index(n) for n in normal]], axis=1)
            for domain in np.unique(domains):
                inside = np.asarray(domains == domain)
                for f, fold in enumerate(plan.folds):
                    known = np.concatenate([fold.train, fold.valid])
                    known = known[is_normal[known] & inside[known]]
                    test = fold.test[inside[fold.test]]
                    anomalous = ~is_normal[test]
                    name = " ".join(part for part in ("+".join(normal), str(domain)) if part)
                    if len(known) < 2:
                        raise CorpusError(f"{len(known)} normal clips of {name!r} to learn from; expected at least 2")
                    if not anomalous.any() or anomalous.all():
                        notes.append(f"{name}, fold {fold.name}: test clips of one kind only, not in the score")
                        continue
                    models.append(_Model(name, f, known, test, anomalous))
        if not models:
            raise CorpusError(f"task {card.name!r} has no test part with both normal and anomalous clips")
        groups = source_groups(card, corpus, targets.rows)
        description = f"{plan.description}; models are fitted to normal clips of the training and validation parts"
        payload = models, [fold.name for fold in plan.folds]
        all_notes = (*targets.notes, *notes)
        return TaskPlan(targets.rows, plan.protocol, description, groups, all_notes, payload, folds=plan.folds)

    def run(self, job: Job) -> Outcome:
        models, fold_names = job.plan.payload
        probe, present = job.probe_as(NormalModelConfig), job.present  # type: ignore[type-abstract]
        names = list(dict.fromkeys(model.name for model in models))
        vectors = np.zeros((len(present), job.encoder.pooled_width), dtype=np.float32)
        vectors[present] = job.tokens().pooled
        check_finite(vectors[present], "clip")
        columns: list[tuple[Any, ...]] = []
        sizes = [[0, 0, 0] for _ in fold_names]
        for i, model in enumerate(models, 1):
            normal, kept = model.normal[present[model.normal]], present[model.test]
            if len(normal) < 2:
                raise CorpusError(f"{len(normal)} normal clips of {model.name!r} can be read; repair the corrupt files")
            test = model.test[kept]
            scores = probe.fit(vectors[normal])(vectors[test])
            facts = {"normal": vectors[normal], "names": job.clip_names[normal].tolist(), "model": model.name}
            facts["encoder"] = job.encoder.fingerprint
            job.keep_heads(f"{fold_names[model.fold]}-{model.name}", (0,), [probe], [facts])
            columns.append((test, model.anomalous[kept], scores, names.index(model.name), model.fold, model.name))
            sizes[model.fold][0] += len(normal)
            sizes[model.fold][2] += len(test)
            job.progress(i / len(models))
        clips = job.clip_names
        predictions = AnomalyPredictions(
            names=np.array([f"{c[5]}: {clip}" for c in columns for clip in clips[c[0]]], dtype=np.str_),
            group=np.concatenate([job.plan.groups[c[0]] for c in columns]),
            fold=np.concatenate([np.full(len(c[0]), c[4]) for c in columns]).astype(np.int64),
            seeds=(0,),
            anomalous=np.concatenate([c[1] for c in columns]),
            scores=np.concatenate([c[2] for c in columns])[None],
            model=np.concatenate([np.full(len(c[0]), c[3]) for c in columns]).astype(np.int64),
            models=tuple(names),
            max_false_positives=job.card.rule_as(AnomalyRule).max_false_positives,
        )
        return Outcome(
            predictions=predictions,
            fold_names=fold_names,
            sizes=sizes,
            units_total=sum(len(model.test) for model in models),
            settings={"probe": probe.to_json(), "vectors": "pooled"},
        )
