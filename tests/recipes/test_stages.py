"""Recipes of several stages: the previous stage is trained first, kept, and used by the next."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from metrics_lines import read_metrics
from safetensors.torch import load_file

from auricle.errors import CheckpointError, ConfigError
from auricle.recipes import Recipe, get_recipe, load, pretrain
from auricle.recipes.recipe import pass_down
from auricle.training.checkpoint import find_checkpoints


@pytest.fixture
def staged(make_recipe) -> Recipe:
    previous = make_recipe(steps=3, save_every=2)
    return make_recipe(steps=3, save_every=2, seed=7).replace(
        previous=previous, begin="previous", measure_statistics=False
    )


def weights(run: Path, step: int | None = None) -> dict[str, torch.Tensor]:
    return load(run, step).encoder.state_dict()


def test_the_second_stage_begins_with_the_weights_of_the_first(
    staged: Recipe, toy_corpus: Path, tmp_path: Path
) -> None:
    out = pretrain(staged, toy_corpus, tmp_path / "run", progress=False)
    first = weights(out / "previous")
    begun = weights(out, 0)
    assert all(torch.equal(first[name], begun[name]) for name in first)
    assert any(not torch.equal(first[name], value) for name, value in weights(out).items())
    assert len(read_metrics(out / "previous")) == len(read_metrics(out)) == 3
    assert "began with the weights of" in (out / "events.log").read_text()


def test_a_stage_that_was_stopped_goes_on(staged: Recipe, toy_corpus: Path, tmp_path: Path) -> None:
    whole = pretrain(staged, toy_corpus, tmp_path / "whole", progress=False)
    part = tmp_path / "part"
    previous = staged.previous
    assert previous is not None
    # As a kill leaves it: the previous stage is half done, the run itself has not begun.
    pretrain(previous, toy_corpus, part / "previous", progress=False)
    shutil.rmtree(part / "previous" / "checkpoints" / "step-00000003")
    pretrain(staged, toy_corpus, part, resume=True, progress=False)
    one, two = weights(whole), weights(part)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_stage_whose_minutes_are_over_is_finished(staged: Recipe, toy_corpus: Path, tmp_path: Path) -> None:
    previous = staged.previous
    assert previous is not None
    hasty = staged.replace(previous=previous.replace(train=previous.train.replace(minutes=1e-9)))
    out = pretrain(hasty, toy_corpus, tmp_path / "run", progress=False)
    assert list(find_checkpoints(out / "previous" / "checkpoints")) == [1]
    assert "minutes at step 1; the next stage builds on that" in (out / "previous" / "events.log").read_text()
    assert max(find_checkpoints(out / "checkpoints")) == 3


def test_a_finished_stage_of_other_settings_is_refused(staged: Recipe, toy_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    previous = staged.previous
    assert previous is not None
    pretrain(staged, toy_corpus, out, progress=False)
    for name in ("recipe.json", "corpus.json", "metrics.jsonl", "events.log", "environment.json", "recordings.parquet"):
        (out / name).unlink()
    for name in ("run.json", "ledger.jsonl"):
        (out / name).unlink(missing_ok=True)
    for folder in find_checkpoints(out / "checkpoints").values():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    other = staged.replace(previous=previous.replace(train=previous.train.replace(lr=1e-4)))
    with pytest.raises(CheckpointError, match=r"trained by other settings.*--previous"):
        pretrain(other, toy_corpus, out, progress=False)
    # The same settings: the finished stage is taken as it is.
    stamp = (out / "previous" / "metrics.jsonl").stat().st_mtime_ns
    pretrain(staged, toy_corpus, out, progress=False)
    assert (out / "previous" / "metrics.jsonl").stat().st_mtime_ns == stamp


def test_another_run_can_stand_for_the_stage_before(
    staged: Recipe, make_recipe, toy_corpus: Path, tmp_path: Path
) -> None:
    previous = pretrain(make_recipe(steps=2, seed=3), toy_corpus, tmp_path / "earlier", progress=False)
    out = pretrain(staged, toy_corpus, tmp_path / "run", previous=previous, progress=False)
    assert not (out / "previous").exists()
    one, two = weights(previous), weights(out, 0)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_stage_before_that_does_not_fit_or_is_missing_is_refused(
    staged: Recipe, make_recipe, toy_corpus: Path, tmp_path: Path
) -> None:
    wide = make_recipe(steps=2)
    wide = wide.replace(encoder=wide.encoder.replace(width=48))
    previous = pretrain(wide, toy_corpus, tmp_path / "earlier", progress=False)
    differs = (
        r"previous stage, audiomosaic, whose encoder is another: .* of another shape: .*Set --begin fresh, or --pre"
    )
    with pytest.raises(ConfigError, match=differs):
        pretrain(staged, toy_corpus, tmp_path / "run", previous=previous, progress=False)
    # A stage of the recipe is refused before it is trained.
    with pytest.raises(ConfigError, match=differs):
        pretrain(staged.replace(previous=wide), toy_corpus, tmp_path / "run", progress=False)
    with pytest.raises(
        ConfigError, match=r"beats begins with .* stage, beats-tokenizer, whose encoder .* unexpected: "
    ):
        pretrain(get_recipe("beats").replace(begin="previous"), toy_corpus, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"begins with the weights of a previous stage and there is none.*--previous"):
        pretrain(staged.replace(previous=None), toy_corpus, tmp_path / "other", progress=False)


def test_resuming_needs_no_earlier_stage_any_more(staged: Recipe, toy_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    short = staged.replace(train=staged.train.replace(minutes=1e-9))
    pretrain(short, toy_corpus, out, progress=False)
    for path in sorted((out / "previous").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (out / "previous").rmdir()
    pretrain(staged, toy_corpus, out, resume=True, progress=False)
    assert max(find_checkpoints(out / "checkpoints")) == 3


def test_what_is_changed_of_a_run_holds_for_all_its_stages(staged: Recipe, make_recipe) -> None:
    middle = make_recipe(steps=5).replace(previous=staged.previous)
    recipe = staged.replace(previous=middle)
    changed = recipe.replace(
        loader=recipe.loader.replace(batch=2),
        train=recipe.train.replace(lr=0.25),
        window=recipe.window.replace(seconds=0.5),
    )
    down = pass_down(changed, recipe)
    for stage in (down, down.previous, down.previous.previous):
        assert (stage.loader.batch, stage.train.lr, stage.window.seconds) == (2, 0.25, 0.5)
    # What was not changed stays each stage's own.
    assert (down.previous.train.steps, down.previous.previous.train.steps, down.train.seed) == (5, 3, 7)
    assert pass_down(recipe, recipe) == recipe


def test_a_slow_teacher_begins_as_a_copy_of_the_weights_that_are_taken_over(toy_corpus: Path, tmp_path: Path) -> None:
    def short(recipe: Recipe) -> Recipe:
        train = recipe.train.replace(steps=2, warmup_steps=0, save_every=1, keep=0, threads=1, precision="fp32")
        previous = None if recipe.previous is None else short(recipe.previous)
        return recipe.replace(previous=previous, train=train, loader=recipe.loader.replace(batch=4, workers=0))

    run = pretrain(short(get_recipe("sslam")), toy_corpus, tmp_path / "run", progress=False)
    begun = run / "checkpoints" / "step-00000000"
    encoder, objective = (load_file(begun / f"{name}.safetensors") for name in ("encoder", "objective"))
    copied = {
        name.removeprefix("teacher.copy."): v for name, v in objective.items() if name.startswith("teacher.copy.")
    }
    assert copied.keys() == encoder.keys()
    assert all(torch.equal(copied[name], encoder[name]) for name in encoder)
    assert all(torch.equal(value, encoder[name]) for name, value in weights(run / "previous").items())


def test_what_is_prepared_hears_long_recordings_whole(tmp_path: Path) -> None:
    """Clusters of two recordings of 100 s are made of more than two windows."""
    folder = tmp_path / "long"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for place in range(2):
        soundfile.write(folder / f"{place}.wav", 0.1 * generator.standard_normal(1_600_000).astype(np.float32), 16000)
    recipe = get_recipe("hubert")
    train = recipe.train.replace(steps=1, warmup_steps=0, threads=1, precision="fp32")
    recipe = recipe.replace(train=train, loader=recipe.loader.replace(batch=2, workers=0))
    run = pretrain(recipe, folder, tmp_path / "run", progress=False)
    found = re.search(r"of ([\d,]+) vectors", (run / "events.log").read_text())
    assert found is not None
    # Most of 200 s at 100 vectors a second, every second one taken.
    assert int(found[1].replace(",", "")) > 5000


def test_nothing_is_trained_before_a_mistake_is_told(staged: Recipe, toy_corpus: Path, tmp_path: Path) -> None:
    wrong = staged.replace(window=staged.window.replace(seconds=30.0))
    with pytest.raises(ConfigError, match="expected at most 64"):
        pretrain(wrong, toy_corpus, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "previous").exists()
    with pytest.raises(ConfigError, match=r"has no previous stage; run it without --previous"):
        pretrain(staged.replace(previous=None, begin="fresh"), toy_corpus, tmp_path / "run", previous=tmp_path / "x")
