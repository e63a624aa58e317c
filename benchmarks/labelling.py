"""The labelling loop of `auricle label`, with an oracle in place of a person.

    python benchmarks/labelling.py run --data CORPORA --out WORK [--model MODEL ...] --seeds 0 1 2
    python benchmarks/labelling.py choose --data CORPORA --out WORK
    python benchmarks/labelling.py table
    python benchmarks/labelling.py speed --out WORK

A library is made of each corpus; each of its classes is labelled on its own, from one known example, by each way to
propose segments. One label in five goes to the random sample; detectors are fitted as on the page, and
scored on all held-out segments, whose truth the loop never sees. `choose` compares strengths of the penalty on corpora
that `run` does not report. `speed` measures one step on a library of a million made vectors. What is in
`results/labelling.json` is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pyarrow as pa
import torch
from sklearn.metrics import average_precision_score

import auricle
from auricle.answers import label_fit
from auricle.answers.label_log import Key, LabelLog
from auricle.answers.label_segments import Segments
from auricle.answers.labelling import EVERY, THRESHOLD, Labelling
from auricle.answers.library import Library, LibraryRecord
from auricle.answers.segment_table import open_segments, schema
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Corpus
from auricle.evaluation.controls import baseline
from auricle.metrics.intervals import paired_difference
from auricle.models.opening import Model
from auricle.storage import write_atomic

RESULTS = Path(__file__).parent / "results" / "labelling.json"
REPORTED, CHOSEN_ON = ("esc10", "sed_synth", "fsdd"), ("esc50_dev20", "arabic_commands", "drum_oneshots")
WAYS = ("random", "similar", "highest", "margin")
LABELS = 100
# Of soundscapes: segments of one second that share at least this much of it with an event have the class.
SEGMENT, SHARED = 1.0, 0.25
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
LOG_MEL = "log-mel statistics"
Truth = dict[Key, frozenset[str]]


def opened_corpus(data: Path, name: str) -> Corpus:
    """Return the clips of a corpus that are labelled; of ESC-50 three folds of five."""
    corpus = open_corpus(data / name)
    if name == "esc50_dev20":
        return corpus.filter(lambda clip: clip.fold in (1, 2, 3))
    # Of the 3000 digits a third, of all speakers.
    return corpus.filter(lambda clip: int(clip.extra["take"]) % 3 == 0) if name == "fsdd" else corpus


def truth_of(corpus: Corpus, library: Library) -> Truth:
    """Return the classes of each segment: those of its clip, or of the events that it shares time with."""
    rows = library.rows()
    keys = [Key(*place) for place in zip(*(rows.column(n).to_pylist() for n in Key._fields), strict=True)]
    if library.record.segment is None:
        labels = {clip.file: clip.labels for clip in corpus}
        return {key: frozenset(labels[key.file]) for key in keys}
    events = defaultdict(list)
    for event in corpus.events:
        events[event.file].append(event)

    def there(key: Key) -> Iterator[str]:
        for event in events[key.file]:
            if min(event.offset, key.end) - max(event.onset, key.start) >= SHARED:
                yield event.label

    return {key: frozenset(there(key)) for key in keys}


def usable(library: Library, truth: Truth) -> list[str]:
    """Return the classes with at least three held-out segments, and one beside them."""
    segments = Segments(library)
    counts = {True: Counter(), False: Counter()}
    for row in range(len(segments)):
        counts[bool(segments.held_out[row])].update(truth[segments.key(row)])
    return sorted(name for name, count in counts[True].items() if count >= 3 and counts[False][name])


def simulate(library: Library, truth: Truth, name: str, way: str, seed: int, work: Path) -> dict[str, Any]:
    """Label a class from one example; return average precision and positives after every ten labels."""
    file = work / "labels.jsonl"
    file.unlink(missing_ok=True)
    labelling = Labelling(library, LabelLog.open(file), [name])
    segments = labelling.segments
    there = np.array([name in truth[segments.key(row)] for row in range(len(segments))])
    generator = np.random.default_rng([seed, len(segments)])
    # The one that is known, and the order in which random ones come.
    first = int(generator.choice(np.flatnonzero(there & segments.trainable)))
    labelling = Labelling(library, LabelLog.open(file), [name], first=[int(segments.ids[first])])
    labelling.log.last = 10_000 * seed  # random proposals are drawn from the number of the last event
    held = np.flatnonzero(segments.held_out)
    result: dict[str, Any] = {"ap": [], "positives": [], "held_out": len(held), "prevalence": float(there[held].mean())}
    for number in range(1, LABELS + 1):
        proposal = labelling.propose(way, name, "oracle")  # type: ignore[arg-type]
        if proposal is None:
            break
        labelling.label(proposal.row, [name] if there[proposal.row] else [], proposal.origin, "oracle")
        if not labelling.due:
            continue
        scores = labelling.fit().scores.get(name)
        if number % EVERY == 0:
            known = None if scores is None else float(average_precision_score(there[held], scores[held]))
            result["ap"].append(round(result["prevalence"] if known is None else known, 4))
            result["positives"].append(sum(bool(each.classes) for each in labelling.log.labels.values()))
    estimate, detector = labelling.estimate(name), labelling.detectors
    if estimate is not None and detector is not None:
        detected = detector.scores[name][held] >= THRESHOLD
        sides = {
            "precision": (estimate.precision, there[held][detected]),
            "recall": (estimate.recall, detected[there[held]]),
        }
        for kind, (share, right) in sides.items():
            low, high = (None if np.isnan(end) else end for end in (share.interval.low, share.interval.high))
            result[kind] = {"low": low, "high": high, "true": float(right.mean()) if len(right) else None}
        result["seconds"] = detector.seconds
    return result


def made(model: str, data: Path, name: str, work: Path) -> tuple[Library, Truth]:
    """Return the library of a corpus, made where it is missing."""
    corpus, folder = opened_corpus(data, name), work / f"{Path(model).name.replace(' ', '-')}-{name}"
    spec: Any = Model(baseline("log-mel").encoder, None, work) if model == LOG_MEL else model
    auricle.index(spec, corpus, folder, segment=SEGMENT if name == "sed_synth" else None)
    library = Library.open(folder)
    return library, truth_of(corpus, library)


def cells(args: argparse.Namespace, corpora: tuple[str, ...], known: list[dict[str, Any]]) -> None:
    """Do what is missing of every model, corpus, class, way, seed and strength, and save each at once."""
    done = {tuple(row[key] for key in ("model", "corpus", "class", "way", "seed", "strength")) for row in known}
    for model in args.model:
        shown = model if model == LOG_MEL else Path(model).name
        for corpus in corpora:
            library, truth = made(model, args.data, corpus, args.out)
            for strength in args.strengths:
                label_fit.STRENGTH = strength
                for name in usable(library, truth):
                    for way in args.ways:
                        for seed in args.seeds:
                            cell = (shown, corpus, name, way, seed, strength)
                            if cell in done:
                                continue
                            work = args.out / "simulation"
                            work.mkdir(exist_ok=True)
                            row = dict(zip(("model", "corpus", "class", "way", "seed", "strength"), cell, strict=True))
                            known.append(row | simulate(library, truth, name, way, seed, work))
                            shutil.rmtree(work)
                write_atomic(args.results, ("[" + ",\n".join(map(json.dumps, known)) + "]\n").encode())
                print(model, corpus, strength, flush=True)


def at(rows: list[dict[str, Any]], labels: int, key: str = "ap") -> dict[tuple[str, str], float]:
    """Return the mean over seeds of each class after a number of labels."""
    values = defaultdict(list)
    for row in rows:
        if len(row[key]) >= labels // EVERY:
            values[row["corpus"], row["class"]].append(row[key][labels // EVERY - 1])
    return {name: float(np.mean(each)) for name, each in values.items()}


def table(rows: list[dict[str, Any]]) -> None:
    """Print average precision by labels, the gain over random proposals, and how often intervals held the truth."""
    for model, corpus in dict.fromkeys((row["model"], row["corpus"]) for row in rows):
        mine = [row for row in rows if (row["model"], row["corpus"]) == (model, corpus)]
        print(f"\n{model}, {corpus} ({len({row['class'] for row in mine})} classes)")
        head = " | ".join(f"{n} labels" for n in (10, 20, 50, LABELS))
        print(f"| way | {head} | positives of {LABELS} | gain over random at 50 |")
        print("|---|---|---|---|---|---|---|")
        chance = at([row for row in mine if row["way"] == "random"], 50)
        for way in WAYS:
            own = [row for row in mine if row["way"] == way]
            means = [np.mean(list(at(own, n).values())) for n in (10, 20, 50, LABELS)]
            found = at(own, 50)
            gains = np.array([found[name] - chance[name] for name in sorted(found)])
            gain = paired_difference(float(gains.mean()), gains, len(gains), "classes").interval
            shown = "" if way == "random" else f"{gains.mean():+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
            hits = np.mean(list(at(own, LABELS, "positives").values()))
            print(f"| {way} | " + " | ".join(f"{value:.3f}" for value in means) + f" | {hits:.0f} | {shown} |")
    for kind in ("precision", "recall"):
        stated = [row[kind] for row in rows if kind in row]
        known = [each for each in stated if each["low"] is not None and each["true"] is not None]
        inside = np.mean([each["low"] <= each["true"] <= each["high"] for each in known])
        width = np.mean([each["high"] - each["low"] for each in known])
        print(f"\n{kind}: {len(known)} of {len(rows)} have an interval, on average {width:.2f} wide; {inside:.1%} hold")


def speed(folder: Path, rows: int = 1_000_000, width: int = 512) -> None:
    """Measure opening, fitting and proposing on a library of made vectors: hours of segments of five seconds."""
    if not folder.exists():
        facts = {"name": "made", "fingerprint": "0", "space": "encoder", "rate": 16000, "segment": 5.0, "hop": 5.0}
        folder.mkdir(parents=True)
        LibraryRecord(model=None, width=width, next_id=rows, **facts).write(folder)
        stored, generator = open_segments(folder, width), np.random.default_rng(0)
        for first in range(0, rows, 50_000):
            ids = np.arange(first, min(rows, first + 50_000))
            flat = pa.array(generator.normal(size=len(ids) * width).astype(np.float16))
            columns: dict[str, Any] = {name: pa.nulls(len(ids), kind.type) for name, kind in fields(width)}
            columns |= {"id": ids, "file": [f"{row // 720:06d}.wav" for row in ids], "start": 5.0 * (ids % 720)}
            columns |= {"end": columns["start"] + 5, "vector": pa.FixedSizeListArray.from_arrays(flat, width)}
            stored.add(pa.table({name: pa.array(columns[name], kind.type) for name, kind in fields(width)}))
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        labelling = Labelling(Library.open(folder), LabelLog.open(Path(work) / "labels.jsonl"), ["call"])
        print(f"open {rows:,} rows of {width}: {time.perf_counter() - begun:.1f} s")
        for number in range(100):
            proposal = labelling.propose("random", "call", "tab")
            if proposal is not None:
                labelling.label(proposal.row, ["call"] if number % 4 == 0 else [], proposal.origin, "tab")
        for _ in range(2):
            begun = time.perf_counter()
            labelling.fit()
            print(f"fit and score: {time.perf_counter() - begun:.1f} s")
        for way in WAYS:
            begun = time.perf_counter()
            for _ in range(5):
                labelling.propose(way, "call", "tab")  # type: ignore[arg-type]
            print(f"propose by {way}: {(time.perf_counter() - begun) / 5 * 1000:.0f} ms")
        begun = time.perf_counter()
        labelling.estimate("call")
        labelling.ranking("call", 12)
        print(f"estimate and ranking: {(time.perf_counter() - begun) * 1000:.0f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB")


def fields(width: int) -> list[tuple[str, pa.Field]]:
    """Return the columns of a library's table by name."""
    return [(field.name, field) for field in schema(width)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "choose", "table", "speed"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--model", nargs="+", default=[LOG_MEL])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    known = json.loads(args.results.read_text()) if args.results.is_file() else []
    torch.set_num_threads(1)
    if args.what == "speed":
        speed(args.out / "million")
        return
    if args.what == "run":
        args.strengths, args.ways = (label_fit.STRENGTH,), WAYS
        cells(args, REPORTED, known)
    elif args.what == "choose":
        args.strengths, args.ways, args.seeds = STRENGTHS, ("random", "margin"), args.seeds[:1]
        args.results = args.out / "choice.json"
        known = json.loads(args.results.read_text()) if args.results.is_file() else []
        cells(args, CHOSEN_ON, known)
        print("| strength | way | " + " | ".join(f"{n} labels" for n in (20, 50, LABELS)) + " |\n|---|---|---|---|---|")
        for strength in STRENGTHS:
            for way in args.ways:
                own = [row for row in known if (row["strength"], row["way"]) == (strength, way)]
                means = [np.mean(list(at(own, n).values())) for n in (20, 50, LABELS)]
                print(f"| {strength:g} | {way} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
        return
    table(known)


if __name__ == "__main__":
    main()
