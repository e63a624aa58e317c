"""Results from any number of folders in one book: collected, filtered, and grouped into tables."""

from __future__ import annotations

import fnmatch
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from auricle.config import nearest
from auricle.errors import ConfigError, CorpusError
from auricle.metrics.catalogue import METRICS, metric_info
from auricle.results.caveats import explained, features_read, whose, without_stale
from auricle.results.conditions import Condition, group_by_condition, newest, told_apart
from auricle.results.record import Result, read_results
from auricle.words import counted

FILE = "results.jsonl"
KEPT = "kept for the headline metric only; --compare computes them"
_SKIPPED = {"tokens", "fits", "predictions", "checkpoints"}


@dataclass(frozen=True)
class Found:
    """A result and its place.

    Attributes:
        result: the record.
        folder: of its `results.jsonl`; the path of its predictions is relative to it.
    """

    result: Result
    folder: Path


@dataclass(frozen=True)
class Block:
    """All results of one condition: the newest of each encoder and probe.

    Attributes:
        condition: what they share.
        cells: `(fingerprint of the encoder, probe)` -> result.
        notes: caveats of the numbers.
    """

    condition: Condition
    cells: dict[tuple[str, str], Found]
    notes: tuple[str, ...]

    @property
    def probes(self) -> list[str]:
        """Names of the probes, in the order in which they were found."""
        return list(dict.fromkeys(probe for _, probe in self.cells))

    @property
    def encoders(self) -> list[str]:
        """Fingerprints of the encoders."""
        return list(dict.fromkeys(encoder for encoder, _ in self.cells))


@dataclass(frozen=True)
class ResultBook:
    """Results of several folders.

    Attributes:
        found: the results, each experiment once.
        notes: what was skipped in collecting.
    """

    found: tuple[Found, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def collect(cls, paths: Sequence[Path | str]) -> Self:
        """Read every `results.jsonl` below some folders (run folders, their parents, probe folders), or such files.

        Equal keys are one experiment (such as the control of several runs): only its newest record is kept.

        Raises:
            CorpusError: a path is missing, holds no results, or a file is damaged.
        """
        files: list[Path] = []
        for path in map(Path, paths):
            if not path.exists():
                raise CorpusError(f"there is no {path}; name run folders, or folders that hold a {FILE}")
            here = [path] if path.is_file() else _below(path)
            if not here:
                raise CorpusError(f"no {FILE} in or below {path}; `auricle probe` writes them: run it first")
            files += [file for file in here if file.resolve() not in {f.resolve() for f in files}]
        found, notes = list[Found](), list[str]()
        for file in files:
            kept, stale = without_stale(read_results(file), vars)
            found += [Found(result, file.parent) for result in kept]
            notes += stale
        once, older = newest(found, lambda f: (f.result.key, f.result.protocol_name), lambda f: f.result.made)
        if not once:
            where = f"no result in {[*files, 'no folder'][0]}; name folders of `auricle probe`"
            raise CorpusError("; ".join([where, *notes]))
        if older:
            notes.append(f"shown once: {counted(len(older), 'repetition')} of the same experiment")
        return cls(tuple(once.values()), tuple(dict.fromkeys(notes)))

    def where(
        self,
        *,
        task: Sequence[str] = (),
        encoder: Sequence[str] = (),
        probe: Sequence[str] = (),
        role: Sequence[str] = (),
        type_name: Sequence[str] = (),
        protocol: Sequence[str] = (),
        metric: str | None = None,
    ) -> ResultBook:
        """Return the results that fit.

        Args:
            task: names or patterns (`esc*`); none: all. So for the others.
            encoder: names, patterns, fingerprints (or how they begin), or the roles `random`, `log-mel`, `mfcc`.
            probe: names or patterns.
            role: `pretrained`, `random`, `log-mel`, `mfcc`.
            type_name: types of tasks: `clips`, `events` ...
            protocol: `strict`, `hear` ...
            metric: read this metric instead of each task's headline; results without it are skipped.

        Raises:
            ConfigError: the metric is unknown, or nothing fits one of the names.
        """
        found = list(self.found)
        tests: list[tuple[str, Sequence[str], Callable[[Result], tuple[str, ...]]]] = [
            ("task", task, lambda r: (r.task,)),
            ("encoder", encoder, lambda r: (r.encoder, r.role)),
            ("probe", probe, lambda r: (r.probe,)),
            ("role", role, lambda r: (r.role,)),
            ("type of task", type_name, lambda r: (r.type_name,)),
            ("protocol", protocol, lambda r: (r.protocol_name,)),
        ]
        for what, wanted, names in tests:
            if not wanted:
                continue
            known = {name for f in self.found for name in names(f.result)}
            prints = {f.result.encoder_fingerprint for f in self.found} if what == "encoder" else set()
            for name in wanted:
                if not any(_fits(name, k) for k in known) and not _begins(name, prints):
                    raise ConfigError(f"no result of {what} {name!r}{nearest(name, known)}")
            found = [
                f
                for f in found
                if any(_fits(w, n) for w in wanted for n in names(f.result))
                or (what == "encoder" and any(_begins(w, [f.result.encoder_fingerprint]) for w in wanted))
            ]
        if metric is not None:
            metric_info(metric)
            found = [_measured(f, metric) for f in found if metric in f.result.metrics]
        if not found:
            raise ConfigError(
                f"none of the {len(self.found)} results fits all filters; use fewer, or "
                f"{'another metric' if metric else 'other names'}"
            )
        return ResultBook(tuple(found), self.notes)

    def labels(self) -> dict[str, str]:
        """Return fingerprint -> name of each encoder; names that two encoders share get their fingerprint."""
        return told_apart({f.result.encoder_fingerprint: f.result.encoder for f in self.found}, str)

    def encoder(self, asked: str) -> str:
        """Return the fingerprint of the one encoder with this name, fingerprint, role or pattern.

        Raises:
            ConfigError: there is none, or several.
        """
        names = self.labels()
        roles = {f.result.encoder_fingerprint: f.result.role for f in self.found}
        tests: tuple[Callable[[str], bool], ...] = (
            lambda key: asked in (names[key], key),
            lambda key: _begins(asked, [key]),
            lambda key: asked == roles[key],
            lambda key: _fits(asked, names[key]),
        )
        for test in tests:
            fitting = [key for key in names if test(key)]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                listed = "; ".join(f"{names[key]} = {key[:8]}" for key in fitting)
                raise ConfigError(f"{asked!r} fits {len(fitting)} encoders ({listed}): name one by its fingerprint")
        raise ConfigError(f"no result of encoder {asked!r}{nearest(asked, names.values())}")

    @property
    def caveats(self) -> list[str]:
        """What was skipped in collecting, and which of the results are optimistic or of an older version."""
        return [*self.notes, *explained([vars(f.result) for f in self.found]).values()]

    def blocks(self) -> list[Block]:
        """Group the results by condition, in the order in which tasks were found."""
        return [_block(*group) for group in group_by_condition(self.found, lambda f: vars(f.result))]


def _below(folder: Path) -> list[Path]:
    """Return all files of results below a folder; hidden folders and those that hold no results are not searched."""
    files = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        if FILE in names:
            files.append(Path(root) / FILE)
    return files


def _fits(pattern: str, name: str) -> bool:
    # A name in brackets fits itself, too.
    return name == pattern or fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _begins(asked: str, fingerprints: Iterable[str]) -> bool:
    return len(asked) >= 4 and any(key.startswith(asked) for key in fingerprints)


def _measured(found: Found, metric: str) -> Found:
    """Return a result whose headline is another of its metrics; intervals are kept for headlines only."""
    result, info = found.result, METRICS[metric]
    if result.metric == metric:
        return found
    # A metric that was undefined is None in the file.
    value = math.nan if result.metrics[metric] is None else float(result.metrics[metric])
    ends: dict[str, Any] = {"low": math.nan, "high": math.nan, "interval": KEPT}
    other = replace(result, metric=metric, value=value, better=info.better, unit=info.unit, **ends)
    return Found(other, found.folder)


def _block(condition: Condition, found: Sequence[Found]) -> Block:
    cells, older = newest(found, lambda f: (f.result.encoder_fingerprint, f.result.probe), lambda f: f.result.made)
    results = [f.result for f in cells.values()]
    notes = [n for n in dict.fromkeys(results[0].notes) if all(n in r.notes for r in results)]
    records = [vars(r) for r in results]
    notes += features_read(records)
    own = dict.fromkeys(n for r in results for n in r.notes if n not in notes)
    notes += [f"{whose([r for r in records if note in r['notes']], records)}: {note}" for note in own]
    if older:
        notes.append(f"not shown: {counted(len(older), 'older record')} of encoder and probe with other settings")
    notes += _uneven(results)
    if any(r.seen for r in results):
        names = ", ".join(dict.fromkeys(r.encoder for r in results if r.seen))
        notes.append(f"this audio was seen in pre-training, without its labels: {names}")
    missing = max((r.missing for r in results), key=len)
    for file, reason in list(missing.items())[:1]:
        notes.append(f"{counted(len(missing), 'clip')} could not be read, the first {file!r}: {reason}")
    return Block(condition, cells, tuple(notes))


def _uneven(results: Sequence[Result]) -> list[str]:
    """Name the probes whose results differ between encoders in settings, seeds or clips."""
    notes = []
    for probe in dict.fromkeys(r.probe for r in results):
        mine = [r for r in results if r.probe == probe]
        for what, kinds in (
            ("settings", {json.dumps(r.settings, sort_keys=True) for r in mine}),
            ("numbers of seeds", {str(len(r.seeds)) for r in mine}),
            ("numbers of test units", {str(r.clips) for r in mine}),
            ("confidences of the interval", {str(r.confidence) for r in mine}),
        ):
            if len(kinds) > 1:
                notes.append(f"the encoders' results with {probe} were made with {len(kinds)} different {what}")
    return notes
