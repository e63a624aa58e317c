"""Settings that an objective refuses in its first step or before it: each way out that the message names is taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import RATE, Command, after, changed, executes, second_iteration, tones

SHORT = ["--window.seconds", "0.6"]
FAST = [
    "--loader.batch", "8", "--loader.workers", "0", "--train.threads", "1", "--train.steps", "1",
    "--train.warmup-steps", "0", "--train.precision", "fp32",
]  # fmt: skip


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> Path:
    return tones(tmp_path / "data", 8)


def tone(path: Path, seconds: float) -> None:
    soundfile.write(path, 0.3 * np.sin(0.3 * np.arange(int(seconds * RATE))), RATE)


def pretrain(recipe: str, *more: str, out: str = "refused") -> list[str]:
    words = ["pretrain", recipe, "--data", "data", "--out", out, *FAST]
    for flag, value in zip(more[::2], more[1::2], strict=True):
        words = changed(words, flag, value)
    return words


@executes("the farthest predicted one lies", "there is nothing to draw negatives from")
def test_contrast_with_the_future(auricle: Command) -> None:
    far = pretrain("cpc", *SHORT, "--objective.steps", "70")
    message = auricle.refused(*far)
    seconds = after(message, "windows of at least ", r"([\d.]+) s \(--window\.seconds\)")
    auricle.works(*changed(changed(far, "--window.seconds", seconds), "--out", "longer"))
    auricle.works(*changed(changed(far, after(message, "or fewer "), "10"), "--out", "fewer"))
    alone = pretrain("cpc", *SHORT, "--loader.batch", "1", "--objective.pool", "others")
    message = auricle.refused(*alone)
    auricle.works(*changed(changed(alone, after(message, "larger batches (", r"([\w.-]+)"), "2"), "--out", "larger"))
    auricle.works(*changed(changed(alone, after(message, "or another "), "clip"), "--out", "clip"))


@executes("and the target lies")
def test_prediction_of_the_future(auricle: Command) -> None:
    far = pretrain("apc", *SHORT, "--objective.ahead", "70")
    message = auricle.refused(*far)
    seconds = after(message, "windows of at least ", r"([\d.]+) s \(--window\.seconds\)")
    auricle.works(*changed(changed(far, "--window.seconds", seconds), "--out", "longer"))
    auricle.works(*changed(changed(far, after(message, "or a smaller "), "10"), "--out", "nearer"))


@executes("under gradient caching it would see micro-batches", "mixing partners are not among the clean clips")
def test_objectives_without_gradient_caching(auricle: Command) -> None:
    cached = pretrain("byol-a", "--train.micro-batch", "2")
    message = auricle.refused(*cached)
    flag = after(message, "train without micro_batch (", r"(--train\.micro-batch None)").split()
    auricle.works(*changed(changed(cached, *flag), "--out", "whole"))
    auricle.works(
        *changed([*cached, "--encoder", "patch-transformer"], "--out", "norms")
    )  # an encoder without BatchNorm
    auricle.works(*pretrain("eat", *SHORT, out="eat"))
    cached = [*pretrain("sslam", *SHORT, "--train.micro-batch", "2"), "--previous", "eat"]
    flag = after(auricle.refused(*cached), "first view, and leave ", "(--train.micro-batch) out")
    auricle.works(*changed(changed(cached, flag), "--out", "partners"))


@executes("of the grid leave a clip of the batch without context")
def test_blocks_of_a_grid(auricle: Command) -> None:
    full = {"--objective.mask.targets": "6", "--objective.mask.most": "0.9", "--objective.mask.least": "0.1"}
    words = pretrain("a-jepa", *SHORT, *(word for pair in full.items() for word in pair))
    message = auricle.refused(*words)
    for flag, value in ((r"([\w.-]+),", "1"), (r"[\w.-]+, ([\w.-]+)\)", "0.1")):
        auricle.works(*changed(changed(words, after(message, "smaller targets (", flag), value), "--out", value))
    for number in range(4):
        tone(Path("data", f"short {number}.wav"), 0.05)
    words = pretrain("a-jepa", "--loader.batch", "12", "--loader.sampling", "clip", "--train.steps", "4")
    words += ["--window.variable"]
    shortest = after(auricle.refused(*words), "exclude shorter clips (", r"([\w.-]+)\)")
    auricle.works(*changed([*words, shortest, "0.5"], "--out", "long"))


@executes("no clip of the batch got a span")
def test_spans(auricle: Command) -> None:
    words = pretrain("wav2vec2", *SHORT, "--objective.mask.p", "0.001", "--objective.mask.min-spans", "0")
    message = auricle.refused(*words)
    for flag, value in ((r"raise ([\w.-]+)", "0.65"), (r"raise [\w.-]+ or ([\w.-]+)", "1")):
        auricle.works(*changed(changed(words, after(message, "), or ", flag), value), "--out", value))
    for number in range(8):
        tone(Path("data", f"short {number}.wav"), 0.25)
    few = {"--objective.mask.p": "0.3", "--objective.mask.min-spans": "0", "--loader.buckets": "2"}
    words = pretrain("wav2vec2", *(word for pair in few.items() for word in pair), "--loader.sampling", "clip")
    words = [*changed(words, "--train.steps", "4"), "--window.variable"]
    shortest = after(auricle.refused(*words), "exclude shorter clips (", r"([\w.-]+)\)")
    auricle.works(*changed([*words, shortest, "0.5"], "--out", "long"))


@executes("and the decoder has learned positions for")
def test_positions_of_a_decoder(auricle: Command) -> None:
    small = ["--loader.batch", "1", "--encoder.width", "48", "--encoder.depth", "1"]
    words = pretrain("dasheng", "--window.seconds", "61", "--window.short", "repeat", *small)
    words += ["--encoder", "beats"]
    message = auricle.refused(*words)
    auricle.works(*changed(changed(words, after(message, "shorter windows (", r"([\w.-]+)"), "10"), "--out", "short"))
    positions = after(message, "or set ", r"(objective\.decoder\.positions to \w+)").split(" to ")
    auricle.works(*changed([*words, f"--{positions[0]}", positions[1]], "--out", "sinusoid"))


@executes("as there is little to learn from fewer")
def test_codes_of_a_poor_tokenizer(auricle: Command, data: Path) -> None:
    tones(data, 24)
    words = [*pretrain("beats", *SHORT), "--objective.terms.0.target.gate", "0.999"]
    message = auricle.refused(*words)
    tokenizer = ["pretrain", "beats-tokenizer", *pretrain("beats", *SHORT, out="tokenizer")[2:]]
    auricle.works(*changed(tokenizer, "--train.steps", "4"))
    flag = after(message, "Train a tokenizer longer and name its run by ")
    auricle.begins(*changed([*words, flag, "tokenizer"], "--out", "named"))
    gate, value = after(message, "or set ", r"([\w.-]+ 0) to use these codes").split()
    auricle.works(*changed(words, gate, value))


@executes(
    "codes and tokens do not pair",
    "or set --previous to the run folder of such a stage",
)
def test_previous_stages(auricle: Command) -> None:
    staged = ["pretrain", "--config", str(second_iteration(Path("hubert.json"))), "--data", "data", "--out", "staged"]
    staged = changed([*staged, *FAST], *SHORT)
    auricle.works(*staged)
    auricle.works(*pretrain("audiomosaic", *SHORT, out="patches"))
    words = changed([*staged, "--previous", "patches"], "--out", "refused")
    message = auricle.refused(*words)
    folder = after(message, "that in the folder `", r"(\w+)` of a run of hubert")
    auricle.works(*changed(changed(words, "--previous", f"staged/{folder}"), "--out", "frames"))
    auricle.works(*changed(changed(words, after(message, "or omit ", r"(--previous)")), "--out", "own"))

    recipe = json.loads(Path("staged/recipe.json").read_text())
    recipe["previous"] = None
    Path("recipe.json").write_text(json.dumps(recipe))
    alone = ["pretrain", "--config", "recipe.json", "--data", "data", "--out", "alone"]
    flag = after(auricle.refused(*alone), "with a previous stage, or set ", r"(--previous) to the run folder")
    auricle.works(*alone, flag, f"staged/{folder}")
