"""Counted nouns in messages and tables."""

from __future__ import annotations


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
