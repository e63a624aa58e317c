"""The page and the lists about methods repeat the notes of the recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.cli import main
from auricle.recipes import get_recipe, recipes
from auricle.recipes.methods_page import methods_page
from auricle.recipes.registry import PARADIGMS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
ENTRIES = recipes()
# Methods that every version has; others may come in addition.
NAMED = (
    "audiomosaic", "byol-a", "byol-a-v1", "cola", "clar", "wav2vec2", "cpc", "apc", "vq-apc", "audio-mae",
    "mockingjay", "tera", "hubert", "wavlm", "best-rq", "beats", "eat", "data2vec", "data2vec2", "ssamba", "ssast",
    "clap", "permutation", "pase", "audio2vec", "temporal-gap", "pase-plus", "wav2vec", "vq-wav2vec", "w2v-bert",
    "clmr", "audio-barlow", "audio-albert", "decoar2", "maskspec", "msm-mae", "mae-ast", "dasheng", "hear",
    "musicfm", "aves", "dinosr", "atst-clip", "atst-frame", "m2d", "a-jepa", "sslam", "bat", "dp-mae",
    "distilhubert", "ssam",
)  # fmt: skip


def test_every_method_is_there() -> None:
    assert set(NAMED) <= {entry.name for entry in ENTRIES}


def test_each_recipe_belongs_to_a_paradigm() -> None:
    assert {entry.paradigm for entry in ENTRIES} == set(PARADIGMS)


def test_the_committed_page_is_what_the_recipes_say() -> None:
    assert PAGE.read_text() == methods_page(ENTRIES), "make the page anew: auricle recipes --out docs/methods.md"


def test_the_page_has_a_section_for_each() -> None:
    page = methods_page(ENTRIES)
    for entry in ENTRIES:
        section = page.split(f"\n## {entry.name}\n", 1)[1].split("\n## ", 1)[0]
        recipe = get_recipe(entry.name, entry.sizes[0])
        notes = recipe.notes
        assert notes.reference.title in section
        assert notes.when_to_use in section
        assert all(line in section for line in (*notes.faithful, *notes.not_specified, *notes.deviations))
        assert (f"**Shown to learn** by {entry.learns}" if entry.learns else "**Not shown to learn**") in section


def test_recipes_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(entry.name in listed for entry in ENTRIES)
    words = " ".join(listed.split())
    assert "shown to learn: by" in words
    assert "not shown to learn" in words
    assert main(["recipes", "audio-mae"]) == 0
    said = capsys.readouterr().out
    assert "Masked Autoencoders that Listen" in said
    assert "When to use" in said
    assert "Shown to learn by tests/learning/test_learn_audio_mae.py" in said
    assert main(["recipes", "audio-mea"]) == 2
    assert "did you mean 'audio-mae'" in capsys.readouterr().err
    assert main(["recipes", "--out", str(tmp_path / "methods.md")]) == 0
    assert (tmp_path / "methods.md").read_text() == methods_page(ENTRIES)


def test_the_matrix_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["matrix", "audiomosaic", "--out", str(tmp_path / "matrix.md")]) == 0
    assert "| audiomosaic |" in (tmp_path / "matrix.md").read_text()
    assert main(["matrix", "audiomosiac"]) == 2
    assert "did you mean 'audiomosaic'" in capsys.readouterr().err
