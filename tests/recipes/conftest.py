"""A toy corpus and recipe as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_pretraining import toy_recipe, write_corpus


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("data") / "some clips")


@pytest.fixture
def make_recipe():
    return toy_recipe
