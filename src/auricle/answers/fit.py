"""`auricle fit` as a function: a model and labels become a model that answers, in a folder that needs no other file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auricle.answers.fitting.by_run import fit_by_run
from auricle.answers.fitting.clips import fit_clips
from auricle.answers.fitting.comparing import fit_anomaly, fit_verification, plan_normal
from auricle.answers.fitting.dividing import divisible
from auricle.answers.fitting.goals import Goal
from auricle.answers.fitting.marked import has_calls, label_windows, with_annotations
from auricle.answers.fitting.setup import Fitted, Setup
from auricle.config import Config
from auricle.corpus.reading import read_notes
from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.encoders.features import FeaturesConfig
from auricle.errors import ConfigError, StorageError
from auricle.evaluation.leaks import OnLeak, check_leaks
from auricle.evaluation.probing import evaluated_on, open_model, open_task_corpus
from auricle.evaluation.token_store import TokenStore, progress_bar
from auricle.models import Model, load
from auricle.models.folder import CARD, FILE, check_savable, save_model
from auricle.models.older import OLD_FILE
from auricle.probes import SearchConfig
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.types import task_type
from auricle.tokens.cache import TokenCache
from auricle.training.lock import RunLock

_FITS: dict[str, Callable[[Setup], Fitted]] = {
    "clips": fit_clips,
    "events": fit_by_run,
    "regression": fit_by_run,
    "sequence": fit_by_run,
    "anomaly": fit_anomaly,
    "verification": fit_verification,
}
_DEFAULTS = SearchConfig()


def fit(
    model: str | Path | Model,
    *,
    out: str | Path,
    data: str | Path | Corpus | None = None,
    task: str | TaskCard = "folder",
    probes: Sequence[str | Config] = (),
    goal: str = "f1",
    segment: float | None = None,
    hop: float | None = None,
    min_overlap: float = 0.5,
    background: bool = False,
    labels_format: str | None = None,
    labels: str | Path | None = None,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    search: SearchConfig = _DEFAULTS,
    false_alarms: float | None = None,
    on_leak: OnLeak = "warn",
    seed: int = 0,
    confidence: float = 0.95,
    batch: int = 16,
    device: str = "auto",
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    overwrite: bool = False,
    command: str | None = None,
    progress: bool = True,
) -> Model:
    """Fit a head to labels and keep it with its encoder: a model that predicts.

    The probe, its setting, thresholds and calibration are chosen on validation clips; the expected performance is
    measured on test clips of other sources, which choose nothing. Twenty labelled calls are enough to begin: with few
    labels, regularised linear classifiers and prototypes are tried. Calls that are marked inside long recordings (an
    `events.csv`, files of Raven or Audacity, or those of `labels_format`) become windows of `segment` seconds.

    Args:
        model: a model, or what `auricle.load` opens.
        out: folder to write.
        data: labelled recordings, or what `open_corpus` opens; None: as the task's card says.
        task: name of a task card, or a card.
        probes: candidates; none: the usual ones of the type of task, or those for few labels.
        goal: of the thresholds: `f1`, `precision=0.9` or `recall=0.9`.
        segment: length in seconds of the windows that recordings are divided into; None: whole clips.
        hop: seconds between the starts of two windows; None: half of `segment`.
        min_overlap: share of the shorter of a call and a window that must overlap.
        background: unmarked stretches hold none of the classes; without it they are not used.
        labels_format: a format of crowsetta that marks the calls.
        labels: folder of these files; None: beside the recordings.
        channel: channel that is read, see `auricle.corpus.reading.read_as`.
        time_expansion: how many times slower recordings are played, see there.
        search: of the probes' settings.
        false_alarms: of anomalies, share of normal clips that the threshold may take for anomalies (None: 0.05); of
            verification, share of wrong identities that it may accept (None: as many as it misses right ones).
        on_leak: what happens where test clips are copies of training clips, as in `EvaluationConfig`.
        seed: of all that is drawn.
        confidence: coverage of intervals.
        batch: clips encoded at once.
        device: where encoder and probes run: `auto`, `cpu`, `cuda` or `mps`.
        precision: see `auricle.load`; ignored for a `Model`, like the next two.
        trust_remote_code: see `auricle.load`.
        features: see `auricle.load`.
        overwrite: replace a fitted model in `out`.
        command: recorded; None: that of this process.
        progress: show a progress bar.

    Returns:
        The fitted model, opened from its folder; `Model.card` says how good it is expected to be.

    Raises:
        CorpusError: the labels do not serve the task: none, one class, too few, no call in any window ...
        ConfigError: a setting is out of range, or the type of task is fitted by no head.
        CheckpointError: there is no such model, or another process is fitting there.
        StorageError: the disk is full, or `out` holds something else.

    Examples:
        >>> import auricle
        >>> owl = auricle.fit("runs/mine", data="labelled", out="models/owl")  # doctest: +SKIP
        >>> owl.predict(wave, rate)  # doctest: +SKIP
    """
    began, wanted, out = time.monotonic(), Goal.read(goal), Path(out)
    card = get_task(task) if isinstance(task, str) else task
    if card.rule.type_name not in _FITS:
        raise ConfigError(
            f"task {card.name!r} is of type {card.rule.type_name}, which ends in no model; expected one of "
            f"{', '.join(_FITS)}"
        )
    _check_out(out, overwrite)
    corpus = open_task_corpus(card, data, channel, time_expansion)
    if labels_format is not None:
        corpus = with_annotations(corpus, labels_format, labels)
    opened = open_model(model, device, precision, trust_remote_code, features)
    check_savable(opened.encoder)
    if isinstance(card.rule, ClipsRule):
        marked = corpus.event_table is not None and (background or labels_format is not None or not any(corpus.labels))
        if not marked and any(corpus.labels) and has_calls(corpus, card.label):
            # Names of folders are labels, too, and may be those of sites.
            marked = segment is not None
            used, unused = (
                ("marked calls", "labels of whole clips") if marked else ("labels of whole clips", "marked calls")
            )
            how = "" if marked else " (they need --segment)"
            corpus = replace(corpus, notes=(*corpus.notes, f"{used} were used, and the {unused} were not{how}"))
        card, corpus = _clips(card, corpus, marked, segment, hop, min_overlap, background, seed)
    elif segment is not None:
        corpus = corpus.segments(segment, hop)
    kind = task_type(card)
    asked = dict(kind.probe(probe) for probe in probes)
    copies: Callable[[], Mapping[str, Any]] = dict
    if kind.name == "anomaly":
        plan = plan_normal(card, corpus)
    else:
        plan = kind.plan(card, corpus, seed)
        corpus, plan, copies = check_leaks(kind, card, corpus, plan, on_leak, seed=seed, progress=progress)
    for probe in asked.values():
        kind.check(probe, plan)
    place = str(find_device(device))
    work = out.parent / f".{out.name}.fit"
    with RunLock(work, f"work on {out.name} by another process"), progress_bar(progress) as bar:
        store = TokenStore(corpus, work / "tokens", batch, place, progress)
        held: dict[bool, TokenCache] = {}

        def open_cache(layers: bool) -> TokenCache:
            if layers not in held:
                held[layers] = store.open(opened.encoder, "blocks" if layers else None)
            return held[layers]

        open_cache(False)
        line = bar.add_task(f"{card.name}: fit {opened.name}", total=1.0)
        setup = Setup(
            card, corpus, kind, plan, opened.encoder, open_cache, asked, wanted, search, segment, seed, place,
            confidence, lambda share: bar.update(line, completed=share), {"false_alarms": false_alarms},
        )  # fmt: skip
        fitted = _FITS[kind.name](setup)
        bar.update(line, completed=1.0)
        missing = {str(corpus[row].file): reason for row, reason in open_cache(False).missing.items()}
        seen = evaluated_on(opened, corpus)
        facts = {
            "task": card.name,
            "type": kind.name,
            **fitted.facts,
            "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint, "seconds": round(corpus.seconds, 3)},
            "encoder": {"name": opened.name, "fingerprint": opened.encoder.fingerprint},
            "division": plan.description,
            "used": fitted.facts.get("used") or setup.used(),
            "seen_in_pretraining": seen.seen,
            "missing": missing,
            "notes": _notes(corpus, plan.notes, copies(), fitted.notes, seen.notes),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "seconds": round(time.monotonic() - began, 1),
        }
        save_model(out, opened.encoder, fitted.head, card=facts)
        # While it is locked: after that, another process may have begun there.
        shutil.rmtree(work, ignore_errors=True)
    # Code of the encoder's own was named by the caller, and runs already.
    return load(out, device=device, precision=opened.encoder.precision, trust_remote_code=True)


def _clips(
    card: TaskCard,
    corpus: Corpus,
    marked: bool,
    segment: float | None,
    hop: float | None,
    min_overlap: float,
    background: bool,
    seed: int,
) -> tuple[TaskCard, Corpus]:
    """Return a task of labelled clips and its clips: windows of marked calls where there are some."""
    if segment is None and (hop is not None or background):
        raise ConfigError("--hop and --background need --segment: the length of the windows in seconds")
    if marked and segment is None:
        raise ConfigError(
            f"the calls of {corpus.name} are marked inside recordings; set --segment to the length in seconds of the "
            "windows to fit, or fit their onsets and offsets with --task folder_events"
        )
    if marked and segment is not None:
        corpus = label_windows(
            corpus,
            segment=segment,
            hop=hop,
            min_overlap=min_overlap,
            background=background,
            label=card.label,
            seed=seed,
        )
        card = card.replace(label="label", labels="multi" if background else card.labels)
    elif segment is not None:
        if background:
            raise ConfigError(
                f"--background is for calls marked inside recordings, and {corpus.name} has labels of whole clips; "
                "leave it out"
            )
        corpus = corpus.segments(segment, hop)
    return divisible(card, corpus)


def _check_out(out: Path, overwrite: bool) -> None:
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name] if out.exists() else []
    if held and not (out.is_dir() and set(held) <= {FILE, CARD, OLD_FILE}):
        raise StorageError(f"{out} holds {', '.join(held[:3])}, and no fitted model; choose another folder for --out")
    if held and not overwrite:
        raise StorageError(f"{out} holds a fitted model; set --overwrite to replace it, or choose another folder")


def _notes(corpus: Corpus, planned: Sequence[str], copies: Mapping[str, Any], *others: Sequence[str]) -> list[str]:
    said = [] if corpus.ledger.complete else [corpus.ledger.sentence]
    all_notes = [*said, *corpus.notes, *planned, *copies.get("said", ()), *read_notes(corpus)]
    return list(dict.fromkeys([*all_notes, *(note for some in others for note in some)]))
