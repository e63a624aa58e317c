"""Flags and commands that a note or a refusal names: how recordings are read, protocols, fine-tuning, precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from remedy_tools import RATE, TUNE, Command, after, changed, executes, probe, table, tones

from auricle.devices import find_precision
from auricle.errors import ConfigError

EMBED = ["embed", "remedy_encoders:Bands", "--data", "data", "--overwrite", "--out"]


@executes("read from channel ", "brings it into the encoder's band")
def test_how_recordings_are_read(auricle: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    noise = np.random.default_rng(0).standard_normal((384000, 2)) * 0.1
    soundfile.write(tmp_path / "data" / "bat.wav", noise, 384000)
    auricle.works(*EMBED, "mix.csv")
    note = auricle.said[-1] + auricle.said[-2]
    flag = after(note, "is lost; ", r"(--time-expansion \d+) brings it into the encoder's band").split()
    auricle.works(*EMBED, "slow.csv", *flag)
    assert "the encoder's band" not in auricle.said[-1] + auricle.said[-2]
    auricle.works(*EMBED, "right.csv", "--channel", "1")
    # The flag that the note names, with the channel that it names.
    found = after(auricle.said[-1] + auricle.said[-2], "read from channel ", r"(\d \(--\w+)\)").split(" (")
    auricle.works(*EMBED, "again.csv", *reversed(found))
    assert Path("again.csv").read_bytes() == Path("right.csv").read_bytes() != Path("mix.csv").read_bytes()


@executes("has no layers: it returns its output alone")
def test_an_encoder_without_layers(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "data", 4)
    words = [*EMBED, "v.csv", "--features", "layers"]
    flag = after(auricle.refused(*words), "returns its output alone; set ", r"(--features output)").split()
    auricle.works(*changed(words, *flag))


@executes(
    "set --features.layers to all",
    "set --features.vector to mean or mean_std",
    "set --features output (Python: tokens='output')",
)
def test_features_that_contradict_each_other(auricle: Command, tmp_path: Path) -> None:
    tones(tmp_path / "data", 8)
    words = ["pretrain", "cola", "--data", "data", "--out", "run", "--loader.batch", "4", "--loader.workers", "0"]
    words += ["--train.steps", "2", "--train.warmup-steps", "0", "--train.threads", "1", "--window.seconds", "1"]
    layers = after(auricle.refused(*words, "--features.tokens", "mean"), "to average; set ", r"(\S+ to all)")
    words += ["--features.tokens", "mean", *layers.split(" to ")]
    vector = after(auricle.refused(*words), "for its output; set ", r"(\S+ to mean) or").split(" to ")
    # The first layer alone: features of samples or frames, of another shape than the output.
    auricle.works(*changed(words, "--features.layers", "0"), *vector)
    words = ["embed", "run", "--data", "data", "--out", "v.csv"]
    flag = after(auricle.refused(*words), "no layer has tokens of the output's shape", r".*; set (--features output)")
    auricle.works(*words, *flag.split())


@executes("set loader.buckets to 4 or more")
def test_batches_of_clips_of_all_lengths(auricle: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(32):
        noise = np.random.default_rng(number).standard_normal(RATE * 2 if number % 8 == 0 else RATE // 8)
        soundfile.write(tmp_path / "data" / f"{number}.wav", 0.1 * noise, RATE)
    words = ["pretrain", "apc", "--data", "data", "--out", "mixed", "--loader.batch", "4", "--loader.workers", "0"]
    words += ["--loader.sampling", "clip", "--train.threads", "1", "--train.steps", "1", "--train.warmup-steps", "0"]
    words += ["--window.variable", "--loader.buckets", "0"]
    auricle.works(*words)
    setting, least = after(auricle.read("mixed/events.log"), "; set ", r"(loader\.buckets to \d) or more").split(" to ")
    auricle.works(*changed(changed(words, f"--{setting}", least), "--out", "alike"))
    assert "would be padding" not in Path("alike/events.log").read_text()


@executes("has its own probes; leave --probes out")
def test_a_protocol_has_its_own_probes(auricle: Command, tmp_path: Path) -> None:
    words = [*changed(probe(tones(tmp_path / "data")), "--seeds"), "--protocol", "xares"]
    flag = after(auricle.refused(*words), "has its own probes; leave ", r"(--probes) out")
    assert "xares_knn" in auricle.works(*changed(words, flag))


@executes("no linear layers to add low-rank updates to")
def test_low_rank_updates_need_linear_layers(auricle: Command, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    tones(tmp_path / "data")
    auricle.works(
        "pretrain", "cola", "--encoder", "resnet", "--data", "data", "--out", "run", "--loader.batch", "4",
        "--loader.workers", "0", "--train.steps", "1", "--train.warmup-steps", "0", "--window.seconds", "0.7",
        "--augment.crop.seconds", "0.5",
    )  # fmt: skip
    words = ["finetune", "run", "--task", "folder", "--data", "data", "--out", "tuned", "--mode", "lora", *TUNE]
    flag = after(auricle.refused(*words), "updates to; set ", r"(--mode full)").split()
    auricle.works(*changed(words, *flag))


@executes("could be drawn so that no source stands on both sides")
def test_episodes_without_a_common_source(auricle: Command, tmp_path: Path) -> None:
    columns = {"label": ["high", "low"] * 4, "source": ["one"] * 6 + ["two"] * 2}
    data = tones(tmp_path / "data", 8, columns)
    sizes = {"--rule.ways": "2", "--rule.shots": "2", "--rule.queries": "2", "--rule.episodes": "3"}
    words = [*probe(data, task="folder_few_shot"), *(word for pair in sizes.items() for word in pair)]
    message = auricle.refused(*words)
    for number, flag in enumerate((r"([\w.-]+) or", r"[\w.-]+ or ([\w.-]+),")):
        auricle.works(*changed(changed(words, after(message, "; lower ", flag), "1"), "--out", f"lower {number}"))
    assert message.endswith("or add sources")
    table(data / "metadata.csv", {"file": [f"{i:02d}.wav" for i in range(8)], **columns, "source": list("aabbccdd")})
    auricle.works(*words)


@executes("set --precision auto or fp32")
def test_bfloat16_where_the_accelerator_lacks_it(
    auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for an old GPU, on which the advice is then followed as far as it can be without one."""
    old = torch.device("cuda")
    with monkeypatch.context() as without:
        without.setattr("auricle.devices.has_bf16", lambda device: False)
        with pytest.raises(ConfigError) as raised:
            find_precision("bf16", old)
        auricle.said.append(str(raised.value))
        for name in after(str(raised.value), "set --precision ", r"(auto or fp32)").split(" or "):
            assert find_precision(name, old) == "fp32"
    tones(tmp_path / "data", 4)
    for name in ("auto", "fp32"):
        auricle.works(*EMBED, "v.csv", "--precision", name)


@executes("Made by `auricle recipes")
def test_the_page_of_methods_is_made(auricle: Command) -> None:
    Path("docs").mkdir()
    auricle.works("recipes", "--out", "first.md")
    page = auricle.read("first.md")
    command = after(page, "Made by `auricle ", r"([^`]+)`").split()
    auricle.works(*command)
    assert Path(command[-1]).read_text() == page
