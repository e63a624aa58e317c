"""Fixtures for the whole suite."""

from __future__ import annotations

import os

# Test processes share the cores with data workers and second ranks: spinning OpenMP threads would make both crawl.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real corpora beside the checkout (or named by AURICLE_TEST_AUDIO)."""
    place = os.environ.get("AURICLE_TEST_AUDIO")
    folder = Path(place) if place else Path(__file__).resolve().parents[2] / "shared" / "audio"
    if not (folder / "esc10" / "metadata.csv").is_file():
        pytest.skip(f"no real corpora in {folder}; set AURICLE_TEST_AUDIO to their folder")
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """One thread a test process: the suite must not fight over cores."""
    torch.set_num_threads(1)
