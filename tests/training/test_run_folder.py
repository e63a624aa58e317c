from __future__ import annotations

import errno
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from metrics_lines import read_metrics

from auricle.errors import CheckpointError, StorageError
from auricle.training import lock
from auricle.training.lock import RunLock, refuse_in_use
from auricle.training.run_folder import RunFolder

RECIPE = {"kind": "Toy", "train": {"steps": 10, "lr": 0.1, "keep": 2}, "betas": [0.9, 0.99]}


def test_a_new_run_has_its_recipe(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a" / "run", RECIPE)
    assert RunFolder.open(run.path).recipe == RECIPE
    assert run.checkpoints == {}


def test_a_folder_with_a_run_is_refused(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    run.metrics({"step": 1})
    with pytest.raises(CheckpointError, match=r"already holds a run \(without a checkpoint yet\).*--resume"):
        RunFolder.create(run.path, RECIPE)
    (run.path / "metrics.jsonl").unlink()
    (run.path / "checkpoints" / "step-00000007").mkdir()
    with pytest.raises(CheckpointError, match=r"already holds a run \(its latest checkpoint is of step 7\).*--resume"):
        RunFolder.create(run.path, RECIPE)


def test_a_run_that_plug_ins_are_part_of_is_continued_with_them(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "my run", RECIPE)
    run.metrics({"step": 1})
    for data, end in ((None, " --data FOLDER, or the same call with resume=True"), ("sounds", "")):
        run.record(data=data, modules=["lab.parts"])
        with pytest.raises(CheckpointError) as refused:
            RunFolder.check_new(run.path)
        command = f"auricle --plugin lab.parts pretrain --resume {shlex.quote(str(run.path))}{end}"
        assert f"Continue the run ({command}), or" in str(refused.value)


def test_a_run_that_made_no_step_gives_its_folder_to_a_new_one(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    run.log("the old run was refused")
    run.rewind(0)
    for name in (
        "corpus.json",
        "environment.json",
        ".environment.json.1.writing",
        "recordings.parquet",
        "ledger.jsonl",
    ):
        (run.path / name).write_text("{}")
    (run.path / "metrics.jsonl").write_text("")
    (run.path / "checkpoints" / ".writing-step-00000000").mkdir()
    (run.path / "previous").mkdir()
    other = RECIPE | {"betas": [0.9, 0.95]}
    with pytest.raises(CheckpointError, match=r"betas.*start a new run \(leave --resume out: the run made no step\)"):
        RunFolder.open(run.path).check_recipe(other)
    stage = RunFolder.create(run.path / "previous", RECIPE)
    with pytest.raises(CheckpointError, match=r"betas.*start a new run \(choose another --out\)"):
        stage.check_recipe(other)
    RunFolder.check_new(run.path)
    assert RunFolder.open(run.path).recipe == RECIPE  # to look changes nothing
    new = RunFolder.create(run.path, other)
    assert RunFolder.open(new.path).recipe == other
    assert {p.name for p in new.path.iterdir()} == {"recipe.json", "run.json", "checkpoints", "events.log", "previous"}
    assert list((new.path / "checkpoints").iterdir()) == []
    events = (new.path / "events.log").read_text()
    assert "the old run was refused" in events
    assert "took over the folder of a run that made no step" in events


@pytest.mark.parametrize("other", ["notes.txt", "stage.json"])
def test_a_folder_with_more_than_such_a_run_is_not_taken_over(tmp_path: Path, other: str) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    (run.path / other).parent.mkdir(exist_ok=True)
    (run.path / other).write_text("{}")
    with pytest.raises(CheckpointError, match=r"already holds a run \(without a checkpoint yet\)"):
        RunFolder.create(run.path, RECIPE)


def test_a_run_at_work_is_not_taken_over_before_its_first_step(tmp_path: Path) -> None:
    path = RunFolder.create(tmp_path / "run", RECIPE).path
    refuse_in_use(path)  # nobody does
    with RunLock(path) as held:
        held.check()
        for attempt in (refuse_in_use, RunLock):
            with pytest.raises(
                CheckpointError, match=rf"another process is training \(process {os.getpid()} on .*Wait"
            ):
                attempt(path)
    with RunLock(path):
        pass


def test_the_lock_of_a_deleted_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that held the folder deletes it between the opening of the file and the lock."""
    take, path = lock._take, tmp_path / "run"

    def late(*args: object) -> None:
        shutil.rmtree(path)
        take(*args)

    with monkeypatch.context() as patched:
        patched.setattr(lock, "_take", late)
        with pytest.raises(CheckpointError, match=r"deleted it at this moment.*Run the command again"):
            RunLock(path)
    with RunLock(path) as held:
        held.check()


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match=r"can't be locked \(No locks available\).*Start no second process"):
        RunLock(tmp_path)
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.warns(UserWarning, match=r"can't be locked \(this system has none\)"):
        RunLock(tmp_path)


def test_a_child_does_not_keep_the_lock_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = """
import os, pathlib, signal, sys, time
from auricle.training.lock import RunLock
lock = RunLock(pathlib.Path(sys.argv[1]))
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(0.5)  # the child has closed its file by then
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.wait()
    try:
        with RunLock(tmp_path) as mine:
            mine.check()
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_deleted_while_it_is_trained_stays_deleted(tmp_path: Path, again: bool) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    with RunLock(run.path) as run.lock:
        run.metrics({"step": 1})
        shutil.rmtree(run.path)
        if again:  # another run took its place
            RunLock(RunFolder.create(run.path, RECIPE).path)
        before = sorted(run.path.rglob("*"))
        for write in (lambda: run.metrics({"step": 2}), lambda: run.log("x"), lambda: run.write("corpus.json", {})):
            with pytest.raises(StorageError, match=r"was deleted, moved or replaced .* Nothing more was written"):
                write()
        assert sorted(run.path.rglob("*")) == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("")
    with pytest.raises(CheckpointError, match="not empty"):
        RunFolder.create(tmp_path, RECIPE)
    with pytest.raises(CheckpointError, match="is a file"):
        RunFolder.create(tmp_path / "thesis.doc", RECIPE)


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"no recipe.json"):
        RunFolder.open(tmp_path)
    run = RunFolder.create(tmp_path / "run", RECIPE)
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        run.checkpoint()
    (run.path / "recipe.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        RunFolder.open(run.path)


def test_what_a_start_killed_at_once_leaves_is_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    (path / "checkpoints").mkdir(parents=True)
    (path / ".recipe.json.123.writing").write_text("{")
    with pytest.raises(CheckpointError, match="start a run in a new folder with auricle pretrain"):
        RunFolder.open(path)
    assert RunFolder.open(RunFolder.create(path, RECIPE).path).recipe == RECIPE
    (path / "recipe.json").unlink()
    (path / "checkpoints" / "step-00000010").mkdir()
    with pytest.raises(CheckpointError, match="not empty"):
        RunFolder.create(path, RECIPE)


def test_a_step_without_checkpoint_lists_those_there_are(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    for step in (10, 20):
        (run.path / "checkpoints" / f"step-{step:08d}").mkdir()
    assert run.checkpoint().name == "step-00000020"
    assert run.checkpoint(10).name == "step-00000010"
    with pytest.raises(CheckpointError, match="it has 10, 20"):
        run.checkpoint(15)


def test_a_changed_recipe_is_refused_by_name_but_not_what_leaves_numbers_alone(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    run.check_recipe(RECIPE | {"train": {"steps": 10, "lr": 0.1, "keep": 5}})
    with pytest.raises(CheckpointError, match=r"train.lr: 0.1 then, 0.2 now"):
        run.check_recipe(RECIPE | {"train": {"steps": 10, "lr": 0.2, "keep": 2}})
    with pytest.raises(CheckpointError, match="betas"):
        run.check_recipe(RECIPE | {"betas": [0.9, 0.95]})


def test_what_differs_in_a_list_of_settings_is_named_alone(tmp_path: Path) -> None:
    terms = [{"kind": "Codes", "target": {"clusters": 5000, "share": 0.1}}, {"kind": "Penalty", "weight": 1.0}]
    run = RunFolder.create(tmp_path / "run", RECIPE | {"objective": {"terms": terms}, "deviations": ["long " * 99]})
    other = [{"kind": "Codes", "target": {"clusters": 50, "share": 0.1}}, {"kind": "Penalty", "weight": 1.0}]
    with pytest.raises(CheckpointError) as refused:
        run.check_recipe(RECIPE | {"objective": {"terms": other}, "deviations": []})
    said = str(refused.value)
    assert "objective.terms.0.target.clusters: 5000 then, 50 now" in said
    assert "share" not in said
    assert "Penalty" not in said
    assert len(said.replace(str(run.path), "")) < 420


def test_metrics_are_whole_lines_and_valid_json(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    run.metrics({"step": 1, "loss": float("nan")})
    run.metrics({"step": 2, "loss": 0.5})
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0], parse_constant=pytest.fail).items() >= {"step": 1, "loss": None}.items()
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert run.rewind(9) == [
        f"the last line of {run.path / 'metrics.jsonl'} was cut off when the run was killed; it was dropped"
    ]
    assert [line["step"] for line in read_metrics(run.path)] == [1, 2]


def test_rewinding_drops_later_and_half_written_lines_and_leftovers(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    for step in range(1, 6):
        run.metrics({"step": step})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6')
    (run.path / "checkpoints" / ".writing-step-00000004").mkdir()
    run.rewind(3)
    run.metrics({"step": 4})
    assert [line["step"] for line in read_metrics(run.path)] == [1, 2, 3, 4]
    assert list((run.path / "checkpoints").iterdir()) == []


def test_every_changed_byte_of_the_journal_and_of_the_records_is_told(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    run.write("corpus.json", {"name": "ü", "clips": 3})
    for step in (1, 2, 3):
        run.metrics({"step": step, "loss": step / 3})
    journal, record, corpus = (run.path / name for name in ("metrics.jsonl", "run.json", "corpus.json"))
    draw = random.Random(0)
    for file in (journal, record, corpus, run.path / "recipe.json"):
        whole = file.read_bytes()
        for _ in range(60):
            place = draw.randrange(len(whole.splitlines(keepends=True)[0]) if file == journal else len(whole))
            changed = bytearray(whole)
            changed[place] = draw.choice([byte for byte in range(256) if byte != whole[place]])
            file.write_bytes(changed)
            if file == journal:
                assert "line 1 of" in run.rewind(3)[0]
                continue
            with pytest.raises(CheckpointError, match=rf"{file.name} is damaged"):
                RunFolder.open(run.path).read(file.name)
        file.write_bytes(whole)
    assert run.read("corpus.json") == {"name": "ü", "clips": 3}
    # What can be repaired is, and it is told; lines that are gone are told, too.
    journal.write_bytes(journal.read_bytes().replace(b'"step": 2', b'"step": 7'))
    first, second = run.rewind(3, 3)
    assert re.search(r"line 2 of .* is damaged \(its content is not what was written\); it was dropped", first)
    assert re.search(r"holds 2 whole lines up to step 3, 3 were written", second)
    assert [line["step"] for line in read_metrics(run.path)] == [1, 3]
    assert run.rewind(3, 2) == []
    journal.unlink()
    assert run.rewind(3, 2) == [f"{journal} is missing: 2 lines were lost"]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE, writes=False)
    run.log("hello")
    run.metrics({"step": 1})
    run.write("corpus.json", {})
    assert not run.path.exists()


def test_events_carry_the_time(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", RECIPE)
    run.log("hello")
    text = (run.path / "events.log").read_text()
    assert text.endswith(" hello\n")
    assert text[:2] == "20"
