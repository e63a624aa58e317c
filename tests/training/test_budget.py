"""`train.minutes` as a number of steps: a clock that is moved by hand."""

from __future__ import annotations

import shutil
from itertools import pairwise

import pytest
from metrics_lines import read_metrics

from auricle.errors import TrainingError
from auricle.recipes import get_recipe
from auricle.storage import unseal
from auricle.training import budget as module
from auricle.training.budget import Budget, warm_up_warning
from auricle.training.optimiser import Plan, learning_rate, planned_steps, training_progress, warm_up_steps
from auricle.training.progress import ProgressLine
from auricle.training.train_config import TrainConfig


def spent(
    config: TrainConfig, seconds: list[float], plan: tuple = (), step: int = 0, fitted: float | None = None
) -> tuple[Budget, int]:
    """Make steps of these lengths until the run ends or the last is repeated; return the budget and the last step."""
    now = [0.0]
    budget = Budget(config, plan, fitted, lambda: now[0])
    budget.take_over(step)
    while step < budget.steps and not budget.over:
        now[0] += seconds[min(step, len(seconds) - 1)]
        step += 1
        budget.fit(step)
    return budget, step


@pytest.mark.parametrize("seconds", [[0.5], [30.0, 0.5], [0.25] * 200 + [0.5], [0.5] * 100 + [0.25]])
def test_the_last_step_falls_on_the_end_of_the_time(seconds: list[float]) -> None:
    config = TrainConfig(minutes=5, warmup_steps=20)
    budget, step = spent(config, seconds)
    total = sum(seconds[min(i, len(seconds) - 1)] for i in range(step))
    assert step == budget.steps < config.steps
    assert 0.9 * 300 <= total <= 300
    # The learning rate has come to its end there, without a jump on the way.
    rates = [learning_rate(i, config, budget.plan) for i in range(step)]
    assert rates[-1] == pytest.approx(config.min_lr)
    assert max(abs(b - a) for a, b in pairwise(rates)) < 0.051 * config.lr
    assert all(planned_steps(i, config, budget.plan) == config.steps for i in range(budget.plan[0][0]))


def test_a_number_of_steps_that_was_fitted_stays_when_the_run_is_resumed() -> None:
    config = TrainConfig(minutes=5)
    assert spent(config, [0.1], ((9, 700),), fitted=5)[0].plan == ((9, 700),)
    # The steps of the recipe are the most there are; without minutes nothing is fitted.
    assert spent(TrainConfig(steps=50, warmup_steps=3, minutes=5), [0.1])[0].plan == ()
    assert spent(TrainConfig(steps=50, warmup_steps=3), [9.0])[0].plan == ()


def test_the_schedule_without_a_plan_is_the_published_one() -> None:
    config = TrainConfig(steps=100, warmup_steps=10)
    assert [learning_rate(i, config, ((30, 100),)) for i in range(100)] == pytest.approx(
        [learning_rate(i, config) for i in range(100)]
    )
    assert [training_progress(i, config) for i in range(101)] == [i / 100 for i in range(101)]


def test_a_run_that_ends_in_its_warm_up_says_so() -> None:
    said = warm_up_warning(TrainConfig(steps=250), 250)
    assert said is not None
    assert "ends at step 250, inside its warm-up of 300 steps" in said
    assert said.endswith("set more --train.steps, or start again in another --out with --train.warmup-steps 25")
    config = TrainConfig(minutes=3)
    # Fewer steps that are fitted have a shorter warm-up.
    assert warm_up_warning(config, 250) is None
    said = warm_up_warning(config, 10_000, stopped_at=100)
    assert said is not None
    assert "stopped at step 100 (train.minutes is 3), inside its warm-up of 300" in said
    assert "continue it, or" in said


@pytest.mark.parametrize("schedule", ["cosine", "inverse_sqrt"])
@pytest.mark.parametrize(("steps", "warmup"), [(400_000, 32_000), (1000, 50), (1000, 300)])
def test_a_warm_up_is_a_share_of_the_steps_that_fit(steps: int, warmup: int, schedule: str) -> None:
    config = TrainConfig(steps=steps, warmup_steps=warmup, minutes=5, schedule=schedule)
    budget, last = spent(config, [1.2] * 100 + [1.5])
    rates = [learning_rate(i, config, budget.plan) for i in range(last)]
    top = rates.index(max(rates))
    fitted = budget.plan[0][1]
    expected = min(warmup, max(warmup * fitted / steps, fitted / 10))
    assert abs(top - expected) <= 1
    assert rates[top] == pytest.approx(config.lr)
    # A straight line up to the first fit, another one after it, and no step down.
    place = budget.plan[0][0]
    for part in (rates[: place + 1], rates[place : top + 1]):
        slopes = [b - a for a, b in pairwise(part)]
        assert min(slopes) == pytest.approx(max(slopes), abs=1e-9)
    assert all(b <= a for a, b in pairwise(rates[top:]))


@pytest.mark.parametrize(
    ("name", "size", "plan"),
    [
        ("cola", "tiny", ((6, 29),)),
        ("byol-a", "tiny", ((6, 58),)),
        ("hubert", "tiny", ((6, 38),)),
        ("wav2vec2", "paper", ((6, 29),)),
    ],
)
def test_a_warm_up_that_the_first_fit_has_passed_ends_without_a_jump(name: str, size: str, plan: Plan) -> None:
    given = get_recipe(name, size).train.replace(minutes=1.0)
    place, steps = plan[-1]
    for hold in (0, given.hold_steps, given.steps // 4):
        for schedule in ("cosine", "constant") if hold == 0 else ("linear",):
            config = given.replace(schedule=schedule, hold_steps=hold, min_lr=0.0)
            rates = [learning_rate(i, config, plan) for i in range(steps)]
            top = rates.index(max(rates))
            assert rates[top] == pytest.approx(config.lr)
            # Never twice as steep as the shortened warm-up.
            warm = warm_up_steps(config, steps)
            assert max(b - a for a, b in pairwise(rates)) <= 2.01 * config.lr / warm
            assert top <= place + warm
            # What falls begins later by as much, and still ends at the last step.
            held = sum(rate == pytest.approx(config.lr) for rate in rates)
            if schedule != "constant":
                assert rates[-1] == pytest.approx(0.0, abs=1e-12)
                assert abs(held - 1 - round(hold * steps / config.steps)) <= 1
                assert max(a - b for a, b in pairwise(rates)) < 0.15 * config.lr


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
@pytest.mark.parametrize("seconds", [0.5, 0.1])
def test_steps_that_are_held_are_a_share_of_those_that_fit(seconds: float, schedule: str) -> None:
    config = TrainConfig(steps=100_000, minutes=5, warmup_steps=20, hold_steps=90_000, schedule=schedule)
    budget, step = spent(config, [seconds] * 200 + [0.5])
    rates = [learning_rate(i, config, budget.plan) for i in range(step)]
    held = sum(rate == config.lr for rate in rates)
    assert 0.8 * step < held < 0.92 * step
    assert rates[-1] == pytest.approx(config.min_lr)
    assert all(b <= a for a, b in pairwise(rates[20:]))
    if schedule == "linear":
        assert max(a - b for a, b in pairwise(rates[20:])) < 0.06 * config.lr


def test_a_run_without_a_fall_says_so() -> None:
    config = TrainConfig(steps=100, warmup_steps=20, hold_steps=80)
    said = warm_up_warning(config, 100)
    assert said is not None
    assert "ends at step 100, before its learning rate falls" in said
    assert said.endswith("set more --train.steps, or start again in another --out with --train.hold-steps 40")
    assert warm_up_warning(config.replace(hold_steps=40), 100) is None
    assert warm_up_warning(config.replace(hold_steps=79), 100) is None
    # Fewer steps that are fitted hold fewer.
    assert warm_up_warning(config.replace(hold_steps=70, minutes=1), 80) is None
    assert warm_up_warning(config, 100, stopped_at=50) is None


@pytest.mark.parametrize("minutes", [10, 2, None])
@pytest.mark.parametrize("step", [100, 600])
def test_other_minutes_are_fitted_again_from_the_step_that_is_resumed(minutes: float | None, step: int) -> None:
    config = TrainConfig(steps=8000, warmup_steps=50, minutes=minutes)
    # One number was fitted after the checkpoint that the run continues from.
    budget, last = spent(config, [0.5], ((20, 900), (300, 650)), step, fitted=5)
    assert last == budget.steps
    assert budget.fitted == minutes
    assert [place for place, _ in budget.plan] == sorted({place for place, _ in budget.plan})
    if minutes is None:
        assert last == 8000
    else:
        assert 0.9 * 60 * minutes <= 0.5 * (last - step) <= 60 * minutes
    before = learning_rate(step - 1, config, tuple(each for each in budget.plan if each[0] < step))
    rates = [before, *(learning_rate(i, config, budget.plan) for i in range(step, last))]
    assert max(abs(b - a) for a, b in pairwise(rates)) < 0.02 * config.lr
    assert rates[-1] == pytest.approx(config.min_lr)
    # The objective's schedules (decays, masks) go on likewise.
    shares = [training_progress(i, config, budget.plan) for i in range(step, last + 1)]
    assert all(0 <= b - a < 0.02 for a, b in pairwise(shares))
    assert shares[-1] == 1


def test_the_time_left_is_that_to_the_nearer_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("auricle.training.progress.time.perf_counter", lambda: now[0])
    line = ProgressLine(100, enabled=False)
    now[0] = 10.0
    assert line.left(10) == pytest.approx(90)
    line.deadline = 25.0
    assert line.left(10) == pytest.approx(15)
    line.steps = 15
    assert line.left(10) == pytest.approx(5)


def test_a_run_writes_down_its_number_of_steps_and_resumes_by_it(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            now[0] += 0.5
            return now[0]

    monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(Budget.__init__, "__defaults__", ((), None, Clock.perf_counter))
    toy.loader.end = 12
    with pytest.raises(TrainingError, match="loader ended after step 12 of"):
        toy.go(steps=1000, minutes=0.5)
    record = unseal((toy.path / "run.json").read_text())
    assert len(record["plan"]) > 0
    total = record["plan"][-1][1]
    assert 12 < total < 60
    toy.loader.end = None
    assert record["minutes"] == 0.5
    assert toy.go(resume=True, steps=1000, minutes=0.5)[0] == "complete"
    lines = read_metrics(toy.path)
    assert lines[-1]["step"] == total
    assert lines[-1]["lr"] == pytest.approx(toy.config.min_lr)
    state = unseal((toy.path / "checkpoints" / f"step-{total:08d}" / "training.json").read_text())
    assert state["progress"]["steps"] == total
    assert "steps fit into train.minutes (0.5)" in (toy.path / "events.log").read_text()
    with pytest.raises(TrainingError, match=rf"the {total} steps that fit into train.minutes 0.5.* --train.minutes 5$"):
        toy.go(resume=True, steps=1000, minutes=5)
    with pytest.raises(TrainingError, match=rf"all its {total} steps are done; nothing is left"):
        toy.go(resume=True, steps=1000, minutes=0.5)
    # Without its last checkpoint it has steps left: other minutes give it more, and are kept for the next time.
    shutil.rmtree(toy.path / "checkpoints" / f"step-{total:08d}")
    assert toy.go(resume=True, steps=1000, minutes=1)[0] == "complete"
    record = unseal((toy.path / "run.json").read_text())
    assert record["plan"][-1][1] > total + 10
    assert record["minutes"] == 1


def test_a_run_shorter_than_its_warm_up_is_warned_of_at_its_start(toy) -> None:
    toy.go(steps=3, warmup_steps=5)
    assert "inside its warm-up of 5 steps" in (toy.path / "events.log").read_text()


def test_a_run_whose_time_is_over_in_its_warm_up_says_so(toy) -> None:
    assert toy.go(minutes=1e-9)[0] == "out of time"
    assert (
        "the run stopped at step 1 (train.minutes is 1e-09), inside its warm-up of 2 steps"
        in (toy.path / "events.log").read_text()
    )
