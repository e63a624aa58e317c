"""Every objective on every encoder: a legal pair trains a step, an illegal one is refused naming the need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from auricle.audio.batch import Audio
from auricle.encoders.contract import Ability, Encoder
from auricle.recipes import Recipe, get_recipe, recipes
from auricle.recipes.families import Family, families
from auricle.recipes.matrix import Cell, markdown, pair, reason_of, try_pair

FAMILIES = families()
NAMES = [entry.name for entry in recipes() if "tiny" in entry.sizes]
CELLS: dict[str, list[Cell]] = {}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "matrix.md"


def built(recipe: Recipe, family: Family) -> tuple[Recipe, Encoder]:
    own = pair(recipe, family)
    return own, own.encoder.build(torch.Generator().manual_seed(0))


def out_of_reach(recipe: Recipe, encoder: Encoder) -> set[str]:
    """Return the parameters that no loss on tokens, hidden layers or the clip vector alone reaches together."""
    frontend = recipe.frontend.build()
    samples = recipe.window.samples(frontend.rate)
    wave = torch.randn(4, samples, generator=torch.Generator().manual_seed(0)) * 0.1
    features = frontend(Audio(wave, torch.full((4,), samples), frontend.rate))
    encoder.train()
    if not list(encoder.parameters()):
        return set()
    encoder(features).x.pow(3).mean().backward()
    by_tokens = {n for n, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())}
    encoder.zero_grad(set_to_none=True)
    encoder.pool(encoder(features)).pow(3).mean().backward()
    by_clip = {n for n, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())}
    return by_tokens | by_clip


@pytest.fixture(scope="module")
def idle_by_nature() -> dict[str, set[str]]:
    """Return, for each family, the parameters that objectives on tokens, or on clips, rightly leave alone."""
    return {name: out_of_reach(*built(get_recipe("audiomosaic"), family)) for name, family in FAMILIES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_row(name: str, idle_by_nature: dict[str, set[str]]) -> None:
    recipe = get_recipe(name, "tiny")
    trained = 0
    CELLS[name] = []
    for family in FAMILIES.values():
        cell = try_pair(recipe, family)
        CELLS[name].append(cell)
        own, encoder = built(recipe, family)
        if cell.outcome == "refused":
            assert len(cell.why) > 30, cell
            missing = {Ability[need] for need in cell.needs}
            # Refused for a need: it is one that the encoder really lacks, and the message says who has it.
            assert not missing & encoder.abilities, cell
            assert all(need in cell.why for need in cell.needs)
            if cell.needs:
                assert "offered by" in cell.why
            continue
        trained += 1
        objective = own.objective.build(encoder, torch.Generator().manual_seed(1))
        assert objective.needs <= encoder.abilities
        assert torch.isfinite(torch.tensor(cell.loss)), cell
        idle = {n.removeprefix("encoder.") for n in cell.idle if n.startswith("encoder.")}
        assert idle <= idle_by_nature[family.name], (cell.encoder, idle - idle_by_nature[family.name])
        assert not [n for n in cell.idle if n.startswith("objective.")], cell
    assert trained, f"{name} trains on no encoder"


def test_the_page_is_what_the_code_does() -> None:
    """The committed page, row by row, is made of what the rows above found."""
    if set(CELLS) != set(NAMES):
        pytest.skip("not all rows were made in this run")
    page = markdown([cell for name in NAMES for cell in CELLS[name]])
    assert PAGE.read_text() == page, "make the page anew: auricle matrix --out docs/matrix.md"


def test_the_page_gives_reasons() -> None:
    recipe = get_recipe("audiomosaic")
    cells = [try_pair(recipe, FAMILIES[name]) for name in ("patch-transformer", "conformer", "waveform-gru")]
    page = markdown(cells)
    assert "| audiomosaic | ● | 1 | 1 |" in page
    assert "1. needs DROP: an encoder that takes a subset of its tokens; offered by transformers on patches" in page
    assert reason_of(cells[1]) == reason_of(cells[2])
