"""Emotion in speech: CREMA-D, RAVDESS, IEMOCAP. Folds and sources keep speakers apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from auricle.corpus.published.layouts.contract import Content, Layout
from auricle.corpus.published.layouts.tables import audio_below, columns_of, parts_of, read_text
from auricle.errors import CorpusError

CREMA = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
# SUPERB's four classes; excited counts as happy.
IEMOCAP = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad"}
_TURN = re.compile(r"^\[[\d.]+ - [\d.]+\]\t(?P<name>\S+)\t(?P<emotion>\w+)\t", re.MULTILINE)


def _crema_d(root: Path) -> Content:
    """All labels are in the names: `1001_DFA_ANG_XX.wav` is actor, sentence, emotion, level. No split is published."""
    made: list[dict[str, Any]] = []
    for file in audio_below(root, "AudioWAV/*"):
        actor, sentence, emotion, level = parts_of(file, 4, "_", "CREMA-D")
        if emotion not in CREMA:
            raise CorpusError(f"{file}: unknown emotion {emotion!r}; expected one of {', '.join(CREMA)}")
        made.append({"file": file, "label": CREMA[emotion], "source": actor, "sentence": sentence, "level": level})
    return Content(columns_of(made), notes=("no split is published: folds that keep actors apart are made",))


def _ravdess(root: Path) -> Content:
    """Labels are in the names: `03-01-06-01-02-01-12.wav`, third the emotion, last the actor (even: female)."""
    made: list[dict[str, Any]] = []
    for file in audio_below(root, "Actor_*/*"):
        parts = parts_of(file, 7, "-", "RAVDESS")
        if not parts[2].isdigit() or not 1 <= int(parts[2]) <= len(RAVDESS):
            raise CorpusError(f"{file}: unknown emotion {parts[2]!r}; expected 01 to 08")
        gender = "female" if int(parts[6]) % 2 == 0 else "male"
        made.append({"file": file, "label": RAVDESS[int(parts[2]) - 1], "source": parts[6], "gender": gender})
    return Content(columns_of(made), notes=("no split is published: folds that keep actors apart are made",))


def _iemocap(root: Path) -> Content:
    """Four emotions as in SUPERB, one fold a session; turns of other emotions have no label."""
    made: list[dict[str, Any]] = []
    for path in sorted(root.glob("Session[1-5]/dialog/EmoEvaluation/*.txt")):
        session = path.relative_to(root).parts[0]
        for match in _TURN.finditer(read_text(path)):
            name, emotion = match["name"], match["emotion"]
            made.append(
                {"file": f"{session}/sentences/wav/{path.stem}/{name}.wav", "label": IEMOCAP.get(emotion)}
                | {"fold": int(session[-1]), "source": f"{name[:5]}{name.split('_')[-1][0]}", "emotion": emotion}
            )
    if not made:
        raise CorpusError(f"{root} has no turns in Session1/dialog/EmoEvaluation/*.txt")
    return Content(columns_of(made))


LAYOUTS = (
    Layout("crema_d", "CREMA-D", ("AudioWAV/*_*_*_*.wav",), _crema_d),
    Layout("ravdess", "RAVDESS", ("Actor_*/*-*-*-*-*-*-*.wav",), _ravdess),
    Layout("iemocap", "IEMOCAP", ("Session1/dialog/EmoEvaluation", "Session1/sentences/wav"), _iemocap),
)
