"""Settings, clips and previous stages that pre-training of a method refuses.

Every case ends with a message that names what is wrong and what to do (exit code 2). An exception that escapes `main`
fails the test.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.errors import ConfigError
from auricle.recipes import get_recipe, pretrain

RATE = 16000
QUICK = [
    "--train.steps",
    "2",
    "--train.warmup-steps",
    "0",
    "--loader.batch",
    "4",
    "--loader.workers",
    "0",
    "--train.threads",
    "1",
]


def write_clips(folder: Path, count: int = 8, seconds: float = 1.5) -> Path:
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for place in range(count):
        time = np.arange(round(RATE * seconds)) / RATE
        wave = 0.3 * np.sin(2 * np.pi * (200 + 90 * place) * time) + 0.02 * generator.standard_normal(len(time))
        soundfile.write(folder / f"clip{place}.wav", wave.astype(np.float32), RATE)
    return folder


def table(folder: Path, out: Path, captions: list[str]) -> Path:
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "caption"])
        for path, caption in zip(sorted(folder.glob("*.wav")), captions, strict=True):
            writer.writerow([str(path.resolve()), caption])
    return out


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data") / "clips")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must end with exit code 2, and return its message on one line."""
    assert main([str(word) for word in words]) == 2
    return re.sub(r"\s+", " ", capsys.readouterr().err)


def test_labels_at_a_rate_that_does_not_divide(clips: Path, tmp_path: Path) -> None:
    """Cepstral coefficients 80 times a second do not fall on 50 tokens a second: the rates that would are named."""
    before = get_recipe("hubert", "tiny")
    term = before.objective.terms[0]
    source = term.target.source.replace(frontend=term.target.source.frontend.replace(hop_seconds=0.0125))
    terms = (term.replace(target=term.target.replace(source=source)), *before.objective.terms[1:])
    with pytest.raises(ConfigError, match=r"80 .*50.*1.6 frames a token is not a whole number.*50, 100, 200"):
        pretrain(
            before.replace(objective=before.objective.replace(terms=terms)), clips, tmp_path / "run", progress=False
        )


def test_fewer_clips_than_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = write_clips(tmp_path / "few", 2, 0.2)
    said = refused(
        capsys, "pretrain", "hubert", "--data", few, "--out", tmp_path / "run", *QUICK, "--loader.batch", "1",
        "--window.seconds", "0.2", "--objective.terms.0.target.clusters", "500",
    )  # fmt: skip
    assert re.search(r"found \d+ vectors for 500 clusters; choose fewer clusters, or take more clips", said)


def test_a_trained_stage_is_kept_where_the_next_one_is_refused(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["pretrain", "beats", "--data", clips, "--out", out, *QUICK, "--window.seconds", "1.3"]
    gate = "--objective.terms.0.target.gate"
    said = refused(capsys, *words, gate, "0.999")
    assert re.search(rf"have a perplexity of \S+ of 256 on this corpus; expected at least 255.744, .*{gate} 0", said)
    trained = (out / "previous" / "events.log").read_text()
    assert "complete" in trained
    assert main([str(word) for word in (*words, gate, "0")]) == 0
    assert "3 stages: beats-iter1, then beats-tokenizer, then beats" in " ".join(capsys.readouterr().err.split())
    assert (out / "previous" / "events.log").read_text() == trained
    assert "took over the folder of a run that made no step" in (out / "events.log").read_text()


def test_a_corpus_without_captions(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "pretrain", "clap", "--data", clips, "--out", tmp_path / "run", *QUICK)
    assert "caption" in said
    assert "table" in said


def test_a_clip_without_a_caption(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = [f"a tone of {i} beats" for i in range(7)] + [""]
    data = table(clips, tmp_path / "captions.csv", captions)
    said = refused(capsys, "pretrain", "clap", "--data", data, "--out", tmp_path / "run", *QUICK)
    assert "caption" in said


def test_a_window_shorter_than_the_receptive_field(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(
        capsys, "pretrain", "wav2vec2", "--data", clips, "--out", tmp_path / "run", *QUICK, "--window.seconds", "0.02"
    )
    assert "320 samples" in said
    assert "at least 400" in said


@pytest.mark.parametrize(
    ("method", "flags", "words"),
    [
        ("audio-mae", ["--objective.mask.ratio", "0.999"], ("visible|keep|hide",)),
        ("audio-mae", ["--objective.mask.ratio", "1.5"], ("1.5",)),
        ("eat", ["--objective.mask.ratio", "0.99", "--window.seconds", "0.2"], ("visible|keep|hide|grid",)),
        ("wav2vec2", ["--objective.mask.length", "1000"], ("1000|visible|length",)),
    ],
)
def test_a_mask_that_leaves_nothing_visible(
    clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
    flags: list[str],
    words: tuple[str, ...],
) -> None:
    said = refused(capsys, "pretrain", method, "--data", clips, "--out", tmp_path / "run", *QUICK, *flags)
    for word in words:
        assert re.search(word, said), said


def test_a_previous_stage_of_another_kind(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A layer that the previous encoder lacks, a recipe without stages, a folder that is no run."""
    assert main([str(w) for w in ("pretrain", "apc", "--data", clips, "--out", tmp_path / "apc", *QUICK)]) == 0
    capsys.readouterr()
    said = refused(
        capsys, "pretrain", "distilhubert", "--data", clips, "--out", tmp_path / "run", *QUICK, "--previous",
        tmp_path / "apc",
    )  # fmt: skip
    assert "found layers (2, 4, 6) to distil, and the encoder of the previous stage has 3" in said
    said = refused(
        capsys, "pretrain", "apc", "--data", clips, "--out", tmp_path / "two", *QUICK, "--previous", tmp_path / "apc"
    )
    assert "has no previous stage; run it without --previous" in said
    said = refused(
        capsys,
        "pretrain",
        "distilhubert",
        "--data",
        clips,
        "--out",
        tmp_path / "other",
        *QUICK,
        "--previous",
        tmp_path / "none",
    )
    assert "none" in said


def test_a_text_encoder_that_is_not_there(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(clips, tmp_path / "captions.csv", [f"a tone of {i} beats" for i in range(8)])
    said = refused(
        capsys, "pretrain", "clap", "--size", "paper", "--data", data, "--out", tmp_path / "run", *QUICK,
        "--objective.text.model", str(tmp_path / "no-such-model"),
    )  # fmt: skip
    assert "no-such-model" in said


def test_an_objective_on_an_encoder_that_lacks_its_need(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Overlapping patches would show what is hidden: no masks on them, and the message says who can."""
    said = refused(
        capsys,
        "pretrain",
        "audio-mae",
        "--data",
        clips,
        "--out",
        tmp_path / "run",
        *QUICK,
        "--encoder.stride",
        "10",
        "10",
    )
    assert "needs DROP" in said
    assert "offered by" in said
