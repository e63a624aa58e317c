"""Damaged recordings of every format, in child processes: a short form of `benchmarks/reliability/mutants.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PLACE = Path(__file__).parents[3] / "benchmarks" / "reliability" / "mutants.py"


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reliability_of_reading", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_no_damaged_recording_ends_a_process_or_prints(mutants: ModuleType) -> None:
    found = mutants.measure(120, seed=1, size=120)
    assert found["failures"] == []
    assert found["noise"] == 0
    assert sum(found["outcome"].values()) == 120
    assert set(found["outcome"]) == {"read", "AudioError"}


def test_a_mutant_follows_from_its_number(mutants: ModuleType) -> None:
    made = mutants.made_recordings()
    assert len(made) >= 21
    assert mutants.mutant(made, 0, 7) == mutants.mutant(made, 0, 7)
    assert mutants.mutant(made, 0, 7) != mutants.mutant(made, 1, 7)


def test_a_crash_a_traceback_and_a_large_process_are_failures(mutants: ModuleType, monkeypatch, tmp_path: Path) -> None:
    """The measurement itself: a child that dies, one that raises, and one that grows are all counted."""
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, signal\n"
        "print(json.dumps({'begun': '000001-a.wav'}))\n"
        "print(json.dumps({'what': '000001-a.wav', 'error': 'traceback: ValueError: x', 'seconds': 0.1}))\n"
        "print(json.dumps({'peak': 5000.0}), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setattr(mutants, "__file__", str(child))
    failures = mutants.measure(2, size=2)["failures"]
    assert len(failures) == 3
    assert "ValueError" in failures[0]
    assert "5000 MiB" in failures[1]
    assert "000001-a.wav: the process ended with -11" in failures[2]


def test_made_recordings_are_read_whole(mutants: ModuleType) -> None:
    from auricle.audio.decode import decode, probe

    for name, data in mutants.made_recordings().items():
        assert probe(data).notes == (), name
        assert np.abs(decode(data)).max() > 0.1, name
