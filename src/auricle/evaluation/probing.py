"""`auricle probe` as a function: a model, a task, its audio; results, predictions and a map in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auricle.config import Config
from auricle.corpus.published.archive import LAYOUT
from auricle.corpus.published.data_sets import DATA_SETS
from auricle.corpus.reading import read_as
from auricle.corpus.sources import open_corpus, open_for
from auricle.corpus.table import Corpus, split_labels
from auricle.devices import find_device
from auricle.encoders.features import FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError, CorpusError
from auricle.evaluation.driver import DEFAULTS, EvaluatedEncoder, EvaluationConfig
from auricle.evaluation.embedding_map import embedding_map, read_map, write_map
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.prototype_maps import draw_prototype_maps
from auricle.evaluation.seen import Seen, seen
from auricle.evaluation.token_store import TokenStore
from auricle.models import Model, load
from auricle.results.record import Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.clips.rule import ClipsRule


def probe(
    model: str | Path | Model,
    *,
    task: str | TaskCard,
    data: str | Path | Corpus | None = None,
    probes: Sequence[str | Config] = (),
    config: EvaluationConfig = DEFAULTS,
    maps: bool = False,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    out: Path | str | None = None,
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    command: str | None = None,
    progress: bool = True,
) -> list[Result]:
    """Probe a pre-trained encoder on a task and write everything that `auricle report` shows.

    Args:
        model: a model, or what `auricle.load` opens.
        task: name of a task card, or a card.
        data: the task's audio; None: as its card says (tasks on the built-in corpus need none).
        probes: probes of the frozen tokens; none: the default of the type of task.
        config: seeds, controls, search and the like.
        maps: draw where prototypes activate, for the report; for labelled clips.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        out: folder for results; None: `RUN/probes/TASK` (for other models: `runs/MODEL/probes/TASK`).
        precision: see `auricle.load`; ignored for a `Model`, like the next two.
        trust_remote_code: see `auricle.load`.
        features: see `auricle.load`, and `auricle.evaluate` on features other than the output.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.

    Raises:
        CorpusError: there is no such audio, or it does not serve the task.
        CheckpointError: there is no such model.

    Examples:
        >>> import auricle
        >>> results = auricle.probe("runs/mine", task="esc10", data="recordings")  # doctest: +SKIP
    """
    card = get_task(task) if isinstance(task, str) else task
    if maps and not isinstance(card.rule, ClipsRule):
        raise ConfigError(f"task {card.name!r} has no labelled clips to draw prototypes of; leave the maps out")
    corpus = open_task_corpus(card, data, channel, time_expansion)
    opened = open_model(model, config.device, precision, trust_remote_code, features)
    evaluated = evaluated_on(opened, corpus, progress=progress)
    out = Path(out) if out is not None else opened.folder / "probes" / card.name
    results = evaluate(
        [evaluated], card, corpus, out=out, probes=probes, config=config, command=command, progress=progress
    )
    draw_map(evaluated.encoder, card, corpus, out, device=config.device, progress=progress)
    if maps:
        draw_prototype_maps(
            evaluated.encoder, card, corpus, out, search=config.search, device=config.device, progress=progress
        )
    return results


def open_model(
    model: str | Path | Model,
    device: str,
    precision: str,
    trust_remote_code: bool,
    features: str | FeaturesConfig = "recipe",
) -> Model:
    """Open a model, if it is not open already; see `auricle.load`."""
    if isinstance(model, Model):
        return model
    return load(model, device=device, precision=precision, trust_remote_code=trust_remote_code, features=features)


def evaluated_on(model: Model, corpus: Corpus, *, progress: bool = False) -> EvaluatedEncoder:
    """Return the encoder of a model and what of a corpus it has seen in pre-training."""
    found = Seen(None) if model.run is None else seen(model.run, corpus, progress=progress)
    return EvaluatedEncoder(model.encoder, "pretrained", found.known, found.notes)


def open_task_corpus(
    card: TaskCard,
    data: str | Path | Corpus | None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
) -> Corpus:
    """Open the audio of a task, read as `auricle.corpus.reading.read_as` says; built-in corpora need no `data`.

    Raises:
        CorpusError: there is none.
        ConfigError: `channel` or `time_expansion` is out of range.
    """
    return read_as(_open_task_audio(card, data), channel, time_expansion)


def _open_task_audio(card: TaskCard, data: str | Path | Corpus | None) -> Corpus:
    if isinstance(data, Corpus):
        return data
    if data is not None:
        return open_for(card.corpus, data)
    if card.corpus.startswith("builtin:"):
        return open_corpus(card.corpus)
    name = card.corpus.removeprefix(LAYOUT)
    known = name in DATA_SETS
    remedy = f"; `auricle data download {name} --to FOLDER` fetches it, or says how to get it" if known else ""
    raise CorpusError(
        f"task {card.name!r} needs its audio: set --data to the folder of {name or 'your labelled clips'}{remedy}"
    )


def draw_map(
    encoder: FrozenEncoder, card: TaskCard, corpus: Corpus, out: Path, *, device: str = "auto", progress: bool = True
) -> Path:
    """Write `out/map.json` unless this very map exists; the encoder's token cache is used, or made."""
    path = out / "map.json"
    old = read_map(path)
    mine = (card.name, encoder.fingerprint, corpus.fingerprint)
    if old is not None and (old.get("task"), old.get("encoder_fingerprint"), old.get("corpus_fingerprint")) == mine:
        return path
    cache = TokenStore(corpus, out / "tokens", device=str(find_device(device)), progress=progress).open(encoder)
    named = card.label in corpus.columns
    labels = [split_labels(None if c is None else str(c)) for c in corpus.column(card.label)] if named else None
    write_map(path, embedding_map(encoder, corpus, cache, task=card.name, labels=labels))
    return path
