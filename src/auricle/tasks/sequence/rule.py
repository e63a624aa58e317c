"""Sequence recognition: settings of the task, and how transcripts are compared.

Texts are compared after `normalise`, so that error rates count what was said and not how it was printed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from auricle.tasks.rule import TaskRule


@dataclass(frozen=True)
class SequenceRule(TaskRule):
    """Sequence recognition; the card's `label` names the column of transcripts.

    Attributes:
        unit: `characters` (a space between words is one), or `phones`: symbols of any kind, separated by white space.
        casefold: treat upper and lower case as equal; characters only.
        punctuation: keep signs that are neither letter, mark, digit nor apostrophe; characters only.
    """

    type_name: ClassVar[str] = "sequence"
    unit: Literal["characters", "phones"] = "characters"
    casefold: bool = True
    punctuation: bool = False

    def normalise(self, text: object) -> str:
        """Return a transcript as it is compared: composed characters (NFC), single spaces, case and signs as set."""
        words = unicodedata.normalize("NFC", "" if text is None else str(text))
        if self.unit == "characters":
            if self.casefold:
                words = unicodedata.normalize("NFC", words.casefold())
            words = words.replace("\u2019", "'")
            if not self.punctuation:
                words = "".join(c if unicodedata.category(c)[0] in "LMN" or c == "'" else " " for c in words)
        return " ".join(words.split())

    def symbols(self, text: str) -> list[str]:
        """Return the symbols of a normalised text."""
        return text.split() if self.unit == "phones" else list(text)

    def text(self, symbols: Iterable[str]) -> str:
        """Return symbols as a text with single spaces."""
        return " ".join(("" if self.unit == "characters" else " ").join(symbols).split())
