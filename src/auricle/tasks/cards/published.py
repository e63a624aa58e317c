"""Cards of published data sets, from the facts of `auricle.corpus.published`."""

from __future__ import annotations

from typing import Any

from auricle.corpus.published.archive import LAYOUT
from auricle.corpus.published.data_sets import DATA_SETS
from auricle.tasks.card import TaskCard


def published(data: str, name: str = "", *, layout: str = "", **card: Any) -> TaskCard:
    """Make the card of a task on a published data set: corpus, licence and citation are the data set's.

    Args:
        data: name of the data set.
        name: of the task; the data set's by default.
        layout: name of the folder layout; the data set's by default.
        card: the other fields of `TaskCard`.
    """
    known = DATA_SETS[data]
    layout = layout or known.layout
    return TaskCard(
        name=name or data,
        corpus=f"{LAYOUT}{layout}" if layout else "",
        licence=known.licence,
        citation=known.citation,
        **card,
    )
