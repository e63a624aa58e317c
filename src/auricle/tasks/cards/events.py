"""Cards of sound-event tasks on small real corpora."""

from __future__ import annotations

from auricle.tasks.card import TaskCard
from auricle.tasks.events.rule import EventsRule

CARDS_EVENTS: tuple[TaskCard, ...] = (
    TaskCard(
        name="sed_synth_events",
        title="Synthetic soundscapes of real events: onset, offset and class",
        corpus="sed_synth",
        protocol="split",
        source="file",  # its column `source` names the ESC folds of a split, not what a scene was mixed from
        rule=EventsRule(frame=0.08),
        made="splits use disjoint ESC-50 folds: no source recording is in two splits",
        licence="CC BY 3.0",
        citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM MM 2015",
        notes="Six event classes over three backgrounds; onset and offset are exact.",
    ),
    TaskCard(
        name="bengalese_finch_events",
        title="Bengalese finch song: onset, offset and class of syllables",
        corpus="bengalese_finch",
        protocol="split",
        metric="event_f1",
        rule=EventsRule(
            frame=0.01, collar=0.02, smooth=(0.0, 0.03, 0.05), shortest=(0.0, 0.02, 0.03), least=40, psds=False
        ),
        made="splits by recording day: the last day of each bird is the test",
        licence="CC BY 4.0",
        citation="D. Nicholson, J. E. Queen, S. J. Sober, Bengalese Finch song repository, figshare 2017",
        notes=(
            "Syllables of two birds (letters of different birds are unrelated), median length 62 ms, gaps of 24 ms. "
            "Syllables sung fewer than 40 times are excluded. The collar is 20 ms, half of the shortest tenth."
        ),
    ),
    TaskCard(
        name="mdb_drums_onsets",
        title="Drum transcription: onset and kind of drum hits",
        corpus="mdb_drums",
        protocol="split",
        rule=EventsRule(sounds="onsets", frame=0.02, collar=0.05, shortest=(0.04, 0.08)),
        made="the split of MIREX 2017; a quarter of the training recordings validates",
        licence="CC BY-NC-SA 4.0",
        citation="C. Southall et al., MDB Drums, ISMIR 2017 late-breaking",
        notes="Onsets only: offsets are set 0.1 s later by convention. Tolerance of 50 ms, as in MIREX.",
    ),
)
