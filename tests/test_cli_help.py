"""`--help` of every verb, the flags that all verbs share, and mistakes in settings."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from toy_pretraining import write_corpus

import auricle
from auricle.cli import VERBS, main
from auricle.devices import autocast_dtype, find_precision
from auricle.evaluation.driver import EvaluationConfig
from auricle.finetuning.config import FinetuneConfig
from auricle.finetuning.run import finetune_encoder
from auricle.tasks.events.rule import EventsRule
from auricle.training.train_config import TrainConfig

# Verb -> words up to `--help`. Verbs that compute take --device and --precision.
COMPUTES = {
    "pretrain": ["pretrain", "cola"],
    "embed": ["embed"],
    "index": ["index"],
    "probe": ["probe", "--task", "folder"],
    "finetune": ["finetune"],
    "zero-shot": ["zero-shot"],
    "text-retrieval": ["text-retrieval"],
    "check": ["check", "recipe"],
    "check encoder": ["check", "encoder"],
    "check objective": ["check", "objective"],
    "matrix": ["matrix"],
    "fit": ["fit", "runs/mine"],
    "demo": ["demo"],
    "study": ["study"],
}
# What a library was made with is not chosen again: its precision is the library's.
SEARCHES = {"search": ["search"]}
READS = {
    "corpus": ["corpus", "scan"],
    "data": ["data", "list"],
    "data download": ["data", "download"],
    "results": ["results"],
    "report": ["report"],
    "label": ["label"],
    "recipes": ["recipes"],
    "tasks": ["tasks"],
}
ENCODER = """
class Level:
    rate, width = 8000, 1
    def __call__(self, wave):
        return wave.std(1, keepdim=True)
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("clips") / "clips", clips=8)


@pytest.fixture
def level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "level_of_clips.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "level_of_clips:Level"
    sys.modules.pop("level_of_clips", None)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Shows the help of a command on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(words: list[str]) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 0
        return capsys.readouterr().out

    return show


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must be refused, and return its message on one line."""
    capsys.readouterr()
    try:
        code = main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    assert code == 2
    return one_line(capsys.readouterr().err)


def one_line(page: str) -> str:
    return re.sub(r"[│╭╮╰╯─\s]+", " ", page)


def test_every_verb_is_known_to_compute_or_not() -> None:
    assert {words[0] for words in (*COMPUTES.values(), *SEARCHES.values(), *READS.values())} == set(VERBS)


@pytest.mark.parametrize("verb", sorted(COMPUTES))
def test_a_verb_that_computes_takes_device_and_precision(verb: str, shown: Any) -> None:
    page = shown([*COMPUTES[verb], "--help"])
    assert "--device {auto,cpu,cuda,mps}" in page
    assert "--precision {auto,fp32,bf16}" in page


@pytest.mark.parametrize("verb", sorted(SEARCHES))
def test_a_verb_that_searches_takes_a_device_alone(verb: str, shown: Any) -> None:
    page = shown([*SEARCHES[verb], "--help"])
    assert "--device {auto,cpu,cuda,mps}" in page
    assert "--precision" not in page


@pytest.mark.parametrize("verb", sorted(READS))
def test_a_verb_that_only_reads_does_not(verb: str, shown: Any) -> None:
    page = shown([*READS[verb], "--help"])
    assert "--device" not in page
    assert "--config" in page


@pytest.mark.parametrize(
    "words",
    [*COMPUTES.values(), *SEARCHES.values(), *READS.values(), ["pretrain", "beats"], ["pretrain", "clap"]],
    ids=" ".join,
)
def test_help_has_the_usual_syntax_and_the_width_of_the_terminal(words: list[str], shown: Any) -> None:
    page = shown([*words, "--help-all"])
    for odd in ("{None}", "[[", "(default: None)", "(default: )", "(default: '')", " STR [STR"):
        assert odd not in page
    assert max(map(len, page.split("usage:")[0].splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "hidden"), [("pretrain cola", "--frontend.mels"), ("probe --task esc10", "--search.epochs")]
)
def test_short_help_shows_what_matters_and_names_the_rest(words: str, hidden: str, shown: Any) -> None:
    page = shown([*words.split(), "--help"])
    options = re.findall(r"^│ (--[\w.-]+)", page, re.MULTILINE)
    assert len(options) <= 26
    assert hidden not in page
    assert re.search(r"--\w+\.\w+ (FLOAT|INT)", page) or "pretrain" not in words
    named = re.search(r"`auricle ([^`]+--help-all)` shows all settings\.\n$", page)
    assert named
    whole = shown(shlex.split(named[1]))
    assert hidden in whole
    assert set(options) - {"--rule"} <= set(re.findall(r"^│ (--[\w.-]+)", whole, re.MULTILINE)) | {"--label"}


def test_cuda_is_refused_in_words_where_there_is_none(
    clips: Path, level: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    out = str(tmp_path / "out")
    data = ["--data", str(clips), "--out", out]
    for words in (
        ["pretrain", "cola", *data],
        ["embed", level, *data[:-1], f"{out}.parquet"],
        ["index", level, *data, "--out", out],
        ["probe", level, "--task", "folder", *data],
        ["finetune", level, "--task", "folder", *data],
        ["check", "encoder", level],
        ["check", "objective", "apc"],
        ["check", "recipe", "apc"],
        ["matrix", "apc"],
        ["demo", "--out", out],
    ):
        assert "torch finds no cuda device here; set --device auto" in said(capsys, *words, "--device", "cuda"), words
        assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (["embed", "m:E", "--data", "d", "--out", "o.parquet"], "auricle.models.embedding.embed"),
        (["index", "m:E", "--data", "d", "--out", "o"], "auricle.answers.indexing.index"),
        (["probe", "m:E", "--task", "esc10", "--data", "d"], "auricle.evaluation.probing.probe"),
        (["finetune", "m:E", "--task", "esc10", "--data", "d"], "auricle.finetuning.run.finetune"),
        (["zero-shot", "r", "--data", "d"], "auricle.evaluation.audio_text.run.zero_shot"),
        (["text-retrieval", "r", "--data", "d"], "auricle.evaluation.audio_text.run.text_retrieval"),
        (["check", "encoder", "m:E"], "auricle.encoders.checking.check_encoder"),
        (["check", "objective", "apc"], "auricle.recipes.checking.check_objective"),
        (["check", "recipe", "apc"], "auricle.recipes.checking.check_recipe"),
        (["matrix", "apc"], "auricle.recipes.matrix.try_pair"),
        (["demo"], "auricle.demo.demo"),
        (["pretrain", "cola", "--data", "d", "--out", "o"], "auricle.recipes.pretraining.pretrain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_device_and_precision_reach_the_function(
    words: list[str], function: str, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(clips) if word == "d" else word for word in words]
    given: dict[str, Any] = {}

    def record(*args: Any, **settings: Any) -> None:
        config = settings.get("config")
        settings |= {name: getattr(config, name) for name in ("device", "precision") if hasattr(config, name)}
        if function.endswith("pretraining.pretrain"):
            settings |= {"device": args[0].train.device, "precision": args[0].train.precision}
        given.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(function, record)
    assert main([*words, "--device", "cpu", "--precision", "bf16"]) == 130
    assert (given["device"], given["precision"]) == ("cpu", "bf16")


# What verb and function share; a function holds some of it in its settings or in the task's card.
SHARED = {"device", "precision", "channel", "time_expansion", "seeds", "controls", "on_leak", "complete_annotation"}


@pytest.mark.parametrize(
    ("words", "name", "inside"),
    [
        (["corpus", "scan"], "scan", ()),
        (["embed"], "embed", ()),
        (["index"], "index", ()),
        (["search"], "search", ()),
        (["probe", "--task", "desed"], "probe", (EvaluationConfig, EventsRule)),
        (["probe", "--task", "esc10"], "probe", (EvaluationConfig,)),
        (["probe", "--suite", "hear"], "run_suite", (EvaluationConfig,)),
        (["finetune", "--task", "esc10"], "finetune", (finetune_encoder, FinetuneConfig)),
        (["zero-shot"], "zero_shot", ()),
        (["text-retrieval"], "text_retrieval", ()),
        (["pretrain", "cola"], "pretrain", (TrainConfig,)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_verbs_and_functions_take_the_same(words: list[str], name: str, inside: tuple[Any, ...], shown: Any) -> None:
    flags = re.findall(r"--(?:no-)?([\w-]+)", shown([*words, "--help"]))
    taken = {key for one in (getattr(auricle, name), *inside) for key in inspect.signature(one).parameters}
    assert SHARED & {flag.replace("-", "_") for flag in flags} == SHARED & taken


def test_auto_is_one_precision_in_training_and_in_evaluation(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    cpu = torch.device("cpu")
    for has, found in ((True, ("bf16", torch.bfloat16)), (False, ("fp32", None))):
        monkeypatch.setattr("auricle.devices.processor_has_bf16", lambda has=has: has)
        assert (find_precision("auto", cpu), autocast_dtype("auto", cpu)) == found
    verbs = ("embed", "probe", "zero-shot", "check encoder", "matrix", "check recipe", "finetune --task folder")
    for words in (*verbs, "pretrain cola"):
        assert "`auto`: bf16 where the GPU or the processor computes in it" in one_line(
            shown([*words.split(), "--help"])
        )


def test_steps_and_encoders_are_checked_in_bfloat16(level: str) -> None:
    from auricle.encoders.checking import check_encoder, faults
    from auricle.recipes import get_recipe
    from auricle.recipes.checking import check_recipe
    from auricle.recipes.families import families
    from auricle.recipes.matrix import pair, try_pair

    family = families()["frame-gru"]
    full, half = (try_pair(get_recipe("apc"), family, precision=precision) for precision in ("fp32", "bf16"))
    assert full.outcome == half.outcome == "trains"
    assert full.loss != half.loss
    assert np.isclose(full.loss, half.loss, rtol=0.05)
    assert not faults(check_recipe(pair(get_recipe("apc"), family), precision="bf16"))
    assert not faults(check_encoder(level, precision="bf16"))


@pytest.mark.parametrize(
    ("verb", "settings", "message"),
    [
        (["embed", "m:E"], {"batch": "many"}, "batch is 'many'; expected a whole number"),
        (["embed", "m:E"], {"segment": "long"}, "segment is 'long'; expected a number"),
        (["embed", "m:E"], {"device": "gpu"}, "device is 'gpu'; expected 'auto', 'cpu', 'cuda' or 'mps'"),
        (["embed", "m:E"], {"bacth": 3}, "the setting bacth, and `auricle embed` has none of that name; did you mean"),
        (["probe", "m:E"], {"search": {"epochs": "ten"}}, "search.epochs is 'ten'; expected a whole number"),
        (["finetune", "m:E"], {"epochs": "ten"}, "epochs is 'ten'; expected a whole number"),
        (["results"], {"seed": "all"}, "seed is 'all'; expected a whole number"),
        (["pretrain", "cola"], {"train": {"steps": "many"}}, "train.steps is 'many'; expected a whole number"),
        (["pretrain", "cola"], {"train.steps": 0}, "train.steps is 0; expected a whole number of at least 1"),
        (["pretrain", "cola"], {"train": {"stpes": 3}}, "train has no setting 'stpes'; did you mean 'steps'"),
    ],
)
def test_a_wrong_setting_of_a_file_is_named_with_the_file(
    verb: list[str], settings: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    text = said(capsys, *verb, "--config", file)
    assert f"--config {file}" in text
    assert message in text


def test_values_of_a_file_are_read_as_flags_are(clips: Path, level: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    out = tmp_path / "v.parquet"
    file.write_text(yaml.safe_dump({"model": level, "data": str(clips), "out": str(out), "segment": None, "batch": 4}))
    assert main(["embed", "--config", str(file)]) == 0
    assert out.exists()


def test_a_setting_out_of_range_is_named_as_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "cola", "--data", "d", "--out", "o"]
    assert "train.steps is 0; expected" in said(capsys, *words, "--train.steps", "0")
    assert "search.epochs is 0; expected" in said(capsys, "probe", "m:E", "--task", "esc10", "--search.epochs", "0")
    assert "'many' is not a whole number" in said(capsys, *words, "--train.steps", "many")
    assert "'2,5' is not a number" in said(capsys, *words, "--train.lr", "2,5")


@pytest.mark.parametrize("verb", ["embed", "zero_shot", "text_retrieval", "check_encoder", "probe", "finetune"])
def test_python_has_the_defaults_of_the_command_line(verb: str) -> None:
    import auricle

    function = inspect.signature(getattr(auricle, verb)).parameters
    config = auricle.EvaluationConfig() if verb == "probe" else auricle.FinetuneConfig()
    for name, default in (("device", "auto"), ("precision", "auto" if verb == "finetune" else "fp32")):
        assert (function[name].default if name in function else getattr(config, name)) == default


@pytest.mark.parametrize("word", ["none", "None"])
def test_none_is_read_in_both_spellings(word: str, level: str, clips: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "v.parquet")
    assert main(["embed", level, "--data", str(clips), "--out", out, "--segment", word]) == 0
