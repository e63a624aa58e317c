"""Shares from a random sample that is drawn adaptively: unbiased, with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from auricle.answers.label_estimate import draw_probabilities, draw_weights, estimate
from auricle.answers.label_log import Draw, Key

KEY = Key("a", 0, 1)


@pytest.mark.parametrize("draws", [1, 2, 3, 4])
def test_weighted_means_are_unbiased_over_every_sequence_of_draws(draws: int) -> None:
    """All sequences of draws from four segments, with their probabilities; what is preferred depends on the past."""
    values = np.array([1.0, 0.0, 0.0, 5.0])

    def expected(past: list[tuple[int, Draw]], chance: float) -> float:
        if len(past) == draws:
            weights = draw_weights([draw for _, draw in past], len(values))
            return chance * float((weights * values[[row for row, _ in past]]).mean())
        left = [row for row in range(len(values)) if row not in [r for r, _ in past]]
        detected = np.array([row == 3 or bool(past and past[-1][0] == 0) for row in left])
        chances = draw_probabilities(detected)
        assert chances.sum() == pytest.approx(1)
        return sum(
            expected([*past, (row, Draw(KEY, float(q), len(left)))], chance * float(q))
            for row, q in zip(left, chances, strict=True)
        )

    assert expected([], 1.0) == pytest.approx(values.mean())


def test_a_uniform_sample_has_equal_weights() -> None:
    draws = [Draw(KEY, 1 / left, left) for left in (7, 6, 5, 4)]
    np.testing.assert_allclose(draw_weights(draws, 7), 1)


@pytest.mark.parametrize(("population", "prevalence", "count"), [(200, 0.1, 40), (2000, 0.03, 60), (400, 0.5, 60)])
def test_intervals_hold_what_they_promise(population: int, prevalence: float, count: int) -> None:
    """A detector that gets better while the sample is drawn, on made scores."""
    generator = np.random.default_rng(0)
    held = {"precision": [], "recall": [], "prevalence": []}
    for _ in range(150):
        truth = generator.random(population) < prevalence
        first, later = (gain * truth + 0.8 * generator.normal(size=population) > 1.2 for gain in (1.2, 2.0))
        left, draws, rows = np.ones(population, dtype=bool), [], []
        for number in range(count):
            among = np.flatnonzero(left)
            chances = draw_probabilities((first if number < count // 2 else later)[among])
            place = int(generator.choice(len(among), p=chances))
            draws.append(Draw(KEY, float(chances[place]), len(among)))
            rows.append(among[place])
            left[among[place]] = False
        found = estimate(draw_weights(draws, population), truth[rows], later[rows])
        real = {"precision": truth[later], "recall": later[truth], "prevalence": truth}
        for name, values in real.items():
            share = getattr(found, name)
            if share.interval.known and len(values):
                held[name].append(share.interval.low - 1e-9 <= values.mean() <= share.interval.high + 1e-9)
    for name, each in held.items():
        # 150 trials of 95 % are below 90.5 % in one of a hundred series.
        assert len(each) > 40, name
        assert np.mean(each) > 0.905, name


def test_nothing_labelled_has_no_share() -> None:
    found = estimate(np.empty(0), np.empty(0, bool), np.empty(0, bool), skipped=2)
    assert np.isnan(found.precision.value)
    assert not found.precision.interval.known
    assert (found.drawn, found.skipped) == (0, 2)
    few = estimate(np.ones(4), np.ones(4, bool), np.ones(4, bool))
    assert few.precision.value == 1
    assert not few.precision.interval.known
