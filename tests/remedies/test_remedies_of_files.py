"""What is missing, damaged or not finished is made by the command that the message names."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import RATE, TRAIN, TUNE, Command, after, changed, executes, pretrain, probe, tones

import auricle as package
from auricle.cli import main
from auricle.config import Config
from auricle.errors import AuricleError
from auricle.models.folder import open_folder
from auricle.results.record import read_results

PLUGIN = """
from dataclasses import dataclass

from auricle.encoders.spectrogram_transformer import SpectrogramTransformer, SpectrogramTransformerConfig


@dataclass(frozen=True)
class FolkTransformerConfig(SpectrogramTransformerConfig):
    pass


class FolkTransformer(SpectrogramTransformer):
    pass
"""


def message_of(auricle: Command, call: Callable[..., object], *given: object) -> str:
    """The message of a function."""
    with pytest.raises(AuricleError) as raised:
        call(*given)
    auricle.said.append(str(raised.value))
    return str(raised.value)


@executes(
    "expected the folder that `auricle fit` or `auricle finetune` wrote",
    "expected a file of `auricle fit` or `auricle finetune`",
    "has no head to predict with; fit one first",
)
def test_fitted_and_fine_tuned_models(auricle: Command, run: Path) -> None:
    weights = next((run / "checkpoints").glob("*/encoder.safetensors"))
    wave = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    messages = [message_of(auricle, open_folder, where) for where in ("nothing", weights)]
    message = message_of(auricle, package.load(run).predict, wave, RATE)
    words = after(message, "fit one first: auricle ", r"(.+) \.\.\.")
    assert all("`auricle fit` or `auricle finetune`" in message for message in messages)
    auricle.works(*words.split(), "--data", "data", "--out", "fitted")
    auricle.works("finetune", run, "--task", "folder", "--data", "data", "--out", "tuned", "--mode", "head", *TUNE)
    for folder in (Path("fitted"), *Path("tuned/finetuned").iterdir()):
        assert open_folder(folder).head.classes == open_folder(folder / "model.safetensors").head.classes
        assert len(package.load(folder).predict(wave, RATE)) == 2


@executes("or use a plug-in: import its module first")
def test_a_fine_tuned_model_of_a_plug_in(auricle: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(run.parent)
    Path("folk_encoders.py").write_text(PLUGIN)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["encoder"]["kind"] = "FolkTransformerConfig"
    Path("folk.json").write_text(json.dumps(recipe))
    plugin = ["--plugin", "folk_encoders"]
    auricle.works(*plugin, "pretrain", "--config", "folk.json", "--data", "data", "--out", "folk")
    words = ["--task", "folder", "--data", "data", "--out", "tuned", "--mode", "head", *TUNE]
    auricle.works(*plugin, "finetune", "folk", *words)
    # Another process, which does not know the module.
    Config._known.pop("FolkTransformerConfig")
    monkeypatch.delitem(sys.modules, "folk_encoders")
    embed = ["embed", "tuned/finetuned", "--data", "data", "--out", "v.parquet"]
    flag = after(auricle.refused(*embed), "its module first (auricle ", r"(--plugin) MODULE \.\.\.\)")
    auricle.works(flag, "folk_encoders", *embed)
    Config._known.pop("FolkTransformerConfig")


@executes(
    "name folders of `auricle probe`",
    "expected what `auricle probe` wrote: delete the file",
    "expected the file that `auricle probe` writes",
)
def test_results_and_predictions(auricle: Command, tmp_path: Path) -> None:
    words = changed(probe(tones(tmp_path / "data")), "--probes", "knn", "centroid")
    out = Path("out/data")
    assert "`auricle probe` writes: run it first" in message_of(auricle, read_results, out)
    out.mkdir(parents=True)
    (out / "results.jsonl").touch()
    assert "name folders of `auricle probe`" in auricle.refused("results", out)
    auricle.works(*words)
    assert len(read_results(out)) == 2
    compare = ["results", "out/data", "--compare", "knn", "centroid"]
    before = auricle.works(*compare)
    file = next((out / "predictions").iterdir())
    file.write_bytes(file.read_bytes()[:100])
    found = re.search(
        r"(\S+) can't be read as predictions .* delete the file and run it again", auricle.works(*compare)
    )
    assert found
    assert Path(found[1]).resolve() == file.resolve()
    Path(found[1]).unlink()
    auricle.works(*words)
    assert auricle.works(*compare) == before


@executes("continue it with --resume (Python: resume=True)")
def test_unfinished_vectors(auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tones(tmp_path / "data")
    monkeypatch.setattr("auricle.tokens.embeddings._COMMIT_SECONDS", 0.0)
    words = ["embed", "remedy_encoders:Bands", "--data", "data", "--batch", "4", "--out"]
    auricle.works(*words, "whole.csv")
    encode = package.encoders.frozen.FrozenEncoder.encode

    def broken(name: str) -> str:
        calls: list[object] = []

        def stopping(*given: object, **settings: object) -> object:
            calls.append(None)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return encode(*given, **settings)  # type: ignore[arg-type]

        with monkeypatch.context() as stop:
            stop.setattr("auricle.encoders.frozen.FrozenEncoder.encode", stopping)
            assert main([*words, name]) == 130
        return auricle.refused(*words, name)

    auricle.works(*words, "resumed.csv", after(broken("resumed.csv"), "continue it with ", r"(--resume)"))
    python = {"resume": after(broken("python.csv"), "Python: resume=", r"(True)") == "True"}
    package.embed("remedy_encoders:Bands", "data", "python.csv", batch=4, progress=False, **python)
    folder = Path(after(broken("again.csv"), "auricle: "))
    assert "or delete that folder" in auricle.said[-1]
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    auricle.works(*words, "again.csv")
    assert all(Path(f"{n}.csv").read_bytes() == Path("whole.csv").read_bytes() for n in ("resumed", "python", "again"))


def useless(file: Path, wave: np.ndarray) -> None:
    soundfile.write(file, wave.astype(np.float32), RATE, subtype="FLOAT")


@executes(
    "can be used for statistics; the last",
    "expected sound: take longer windows",
    "can't be used, and no other was found for a window",
    "repair those that `auricle corpus scan` lists",
)
def test_recordings_that_a_scan_finds(auricle: Command, tmp_path: Path) -> None:
    data = tones(tmp_path / "data")
    files = sorted(data.rglob("*.wav"))
    # The header of such a file is sound.
    nothing = np.full(11200, np.nan)
    good = {file: file.read_bytes() for file in files}

    def repair() -> None:
        for file, content in good.items():
            file.write_bytes(content)

    def scan(message: str, words: str) -> str:
        verb = after(message, words, r"`auricle ([^`]+)`").split()
        return " ".join(map(str, auricle.run(*verb, "data")))  # without a usable recording, it ends with an error

    for wave, sign in ((nothing, "NaN or infinite"), (np.zeros(11200), "silent")):
        for file in files:
            useless(file, wave)
        assert sign in scan(auricle.refused(*pretrain("new")), ". Run ")
        repair()
        auricle.works(*pretrain(f"repaired {sign}"))
    for file in files:
        useless(file, np.append(np.zeros(40000), 0.5))
    words = changed(pretrain("click"), "--encoder.frames", "256")
    auricle.works(*changed(words, after(auricle.refused(*words), "longer windows (", r"([\w.-]+)"), "2.51"))
    for file in files:
        useless(file, nothing)
    # Without statistics the first batch is what reads them.
    samples = ["pretrain", "wav2vec2", "--data", "data", "--out", "samples", *TRAIN[:14], "--window.seconds", "0.64"]
    assert "NaN or infinite" in scan(auricle.refused(*samples), ". Run ")
    repair()
    auricle.works(*samples)
    for file in files[:6]:
        useless(file, nothing)
    words = [*probe(data), "--label", "half"]
    rows = [f"{file.relative_to(data)},{'ab'[i % 2]},{1 + i // 6}" for i, file in enumerate(files)]
    (data / "metadata.csv").write_text("\n".join(["file,half,fold", *rows]))
    listed = scan(auricle.refused(*words), "repair those that ")
    assert all(file.name in listed for file in files[:6])
    repair()
    auricle.works(*words)
