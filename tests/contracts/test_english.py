"""Code, help, errors and documents are plain English of the field: no word stands for another one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "auricle"

# What is not written, and what is written instead.
BANNED: dict[str, str] = {
    r"heard": "seen in pre-training",
    r"mend(s|ed|ing)?": "fix, change",
    r"(put|set|left) aside": "skipped, excluded",
    r"(?<!\.)tells?|told|telling": "evaluate, measure, report, show, say",
    r"judge(s|d|ment)?|judging": "evaluate, score",
    r"subjects? under test|under test": "evaluated encoder",
    r"two_cores": "small scale",
    r"training[-_ ]free": "shallow classifiers",
    r"compat": "kits",
    r"strangers?": "unknown, foreign, other",
    r"so (many|much) of": "a number of",
    r"not clearly|clearly": "the interval excludes zero / overlaps",
    r"dealt?|dealing": "assign",
    r"handed (on|down)|hand(s)? on": "pass, give",
    r"laid over|lay over": "apply to",
    r"a word of": "(leave it out)",
    r"the stage before": "the previous stage",
    r"never stops anything": "never aborts a run",
    r"chooses? it": "when to use",
    r"what (it )?must beat|stands? beside": "baseline, random-weight control",
    r"(by|from) hand": "manually",
}
PATTERN = re.compile(r"\b(?:" + "|".join(f"(?:{word})" for word in BANNED) + r")\b", re.IGNORECASE)
FILES = sorted(
    [*SOURCE.rglob("*.py"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")],
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_banned_word(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").split("\n")
    found = [
        f"{number}: {match.group()!r}: {line.strip()[:100]}"
        for number, line in enumerate(lines, 1)
        for match in PATTERN.finditer(line)
    ]
    assert not found, "\n".join(found)
