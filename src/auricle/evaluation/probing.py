"""`auricle probe` as a function: a run, a task, its audio; results, predictions and a map in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auricle.config import Config
from auricle.corpus.published.data_sets import DATA_SETS
from auricle.corpus.published.layouts.opening import PREFIX
from auricle.corpus.sources import open_corpus, open_for
from auricle.corpus.table import Corpus, split_labels
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.embedding_map import embedding_map, read_map, write_map
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.prototype_maps import draw_prototype_maps
from auricle.evaluation.seen import seen
from auricle.evaluation.study import EvaluatedEncoder
from auricle.kits.evaluate import compat_evaluate
from auricle.kits.protocols import get_protocol
from auricle.models import load
from auricle.probes import SearchConfig
from auricle.results.record import Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.clips.rule import ClipsRule
from auricle.tokens.extract import extract


def probe(
    run: Path | str,
    *,
    task: str | TaskCard,
    data: str | Path | Corpus | None = None,
    probes: Sequence[str | Config] = (),
    seeds: Sequence[int] = (0, 1, 2),
    controls: bool = True,
    search: SearchConfig | None = None,
    refit: bool = True,
    maps: bool = False,
    out: Path | str | None = None,
    command: str | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> list[Result]:
    """Probe a pre-trained encoder on a task and write what `auricle report` shows.

    Args:
        run: run folder of a pre-trained encoder, one of its checkpoints, `module:Class` (see
            `auricle.encoders.callables`), or `hf:user/name` (see `auricle.encoders.transformers.encoder`).
        task: name of a task card, or a card.
        data: the task's audio; None: where its card says (tasks on the built-in corpus need none).
        probes: readers of the frozen tokens; none: those usual for the type of task.
        seeds: of the probes.
        controls: probe random weights and log-mel statistics too.
        search: grid and training of the probes.
        refit: train again on training and validation clips at the chosen setting.
        maps: draw where prototypes fire, for the report; for labelled clips.
        out: where results go; None: `RUN/probes/TASK`, and `runs/module-Class/probes/TASK` for `module:Class`.
        command: what to record as the command.
        device: where encoders and probes run.
        progress: show progress bars.

    Raises:
        CorpusError: there is no such audio, or it can't serve the task.
        CheckpointError: there is no such run.
    """
    card = get_task(task) if isinstance(task, str) else task
    if maps and not isinstance(card.rule, ClipsRule):
        raise ConfigError(f"task {card.name!r} has no labelled clips to draw prototypes of; leave the maps out")
    corpus = open_task_corpus(card, data)
    evaluated, folder = open_evaluated(run, corpus)
    out = Path(out) if out is not None else folder / "probes" / card.name
    results = evaluate(
        [evaluated],
        card,
        corpus,
        out=out,
        probes=probes,
        seeds=seeds,
        with_controls=controls,
        search=search,
        refit=refit,
        command=command,
        device=device,
        progress=progress,
    )
    draw_map(evaluated.encoder.to(device), card, corpus, out, progress=progress)
    if maps:
        draw_prototype_maps(evaluated.encoder, card, corpus, out, search=search, device=device, progress=progress)
    return results


def probe_compat(
    run: Path | str,
    *,
    task: str | TaskCard,
    protocol: str,
    data: str | Path | Corpus | None = None,
    controls: bool = True,
    out: Path | str | None = None,
    command: str | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> list[Result]:
    """Probe an encoder on a task of labelled clips by the protocol of another kit.

    Args:
        run: as for `probe`.
        task: name of a task card, or a card.
        protocol: `hear`, `hear_full`, `evar`, `xares`, `marble` or `superb`; see `compat_evaluate`.
        data: the task's audio; None: where its card says.
        controls: judge random weights and log-mel statistics too.
        out: where results go; None: as for `probe`.
        command: what to record as the command.
        device: where encoders and heads run.
        progress: show progress bars.

    Raises:
        CorpusError: there is no such audio, or it can't serve the task.
        ConfigError: no such protocol, or it is not made for this type of task.
    """
    card = get_task(task) if isinstance(task, str) else task
    get_protocol(protocol)
    corpus = open_task_corpus(card, data)
    evaluated, folder = open_evaluated(run, corpus)
    return compat_evaluate(
        [evaluated],
        card,
        corpus,
        out=Path(out) if out is not None else folder / "probes" / card.name,
        protocol=protocol,
        with_controls=controls,
        command=command,
        device=device,
        progress=progress,
    )


def open_evaluated(
    what: Path | str,
    corpus: Corpus,
    *,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
) -> tuple[EvaluatedEncoder, Path]:
    """Open an encoder to evaluate, and the folder that its results belong in.

    Args:
        what: see `auricle.models.load`.
        corpus: the task's clips, to find out whether they were seen in pre-training.
        device: see `auricle.models.load`.
        precision: see `auricle.models.load`.
        trust_remote_code: see `auricle.models.load`.

    Raises:
        CheckpointError: there is no such run.
        ConfigError: there is no such class, or it is no encoder.
    """
    model = load(what, device=device, precision=precision, trust_remote_code=trust_remote_code)
    known = None if model.run is None else seen(model.run, corpus)
    return EvaluatedEncoder(model.encoder, "pretrained", known), model.folder


def draw_map(encoder: FrozenEncoder, card: TaskCard, corpus: Corpus, out: Path, *, progress: bool = True) -> Path:
    """Write `out/map.json` unless this very map is there; the encoder's token cache is used, or made."""
    path = out / "map.json"
    old = read_map(path)
    mine = (card.name, encoder.fingerprint, corpus.fingerprint)
    if old is not None and (old.get("task"), old.get("encoder_fingerprint"), old.get("corpus_fingerprint")) == mine:
        return path
    cache = extract(encoder, corpus, out / "tokens" / encoder.fingerprint, progress=progress)
    named = card.label in corpus.columns
    labels = [split_labels(None if c is None else str(c)) for c in corpus.column(card.label)] if named else None
    write_map(path, embedding_map(encoder, corpus, cache, task=card.name, labels=labels))
    return path


def open_task_corpus(card: TaskCard, data: str | Path | Corpus | None) -> Corpus:
    """Open the audio of a task; what its card names needs no `data` if it is built in.

    Raises:
        CorpusError: there is none.
    """
    if isinstance(data, Corpus):
        return data
    if data is not None:
        return open_for(card.corpus, data)
    if card.corpus.startswith("builtin:"):
        return open_corpus(card.corpus)
    name = card.corpus.removeprefix(PREFIX)
    known = name in DATA_SETS
    remedy = f"; `auricle data download {name} --to FOLDER` fetches it, or says how to get it" if known else ""
    raise CorpusError(
        f"task {card.name!r} needs its audio: give --data with the folder of {name or 'your labelled clips'}{remedy}"
    )
