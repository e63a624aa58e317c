"""All known cards, as data: listing them imports no library. A new card goes into the file of its domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.animals import CARDS_ANIMALS
from auricle.tasks.cards.builtin import CARDS_BUILTIN
from auricle.tasks.cards.events import CARDS_EVENTS
from auricle.tasks.cards.few import CARDS_FEW
from auricle.tasks.cards.folder import CARDS_FOLDER
from auricle.tasks.cards.machines import CARDS_MACHINES
from auricle.tasks.cards.music import CARDS_MUSIC
from auricle.tasks.cards.regression import CARDS_REGRESSION
from auricle.tasks.cards.sound import CARDS_SOUND
from auricle.tasks.cards.speech import CARDS_SPEECH
from auricle.tasks.cards.vectors import CARDS_VECTORS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

CARDS: dict[str, TaskCard] = {}


def register_task(card: TaskCard) -> None:
    """Add a card under its name, for example from a plug-in.

    Raises:
        ConfigError: another card has this name.
    """
    if CARDS.setdefault(card.name, card) != card:
        raise ConfigError(f"two task cards are named {card.name!r}; rename one")


for _card in (
    *CARDS_SOUND,
    *CARDS_SPEECH,
    *CARDS_MUSIC,
    *CARDS_ANIMALS,
    *CARDS_MACHINES,
    *CARDS_EVENTS,
    *CARDS_VECTORS,
    *CARDS_FEW,
    *CARDS_REGRESSION,
    *CARDS_FOLDER,
    *CARDS_BUILTIN,
):
    register_task(_card)


def tasks() -> list[TaskCard]:
    """Return all known cards.

    Examples:
        >>> [card.name for card in tasks()][:2]
        ['esc10', 'esc50_dev20']
    """
    return list(CARDS.values())


def get_task(name: str) -> TaskCard:
    """Return the card of this name.

    Raises:
        ConfigError: there is none; names the nearest.

    Examples:
        >>> get_task("esc10").licence
        'CC BY 3.0'
    """
    if name not in CARDS:
        raise ConfigError(f"no task is called {name!r}{nearest(name, CARDS)}")
    return CARDS[name]


def render_cards() -> Group:
    """Return tables of all known tasks for a terminal, one for each type."""
    from rich.console import Group
    from rich.table import Table

    tables = {}
    for card in CARDS.values():
        kind = card.rule.type_name
        if kind not in tables:
            tables[kind] = Table(title=f"tasks of type {kind}", title_justify="left")
            tables[kind].add_column("task", no_wrap=True)
            tables[kind].add_column("title", overflow="fold")
            tables[kind].add_column("data", overflow="fold")
        tables[kind].add_row(card.name, card.title, card.corpus or "your own: --data")
    return Group(*tables.values())


def render_card(card: TaskCard) -> Table:
    """Return all fields of a card, for a terminal."""
    from rich.table import Table

    table = Table(title=card.name, title_justify="left", show_header=False)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    kind = card.rule.type_name
    for name, value in (
        ("title", card.title),
        ("type", f"{kind}, {card.labels} labels" if kind == "clips" else kind),
        ("data", card.corpus or "your own folder or table: --data"),
        ("label column", card.label),
        ("division", f"{card.protocol}: {card.made}" if card.made else card.protocol),
        ("metric", card.metric or "the type's usual"),
        ("licence", card.licence),
        ("citation", card.citation),
        ("notes", card.notes),
        ("settings", ", ".join(f"--rule.{k} {v}" for k, v in card.rule.to_json().items() if k != "kind")),
    ):
        if value:
            table.add_row(name, str(value))
    return table
