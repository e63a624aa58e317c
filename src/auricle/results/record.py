"""The record of one evaluation: the score with its interval and everything that decided it.

A `Result` is of one encoder, probe and task. Results are lines of JSON in `results.jsonl`: a study that was stopped
continues from them, and a report needs nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from auricle.errors import CorpusError
from auricle.storage import append_line

# Raise when a change of the evaluation changes numbers, so that older results are not taken for new ones.
# 4: controls of one fixed front end. 5: constant predictions, balanced accuracy of unbalanced labels. 6: selection by
# the headline metric, range of the linear probe, t limits of few units, parts of the minimum detection cost; a division
# names sources only where clips share one. 7: shallow classifiers of single labels select by the headline metric.
SCHEME = 7
Control = Literal["random", "log-mel", "mfcc"]
Role = Literal["pretrained", Control]
# In the order of evaluation.
CONTROL_NAMES: tuple[Control, ...] = ("random", "log-mel", "mfcc")
# In the order of tables: controls first.
ROLES: tuple[Role, ...] = ("log-mel", "mfcc", "random", "pretrained")
CONTROLS: dict[str, str] = {
    "log-mel": "log-mel statistics",
    "mfcc": "MFCC statistics",
    "random": "random weights",
}
_SEEN_BEFORE = "\x68eard"  # the name of the field `seen` before 0.2


@dataclass(frozen=True)
class Result:
    """One encoder, with one probe, on one task.

    Every list over folds or seeds is in the order of `fold_names` and `seeds`.

    Attributes:
        task: name of the task card.
        kind: `single` (one label a clip) or `multi` (any number of labels a clip); "" for other types of task.
        encoder: name of the encoder.
        encoder_fingerprint: of its weights, front end and features.
        role: `pretrained`, or the control that it is: `random` weights, `log-mel` or `mfcc` statistics.
        probe: name of the probe.
        metric: name of the headline metric (`accuracy`, `macro_f1`, `mAP`).
        value: the headline metric: mean over seeds; a metric in % is a share in [0, 1].
        low: lower end of the interval.
        high: upper end of the interval.
        confidence: coverage of the interval.
        interval: the method of the interval, in words.
        metrics: every metric of this kind of task, mean over seeds.
        per_fold: headline metric of each test fold (one entry for a split), mean over seeds.
        per_seed: headline metric of each seed over all folds.
        values: `[seed][fold]` headline metric of each trained probe.
        per_class: class name -> numbers of that class (`recall`, `precision`, `f1`, `clips` for single; `ap`,
            `positives` for multi; an undefined number is None).
        classes: class names in the order of the confusion matrix.
        confusion: `[truth][predicted]` number of clips, mean over seeds; None for multi-label tasks.
        protocol: `folds` or `split`.
        split: how training, validation and test clips were chosen, in words.
        fold_names: names of the test folds (`["test"]` for a split).
        sizes: per fold, `[training, validation, test]` numbers of clips.
        refit: True where the probe was trained again on training and validation clips with the chosen settings.
        clips: test clips that were scored.
        clips_total: clips that the corpus holds for this task.
        missing: file -> reason, for clips that could not be read.
        notes: caveats (labels unseen in training, classes without positives ...).
        chosen: per fold, the settings that validation chose: `{fold, lr, wd, validation, ...}`.
        tried: number of settings tried per fold.
        settings: of the search: grids, epochs, batch, loss ...
        seeds: seeds of the probe's initial weights and batches.
        params: number of trained parameters of the probe.
        width: size of a token (or of the pooled vector, where tokens have none).
        corpus: name of the corpus.
        corpus_fingerprint: of its table.
        seen: whether this audio was seen in pre-training (without its labels); None if not known.
        predictions: file with truth and scores of each test clip, relative to the folder of `results.jsonl`.
        command: the command line or call behind this result.
        versions: of auricle, torch, numpy, scikit-learn, Python.
        seconds: wall time.
        made: date and time (UTC, ISO 8601).
        key: fingerprint of everything that decides the value; equal keys are the same experiment.
        type_name: type of the task: `clips`, `events`, `regression` ...
        better: whether `higher` or `lower` values are better.
        unit: of the value; `%`: a share, shown as a percentage.
        protocol_name: `strict` (ours), or the kit whose protocol was followed (`hear`, `evar` ...).
        leaks: what in that protocol makes the value optimistic, in words.
        macs: multiply-adds of the probe per clip; None: not counted.
        details: other data of this type of task (curves, timelines), JSON-ready.
        constant: predictions that ignore the sound, in words (`majority class (rain)`); "": the type has none.
        constant_metrics: their metrics, on the same test units.
        features: what was read of the encoder, in words; its `output` where nothing is recorded.
        scheme: the `SCHEME` that it was evaluated by; 0: before 0.3.
    """

    task: str
    kind: str
    encoder: str
    encoder_fingerprint: str
    role: Role
    probe: str
    metric: str
    value: float
    low: float
    high: float
    confidence: float
    interval: str
    metrics: dict[str, float]
    per_fold: list[float]
    per_seed: list[float]
    values: list[list[float]]
    per_class: dict[str, dict[str, float | None]]
    classes: list[str]
    confusion: list[list[float]] | None
    protocol: str
    split: str
    fold_names: list[str]
    sizes: list[list[int]]
    refit: bool
    clips: int
    clips_total: int
    chosen: list[dict[str, Any]]
    tried: int
    settings: dict[str, Any]
    seeds: list[int]
    params: int
    width: int
    corpus: str
    corpus_fingerprint: str
    seen: bool | None
    predictions: str | None
    command: str
    versions: dict[str, str]
    seconds: float
    made: str
    key: str
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    type_name: str = "clips"
    better: Literal["higher", "lower"] = "higher"
    unit: str = "%"
    protocol_name: str = "strict"
    leaks: list[str] = field(default_factory=list)
    macs: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    constant: str = ""
    constant_metrics: dict[str, float] = field(default_factory=dict)
    features: str = "output"
    scheme: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-ready data; what is not a finite number becomes None."""
        plain: dict[str, Any] = _finite(dataclasses.asdict(self))
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Rebuild a record; fields that this version does not know are skipped.

        Raises:
            CorpusError: a field that every record has is missing, or a field has a value of another type.
        """
        data = upgraded(data)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        needed = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
        absent = sorted(needed - data.keys())
        if absent:
            raise CorpusError(
                f"a result record lacks {', '.join(absent)}; another version of auricle wrote it: run the probe again"
            )
        values = {n: v for n, v in data.items() if n in fields}
        hints = _hints()
        for name, value in values.items():
            if not _fits(value, hints[name]):
                said = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:57]}..."
                words = {"float": "a number", "int": "a whole number", "str": "text"}
                kind = words.get(str(fields[name].type), fields[name].type)
                raise CorpusError(f"a result record is damaged: its {name} is {said}; expected {kind}: run it again")
        for name in ("value", "low", "high"):
            values[name] = math.nan if values[name] is None else float(values[name])
        return cls(**values)


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Result)


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value read from JSON is of a type; null stands for a number that is not finite."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in args)
    if origin is Literal:
        return value in args
    if origin is list:
        return isinstance(value, list) and all(_fits(each, args[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, args[1]) for each in value.values())
    if hint in (int, float):
        return (value is None and hint is float) or (isinstance(value, int | hint) and not isinstance(value, bool))
    return hint is Any or isinstance(value, hint)


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a record of any version with the field names of this one."""
    return {"seen": data[_SEEN_BEFORE], **data} if _SEEN_BEFORE in data else data


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def append_result(path: Path, result: Result) -> None:
    """Add a record to a `results.jsonl`, without reading the others; of equal keys, readers take the last.

    Raises:
        StorageError: the disk is full, or the place can't be written.
    """
    append_line(path, _line(result), _is_json)


def _line(result: Result) -> bytes:
    return (json.dumps(result.to_json(), ensure_ascii=False) + "\n").encode()


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.decode("utf-8"))
    except ValueError:
        return False
    return True


def read_results(path: Path) -> list[Result]:
    """Read the records of a `results.jsonl` (or of the folder that holds one), oldest first; of equal keys the last.

    A last line that a kill cut off is skipped: its result is not known, and is computed again.

    Raises:
        CorpusError: there is no such file, or a line is not a record.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "results.jsonl"
    if not path.is_file():
        raise CorpusError(f"no results at {path}; expected the file that `auricle probe` writes: run it first")
    results: dict[str, Result] = {}
    # Not splitlines(): names may hold other line separators, which JSON leaves as they are.
    lines = path.read_bytes().split(b"\n")
    if not _is_json(lines[-1]):
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line.decode("utf-8"))
        except ValueError as error:
            raise CorpusError(
                f"line {number} of {path} is not JSON ({error}); delete that line and run the probe again"
            ) from error
        if not isinstance(data, dict):
            raise CorpusError(f"line {number} of {path} is not a result record; delete it and run the probe again")
        result = Result.from_json(data)
        results.pop(result.key, None)
        results[result.key] = result
    return list(results.values())
