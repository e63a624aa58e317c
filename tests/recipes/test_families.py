"""Any encoder family in the place of a recipe's own: from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from auricle.cli import main
from auricle.encoders.conformer import ConformerConfig
from auricle.encoders.features import LAYERS, OUTPUT, FeaturesConfig
from auricle.encoders.frame_recurrent import FrameRecurrentConfig
from auricle.encoders.pase import PaseConfig
from auricle.encoders.resnet import ResNetConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig, WaveformRecurrentConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import ConfigError
from auricle.recipes import Method, Recipe, get_recipe, load, load_recipe, recipes
from auricle.recipes.building import build, check_fit
from auricle.recipes.families import families, get_family, on_family
from auricle.recipes.recipe import previous_encoders


@pytest.mark.parametrize("name", families())
def test_a_family_fits_the_window_of_a_recipe_in_every_size(name: str) -> None:
    recipe = get_recipe("cola", "tiny")
    counts = []
    for size in ("micro", "tiny", "small"):
        made = on_family(recipe, get_family(name), size)
        encoder = made.encoder.build(torch.Generator().manual_seed(0))
        check_fit(made, made.frontend.build(), encoder)
        assert Recipe.from_json(made.to_json()) == made
        counts.append(sum(p.numel() for p in encoder.parameters()))
    assert counts == sorted(counts)


def test_the_recipe_keeps_its_front_end_where_that_is_of_the_kind() -> None:
    cola, wav2vec2 = get_recipe("cola"), get_recipe("wav2vec2")
    assert on_family(cola, get_family("resnet")).frontend == cola.frontend
    assert on_family(wav2vec2, get_family("waveform-gru")).frontend == wav2vec2.frontend
    assert on_family(wav2vec2, get_family("conformer")).frontend != wav2vec2.frontend


def test_stages_that_train_the_same_kind_get_the_same_family() -> None:
    hubert = get_recipe("hubert", "paper")
    codes, penalty = hubert.objective.terms
    codes = codes.replace(target=codes.target.replace(source=codes.target.source.replace(layer=2)))
    made = on_family(
        hubert.replace(objective=hubert.objective.replace(terms=(codes, penalty))), get_family("conformer")
    )
    assert made.previous is not None
    assert isinstance(made.encoder, ConformerConfig)
    assert made.previous.encoder == made.encoder
    assert [previous.encoder for previous in previous_encoders(made.objective)] == [made.encoder]
    build(made, 0)


def test_features_follow_the_family() -> None:
    recipe = get_recipe("best-rq").replace(features=FeaturesConfig((1, 4), "mean"))
    found = on_family(recipe, get_family("frame-gru"), "micro")
    assert found.features == FeaturesConfig("all", "mean")
    assert on_family(recipe, get_family("log-mel-statistics")).features == OUTPUT
    assert on_family(get_recipe("best-rq"), get_family("conformer")).features == LAYERS


_READ = (WaveformTransformerConfig, WaveformRecurrentConfig, WaveformConvolutionConfig, PaseConfig, ConformerConfig)


@pytest.mark.parametrize("method", recipes(), ids=lambda m: m.name)
def test_small_encoders_of_samples_and_frames_are_read_by_all_layers(method: Method) -> None:
    sizes = {size: method.recipe(size) for size in method.sizes}
    if "tiny" in sizes:
        encoder = sizes["tiny"].encoder
        frames = isinstance(encoder, SpectrogramTransformerConfig) and encoder.patch[0] == 1
        layers = isinstance(encoder, (*_READ, FrameRecurrentConfig)) or frames
        assert sizes["tiny"].features == (LAYERS if layers else OUTPUT)
    assert all(recipe.features == OUTPUT for size, recipe in sizes.items() if size == "paper")


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown encoder family 'resent'.*resnet"):
        get_family("resent")


def test_the_command_trains_another_family(
    toy_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--window.seconds", "1.0", "--augment.crop.seconds", "0.5", "--loader.batch", "4", "--loader.workers", "0"]
    flags += ["--train.steps", "2", "--train.threads", "1", "--encoder.channels", "8"]
    words = ["pretrain", "cola", "--data", str(toy_corpus), "--out", str(tmp_path / "run"), "--encoder", "resnet"]
    assert main([*words, *flags]) == 0
    found = load_recipe(tmp_path / "run").encoder
    assert isinstance(found, ResNetConfig)
    assert found.channels == 8
    assert type(load(tmp_path / "run").encoder).__name__ == "ResNet"
    assert main([*words[:-1], "resent"]) == 2
    assert "resnet" in capsys.readouterr().err


def test_help_without_a_recipe_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--help"]) == 0
    said = capsys.readouterr().out
    assert "auricle pretrain RECIPE --help" in said
    assert "hubert" in said
    assert main(["pretrain", "--data", "x"]) == 2
    assert "no recipe is named" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["pretrain", "hubert", "--dat", "x"])
    assert "auricle pretrain hubert --help" in " ".join(capsys.readouterr().err.split())
