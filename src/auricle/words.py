"""Counted nouns in messages and tables, and names that are close to a mistyped one."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = re.compile(r"[^\W_]+")
# More names that are equally close are no guess any more.
_GUESSES = 3


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 clip`, `2 clips`, `3 classes`.

    Args:
        number: how many.
        noun: in the singular; of several words the last is counted ("test clip").

    Examples:
        >>> counted(1, "seed"), counted(2, "class"), counted(0, "entry")
        ('1 seed', '2 classes', '0 entries')
    """
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a noun; of several words, that of the last.

    Examples:
        >>> plural("test clip"), plural("family"), plural("corpus")
        ('test clips', 'families', 'corpora')
    """
    if noun.endswith("corpus"):
        return f"{noun[:-2]}ora"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def was(number: int) -> str:
    """Return the verb of a counted noun: `1 clip was skipped`, `2 clips were skipped`.

    Examples:
        >>> was(1), was(0)
        ('was', 'were')
    """
    return "was" if number == 1 else "were"


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """Return the names that are closest to what was asked for, none where several fit alike or none is near.

    Near are: another case or other separators, a few typing errors, one of the words (`scan` of `corpus scan`), and
    the begin or end (`train` of `pretrain`).
    """
    asked = _letters(name)
    allowed = 0 if len(asked) < 3 else 1 + (len(asked) > 5) + (len(asked) > 9)
    found: dict[float, list[str]] = {}
    for other in names:
        own = _letters(other)
        if own == asked:
            far: float = 0
        elif abs(len(own) - len(asked)) <= allowed and (typed := _typing_errors(asked, own, allowed)) <= allowed:
            far = typed
        elif allowed and asked in map(_letters, _WORDS.findall(other)):
            far = 1.5
        elif len(asked) > 3 and (own.startswith(asked) or own.endswith(asked)):
            far = 3.5
        else:
            continue
        found.setdefault(far, []).append(other)
    best = found[min(found)] if found else []
    return best if len(best) <= _GUESSES else []


def _letters(name: str) -> str:
    return "".join(_WORDS.findall(name.lower()))


def _typing_errors(one: str, other: str, most: int) -> int:
    """Return how many letters are missing, added, wrong or swapped with their neighbour; above `most`, at least that.

    Optimal string alignment, row by row.
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, its in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
