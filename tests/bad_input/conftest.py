"""A run, folders and the command, for the tests of bad input.

Every case ends with a message that names what is wrong and what to do (exit code 2), or goes on and counts what was
skipped (exit code 0); what was finished before is still there. An exception that escapes `main` fails the test, so no
case can end in a traceback.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_input_command import TINY, Command
from bad_input_data import write_tones

from auricle.cli import main

ENCODERS = '''
import torch


class Bands:
    """Mean magnitudes of eight bands, ten times a second."""

    rate, width = 16000, 8

    def __call__(self, wave):
        spectrum = torch.fft.rfft(wave.unfold(1, 1600, 1600)).abs()[..., :800]
        return spectrum.unflatten(-1, (8, 100)).mean(-1).log1p()


class Fragile(Bands):
    """Gives NaN for loud clips."""

    def __call__(self, wave):
        bands = super().__call__(wave)
        bands[wave.abs().amax(1) > 0.8] = float("nan")
        return bands


class Infinite(Bands):
    """Gives infinity for loud clips, in one number of one token."""

    def __call__(self, wave):
        bands = super().__call__(wave)
        bands[wave.abs().amax(1) > 0.8, 0, 3] = float("inf")
        return bands


class Nothing(Bands):
    """Gives NaN for everything."""

    def __call__(self, wave):
        return super().__call__(wave) * float("nan")


class Louder(Bands):
    """Other weights."""

    def __call__(self, wave):
        return super().__call__(wave * 2)
'''


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good recordings, one sub-folder a class."""
    return write_tones(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="session")
def run(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-training run of three steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["pretrain", "audiomosaic", "--data", str(good), "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture
def auricle(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, which prints tables for a wide terminal, where long names are not cut."""
    monkeypatch.setenv("COLUMNS", "250")
    return Command(capsys, tmp_path)


@pytest.fixture
def own_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the encoders of this file importable from the current folder."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "bad_input_encoders.py").write_text(ENCODERS)
    monkeypatch.chdir(tmp_path / "work")
    yield
    sys.modules.pop("bad_input_encoders", None)
