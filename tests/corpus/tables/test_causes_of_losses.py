"""The word by which a lost recording is counted is that of its real reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.corpus.losses import cause_of
from auricle.corpus.scan import scan
from auricle.corpus.sources import open_corpus
from auricle.recipes import get_recipe
from auricle.recipes.pretraining import pretrain

CONTENT = {
    "empty": b"",
    "not downloaded": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    "not audio": b"<!DOCTYPE html><html><body>Access denied</body></html>",
    "corrupt": bytes(range(7, 250)) * 40,
}


@pytest.mark.parametrize("cause", CONTENT)
def test_a_file_without_audio_is_counted_by_what_it_is(cause: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (tmp_path / "odd.wav").write_bytes(CONTENT[cause])
    expected = f"1 of 2 recordings used; 1 skipped: 1 {cause}"
    assert open_corpus(tmp_path).ledger.sentence == expected
    assert scan(tmp_path, write=False).ledger.sentence == expected


def test_a_silent_recording_is_counted_as_silent_by_pre_training(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for i in range(9):
        wave = np.full(16000, 0.02) if i == 0 else np.random.default_rng(i).normal(0, 0.1, 16000)
        soundfile.write(data / f"{i}.wav", wave, 16000)
    recipe = get_recipe("audiomosaic", "tiny")
    recipe = recipe.replace(
        train=recipe.train.replace(steps=3, warmup_steps=1, precision="fp32", device="cpu"),
        window=recipe.window.replace(seconds=0.64),
        loader=recipe.loader.replace(batch=8),
        encoder=recipe.encoder.replace(width=24, depth=2, heads=2, frames=64),
    )
    run = pretrain(recipe, data, tmp_path / "run", progress=False)
    assert "8 of 9 recordings used; 1 skipped: 1 silent" in (run / "ledger.jsonl").read_text()


def test_what_nobody_foresaw_is_corrupt() -> None:
    assert cause_of("something else") == "corrupt"
