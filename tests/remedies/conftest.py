"""A command line in an empty folder, and a finished run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from remedy_tools import ENCODER, TRAIN, Command, tones

from auricle.cli import main


@pytest.fixture
def auricle(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """The command line, in an empty folder; at the end, each message that the test `executes` was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "remedy_encoders.py").write_text(ENCODER)
    command = Command(capsys)
    yield command
    for message in getattr(request.function, "remedies", ()):
        assert any(message in said for said in command.said), message


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
