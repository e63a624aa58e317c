"""Evaluate frozen encoders on a task, beside their controls: every number with how it came about."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from auricle.audio.frontends.frontend import FrontEnd
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.config import Config
from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError
from auricle.evaluation.study import EvaluatedEncoder, Study
from auricle.probes import LossConfig, SearchConfig, get_loss
from auricle.results.record import Result, append_result, read_results
from auricle.tasks.card import TaskCard
from auricle.tasks.task_type import Protocol
from auricle.tasks.types import task_type
from auricle.tokens.cache import TokenCache
from auricle.tokens.extract import extract


def controls(encoder: FrozenEncoder, *, seed: int = 0) -> list[EvaluatedEncoder]:
    """Return what stands beside an encoder in every table: its random-weight control and log-mel statistics.

    Args:
        encoder: the encoder under test; both controls use its front end (a Kaldi fbank where that is no spectrum).
        seed: of the random weights.
    """
    frontend: FrontEnd = encoder.frontend
    if not isinstance(frontend, SpectralFrontEnd):
        frontend = KaldiFbankConfig(rate=encoder.rate).build()
    plain = LogMelStatisticsConfig(mels=frontend.width, frame_rate=frontend.frame_rate).build()
    beside = [EvaluatedEncoder(FrozenEncoder(frontend, plain, name="log-mel statistics"), "log-mel", False)]
    # An encoder whose weights can't be drawn anew says so itself, in its notes.
    return [EvaluatedEncoder(encoder.randomised(seed), "random", False), *beside] if encoder.randomisable else beside


def evaluate(
    encoders: Sequence[FrozenEncoder | EvaluatedEncoder],
    card: TaskCard,
    corpus: Corpus,
    *,
    out: Path | str,
    probes: Sequence[str | Config] = (),
    seeds: Sequence[int] = (0, 1, 2),
    with_controls: bool = True,
    search: SearchConfig | None = None,
    loss: str | LossConfig | None = None,
    refit: bool = True,
    seen: bool | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    split_seed: int = 0,
    tokens: Path | str | None = None,
    batch: int = 16,
    device: str = "cpu",
    command: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Evaluate encoders on a task of any type with every reader, fold and seed.

    Results go to `out/results.jsonl`, predictions to `out/predictions/`. What is there already (same encoder, corpus,
    task, probe and settings) is not computed again, so a stopped evaluation continues, fold by fold.

    Args:
        encoders: the encoders under test.
        card: the task.
        corpus: its clips.
        out: folder for results, usually `RUN/probes/TASK`.
        probes: names or settings of readers (probes, and what else serves this type of task); none: the type's usual.
        seeds: of the probes.
        with_controls: add random weights and log-mel statistics (once each, however many encoders share them).
        search: grid and training of the probes; the default is the published one.
        loss: of the probes; None: the card's.
        refit: see `auricle.tasks.clips.fold_fits`.
        seen: whether the encoders were pre-trained on this audio, for those that do not say so themselves.
        resamples: bootstrap samples of the interval.
        confidence: coverage of the interval.
        split_seed: of folds and validation clips where the corpus has none.
        tokens: folder of token caches; None: `out/tokens`.
        batch: clips encoded at once.
        device: where encoders and probes run.
        command: what to record as the command; None: that of this process.
        progress: show progress bars.

    Returns:
        One result per encoder and probe, encoders first, controls after them.

    Raises:
        CorpusError: the corpus can't serve the task (no labels, one class only, fewer clips than folds ...).
        ConfigError: no encoder, no seed, or a setting that doesn't fit.
    """
    candidates = evaluated_encoders(encoders, with_controls, seen)
    kind = task_type(card)
    if not seeds:
        raise ConfigError("no seed to train probes with; expected at least one")
    asked = [kind.probe(probe) for probe in probes]
    out = Path(out)
    plan = kind.plan(card, corpus, split_seed)
    chosen = asked or [kind.probe(name) for name in kind.usual(plan)]
    for _, probe in chosen:
        kind.check(probe, plan)
    protocol = Protocol(
        tuple(seeds),
        search or SearchConfig(),
        None if loss is None else get_loss(loss),
        refit,
        resamples,
        confidence,
        split_seed,
    )
    study = Study(card, corpus, kind, plan, protocol, out, command or _command(), device)
    known = {r.key: r for r in read_results(out)} if (out / "results.jsonl").is_file() else {}
    todo = [(s, r) for s in candidates for r in chosen if study.key(s, r[1]) not in known]
    store = Path(tokens or out / "tokens")
    wanted = {(s.encoder.fingerprint, kind.layers(probe)): s.encoder for s, (_, probe) in todo}
    caches = {
        (name, layers): _cache(encoder.to(device), corpus, store / name, layers, batch, progress)
        for (name, layers), encoder in wanted.items()
    }
    made: dict[str, Result] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not progress) as bar:
        line = bar.add_task(f"probes of {card.name}", total=len(todo))
        for count, (evaluated, (name, config)) in enumerate(todo):
            bar.update(line, description=f"{card.name}: {name} on {evaluated.encoder.name}")

            def tell(share: float, count: int = count) -> None:
                bar.update(line, completed=count + share)

            cache = caches[evaluated.encoder.fingerprint, kind.layers(config)]
            result = study.run(evaluated, name, config, cache, tell)
            append_result(out / "results.jsonl", result)
            made[result.key] = result
    results = []
    for evaluated in candidates:
        for _, config in chosen:
            key = study.key(evaluated, config)
            result = made[key] if key in made else known[key]
            if (result.seen, result.role, result.encoder) != (evaluated.seen, evaluated.role, evaluated.encoder.name):
                result = replace(result, seen=evaluated.seen, role=evaluated.role, encoder=evaluated.encoder.name)
                append_result(out / "results.jsonl", result)
            results.append(result)
    return results


def evaluated_encoders(
    encoders: Sequence[FrozenEncoder | EvaluatedEncoder], with_controls: bool, seen: bool | None
) -> list[EvaluatedEncoder]:
    """Return the encoders under test, and after them their controls, each once.

    Args:
        encoders: at least one.
        with_controls: add random weights and log-mel statistics.
        seen: whether they were pre-trained on the task's audio, for those that do not say so themselves.

    Raises:
        ConfigError: there is no encoder.
    """
    if not encoders:
        raise ConfigError("no encoder to evaluate; give at least one")
    tested = [e if isinstance(e, EvaluatedEncoder) else EvaluatedEncoder(e, seen=seen) for e in encoders]
    beside = [c for s in tested if s.role == "pretrained" for c in controls(s.encoder)] if with_controls else []
    # Encoders of one architecture share their controls. A stable order: encoders, random weights, log-mel.
    beside.sort(key=lambda c: c.role != "random")
    return list({s.encoder.fingerprint: s for s in [*beside[::-1], *tested[::-1]]}.values())[::-1]


def _cache(
    encoder: FrozenEncoder,
    corpus: Corpus,
    folder: Path,
    layers: Literal["all"] | None,
    batch: int,
    progress: bool,
) -> TokenCache:
    """Extract the tokens that readers want, or open them; outputs and stacks of layers lie in folders of their own."""
    if layers is None:
        return extract(encoder, corpus, folder, batch=batch, progress=progress)
    blocks = tuple(range(1, encoder.depth + 1)) or (0,)
    stack = folder.with_name(f"{folder.name}-layers")
    return extract(encoder, corpus, stack, layers=blocks, batch=batch, progress=progress)


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
