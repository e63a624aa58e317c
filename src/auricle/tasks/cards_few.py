"""Cards of tasks with few labels, and of sequence recognition."""

from __future__ import annotations

from auricle.tasks.card import TaskCard
from auricle.tasks.few_shot import FewShotRule
from auricle.tasks.label_budget import BudgetRule

_ESC = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015, doi 10.1145/2733373.2806390'

CARDS_FEW: tuple[TaskCard, ...] = (
    TaskCard(
        name="esc10_few_shot",
        title="ESC-10: five classes after five clips of each",
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
        title="ESC-10: five classes after one clip of each",
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
        title="ESC-10: how much is learnt from how few labels",
        labels="single",
        corpus="esc10",
        protocol="folds",
        made="the five official folds; training clips drawn nested, three times, the same ones for every encoder",
        licence="CC BY 3.0",
        citation=_ESC,
        notes="The score is the mean over budgets; chance is 10 %.",
        rule=BudgetRule(budgets=(1, 2, 5, 10, 20), draws=3),
    ),
)
