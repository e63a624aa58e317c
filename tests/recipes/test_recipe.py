from __future__ import annotations

import json
from pathlib import Path

import pytest
import tyro

from auricle.audio.augment.config import AugmentConfig
from auricle.errors import ConfigError
from auricle.recipes import Recipe, get_recipe, recipes

SIZES = ("tiny", "small", "base", "paper")


def command_line(recipe: Recipe, arguments: list[str]) -> Recipe:
    """Read flags as `auricle pretrain` does."""
    return tyro.cli(Recipe, default=recipe, args=arguments, config=(tyro.conf.AvoidSubcommands,))


@pytest.mark.parametrize("size", SIZES)
def test_json_is_exact(size: str) -> None:
    recipe = get_recipe("audiomosaic", size)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.size == size


@pytest.mark.parametrize("size", SIZES)
def test_every_size_builds(size: str) -> None:
    recipe = get_recipe("audiomosaic", size)
    frontend = recipe.frontend.build()
    assert frontend.frames(recipe.window.samples(frontend.rate)) <= recipe.encoder.frames
    assert frontend.width == recipe.encoder.mels
    assert frontend.frame_rate == recipe.encoder.frame_rate


def test_paper_has_the_published_constants() -> None:
    paper = get_recipe("audiomosaic", "paper")
    train, encoder, frontend = paper.train, paper.encoder, paper.frontend
    assert (train.lr, train.min_lr, train.weight_decay, train.betas, train.eps) == (
        6e-4,
        1e-6,
        0.05,
        (0.9, 0.999),
        1e-8,
    )
    assert (train.steps, train.warmup_steps, train.seed, train.clip_norm) == (124400, 311, 42, None)
    assert paper.loader.batch == 6144
    assert (encoder.width, encoder.depth, encoder.heads, encoder.frames, encoder.drop_path) == (768, 12, 12, 1024, 0.1)
    assert (frontend.mean, frontend.std, frontend.divisor, frontend.mels) == (-4.2677393, 4.5689974, 2.0, 128)
    assert not paper.measure_statistics
    mask = paper.objective.mask
    assert (mask.mode, mask.time, mask.freq, paper.objective.loss.temperature) == ("tf", 0.6, 0.4, 0.1)
    assert (paper.objective.projector.hidden, paper.objective.projector.out) == ((512,), 128)
    assert paper.augment == AugmentConfig()
    assert paper.window.seconds == 10.24
    assert paper.window.short == "pad"


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_what_differs_from_the_paper_is_listed(size: str) -> None:
    recipe, paper = get_recipe("audiomosaic", size), get_recipe("audiomosaic", "paper")
    words = {
        "window": "window", "batch": "batch", "augment": "augmentation", "encoder": "encoder", "warmup": "warm-up",
        "short": "short clips", "statistics": "normalisation", "frontend": "normalisation", "steps": "steps",
    }  # fmt: skip
    listed = " ".join(recipe.notes.deviations)
    changed = recipe.changes(paper)
    for part, word in words.items():
        if any(part in name for name in changed):
            assert word in listed, part
    assert recipe.notes.reference.arxiv == "2605.14231"


def test_fields_of_every_kind_are_set_from_the_command_line() -> None:
    recipe = get_recipe("audiomosaic", "tiny")
    arguments = (
        "--train.steps 1000 --objective.mask.time 0.5 --encoder.width 384 --encoder.patch 8 16 --train.betas 0.9 0.95 "
        "--train.precision bf16 --train.minutes 3.5 --objective.mask.grid released --train.micro-batch 8 "
        "--loader.no-drop-last --augment.method waveform --window.short pad --frontend.mels 64"
    )
    changed = command_line(recipe, arguments.split())
    assert {name: new for name, (_, new) in recipe.changes(changed).items()} == {
        "train.steps": 1000, "objective.mask.time": 0.5, "encoder.width": 384, "encoder.patch": [8, 16],
        "train.betas": [0.9, 0.95], "train.precision": "bf16", "train.minutes": 3.5, "objective.mask.grid": "released",
        "train.micro_batch": 8, "loader.drop_last": False, "augment.method": "waveform", "window.short": "pad",
        "frontend.mels": 64,
    }  # fmt: skip
    assert command_line(recipe, []) == recipe


def test_what_changed_in_a_list_of_settings_is_named_as_on_the_command_line() -> None:
    recipe = get_recipe("hubert", "tiny")
    changed = command_line(recipe, ["--objective.terms.0.target.clusters", "50"])
    assert recipe.changes(changed) == {"objective.terms.0.target.clusters": (100, 50)}
    with pytest.raises(ConfigError, match=r"code\.weight is nan"):
        command_line(recipe, ["--objective.terms.0.weight", "nan"])
    with pytest.raises(ConfigError, match=r"code\.weight is inf; expected a finite number"):
        command_line(recipe, ["--objective.terms.0.weight", "inf"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.stps", "10"], "train.steps"),
        (["--train.steps", "many"], "many"),
        (["--train.precision", "fp8"], "fp8"),
        (["--name", "mine"], "--name"),
    ],
)
def test_unknown_fields_and_wrong_types_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command_line(get_recipe("audiomosaic"), arguments)
    assert message in capsys.readouterr().err


def test_names_that_do_not_exist_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'audiomosaic'"):
        get_recipe("audiomosiac")
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        get_recipe("audiomosaic", "tniy")


def test_the_registry_describes_its_recipes() -> None:
    entry = next(entry for entry in recipes() if entry.name == "audiomosaic")
    assert entry.sizes == SIZES
    assert entry.summary.startswith("AudioMosaic")


def test_no_recipe_mentions_a_path() -> None:
    text = json.dumps([get_recipe("audiomosaic", size).to_json() for size in SIZES])
    assert str(Path.home()) not in text
