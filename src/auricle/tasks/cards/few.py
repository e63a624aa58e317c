"""Cards of tasks with few labels, and of sequence recognition."""

from __future__ import annotations

from auricle.tasks.card import TaskCard
from auricle.tasks.few_shot.rule import FewShotRule
from auricle.tasks.label_budget.rule import LabelBudgetRule
from auricle.tasks.sequence.rule import SequenceRule

_ESC = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015, doi 10.1145/2733373.2806390'

CARDS_FEW: tuple[TaskCard, ...] = (
    TaskCard(
        name="esc10_few_shot",
        title="ESC-10: five classes, five labelled clips of each",
        labels="single",
        corpus="esc10",
        made="600 episodes of all clips; shots and queries come from different recordings",
        licence="CC BY 3.0",
        citation=_ESC,
        notes="Chance is 20 %.",
        rule=FewShotRule(ways=5, shots=5),
    ),
    TaskCard(
        name="esc10_one_shot",
        title="ESC-10: five classes, one labelled clip of each",
        labels="single",
        corpus="esc10",
        made="600 episodes of all clips; shots and queries come from different recordings",
        licence="CC BY 3.0",
        citation=_ESC,
        notes="Chance is 20 %.",
        rule=FewShotRule(ways=5, shots=1),
    ),
    TaskCard(
        name="esc10_budget",
        title="ESC-10: accuracy over the number of labels",
        labels="single",
        corpus="esc10",
        protocol="folds",
        made="the five official folds; training clips drawn nested, three times, the same ones for every encoder",
        licence="CC BY 3.0",
        citation=_ESC,
        notes="The score is the mean over budgets; chance is 10 %.",
        rule=LabelBudgetRule(budgets=(1, 2, 5, 10, 20), draws=3),
    ),
    TaskCard(
        name="fsdd_asr",
        title="Free spoken digits: spell the word",
        corpus="fsdd",
        label="transcript",
        protocol="folds",
        made="leave one speaker out",
        licence="CC BY-SA 4.0",
        citation="Z. Jackson et al., Free Spoken Digit Dataset, doi 10.5281/zenodo.1342401",
        notes=(
            "3,000 words of 15 letters by six speakers at 8 kHz. Only ten words: words are spelt letter by "
            "letter, but none is new in the test."
        ),
        rule=SequenceRule(),
    ),
    TaskCard(
        name="nemo_asr",
        title="nEMO: Polish sentences, said with six emotions",
        corpus="nemo_pl",
        label="transcript_norm",
        protocol="split",
        metric="cer",
        made="the corpus's split: one actor for validation, two for the test, none of them in training",
        licence="CC BY-NC-SA 4.0",
        citation="I. Christop, nEMO: Dataset of Emotional Speech in Polish, LREC-COLING 2024, pp. 12111-12116",
        notes="360 utterances of 32 sentences: every actor says the same ones, so training contains all texts.",
        rule=SequenceRule(),
    ),
    TaskCard(
        name="ljspeech_asr",
        title="LJ Speech, eight utterances: smoke test of sequence recognition",
        corpus="ljspeech_mini",
        label="transcript_norm",
        protocol="folds",
        folds=4,
        metric="cer",
        source="file",
        made="four folds of two utterances by the same speaker",
        licence="public domain",
        citation="K. Ito, L. Johnson, The LJ Speech Dataset, 2017",
        notes="One minute of speech is too little to learn spelling.",
        rule=SequenceRule(),
    ),
)
