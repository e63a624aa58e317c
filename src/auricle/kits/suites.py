"""The published suites of tasks: which card stands for which of their tasks, and which have none, and why.

HEAR, EVAR, X-ARES, MARBLE and SUPERB share data sets but not divisions: `differs` says in what a number made with the
card (protocol `strict`) is not the suite's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task


@dataclass(frozen=True)
class SuiteTask:
    """A task of a suite.

    Attributes:
        name: as the suite has it.
        card: name of the card that stands for it; "" if there is none.
        differs: what of the suite's own division or selection the card does not have; why there is no card.
    """

    name: str
    card: str = ""
    differs: str = ""


_FOLDS = "its folds are its own"
_SAMPLED = "it takes a random selection of 5 or 50 hours"
_GENERATES = "its answer is sound or text, which no reader of tokens gives here"
_RUNS = "it is judged on sequences of speakers or words in time; there is no such type of task here"

SUITES: dict[str, tuple[SuiteTask, ...]] = {
    "hear": (
        SuiteTask("dcase2016_task2", "dcase2016_task2"),
        SuiteTask("nsynth_pitch", "nsynth_pitch", _SAMPLED),
        SuiteTask("speech_commands", "speech_commands_12", "it judges on the publisher's separate test archive"),
        SuiteTask("beehive", "beehive"),
        SuiteTask("beijing_opera", "beijing_opera", _FOLDS),
        SuiteTask("coughvid", "coughvid", _FOLDS),
        SuiteTask("esc50", "esc50"),
        SuiteTask("fsd50k", "fsd50k"),
        SuiteTask("gunshot_triangulation", "gunshots"),
        SuiteTask("libricount", "libricount", _FOLDS),
        SuiteTask("maestro", "maestro_notes", "it takes 5 hours and makes five folds of them"),
        SuiteTask("mridangam_stroke", "mridangam_stroke", _FOLDS),
        SuiteTask("mridangam_tonic", "mridangam_tonic", _FOLDS),
        SuiteTask("crema_d", "crema_d", _FOLDS),
        SuiteTask("gtzan_genre", "gtzan", _FOLDS),
        SuiteTask("gtzan_music_speech", "gtzan_music_speech", _FOLDS),
        SuiteTask("vocal_imitation", "vocal_imitation", _FOLDS),
        SuiteTask("vox_lingua_top10", "vox_lingua", "it keeps the ten most frequent languages; " + _FOLDS),
    ),
    "evar": (
        SuiteTask("as20k", "as20k", "which videos are still there differs between laboratories"),
        SuiteTask("fsd50k", "fsd50k"),
        SuiteTask("esc50", "esc50"),
        SuiteTask("us8k", "us8k"),
        SuiteTask("spcv2", "speech_commands_v2"),
        SuiteTask("vc1", "voxceleb1"),
        SuiteTask("voxforge", "voxforge"),
        SuiteTask("cremad", "crema_d", "give its table as ?split="),
        SuiteTask("gtzan", "gtzan"),
        SuiteTask("nsynth", "nsynth_instrument"),
        SuiteTask("surge", "surge_pitch", "its division of tones is a table of its own"),
    ),
    "xares": (
        SuiteTask("asvspoof2015", "asvspoof2015", "it judges on a selection"),
        SuiteTask("clotho", "", "it learns texts beside sounds; the layout `clotho` opens the data"),
        SuiteTask("crema_d", "crema_d", "its split is its own"),
        SuiteTask("desed", "desed", "it chooses and judges on the validation part"),
        SuiteTask("esc50", "esc50"),
        SuiteTask("fluent_speech_commands", "fluent_speech_commands"),
        SuiteTask("fma_small", "fma_small"),
        SuiteTask("fsd50k", "fsd50k"),
        SuiteTask("fsdkaggle2018", "fsdkaggle2018", "it chooses and judges on the test part"),
        SuiteTask("gtzan", "gtzan", _FOLDS),
        SuiteTask("libricount", "libricount", _FOLDS),
        SuiteTask("librispeech_100h", "librispeech_asr", "its reader is a frozen language model"),
        SuiteTask("librispeech_male_female", "librispeech_gender"),
        SuiteTask("maestro", "maestro_notes", "it judges segments of 0.1 s"),
        SuiteTask("nsynth_instrument", "nsynth_instrument"),
        SuiteTask("ravdess", "ravdess", _FOLDS),
        SuiteTask("speech_commands_v1", "speech_commands_v1"),
        SuiteTask("us8k", "us8k"),
        SuiteTask("vocal_imitation", "vocal_imitation", _FOLDS),
        SuiteTask("vocalsound", "vocalsound"),
        SuiteTask("voxceleb1", "voxceleb1"),
        SuiteTask("voxlingua33", "vox_lingua", "it trains on a selection of the whole set, and judges on this part"),
    ),
    "marble": (
        SuiteTask("mtt", "magnatagatune"),
        SuiteTask("mtg_genre", "mtg_jamendo_genre"),
        SuiteTask("mtg_instrument", "mtg_jamendo_instrument"),
        SuiteTask("mtg_mood", "mtg_jamendo_moodtheme"),
        SuiteTask("mtg_top50", "mtg_jamendo_top50tags"),
        SuiteTask("emo_arousal", "emomusic_arousal", "MARBLE predicts both numbers with one head"),
        SuiteTask("emo_valence", "emomusic_valence", "MARBLE predicts both numbers with one head"),
        SuiteTask("giantsteps_key", "giantsteps_key", "it learns from another collection"),
        SuiteTask("vocalset_singer", "vocalset_singer", "its split is its own"),
        SuiteTask("vocalset_technique", "vocalset_technique"),
        SuiteTask("nsynth_instrument", "nsynth_instrument"),
        SuiteTask("nsynth_pitch", "nsynth_pitch"),
        SuiteTask("gtzan_genre", "gtzan"),
        SuiteTask("gtzan_beat", "", "beats need a tracker over time; there is no such type of task here"),
    ),
    "superb": (
        SuiteTask("ks", "keyword_spotting", "it judges on the publisher's separate test archive"),
        SuiteTask("ic", "fluent_speech_commands"),
        SuiteTask("sid", "voxceleb1"),
        SuiteTask("er", "iemocap"),
        SuiteTask("pr", "", "its phones come from a lexicon and an aligner that are not part of the data set"),
        SuiteTask("asr", "librispeech_asr", "its reader is a two-layer BiLSTM"),
        SuiteTask("asv", "voxceleb1_verification", "its reader is an x-vector network"),
        SuiteTask("sd", "", _RUNS),
        SuiteTask("sf", "", _RUNS),
        SuiteTask("qbe", "", "it searches spoken queries by alignment, without training"),
        SuiteTask("st", "", _GENERATES),
        SuiteTask("se", "", _GENERATES),
        SuiteTask("ss", "", _GENERATES),
    ),
}


def suite(name: str) -> list[TaskCard]:
    """Return the cards of a suite, in its order.

    Raises:
        ConfigError: there is no such suite.
    """
    if name not in SUITES:
        raise ConfigError(f"no suite of tasks is called {name!r}{nearest(name, SUITES)}")
    return [get_task(task.card) for task in SUITES[name] if task.card]
