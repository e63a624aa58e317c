"""Cards of tasks on clip vectors: verification, retrieval, clustering, anomaly detection."""

from __future__ import annotations

from auricle.tasks.anomaly.rule import AnomalyRule
from auricle.tasks.card import TaskCard
from auricle.tasks.clustering.rule import ClusteringRule
from auricle.tasks.retrieval.rule import RetrievalRule
from auricle.tasks.verification.rule import VerificationRule

_ESC = 'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015, doi 10.1145/2733373.2806390'
_ARABIC = "A. Ghandoura et al., Engineering Applications of Artificial Intelligence 102, 2021"
_FSDD = "Z. Jackson et al., Free Spoken Digit Dataset, doi 10.5281/zenodo.1342401"
_MEDLEY = "V. Lostanlen, C.-E. Cella, Medley-solos-DB, doi 10.5281/zenodo.1344103"

CARDS_VECTORS: tuple[TaskCard, ...] = (
    TaskCard(
        name="arabic_verification",
        title="Arabic commands: same speaker or not",
        corpus="arabic_commands",
        protocol="split",
        made="2,000 trials among ten speakers, none of them in the training part",
        licence="CC BY 4.0",
        citation=_ARABIC,
        notes="Words of one second; MFCC statistics and cosine: 21.1 % equal error rate.",
        rule=VerificationRule(),
    ),
    TaskCard(
        name="fsdd_verification",
        title="Free spoken digits: same speaker or not",
        corpus="fsdd",
        protocol="split",
        made="2,000 trials of the test clips of three speakers; the other three are training data",
        licence="CC BY-SA 4.0",
        citation=_FSDD,
        rule=VerificationRule(trials="", made_of=3),
    ),
    TaskCard(
        name="esc10_retrieval",
        title="ESC-10: find sounds of the same class by example",
        labels="single",
        corpus="esc10",
        made="all clips are queries and gallery; clips of the query's own recording are excluded",
        licence="CC BY 3.0",
        citation=_ESC,
        rule=RetrievalRule(),
    ),
    TaskCard(
        name="medley_retrieval",
        title="Medley-solos: find the same instrument by example",
        labels="single",
        corpus="medley_solos_mini",
        protocol="folds",
        made="all clips are queries and gallery",
        licence="CC BY 4.0",
        citation=_MEDLEY,
        rule=RetrievalRule(),
    ),
    TaskCard(
        name="esc10_clustering",
        title="ESC-10: agreement of clusters and classes",
        labels="single",
        corpus="esc10",
        made="all clips in ten clusters",
        licence="CC BY 3.0",
        citation=_ESC,
        rule=ClusteringRule(),
    ),
    TaskCard(
        name="esc10_anomaly",
        title="ESC-10: each class is normal in turn, the others are anomalous",
        labels="single",
        corpus="esc10",
        protocol="folds",
        made="the five official folds; models are fitted to the normal clips of the other four",
        licence="CC BY 3.0",
        citation=_ESC,
        rule=AnomalyRule(),
    ),
    TaskCard(
        name="scenes_anomaly",
        title="Built-in sounds: each source is normal in turn, the others are anomalous",
        labels="single",
        corpus="builtin:single?clips=600&seed=0",
        protocol="folds",
        made="five folds; no voice is in two folds",
        licence="Apache-2.0 (made by auricle)",
        citation="auricle",
        rule=AnomalyRule(),
    ),
)
