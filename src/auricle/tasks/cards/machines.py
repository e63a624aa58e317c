"""Cards of machines: anomalies of which nothing was heard in training."""

from __future__ import annotations

from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.published import published

_UNITS = AnomalyRule(normal=("normal",), domain="unit")

CARDS_MACHINES: tuple[TaskCard, ...] = (
    published(
        "mimii",
        title="MIMII: does this fan, pump, slider, valve sound as it should",
        labels="single",
        protocol="split",
        rule=_UNITS,
        made="made here: of each unit all abnormal clips and as many normal ones judge, the other normal ones teach",
        notes="One model for each unit, as in the DCASE challenges; AUC and partial AUC (0.1) are means over units.",
    ),
    published(
        "dcase2020_task2",
        title="DCASE 2020 task 2: anomalies of six machines",
        labels="single",
        protocol="split",
        rule=_UNITS,
        made="the development part: normal training clips, normal and anomalous test clips of each machine id",
        notes="The challenge averages over ids of a machine, then over machines: here all ids count the same.",
    ),
    published(
        "dcase2023_task2",
        title="DCASE 2023 task 2: anomalies of seven machines, with shifted domains",
        labels="single",
        protocol="split",
        rule=_UNITS,
        made="the development part: one model for each machine and section",
        notes=(
            "Also reads the sets of 2021, 2022 and 2024. The challenge takes the harmonic mean, and AUC of source and "
            "target domain apart; here one AUC for each section over both."
        ),
    ),
)
