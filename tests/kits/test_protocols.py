"""The kits' protocols as data: the grid and its draw, what single tasks change, what is refused."""

from __future__ import annotations

import random

import pytest
from sklearn.model_selection import ParameterGrid

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.kits.protocol_tasks import for_task
from auricle.kits.protocols import (
    EVAR,
    HEAR,
    MARBLE,
    PROTOCOLS,
    SUPERB,
    XARES,
    XARES_KNN,
    NeighbourConfig,
    ProtocolConfig,
    get_protocol,
)


def test_hear_tries_the_eight_points_that_the_kit_draws() -> None:
    # What the kit varies, in the order of scikit-learn's grid; the constant settings change no order.
    grid = list(
        ParameterGrid(
            {
                "hidden_layers": [1, 2],
                "lr": [3.2e-3, 1e-3, 3.2e-4, 1e-4],
                "initialization": ["xavier_uniform", "xavier_normal"],
                "batch_size": [1024],
                "patience": [20],
            }
        )
    )
    full = [(len(p.head.hidden), p.lr, p.head.init) for p in HEAR.points]
    assert full == [(g["hidden_layers"], g["lr"], g["initialization"]) for g in grid]
    # As the kit does it: the global generator is seeded, then the grid is shuffled in place.
    state = random.getstate()
    random.seed(42)
    random.shuffle(grid)
    random.setstate(state)
    drawn = [(len(p.head.hidden), p.lr, p.head.init) for p in HEAR.tried]
    assert drawn == [(g["hidden_layers"], g["lr"], g["initialization"]) for g in grid[:8]]
    assert HEAR.full().tried == HEAR.points


def test_the_draw_is_the_one_of_the_kit_itself() -> None:
    # Read off hear-eval-kit 2021.1.3 itself, seeded as it seeds itself: layers, learning rate, how weights start.
    assert [(len(p.head.hidden), p.lr, p.head.init) for p in HEAR.tried] == [
        (1, 1e-4, "xavier_normal"),
        (2, 1e-3, "xavier_uniform"),
        (1, 1e-3, "xavier_normal"),
        (1, 3.2e-4, "xavier_normal"),
        (2, 3.2e-4, "xavier_normal"),
        (2, 3.2e-4, "xavier_uniform"),
        (2, 3.2e-3, "xavier_normal"),
        (2, 3.2e-3, "xavier_uniform"),
    ]


@pytest.mark.parametrize("protocol", [p for kits in PROTOCOLS.values() for p in kits])
def test_protocols_travel_as_json(protocol: ProtocolConfig) -> None:
    assert Config.from_json(protocol.to_json()) == protocol


def test_the_kits_rules() -> None:
    assert (HEAR.training.epochs, HEAR.training.check_every, HEAR.training.patience) == (500, 3, 20)
    assert (HEAR.training.batch, HEAR.training.shuffle, HEAR.choose_once) == (1024, False, True)
    assert all(p.head.batch_norm and p.head.dropout == 0.1 and not p.head.standardise for p in HEAR.points)
    assert (EVAR.seeds, EVAR.training.per_class, EVAR.training.weight_decay) == ((42, 43, 44), True, 1e-8)
    assert (EVAR.training.batch, EVAR.training.epochs, EVAR.points[0].lr) == (200, 200, 3e-4)
    assert EVAR.points[0].head.standardise
    assert XARES.points[0].head.layer_norm
    assert (XARES.training.batch, XARES.training.epochs, XARES.training.floor) == (32, 10, 0.1)
    assert XARES_KNN.neighbours == NeighbourConfig(k=10, temperature=0.07)
    assert (MARBLE.points[0].head.hidden, MARBLE.points[0].head.dropout) == ((512,), 0.2)
    assert (SUPERB.points[0].head.hidden, SUPERB.training.clip) == ((256,), 1.0)
    assert [p.layers for p in (HEAR, EVAR, XARES, XARES_KNN, MARBLE, SUPERB)] == [None] * 4 + ["blocks", "states"]


def test_what_leaks_is_said() -> None:
    assert "first fold" in HEAR.fold_leaks[0]
    assert "fold that is tested" in XARES.fold_leaks[0]
    assert not XARES_KNN.fold_leaks
    assert not EVAR.fold_leaks


def test_single_tasks_have_rules_of_their_own() -> None:
    assert for_task(EVAR, "crema_d").crop.seconds == 2.5
    assert for_task(EVAR, "mine") == EVAR
    fsd18 = for_task(XARES, "fsdkaggle2018")
    assert (fsd18.training.batch, fsd18.training.epochs) == (64, 3)
    assert "tested" in fsd18.leaks[0]
    assert fsd18.split_test_validates
    assert not for_task(XARES, "fsd50k").split_test_validates
    assert not for_task(XARES_KNN, "fsdkaggle2018").leaks
    assert for_task(XARES, "voxceleb1").crop.seconds == 6.0
    assert for_task(MARBLE, "gtzan").points[0].lr == 5e-3
    assert for_task(MARBLE, "nsynth_pitch").training.epochs == 50
    assert for_task(SUPERB, "voxceleb1").training.steps == 200_000
    assert for_task(SUPERB, "iemocap").training.steps == 30_000
    assert for_task(HEAR, "esc50") == HEAR


def test_the_raced_variant_says_so() -> None:
    raced = HEAR.raced()
    assert raced.training.race
    assert len(raced.tried) == 16
    assert any("race" in note for note in raced.notes)


def test_unknown_names_and_impossible_protocols_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'xares'"):
        get_protocol("xarez")
    with pytest.raises(ConfigError, match="points"):
        ProtocolConfig(name="none", probe="none", source="")
    with pytest.raises(ConfigError, match="draws 3"):
        EVAR.replace(drawn=3)
    with pytest.raises(ConfigError, match="seed"):
        EVAR.replace(seeds=())
    with pytest.raises(ConfigError, match="share"):
        EVAR.replace(valid_share=1.0)
