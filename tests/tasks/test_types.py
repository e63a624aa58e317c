"""Types of tasks: each card finds its code, other packages can add a type, listing cards imports no library."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest

from auricle.errors import ConfigError
from auricle.tasks import types
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import tasks
from auricle.tasks.clips.run import ClipsTask
from auricle.tasks.rule import TaskRule
from auricle.tasks.types import register_task_type, task_type


def test_every_card_finds_the_code_of_its_type() -> None:
    found = {card.rule.type_name: task_type(card) for card in tasks()}
    assert {name: kind.name for name, kind in found.items()} == {name: name for name in types._BUILT_IN}
    for kind in found.values():
        assert set(kind.default_probes) <= set(kind.probes)


@dataclass(frozen=True)
class ToyRule(TaskRule):
    type_name: ClassVar[str] = "toy"


class ToyTask(ClipsTask):
    name: ClassVar[str] = "toy"


class OtherTask(ClipsTask):
    name: ClassVar[str] = "toy"


def test_a_type_of_another_package_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "_LOADED", {})
    card = TaskCard(name="mine", rule=ToyRule())
    with pytest.raises(ConfigError, match=r"'mine' has the rule ToyRule.*call register_task_type"):
        task_type(card)
    kind = ToyTask()
    register_task_type(ToyRule, kind)
    register_task_type(ToyRule, kind)
    assert task_type(card) is kind
    with pytest.raises(ConfigError, match="expected a name that no other type of task has"):
        register_task_type(ToyRule, OtherTask())
    with pytest.raises(ConfigError, match="type_name is 'clips'"):
        register_task_type(type(TaskCard(name="x").rule), ToyTask())
    with pytest.raises(ConfigError, match="type_name is ''"):
        register_task_type(TaskRule, ToyTask())


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import auricle.tasks.cards.registry", "torch sklearn scipy pyarrow datasets rich numpy"),
        (
            "from auricle.tasks.cards.registry import get_task as g; from auricle.tasks.types import task_type as t; "
            "t(g('esc10'))",
            "auricle.tasks.events.run auricle.tasks.sequence.run auricle.tasks.anomaly.run",
        ),
    ],
)
def test_what_is_not_needed_is_not_imported(code: str, banned: str) -> None:
    check = f"import sys; {code}; print([m for m in {banned.split()!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
