"""What a recipe says of the publication that it follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from auricle.config import Config


@dataclass(frozen=True)
class Reference(Config):
    """The publication that a recipe follows.

    Attributes:
        title: of the method.
        authors: of the publication.
        arxiv: its number.
        section: parts of the publication, and of released code, that the recipe was written from.
    """

    title: str = ""
    authors: str = ""
    arxiv: str = ""
    section: str = ""


@dataclass(frozen=True)
class Notes(Config):
    """Documentation of a recipe, in words.

    Notes belong to one method: a recipe that is derived from another one states its own.

    Attributes:
        method: name of the recipe that they are written for.
        reference: the publication.
        faithful: as in the paper.
        deviations: every known difference from the publication or its released code.
        not_specified: details that the publication leaves open, where they were searched (`searched`), and the choice
            made here.
        cost: of a training step.
        when_to_use: the audio, budget and purpose that the method suits.
    """

    method: str = ""
    reference: Reference = field(default_factory=Reference)
    faithful: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    not_specified: tuple[str, ...] = ()
    cost: str = ""
    when_to_use: str = ""

    def with_deviations(self, *further: str) -> Notes:
        """Return the notes of one size: with further deviations."""
        return self.replace(deviations=(*self.deviations, *further))


def searched(where: str, *details: str) -> tuple[str, ...]:
    """Return details that are not specified, each with the sources in which they were looked up.

    Args:
        where: the sources, for example `paper, released code`.
        details: with the choice made here.
    """
    return tuple(f"{detail} (searched: {where})" for detail in details)


# A deviation of several methods whose short clips are padded with silence.
PADDED = "padding is neither attended to nor predicted; in the released code it is silence like any other"
