"""What an error of the command line advises is done to the letter, and the command then succeeds."""

from __future__ import annotations

import json
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from remedy_tools import QUICK, TUNE, Command, after, changed, executes, pretrain, probe, table, tones

from auricle.cli import main
from auricle.config import flatten
from auricle.corpus.order import LoaderConfig, make_plan
from auricle.corpus.windows import WindowConfig
from auricle.errors import ConfigError
from auricle.results.record import read_results
from auricle.training.run_folder import RunFolder


@executes("expected a new folder. Continue the run (")
def test_a_run_that_exists_is_continued_or_another_folder_chosen(auricle: Command, run: Path) -> None:
    shutil.rmtree(max((run / "checkpoints").glob("step-*")))
    message = auricle.refused(*pretrain(run))
    assert message.rstrip().endswith("or choose another --out")
    auricle.works(*shlex.split(after(message, "Continue the run (auricle ", r"(.+?)\)")))
    auricle.works(*pretrain(run), "--resume")  # complete by now, which is no mistake
    auricle.works(*pretrain("other"))


@executes("Resume with the settings of the run (")
def test_a_run_is_continued_with_its_own_settings(auricle: Command, run: Path) -> None:
    message = auricle.refused(*pretrain(run), "--resume", "--train.lr", "0.1")
    assert "now. Resume with the settings of the run" in message
    auricle.works(*shlex.split(after(message, "of the run (auricle ", r"(.+?)\)")))


@executes("Train on in another run: ")
def test_more_minutes_than_a_finished_run_was_fitted_to_are_another_run(auricle: Command, run: Path) -> None:
    RunFolder.open(run).record(plan=[[1, 3]], minutes=10.0)
    message = auricle.refused("pretrain", "--resume", run, "--train.minutes", "20")
    assert "the 3 steps that fit into train.minutes 10, and its learning rate has come to its end" in message
    auricle.works(*shlex.split(after(message, "Train on in another run: auricle ", "(.*)")))
    longer = RunFolder.open(f"{run}-longer")
    assert flatten(longer.recipe)["train.minutes"] == 20
    assert f"began with the weights of {run}" in (longer.path / "events.log").read_text()


@executes("set --previous to its run folder, or --begin fresh")
def test_weights_to_begin_with_are_named(auricle: Command, run: Path) -> None:
    words = pretrain("new", "data", "--begin", "previous")
    message = auricle.refused(*words)
    auricle.works(*words, after(message, "there is none; set "), run)
    auricle.works(*changed(changed(words, "--begin", "fresh"), "--out", "fresh"))
    assert message.endswith("or --begin fresh")


@executes("Set --begin fresh, or --previous to a run of the same encoder")
def test_weights_of_another_encoder_are_refused_at_once(auricle: Command, run: Path) -> None:
    auricle.works(*changed(pretrain("wide"), "--encoder.width", "96"))
    words = pretrain("new", "data", "--begin", "previous", "--previous", "wide")
    message = auricle.refused(*words)
    assert "whose encoder is another" in message
    auricle.works(*changed(words, "--previous", str(run)))
    fresh = after(message, "Set ", r"(--begin \w+)").split()
    words = changed(changed(words, *fresh), "--out", "fresh")
    auricle.works(*words[: words.index("--previous")])


def test_a_damaged_checkpoint_is_deleted_and_the_run_continued(auricle: Command, run: Path) -> None:
    weights = max((run / "checkpoints").glob("step-*")) / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    message = auricle.refused("embed", run, "--data", "data", "--out", "v.parquet")
    shutil.rmtree(after(message, "delete the folder "))
    auricle.works(*pretrain(run), "--resume")
    auricle.works("embed", run, "--data", "data", "--out", "v.parquet")


def test_a_setting_out_of_range_is_named_as_its_flag(auricle: Command, run: Path) -> None:
    words = pretrain("new", "data", "--train.log-every", "0")
    message = auricle.refused(*words)
    assert "auricle: train.log_every is 0; expected a whole number of at least 1" in message
    auricle.works(*changed(words, "--train.log-every", "1"))


@executes("to train with so few all the same")
def test_a_batch_larger_than_the_corpus_is_lowered(auricle: Command, run: Path) -> None:
    """The run says so once, and keeps the lowered batch when it is continued."""
    words = changed(pretrain("new"), "--loader.batch", "64")
    auricle.works(*words)
    assert json.loads(Path("new/recipe.json").read_text())["loader"]["batch"] == 12
    shutil.rmtree(max(Path("new/checkpoints").glob("step-*")))
    auricle.works("pretrain", "--resume", "new")
    assert Path("new/events.log").read_text().count("--loader.batch is lowered to 12") == 1
    words = changed(changed(words, "--data", str(tones(Path("few"), 4))), "--out", "fewer")
    flag = after(auricle.refused(*words), "Add recordings, or set ", r"(--loader\.batch \d+)").split()
    auricle.works(*changed(words, *flag))
    tones(Path("few"), 8)
    auricle.works(*changed(words, "--out", "more"))


@executes("set window.short to repeat")
def test_windows_of_mostly_padding_are_repeated(auricle: Command, run: Path) -> None:
    words = changed(pretrain("new", "data", "--window.short", "pad"), "--window.seconds", "6.4")
    words = changed(words, "--encoder.frames", "640")
    words = changed(words, "--loader.batch", "4")
    advice = "set window.short to repeat"
    auricle.works(*words)
    assert advice in auricle.read("new/events.log")
    auricle.works(*changed(changed(words, "--window.short", "repeat"), "--out", "repeated"))
    assert advice not in Path("repeated/events.log").read_text()


def test_a_name_with_a_typo_is_replaced_by_the_suggestion(auricle: Command) -> None:
    for verb, wrong in (("recipes", "byol_a"), ("tasks", "foldr")):
        auricle.works(verb, after(auricle.refused(verb, wrong), "did you mean '", r"([^']+)"))
    (right,) = re.findall("did you mean '(.*?)'", auricle.refused("taskz"))
    auricle.works(right)


@executes("fix it, or uninstall it or leave --plugin ")
def test_a_plug_in_that_cant_be_imported_is_left_out(auricle: Command) -> None:
    flag = after(auricle.refused("--plugin", "no_such_plugin", "tasks"), "or leave ", "(--plugin no_such_plugin) out")
    words = shlex.split(f"{flag} tasks")
    auricle.works(*[word for word in words if word not in shlex.split(flag)])


@executes("needs its audio: set --data to the folder of")
def test_data_of_a_task_is_named(auricle: Command, tmp_path: Path) -> None:
    words = ["probe", "remedy_encoders:Bands", "--task", "folder", "--out", "out", *QUICK]
    flag = after(auricle.refused(*words), "set ", r"(--data) to the folder")
    auricle.works(*words, flag, tones(tmp_path / "data"))


def test_few_sources_are_put_into_named_folds(auricle: Command, tmp_path: Path) -> None:
    columns = {"label": ["high", "low"] * 6, "source": [f"s{i // 4}" for i in range(12)]}
    data = tones(tmp_path / "data", columns=columns)
    message = auricle.refused(*probe(data))
    column = after(message, "name fewer folds in a column ", "`([a-z]+)`")
    tones(data, columns={**columns, column: [i // 4 + 1 for i in range(12)]})
    auricle.works(*probe(data))


def test_few_clips_are_put_into_named_folds(auricle: Command, tmp_path: Path) -> None:
    columns = {"label": ["high", "low"] * 2}
    data = tones(tmp_path / "data", 4, columns)
    column = after(auricle.refused(*probe(data)), "name fewer folds in a column ", "`([a-z]+)`")
    tones(data, 4, {**columns, column: [1, 1, 2, 2]})
    auricle.works(*probe(data), "--probes", "centroid")


@executes("reads: name another one with --label", "name another with --label")
def test_the_column_of_a_task_is_named(auricle: Command, tmp_path: Path) -> None:
    data = tones(tmp_path / "data", columns={"species": ["high", "low"] * 6})
    flag = after(auricle.refused(*probe(data), "--label", "genus"), "name another one with ")
    auricle.works(*probe(data), flag, "species")
    data = tones(tmp_path / "numbers", columns={"value": ["x"] * 12, "height": range(12)})
    flag = after(auricle.refused(*probe(data, task="folder_regression")), "name another with ")
    auricle.works(*probe(data, flag, "height", task="folder_regression"))


def test_recordings_without_events_get_a_table(auricle: Command, tmp_path: Path) -> None:
    data = tones(tmp_path / "data", columns={"label": ["high", "low"] * 6})
    words = probe(data, "--search.epochs", "2", "--search.lr-count", "2", task="folder_events")
    message = auricle.refused(*words)
    name, columns = re.search(r"put an (\S+) with the columns (\S+) beside its recordings", message).groups()  # type: ignore[union-attr]
    rows = {"file": [f"{i:02d}.wav" for i in range(12)], "onset": [0.1] * 12, "offset": [0.4] * 12}
    rows["label"] = ["high", "low"] * 6
    table(data / name, {column: rows[column] for column in columns.split(",")})
    auricle.works(*words)


@executes("lower --rule.ways, --rule.shots or --rule.queries, or add clips")
def test_episodes_are_made_smaller(auricle: Command, tmp_path: Path) -> None:
    data = tones(tmp_path / "data")
    words = [*probe(data, task="folder_few_shot"), "--rule.episodes", "10"]
    message = auricle.refused(*words)
    flags = re.findall(r"--rule\.[a-z]+", message)
    assert flags == ["--rule.ways", "--rule.shots", "--rule.queries"]
    small = dict(zip(flags, "212", strict=True))
    auricle.works(*words, *(word for pair in small.items() for word in pair))


def test_embeddings_get_an_ending_that_decides_their_format(auricle: Command, tmp_path: Path) -> None:
    words = ["embed", "remedy_encoders:Bands", "--data", str(tones(tmp_path / "data")), "--out"]
    auricle.works(*words, after(auricle.refused(*words, "vectors"), "decides the format: "))


def test_fine_tuned_models_are_named(auricle: Command, run: Path) -> None:
    """After a second fine-tuning OUT/finetuned holds two models; the message lists folders that open."""
    words = ["finetune", run, "--task", "folder", "--data", "data", "--out", "tuned", *TUNE]
    auricle.works(*words, "--mode", "head")
    embed = ["embed", "tuned/finetuned", "--data", "data", "--out", "v.parquet"]
    auricle.works(*embed)
    auricle.works(*words, "--mode", "last_n", "--last-n", "1")
    for folder in after(auricle.refused(*embed), "name one of them: ", "(.*)").split(", "):
        auricle.works("embed", folder, *embed[2:], "--overwrite")


@executes("lower --last-n, or set --mode full")
def test_blocks_that_an_encoder_does_not_have_are_not_asked_for(auricle: Command, run: Path) -> None:
    words = ["finetune", run, "--task", "folder", "--data", "data", "--out", "tuned", *TUNE]
    message = auricle.refused(*words, "--mode", "last_n", "--last-n", "9")
    assert message.endswith("lower --last-n, or set --mode full")
    auricle.works(*words, "--mode", "last_n", "--last-n", "2")
    auricle.works(*words, "--mode", "full")


def test_a_skipped_recording_is_named_once(auricle: Command, tmp_path: Path) -> None:
    data = tones(tmp_path / "data")
    (data / "broken.wav").touch()
    message = auricle.works("corpus", "scan", data)
    assert "│ broken.wav │ empty (0 bytes); expected a recording; copy it again from its source │" in message


@pytest.mark.parametrize(
    ("verb", "worker", "calls"),
    [
        ("embed", "auricle.encoders.frozen.FrozenEncoder.encode", 3),
        ("probe", "auricle.tasks.clips.run.fit_fold", 5),
        ("finetune", "auricle.finetuning.fold.FoldTuning.run", 5),
    ],
)
def test_an_interrupted_command_is_continued(
    auricle: Command, run: Path, monkeypatch: pytest.MonkeyPatch, verb: str, worker: str, calls: int
) -> None:
    """Ctrl-C in the second part of the work; the command that is printed does the other parts, to the same end."""
    made: list[object] = []
    work = pkgutil.resolve_name(worker)

    def stopping(*args: object, **settings: object) -> object:
        made.append(None)
        if len(made) == calls + 2:
            raise KeyboardInterrupt
        return work(*args, **settings)

    monkeypatch.setattr(worker, stopping)
    monkeypatch.setattr("auricle.tokens.embeddings._COMMIT_SECONDS", 0.0)
    words = {
        "embed": ["embed", run, "--data", "data", "--batch", "4", "--out", "{}.csv"],
        "probe": ["probe", run, "--task", "folder", "--data", "data", *QUICK, "--out", "{}"],
        "finetune": ["finetune", run, "--task", "folder", "--data", "data", *TUNE, "--mode", "head", "--out", "{}"],
    }[verb]
    auricle.works(*(str(word).format("whole") for word in words))
    assert len(made) == calls
    assert main([str(word).format("stopped") for word in words]) == 130
    auricle.works(*shlex.split(after(auricle.capsys.readouterr().err, "are kept", r".*Continue with: auricle (.+)")))
    assert len(made) == 2 * calls + 1
    if verb == "embed":
        assert Path("stopped.csv").read_bytes() == Path("whole.csv").read_bytes()
        return
    whole, stopped = (read_results(Path(name) / "results.jsonl")[0] for name in ("whole", "stopped"))
    assert (stopped.value, stopped.low, stopped.high) == (whole.value, whole.low, whole.high)


@executes("Choose another --out, or add --overwrite to replace the file")
def test_a_table_of_other_vectors_is_replaced_or_another_written(auricle: Command, tmp_path: Path) -> None:
    data, other = tones(tmp_path / "data"), tones(tmp_path / "other", 4)
    words = ["embed", "remedy_encoders:Bands", "--out", "v.csv", "--data"]
    auricle.works(*words, data)
    message = auricle.refused(*words, other)
    auricle.works(*changed(words, "--out", "w.csv"), other)
    auricle.works(*words, other, after(message, "or add "))
    assert Path("v.csv").read_bytes() == Path("w.csv").read_bytes()


@executes("ranks can't share evenly; set --loader.batch")
def test_ranks_share_a_batch(auricle: Command) -> None:
    with pytest.raises(ConfigError) as raised:
        make_plan(np.ones(30), WindowConfig(), LoaderConfig(batch=8), 3)
    auricle.said.append(str(raised.value))
    batch = int(after(str(raised.value), "set --loader.batch ", r"(\d+)"))
    assert make_plan(np.ones(30), WindowConfig(), LoaderConfig(batch=batch), 3).steps == 5
