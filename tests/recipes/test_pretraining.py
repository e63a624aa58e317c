from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from metrics_lines import read_metrics
from safetensors.torch import load_file
from toy_pretraining import toy_recipe, write_corpus

from auricle.corpus.sources import open_corpus
from auricle.errors import AuricleError, CheckpointError, ConfigError, CorpusError
from auricle.recipes import Recipe, load_recipe, pretrain

TIMES = {"clips_per_second", "wait_share", "memory_gb", "seconds"}


def numbers(run: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(run)]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / f"step-{step:08d}"
    return {
        f"{name}/{key}": tensor
        for name in ("encoder", "objective", "optimiser")
        for key, tensor in load_file(folder / f"{name}.safetensors").items()
    }


@pytest.fixture(scope="module")
def uninterrupted(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(toy_recipe(workers=0), toy_corpus, tmp_path_factory.mktemp("runs") / "whole", progress=False)


def killed(corpus: Path, run: Path, workers: int, moment: str, *rest: str) -> None:
    script = Path(__file__).parent / "killed_run.py"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, script, corpus, run, str(workers), moment, *rest],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    toy_corpus: Path, uninterrupted: Path, tmp_path: Path, make_recipe, workers: int
) -> None:
    run = tmp_path / "run"
    # First between two checkpoints, in the middle of a line; then inside the second checkpoint's second file.
    killed(toy_corpus, run, workers, "metrics:6")
    killed(toy_corpus, run, workers, "write:2", "resume")
    assert sorted(p.name for p in (run / "checkpoints").glob("step-*")) == ["step-00000004"]
    pretrain(make_recipe(workers), toy_corpus, run, resume=True, progress=False)
    assert numbers(run) == numbers(uninterrupted)
    assert [line["step"] for line in read_metrics(run)] == list(range(1, 11))
    mine, expected = weights(run, 10), weights(uninterrupted, 10)
    assert mine.keys() == expected.keys()
    assert all(torch.equal(mine[name], expected[name]) for name in expected)
    assert len(json.loads((run / "environment.json").read_text())["sessions"]) == 3


@pytest.mark.parametrize("missing", [(), ("corpus.json", "recordings.parquet", "environment.json", "events.log")])
def test_killed_before_the_first_checkpoint_it_begins_again_with_the_same_numbers(
    toy_corpus: Path, uninterrupted: Path, tmp_path: Path, make_recipe, missing: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    killed(toy_corpus, run, 0, "metrics:3")
    assert not any((run / "checkpoints").iterdir())
    with pytest.raises(CheckpointError, match=r"without a checkpoint yet.*--resume"):
        pretrain(make_recipe(), toy_corpus, run)
    with pytest.raises(CheckpointError, match=r"train.lr: 0.0006 then, 0.001 now"):
        pretrain(make_recipe(lr=0.001), toy_corpus, run, resume=True)
    for name in missing:  # as if killed while the folder was being made
        (run / name).unlink()
    pretrain(make_recipe(), toy_corpus, run, resume=True, progress=False)
    assert numbers(run) == numbers(uninterrupted)
    mine, expected = weights(run, 10), weights(uninterrupted, 10)
    assert all(torch.equal(mine[name], expected[name]) for name in expected)
    assert {path.name for path in run.iterdir()} == {path.name for path in uninterrupted.iterdir()}
    assert json.loads((run / "corpus.json").read_text()) == json.loads((uninterrupted / "corpus.json").read_text())


def test_killed_after_its_ledger_it_gives_its_folder_to_another_recipe(
    toy_corpus: Path, tmp_path: Path, make_recipe
) -> None:
    run = tmp_path / "run"
    killed(toy_corpus, run, 0, "ledger")
    half = run / ".ledger.jsonl.1.writing"
    half.write_text("{")
    assert (run / "ledger.jsonl").exists()
    pretrain(make_recipe(lr=0.001, steps=1), toy_corpus, run, progress=False)
    assert "took over the folder of a run that made no step" in (run / "events.log").read_text()
    assert not half.exists()


def test_checkpoints_without_what_they_heard_are_refused(
    toy_corpus: Path, uninterrupted: Path, tmp_path: Path, make_recipe
) -> None:
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    (run / "corpus.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    with pytest.raises(CheckpointError, match=r"no readable corpus.json"):
        pretrain(make_recipe(), toy_corpus, run, resume=True)


def test_a_run_folder_holds_what_is_needed_to_repeat_it(toy_corpus: Path, uninterrupted: Path, make_recipe) -> None:
    recipe = Recipe.from_json(json.loads((uninterrupted / "recipe.json").read_text()))
    given = make_recipe(workers=0)
    # Resolved: the statistics are the corpus's.
    assert {name.split(".")[0] for name in given.changes(recipe)} == {"frontend"}
    assert set(given.changes(recipe)) == {"frontend.mean", "frontend.std"}
    corpus = json.loads((uninterrupted / "corpus.json").read_text())
    assert corpus["clips"] == 24
    assert corpus["fingerprint"] == open_corpus(toy_corpus).fingerprint
    assert corpus["broken"] == {}
    environment = json.loads((uninterrupted / "environment.json").read_text())
    assert environment["overrides"]["train.steps"] == [1500, 10]
    session = environment["sessions"][0]
    assert session["versions"]["torch"] == torch.__version__
    assert session["threads"] == 1
    assert session["seed"] == 42
    assert load_recipe(uninterrupted / "checkpoints" / "step-00000010") == recipe


def test_statistics_are_those_of_the_corpus(toy_corpus: Path, uninterrupted: Path) -> None:
    recipe = load_recipe(uninterrupted)
    frontend, corpus = recipe.frontend.build(), open_corpus(toy_corpus)
    cells = []
    for index in range(len(corpus)):
        wave = torch.from_numpy(corpus.audio(index, 16000))
        wave = wave.repeat(3)[: int(0.64 * 16000)]
        from auricle.audio.batch import Audio

        cells.append(frontend.raw(Audio(wave[None], torch.tensor([len(wave)]), 16000)).x.double().flatten())
    everything = torch.cat(cells)
    assert recipe.frontend.mean == pytest.approx(everything.mean().item(), abs=0.1)
    assert recipe.frontend.std == pytest.approx(everything.std().item(), rel=0.03)


def test_a_folder_with_a_run_is_refused_before_any_work(toy_corpus: Path, uninterrupted: Path, make_recipe) -> None:
    with pytest.raises(CheckpointError, match=r"already holds a run \(its latest checkpoint is of step 10\)"):
        pretrain(make_recipe(), toy_corpus / "missing", uninterrupted)


def test_resuming_with_a_changed_recipe_is_refused(
    toy_corpus: Path, tmp_path: Path, uninterrupted: Path, make_recipe
) -> None:
    with pytest.raises(CheckpointError, match=r"train.lr: 0.0006 then, 0.001 now"):
        pretrain(make_recipe(lr=0.001), toy_corpus, uninterrupted, resume=True)
    recipe = make_recipe()
    other = recipe.replace(encoder=recipe.encoder.replace(width=48))
    with pytest.raises(CheckpointError, match=r"encoder.width: 24 then, 48 now"):
        pretrain(other, toy_corpus, uninterrupted, resume=True)


def test_resuming_on_another_corpus_is_refused(toy_corpus: Path, uninterrupted: Path, make_recipe) -> None:
    other = open_corpus(toy_corpus).select(range(20))
    with pytest.raises(CheckpointError, match=r"24 clips.*20 clips"):
        pretrain(make_recipe(), other, uninterrupted, resume=True)


def test_a_window_longer_than_the_encoder_is_refused_before_anything_is_written(
    toy_corpus: Path, tmp_path: Path, make_recipe
) -> None:
    recipe = make_recipe()
    recipe = recipe.replace(window=recipe.window.replace(seconds=3.0))
    with pytest.raises(ConfigError, match=r"frames.*at most 64"):
        pretrain(recipe, toy_corpus, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_is_not_there(tmp_path: Path, make_recipe) -> None:
    with pytest.raises(AuricleError, match="missing"):
        pretrain(make_recipe(), tmp_path / "missing", tmp_path / "run", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError):
        pretrain(make_recipe(), tmp_path / "empty", tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_broken_files_are_skipped_and_listed(tmp_path: Path, make_recipe) -> None:
    folder = write_corpus(tmp_path / "data", clips=20)
    (folder / "class 1" / "noise.wav").write_bytes(b"not audio at all")
    run = pretrain(make_recipe(steps=4), folder, tmp_path / "run", progress=False)
    broken = json.loads((run / "corpus.json").read_text())["broken"]
    assert list(broken) == ["class 1/noise.wav"]
    entries = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    assert entries[0]["sentence"] == "20 of 21 recordings used; 1 skipped: 1 corrupt. remarks: 1 read in part"
    assert any("clip 05" in entry["name"] and entry["used"] for entry in entries[1:])


def test_ctrl_c_saves_and_interrupts(toy_corpus: Path, tmp_path: Path, make_recipe, monkeypatch) -> None:
    from auricle.training.run_folder import RunFolder

    original = RunFolder.metrics

    def interrupting(self, line) -> None:
        original(self, line)
        if line["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "metrics", interrupting)
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_recipe(), toy_corpus, tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert (tmp_path / "run" / "checkpoints" / "step-00000003").is_dir()
    assert "--resume" in (tmp_path / "run" / "events.log").read_text()
    pretrain(make_recipe(), toy_corpus, tmp_path / "run", resume=True, progress=False)


def test_a_corpus_that_would_be_mostly_padding_is_warned_about(
    toy_corpus: Path, uninterrupted: Path, tmp_path: Path, make_recipe
) -> None:
    recipe = make_recipe(steps=1)
    encoder = recipe.encoder.replace(frames=320)
    recipe = recipe.replace(window=recipe.window.replace(seconds=3.2, short="pad"), encoder=encoder)
    run = pretrain(recipe, toy_corpus, tmp_path / "run", progress=False)
    assert "would be padding" in (run / "events.log").read_text()
    assert "set window.short to repeat" in (run / "events.log").read_text()
    assert read_metrics(run)[0]["padding"] > 0.5
    assert "would be padding" not in (uninterrupted / "events.log").read_text()
