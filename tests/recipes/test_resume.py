"""`auricle pretrain --resume OUT`: a run knows its recipe and data, and every advice that is printed works as it is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from metrics_lines import read_metrics
from safetensors.torch import load_file
from toy_pretraining import toy_recipe, write_corpus

from auricle.cli import main
from auricle.corpus.sources import open_corpus
from auricle.errors import CheckpointError, ConfigError, CorpusError, StorageError, Terminated
from auricle.recipes import Recipe, pretrain, resume
from auricle.recipes.request import read_request, requested
from auricle.training.lock import RunLock
from auricle.training.run_folder import RunFolder


def same(run: Path, reference: Path, step: int = 10) -> bool:
    one, two = (load_file(r / f"checkpoints/step-{step:08d}/encoder.safetensors") for r in (run, reference))
    return all(torch.equal(one[name], two[name]) for name in two)


@pytest.fixture(scope="module")
def whole(toy_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(toy_recipe(), toy_corpus, tmp_path_factory.mktemp("whole") / "run", progress=False)


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Sends a signal to this process after a step, once."""

    def at(step: int, number: int) -> None:
        original = RunFolder.metrics

        def metrics(self, line) -> None:
            original(self, line)
            if line["step"] == step:
                monkeypatch.setattr(RunFolder, "metrics", original)
                os.kill(os.getpid(), number)

        monkeypatch.setattr(RunFolder, "metrics", metrics)

    return at


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_that_is_printed_continues_the_run(
    toy_corpus: Path, whole: Path, tmp_path: Path, stopping, capsys, monkeypatch, number: int
) -> None:
    """Ctrl-C, then SIGTERM: with an odd name, a relative path, and a recipe from a file."""
    monkeypatch.chdir(tmp_path)
    Path("toy.json").write_text(json.dumps(toy_recipe().to_json()))
    stopping(3, number)
    words = ["pretrain", "--config", "toy.json", "--data", os.path.relpath(toy_corpus), "--out", "my run's"]
    assert main(words) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    said = capsys.readouterr().err
    (command,) = re.findall(r"saved step 3 of 10; continue with: (auricle .*)", said)
    assert command == """auricle pretrain --resume 'my run'"'"'s'"""
    assert "stopped before a step" not in said
    stopping(7, number)
    assert main(shlex.split(command)[1:]) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert command in capsys.readouterr().err
    assert main(shlex.split(command)[1:]) == 0
    assert same(tmp_path / "my run's", whole)
    capsys.readouterr()
    # All is done: nothing happens, and that is no mistake, also without the data.
    before = {file: file.read_bytes() for file in Path("my run's").rglob("*") if file.is_file()}
    assert main(["pretrain", "--resume", "my run's"]) == main(["pretrain", "--resume=my run's"]) == 0
    assert "is complete: all its 10 steps are done" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in Path("my run's").rglob("*") if file.is_file()} == before


def test_python_gets_the_signal_as_an_exception(toy_corpus: Path, tmp_path: Path, stopping) -> None:
    stopping(3, signal.SIGTERM)
    with pytest.raises(Terminated):
        pretrain(toy_recipe(), toy_corpus, tmp_path / "run", progress=False)
    assert resume(tmp_path / "run", progress=False) == tmp_path / "run"
    with pytest.raises(CheckpointError, match=r"Python gave it an open corpus.*Add --data: auricle") as refused:
        requested(pretrain(toy_recipe(steps=1), open_corpus(toy_corpus), tmp_path / "open", progress=False))
    command = str(refused.value).partition("Add --data: auricle ")[2].partition(" FOLDER")[0]
    assert main([*shlex.split(command), str(toy_corpus)]) == 0


def test_sigterm_ends_the_process_with_its_code(toy_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_text(json.dumps(toy_recipe(steps=100_000, save_every=50_000).to_json()))
    words = ["pretrain", "--config", tmp_path / "toy.json", "--data", toy_corpus, "--out", tmp_path / "run"]
    process = subprocess.Popen([sys.executable, "-m", "auricle.cli", *words], stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "run" / "metrics.jsonl"
    while not journal.exists() and process.poll() is None:
        time.sleep(0.2)
    # A second one is refused while the first one trains, whatever it is called with.
    for attempt in (lambda: resume(tmp_path / "run"), lambda: pretrain(toy_recipe(), toy_corpus, tmp_path / "run")):
        with pytest.raises(CheckpointError, match=rf"another process is training \(process {process.pid} on"):
            attempt()
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert f"continue with: auricle pretrain --resume {tmp_path / 'run'}" in said


def test_a_run_that_is_being_resumed_is_refused(toy_corpus: Path, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    before = (run / "metrics.jsonl").read_bytes()
    with RunLock(run), pytest.raises(CheckpointError, match="another process is training"):
        resume(run)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_the_whole_command_starts_what_is_not_there(toy_corpus: Path, whole: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match=r"there is no run in .*expected the --out of a run\. Start one"):
        resume(run)
    assert not run.exists()
    pretrain(toy_recipe(), toy_corpus, run, resume=True)
    assert "holds no step yet: the run starts at step 0" in capsys.readouterr().err
    assert same(run, whole)
    # Only the record is there, and what a killed write left.
    for each in run.iterdir():
        if each.name != "run.json":
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    (run / ".recipe.json.77.writing").write_text("{")
    resume(run, progress=False)
    assert same(run, whole)
    assert not list(run.glob("**/*.writing"))


def contradictions() -> list[tuple[dict, dict, str]]:
    recipe = toy_recipe()
    return [
        ({"recipe": recipe.replace(train=recipe.train.replace(lr=1e-3))}, {}, r"train.lr: 0.0006 then, 0.001 now"),
        ({"recipe": recipe.replace(loader=recipe.loader.replace(batch=4))}, {}, r"loader.batch: 8 then, 4 now"),
        ({}, {"exclude": ("a", "b")}, r"started with --exclude \(none\), and this is --exclude a b; expected the same"),
        ({}, {"previous": Path("/x")}, r"started with --previous \(none\), and this is --previous /x"),
    ]


@pytest.mark.parametrize(("change", "options", "message"), contradictions())
def test_what_contradicts_the_run_is_refused_in_words(
    whole: Path, tmp_path: Path, change: dict, options: dict, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        pretrain(change.get("recipe", toy_recipe()), tmp_path / "not opened", whole, resume=True, **options)


def test_data_may_have_moved_but_not_changed(toy_corpus: Path, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    moved = Path(shutil.copytree(toy_corpus, tmp_path / toy_corpus.name))
    other = write_corpus(tmp_path / "other", 5)
    for step in (8, 10):  # before its last step, and after
        with pytest.raises(CheckpointError, match=r"24 clips.*5 clips.*the same --data"):
            resume(run, data=other)
        assert max(RunFolder.open(run).checkpoints) == step
        assert main(["pretrain", "--resume", str(run), "--data", str(moved)]) == 0
    assert same(run, whole)


def test_settings_that_change_no_number_may_differ(whole: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    assert main(["pretrain", "--resume", str(run), "--train.lr", "0.1"]) == 2
    assert "train.lr: 0.0006 then, 0.1 now" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run), "--train.save-every", "1", "--loader.workers", "1"]) == 0
    assert max(RunFolder.open(run).checkpoints) == 10
    assert 9 in RunFolder.open(run).checkpoints
    assert same(run, whole)
    with pytest.raises(SystemExit):
        main(["pretrain", "--resume", str(run), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Continue the run in {run}" in shown.replace("│ ", "")
    with pytest.raises(SystemExit):
        main(["pretrain", "--resume", str(run), "--size", "base"])
    assert main(["pretrain", "--resume", str(run), "--out", str(tmp_path)]) == 2
    assert "expected one folder. Leave --out out" in capsys.readouterr().err


def test_other_minutes_take_a_fitted_number_of_steps_back(toy_corpus: Path, tmp_path: Path, stopping, capsys) -> None:
    run = tmp_path / "run"
    stopping(3, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(toy_recipe(minutes=30), toy_corpus, run, progress=False)
    RunFolder.open(run).record(plan=[[2, 5]], minutes=30)
    stopping(7, signal.SIGINT)
    longer = ["pretrain", "--resume", str(run), "--train.minutes", "60"]
    assert main(longer) == 130
    # The command that is printed then continues with these minutes.
    request = read_request(run)
    assert request is not None
    assert request.recipe.train.minutes == 60
    assert main(longer[:3]) == 0
    assert max(RunFolder.open(run).checkpoints) == 10
    RunFolder.open(run).record(plan=[[2, 10]], minutes=30)
    capsys.readouterr()
    assert main(longer) != 0
    assert "made the 10 steps that fit into train.minutes 30" in capsys.readouterr().err


def test_a_staged_run_is_resumed_by_its_folder_alone(make_recipe, toy_corpus: Path, tmp_path: Path, stopping) -> None:
    stage = make_recipe(steps=3, save_every=2)
    staged = stage.replace(previous=stage, begin="previous", measure_statistics=False)
    reference = pretrain(staged, toy_corpus, tmp_path / "whole", progress=False)
    stopping(2, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(staged, toy_corpus, tmp_path / "run", progress=False)
    command = f"continue with: auricle pretrain --resume {tmp_path / 'run'}\n"
    assert command in (tmp_path / "run" / "previous" / "events.log").read_text()
    with pytest.raises(CheckpointError, match=r"is a previous stage of the run .*: auricle pretrain --resume \S+run$"):
        resume(tmp_path / "run" / "previous")
    resume(tmp_path / "run", progress=False)
    assert same(tmp_path / "run", reference, 3)
    assert same(tmp_path / "run" / "previous", reference / "previous", 3)
    request = read_request(tmp_path / "run")
    assert request is not None
    assert request.recipe == staged
    assert request.data == str(toy_corpus)


def test_a_run_without_a_record_is_resumed_with_its_data(whole: Path, toy_corpus: Path, tmp_path: Path) -> None:
    """As auricle 0.2 left it."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    (run / "run.json").unlink()
    for name in ("corpus.json", "environment.json"):
        held = json.loads((run / name).read_text())
        del held["sum"]
        (run / name).write_text(json.dumps(held))
    with pytest.raises(CheckpointError, match="Add --data"):
        resume(run)
    resume(run, data=toy_corpus, progress=False)
    assert same(run, whole)
    assert not (run / "run.json").exists()
    assert read_metrics(run)[-1]["step"] == 10


def test_all_checkpoints_that_lie_there_at_once_must_fit(
    toy_corpus: Path, tmp_path: Path, make_recipe, monkeypatch
) -> None:
    """One alone would."""
    stage = make_recipe(keep=1)
    staged = stage.replace(previous=stage, begin="previous", measure_statistics=False)
    run = pretrain(make_recipe(steps=1), toy_corpus, tmp_path / "one", progress=False)
    size = sum(file.stat().st_size for file in (run / "checkpoints").rglob("*") if file.is_file())
    for recipe, most in ((make_recipe(keep=1), 2), (make_recipe(keep=0), 4), (staged, 4)):
        for room, fits in ((0.8 * most, False), (1.3 * most, True)):
            monkeypatch.setattr("auricle.training.saving.free_bytes", lambda path, room=room: int(room * size))
            out = tmp_path / f"{most} {room}"
            if fits:
                pretrain(recipe.replace(train=recipe.train.replace(minutes=1e-9)), toy_corpus, out, progress=False)
            else:
                with pytest.raises(StorageError, match="expected room for all that lie there at once"):
                    pretrain(recipe, toy_corpus, out, progress=False)
                assert not out.exists()
            shutil.rmtree(out, ignore_errors=True)


def test_a_damaged_line_of_the_journal_is_dropped_and_named(whole: Path, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    journal = run / "metrics.jsonl"
    journal.write_text(journal.read_text().replace('"step": 4', '"step": 5'))
    assert main(["pretrain", "--resume", str(run)]) == 0
    said = capsys.readouterr().err
    assert "line 4 of" in said
    assert "9 whole lines up to step 10, 10 were written" in said
    assert said.index("10 were written") < said.index("is complete")
    assert [line["step"] for line in read_metrics(run)] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert "it was dropped" in (run / "events.log").read_text()


def test_a_missing_extra_is_refused_before_anything_is_written(toy_corpus, tmp_path, make_recipe, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"auricle\[tensorboard\]"):
        pretrain(make_recipe(tensorboard=True), toy_corpus, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_skipped_recordings_are_told_at_the_start(tmp_path: Path, make_recipe, capsys) -> None:
    data = write_corpus(tmp_path / "data", 8)
    (data / "class 1" / "noise.wav").write_bytes(b"no audio")
    recipe = make_recipe(steps=1)
    # A run that is refused later names no list, since none was written.
    silent = write_corpus(tmp_path / "silent", 8)
    for path in (*silent.rglob("*.wav"), silent / "class 1/noise.wav"):
        soundfile.write(path, np.zeros(16000), 16000) if path.exists() else path.write_bytes(b"no audio")
    with pytest.raises(CorpusError, match="can be used for statistics"):
        pretrain(recipe, silent, tmp_path / "run")
    said = capsys.readouterr().err
    assert "class 1/noise.wav (" in said
    assert "ledger.jsonl" not in said
    run = pretrain(recipe, data, tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("The first that was skipped") == 1
    first = "8 of 9 recordings used; 1 skipped: 1 corrupt. The first that was skipped: class 1/noise.wav ("
    assert first in said
    assert f"listed, with the reason, in {run / 'ledger.jsonl'}" in said
    assert "class 1/noise.wav" in (run / "ledger.jsonl").read_text()
    assert said.index("was skipped") < said.index("started:")


def test_what_the_recordings_are_read_as_belongs_to_the_run(toy_corpus: Path, tmp_path: Path, make_recipe) -> None:
    """Slower, and by a channel that is named: by the call, the command and the folder alone."""
    options = {"channel": 0, "time_expansion": 2.0}
    run = pretrain(make_recipe(), toy_corpus, tmp_path / "run", progress=False, **options)
    reference = Path(shutil.copytree(run, tmp_path / "whole"))
    file, named = tmp_path / "resume.json", tmp_path / "named.json"
    file.write_text(json.dumps({"resume": True, "out": str(run)}))
    named.write_text(json.dumps({"out": str(run)}))
    for again in (
        lambda: resume(run, progress=False),
        lambda: main(["pretrain", "--resume", str(run)]),
        lambda: main(["pretrain", "--config", str(file)]),
        lambda: main(["pretrain", "--config", str(named), "--resume"]),
    ):
        shutil.rmtree(run / "checkpoints" / "step-00000010")
        again()
        assert same(run, reference)
    assert main(["pretrain", "--config", str(file), "--no-resume"]) == 2
    with pytest.raises(CheckpointError, match=r"--time-expansion 2.0, and this is --time-expansion \(none\)"):
        pretrain(make_recipe(), toy_corpus, run, resume=True, channel=0)


def test_recorded_data_are_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auricle.recipes.request import Request

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b+c", "scenes"):
        Path(name).mkdir()
    recipe = Recipe()
    for given, kept in (
        ("a", f"{tmp_path}/a"), ("b+c", f"{tmp_path}/b+c"), ("a+scenes", f"{tmp_path}/a+{tmp_path}/scenes"),
        ("builtin:scenes", "builtin:scenes"), ("hub:a/b", "hub:a/b"), ("layout:us8k:a", f"layout:us8k:{tmp_path}/a"),
        ("nowhere", "nowhere"),
    ):  # fmt: skip
        assert Request.of(recipe, given, (), None).data == kept
