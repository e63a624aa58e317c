"""Fitted models of every type of task: time of the fit and to the first prediction, size on disk, round trip.

Each model is fitted on real recordings, opened in another process after its data is deleted, and must predict the same.

    python benchmarks/fitted_models.py MODEL --data AUDIO --out benchmarks/fitted_models.md
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import auricle
from auricle.corpus.sources import open_corpus
from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.cards.registry import get_task
from auricle.tasks.events.rule import EventsRule
from auricle.tasks.verification.rule import VerificationRule

FIRST = """
import json, sys
import numpy as np, auricle
model = auricle.load(sys.argv[1], device="cpu")
wave = np.load(sys.argv[2])
said = model.transcribe(wave, 16000) if model.fitted.kind == "sequence" else model.predict(wave, 16000).tolist()
print(json.dumps(said))
"""
# Type, corpus, clips, card.
CASES: list[tuple[str, str, int, Any]] = [
    ("clips, few labels", "drum_oneshots", 100, get_task("folder")),
    ("events", "sed_synth", 60, get_task("folder_events").replace(rule=EventsRule(psds=False))),
    ("regression", "piano_notes", 222, get_task("folder_regression").replace(label="midi")),
    ("anomaly", "drum_oneshots", 226, get_task("folder_anomaly").replace(rule=AnomalyRule())),
    ("verification", "arabic_commands", 200, get_task("folder_verification").replace(rule=VerificationRule(trials=""))),
    ("sequence", "nemo_pl", 120, get_task("folder_sequence")),
]
PROBES = {"events": ["linear"], "regression": ["ridge"], "sequence": ["ctc"]}


def measured(model: str, name: str, place: Path, clips: int, card: Any) -> str:
    """Fit, delete the data, predict in another process; return a line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(shutil.copytree(place, Path(folder) / "data"))
        corpus = open_corpus(data)
        corpus = corpus.select(np.linspace(0, len(corpus) - 1, min(clips, len(corpus))).astype(int))
        if name == "sequence":
            corpus = corpus.with_column("fold", [i % 5 for i in range(len(corpus))])
        if name == "verification":
            corpus = corpus.with_column("split", [None] * len(corpus))
        began = time.monotonic()
        made = auricle.fit(
            model, data=corpus, out=Path(folder) / "m", task=card, probes=PROBES.get(name, ()), device="cpu",
            progress=False,
        )  # fmt: skip
        fit = time.monotonic() - began
        wave = corpus.audio(0, 16000)
        expected = (
            made.transcribe(wave, 16000) if made.fitted.kind == "sequence" else made.predict(wave, 16000).tolist()
        )
        np.save(Path(folder) / "wave.npy", wave)
        shutil.rmtree(data)
        words = [sys.executable, "-c", FIRST, str(Path(folder) / "m"), str(Path(folder) / "wave.npy")]
        began = time.monotonic()
        said = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        whole = time.monotonic() - began
        size = sum(path.stat().st_size for path in (Path(folder) / "m").iterdir()) / 1e6
        same = "yes" if said == expected else "no"
        cells = [name, f"{place.name} ({len(corpus)} clips)", made.card["probe"]["name"], f"{fit:.0f} s"]
        return " | ".join(["", *cells, f"{whole:.1f} s", f"{size:.1f} MB", same, ""]).strip()


def main() -> None:
    """Measure all types and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = [
        "# Fitted models",
        "",
        f"`python benchmarks/fitted_models.py MODEL --data AUDIO --out {args.out}`; MODEL was {Path(args.model).name} "
        f"({auricle.load(args.model, device='cpu').name}). Times are wall-clock seconds of one run on one shared core.",
        "",
        "The time of the fit includes decoding and encoding. The first prediction is that of a new process, Python and "
        "libraries included, after the data was deleted; it must be the same to the bit.",
        "",
        "| type | corpus | probe | fit | new process to first prediction | folder | same |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, place, clips, card in CASES:
        lines.append(measured(args.model, name, args.data / place, clips, card))
        print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
