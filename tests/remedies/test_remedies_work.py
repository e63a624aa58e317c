"""What an error of the command line advises is done to the letter, and the command then succeeds."""

from __future__ import annotations

import csv
import json
import pkgutil
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.config import flatten
from auricle.results.record import read_results
from auricle.training.run_folder import RunFolder

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
    """Runs `auricle` in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def refused(self, *words: object) -> str:
        self.capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        return " ".join(self.capsys.readouterr().err.split())

    def works(self, *words: object) -> str:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = self.capsys.readouterr()
        assert code == 0, err
        return " ".join(out.split())


@pytest.fixture
def auricle(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "remedy_encoders.py").write_text(ENCODER)
    return Command(capsys)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps on `data` beside it."""
    place = tmp_path_factory.mktemp("finished")
    tones(place / "data")
    assert main(["pretrain", "audiomosaic", "--data", str(place / "data"), "--out", str(place / "run"), *TRAIN]) == 0
    return place


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, with its data beside it."""
    shutil.copytree(finished / "data", tmp_path / "data")
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


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


def pretrain(out: Path | str, data: Path | str = "data", *more: str) -> list[str]:
    return ["pretrain", "audiomosaic", "--data", str(data), "--out", str(out), *TRAIN, *more]


def probe(data: Path, *more: str, task: str = "folder") -> list[str]:
    words = ["probe", "remedy_encoders:Bands", "--task", task, "--data", str(data), "--out", f"out/{data.name}"]
    return [*words, *(QUICK if task == "folder" else QUICK[:3]), *more]


def changed(words: Sequence[str], flag: str, value: str) -> list[str]:
    """The words with another value of a flag."""
    at = words.index(flag)
    return [*words[: at + 1], value, *words[at + 2 :]]


def test_a_run_that_exists_is_continued_or_another_folder_chosen(auricle: Command, run: Path) -> None:
    shutil.rmtree(max((run / "checkpoints").glob("step-*")))
    message = auricle.refused(*pretrain(run))
    assert message.rstrip().endswith("or choose another --out")
    auricle.works(*shlex.split(after(message, "Continue the run (auricle ", r"(.+?)\)")))
    auricle.works(*pretrain(run), "--resume")  # complete by now, which is no mistake
    auricle.works(*pretrain("other"))


def test_a_run_is_continued_with_its_own_settings(auricle: Command, run: Path) -> None:
    message = auricle.refused(*pretrain(run), "--resume", "--train.lr", "0.1")
    assert "now. Resume with the settings of the run" in message
    auricle.works(*shlex.split(after(message, "of the run (auricle ", r"(.+?)\)")))


def test_more_minutes_than_a_finished_run_was_fitted_to_are_another_run(auricle: Command, run: Path) -> None:
    RunFolder.open(run).record(plan=[[1, 3]], minutes=10.0)
    message = auricle.refused("pretrain", "--resume", run, "--train.minutes", "20")
    assert "the 3 steps that fit into train.minutes 10, and its learning rate has come to its end" in message
    auricle.works(*shlex.split(after(message, "Train on in another run: auricle ", "(.*)")))
    longer = RunFolder.open(f"{run}-longer")
    assert flatten(longer.recipe)["train.minutes"] == 20
    assert f"began with the weights of {run}" in (longer.path / "events.log").read_text()


def test_weights_to_begin_with_are_named(auricle: Command, run: Path) -> None:
    words = pretrain("new", "data", "--begin", "previous")
    message = auricle.refused(*words)
    auricle.works(*words, after(message, "there is none; set "), run)
    auricle.works(*changed(changed(words, "--begin", "fresh"), "--out", "fresh"))
    assert message.endswith("or --begin fresh")


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


def test_windows_of_mostly_padding_are_repeated(auricle: Command, run: Path) -> None:
    words = changed(pretrain("new", "data", "--window.short", "pad"), "--window.seconds", "6.4")
    words = changed(words, "--encoder.frames", "640")
    words = changed(words, "--loader.batch", "4")
    advice = "set window.short to repeat"
    auricle.works(*words)
    assert advice in Path("new/events.log").read_text()
    auricle.works(*changed(changed(words, "--window.short", "repeat"), "--out", "repeated"))
    assert advice not in Path("repeated/events.log").read_text()


def test_a_name_with_a_typo_is_replaced_by_the_suggestion(auricle: Command) -> None:
    for verb, wrong in (("recipes", "byol_a"), ("tasks", "foldr")):
        auricle.works(verb, after(auricle.refused(verb, wrong), "did you mean '", r"([^']+)"))
    (right,) = re.findall("did you mean '(.*?)'", auricle.refused("taskz"))
    auricle.works(right)


def test_a_plug_in_that_cant_be_imported_is_left_out(auricle: Command) -> None:
    flag = after(auricle.refused("--plugin", "no_such_plugin", "tasks"), "or leave ", "(--plugin no_such_plugin) out")
    words = shlex.split(f"{flag} tasks")
    auricle.works(*[word for word in words if word not in shlex.split(flag)])


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
        auricle.works("embed", folder, *embed[2:])


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
    message = auricle.capsys.readouterr().err
    auricle.works(*shlex.split(after(message, "are kept", r".*Continue with: auricle (.+)")))
    assert len(made) == 2 * calls + 1
    if verb == "embed":
        assert Path("stopped.csv").read_bytes() == Path("whole.csv").read_bytes()
        return
    whole, stopped = (read_results(Path(name) / "results.jsonl")[0] for name in ("whole", "stopped"))
    assert (stopped.value, stopped.low, stopped.high) == (whole.value, whole.low, whole.high)


def test_a_table_of_other_vectors_is_replaced_or_another_written(auricle: Command, tmp_path: Path) -> None:
    data, other = tones(tmp_path / "data"), tones(tmp_path / "other", 4)
    words = ["embed", "remedy_encoders:Bands", "--out", "v.csv", "--data"]
    auricle.works(*words, data)
    message = auricle.refused(*words, other)
    assert "v.csv holds 12 vectors of the corpus data by the model remedy_encoders:Bands" in message
    auricle.works(*changed(words, "--out", "w.csv"), other)
    auricle.works(*words, other, after(message, "or add "))
    assert Path("v.csv").read_bytes() == Path("w.csv").read_bytes()
