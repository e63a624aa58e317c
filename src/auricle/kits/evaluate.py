"""Evaluate frozen encoders by the protocol of an evaluation kit, for numbers comparable with the kit's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.encoders.features import FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
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
from auricle.evaluation.probing import evaluated_on, open_model, open_task_corpus
from auricle.evaluation.token_store import TokenStore
from auricle.kits.protocol_tasks import for_task
from auricle.kits.protocols import ProtocolConfig, get_protocol
from auricle.kits.task import KitTask
from auricle.models import Model
from auricle.probes import SearchConfig
from auricle.results.record import Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.task_type import Protocol


def evaluate_by_protocol(
    encoders: Sequence[FrozenEncoder | EvaluatedEncoder],
    task: str | TaskCard,
    corpus: Corpus,
    *,
    out: Path | str,
    protocol: str | ProtocolConfig = "hear",
    config: EvaluationConfig = DEFAULTS,
    memory_mb: float = 256.0,
    workers: int | None = None,
    command: str | None = None,
    progress: bool = True,
    tokens: Path | str | None = None,
) -> list[Result]:
    """Evaluate encoders on labelled clips as HEAR, EVAR, X-ARES, MARBLE or SUPERB do.

    A result names the protocol (`protocol_name`), what in it flatters the score (`leaks`), and what cached tokens can't
    reproduce (`notes`); the mean as the kit prints it is in `details["kit"]`. Results are saved, found again and
    resumed like those of `evaluate`.

    Args:
        encoders: the encoders to evaluate.
        task: name of a task card of labelled clips, or a card; the kit's own settings for that task are applied.
        corpus: its clips.
        out: folder for results, usually `RUN/probes/TASK`.
        protocol: `hear` (8 of 16 points, drawn as the kit draws them), `hear_full` (all 16), `hear_raced` (all 16,
            those that fall behind stop: auricle's variant), `evar`, `xares`, `marble`, `superb`; or settings of a
            protocol, which are used unchanged.
        config: controls, interval, batch and device; seeds, search, loss and refit belong to the protocol.
        memory_mb: bound on the memory of all points of a grid that train at once.
        workers: folds or heads that train in parallel; None: the number of torch's threads.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.
        tokens: folder of token caches; None: `out/tokens`.

    Returns:
        One result per encoder and probe of the kit: encoders first, then controls.

    Raises:
        CorpusError: the corpus does not serve the task.
        ConfigError: no encoder, no such protocol, a setting that belongs to the protocol, or a task that is not of
            labelled clips.
    """
    card = get_task(task) if isinstance(task, str) else task
    card.rule_as(ClipsRule, "a kit's protocol (--protocol strict takes any)")
    for name in ("seeds", "search", "loss", "refit"):
        if getattr(config, name) != getattr(DEFAULTS, name):
            raise ConfigError(f"found a setting of {name}; the protocol of a kit has its own: leave {name} out")
    candidates = evaluated_encoders(encoders, config.controls)
    kits: tuple[ProtocolConfig, ...]
    if isinstance(protocol, ProtocolConfig):
        kits = (protocol,)
    else:
        kits = tuple(for_task(kit, card.name) for kit in get_protocol(protocol))
    out, device = Path(out), str(find_device(config.device))

    def planned(kit: ProtocolConfig) -> PlannedTask:
        kind = KitTask(kit, memory_mb=memory_mb, workers=workers)
        plan = kind.plan(card, corpus, config.split_seed)
        kept, plan, copies = check_leaks(
            kind, card, corpus, plan, config.on_leak, seed=config.split_seed, progress=progress
        )
        rest = Protocol(kit.seeds, SearchConfig(), None, False, config.confidence, config.split_seed)
        leaks = tuple(kind.leaks(plan))
        # The heads of kits may use other clips than each other and than `strict`: each has its list.
        return PlannedTask(card, kept, kind, plan, rest, out, device, command, kit.name, leaks, copies, out / kit.probe)

    tasks = [(kit, planned(kit)) for kit in kits]
    evaluations = [
        Evaluation(one, evaluated, kit.probe, kit, kit.layers, kit.key_facts())
        for evaluated in candidates
        for kit, one in tasks
    ]
    store = TokenStore(corpus, Path(tokens or out / "tokens"), config.batch, device, progress)
    return drive(evaluations, store.opener(), progress=progress)


def probe_by_protocol(
    model: str | Path | Model,
    *,
    task: str | TaskCard,
    protocol: str,
    data: str | Path | Corpus | None = None,
    config: EvaluationConfig = DEFAULTS,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    out: Path | str | None = None,
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    command: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Probe a pre-trained encoder on a task of labelled clips by the protocol of an evaluation kit.

    Args:
        model: as for `probe`.
        task: name of a task card, or a card.
        protocol: name of a protocol; see `evaluate_by_protocol`.
        data: the task's audio; None: as its card says.
        config: as for `evaluate_by_protocol`.
        channel: as for `probe`.
        time_expansion: as for `probe`.
        out: folder for results; None: as for `probe`.
        precision: as for `probe`.
        trust_remote_code: as for `probe`.
        features: see `auricle.load`; no probe on the output is added to those of the kit.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.

    Raises:
        CorpusError: there is no such audio, or it does not serve the task.
        ConfigError: no such protocol, or a type of task that it does not know.
    """
    card = get_task(task) if isinstance(task, str) else task
    get_protocol(protocol)
    corpus = open_task_corpus(card, data, channel, time_expansion)
    opened = open_model(model, config.device, precision, trust_remote_code, features)
    return evaluate_by_protocol(
        [evaluated_on(opened, corpus, progress=progress)],
        card,
        corpus,
        out=out if out is not None else opened.folder / "probes" / card.name,
        protocol=protocol,
        config=config,
        command=command,
        progress=progress,
    )
