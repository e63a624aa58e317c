"""A toy corpus on disk and a recipe that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.recipes import Recipe, get_recipe


def write_corpus(folder: Path, clips: int = 24) -> Path:
    generator = np.random.default_rng(0)
    for number in range(clips):
        samples = int(16000 * generator.uniform(0.4, 1.5))
        time = np.arange(samples) / 16000
        wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * number) * time) + 0.01 * generator.standard_normal(samples)
        place = folder / f"class {number % 4}" / f"clip {number:02d} ü.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, wave.astype(np.float32), 16000)
    return folder


def toy_recipe(workers: int = 0, **train: object) -> Recipe:
    recipe = get_recipe("audiomosaic", "tiny")
    settings = {
        "steps": 10, "warmup_steps": 2, "log_every": 1, "save_every": 4, "keep": 3, "threads": 1, "precision": "fp32",
        "device": "cpu",
    }  # fmt: skip
    return recipe.replace(
        window=recipe.window.replace(seconds=0.64),
        loader=recipe.loader.replace(batch=8, workers=workers),
        encoder=recipe.encoder.replace(width=24, depth=2, heads=2, frames=64),
        objective=recipe.objective.replace(projector=ProjectorConfig(hidden=(16,), out=8)),
        train=recipe.train.replace(**(settings | train)),
    )
