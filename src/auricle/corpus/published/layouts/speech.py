"""Speech: Speech Commands, LibriSpeech, Fluent Speech Commands, VoxLingua107."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of, read_lines, read_rows
from auricle.corpus.stores import FolderStore, Place, probe_seconds
from auricle.errors import CorpusError

# The ten words of the 12-class task; all others are `_unknown_`, pieces of background noise `_silence_`.
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
NOISE = "_background_noise_"
_NOISE_HOP = 0.5


def _speech_commands(root: Path) -> Content:
    """Words in folders; `validation_list.txt` and `testing_list.txt` name the clips of these splits, by speaker.

    `label` is the word (30 in version 1, 35 in version 2), `label12` the class of the 12-class task. Its silence is
    1 s of background noise every 0.5 s: `running_tap` for validation (as in HEAR), `white_noise` for testing, others
    for training. The publisher's separate 12-class test archive is not part of this layout.
    """
    lists = {"valid": "validation_list.txt", "test": "testing_list.txt"}
    split_of = {file: split for split, name in lists.items() for file in read_lines(root / name)}
    made: list[dict[str, Any]] = []
    for file in audio_below(root, "*/*"):
        word, name = file.split("/")
        if word.startswith("_"):
            continue
        made.append(
            {"file": file, "label": word, "label12": word if word in COMMANDS else "_unknown_"}
            | {"split": split_of.get(file, "train"), "source": name.partition("_nohash_")[0]}
        )
    made += _silence(root)
    return Content(columns_of(made), notes=("silence of the 12-class task is made of segments of background noise",))


def _silence(root: Path) -> list[dict[str, Any]]:
    files = audio_below(root, f"{NOISE}/*")
    made: list[dict[str, Any]] = []
    for file, length in zip(files, probe_seconds(FolderStore(root), [Place(f) for f in files]), strict=True):
        if isinstance(length, str):
            raise CorpusError(length)
        split = {"running_tap": "valid", "white_noise": "test"}.get(Path(file).stem, "train")
        for piece in range(max(0, int((length - 1) / _NOISE_HOP) + 1)):
            made.append(
                {"file": file, "label12": "_silence_", "split": split, "source": file}
                | {"start": piece * _NOISE_HOP, "seconds": 1.0}
            )
    return made


def _librispeech(root: Path) -> Content:
    """`SUBSET/READER/CHAPTER/*.flac` with `*.trans.txt`; readers and their sex from SPEAKERS.TXT."""
    sexes: dict[str, str] = {}
    for line in read_lines(root / "SPEAKERS.TXT"):
        if not line.startswith(";"):
            reader, sex, *_ = (part.strip() for part in line.split("|"))
            sexes[reader] = {"F": "female", "M": "male"}.get(sex, sex)
    made: list[dict[str, Any]] = []
    for path in sorted(root.glob("*/*/*/*.trans.txt")):
        folder = path.parent.relative_to(root)
        subset, reader, _ = folder.parts
        split = {"train": "train", "dev": "valid", "test": "test"}.get(subset.partition("-")[0])
        for line in read_lines(path):
            name, _, words = line.partition(" ")
            made.append(
                {"file": f"{folder.as_posix()}/{name}.flac", "split": split, "source": reader, "subset": subset}
                | {"transcript": words, "speaker": reader, "gender": sexes.get(reader)}
            )
    if not made:
        raise CorpusError(f"{root} has no transcripts SUBSET/READER/CHAPTER/*.trans.txt")
    return Content(columns_of(made))


def _fluent(root: Path) -> Content:
    """Intent = action, object and location together (31 of them), as in SUPERB."""
    made: list[dict[str, Any]] = []
    needed = ("path", "speakerId", "transcription", "action", "object", "location")
    for split in ("train", "valid", "test"):
        for row in read_rows(root / f"data/{split}_data.csv", needed):
            made.append(
                {"file": row["path"], "label": f"{row['action']}|{row['object']}|{row['location']}", "split": split}
                | {"source": row["speakerId"], "transcript": row["transcription"]}
            )
    return Content(columns_of(made))


def _vox_lingua(root: Path) -> Content:
    """One folder a language; the source is the video (before `__U__`)."""
    files = audio_below(root, "*/*")
    return Content(
        {
            "file": files,
            "label": [file.partition("/")[0] for file in files],
            "source": [Path(file).name.partition("__U__")[0] for file in files],
        }
    )


LAYOUTS = (
    Layout(
        "speech_commands",
        "Speech Commands",
        ("validation_list.txt", "testing_list.txt", NOISE),
        _speech_commands,
        hint="the archive has no folder of its own: unpack it into one",
    ),
    Layout("librispeech", "LibriSpeech", ("SPEAKERS.TXT", "*/*/*/*.trans.txt"), _librispeech),
    Layout(
        "fluent_speech_commands",
        "Fluent Speech Commands",
        ("data/train_data.csv", "data/valid_data.csv", "data/test_data.csv", "wavs"),
        _fluent,
    ),
    Layout("vox_lingua", "VoxLingua107 (its dev part)", ("*/*__U__*",), _vox_lingua, known_by_marks=False),
)
