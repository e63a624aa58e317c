"""What the demonstration claims, in short: COLA reads other voices better than random weights, log-mel and MFCC do."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from auricle import demo as module
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.probes import SearchConfig
from auricle.recipes.recipe import Recipe


def test_pretraining_pays_on_the_built_in_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module.demo_recipe

    def shorter(seed: int) -> Recipe:
        full = whole(seed)
        return full.replace(
            frontend=full.frontend.replace(mels=32, hop=320),
            encoder=AudioNTTConfig(width=256, mels=32, channels=24, frame_rate=50.0),
            loader=full.loader.replace(workers=0, batch=48),
            train=full.train.replace(threads=1, precision="fp32", lr=2e-3),
        )

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "STEPS", 120)
    monkeypatch.setattr(module, "demo_recipe", shorter)
    monkeypatch.setattr(module, "probe", partial(module.probe, probes=("linear",)))
    monkeypatch.setattr(module, "ONE_SEED", module.ONE_SEED.replace(search=SearchConfig(lr_count=3)))
    monkeypatch.setattr(module, "TRAINING", module.TRAINING.replace("clips=2000", "clips=800"))
    results, _ = module.demo(tmp_path / "demo")
    sheet, said = module.gains(results, tmp_path / "demo")
    assert said.startswith("Pre-training pays here: all 3 intervals exclude zero"), sheet.rows
