"""What the tests of remedies share: the command line, tiny corpora, and messages taken apart."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.objectives.targets.clusters import ClusteredLayerConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes import get_recipe

Test = Any
RATE = 16000
TRAIN = [
    "--loader.batch", "8", "--loader.workers", "0", "--loader.sampling", "clip", "--train.threads", "1",
    "--train.steps", "3", "--train.warmup-steps", "1", "--train.save-every", "2", "--train.precision", "fp32",
    "--encoder.depth", "2", "--encoder.width", "48", "--encoder.frames", "64", "--window.seconds", "0.64",
]  # fmt: skip
QUICK = ["--no-controls", "--seeds", "1", "--probes", "knn"]
TUNE = ["--no-controls", "--epochs", "1"]
ENCODER = '''
import torch


class Bands:
    """Mean magnitudes of eight bands, ten times a second."""

    rate, width = 16000, 8

    def __call__(self, wave):
        spectrum = torch.fft.rfft(wave.unfold(1, 1600, 1600)).abs()[..., :800]
        return spectrum.unflatten(-1, (8, 100)).mean(-1).log1p()
'''


class Command:
    """Runs `auricle` in a folder of its own, and keeps what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.said: list[str] = []

    def run(self, *words: object) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = (" ".join(text.split()) for text in self.capsys.readouterr())
        self.said += [out, err]
        return code, out, err

    def refused(self, *words: object) -> str:
        code, _, err = self.run(*words)
        assert code == 2, err
        return err

    def works(self, *words: object) -> str:
        code, out, err = self.run(*words)
        assert code == 0, err
        return out

    def begins(self, *words: object) -> None:
        """Everything that is checked before the first second of a training passes."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("auricle.recipes.pretraining._train", lambda *_: "complete")
            self.works(*words)

    def read(self, file: str | Path) -> str:
        self.said.append(Path(file).read_text())
        return self.said[-1]


def executes(*messages: str) -> Callable[[Test], Test]:
    """Mark a test that provokes the messages with these parts and does what they advise."""

    def mark(test: Test) -> Test:
        test.remedies = messages
        return test

    return mark


def tones(folder: Path, clips: int = 12, columns: dict[str, Sequence[object]] | None = None) -> Path:
    """Write clips of two classes, in a sub-folder each, or beside a table where there are other columns."""
    files = []
    for i in range(clips):
        file = f"{i:02d}.wav" if columns else f"{'low' if i % 2 else 'high'}/{i:02d}.wav"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        noise = 0.01 * np.random.default_rng(i).standard_normal(11200)
        tone = 0.3 * np.sin(2 * np.pi * (400 if i % 2 else 1600) * np.arange(11200) / RATE)
        soundfile.write(folder / file, tone + noise, RATE)
        files.append(file)
    if columns:
        table(folder / "metadata.csv", {"file": files, **columns})
    return folder


def table(path: Path, columns: dict[str, Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])


def after(message: str, words: str, pattern: str = r"(\S+)") -> str:
    """What a message prints after these words."""
    found = re.search(re.escape(words) + pattern, message)
    assert found, message
    return found[1].rstrip(";,.")


def second_iteration(file: Path) -> Path:
    """Write HuBERT's tiny recipe with the second iteration of its paper size: codes of a layer of the first one."""
    first = get_recipe("hubert", "tiny")
    source = ClusteredLayerConfig(3, PreviousEncoderConfig(first.encoder, first.frontend))
    objective: Any = first.objective
    codes, *others = objective.terms
    codes = codes.replace(target=codes.target.replace(source=source))
    objective = objective.replace(terms=(codes, *others))
    file.write_text(json.dumps(first.replace(objective=objective, previous=first).to_json()))
    return file


def pretrain(out: Path | str, data: Path | str = "data", *more: str) -> list[str]:
    return ["pretrain", "audiomosaic", "--data", str(data), "--out", str(out), *TRAIN, *more]


def probe(data: Path, *more: str, task: str = "folder") -> list[str]:
    words = ["probe", "remedy_encoders:Bands", "--task", task, "--data", str(data), "--out", f"out/{data.name}"]
    return [*words, *(QUICK if task == "folder" else QUICK[:3]), *more]


def changed(words: Sequence[str], flag: str, *values: str) -> list[str]:
    """The words with other values of a flag, which is added where it is not; without any, the flag is left out."""
    if flag not in words and values:
        return [*words, flag, *values]
    at = words.index(flag)
    end = next((i for i in range(at + 1, len(words)) if words[i].startswith("--")), len(words))
    return [*words[:at], *([flag, *values] if values else []), *words[end:]]
