"""Cards of known tasks. A new one is an entry in `CARDS`; `auricle tasks` lists them."""

from __future__ import annotations

from rich.table import Table

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.tasks.card import TaskCard

ESC = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015, doi 10.1145/2733373.2806390'

CARDS: dict[str, TaskCard] = {
    card.name: card
    for card in (
        TaskCard(
            name="esc10",
            title="ESC-10: ten environmental sounds",
            labels="single",
            corpus="esc10",
            protocol="folds",
            made="the five official folds; every source recording lies in one fold",
            licence="CC BY 3.0",
            citation=ESC,
            notes="400 clips of 5 s. Human 95.7 %; MFCC statistics with an RBF SVM 87.0 %.",
        ),
        TaskCard(
            name="esc50_dev20",
            title="ESC-50 dev20: twenty more environmental sounds",
            labels="single",
            corpus="esc50_dev20",
            protocol="folds",
            made="the official folds of ESC-50, 20 classes outside ESC-10",
            licence="CC BY-NC 3.0",
            citation=ESC,
            notes="800 clips of 5 s. MFCC statistics with an RBF SVM 73.4 %. Not comparable with the full ESC-50.",
        ),
        TaskCard(
            name="sed_synth",
            title="Synthetic soundscapes: which of six events occur in a clip",
            labels="multi",
            corpus="sed_synth",
            protocol="split",
            made="the official split: training, validation and test scenes are mixed from disjoint ESC folds",
            licence="CC BY 3.0",
            citation=ESC,
            notes="150 scenes of 10 s, two to six events each, over a background that is not labelled.",
        ),
        TaskCard(
            name="fsdd",
            title="Free spoken digits, with speakers that were never heard in training",
            labels="single",
            corpus="fsdd",
            protocol="folds",
            source="source",
            made="leave one speaker out",
            licence="CC BY-SA 4.0",
            citation="Z. Jackson et al., Free Spoken Digit Dataset, doi 10.5281/zenodo.1342401",
            notes="3,000 digits of six speakers at 8 kHz.",
        ),
        TaskCard(
            name="fsdd_speakers",
            title="Free spoken digits: who speaks",
            labels="single",
            corpus="fsdd",
            label="source",
            protocol="split",
            source="file",
            made="the official split: takes 0 to 4 of each digit and speaker are the test",
            licence="CC BY-SA 4.0",
            citation="Z. Jackson et al., Free Spoken Digit Dataset, doi 10.5281/zenodo.1342401",
            notes="Six speakers; saturated for most encoders.",
        ),
        TaskCard(
            name="scenes",
            title="Built-in scenes: which synthetic sources occur in a clip",
            labels="multi",
            corpus="builtin:scenes?clips=600&seed=0",
            protocol="folds",
            made="five folds; every fold has voices of its own",
            licence="Apache-2.0 (made by auricle)",
            citation="auricle",
            notes="Several short events over a background, all factors known.",
        ),
        TaskCard(
            name="scenes_single",
            title="Built-in sounds: one synthetic source a clip",
            labels="single",
            corpus="builtin:single?clips=600&seed=0",
            protocol="folds",
            made="five folds; every fold has voices of its own",
            licence="Apache-2.0 (made by auricle)",
            citation="auricle",
            notes="One event a clip, all factors known.",
        ),
        TaskCard(
            name="folder",
            title="Your own labelled folder",
            notes=(
                "Labels come from sub-folders, or from a metadata.csv with columns file,label and, where known, split, "
                "fold and source. Several labels are joined by ';'. The corpus's split comes first, then its folds; "
                "where it has neither, stratified folds are made that keep clips of a source (else of a file) together."
            ),
        ),
    )
}


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
    for column in ("task", "what", "labels", "protocol", "metric", "corpus", "licence"):
        table.add_column(column, overflow="fold")
    for card in CARDS.values():
        metric = card.metric or {"single": "accuracy", "multi": "mAP"}.get(card.labels, "accuracy or mAP")
        table.add_row(
            card.name, card.title, card.labels, card.protocol, metric, card.corpus or "--data", card.licence or "-"
        )
    return table
