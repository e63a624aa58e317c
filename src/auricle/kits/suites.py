"""The published suites of tasks: the card of each task, or the reason why there is none; and whole suites in one call.

HEAR, EVAR, X-ARES, MARBLE and SUPERB share data sets but not divisions: `differs` names the differences between the
suite's own task and the card (protocol `strict`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.config import Config, nearest
from auricle.corpus.published.archive import LAYOUT
from auricle.corpus.published.layouts.opening import LAYOUTS
from auricle.corpus.reading import check_reading
from auricle.encoders.features import FeaturesConfig
from auricle.errors import AuricleError, ConfigError, CorpusError, StorageError
from auricle.evaluation.driver import DEFAULTS, EvaluationConfig
from auricle.evaluation.evaluate import evaluate
from auricle.evaluation.probing import evaluated_on, open_model, open_task_corpus
from auricle.kits.evaluate import evaluate_by_protocol
from auricle.kits.protocols import get_protocol
from auricle.models import Model
from auricle.results.record import Result
from auricle.tasks.card import TaskCard
from auricle.tasks.cards.registry import get_task


@dataclass(frozen=True)
class SuiteTask:
    """A task of a suite.

    Attributes:
        name: in the suite.
        card: name of its card; "" if there is none.
        differs: difference between the suite's own division or selection and the card; or why there is no card.
    """

    name: str
    card: str = ""
    differs: str = ""


_FOLDS = "its folds are its own"
_SAMPLED = "it takes a random selection of 5 or 50 hours"
_GENERATES = "its output is sound or text, which no probe of tokens generates here"
_RUNS = "it is scored on sequences of speakers or words in time; there is no such type of task here"

SUITES: dict[str, tuple[SuiteTask, ...]] = {
    "hear": (
        SuiteTask("dcase2016_task2", "dcase2016_task2"),
        SuiteTask("nsynth_pitch", "nsynth_pitch", _SAMPLED),
        SuiteTask("speech_commands", "speech_commands_12", "it tests on the publisher's separate test archive"),
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
        SuiteTask("as20k", "as20k", "the videos that still exist differ between laboratories"),
        SuiteTask("fsd50k", "fsd50k"),
        SuiteTask("esc50", "esc50"),
        SuiteTask("us8k", "us8k"),
        SuiteTask("spcv2", "speech_commands_v2"),
        SuiteTask("vc1", "voxceleb1"),
        SuiteTask("voxforge", "voxforge"),
        SuiteTask("cremad", "crema_d", "pass its table as ?split="),
        SuiteTask("gtzan", "gtzan"),
        SuiteTask("nsynth", "nsynth_instrument"),
        SuiteTask("surge", "surge_pitch", "its division of tones is a table of its own"),
    ),
    "xares": (
        SuiteTask("asvspoof2015", "asvspoof2015", "it tests on a selection"),
        SuiteTask("clotho", "", "it pairs texts with sounds; the layout `clotho` opens the data"),
        SuiteTask("crema_d", "crema_d", "its split is its own"),
        SuiteTask("desed", "desed", "it selects and tests on the validation part"),
        SuiteTask("esc50", "esc50"),
        SuiteTask("fluent_speech_commands", "fluent_speech_commands"),
        SuiteTask("fma_small", "fma_small"),
        SuiteTask("fsd50k", "fsd50k"),
        SuiteTask("fsdkaggle2018", "fsdkaggle2018", "it selects and tests on the test part"),
        SuiteTask("gtzan", "gtzan", _FOLDS),
        SuiteTask("libricount", "libricount", _FOLDS),
        SuiteTask("librispeech_100h", "librispeech_asr", "its probe is a frozen language model"),
        SuiteTask("librispeech_male_female", "librispeech_gender"),
        SuiteTask("maestro", "maestro_notes", "it scores segments of 0.1 s"),
        SuiteTask("nsynth_instrument", "nsynth_instrument"),
        SuiteTask("ravdess", "ravdess", _FOLDS),
        SuiteTask("speech_commands_v1", "speech_commands_v1"),
        SuiteTask("us8k", "us8k"),
        SuiteTask("vocal_imitation", "vocal_imitation", _FOLDS),
        SuiteTask("vocalsound", "vocalsound"),
        SuiteTask("voxceleb1", "voxceleb1"),
        SuiteTask("voxlingua33", "vox_lingua", "it trains on a selection of the whole set, and tests on this part"),
    ),
    "marble": (
        SuiteTask("mtt", "magnatagatune"),
        SuiteTask("mtg_genre", "mtg_jamendo_genre"),
        SuiteTask("mtg_instrument", "mtg_jamendo_instrument"),
        SuiteTask("mtg_mood", "mtg_jamendo_moodtheme"),
        SuiteTask("mtg_top50", "mtg_jamendo_top50tags"),
        SuiteTask("emo_arousal", "emomusic_arousal", "MARBLE predicts both numbers with one head"),
        SuiteTask("emo_valence", "emomusic_valence", "MARBLE predicts both numbers with one head"),
        SuiteTask("giantsteps_key", "giantsteps_key", "it trains on another collection"),
        SuiteTask("vocalset_singer", "vocalset_singer", "its split is its own"),
        SuiteTask("vocalset_technique", "vocalset_technique"),
        SuiteTask("nsynth_instrument", "nsynth_instrument"),
        SuiteTask("nsynth_pitch", "nsynth_pitch"),
        SuiteTask("gtzan_genre", "gtzan"),
        SuiteTask("gtzan_beat", "", "beats need a tracker over time; there is no such type of task here"),
    ),
    "superb": (
        SuiteTask("ks", "keyword_spotting", "it tests on the publisher's separate test archive"),
        SuiteTask("ic", "fluent_speech_commands"),
        SuiteTask("sid", "voxceleb1"),
        SuiteTask("er", "iemocap"),
        SuiteTask("pr", "", "its phones come from a lexicon and an aligner that are not part of the data set"),
        SuiteTask("asr", "librispeech_asr", "its probe is a two-layer BiLSTM"),
        SuiteTask("asv", "voxceleb1_verification", "its probe is an x-vector network"),
        SuiteTask("sd", "", _RUNS),
        SuiteTask("sf", "", _RUNS),
        SuiteTask("qbe", "", "it searches spoken queries by alignment, without training"),
        SuiteTask("st", "", _GENERATES),
        SuiteTask("se", "", _GENERATES),
        SuiteTask("ss", "", _GENERATES),
    ),
}


@dataclass(frozen=True)
class SuiteResults:
    """Results of a suite.

    Attributes:
        results: of all tasks that were evaluated, in the order of the suite.
        skipped: name of each other task of the suite -> the reason.
    """

    results: list[Result]
    skipped: dict[str, str]


def run_suite(
    model: str | Path | Model,
    name: str,
    data: Path | str,
    *,
    protocol: str = "strict",
    probes: Sequence[str | Config] = (),
    config: EvaluationConfig = DEFAULTS,
    channel: str | int | None = None,
    time_expansion: float | None = None,
    out: Path | str | None = None,
    precision: str = "fp32",
    trust_remote_code: bool = False,
    features: str | FeaturesConfig = "recipe",
    command: str | None = None,
    progress: bool = True,
) -> SuiteResults:
    """Evaluate a model on each task of a suite whose data lies below a folder.

    The data of a task is the folder in `data` with the name of its data set, its card or the task, or the one that
    is laid out as the data set is published. A task without data, or one that the protocol or the probes do not fit,
    is skipped with the reason. Finished tasks are not evaluated again.

    Args:
        model: as for `probe`.
        name: of the suite: `hear`, `evar`, `xares`, `marble` or `superb`.
        data: folder of all data sets.
        protocol: `strict` (auricle's own), or the protocol of a kit; see `evaluate_by_protocol`.
        probes: of every task; none: the default of each type of task.
        config: seeds, controls, search and the like.
        channel: of every task, as for `probe`.
        time_expansion: of every task, as for `probe`; tasks with strong labels are skipped.
        out: folder for the results of the tasks, each in a folder of its own; None: `RUN/probes`.
        precision: as for `probe`.
        trust_remote_code: as for `probe`.
        features: see `auricle.load`; the output beside them as in `evaluate`, by `strict` protocol alone.
        command: recorded as the command; None: that of this process.
        progress: show progress bars.

    Raises:
        ConfigError: there is no such suite or protocol, probes are named for the protocol of a kit, or `channel` or
            `time_expansion` is out of range.
        CorpusError: there is no such folder.
        CheckpointError: there is no such model.
        StorageError: results can't be written.

    Examples:
        >>> import auricle
        >>> found = auricle.run_suite("runs/mine", "hear", "data")  # doctest: +SKIP
    """
    tasks, root = _tasks(name), Path(data).expanduser()
    check_reading(channel, time_expansion)
    if protocol != "strict":
        get_protocol(protocol)
        if probes:
            raise ConfigError(f"protocol {protocol!r} has its own probes; leave out the names of probes")
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}; name the one that holds the data sets of suite {name!r}")
    opened = open_model(model, config.device, precision, trust_remote_code, features)
    results: list[Result] = []
    skipped: dict[str, str] = {}
    for task in tasks:
        if not task.card:
            skipped[task.name] = task.differs
            continue
        card = get_task(task.card)
        try:
            corpus = open_task_corpus(card, _find_data(card, task, root), channel, time_expansion)
            encoders = [evaluated_on(opened, corpus, progress=progress)]
            place = (Path(out) if out is not None else opened.folder / "probes") / card.name
            if protocol == "strict":
                results += evaluate(
                    encoders, card, corpus, out=place, probes=probes, config=config, command=command,
                    progress=progress,
                )  # fmt: skip
            else:
                results += evaluate_by_protocol(
                    encoders, card, corpus, out=place, protocol=protocol, config=config, command=command,
                    progress=progress,
                )  # fmt: skip
        except StorageError:
            raise
        except AuricleError as error:
            skipped[task.name] = str(error)
    return SuiteResults(results, skipped)


def _tasks(name: str) -> tuple[SuiteTask, ...]:
    if name not in SUITES:
        raise ConfigError(f"no suite of tasks is called {name!r}{nearest(name, SUITES)}")
    return SUITES[name]


def _find_data(card: TaskCard, task: SuiteTask, root: Path) -> Path | None:
    """Return the folder of a task's data; None: its card needs none.

    Raises:
        CorpusError: there is none, or several.
    """
    if card.corpus.startswith("builtin:"):
        return None
    data_set = card.corpus.removeprefix(LAYOUT)
    names = [name for name in dict.fromkeys((data_set, card.name, task.name)) if name]
    for name in names:
        if (root / name).is_dir():
            return root / name
    layout = LAYOUTS.get(data_set)
    below = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    fitting = [path for path in below if layout is not None and layout.known_by_marks and layout.fits(path)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = ", ".join(path.name for path in fitting)
        raise CorpusError(f"{root} holds {data_set} {len(fitting)} times ({found}); rename one of them to {data_set}")
    raise CorpusError(f"there is no data of {data_set} in {root}; expected a folder {' or '.join(names)}")
