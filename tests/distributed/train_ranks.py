"""Pre-trains on a toy corpus, once per job; started by `accelerate launch`, or alone.

Arguments: the corpus folder, and a JSON list of jobs: the run folder, `plain` (nothing random that differs between
ranks), `norm` (likewise, with BatchNorm) or `full` (augmentation, masks and drop path), whether to resume, and
training settings.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))

import torch
from toy_pretraining import toy_recipe

from auricle.audio.augment.config import AugmentConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.recipes import pretrain

torch.set_num_threads(1)
data, jobs = sys.argv[1:]


def note_threads() -> None:
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.exists() else []
    (Path(data).parent / f"threads-{os.environ.get('RANK', 'alone')}").write_text("\n".join(names))


# Registered first, so it runs after everything that auricle registers.
atexit.register(note_threads)
for out, kind, resume, settings in json.loads(jobs):
    recipe = toy_recipe(**settings)
    if kind != "full":
        mask = recipe.objective.mask.replace(mode="none")
        convolutions = AudioNTTConfig(width=16, mels=recipe.encoder.mels, channels=4, dropout=0.0)
        recipe = recipe.replace(
            augment=AugmentConfig.off(),
            objective=recipe.objective.replace(mask=mask),
            encoder=convolutions if kind == "norm" else recipe.encoder.replace(drop_path=0.0),
        )
    pretrain(recipe, data, out, resume=resume, progress=False)
