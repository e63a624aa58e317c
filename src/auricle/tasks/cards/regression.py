"""Cards of regression tasks."""

from __future__ import annotations

from auricle.tasks.card import TaskCard
from auricle.tasks.cards.published import published
from auricle.tasks.regression.rule import RegressionRule

_ESC = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015, doi 10.1145/2733373.2806390'

CARDS_REGRESSION: tuple[TaskCard, ...] = (
    TaskCard(
        name="piano_pitch",
        title="Piano notes: which pitch, as a MIDI note number",
        corpus="piano_notes",
        label="midi",
        protocol="folds",
        source="file",
        made="the corpus's folds: training contains the pitches of the test notes, but not their dynamics",
        licence="public domain",
        citation="AKAI Splendid Grand Piano, in github.com/sfzinstruments/SplendidGrandPiano",
        notes="Four dynamics of each note. Pitch accuracy counts predictions within half a semitone.",
        rule=RegressionRule(unit="semitones"),
    ),
    TaskCard(
        name="esc10_level",
        title="ESC-10: root-mean-square level in dB",
        corpus="esc10",
        protocol="folds",
        made="the five official folds; the level is measured from each clip",
        licence="CC BY 3.0",
        citation=_ESC,
        notes="Measures whether an encoder represents the level of its input; many are trained to ignore it.",
        rule=RegressionRule(measured="level", unit="dB"),
    ),
    *(
        published(
            "emomusic",
            f"emomusic_{number}",
            title=f"emoMusic: {number} of an excerpt",
            label=number,
            protocol="split",
            made="training: development clips; test: evaluation clips",
            rule=RegressionRule(),
        )
        for number in ("arousal", "valence")
    ),
)
