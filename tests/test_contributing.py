"""The commands of CONTRIBUTING select tests, and the files that it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`\.venv/bin/pytest ([^`]+)`", PAGE)))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_selects_tests(words: str) -> None:
    arguments = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *words.split()]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert re.search(r"\d+(/\d+)? tests collected", done.stdout)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:src/auricle|tests|docs)/[\w/.]+)`", PAGE))))
def test_a_named_file_exists(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make (\w+)`?", PAGE + (ROOT / "README.md").read_text()))))
def test_a_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
