"""Examples of an event task for the report: truth, detections, scores, spectrogram and audio of a few test clips.

`events.json` holds `task`, `corpus_fingerprint` and `clips` (each `name`, `file`, `start`, `seconds`, `audio` and
`spectrogram` as base64, `mime`); `Result.details["timelines"]` holds the detections of one probe under the same names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.audio.frontends.frontend import FrontEnd
from auricle.corpus.examples import play_example
from auricle.corpus.table import Corpus
from auricle.errors import AudioError
from auricle.metrics.events import Event
from auricle.storage import write_atomic
from auricle.tasks.events.answers import EventPredictions

CLIPS = 6
SHOWN_SECONDS = 12.0  # of a clip: the width of a line on the page
LEAD = 1.0  # seconds before the first event shown, in clips that are longer than a line
POINTS = 120  # of each class's score curve


def spread_places(count: int, wanted: int = CLIPS) -> NDArray[np.int64]:
    """Return the indices of a few of `count` clips, evenly spread, the same for every encoder."""
    places: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))
    return places


def first_shown(truth: Sequence[Event], seconds: float) -> float:
    """Return the start, in seconds, of the part of a clip that is shown: where most annotated events are.

    The part depends on annotations only, so that every encoder is shown on the same one.
    """
    last = max(0.0, seconds - SHOWN_SECONDS)
    starts = sorted({min(max(0.0, onset - LEAD), last) for onset, _, _ in truth})
    if not starts or last == 0.0:
        return 0.0
    # Of equal parts the first one.
    counts = [sum(start <= e[0] and e[1] <= start + SHOWN_SECONDS for e in truth) for start in starts]
    return round(float(starts[int(np.argmax(counts))]), 3)


def timelines(
    predictions: EventPredictions, scores: list[np.ndarray], places: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return truth and detections of a few clips, JSON-ready.

    Args:
        predictions: of all test clips; the first seed is shown.
        scores: the first seed's scores `(T, C)` of each of these clips.
        places: indices of these clips.

    Returns:
        Each `name`, `start` and `seconds` (of the part shown), `truth` and `said` (lists of `[onset, offset, class]`
        in seconds from the clip's start), `classes` (those that occur or are detected), `step` (seconds between points)
        and `scores` (one list a class, from `start`).
    """
    truth, said = predictions.true(), predictions.found(0)
    shown = []
    for place, table in zip(places.tolist(), scores, strict=True):
        begin = first_shown(truth[place], float(predictions.seconds[place]))
        end = min(float(predictions.seconds[place]), begin + SHOWN_SECONDS)
        lists = [[e for e in events[place] if e[0] < end and e[1] > begin] for events in (truth, said)]
        names = [c for c in predictions.classes if any(e[2] == c for events in lists for e in events)]
        first, frames = (min(len(table), int(np.ceil(t * predictions.rate))) for t in (begin, end))
        group = max(1, -(-(frames - first) // POINTS))
        # The largest of neighbours: a short event must not vanish between two points.
        curves = {
            name: [
                round(float(table[i : min(i + group, frames), predictions.classes.index(name)].max()), 3)
                for i in range(first, frames, group)
            ]
            for name in names
        }
        shown.append(
            {
                "name": str(predictions.names[place]),
                "start": begin,
                "seconds": round(end - begin, 3),
                "truth": [[round(max(e[0], begin), 4), round(min(e[1], end), 4), e[2]] for e in lists[0]],
                "said": [[round(max(e[0], begin), 4), round(min(e[1], end), 4), e[2]] for e in lists[1]],
                "classes": names,
                "step": round(group / predictions.rate, 5),
                "scores": curves,
            }
        )
    return shown


def write_examples(
    path: Path,
    frontend: FrontEnd,
    corpus: Corpus,
    task: str,
    names: NDArray[np.str_],
    rows: NDArray[np.int64],
    starts: Sequence[float],
) -> None:
    """Write `events.json` with audio and spectrogram of a few clips, unless the same file exists.

    Args:
        path: the file.
        frontend: computes the spectrograms (a Kaldi fbank where it is no spectrum).
        corpus: of the clips.
        task: name of the task.
        names: of the clips, as in `EventPredictions.names`.
        rows: their rows in the corpus.
        starts: of the parts shown, in seconds from the clips' starts.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    facts = {"task": task, "corpus_fingerprint": corpus.fingerprint, "names": names.tolist(), "starts": list(starts)}
    if _facts(path) == facts:
        return
    clips = []
    for name, row, start in zip(names.tolist(), rows.tolist(), starts, strict=True):
        try:
            clips.append({"name": name, **play_example(frontend, corpus, row, SHOWN_SECONDS, start=start)})
        except AudioError:
            # The clip was readable when it was encoded; the report shows one example less.
            continue
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**facts, "clips": clips}, ensure_ascii=False).encode())


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {key: held[key] for key in ("task", "corpus_fingerprint", "names", "starts")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
