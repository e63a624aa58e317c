"""The built-in corpus: sound scenes synthesised from a seed, without downloads, with every factor known.

Sixteen classes, each with its own physics; folds that share no voice; strong labels. For demonstrations, tests,
tutorials and probing: pitch, loudness, onset, reverberation and noise are columns.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import typing
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import soundfile
from rich.console import Console
from rich.progress import track

from auricle.config import nearest
from auricle.corpus.synthetic.render import VERSION, Kind, Scene, ScenesConfig, render_scene
from auricle.errors import ConfigError, CorpusError
from auricle.storage import disk_errors, user_cache, write_atomic

_REMEDY = (
    "free some space or choose another folder (XDG_CACHE_HOME moves the cache); finished clips are kept, and the same "
    "call continues"
)
PREFIX = "builtin:"
SETTINGS = "scenes.json"
JOURNAL = ".rendered.jsonl"
SOURCE_TEXT = """# Synthesised sound scenes

Rendered by auricle's built-in corpus, version {version}, from the settings in `scenes.json`; nothing was recorded or
downloaded. `metadata.csv`: one row per clip with its factors; `events.csv`: strong labels with the factors of each
event. Folds share no voice (instrument, talker, engine). Dedicated to the public domain (CC0 1.0).
"""


def write_scenes(
    folder: str | Path,
    clips: int = 600,
    seconds: float = 5.0,
    seed: int = 0,
    kind: Kind = "scenes",
    rate: int = 16000,
    *,
    train_folds: int = 3,
    progress: bool = False,
) -> Path:
    """Render a built-in corpus into a folder: `clips/*.flac`, `metadata.csv`, `events.csv`, `SOURCE.md`.

    A call after an interruption continues: finished clips are kept, the two tables are written last, and every file
    appears whole or not at all. Two processes may write the same folder at once.

    Args:
        folder: target, made if missing; empty, or with the same corpus, finished or not.
        clips: number of clips.
        seconds: length of a clip.
        seed: of all random choices.
        kind: `scenes` (several events a clip), `single` (one) or `calls` (of one class, see `ScenesConfig`).
        rate: sample rate in Hz.
        train_folds: number of folds whose clips train, see `ScenesConfig`.
        progress: show a progress bar on standard error.

    Returns:
        The folder.

    Raises:
        ConfigError: a setting is out of range.
        CorpusError: the folder holds something else.
        StorageError: the folder can't be written.
    """
    config = ScenesConfig(clips, seconds, seed, kind, rate, train_folds)
    folder = Path(folder)
    with disk_errors(folder, _REMEDY):
        return _write(folder, config, progress)


def _write(folder: Path, config: ScenesConfig, progress: bool) -> Path:
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    _claim(folder, config)
    done = _read_journal(folder / JOURNAL)
    names = [f"clips/{index:05d}.flac" for index in range(config.clips)]
    missing = [index for index, name in enumerate(names) if name not in done or not (folder / name).is_file()]
    if not missing and (folder / "metadata.csv").is_file() and (folder / "events.csv").is_file():
        return folder
    steps: Iterable[int] = missing
    if progress and missing:
        console = Console(stderr=True)
        steps = track(missing, f"rendering {config.content}", console=console, transient=True)
    with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
        # The last line may be incomplete after an interruption: begin a new one.
        journal.write("\n")
        for index in steps:
            scene = render_scene(config, index)
            encoded = io.BytesIO()
            soundfile.write(encoded, scene.wave, config.rate, format="FLAC", subtype="PCM_16")
            write_atomic(folder / names[index], encoded.getvalue(), _REMEDY)
            entry = {"clip": _clip_row(names[index], scene, config), "events": _event_rows(names[index], scene)}
            journal.write(json.dumps(entry) + "\n")
            journal.flush()
            done[names[index]] = entry
    write_atomic(folder / "SOURCE.md", SOURCE_TEXT.format(version=VERSION).encode(), _REMEDY)
    write_atomic(folder / "events.csv", _table([row for name in names for row in done[name]["events"]]), _REMEDY)
    write_atomic(folder / "metadata.csv", _table([done[name]["clip"] for name in names]), _REMEDY)
    return folder


def _claim(folder: Path, config: ScenesConfig) -> None:
    """Write the settings into the folder, or compare them with those in it."""
    wanted = {"version": VERSION, **config.to_json()}
    path = folder / SETTINGS
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != wanted:
            changed = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
            listed = ", ".join(f"{key} is {found.get(key)!r}, wanted {wanted.get(key)!r}" for key in changed)
            raise CorpusError(f"{folder} holds another built-in corpus ({listed}); choose another folder or delete it")
        return
    others = [entry.name for entry in folder.iterdir() if entry.name != "clips"]
    others += [entry.name for entry in (folder / "clips").iterdir() if not entry.name.startswith(".")]
    if others:
        raise CorpusError(f"{folder} already holds other files (such as {others[0]!r}); choose an empty folder")
    write_atomic(path, json.dumps(wanted, indent=1).encode(), _REMEDY)


def _read_journal(path: Path) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # empty or incomplete: the clip is rendered again
            entries[entry["clip"]["file"]] = entry
    return entries


def _clip_row(name: str, scene: Scene, config: ScenesConfig) -> dict[str, Any]:
    voices = sorted({event.voice for event in scene.events})
    row: dict[str, Any] = {
        "file": name,
        "label": ";".join(scene.labels),
        "split": config.split(scene.fold),
        "fold": scene.fold,
        "source": voices[0] if config.content == "single" else f"voices-{scene.fold}",
        "seconds": round(scene.wave.size / config.rate, 4),
        "sample_rate": config.rate,
        "voices": ";".join(voices),
        "events": len(scene.events),
        **scene.factors,
    }
    if config.content == "single":
        event = scene.events[0]
        row |= {key: getattr(event, key) for key in ("onset", "duration", "pitch_hz", "loudness_db", "snr_db")}
    return row


def _event_rows(name: str, scene: Scene) -> list[dict[str, Any]]:
    return [{"file": name, **dataclasses.asdict(event)} for event in scene.events]


def _table(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def parse_builtin(spec: str) -> ScenesConfig:
    """Read an id like `builtin:scenes?clips=600&seed=0` or `builtin:single?clips=320&seconds=2.5&train_folds=1`.

    `builtin:scenes?kind=single` is another way to write `builtin:single`.

    Raises:
        ConfigError: the kind or a setting is unknown, given twice, or of the wrong type.
    """
    if not spec.startswith(PREFIX):
        raise ConfigError(f"a built-in corpus is named like 'builtin:scenes?clips=600&seed=0', found {spec!r}")
    kind, _, query = spec.removeprefix(PREFIX).partition("?")
    hints = typing.get_type_hints(ScenesConfig)
    known = [field.name for field in dataclasses.fields(ScenesConfig) if field.name != "content"]
    values: dict[str, Any] = {"content": kind}
    for key, text in urllib.parse.parse_qsl(query, keep_blank_values=True):
        if key == "kind" and values["content"] == "scenes":
            values["content"] = text
            continue
        if key not in known:
            raise ConfigError(f"{spec!r}: unknown setting {key!r}{nearest(key, known)}")
        if key in values:
            raise ConfigError(f"{spec!r}: {key!r} is set twice; set it once")
        try:
            values[key] = hints[key](text)
        except ValueError as error:
            wanted = "a whole number" if hints[key] is int else "a number"
            raise ConfigError(f"{spec!r}: {key} must be {wanted}, found {text!r}") from error
    return ScenesConfig(**values)


def render_builtin(spec: str, cache: str | Path | None = None, *, progress: bool = False) -> tuple[Path, str]:
    """Render a built-in corpus once into a cache folder.

    Args:
        spec: id of the corpus, see `parse_builtin`.
        cache: parent of the corpus's folder; None: the user's cache folder (`XDG_CACHE_HOME`).
        progress: show a progress bar while rendering.

    Returns:
        The folder, and a name made of the settings.

    Raises:
        ConfigError: the id is not valid.
        StorageError: the folder can't be written.
    """
    config = parse_builtin(spec)
    parent = Path(cache) if cache is not None else user_cache() / "builtin"
    folder = parent / f"{config.content}-v{VERSION}-{config.fingerprint()}"
    with disk_errors(folder, _REMEDY):
        _write(folder, config, progress)
    return folder, f"{config.content}-{config.clips}x{config.seconds:g}s-seed{config.seed}"
