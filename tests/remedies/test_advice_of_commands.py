"""One message of the command line after the other: provoked, its advice read out of it, and followed to the letter."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import QUICK, RATE, TRAIN, TUNE, Command, after, changed, executes, pretrain, probe, table, tones

import auricle as package
from auricle import FinetuneConfig
from auricle.errors import ConfigError
from auricle.training.run_folder import RunFolder

EMBED = ["embed", "remedy_encoders:Bands", "--data", "data", "--out", "v.parquet"]
BANDS = ["probe", "remedy_encoders:Bands", "--task", "folder", "--data", "data", "--out", "out", *QUICK]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tones(tmp_path / "data")


@executes(
    "numbered from 0; set --channel mix",
    "device here; set --device auto or --device cpu",
    "see `auricle corpus scan`",
    "--hop needs --segment: the length",
    "--segment needs --data: the recordings",
    "log-mel and mfcc, or set --no-controls",
)
def test_a_flag_is_set(auricle: Command, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flag = after(auricle.refused(*EMBED, "--channel", "7"), "numbered from 0; set ", "(--channel mix)")
    auricle.works(*EMBED, *flag.split())
    auricle.works(*after(auricle.said[1], "; see `auricle ", "([^`]+)").split(), "data")
    with monkeypatch.context() as without:
        without.setattr("torch.cuda.is_available", lambda: False)
        message = auricle.refused(*EMBED, "--device", "cuda")
    for flag in ("--device auto", "--device cpu"):
        auricle.works(*EMBED, *after(message, "device here; set ", rf".*({flag})").split())
    auricle.works(
        *BANDS, "--hop", "0.3", after(auricle.refused(*BANDS, "--hop", "0.3"), "--hop needs ", r"(\S+):"), "0.3"
    )
    words = changed(BANDS, "--data")
    flag = after(auricle.refused(*words, "--segment", "0.3"), "--segment needs ", r"(\S+):")
    auricle.works(*changed(words, "--out", "segments"), "--segment", "0.3", flag, "data")
    words = [word for word in BANDS if word != "--no-controls"]
    flag = after(auricle.refused(*words, "--controls"), "log-mel and mfcc, or set ", r"(--no-controls)")
    auricle.works(*changed(words, "--out", "alone"), flag)


@executes("read one of them: --channel 0 (or --channel loudest)")
def test_channels_that_cancel_are_read_one_by_one(auricle: Command, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(11200) * 0.1
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data" / "a.wav", np.stack([noise, -noise], 1), RATE)
    message = auricle.refused(*EMBED)
    auricle.works(*EMBED, *after(message, "read one of them: ", r"(--channel \d)").split())
    auricle.works(*EMBED, "--overwrite", *after(message, "(or ", r"(--channel loudest)").split())


@executes(
    "take longer windows (--window.seconds), shorter crops (--augment.crop.seconds), or one crop for all",
    "train.threads is 0; set --train.threads -1",
    "raise one or lower the other",
    "run it without --previous",
    "choose another --out",
    "is a file, not a folder; choose another --out",
    "name the column that holds it: --objective.columns NAME",
    "no recipe is named; expected auricle pretrain RECIPE --data ... --out ...",
    "longer windows (--window.seconds), and exclude shorter clips (--loader.shortest)",
    "or lower --loader.shortest",
    "expected one folder. Leave --out out",
    "Start one with auricle pretrain RECIPE --data FOLDER --out",
)
def test_settings_of_pre_training(auricle: Command, run: Path) -> None:
    """All of it is refused, and accepted, before the first step."""
    cola = ["pretrain", "cola", "--data", "data", "--out", "new"]
    crop = auricle.refused(*cola, "--window.seconds", "0.5")
    seconds, shorter = after(crop, "longer windows (", r"([\w.-]+)"), after(crop, "shorter crops (", r"([\w.-]+)")
    auricle.begins(*cola, seconds, "2")
    auricle.begins(*cola, "--window.seconds", "0.5", shorter, "0.2")
    auricle.begins(*cola, "--window.seconds", "0.5", after(crop, "one crop for all views (", r"([\w.-]+)"))
    flags = after(auricle.refused(*cola, "--train.threads", "0"), "train.threads is 0; set ", r"(\S+ -1)")
    auricle.begins(*cola, *flags.split())
    assert "train.lr is 1e-08, below train.min_lr" in auricle.refused(*cola, "--train.lr", "1e-8")
    auricle.begins(*cola, "--train.lr", "1e-8", "--train.min-lr", "1e-9")
    message = auricle.refused(*cola, "--previous", "run")
    assert after(message, "run it without ", r"(--previous)") == "--previous"
    auricle.begins(*cola)
    for taken in ("data", "remedy_encoders.py"):
        flag = after(auricle.refused(*changed(cola, "--out", taken)), "choose another ")
        auricle.begins(*changed(cola, flag, "another"))
    clap = ["pretrain", "clap", "--data", "data", "--out", "new"]
    assert after(auricle.refused(*clap), "that holds it: ") == "--objective.columns"
    auricle.begins(*clap, "--objective.columns", "label")
    named = after(
        auricle.refused("pretrain", "--data", "data"), "expected auricle ", r"(pretrain RECIPE --data \S+ --out)"
    )
    auricle.begins(*named.replace("RECIPE", "cola").replace("...", "data").split(), "new")
    short = ["pretrain", "wav2vec2", "--data", "data", "--out", "new", "--window.seconds", "0.01"]
    message = auricle.refused(*short)
    assert "exclude shorter clips (--loader.shortest) or repeat them (--window.short repeat)" in message
    auricle.begins(*changed(short, after(message, "longer windows (", r"([\w.-]+)"), "0.5"))
    least = after(auricle.refused(*cola, "--loader.shortest", "2"), "or lower ")
    auricle.begins(*cola, least, "0.5")
    auricle.refused("pretrain", "--resume", "run", "--out", "other")
    auricle.works("pretrain", "--resume", "run")
    start = after(auricle.refused("pretrain", "--resume", "nowhere"), "Start one with auricle ", "(.*)")
    auricle.begins(*start.replace("RECIPE", "cola").replace("FOLDER", "data").split())


@executes(
    "start one with auricle pretrain RECIPE --data FOLDER --out",
    "start a run in a new folder with auricle pretrain RECIPE --data FOLDER --out RUN",
)
def test_a_run_is_started_where_there_is_none(auricle: Command, data: Path) -> None:
    for model, word in (("nothing", "start one with auricle "), ("data", "in a new folder with auricle ")):
        start = after(auricle.refused(*["embed", model, *EMBED[2:]]), word, "(.*)")
        words = start.replace("RECIPE", "audiomosaic").replace("FOLDER", "data").replace("RUN", "run").split()
        auricle.works(*words, *TRAIN)
        auricle.works(*["embed", words[-1], *EMBED[2:]])


@executes("nothing can be compared; raise --loader.batch", "start again in another --out with", "set more --train.")
def test_notes_of_a_training(auricle: Command, data: Path) -> None:
    words = changed(pretrain("one"), "--loader.batch", "1")
    flag = after(auricle.refused(*words), "can be compared; raise ")
    auricle.works(*changed(changed(words, flag, "2"), "--out", "two"))
    words = changed(pretrain("cold"), "--train.warmup-steps", "300")
    auricle.works(*words)
    note = auricle.read("cold/events.log").replace("\n", " ")
    steps = after(note, "set more ", r"(--train\.steps)")
    warm = after(note, "start again in another --out with ", r"(--train\.warmup-steps \d+)").split()
    auricle.works(*changed(changed(words, *warm), "--out", "warm"))
    auricle.works(*changed(changed(changed(words, "--train.warmup-steps", "4"), steps, "6"), "--out", "longer"))
    words = pretrain("held", "data", "--train.hold-steps", "2")
    auricle.works(*words)
    note = auricle.read("held/events.log").replace("\n", " ")
    assert "before its learning rate falls" in note
    hold = after(note, "start again in another --out with ", r"(--train\.hold-steps \d+)").split()
    auricle.works(*changed(changed(words, *hold), "--out", "fall"))
    auricle.works(*changed(changed(words, after(note, "set more ", r"(--train\.steps)"), "6"), "--out", "more"))
    assert all("falls" not in Path(out, "events.log").read_text() for out in ("fall", "more"))
    assert all("inside its warm-up" not in Path(out, "events.log").read_text() for out in ("warm", "longer"))


@executes("--plugin names no module; expected --plugin my_module")
def test_a_plug_in_is_named(auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = after(auricle.refused("tasks", "--plugin"), "expected ", "(.*)").split()
    (tmp_path / "my_module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    auricle.works("tasks", *words)


@executes("holds no settings by name; expected for example `seeds: 3`")
def test_a_file_of_settings_has_names(auricle: Command, data: Path) -> None:
    Path("mine.yaml").write_text("- 3\n")
    words = [*changed(BANDS, "--seeds"), "--config", "mine.yaml"]
    Path("mine.yaml").write_text(after(auricle.refused(*words), "for example `", "([^`]+)"))
    auricle.works(*words)


@executes("name it with --task instead of --suite", "expected either --task or --suite")
def test_one_task_or_a_suite(auricle: Command, data: Path) -> None:
    suite = ["probe", "remedy_encoders:Bands", "--suite", "hear", "--data", "data", "--out", "out", *QUICK]
    auricle.refused(*suite, "--segment", "0.3")
    auricle.works(*[{"--suite": "--task", "hear": "folder"}.get(word, word) for word in suite], "--segment", "0.3")
    pattern = after(auricle.refused("probe", "remedy_encoders:Bands"), "expected either ", r"(--task)")
    auricle.works("probe", "remedy_encoders:Bands", pattern, "folder", "--data", "data", "--out", "either", *QUICK)


@executes(
    "no run folder is named; expected auricle report RUN",
    "expected a number between 0 and 1: set --confidence 0.95",
    "; write --compare ",
    "`auricle probe` writes them: run it first",
    "name a folder that `auricle pretrain`, `auricle probe` or `auricle finetune` wrote",
    "expected what `auricle pretrain --out` wrote",
)
def test_results_and_reports(auricle: Command, data: Path) -> None:
    Path("out").mkdir()
    auricle.refused("results", "out")
    auricle.refused("report", "out")
    auricle.refused("report", "nothing")
    auricle.works(*changed(BANDS, "--probes", "knn", "centroid"))
    verb = after(auricle.refused("report"), "expected auricle ")
    auricle.works(verb, "out")
    flag = after(auricle.refused("results", "out", "--confidence", "95"), "set ", r"(--confidence [\d.]+)")
    auricle.works("results", "out", *flag.split())
    message = auricle.refused("results", "out", "--compare", "knn")
    auricle.works("results", "out", *shlex.split(after(message, "; write ", "(--compare .*)")))


@executes("name it as module:Class, or set --no-save (Python: save=False)")
def test_an_encoder_in_memory_is_fine_tuned(auricle: Command, data: Path, tmp_path: Path) -> None:
    model = package.load("remedy_encoders:Bands")
    model.encoder.name = "bands"
    how = {"task": "folder", "data": data, "out": tmp_path / "tuned", "controls": False, "progress": False}
    how |= {"config": FinetuneConfig(mode="head", epochs=1)}
    with pytest.raises(ConfigError) as refused:
        package.finetune(model, **how)
    auricle.said.append(str(refused.value))
    assert package.finetune(model, save=False, **how)
    auricle.works("finetune", "remedy_encoders:Bands", "--task", "folder", "--data", "data", "--mode", "head", *TUNE)


@executes(
    "has no weights to fine-tune; set --mode head",
    ": choose one with --task (`auricle tasks`",
)
def test_a_frozen_model_of_your_own_is_fine_tuned(auricle: Command, data: Path) -> None:
    words = ["finetune", "remedy_encoders:Bands", "--task", "folder", "--data", "data", "--out", "tuned", *TUNE]
    mode = after(auricle.refused(*words), "no weights to fine-tune; set ", "(--mode head)")
    auricle.refused(*changed([*words, *mode.split()], "--task", "folder_events"))
    auricle.works(*words, *mode.split())


@executes(
    "Set --on-leak drop to evaluate without them, or --on-leak warn",
)
def test_copies_in_the_test_part(auricle: Command, tmp_path: Path) -> None:
    columns = {"label": ["high", "low"] * 6, "split": ["train"] * 8 + ["test"] * 4}
    data = tones(tmp_path / "data", columns=columns)
    for i in range(12):  # unlike clips, but for one copy
        noise = np.random.default_rng(i % 8 if i == 8 else i).standard_normal(11200)
        soundfile.write(data / f"{i:02d}.wav", 0.1 * np.convolve(noise, np.ones(1 + 3 * (i % 2)), "same"), RATE)
    message = auricle.refused(*probe(data), "--on-leak", "refuse")
    drop, warn = after(message, "Set ", "(--on-leak drop)"), after(message, "without them, or ", "(--on-leak warn)")
    auricle.works(*probe(data), *drop.split())
    auricle.works(*changed(probe(data), "--out", "warned"), *warn.split())


@executes(
    "name another one with --rule.identity",
    "names no test clips; set --rule.part all",
    "name the column of transcripts with --label",
    "set --complete-annotation if they have none",
    "name another one with --label",
    "leave --time-expansion out",
)
def test_columns_and_rules_of_tasks(auricle: Command, tmp_path: Path) -> None:
    columns = {"speaker": [f"s{i % 3}" for i in range(12)], "text": ["ab", "ba"] * 6, "label": ["high", "low"] * 6}
    data = tones(tmp_path / "data", columns=columns)
    words = [*probe(data, task="folder_few_shot"), "--rule.part", "test"]
    flags = after(auricle.refused(*words), "names no test clips; set ", r"(--rule\.part all)").split()
    small = ["--rule.episodes", "3", "--rule.ways", "2", "--rule.shots", "1", "--rule.queries", "1"]
    auricle.works(*changed(words, *flags), *small)
    words = probe(data, "--search.epochs", "1", task="folder_sequence")
    flag = after(auricle.refused(*words), "column of transcripts with ")
    auricle.works(*words, flag, "text")
    trials = [(f"{i:02d}.wav", f"{j:02d}.wav", int(i % 3 == j % 3)) for i in range(4) for j in range(4, 8)]
    with (data / "trials.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("enroll", "test", "target"), *trials])
    words = probe(data, "--rule.identity", "person", task="folder_verification")
    flag = after(auricle.refused(*words), "name another one with ")
    auricle.works(*changed(words, flag, "speaker"))
    rows = {"file": [f"{i:02d}.wav" for i in range(11)], "onset": [0.1] * 11, "offset": [0.4] * 11}
    table(data / "events.csv", {**rows, "label": ["a"] * 11, "sound": (["high", "low"] * 6)[:11]})
    words = probe(data, "--search.epochs", "2", "--search.lr-count", "2", task="folder_events")
    flag = after(auricle.refused(*words, "--label", "species"), "name another one with ", r"(--label)")
    auricle.works(*words, flag, "sound")
    said = auricle.said[-1] + auricle.said[-2]
    complete = after(said, "were excluded; set ", r"(--complete-annotation)")
    auricle.works(*changed([*words, flag, "sound"], "--out", "complete"), complete)
    auricle.refused(*words, flag, "sound", "--time-expansion", "2")


@executes("which begins at step 0 here", "expected the same. Leave --", "set the same --data (and")
def test_a_run_that_is_continued(auricle: Command, run: Path, tmp_path: Path) -> None:
    message = auricle.refused(*pretrain(run), "--resume", "--channel", "loudest")
    auricle.works(*shlex.split(after(message, "Leave --channel to the run (auricle ", r"(.+?)\)")))
    other = tones(tmp_path / "other", 10)
    message = auricle.refused("pretrain", "--resume", run, "--data", other)
    auricle.works("pretrain", "--resume", run, after(message, "set the same "), "data")
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    message = auricle.refused("embed", run, *EMBED[2:])
    auricle.works(*shlex.split(after(message, "continue the run (auricle ", r"(.+?)\)")))
    auricle.works("embed", run, *EMBED[2:])


@executes("auricle 0.2 began it. Add --data: ")
def test_a_run_that_python_began_is_told_its_data(auricle: Command, run: Path) -> None:
    RunFolder.open(run).record(data=None)
    message = auricle.refused("pretrain", "--resume", run)
    auricle.works(*shlex.split(after(message, "Add --data: auricle ", r"(.+?),").replace("FOLDER", "data")))


@executes("set loader.sampling to clip")
def test_one_long_recording(auricle: Command, data: Path) -> None:
    soundfile.write(data / "high" / "long.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE * 60), RATE)
    words = changed(pretrain("new"), "--loader.sampling", "duration")
    auricle.works(*words)
    assert "set loader.sampling to clip" in auricle.read("new/events.log")
    auricle.works(*changed(changed(words, "--loader.sampling", "clip"), "--out", "clip"))
    assert "loader.sampling" not in Path("clip/events.log").read_text()
    assert json.loads(Path("clip/recipe.json").read_text())["loader"]["sampling"] == "clip"


@executes("or a folder; set --out")
def test_the_table_of_a_scan_is_parquet(auricle: Command, data: Path) -> None:
    words = ["corpus", "scan", "data"]
    auricle.works(
        *words, *after(auricle.refused(*words, "--out", "t.csv"), "or a folder; set ", r"(--out \S+)").split()
    )
    assert Path("t.parquet").exists()
