"""The one opener: whatever holds a model opens by the same function, and what holds none is refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from older_models import save_linear
from tiny_transformers import folder as saved
from toy_pretraining import toy_recipe, write_corpus

import auricle
from auricle.cli import main
from auricle.devices import processor_has_bf16
from auricle.encoders.features import LAYERS, OUTPUT, FeaturesConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import AuricleError, CheckpointError, ConfigError
from auricle.models import load
from auricle.recipes import pretrain
from auricle.recipes.loading import parse_recipe, random_control
from auricle.storage import write_json
from auricle.training.run_folder import RunFolder
from auricle.training.run_record import read_record
from auricle.zoo.families.audiomosaic import save_audiomosaic

WAVE = (0.1 * np.sin(np.arange(16000) / 7)).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return pretrain(toy_recipe(), write_corpus(folder / "clips"), folder / "toy", progress=False)


def tuned(encoder: FrozenEncoder, folder: Path) -> Path:
    """Write a fine-tuned model with three classes."""
    return save_linear(folder, encoder, ("a", "b", "c"))


def test_a_run_a_checkpoint_and_a_file_in_it(run: Path) -> None:
    whole = load(run, device="cpu")
    checkpoint = run / "checkpoints" / "step-00000010"
    for place in (checkpoint, checkpoint / "encoder.safetensors"):
        model = load(place, device="cpu")
        assert np.array_equal(model.embed(WAVE, 16000), whole.embed(WAVE, 16000))
        assert (model.folder, model.run) == (run, run)
    assert load(run, step=4).encoder.fingerprint != whole.encoder.fingerprint
    assert whole.classes == ()
    with pytest.raises(ConfigError, match="has no head to predict with; fit one first"):
        whole.predict(WAVE, 16000)


def test_a_fine_tuned_folder_by_each_of_its_names(encoder: FrozenEncoder, tmp_path: Path) -> None:
    inner = tuned(encoder, tmp_path / "out" / "finetuned" / "0123456789abcdef")
    expected = load(inner).predict(WAVE, 16000)
    assert expected.shape == (3,)
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    for place in (inner / "model.safetensors", inner.parent, inner.parent.parent):
        model = load(place)
        assert np.array_equal(model.predict(WAVE, 16000), expected)
        assert model.classes == ("a", "b", "c")
        assert model.folder == inner
    tuned(encoder, inner.parent / "fedcba9876543210")
    with pytest.raises(CheckpointError, match=r"holds 2 fine-tuned models; name one of them: .*0123456789abcdef"):
        load(inner.parent)


def test_a_classifier_is_where_its_encoder_is_whatever_is_read_of_that(encoder: FrozenEncoder, tmp_path: Path) -> None:
    place = tuned(encoder, tmp_path / "tuned")
    half = load(place, device="cpu", precision="bf16", features="layers")
    assert half.head is not None
    assert (half.encoder.features, half.reader.features) == (LAYERS, OUTPUT)
    assert half.encoder.precision == half.reader.precision == "bf16"
    expected = load(place, device="cpu", precision="bf16").predict(WAVE, 16000)
    assert np.array_equal(half.predict(WAVE, 16000), expected)
    assert not np.array_equal(load(place, device="cpu", features="layers").predict(WAVE, 16000), expected)
    # A device without arithmetic shows where a model was put.
    moved = load(place, device="cuda" if torch.cuda.is_available() else "cpu", features="layers")
    assert moved.head is not None
    assert moved.reader.device == moved.encoder.device == next(moved.encoder.encoder.parameters()).device


def test_the_hub_a_published_file_and_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = load(f"hf:{saved('wav2vec2')}")
    assert hub.embed(WAVE, 16000).shape == (hub.width,)
    config = SpectrogramTransformerConfig(width=48, depth=2, heads=2, frames=64)
    file = save_audiomosaic(tmp_path / "model.safetensors", config.build(torch.Generator().manual_seed(0)))
    (tmp_path / "mine.py").write_text(
        "import torch\n\nclass Mean:\n    rate, width = 8000, 2\n    def __call__(self, wave):\n"
        "        return torch.stack([wave.mean(1), wave.std(1)], 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    own = load("mine:Mean")
    assert own.embed(WAVE, 16000).shape == (2,)
    assert own.folder == Path("runs/mine-Mean")
    # The same names on the command line.
    write_corpus(tmp_path / "clips", clips=4)
    for name in ("mine:Mean", f"hf:{saved('wav2vec2')}"):
        assert main(["embed", name, "--data", "clips", "--out", f"v{len(name)}.parquet", "--device", "cpu"]) == 0
        assert "4 clips" in capsys.readouterr().out
    with pytest.raises(AuricleError, match="heads"):
        load(f"zoo:audiomosaic:{file}")


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("nowhere", {}, "there is no run folder"),
        ("zoo:audiomosiac:x", {}, "did you mean 'audiomosaic'"),
        ("zoo:audiomosaic", {}, "names no file"),
        ("no_such_module:Class", {}, "no_such_module"),
        ("mine:Mean", {"step": 3}, "only a run folder has steps"),
        ("nowhere", {"trust_remote_code": True}, "is for models of the Hub"),
    ],
)
def test_refusals(what: str, options: dict, message: str) -> None:
    with pytest.raises(AuricleError, match=message):
        load(what, **options)


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match=r"is a file, and no checkpoint.*hf:user/name"):
        load(tmp_path / "notes.txt")


def test_device_and_precision(run: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="torch finds no cuda device here; set --device auto"):
            load(run, device="cuda")
    with pytest.raises(ConfigError, match="there is no device 'gpu'"):
        load(run, device="gpu")
    plain, half = load(run, device="cpu"), load(run, device="cpu", precision="bf16")
    # Other numbers: neither caches nor results of one are taken for those of the other.
    assert plain.encoder.fingerprint != half.encoder.fingerprint
    assert half.encoder.precision == "bf16"
    assert np.abs(plain.embed(WAVE, 16000) - half.embed(WAVE, 16000)).max() > 0
    found = half if processor_has_bf16() else plain
    assert load(run, device="cpu", precision="auto").encoder.fingerprint == found.encoder.fingerprint
    with pytest.raises(ConfigError, match="expected auto, fp32 or bf16"):
        load(run, precision="fp16")


def test_controls_have_the_precision_of_their_encoder(run: Path) -> None:
    plain, half = load(run, device="cpu").encoder, load(run, device="cpu", precision="bf16").encoder
    assert plain.randomised(0).fingerprint != half.randomised(0).fingerprint
    assert half.randomised(0).fingerprint == half.randomised(0).fingerprint
    assert half.randomised(0).precision == "bf16"


def test_features_of_any_model_are_chosen_when_it_is_opened(run: Path) -> None:
    plain, layers = load(run, device="cpu"), load(run, device="cpu", features="layers")
    assert plain.encoder.features == load(run, device="cpu", features="output").encoder.features == OUTPUT
    assert layers.embed(WAVE, 16000).shape == (layers.width,)
    assert layers.width == 2 * plain.width * (plain.encoder.depth + 1)
    assert (plain.name, layers.name) == ("toy", "toy (all layers)")
    hub = load(f"hf:{saved('wav2vec2')}", device="cpu", features="layers")
    assert hub.embed(WAVE, 16000).shape == (2 * hub.encoder.width * (hub.encoder.depth + 1),)
    assert hub.encoder.randomised(0).features == LAYERS
    with pytest.raises(ConfigError, match="did you mean 'layers'"):
        load(run, features="layer")


def test_a_run_is_read_as_its_recipe_says(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "clips")
    recipe = toy_recipe().replace(features=LAYERS)
    found = pretrain(recipe, corpus, tmp_path / "run", progress=False)
    assert load(found, device="cpu").encoder.features == random_control(found).features == LAYERS
    assert load(found, device="cpu", features="output").name == "run (output)"
    # Features change no weight: a run continues whatever they are, and keeps its own, in both of its files.
    for step in (max((found / "checkpoints").iterdir()), None):
        assert pretrain(toy_recipe(), corpus, tmp_path / "run", resume=True, progress=False) == found
        for held in (read_record(found)["recipe"], json.loads((found / "recipe.json").read_text())):
            assert held["features"] == LAYERS.to_json()
        assert load(found, device="cpu").encoder.features == LAYERS
        if step is not None:
            shutil.rmtree(step)
    said = (found / "events.log").read_text()
    assert "keeps the features that it began with (all layers), and the recipe names others (output)" in said
    assert "set --features layers or --features output" in said
    with pytest.raises(ConfigError, match=r"the encoder of .* has \d"):
        pretrain(recipe.replace(features=FeaturesConfig((90,), "mean")), corpus, tmp_path / "other", progress=False)


def test_a_run_of_before_features_were_settings_is_read_as_before(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "clips")
    run = pretrain(toy_recipe(), corpus, tmp_path / "run", progress=False)
    folder = RunFolder.open(run)
    old = {name: value for name, value in folder.recipe.items() if name != "features"}
    write_json(run / "recipe.json", old, "")
    folder.seal("recipe.json")
    asked = {name: value for name, value in read_record(run)["recipe"].items() if name != "features"}
    folder.record(recipe=asked)
    shutil.rmtree(max((run / "checkpoints").iterdir()))
    assert pretrain(toy_recipe().replace(features=LAYERS), corpus, run, resume=True, progress=False) == run
    assert parse_recipe(read_record(run)["recipe"], run).features == OUTPUT
    assert load(run, device="cpu").encoder.features == OUTPUT
    assert "began with (output), and the recipe names others (all layers)" in (run / "events.log").read_text()


def test_a_run_stays_a_run_where_something_was_fine_tuned_below_it(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    model = load(copy, device="cpu")
    tuned(model.encoder, copy / "finetuned" / "0123456789abcdef")
    assert load(copy).classes == ()
    assert load(copy / "finetuned").classes == ("a", "b", "c")


def test_the_public_name(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run, tmp_path / "moved"))
    assert np.array_equal(auricle.load(moved).embed(WAVE, 16000), load(run).embed(WAVE, 16000))
