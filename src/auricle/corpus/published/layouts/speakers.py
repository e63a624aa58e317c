"""Speakers, and human or spoofed speech: VoxCeleb1, ASVspoof 2015."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of, read_lines
from auricle.errors import CorpusError

_IDEN = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/iden_split.txt"


def _voxceleb1(root: Path) -> Content:
    """`wav/SPEAKER/VIDEO/*.wav`; the split for identification is `iden_split.txt` (1 train, 2 valid, 3 test).

    Without that list clips have no split; verification (`veri_test.txt`) needs none. The source is the video.
    """
    listed = root / "iden_split.txt"
    split_of: dict[str, str] = {}
    if listed.is_file():
        for line in read_lines(listed):
            side, _, name = line.partition(" ")
            if side not in ("1", "2", "3"):
                raise CorpusError(f"{listed}: {line!r} is not understood; expected lines such as `1 id10001/x/1.wav`")
            split_of[name.strip()] = {"1": "train", "2": "valid", "3": "test"}[side]
    names = set(split_of) | {file.removeprefix("wav/") for file in audio_below(root, "wav/*/*/*")}
    made: list[dict[str, Any]] = []
    for name in sorted(names):
        speaker, video, _ = name.split("/")
        made.append(
            {"file": f"wav/{name}", "label": speaker, "split": split_of.get(name), "source": f"{speaker}/{video}"}
        )
    notes = () if split_of else (f"iden_split.txt is not there ({_IDEN}): no clip has a split",)
    return Content(columns_of(made), notes=notes)


_PROTOCOLS = {"cm_train": "train", "cm_develop": "valid", "cm_evaluation": "test"}


def _asvspoof2015(root: Path) -> Content:
    """`CM_protocol/cm_*`: lines `speaker file method human|spoof`; audio in `wav/SPEAKER/FILE.wav`."""
    made: list[dict[str, Any]] = []
    for name, split in _PROTOCOLS.items():
        path = next(iter(sorted((root / "CM_protocol").glob(f"{name}*"))), root / "CM_protocol" / name)
        for line in read_lines(path):
            parts = line.split()
            if len(parts) != 4 or parts[3] not in ("human", "spoof"):
                raise CorpusError(f"{path}: {line!r} is not understood; expected `speaker file method human|spoof`")
            speaker, file, method, state = parts
            made.append(
                {"file": f"wav/{speaker}/{file}.wav", "label": state, "split": split, "source": speaker}
                | {"method": method}
            )
    return Content(columns_of(made))


LAYOUTS = (
    Layout("voxceleb1", "VoxCeleb1", ("wav/id1*/*/*",), _voxceleb1),
    Layout("asvspoof2015", "ASVspoof 2015", ("CM_protocol/cm_train*", "CM_protocol/cm_evaluation*"), _asvspoof2015),
)
