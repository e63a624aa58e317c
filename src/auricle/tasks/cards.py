"""All known cards. A new one goes into the file of its domain; `auricle tasks` lists them."""

from __future__ import annotations

from rich.table import Table

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.tasks.card import TaskCard
from auricle.tasks.cards_animals import CARDS_ANIMALS
from auricle.tasks.cards_builtin import CARDS_BUILTIN
from auricle.tasks.cards_events import CARDS_EVENTS
from auricle.tasks.cards_few import CARDS_FEW
from auricle.tasks.cards_machines import CARDS_MACHINES
from auricle.tasks.cards_music import CARDS_MUSIC
from auricle.tasks.cards_sound import CARDS_SOUND
from auricle.tasks.cards_speech import CARDS_SPEECH
from auricle.tasks.cards_vectors import CARDS_VECTORS

_FAMILIES = (
    CARDS_SOUND,
    CARDS_SPEECH,
    CARDS_MUSIC,
    CARDS_ANIMALS,
    CARDS_MACHINES,
    CARDS_EVENTS,
    CARDS_VECTORS,
    CARDS_FEW,
    CARDS_BUILTIN,
)


def _register(families: tuple[tuple[TaskCard, ...], ...]) -> dict[str, TaskCard]:
    """Cards by name.

    Raises:
        ConfigError: two cards have one name.
    """
    cards: dict[str, TaskCard] = {}
    for card in (card for family in families for card in family):
        if card.name in cards:
            raise ConfigError(f"two task cards are named {card.name!r}; give one of them another name")
        cards[card.name] = card
    return cards


CARDS: dict[str, TaskCard] = _register(_FAMILIES)


def tasks() -> list[TaskCard]:
    """Return all known cards."""
    return list(CARDS.values())


def get_task(name: str) -> TaskCard:
    """Return the card of this name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if name not in CARDS:
        raise ConfigError(f"no task is called {name!r}{nearest(name, CARDS)}")
    return CARDS[name]


def render_cards() -> Table:
    """Return a table of all known tasks for a terminal."""
    table = Table(title="tasks", title_justify="left")
    for column in ("task", "what", "type", "labels", "protocol", "metric", "corpus", "licence"):
        table.add_column(column, overflow="fold")
    for card in CARDS.values():
        kind = card_type(card)
        metric = card.metric or {"single": "accuracy", "multi": "mAP"}.get(card.labels, "accuracy or mAP")
        table.add_row(
            card.name,
            card.title,
            kind,
            card.labels if kind == "clips" else "",
            card.protocol,
            metric if kind == "clips" or card.metric else "",
            card.corpus or "--data",
            card.licence or "-",
        )
    return table


def card_type(card: TaskCard) -> str:
    """Return the type of a task in a word: `clips`, `events`, `verification` ..., from the name of its rule."""
    return type(card.rule).__name__.removesuffix("Rule").lower()
