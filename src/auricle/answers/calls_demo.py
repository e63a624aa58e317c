"""A detector of twenty labelled calls, applied to a minute of sound: the last step of the demonstration."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.answers.fit import fit
from auricle.answers.predicting import predict
from auricle.answers.prediction_table import read_predictions
from auricle.corpus.examples import play_example
from auricle.corpus.sources import open_corpus
from auricle.corpus.synthetic.render import CALLS
from auricle.corpus.table import Corpus
from auricle.devices import Device
from auricle.models import Model, load
from auricle.storage import write_atomic, write_json
from auricle.training.batch_statistics import settle_control
from auricle.words import counted

# Scenes of different seeds share no sound and no voice.
LABELLED = "builtin:calls?clips=5&seconds=20&seed={}"
SCENE = "builtin:calls?clips=1&seconds=60&seed={}"
# Calls whose labels are used, of those in the labelled scenes.
CALLS_LABELLED = 20
SEGMENT, HOP = 1.0, 0.25
# What the report shows of a run's detector.
SHOWN = "detection/shown.json"

Span = tuple[float, float]


@dataclass(frozen=True)
class Detected:
    """What a detector found in a scene whose calls are known.

    Attributes:
        calls: calls in the scene.
        hits: detections.
        found: calls that a detection overlaps.
        false: detections that overlap no call.
    """

    calls: int
    hits: int
    found: int
    false: int

    @classmethod
    def of(cls, truth: Sequence[Span], hits: Sequence[Span]) -> Detected:
        """Count calls and detections that overlap.

        Examples:
            >>> Detected.of([(0, 1), (3, 4)], [(0.5, 1.5), (2, 2.5)])
            Detected(calls=2, hits=2, found=1, false=1)
        """

        def meets(one: Span, others: Sequence[Span]) -> bool:
            return any(one[0] < end and start < one[1] for start, end in others)

        found = sum(meets(call, hits) for call in truth)
        return cls(len(truth), len(hits), found, sum(not meets(hit, truth) for hit in hits))

    @property
    def words(self) -> str:
        """The counts in words: `14 of 15 calls found, 2 of 13 detections hold none`."""
        holds = "holds" if self.false == 1 else "hold"
        return (
            f"{self.found} of {counted(self.calls, 'call')} found; {self.false} of {self.hits} detections {holds} none"
        )


def detect_calls(run: Path, seed: int, *, device: Device = "auto", precision: str = "fp32") -> dict[str, Detected]:
    """Fit a detector to twenty labelled calls and apply it to a minute of sound with other voices.

    Writes below `run/detection`: `labelled/` (what was fitted), `model/` (the detector), `hits.csv`, and what the
    report shows. The same is done with random weights of the encoder, for comparison.

    Args:
        run: a run folder.
        seed: of the sounds.
        device: see `auricle.load`.
        precision: see there.

    Returns:
        The counts of the detector, and those with random weights, by the name of the encoder.
    """
    home, scene = run / "detection", open_corpus(SCENE.format(2 * seed + 1))
    labelled = _labelled(open_corpus(LABELLED.format(2 * seed)), home / "labelled")
    model = load(run, device=device, precision=precision)
    random = settle_control(model.encoder.randomised(seed))
    truth = _calls(scene, 0)
    counts: dict[str, Detected] = {}
    found: list[tuple[float, float, float]] = []
    for name, encoder in (("the pre-trained encoder", model), ("random weights", Model(random, None, home))):
        out = home / ("model" if encoder is model else "random")
        detector = fit(
            encoder, data=labelled, out=out, segment=SEGMENT, hop=SEGMENT / 2, background=True, overwrite=True,
            device=device, seed=seed, progress=False,
        )  # fmt: skip
        table = home / ("hits.csv" if encoder is model else "random.csv")
        predict(detector, scene, table, segment=SEGMENT, hop=HOP, merge=0.0, overwrite=True, progress=False)
        rows = read_predictions(table).to_pylist()
        hits = [(row["start"], row["end"], row["score"]) for row in rows]
        found = found or hits
        counts[name] = Detected.of(truth, [hit[:2] for hit in hits])
    first, second = counts.values()
    title = f"A detector of {CALLS_LABELLED} labelled calls finds {CALLS} in a minute of other sounds and voices"
    shown = {
        "title": title,
        "text": f"{first.words}. With random weights of the same encoder: {second.words}.",
        "clip": play_example(model.encoder.frontend, scene, 0, scene[0].seconds),
        "truth": [[onset, offset, CALLS] for onset, offset in truth],
        "said": [[start, end, CALLS] for start, end, _ in found],
    }
    write_json(run / SHOWN, shown)
    shutil.rmtree(home / "random", ignore_errors=True)
    (home / "random.csv").unlink(missing_ok=True)
    return counts


def _labelled(corpus: Corpus, folder: Path) -> Path:
    """Write recordings with the labels of the first calls in them, as somebody marks them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = io.StringIO(newline="")
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(("file", "onset", "offset", "label"))
    left = CALLS_LABELLED
    for row, clip in enumerate(corpus):
        calls = _calls(corpus, row)
        # Of a recording all calls are marked, or none: what is not marked is background.
        if len(calls) > left:
            break
        name = f"{Path(clip.file).stem}.flac"
        write_atomic(folder / name, (corpus.root / clip.file).read_bytes())
        table.writerows((name, onset, offset, CALLS) for onset, offset in calls)
        left -= len(calls)
    write_atomic(folder / "events.csv", lines.getvalue().encode())
    return folder


def _calls(corpus: Corpus, row: int) -> list[Span]:
    return [(event.onset, event.offset) for event in corpus.events_of(row) if event.label == CALLS]
