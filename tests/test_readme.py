"""What the README counts is counted here."""

from __future__ import annotations

import re
from pathlib import Path

from auricle.cli import VERBS
from auricle.corpus.published.layouts.opening import LAYOUTS
from auricle.recipes import recipes
from auricle.recipes.families import families
from auricle.tasks.cards.registry import tasks
from auricle.tasks.clips.run import ClipsTask

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = {"ten": 10, "six": 6}


def number(pattern: str) -> int:
    found = re.search(pattern, README)
    assert found, pattern
    return WORDS.get(found.group(1)) or int(found.group(1))


def test_numbers() -> None:
    own = {method.name for method in recipes() if method.module.startswith("auricle.")}
    assert number(r"(\d+) recipes") == len(own)
    assert number(r"all (\w+) paradigms") == len({method.paradigm for method in recipes()})
    assert number(r"(\d+) families") == len([name for name in families() if name != "log-mel-statistics"])
    assert number(r"(\d+) layouts") == len(LAYOUTS)
    assert number(r"(\w+) types of task") == len({card.rule.type_name for card in tasks()})
    assert number(r"(\d+) probes") == len(ClipsTask.probes)


def test_commands_exist() -> None:
    for verb in re.findall(r"^    auricle (?:--plugin \w+ )?([\w-]+)", README, re.MULTILINE):
        assert verb in VERBS


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
