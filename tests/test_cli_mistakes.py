"""Ends of a command that are no result: interruptions, full disks, plug-ins that fail, encoders that fail on a clip."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from auricle.cli import VERBS, main
from auricle.corpus.published.data_sets import DATA_SETS

Run = Callable[..., tuple[int, str, str]]

PICKY = '''
class Picky:
    """Refuses every batch that holds a loud clip."""

    rate, width = 8000, 2

    def __call__(self, wave):
        import torch
        if float(wave.abs().max()) > 0.8:
            raise ValueError("too loud for me")
        return torch.stack([wave.mean(1), wave.std(1)], 1)
'''


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder: exit code, output on one line, errors on one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, " ".join(said.out.split()), " ".join(said.err.split())

    return command


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def tasks(argv: object) -> None:
        raise error

    monkeypatch.setattr("auricle.cli.evaluation.tasks", tasks)


def test_an_interrupted_command_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(KeyboardInterrupt(), monkeypatch)
    assert run("tasks") == (130, "", "auricle: interrupted")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space or write elsewhere"), (errno.EACCES, "check the path")],
)
def test_what_the_system_refuses_comes_with_the_path_and_a_remedy(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    failing(OSError(number, os.strerror(number), "/some/where"), monkeypatch)
    assert run("tasks") == (2, "", f"auricle: {os.strerror(number)}: /some/where: {remedy}")


def test_a_defect_of_auricle_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(ZeroDivisionError("a defect"), monkeypatch)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run("tasks")


def test_plug_ins_that_fail_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong_plugin.py").write_text("raise RuntimeError('half written')\n")
    code, _, said = run("--plugin", "wrong_plugin", "tasks")
    assert code == 2
    assert "plug-in wrong_plugin can't be imported (RuntimeError: half written)" in said
    assert "leave --plugin wrong_plugin out" in said
    assert "ModuleNotFoundError" in run("--plugin=no_such_plugin", "tasks")[2]
    assert "--plugin names no module; expected --plugin my_module" in run("tasks", "--plugin")[2]


def test_verbs_that_do_not_exist_and_the_version(run: Run) -> None:
    code, said, _ = run("--version")
    assert (code, said.split()[0]) == (0, "auricle")
    for wrong, right in (("probbe", "probe"), ("finetun", "finetune"), ("result", "results")):
        assert right in VERBS
        assert f"did you mean '{right}'" in run(wrong)[2]
    assert "did you mean 'list'" in run("data", "lst")[2]
    assert "did you mean 'encoder'" in run("check", "encodre")[2]


def test_every_data_set_is_listed_with_its_licence(run: Run) -> None:
    code, said, _ = run("data", "list")
    assert code == 0
    for name, known in DATA_SETS.items():
        assert name in said
        assert known.licence.split()[0] in said


def clips(folder: Path, loud: tuple[int, ...] = ()) -> Path:
    """Twenty clips of two classes and one length; some are loud."""
    for i in range(20):
        place = folder / ("hoch" if i % 2 else "tief") / f"clip {i} ü.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        wave = 0.3 * np.sin(np.arange(4000) * (0.1 + 0.4 * (i % 2))) + 0.01 * np.random.default_rng(i).normal(size=4000)
        soundfile.write(place, 3 * wave if i in loud else wave, 8000, subtype="FLOAT")
    return folder


def test_a_clip_that_the_encoder_refuses_is_skipped_and_its_batch_is_not(run: Run, tmp_path: Path) -> None:
    """Each clip of a failing batch is encoded alone; the others get the vectors that they have without it."""
    (tmp_path / "picky_encoder.py").write_text(PICKY)
    words = ("embed", "picky_encoder:Picky", "--batch", "20")
    assert run(*words, "--data", clips(tmp_path / "good"), "--out", "good.parquet")[0] == 0
    code, _, said = run(*words, "--data", clips(tmp_path / "mixed", (3, 4)), "--out", "mixed.parquet")
    assert code == 0
    assert said.count("too loud for me") == 2
    good, mixed = (
        dict(zip(table["file"].to_pylist(), table["embedding"].to_pylist(), strict=True))
        for table in (pq.read_table(f"{name}.parquet") for name in ("good", "mixed"))
    )
    assert set(good) - set(mixed) == {"hoch/clip 3 ü.wav", "tief/clip 4 ü.wav"}
    for file, vector in mixed.items():
        np.testing.assert_allclose(vector, good[file], atol=1e-6)
    # The same clips are missing from results, with the reason.
    words = ("probe", "picky_encoder:Picky", "--task", "folder", "--probes", "knn", "--no-controls", "--seeds", "1")
    code, _, said = run(*words, "--data", tmp_path / "mixed", "--out", "out")
    assert code == 0, said
    (record,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines())
    assert set(record["missing"]) == set(good) - set(mixed)
    assert all("too loud for me" in reason for reason in record["missing"].values())
    assert (record["clips"], record["clips_total"]) == (18, 20)
    sys.modules.pop("picky_encoder", None)


def test_an_encoder_that_refuses_every_clip_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "picky_encoder.py").write_text(PICKY)
    data = clips(tmp_path / "loud", tuple(range(20)))
    for words in (
        ("embed", "picky_encoder:Picky", "--data", data, "--out", "v.parquet"),
        ("probe", "picky_encoder:Picky", "--task", "folder", "--data", data, "--out", "out", "--no-controls"),
    ):
        code, _, said = run(*words)
        assert code == 2
        assert "too loud for me" in said
    assert not (tmp_path / "v.parquet").exists()
    assert not list(tmp_path.rglob("results.jsonl"))
    sys.modules.pop("picky_encoder", None)
