"""Cards of machines: anomalies that training data lack."""

from __future__ import annotations

from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.published import published

_UNITS = AnomalyRule(normal=("normal",), domain="unit")

CARDS_MACHINES: tuple[TaskCard, ...] = (
    published(
        "mimii",
        title="MIMII: anomalies of fans, pumps, sliders and valves",
        labels="single",
        protocol="split",
        rule=_UNITS,
        made="made here, by unit; test: all abnormal clips and as many normal ones; training: the other normal ones",
        notes="One model for each unit, as in the DCASE challenges; AUC and partial AUC (0.1) are means over units.",
    ),
    published(
        "dcase2020_task2",
        title="DCASE 2020 task 2: anomalies of six machines",
        labels="single",
        protocol="split",
        rule=_UNITS,
        made="the development part: normal training clips, normal and anomalous test clips of each machine id",
        notes="The challenge averages over ids of a machine, then over machines; here all ids have equal weight.",
    ),
    published(
        "dcase2023_task2",
        title="DCASE 2023 task 2: anomalies of seven machines, with shifted domains",
        labels="single",
        protocol="split",
        rule=_UNITS,
        made="the development part: one model for each machine and section",
        notes=(
            "The sets of 2021, 2022 and 2024 work too. The challenge reports the harmonic mean, and AUC for "
            "source and target domain separately; here one AUC for each section covers both."
        ),
    ),
)
