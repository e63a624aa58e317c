"""Runs that are cut short by the machine, or changed between two calls, are continued as their messages say."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from remedy_tools import Command, after, changed, executes, pretrain, second_iteration, tones
from safetensors.torch import load_file

from auricle import storage
from auricle.cli import main
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.training.run_folder import RunFolder

TWO_STAGES = [
    "pretrain", "--config", "hubert.json", "--data", "data", "--out", "staged", "--loader.batch", "4",
    "--loader.workers", "0",
    "--train.threads", "1", "--train.steps", "1", "--train.warmup-steps", "0", "--window.seconds", "0.6",
    "--train.precision", "fp32",
]  # fmt: skip


def checkpoints(run: Path | str) -> list[str]:
    return sorted(path.name for path in Path(run, "checkpoints").iterdir())


def same(one: Path | str, other: Path | str) -> bool:
    """Whether two runs end with the same weights."""
    first, second = (load_file(max(Path(run, "checkpoints").iterdir()) / "encoder.safetensors") for run in (one, other))
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def full(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """A disk on which nothing more can be written from some point on."""
    write = storage.os.fsync

    def fsync(handle: int) -> None:
        if when():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(handle)

    monkeypatch.setattr(storage.os, "fsync", fsync)


@executes("free some space (or lower --train.keep)", "or write the table elsewhere (--out)")
def test_full_disks(auricle: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(out: str) -> str:
        with monkeypatch.context() as disk:
            full(disk, (Path(out) / "checkpoints" / "step-00000002").exists)
            return auricle.refused(*pretrain(out))

    message = stop("freed")
    auricle.works(*pretrain("freed"), after(message, "and continue with ", r"(--resume)"))
    flag = after(stop("fewer"), "(or lower ", r"([\w.-]+)\) and continue")
    auricle.works("pretrain", "--resume", "fewer", flag, "1")
    assert checkpoints("fewer") == ["step-00000003"]
    assert same("freed", run)
    assert same("fewer", run)
    with monkeypatch.context() as disk:
        full(disk, lambda: True)
        message = auricle.refused("corpus", "scan", "data")
    flag = after(message, "table elsewhere (", r"(--out)\)")
    auricle.works("corpus", "scan", "data", flag, "elsewhere.parquet")
    assert Path("elsewhere.parquet").exists()


@executes("the device's memory is used up")
def test_memory_that_is_used_up(auricle: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = SpectrogramTransformer.contextualize

    def small(self: SpectrogramTransformer, tokens: object, *more: object, **settings: object) -> object:
        if tokens.x.shape[0] > 4:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return encode(self, tokens, *more, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(SpectrogramTransformer, "contextualize", small)
    message = auricle.refused(*pretrain("whole"))
    auricle.works(*pretrain("micro"), after(message, "; set ", r"([\w.-]+) \(gradient caching"), "4")
    auricle.works(*changed(pretrain("lower"), after(message, "or lower "), "4"))


@executes("was deleted, moved or replaced while the run was training")
def test_a_folder_that_was_moved(auricle: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RunFolder.metrics

    def move(out: str) -> str:
        def metrics(self: RunFolder, line: dict[str, object]) -> None:
            write(self, line)
            Path(out).rename("moved")

        with monkeypatch.context() as moving:
            moving.setattr(RunFolder, "metrics", metrics)
            return auricle.refused(*pretrain(out, "data", "--train.log-every", "1"))

    message = move("new")
    Path("moved").rename("new")
    auricle.works("pretrain", after(message, "move it back and continue with ", r"(--resume)"), "new")
    assert same("new", run)
    assert move("anew").endswith("or start the run again")
    auricle.works(*pretrain("anew", "data", "--train.log-every", "1"))


@executes("or name the run to use by --previous", "another run uses them with --previous")
def test_a_stage_of_other_settings(auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tones(tmp_path / "data", 4)
    second_iteration(tmp_path / "hubert.json")

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as between:
        between.setattr("auricle.recipes.pretraining.on_previous", stop)
        assert main(TWO_STAGES) == 130
    said = auricle.capsys.readouterr().err
    auricle.said.append(" ".join(said.split()))
    kept = after(auricle.said[-1], "the last are kept in ", r"(\S+); another run uses them with --previous")
    other = [*TWO_STAGES, "--train.lr", "1e-3"]
    message = auricle.refused(*other)
    auricle.works(*changed(other, after(message, "Set another "), "other"))
    auricle.works(*other, after(message, "the run to use by "), kept)


@executes("so their corpus is not known", "restore them, or start a new run in another --out")
def test_a_run_whose_corpus_was_changed(auricle: Command, run: Path) -> None:
    shutil.rmtree(max((run / "checkpoints").iterdir()))
    shutil.copytree(run, "source")
    (run / "corpus.json").unlink()
    message = auricle.refused("pretrain", "--resume", run)
    assert "copy the run folder again from its source" in message
    auricle.works(*pretrain("new"))
    shutil.rmtree(run)
    shutil.copytree("source", run)
    auricle.works("pretrain", "--resume", run)
    assert same(run, "new")
    shutil.rmtree(max((run / "checkpoints").iterdir()))
    file = Path("data/low/01.wav")
    content = file.read_bytes()
    file.write_bytes(content[:-2000] + bytes(2000))
    message = auricle.refused("pretrain", "--resume", run, "--data", "data")
    auricle.works(*changed(pretrain("changed"), after(message, "a new run in another "), "newer"))
    file.write_bytes(content)
    auricle.works("pretrain", "--resume", run, "--data", "data")
    assert same(run, "new")


@executes("To read others of it, set --features")
def test_features_that_a_run_did_not_begin_with(auricle: Command, run: Path) -> None:
    shutil.rmtree(max((run / "checkpoints").iterdir()))
    auricle.works(*pretrain(run, "data", "--features.layers", "all", "--features.vector", "mean"), "--resume")
    flags = after(auricle.said[-1], "set ", r"(--features layers or --features output) in embed").split(" or ")
    for number, flag in enumerate(flags):
        auricle.works("embed", run, "--data", "data", "--out", f"{number}.parquet", *flag.split())


@executes("leave --resume out: the run made no step")
def test_a_run_without_a_step(auricle: Command, run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    words = [*pretrain(run, "data", "--train.lr", "2e-4"), "--resume"]
    message = auricle.refused(*words)
    flag = after(message, "or start a new run (leave ", r"(--resume) out")
    auricle.works(*changed(words, flag))
