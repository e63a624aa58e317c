"""Examples of an event task for the report: truth, detections, scores, spectrogram and audio of a few test clips.

`events.json` holds `task`, `corpus_fingerprint` and `clips` (each `name`, `file`, `start`, `seconds`, `audio` and
`spectrogram` as base64, `mime`); `Result.details["timelines"]` holds the detections of one probe under the same names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.audio.frontends.frontend import FrontEnd
from auricle.corpus.examples import play_example
from auricle.corpus.table import Corpus
from auricle.errors import AudioError
from auricle.storage import write_atomic
from auricle.tasks.events.answers import EventPredictions

CLIPS = 6
SHOWN_SECONDS = 12.0  # of a clip: the width of a line on the page
POINTS = 120  # of each class's score curve


def spread_places(count: int, wanted: int = CLIPS) -> NDArray[np.int64]:
    """Return the indices of a few of `count` clips, evenly spread, the same for every encoder."""
    places: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))
    return places


def timelines(
    predictions: EventPredictions, scores: list[np.ndarray], places: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return truth and detections of a few clips, JSON-ready.

    Args:
        predictions: of all test clips; the first seed is shown.
        scores: the first seed's scores `(T, C)` of each of these clips.
        places: indices of these clips.

    Returns:
        Each `name`, `seconds` (shown), `truth` and `said` (lists of `[onset, offset, class]`), `classes` (those that
        occur or are detected), `step` (seconds between points) and `scores` (one list a class).
    """
    truth, said = predictions.true(), predictions.found(0)
    shown = []
    for place, table in zip(places.tolist(), scores, strict=True):
        end = min(float(predictions.seconds[place]), SHOWN_SECONDS)
        lists = [[e for e in events[place] if e[0] < end] for events in (truth, said)]
        names = [c for c in predictions.classes if any(e[2] == c for events in lists for e in events)]
        frames = min(len(table), int(np.ceil(end * predictions.rate)))
        group = max(1, -(-frames // POINTS))
        # The largest of neighbours: a short event must not vanish between two points.
        curves = {
            name: [
                round(float(table[i : min(i + group, frames), predictions.classes.index(name)].max()), 3)
                for i in range(0, frames, group)
            ]
            for name in names
        }
        shown.append(
            {
                "name": str(predictions.names[place]),
                "seconds": round(end, 3),
                "truth": [[round(e[0], 4), round(min(e[1], end), 4), e[2]] for e in lists[0]],
                "said": [[round(e[0], 4), round(min(e[1], end), 4), e[2]] for e in lists[1]],
                "classes": names,
                "step": round(group / predictions.rate, 5),
                "scores": curves,
            }
        )
    return shown


def write_examples(
    path: Path, frontend: FrontEnd, corpus: Corpus, task: str, names: NDArray[np.str_], rows: NDArray[np.int64]
) -> None:
    """Write `events.json` with audio and spectrogram of a few clips, unless the same file exists.

    Args:
        path: the file.
        frontend: computes the spectrograms (a Kaldi fbank where it is no spectrum).
        corpus: of the clips.
        task: name of the task.
        names: of the clips, as in `EventPredictions.names`.
        rows: their rows in the corpus.

    Raises:
        StorageError: the disk is full, or the path can't be written.
    """
    facts = {"task": task, "corpus_fingerprint": corpus.fingerprint, "names": names.tolist()}
    if _facts(path) == facts:
        return
    clips = []
    for name, row in zip(names.tolist(), rows.tolist(), strict=True):
        try:
            clips.append({"name": name, **play_example(frontend, corpus, row, SHOWN_SECONDS)})
        except AudioError:
            # The clip was readable when it was encoded; the report shows one example less.
            continue
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**facts, "clips": clips}, ensure_ascii=False).encode())


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {key: held[key] for key in ("task", "corpus_fingerprint", "names")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
