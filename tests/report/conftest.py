"""A run folder with everything a report can show, made up from a seed."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from made_pages import Page, run_of

from auricle.report.page import build_page
from auricle.report.run_data import read_runs
from auricle.results.record import SCHEME

CLASSES = ["bell", "dog", "rain", "siren", '<b>loud</b> & "odd"', "vowel", "wind", "drum", "clicks", "alarm"]


def png(pixels: np.ndarray) -> bytes:
    """Encode `(H, W)` uint8 as a grey PNG."""
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def ogg(draw: np.random.Generator) -> bytes:
    wave = np.sin(np.arange(8000) * draw.uniform(0.05, 0.5)) * np.exp(-np.arange(8000) / 3000) * 0.5
    out = io.BytesIO()
    soundfile.write(out, wave, 16000, format="OGG", subtype="VORBIS")
    return out.getvalue()


def record(task: str, kind: str, role: str, probe: str, value: float, **more: Any) -> dict[str, Any]:
    draw = np.random.default_rng([len(role), len(probe), int(1000 * value)])
    counts = draw.dirichlet(np.ones(10) * 0.2, 10) * 8 * (1 - value) + np.eye(10) * 40 * value
    single = kind == "single"
    numbers = draw.beta(8 * value + 0.5, 8 * (1 - value) + 0.5, 10)
    per_class = {
        name: {"recall": v, "precision": v, "f1": v, "clips": 40} if single else {"ap": v, "positives": 12}
        for name, v in zip(CLASSES, map(float, numbers), strict=True)
    }
    return {
        "task": task,
        "scheme": SCHEME,
        "kind": kind,
        "encoder": "audiomosaic-tiny" if role == "pretrained" else role,
        "encoder_fingerprint": f"{role}-0123456789ab",
        "role": role,
        "probe": probe,
        "metric": "accuracy" if single else "mAP",
        "value": value,
        "low": value - 0.03,
        "high": value + 0.025,
        "confidence": 0.95,
        "interval": "95 % bootstrap over test clips",
        "metrics": {"accuracy": value, "macro_f1": value - 0.01} if single else {"mAP": value},
        "per_fold": [value - 0.02, value, value + 0.02],
        "per_seed": [value - 0.01, value, value + 0.01],
        "values": [[value] * 3] * 3,
        "per_class": per_class,
        "classes": CLASSES,
        "confusion": counts.tolist() if single else None,
        "protocol": "folds" if single else "split",
        "split": "leave one fold out; validation is the next fold",
        "fold_names": ["1", "2", "3"],
        "sizes": [[240, 80, 80]] * 3,
        "refit": True,
        "clips": 398,
        "clips_total": 400,
        "missing": {"clips/broken <1>.ogg": "truncated: 3 of 80000 frames"},
        "notes": ["class 'wind' has few clips"],
        "chosen": [{"fold": f, "lr": 1e-3, "wd": 1e-4, "validation": value} for f in ("1", "2", "3")],
        "tried": 12,
        "settings": {"lr": [1e-4, 1e-3], "wd": [0.0, 1e-4], "epochs": 30},
        "seeds": [0, 1, 2],
        "params": 1930,
        "width": 192,
        "corpus": task,
        "corpus_fingerprint": "feedbeef0001",
        "seen": task == "heard20" if role == "pretrained" else None,
        "command": f"auricle probe RUN --task {task} --data 'my <data>'",
        "versions": {"auricle": "0.1.0", "torch": "2.13.0"},
        "seconds": 73.2,
        "made": "2026-01-02T03:04:05+00:00",
        "key": f"{task}-{role}-{probe}",
        **more,
    }


@pytest.fixture(scope="session")
def map_data() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    points, clips = [], []
    for index in range(300):
        label = CLASSES[index % 10]
        angle = index % 10 * 0.63
        x, y = 8 * np.cos(angle) + draw.normal(0, 1.3), 8 * np.sin(angle) + draw.normal(0, 1.3)
        place = None
        if index < 20:
            place = len(clips)
            image = np.clip(draw.normal(60, 25, (64, 120)) + 150 * np.exp(-np.arange(64) / 9)[:, None], 0, 255)
            clips.append(
                {
                    "file": f"clips/{index} é\n.ogg",
                    "labels": [label],
                    "audio": base64.b64encode(ogg(draw)).decode(),
                    "mime": "audio/ogg",
                    "spectrogram": base64.b64encode(png(image.astype(np.uint8))).decode(),
                }
            )
        points.append({"x": x, "y": y, "labels": [label], "file": f"clips/{index}.ogg", "clip": place})
    return {
        "task": "esc10",
        "encoder": "audiomosaic-tiny",
        "method": "PCA to 50, then t-SNE",
        "points": points,
        "clips": clips,
    }


@pytest.fixture(scope="session")
def make_run(map_data: dict[str, Any]) -> Callable[..., Path]:
    """Return a function that writes a made-up run folder."""

    def make(folder: Path, *, shift: float = 0.0, probes: bool = True, curves: bool = True) -> Path:
        folder.mkdir(parents=True)
        draw = np.random.default_rng(abs(int(100 * shift)))
        recipe = {
            "kind": "Recipe",
            "name": "audiomosaic",
            "size": "tiny",
            "reference": {
                "kind": "Reference",
                "title": "AudioMosaic <script>alert(1)</script>",
                "authors": "A. Author & B. Author",
                "arxiv": "2605.14231",
                "section": "3",
            },
            "deviations": ["batch 256 pairs instead of 6144: two cores", "windows of 5.12 s instead of 10 s"],
            "encoder": {"kind": "SpectrogramTransformerConfig", "width": 192, "depth": 12, "patch": [16, 16]},
            "objective": {"kind": "ContrastiveConfig", "temperature": 0.1, "mask": {"kind": "MaskConfig", "time": 0.6}},
            "train": {"kind": "TrainConfig", "steps": 400, "lr": 6e-4, "seed": 42},
        }
        corpus = {
            "name": "field recordings",
            "fingerprint": "abcdef0123456789",
            "clips": 5310,
            "hours": 3.25,
            "exclude": ["esc10", "sed_synth"],
            "broken": {"clips/bad </td>.wav": "truncated: 12 of 80000 frames"},
            "parts": {"fsdd": 3000, "birds": 2310},
        }
        session = {
            "command": ["auricle", "pretrain", "audiomosaic", "--data", "field & forest"],
            "versions": {"auricle": "0.1.0", "torch": "2.13.0"},
            "device": "cpu",
            "threads": 2,
            "seed": 42,
        }
        environment = {"sessions": [session], "overrides": {"objective.mask.time": [0.5, 0.6]}}
        for name, data in (("recipe", recipe), ("corpus", corpus), ("environment", environment)):
            (folder / f"{name}.json").write_text(json.dumps(data))
        (folder / "events.log").write_text("2026-01-02 started: 400 steps\n2026-01-02 complete: 400 steps\n")
        (folder / "checkpoints" / "step-00000400").mkdir(parents=True)
        if curves:
            lines = []
            for step in range(10, 401, 10):
                lines.append(
                    {
                        "step": step,
                        "epoch": step // 100,
                        "loss": 5.5 * np.exp(-step / 200) + 1 - shift + draw.normal(0, 0.05),
                        "accuracy": 1 - np.exp(-step / 150) + draw.normal(0, 0.01),
                        "rank_f": 20 + 60 * (1 - np.exp(-step / 100)),
                        "rank_z": 10 + 30 * (1 - np.exp(-step / 100)),
                        "alignment": 1.2 * np.exp(-step / 200) + 0.3,
                        "uniformity": -1 - 2 * (1 - np.exp(-step / 80)),
                        "grad_norm": float(np.exp(draw.normal(0, 0.2))),
                        "lr": 6e-4 * min(1, step / 40),
                        "clips_per_second": 110 + draw.normal(0, 3),
                        "wait_share": abs(draw.normal(0.015, 0.01)),
                        "memory_gb": 0.9 + step / 10000,
                        "batch": 256,
                        "seconds": step * 2.3,
                        "nan_at_times": None if step % 20 else 1.0,
                    }
                )
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if probes:
            base = {"log-mel": 0.62, "mfcc": 0.55, "random": 0.49, "pretrained": 0.78 + shift}
            for task, kind in (("esc10", "single"), ("sed_synth", "multi"), ("heard20", "single")):
                lines = [
                    record(task, kind, role, probe, value + 0.03 * place - 0.05 * (task != "esc10"))
                    for role, value in base.items()
                    for place, probe in enumerate(("linear", "mhca", "protobin"))
                ]
                for line in lines:
                    if line["role"] == "pretrained":
                        line["encoder_fingerprint"] += folder.name
                        line["key"] += folder.name
                where = folder / "probes" / task
                where.mkdir(parents=True)
                (where / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            (folder / "probes" / "esc10" / "map.json").write_text(json.dumps(map_data))
        return folder

    return make


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., tuple[str, str, list[dict[str, Any]]]]:
    """Return a function that makes a page of records: its HTML, its words, its figures."""

    def make(*records: dict[str, Any], **files: Any) -> tuple[str, str, list[dict[str, Any]]]:
        text = build_page(read_runs([run_of(tmp_path / "run", *records, **files)]))
        found = Page(text)
        return text, found.text, found.figures

    return make
