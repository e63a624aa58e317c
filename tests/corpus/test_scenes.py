"""The built-in corpus: determinism, factors that hold, folders that survive kills."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.corpus.sources import open_corpus
from auricle.corpus.synthetic import scenes as scenes_module
from auricle.corpus.synthetic.effects import decibels, root_mean_square
from auricle.corpus.synthetic.render import CALLS, Scene, ScenesConfig, class_names, render_scene
from auricle.corpus.synthetic.scenes import parse_builtin, write_scenes
from auricle.errors import ConfigError, CorpusError, StorageError

SMALL = {"clips": 12, "seconds": 1.5, "seed": 3}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def scenes(config: ScenesConfig) -> Iterator[Scene]:
    return (render_scene(config, index) for index in range(config.clips))


def content(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".jsonl")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.parametrize("kind", ["scenes", "single", "calls"])
def test_a_clip_depends_on_seed_and_index_alone(kind: str) -> None:
    config = ScenesConfig(clips=4, seconds=2.0, seed=1, content=kind)
    in_order = list(scenes(config))
    again = render_scene(config.replace(clips=99), 2)
    np.testing.assert_array_equal(in_order[2].wave, again.wave)
    assert in_order[2].events == again.events
    assert not np.array_equal(again.wave, render_scene(config.replace(seed=2), 2).wave)
    assert not np.array_equal(again.wave, render_scene(config, 3).wave)


@pytest.mark.parametrize("kind", ["scenes", "single", "calls"])
def test_every_factor_holds_in_the_rendered_parts(kind: str) -> None:
    config = ScenesConfig(clips=48, seconds=4.0, seed=0, content=kind)
    for scene in scenes(config):
        assert scene.wave.shape == (64000,)
        assert scene.wave.dtype == np.float32
        assert np.abs(scene.wave).max() <= 0.981
        np.testing.assert_allclose(scene.background + sum(scene.stems), scene.wave, atol=1e-5)
        assert decibels(root_mean_square(scene.background)) == pytest.approx(scene.factors["background_db"], abs=0.05)
        assert len(scene.events) == len(scene.stems) >= 1
        assert list(scene.events) == sorted(scene.events, key=lambda event: event.onset)
        for event, stem in zip(scene.events, scene.stems, strict=True):
            span = slice(round(event.onset * 16000), round(event.offset * 16000))
            level = decibels(root_mean_square(stem[span]))
            assert level == pytest.approx(event.loudness_db, abs=0.1)
            under = decibels(root_mean_square(scene.background[span]))
            assert level - under == pytest.approx(event.snr_db, abs=0.1)
            assert event.duration == pytest.approx(event.offset - event.onset, abs=2e-4)
            assert 0 <= event.onset < event.offset <= 4.0
            assert not stem[: span.start].any()
            if scene.factors["rt60"] == 0:
                assert not stem[span.stop :].any()
            assert event.label in class_names()
            assert event.voice.startswith(f"{event.label}-{scene.fold}-")


def test_no_event_is_silent_over_many_clips() -> None:
    for index in range(320):
        scene = render_scene(ScenesConfig(content="single", seconds=1.0, seed=9), index)
        assert np.isfinite(scene.wave).all()
        assert scene.events[0].duration > 0.015
        assert 8.0 <= scene.events[0].snr_db <= 36.0


def test_single_clips_are_balanced_over_classes_and_folds() -> None:
    config = ScenesConfig(content="single", seconds=0.5)
    found = Counter((scene.labels, scene.fold) for scene in (render_scene(config, i) for i in range(80)))
    assert len(found) == 80
    assert set(found.values()) == {1}


def test_scenes_hold_one_to_several_events_and_folds_share_no_voice() -> None:
    config = ScenesConfig(clips=60, seconds=5.0)
    rendered = list(scenes(config))
    counts = Counter(len(scene.events) for scene in rendered)
    assert set(counts) == {1, 2, 3, 4}
    voices = {fold: {e.voice for s in rendered if s.fold == fold for e in s.events} for fold in range(1, 6)}
    assert all(voices[a].isdisjoint(voices[b]) for a in voices for b in voices if a != b)
    assert {config.split(scene.fold) for scene in rendered} == {"train", "valid", "test"}


def test_colour_and_reverberation_vary_over_a_corpus() -> None:
    drawn = [render_scene(ScenesConfig(seconds=1.0), index).factors for index in range(60)]
    assert np.ptp([f["colour"] for f in drawn]) > 2
    rooms = np.array([f["rt60"] for f in drawn])
    assert 0.15 < np.mean(rooms == 0) < 0.5
    assert rooms.max() > 0.7


@pytest.mark.parametrize("kind", ["scenes", "single", "calls"])
def test_written_folder_holds_what_was_rendered(tmp_path: Path, kind: str) -> None:
    folder = write_scenes(tmp_path / "c", **SMALL, kind=kind)
    table = rows(folder / "metadata.csv")
    assert list(table[0])[:7] == ["file", "label", "split", "fold", "source", "seconds", "sample_rate"]
    assert len(table) == 12
    strong = rows(folder / "events.csv")
    assert list(strong[0])[:4] == ["file", "onset", "offset", "label"]
    for index, row in enumerate(table):
        scene = render_scene(ScenesConfig(**SMALL, content=kind), index)
        wave, rate = soundfile.read(folder / row["file"], dtype="float32")
        assert rate == 16000
        np.testing.assert_allclose(wave, scene.wave, atol=2**-15)
        assert row["label"] == ";".join(scene.labels)
        assert row["fold"] == str(scene.fold)
        mine = [e for e in strong if e["file"] == row["file"]]
        assert [e["label"] for e in mine] == [e.label for e in scene.events]
        assert float(mine[0]["pitch_hz"]) == scene.events[0].pitch_hz
        if kind == "single":
            assert float(row["snr_db"]) == scene.events[0].snr_db
            assert row["source"] == scene.events[0].voice
    assert (folder / "SOURCE.md").is_file()
    assert not list(folder.rglob("*.part"))


def test_a_killed_writer_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_scenes(tmp_path / "whole", **SMALL)
    rendered: list[int] = []
    original = render_scene

    def dying(config: ScenesConfig, index: int) -> scenes_module.Scene:
        if len(rendered) == 7:
            raise KeyboardInterrupt
        rendered.append(index)
        return original(config, index)

    monkeypatch.setattr(scenes_module, "render_scene", dying)
    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        write_scenes(folder, **SMALL)
    assert not (folder / "metadata.csv").exists()
    journal = folder / scenes_module.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-20])  # the kill tore the last entry
    rendered.clear()
    monkeypatch.setattr(
        scenes_module, "render_scene", lambda config, index: rendered.append(index) or original(config, index)
    )
    write_scenes(folder, **SMALL)
    assert rendered == [6, 7, 8, 9, 10, 11]
    assert content(folder) == content(whole)
    rendered.clear()
    write_scenes(folder, **SMALL)
    assert rendered == []
    (folder / "clips" / "00004.flac").unlink()
    write_scenes(folder, **SMALL)
    assert rendered == [4]
    assert content(folder) == content(whole)


def test_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "c", clips=2, seconds=0.5)
    with pytest.raises(CorpusError, match="seed is 0, wanted 1"):
        write_scenes(folder, clips=2, seconds=0.5, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"thesis\.txt"):
        write_scenes(tmp_path / "mine", clips=2)


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "00003" in path.name:
            raise OSError(28, "No space left on device")
        return original(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"no space left .*XDG_CACHE_HOME"):
        write_scenes(tmp_path / "c", clips=6, seconds=0.5)
    monkeypatch.setattr(Path, "write_bytes", original)
    assert not list((tmp_path / "c").rglob("*.part"))
    assert sorted(p.name for p in (tmp_path / "c" / "clips").iterdir()) == [f"0000{i}.flac" for i in range(3)]
    assert len(rows(write_scenes(tmp_path / "c", clips=6, seconds=0.5) / "metadata.csv")) == 6


@pytest.mark.parametrize(
    ("folds", "splits"),
    [(3, "train train train valid test"), (2, "train train valid test test"), (1, "train valid test test test")],
)
def test_fewer_training_folds_leave_more_to_the_test(tmp_path: Path, folds: int, splits: str) -> None:
    table = rows(write_scenes(tmp_path / "c", clips=5, seconds=0.5, kind="single", train_folds=folds) / "metadata.csv")
    assert [row["split"] for row in sorted(table, key=lambda row: row["fold"])] == splits.split()
    with pytest.raises(CorpusError, match=f"train_folds is {folds}, wanted {folds % 3 + 1}"):
        write_scenes(tmp_path / "c", clips=5, seconds=0.5, kind="single", train_folds=folds % 3 + 1)


def test_ids_are_read_and_wrong_ones_refused() -> None:
    assert parse_builtin("builtin:scenes") == ScenesConfig()
    assert parse_builtin("builtin:single?clips=80&seconds=2.5&seed=7&rate=22050") == ScenesConfig(
        clips=80, seconds=2.5, seed=7, content="single", rate=22050
    )
    assert parse_builtin("builtin:scenes?kind=single").content == "single"
    assert parse_builtin("builtin:single?train_folds=1") == ScenesConfig(content="single", train_folds=1)
    for wrong, words in {
        "builtin:scene": "did you mean 'scenes'",
        "builtin:scenes?clip=3": "did you mean 'clips'",
        "builtin:scenes?clips=many": "whole number",
        "builtin:scenes?clips=": "whole number",
        "builtin:scenes?clips=3&clips=4": "twice",
        "builtin:scenes?clips=0": "clips is 0; expected a whole number of at least 1",
        "builtin:scenes?seconds=0.1": "at least 0.5 and of at most 3600",
        "builtin:scenes?rate=4000": "at least 8000 and of at most 96000",
        "builtin:scenes?train_folds=4": "at least 1 and of at most 3",
        "builtin:scenes?seed=-1": "seed is -1; expected a whole number of at least 0",
        "hub:x/y": "built-in corpus is named like",
    }.items():
        with pytest.raises(ConfigError, match=words):
            parse_builtin(wrong)


def test_config_round_trips_through_json() -> None:
    config = ScenesConfig(clips=3, content="single")
    assert ScenesConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_builtin_corpus_renders_once_and_opens_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("auricle.corpus.sources")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    corpus = open_corpus("builtin:single?clips=10&seconds=0.5&seed=1")
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.flac")}
    assert len(corpus) == len(files) == 10
    again = open_corpus("builtin:single?clips=10&seconds=0.5&seed=1")
    assert again.fingerprint == corpus.fingerprint
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.flac")} == files
    assert corpus.audio(0, 16000).shape == (8000,)
    assert set(corpus.column("fold")) == {1, 2, 3, 4, 5}


def test_calls_of_one_class_never_overlap_and_stand_among_other_sounds() -> None:
    for index in range(5):
        scene = render_scene(ScenesConfig(seconds=20.0, seed=4, content="calls"), index)
        calls = [event for event in scene.events if event.label == CALLS]
        assert len(calls) == len(scene.events) - len(calls) == 5
        assert all(first.offset <= second.onset for first, second in pairwise(calls))
        # One in each stretch of four seconds.
        assert [int(call.onset // 4) for call in calls] == [0, 1, 2, 3, 4]
