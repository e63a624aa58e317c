"""Evaluate frozen encoders on a task, with their controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.encoders.features import OUTPUT
from auricle.encoders.frozen import FrozenEncoder
from auricle.evaluation.controls import evaluated_encoders
from auricle.evaluation.driver import (
    DEFAULTS,
    EvaluatedEncoder,
    Evaluation,
    EvaluationConfig,
    PlannedTask,
    drive,
)
from auricle.evaluation.leaks import check_leaks
from auricle.evaluation.token_store import TokenStore
from auricle.probes import get_loss
from auricle.results.record import CONTROLS, Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.task_type import Protocol
from auricle.tasks.types import task_type


def evaluate(
    encoders: Sequence[FrozenEncoder | EvaluatedEncoder],
    task: str | TaskCard,
    corpus: Corpus,
    *,
    out: Path | str,
    probes: Sequence[str | Config] = (),
    config: EvaluationConfig = DEFAULTS,
    command: str | None = None,
    progress: bool = True,
    tokens: Path | str | None = None,
) -> list[Result]:
    """Evaluate encoders on a task of any type with every probe, fold and seed.

    Results go to `out/results.jsonl`, predictions to `out/predictions/`. Finished results (same encoder, corpus, task,
    probe and settings) are not computed again, and a stopped evaluation continues fold by fold. Where `linear` reads
    other features of an encoder than its output, it is fitted on the output as well.

    Args:
        encoders: the encoders to evaluate.
        task: name of a task card, or a card.
        corpus: its clips.
        out: folder for results, usually `RUN/probes/TASK`.
        probes: names or settings of probes (and of all else that serves this type of task); none: the type's default.
        config: seeds, controls, search and the like.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.
        tokens: folder of token caches; None: `out/tokens`.

    Returns:
        One result per encoder and probe: encoders first, then controls, then `linear` on outputs.

    Raises:
        CorpusError: the corpus does not serve the task (no labels, one class only, fewer clips than folds ...), or test
            clips are copies of training clips and `config.on_leak` is `refuse`.
        ConfigError: no encoder, or a setting that does not fit.

    Examples:
        >>> import auricle
        >>> model, corpus = auricle.load("runs/mine"), auricle.open_corpus("recordings")  # doctest: +SKIP
        >>> results = auricle.evaluate([model.encoder], "esc10", corpus, out="results")  # doctest: +SKIP
    """
    card = get_task(task) if isinstance(task, str) else task
    candidates = evaluated_encoders(encoders, config.controls)
    kind, out, device = task_type(card), Path(out), str(find_device(config.device))
    asked = [kind.probe(probe) for probe in probes]
    plan = kind.plan(card, corpus, config.split_seed)
    chosen = asked or [kind.probe(name) for name in kind.usual(plan)]
    for _, probe in chosen:
        kind.check(probe, plan)
    corpus, plan, copies = check_leaks(
        kind, card, corpus, plan, config.on_leak, seed=config.split_seed, progress=progress
    )
    protocol = Protocol(
        tuple(range(config.seeds)),
        config.search,
        None if config.loss is None else get_loss(config.loss),
        config.refit,
        config.confidence,
        config.split_seed,
    )
    planned = PlannedTask(
        card, corpus, kind, plan, protocol, out, device, command, copies=copies, keep_heads=config.keep_heads
    )
    evaluations = [
        Evaluation(planned, evaluated, name, probe, "blocks" if kind.layers(probe) else None)
        for evaluated in candidates
        for name, probe in chosen
    ]
    evaluations += [
        replace(one, evaluated=output)
        for one in evaluations
        if one.name == "linear" and (output := _of_output(one.evaluated, candidates)) is not None
    ]
    store = TokenStore(corpus, Path(tokens or out / "tokens"), config.batch, device, progress)
    return drive(evaluations, store.opener(), progress=progress)


def _of_output(evaluated: EvaluatedEncoder, candidates: Sequence[EvaluatedEncoder]) -> EvaluatedEncoder | None:
    """Return an encoder with its output read; None for a control, and where the output is evaluated anyway."""
    if evaluated.role in CONTROLS or evaluated.encoder.features == OUTPUT:
        return None
    output = evaluated.encoder.reading(OUTPUT, marked=True)
    known = {candidate.encoder.fingerprint for candidate in candidates}
    return None if output.fingerprint in known else replace(evaluated, encoder=output)
