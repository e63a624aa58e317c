"""From twenty labelled calls to a table of detections in a field recording of two hours, and an anomaly detector.

    python benchmarks/answers.py make    --data CORPORA --work WORK
    python benchmarks/answers.py detect  --work WORK --model RUN [--birdnet PYTHON MODEL.tflite] --out RESULTS
    python benchmarks/answers.py anomaly --data CORPORA --work WORK --model RUN --out RESULTS
    python benchmarks/answers.py memory  --work WORK --out RESULTS

`make` writes recordings from real corpora: songs of Bengalese finches at 10, 5, 0 and -5 dB in a background of ESC-50
clips (two at a time, without rooster and hen), at 22.05 kHz. Five recordings of four minutes hold the twenty marked
calls; two recordings, together 2 h 5 min, hold calls of other days in other background clips. `detect` fits and
predicts with the model, its random weights, log-mel statistics and, where its environment is named, BirdNET's
embedding (`answers_birdnet.py`); everything but the encoder is the same.
Processor time is that of `auricle predict`, decoding included, on one thread. `memory` measures the peak of a process
that predicts ten minutes, and 2 h 5 min in one file, with the model of `detect`. `anomaly` takes each of four machines
of ESC-50 as normal in turn: other classes, and the machine with another sound at 0 and -6 dB, are anomalies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

import auricle
from auricle.answers.prediction_table import read_predictions
from auricle.corpus.table import Corpus
from auricle.encoders.callables import open_callable
from auricle.evaluation.controls import controls
from auricle.models import Model

RATE, CALL, WINDOW = 22050, 2.0, 3.0
LEVELS = (10.0, 5.0, 0.0, -5.0)
BLOCK = 300.0  # seconds of a bootstrap unit
NOT_BACKGROUND = ("rooster", "hen")
SEEDS = 3  # of random weights
MACHINES = ("vacuum_cleaner", "engine", "chainsaw", "helicopter")


def songs(corpus: Corpus, days: set[str], draw: np.random.Generator) -> list[np.ndarray]:
    """Stretches of two seconds from the first syllable of each song of some days on."""
    rows = [clip.index for clip in corpus if (clip.source in days)]
    found = []
    for row in draw.permutation(rows).tolist():
        onset = min(event.onset for event in corpus.events_of(row))
        wave = corpus.audio(row, RATE, start=onset, seconds=CALL)
        if len(wave) == round(CALL * RATE):
            fade = np.minimum(1, np.arange(len(wave)) / (0.02 * RATE))
            found.append(wave * fade * fade[::-1])
    return found


def background(clips: list[np.ndarray], seconds: float, draw: np.random.Generator) -> np.ndarray:
    """Two layers of clips at random levels, faded into each other."""
    wave = np.zeros(round(seconds * RATE), np.float32)
    for shift in (0, 2.5):
        at = round(shift * RATE)
        while at < len(wave):
            clip = clips[int(draw.integers(len(clips)))]
            power = float(np.sqrt(np.mean(clip**2))) + 1e-4
            gain = 0.02 * 10 ** (draw.uniform(-10, 6) / 20) / power
            fade = np.minimum(1, np.arange(len(clip)) / (0.2 * RATE))
            part = (clip * fade * fade[::-1] * gain)[: len(wave) - at]
            wave[at : at + len(part)] += part
            at += len(clip) - round(0.2 * RATE)
    return wave + 0.0005 * draw.standard_normal(len(wave)).astype(np.float32)


def place_calls(
    wave: np.ndarray, calls: list[np.ndarray], count: int, draw: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Add calls at random places, none within three windows of another; return onset, offset and level."""
    step = len(wave) / RATE / count
    placed = []
    for i in range(count):
        onset = i * step + draw.uniform(0, max(0.1, step - CALL - 3 * WINDOW))
        call, level = calls[int(draw.integers(len(calls)))], LEVELS[i % len(LEVELS)]
        at = round(onset * RATE)
        around = wave[at : at + len(call)]
        noise = np.sqrt(np.mean(around**2)) + 1e-6
        wave[at : at + len(call)] += call * (noise * 10 ** (level / 20) / np.sqrt(np.mean(call**2)))
        placed.append((at / RATE, at / RATE + CALL, level))
    return placed


def make(data: Path, work: Path, seed: int = 0) -> None:
    draw = np.random.default_rng(seed)
    finches = auricle.open_corpus(data / "bengalese_finch")
    days = sorted({clip.source for clip in finches})
    first = {day for day in days if day.endswith(("041912", "032312"))}
    calls = {"marked": songs(finches, first, draw), "field": songs(finches, set(days) - first, draw)}
    clips: dict[str, list[np.ndarray]] = {"marked": [], "field": []}
    for name in ("esc10", "esc50_dev20"):
        for clip in (corpus := auricle.open_corpus(data / name)):
            if not set(clip.labels) & set(NOT_BACKGROUND):
                clips["marked" if clip.fold == 1 else "field"].append(corpus.audio(clip.index, RATE))
    plan = {"marked": [(f"m{i}", 240.0, 4) for i in range(5)], "field": [("f0", 4500.0, 120), ("f1", 3000.0, 80)]}
    for part, recordings in plan.items():
        (work / part).mkdir(parents=True, exist_ok=True)
        lines = ["file,onset,offset,label,level"]
        for name, seconds, count in recordings:
            wave = background(clips[part], seconds, draw)
            placed = place_calls(wave, calls[part], count, draw)
            soundfile.write(work / part / f"{name}.flac", np.clip(wave, -1, 1), RATE, subtype="PCM_16")
            lines += [f"{name}.flac,{on:.4f},{off:.4f},finch,{level:g}" for on, off, level in placed]
        # The truth of the field recordings lies elsewhere: nothing may read it as labels.
        path = work / part / "events.csv" if part == "marked" else work / "truth.csv"
        path.write_text("\n".join(lines) + "\n")


def scored(windows: list[dict[str, Any]], truth: list[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """Average precision of windows; precision and recall of windows in a row above the threshold, as events."""
    label, score, block = [], [], []
    for row in windows:
        here = [t for t in truth if t["file"] == row["file"]]
        overlap = max((min(t["offset"], row["end"]) - max(t["onset"], row["start"]) for t in here), default=0.0)
        # A window that holds less than half of a call is neither.
        if overlap >= CALL / 2 or overlap <= 0:
            label.append(overlap > 0)
            score.append(row["score"])
            block.append(f"{row['file']} {row['start'] // BLOCK}")
    y, s, blocks = np.array(label), np.array(score), np.array(block)
    names, draw = np.unique(blocks), np.random.default_rng(0)
    rows = {name: np.flatnonzero(blocks == name) for name in names}
    tried = [np.concatenate([rows[n] for n in draw.choice(names, len(names))]) for _ in range(1000)]
    means = [average_precision_score(y[t], s[t]) for t in tried if y[t].any()]
    events: list[dict[str, Any]] = []
    for row in windows:
        if row["score"] >= threshold:
            last = events[-1] if events else None
            if last and last["file"] == row["file"] and row["start"] <= last["end"] + 1e-6:
                last["end"] = row["end"]
            else:
                events.append(dict(row))

    def meets(one: dict[str, Any], other: dict[str, Any]) -> bool:
        return one["file"] == other["file"] and one["onset"] < other["end"] and one["offset"] > other["start"]

    found = [any(meets(t, e) for e in events) for t in truth]
    right = sum(any(meets(t, e) for t in truth) for e in events)
    return {
        "average_precision": _interval(float(average_precision_score(y, s)), np.quantile(means, [0.025, 0.975])),
        "auc": round(float(roc_auc_score(y, s)), 3),
        "precision": _share(right, len(events)),
        "recall": _share(sum(found), len(found)),
        "recall_by_level": {
            f"{level:g}": _share(sum(f for f, t in zip(found, truth, strict=True) if t["level"] == level),
                                 sum(t["level"] == level for t in truth)) for level in LEVELS
        },
        "detections": len(events),
        "threshold": round(threshold, 4),
    }  # fmt: skip


def _interval(value: float, ends: np.ndarray) -> dict[str, float]:
    return {"value": round(value, 3), "low": round(float(ends[0]), 3), "high": round(float(ends[1]), 3)}


def _share(hits: int, count: int) -> dict[str, Any]:
    if not count:
        return {"hits": 0, "of": 0}
    exact = binomtest(hits, count).proportion_ci()
    return {"hits": hits, "of": count, **_interval(hits / count, np.array([exact.low, exact.high]))}


def encoders(run: str, birdnet: list[str] | None, only: list[str]) -> Iterator[tuple[str, Model]]:
    opened = auricle.load(run, device="cpu")
    yield "ours", opened
    for seed in range(SEEDS):
        (control,) = controls(opened.encoder, ("random",), seed=seed)
        yield f"random-{seed}", Model(control.encoder, None, Path("runs") / f"random-{seed}")
    (control,) = controls(opened.encoder, ("log-mel",))
    yield "log-mel", Model(control.encoder, None, Path("runs") / "log-mel")
    if birdnet and (not only or "birdnet" in only):
        os.environ["BIRDNET_PYTHON"], os.environ["BIRDNET_MODEL"] = birdnet
        yield "birdnet", Model(open_callable("answers_birdnet:BirdNET"), None, Path("runs/birdnet"))


def detect(work: Path, run: str, birdnet: list[str] | None, out: Path, only: list[str]) -> None:
    truth = [
        {**row, "onset": float(row["onset"]), "offset": float(row["offset"]), "level": float(row["level"])}
        for row in _csv(work / "truth.csv")
    ]
    out.mkdir(parents=True, exist_ok=True)
    hours = sum(soundfile.info(file).duration for file in (work / "field").glob("*.flac")) / 3600
    for name, model in encoders(run, birdnet, only):
        if only and name not in only:
            continue
        began = time.process_time()
        fitted = auricle.fit(
            model, data=work / "marked", out=work / "models" / name, segment=WINDOW, background=True, overwrite=True,
            device="cpu",
        )  # fmt: skip
        fit_seconds, began = time.process_time() - began, _processor()
        table = work / f"windows-{name}.parquet"
        settings: dict[str, Any] = {"segment": WINDOW, "hop": WINDOW, "overwrite": True, "device": "cpu"}
        auricle.predict(fitted, work / "field", table, threshold=0.0, **settings)
        seconds = _processor() - began
        threshold = float((fitted.fitted.thresholds or (0.5,))[0])
        result = {
            "encoder": fitted.name, "hours": round(hours, 3),
            **scored(read_predictions(table).to_pylist(), truth, threshold),
            "fit_processor_seconds": round(fit_seconds, 1), "predict_processor_seconds": round(seconds, 1),
            "recording_hours_per_processor_hour": round(hours * 3600 / seconds, 1),
            "head": fitted.fitted.form, "probe": fitted.card.get("probe"),
        }  # fmt: skip
        if name == "birdnet" and birdnet:
            result["alone"] = _birdnet_alone(work, birdnet)
        (out / f"detect-{name}.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
        print(name, json.dumps(result, default=str))


def anomaly(data: Path, work: Path, run: str, out: Path, rate: float = 0.1) -> None:
    """Each machine in turn is normal: models of clips of folds 1 to 3, windows of 1 s of folds 4 and 5 scored."""
    both = {name: auricle.open_corpus(data / name) for name in ("esc10", "esc50_dev20")}
    clips = [(clip, corpus) for corpus in both.values() for clip in corpus]
    result: dict[str, Any] = {"stated_false_alarms": rate, "machines": {}}
    for machine in MACHINES:
        draw = np.random.default_rng(0)
        corpus = next(corpus for clip, corpus in clips if machine in clip.labels)
        train = corpus.filter(lambda clip, name=machine: name in clip.labels and clip.fold in (1, 2, 3))
        waves = {
            part: [c.audio(clip.index, 16000) for clip, c in clips if clip.fold in (4, 5) and keep(clip)]
            for part, keep in (
                ("normal", lambda clip, name=machine: name in clip.labels),
                ("other", lambda clip, name=machine: name not in clip.labels),
            )
        }  # fmt: skip
        others = [waves["other"][i] for i in draw.permutation(len(waves["other"]))[:80].tolist()]
        mixed = []
        for i, wave in enumerate(waves["normal"]):
            for level in (0.0, -6.0):
                other = others[(2 * i + (level < 0)) % len(others)]
                gain = np.sqrt(np.mean(wave**2)) / (np.sqrt(np.mean(other**2)) + 1e-4) * 10 ** (level / 20)
                n = min(len(wave), len(other))
                mixed.append(wave[:n] + gain * other[:n])
        folder = work / "anomaly" / machine
        for part, some in (("normal", waves["normal"]), ("other", others[:40]), ("mixed", mixed)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for i, wave in enumerate(some):
                soundfile.write(folder / part / f"{i}.wav", wave / max(1.0, float(np.abs(wave).max())), 16000)
        result["machines"][machine] = {"normal_clips": len(train), "encoders": {}}
        for name, model in encoders(run, None, []):
            fitted = auricle.fit(
                model, data=train, out=work / "models" / f"{machine}-{name}", task="folder_anomaly", segment=1.0,
                false_alarms=rate, overwrite=True, device="cpu", progress=False,
            )  # fmt: skip
            rows: dict[str, list[dict[str, Any]]] = {}
            for part in ("normal", "other", "mixed"):
                table = work / f"anomaly-{part}.parquet"
                auricle.predict(fitted, folder / part, table, segment=1.0, overwrite=True, device="cpu", progress=False)
                rows[part] = read_predictions(table).to_pylist()
            result["machines"][machine]["encoders"][name] = {
                "false_alarms": _share(sum(r["anomalous"] for r in rows["normal"]), len(rows["normal"])),
                **{f"auc_{part}": round(_auc(rows["normal"], rows[part]), 3) for part in ("other", "mixed")},
                **{f"found_{part}": _share(sum(r["anomalous"] for r in rows[part]), len(rows[part]))
                   for part in ("other", "mixed")},
            }  # fmt: skip
            print(machine, name, json.dumps(result["machines"][machine]["encoders"][name]))
    (out / "anomaly.json").write_text(json.dumps(result, indent=1) + "\n")


def _auc(normal: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    return float(roc_auc_score([0] * len(normal) + [1] * len(other), [row["score"] for row in (*normal, *other)]))


_PEAK = """
import resource, sys, auricle
auricle.predict(sys.argv[1], sys.argv[2], sys.argv[3], segment=3.0, overwrite=True, device="cpu", progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(work: Path, out: Path) -> None:
    import sys

    parts = [soundfile.read(work / "field" / f"{name}.flac", dtype="int16")[0] for name in ("f0", "f1")]
    peaks = {}
    for name, wave in (("10 min", parts[0][: 600 * RATE]), ("125 min", np.concatenate(parts))):
        soundfile.write(work / "long.flac", wave, RATE)
        paths = (work / "models" / "ours", work / "long.flac", work / "long.csv")
        words = [sys.executable, "-c", _PEAK, *map(str, paths)]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks[name] = round(int(said.stdout.split()[-1]) / 1024)
    (out / "memory.json").write_text(json.dumps({"peak_resident_mb": peaks}, indent=1) + "\n")
    print(peaks)


def _birdnet_alone(work: Path, birdnet: list[str]) -> dict[str, float]:
    """Processor time of BirdNET's own embedding step on the longer file."""
    words = [birdnet[0], str(Path(__file__).with_name("answers_birdnet.py")), "time", birdnet[1]]
    said = subprocess.run([*words, str(work / "field" / "f1.flac")], capture_output=True, text=True, check=True)
    seconds, spent = map(float, said.stdout.split())
    return {"seconds": seconds, "recording_hours_per_processor_hour": round(seconds / spent, 1)}


def _processor() -> float:
    """Seconds of processor time of this process and of BirdNET's."""
    import psutil

    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (me, *me.children(recursive=True)))


def _csv(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("make", "detect", "anomaly", "memory"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--birdnet", nargs=2, metavar=("PYTHON", "MODEL"))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/answers"))
    args = parser.parse_args()
    if args.step == "make":
        make(args.data, args.work)
    elif args.step == "anomaly":
        anomaly(args.data, args.work, args.model, args.out)
    elif args.step == "memory":
        memory(args.work, args.out)
    else:
        detect(args.work, args.model, args.birdnet, args.out, args.only)


if __name__ == "__main__":
    main()
