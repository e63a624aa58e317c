"""Cards of tasks on the built-in corpus, and of the user's own folder."""

from __future__ import annotations

from auricle.tasks.card import TaskCard

CARDS_BUILTIN: tuple[TaskCard, ...] = (
    TaskCard(
        name="scenes",
        title="Built-in scenes: which synthetic sources occur in a clip",
        labels="multi",
        corpus="builtin:scenes?clips=600&seed=0",
        protocol="folds",
        source="file",  # its column `source` names the fold, whose voices scenes share that are drawn one by one
        made="five folds; no voice is in two folds",
        licence="Apache-2.0 (made by auricle)",
        citation="auricle",
        notes="Several short events over a background, all factors known. Intervals do not cover other voices.",
    ),
    TaskCard(
        name="scenes_single",
        title="Built-in sounds: one synthetic source a clip",
        labels="single",
        corpus="builtin:single?clips=600&seed=0",
        protocol="folds",
        made="five folds; no voice is in two folds",
        licence="Apache-2.0 (made by auricle)",
        citation="auricle",
        notes="One event a clip, all factors known.",
    ),
    TaskCard(
        name="folder",
        title="Your own labelled folder",
        notes=(
            "Labels come from sub-folders, or from a metadata.csv with columns file,label and, where known, split, "
            "fold and source. Several labels are joined by ';'. A split takes precedence over folds; "
            "without either, stratified folds are made that keep clips of a source (else of a file) together."
        ),
    ),
)
