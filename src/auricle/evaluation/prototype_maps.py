"""Where in time and frequency prototypes activate, for some test clips and their classes.

`prototypes.json` holds `task`, `encoder`, `encoder_fingerprint`, `corpus_fingerprint`, `probe`, `fold`, `settings` and
`clips`. Each clip has `file`, `labels`, `start`, `seconds` (shown), `audio` and `spectrogram` as base64, `mime`, and
`maps`: one per class, with `target`, `true` (a label of the clip), `probability`, `logit`, `seconds` (that the overlay
spans), `overlay` (a transparent PNG as base64, strong evidence opaque) and `firings`, strongest first, each
`prototype`, `strength`, `similarity`, `seconds` [from, to] and `band` [from, to] in 0 ... 1 of the frequency axis.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.audio.picture import png
from auricle.corpus.examples import play_example
from auricle.corpus.table import Corpus
from auricle.devices import find_device
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, ConfigError, CorpusError
from auricle.evaluation.embedding_map import draw_in_turn, read_map
from auricle.evaluation.token_store import TokenStore
from auricle.probes import FittedProbe, Labelled, ProbeConfig, SearchConfig, fit_probe, get_loss
from auricle.probes.heads.prototype_maps import ActivationMap, activation_map
from auricle.probes.registry import PROBES
from auricle.storage import write_atomic
from auricle.tasks.card import TaskCard
from auricle.tasks.clips.rule import ClipsRule
from auricle.tasks.clips.run import plan_clips
from auricle.tasks.folds import Plan
from auricle.tasks.targets import Targets
from auricle.tokens.token_set import TokenSet

FILE = "prototypes.json"
CLIPS = 12
SECONDS = 10.0  # of a clip that are shown and played
_SCHEME = 2  # raise when a change here changes pictures or numbers
STRONGEST = 5  # prototypes of a class


def prototype_maps(
    fitted: FittedProbe,
    encoder: FrozenEncoder,
    corpus: Corpus,
    rows: Sequence[int],
    tokens: TokenSet,
    *,
    task: str,
    labels: Sequence[Sequence[str]],
    fold: str = "",
) -> dict[str, Any]:
    """Map the activations of a probe's prototypes in some clips, for each class of a clip and for the predicted one.

    Args:
        fitted: a probe of prototypes.
        encoder: the encoder of the tokens; its front end draws the spectrograms.
        corpus: the clips.
        rows: rows of the clips in the corpus.
        tokens: their tokens, in that order.
        task: name for the report.
        labels: of each of these clips.
        fold: name of the fold whose test clips these are.

    Returns:
        JSON-ready data, see above. A clip that can no longer be read is skipped.

    Raises:
        ConfigError: the probe has no prototypes, or was fitted to tokens of another encoder.
    """
    probabilities = fitted.predict(tokens)
    clips = []
    for place, (row, mine) in enumerate(zip(rows, labels, strict=True)):
        known = [label for label in mine if label in fitted.classes]
        predicted = fitted.classes[int(probabilities[place].argmax())]
        maps = [
            activation_map(fitted, tokens, name, place=place, count=STRONGEST)
            for name in dict.fromkeys([*known, predicted])
        ]
        try:
            shown = play_example(encoder.frontend, corpus, int(row), SECONDS)
        except AudioError:
            # Readable when it was encoded, and not any more: skip the example.
            continue
        clips.append(
            {
                **shown,
                "labels": list(mine),
                "maps": [
                    _map(m, m.target in mine, probabilities[place], fitted.classes, shown["seconds"]) for m in maps
                ],
            }
        )
    return {
        "task": task,
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "corpus_fingerprint": corpus.fingerprint,
        "probe": _called(fitted.config),
        "fold": fold,
        "clips": clips,
    }


def draw_prototype_maps(
    encoder: FrozenEncoder,
    card: TaskCard,
    corpus: Corpus,
    out: Path,
    *,
    probe: str | ProbeConfig = "protobin",
    search: SearchConfig | None = None,
    seed: int = 0,
    count: int = CLIPS,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Fit prototypes on the first fold and write `out/prototypes.json`, unless this very file exists.

    The setting is selected on the fold's validation clips; the clips are test clips, drawn from each class in turn.

    Args:
        encoder: the frozen encoder.
        card: a task of labelled clips.
        corpus: its clips.
        out: folder of the task's results, usually `RUN/probes/TASK`; its token cache is used, or made.
        probe: name or settings of a probe of prototypes.
        search: grid and training of the probe.
        seed: of folds, probe and drawn clips.
        count: clips shown.
        device: where to encode and train: `auto`, `cpu`, `cuda` or `mps`.
        progress: show progress bars.

    Raises:
        ConfigError: the task has no labelled clips, or the probe has no prototypes.
        CorpusError: the corpus can't serve the task.
    """
    if not isinstance(card.rule, ClipsRule):
        raise ConfigError(f"task {card.name!r} has no labelled clips; prototype maps are made for tasks of clips")
    if isinstance(probe, str) and probe not in PROTOTYPE_PROBES:
        raise ConfigError(f"{probe!r} has no prototypes; expected one of {', '.join(PROTOTYPE_PROBES)}")
    config = PROBES[probe] if isinstance(probe, str) else probe
    search = search or SearchConfig()
    settings = _fingerprint(config, search, card, seed, count)
    path = out / FILE
    facts = {
        "task": card.name,
        "encoder_fingerprint": encoder.fingerprint,
        "corpus_fingerprint": corpus.fingerprint,
        "settings": settings,
    }
    old = read_map(path)
    if old is not None and {key: old.get(key) for key in facts} == facts:
        return path
    targets, plan = plan_clips(card, corpus, seed)
    device = str(find_device(device))
    store = TokenStore(corpus, out / "tokens", device=device, progress=progress)
    cache = store.open(encoder, "blocks" if config.reads == "layers" else None)

    def tokens(places: NDArray[np.int64]) -> TokenSet:
        rows = targets.rows[places]
        return cache.select(rows, layers="all") if config.reads == "layers" else cache.select(rows)

    train, valid, test = _sides(plan, targets, cache.present)
    parts = [Labelled(tokens(side), targets.labels(side)) for side in (train, valid)]
    loss = get_loss(card.training_loss(targets.kind))
    fitted = fit_probe(config, *parts, classes=targets.classes, loss=loss, search=search, seed=seed, device=device)
    order = np.random.default_rng(seed).permutation(test).tolist()
    # A clip counts for its first class.
    chosen = np.array(draw_in_turn(order, lambda place: int(targets.truth[place].argmax()), count), dtype=np.int64)
    labels = [[c for c, t in zip(targets.classes, targets.truth[place], strict=True) if t] for place in chosen]
    found = prototype_maps(
        fitted,
        encoder,
        corpus,
        targets.rows[chosen].tolist(),
        tokens(chosen),
        task=card.name,
        labels=labels,
        fold=plan.folds[0].name,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**found, **facts}, ensure_ascii=False).encode())
    return path


PROTOTYPE_PROBES = ("proto", "protofloat", "protobin", "cgp")


def overlay_png(cells: np.ndarray) -> bytes:
    """Draw a map `(T, F)` as a transparent PNG: time to the right, frequency upwards, strong evidence opaque.

    Evidence against the class, the fainter half of the clip's tokens and padding (NaN) are transparent.
    """
    known = cells[np.isfinite(cells)]
    top = float(known.max()) if known.size else 0.0
    floor = max(0.0, float(np.median(known))) if known.size else 0.0
    share = (np.nan_to_num(cells, nan=floor) - floor) / (top - floor) if top > floor else np.zeros(cells.shape)
    picture = np.flipud(np.clip(share, 0, 1).T)
    pixels = np.zeros((*picture.shape, 4), dtype=np.uint8)
    pixels[..., :3] = (110, 245, 255)
    pixels[..., 3] = (220 * picture).round()
    return png(pixels)


def _map(
    found: ActivationMap, true: bool, probabilities: np.ndarray, classes: Sequence[str], seconds: float
) -> dict[str, Any]:
    # A map spans whole tokens of the whole clip; crop it to the part that is shown.
    columns = min(len(found.map), int(np.ceil(seconds * found.rate - 1e-6)))
    return {
        "target": found.target,
        "true": true,
        "probability": round(float(probabilities[classes.index(found.target)]), 4),
        "logit": round(found.logit, 4),
        "seconds": round(columns / found.rate, 4),
        "overlay": base64.b64encode(overlay_png(found.map[:columns])).decode(),
        "firings": [
            {
                "prototype": one.prototype,
                "strength": round(one.strength, 4),
                "similarity": round(one.similarity, 4),
                "seconds": [round(s, 4) for s in one.seconds],
                "band": [round(b, 4) for b in one.band],
            }
            for one in found.firings
            if one.seconds[0] < seconds
        ],
    }


def _sides(
    plan: Plan, targets: Targets, present: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return positions of the first fold's training, validation and test clips that could be encoded."""
    fold = plan.folds[0]
    here = np.isin(targets.rows, present)
    train, valid, test = (side[here[side]] for side in (fold.train, fold.valid, fold.test))
    if not (len(train) and len(valid) and len(test)):
        raise CorpusError(
            f"fold {fold.name} has no readable clips on one side (training {len(train)}, validation {len(valid)}, test "
            f"{len(test)}): repair the clips that `auricle corpus scan` lists as broken"
        )
    return train, valid, test


def _called(config: ProbeConfig) -> str:
    return next((name for name, known in PROBES.items() if known == config), type(config).__name__)


def _fingerprint(config: ProbeConfig, search: SearchConfig, card: TaskCard, seed: int, count: int) -> str:
    facts = [_SCHEME, config.to_json(), search.to_json(), card.to_json(), seed, count]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
