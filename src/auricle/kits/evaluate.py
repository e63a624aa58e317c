"""Evaluate frozen encoders by the protocol of an evaluation kit, so that the number can be set beside the kit's own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.evaluation.evaluate import evaluated_encoders
from auricle.evaluation.study import EvaluatedEncoder, Study
from auricle.kits.protocol_tasks import for_task
from auricle.kits.protocols import ProtocolConfig, get_protocol
from auricle.kits.task import CompatTask, require_clips
from auricle.probes import SearchConfig
from auricle.results.record import Result, append_result, read_results
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import Protocol
from auricle.tokens.cache import TokenCache
from auricle.tokens.extract import extract


def compat_evaluate(
    encoders: Sequence[FrozenEncoder | EvaluatedEncoder],
    card: TaskCard,
    corpus: Corpus,
    *,
    out: Path | str,
    protocol: str | ProtocolConfig = "hear",
    with_controls: bool = True,
    seen: bool | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    split_seed: int = 0,
    memory_mb: float = 256.0,
    workers: int | None = None,
    tokens: Path | str | None = None,
    batch: int = 16,
    device: str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Evaluate encoders on labelled clips as HEAR, EVAR, X-ARES, MARBLE or SUPERB do.

    A result says whose protocol it followed (`protocol_name`), what in it flatters the score (`leaks`), and what cached
    tokens can't repeat (`notes`); the mean as the kit prints it is in `details["kit"]`. Results are kept, found again
    and continued like those of `evaluate`.

    Args:
        encoders: the encoders under test.
        card: a task of labelled clips; what a kit does otherwise on a task that it knows is applied.
        corpus: its clips.
        out: folder for results, usually `RUN/probes/TASK`.
        protocol: `hear` (8 of 16 points, as the kit draws them), `hear_full` (all 16), `hear_raced` (all 16 begun,
            those that fall behind stop: auricle's variant), `evar`, `xares`, `marble`, `superb`; or settings of one,
            which are taken as they are.
        with_controls: add random weights and log-mel statistics.
        seen: whether the encoders were pre-trained on this audio, for those that do not say so themselves.
        resamples: bootstrap samples of the interval.
        confidence: coverage of the interval.
        split_seed: of folds that are made here, and of the bootstrap.
        memory_mb: bound on what the points of a grid hold while they train, however many they are.
        workers: folds or heads that train side by side; None: as many as torch has threads.
        tokens: folder of token caches; None: `out/tokens`.
        batch: clips encoded at once.
        device: where encoders and heads run.
        command: what to record as the command; None: that of this process.
        progress: show progress bars.

    Returns:
        One result per encoder and reader of the kit, encoders first, controls after them.

    Raises:
        CorpusError: the corpus can't serve the task.
        ConfigError: no encoder, no such protocol, or a task that is not of labelled clips.
    """
    require_clips(card)
    candidates = evaluated_encoders(encoders, with_controls, seen)
    asked = (protocol,) if isinstance(protocol, ProtocolConfig) else get_protocol(protocol)
    kits = asked if isinstance(protocol, ProtocolConfig) else tuple(for_task(kit, card.name) for kit in asked)
    out = Path(out)
    known = {r.key: r for r in read_results(out)} if (out / "results.jsonl").is_file() else {}
    store = Path(tokens or out / "tokens")
    words = command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])

    def study(kit: ProtocolConfig) -> tuple[CompatTask, Study]:
        kind = CompatTask(kit, memory_mb=memory_mb, workers=workers)
        plan = kind.plan(card, corpus, split_seed)
        rest = Protocol(kit.seeds, SearchConfig(), None, False, resamples, confidence, split_seed)
        return kind, Study(card, corpus, kind, plan, rest, out, words, device)

    laid = [(kit, *study(kit)) for kit in kits]
    work = [(evaluated, *one) for evaluated in candidates for one in laid]
    todo = sum(study.key(evaluated, kit) not in known for evaluated, kit, _, study in work)
    caches: dict[tuple[str, str | None], TokenCache] = {}
    for evaluated, kit, _, study_ in work:
        wanted = (evaluated.encoder.fingerprint, kit.layered)
        if wanted not in caches and study_.key(evaluated, kit) not in known:
            caches[wanted] = _cache(evaluated.encoder.to(device), corpus, store, kit, batch, progress)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    results: list[Result] = []
    done = 0
    with Progress(*columns, disable=not progress) as bar:
        line = bar.add_task(f"{kits[0].name} on {card.name}", total=todo)
        for evaluated, kit, kind, study_ in work:
            key = study_.key(evaluated, kit)
            if key in known:
                results.append(_refreshed(known[key], evaluated, out))
                continue
            bar.update(line, description=f"{card.name}: {kit.probe} on {evaluated.encoder.name}")

            def tell(share: float, done: int = done) -> None:
                bar.update(line, completed=done + share)

            result = study_.run(evaluated, kit.probe, kit, caches[evaluated.encoder.fingerprint, kit.layered], tell)
            result = replace(result, protocol_name=kit.name, leaks=kind.leaks(study_.plan))
            append_result(out / "results.jsonl", result)
            results.append(result)
            done += 1
    return results


def _refreshed(result: Result, evaluated: EvaluatedEncoder, out: Path) -> Result:
    """Return a result found again with what is said of its encoder now, which is no part of its key."""
    if (result.seen, result.role, result.encoder) == (evaluated.seen, evaluated.role, evaluated.encoder.name):
        return result
    result = replace(result, seen=evaluated.seen, role=evaluated.role, encoder=evaluated.encoder.name)
    append_result(out / "results.jsonl", result)
    return result


def _cache(
    encoder: FrozenEncoder, corpus: Corpus, store: Path, kit: ProtocolConfig, batch: int, progress: bool
) -> TokenCache:
    """Extract what a kit's head reads, or open it; the outputs of the blocks are shared with auricle's own probes."""
    folder = store / encoder.fingerprint
    if kit.layered is None:
        return extract(encoder, corpus, folder, batch=batch, progress=progress)
    blocks = tuple(range(1, encoder.depth + 1)) or (0,)
    if kit.layered == "blocks":
        layers, folder = blocks, folder.with_name(f"{folder.name}-layers")
    else:
        layers, folder = tuple(range(encoder.depth + 1)), folder.with_name(f"{folder.name}-states")
    return extract(encoder, corpus, folder, layers=layers, batch=batch, progress=progress)
