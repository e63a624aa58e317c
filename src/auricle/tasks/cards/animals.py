"""Cards of animals."""

from __future__ import annotations

from auricle.tasks.card import TaskCard
from auricle.tasks.cards.published import published

CARDS_ANIMALS: tuple[TaskCard, ...] = (
    published(
        "birdset",
        title="BirdSet: which birds sing in five seconds of a soundscape",
        labels="multi",
        protocol="split",
        made="training: focal recordings (5 s around the first detected event; part validates); test: soundscapes",
        notes=(
            "One region at a time (HSN, NBP, NES, PER, POW, SNE, SSW, UHH). mAP is the class mean (cmAP). Training "
            "recordings are labelled with the foreground bird, test segments with all audible ones."
        ),
    ),
    published(
        "beehive",
        title="Beehives: queen present or absent",
        labels="single",
        protocol="folds",
        folds=2,
        made="two folds, one hive each, as in HEAR; a fifth of the training hive's recordings validates",
        notes="Recordings of 10 minutes: cut them (--segment 60). HEAR reports AUROC.",
    ),
)
