"""What the README counts is counted here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from auricle.cli import VERBS, main
from auricle.corpus.published.layouts.opening import LAYOUTS
from auricle.corpus.synthetic.render import FOLDS, class_names
from auricle.corpus.synthetic.scenes import parse_builtin
from auricle.demo import LABELLED, STEPS, TRAINING
from auricle.recipes import recipes
from auricle.recipes.families import families
from auricle.tasks.cards.registry import tasks
from auricle.tasks.clips.run import ClipsTask

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = {"six": 6, "eight": 8, "ten": 10, "sixteen": 16}


def number(pattern: str) -> int:
    found = re.search(pattern, README)
    assert found, pattern
    return WORDS.get(found.group(1)) or int(found.group(1).replace(",", ""))


def test_numbers() -> None:
    own = {method.name for method in recipes() if method.module.startswith("auricle.")}
    assert number(r"(\d+) recipes") == len(own)
    assert number(r"all (\w+) paradigms") == len({method.paradigm for method in recipes()})
    assert number(r"(\d+) families") == len([name for name in families() if name != "log-mel-statistics"])
    assert number(r"(\d+) layouts") == len(LAYOUTS)
    assert number(r"(\w+) types of task") == len({card.rule.type_name for card in tasks()})
    assert number(r"(\d+) probes") == len(ClipsTask.probes)


def test_numbers_of_the_demonstration() -> None:
    assert number(r"for (\d+) steps on") == STEPS
    training, labelled = parse_builtin(TRAINING.format(1)), parse_builtin(LABELLED.format(0))
    assert number(r"([\d,]+) synthetic sounds") == training.clips
    classes = number(r"on (\w+) classes with")
    assert classes == len(class_names())
    each = number(r"with (\w+)\s+clips of each to train")
    assert each == number(r"to train and (\w+) to validate")
    assert labelled.clips == FOLDS * classes * each
    assert [labelled.split(fold) for fold in range(1, FOLDS + 1)].count("train") == 1
    assert number(r"the (\d+) test clips") == 3 * classes * each


def test_commands_exist() -> None:
    for verb in re.findall(r"^    auricle (?:--plugin \w+ )?([\w-]+)", README, re.MULTILINE):
        assert verb in VERBS


def commands() -> list[tuple[str, list[str]]]:
    """Return the commands of auricle in the README and the documents: page, and words without comments."""
    found = []
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for line in page.read_text(encoding="utf-8").splitlines():
            command = re.match(r"^(?:    |\$ )?auricle (?:--plugin \w+ )?(.*)", line)
            if command and command[1].split()[0] in VERBS:
                found.append((page.name, shlex.split(command[1], comments=True)))
    return found


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda value: " ".join(value))
def test_flags_exist(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    named = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    # A recipe of the reader's own has the flags of any other one.
    verb = ["pretrain", "cola"] if words[0] == "pretrain" else words[: 2 if words[0] in ("corpus", "check") else 1]
    task = ["--task", "folder"] if words[0] in ("probe", "finetune") else []
    with pytest.raises(SystemExit):
        main([*verb, *task, "--help-all"])
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out)) | {"--objective.weight"}
    assert {word for word in words[named:] if word.startswith("--")} <= known


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
