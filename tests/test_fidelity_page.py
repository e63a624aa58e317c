"""The page about published code names recipes, deviations and tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from auricle.recipes import get_recipe, recipes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fidelity.md"
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| method")
]
NAMES = {method.name for method in recipes()}


def test_there_is_a_row_for_each_method_whose_code_was_compared() -> None:
    assert len(ROWS) == len(set(ROWS)) > 60
    assert {row[0] for row in ROWS} >= {
        "atst-clip", "atst-frame", "audio-albert", "audio-barlow", "audio-mae", "audiomosaic", "bat", "best-rq",
        "byol-a", "clar", "cola", "dasheng", "data2vec", "data2vec2", "dinosr", "distilhubert", "dp-mae", "eat",
        "hubert", "m2d", "mae-ast", "maskspec", "mockingjay", "msm-mae", "pase", "pase-plus", "ssamba", "ssast",
        "sslam", "tera", "vq-apc", "w2v-bert",
    }  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}-{number}" for number, row in enumerate(ROWS)])
def test_a_row_is_about_what_there_is(row: tuple[str, ...]) -> None:
    name, published, here, status, test = row
    assert name in NAMES
    assert published
    assert status in ("as published", "declared")
    file, _, function = test.strip("`").partition("::")
    source = (ROOT / file).read_text(encoding="utf-8")
    assert not function or re.search(rf"^def {function}\(", source, re.MULTILINE), test
    if status == "declared":
        # In the words of the notes.
        deviations = get_recipe(name, "paper").notes.deviations
        assert any(here in line for line in deviations), (here, deviations)
    else:
        assert here == "the same"
        assert function, "a row without a test of its own"
