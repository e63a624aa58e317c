"""Layouts of acoustic scenes, machines and animals, on small folders."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from layout_folders import columns, opened, put, text

from auricle.corpus.published.layouts.opening import LAYOUTS


def test_scenes(tmp_path: Path) -> None:
    rows = [
        ("airport-barcelona-0-0-a", "airport", "barcelona-0", "a"),
        ("park-lyon-9-3-s1", "park", "lyon-9", "s1"),
        ("park-lyon-8-3-s4", "park", "lyon-8", "s4"),
    ]
    table = ["\t".join((f"audio/{name}.wav", *rest)) for name, *rest in rows]
    text(tmp_path, "meta.csv", "filename\tscene_label\tidentifier\tsource_label", *table)
    text(tmp_path, "evaluation_setup/fold1_train.csv", "filename\tscene_label", f"audio/{rows[0][0]}.wav\tairport")
    text(tmp_path, "evaluation_setup/fold1_evaluate.csv", "filename\tscene_label", f"audio/{rows[1][0]}.wav\tpark")
    put(tmp_path, *(f"audio/{name}.wav" for name, *_ in rows))
    corpus = opened(tmp_path, "tau_scenes")
    assert columns(corpus, "label", "split", "source", "device", "city") == {
        "audio/airport-barcelona-0-0-a.wav": ("airport", "train", "barcelona-0", "a", "barcelona"),
        "audio/park-lyon-9-3-s1.wav": ("park", "test", "lyon-9", "s1", "lyon"),
        "audio/park-lyon-8-3-s4.wav": ("park", None, "lyon-8", "s4", "lyon"),
    }


def test_machines_of_dcase(tmp_path: Path) -> None:
    old = tmp_path / "2020"
    put(
        old,
        "fan/train/normal_id_00_00000000.wav",
        "fan/test/anomaly_id_00_00000001.wav",
        "fan/test/normal_id_02_00000002.wav",
    )
    assert columns(opened(old, "dcase2020_task2"), "label", "split", "machine", "unit") == {
        "fan/train/normal_id_00_00000000.wav": ("normal", "train", "fan", "fan/id_00"),
        "fan/test/anomaly_id_00_00000001.wav": ("anomaly", "test", "fan", "fan/id_00"),
        "fan/test/normal_id_02_00000002.wav": ("normal", "test", "fan", "fan/id_02"),
    }
    new = tmp_path / "2023"
    put(
        new,
        "bearing/train/section_00_source_train_normal_0000_vel_14.wav",
        "bearing/test/section_00_target_test_anomaly_0001_vel_2.wav",
        "bearing/test/section_00_0001.wav",
    )
    corpus = opened(new, "dcase_task2")
    assert columns(corpus, "label", "split", "unit", "domain") == {
        "bearing/train/section_00_source_train_normal_0000_vel_14.wav": (
            "normal",
            "train",
            "bearing/section_00",
            "source",
        ),
        "bearing/test/section_00_target_test_anomaly_0001_vel_2.wav": (
            "anomaly",
            "test",
            "bearing/section_00",
            "target",
        ),
    }
    assert {e.cause: e.count for e in corpus.ledger.skipped("recording")}["without normal or anomaly in the name"] == 1


def test_mimii(tmp_path: Path) -> None:
    put(tmp_path, *(f"fan/id_00/normal/{i:08d}.wav" for i in range(5)))
    put(tmp_path, *(f"fan/id_00/abnormal/{i:08d}.wav" for i in range(2)))
    corpus = opened(tmp_path, "mimii")
    sides = columns(corpus, "label", "split", "machine", "unit")
    assert [sides[f"fan/id_00/normal/{i:08d}.wav"][1] for i in range(5)] == ["train"] * 3 + ["test"] * 2
    assert sides["fan/id_00/abnormal/00000001.wav"] == ("anomaly", "test", "fan", "fan/id_00")


def test_birdset(tmp_path: Path) -> None:
    train = {
        "filepath": ["XC1.ogg", "XC2.ogg", "XC3.ogg"],
        "ebird_code_multilabel": [["amerob"], ["norcar", "amerob"], ["x"]],
        "detected_events": [[[6.0, 7.0]], [], [[0.0, 1.0]]],
    }
    test = {"filepath": ["HSN_001_20150708_061805_000_005.ogg"], "ebird_code_multilabel": [[]]}
    pq.write_table(pa.table(train), tmp_path / "HSN_metadata_train.parquet")
    pq.write_table(pa.table(test), tmp_path / "HSN_metadata_test_5s.parquet")
    put(tmp_path, "train/XC1.ogg", seconds=8)
    put(tmp_path, "train/XC2.ogg", seconds=2)
    put(tmp_path, "test5s/HSN_001_20150708_061805_000_005.ogg", seconds=5)
    corpus = opened(tmp_path, "birdset")
    assert columns(corpus, "label", "split", "start", "seconds", "source") == {
        "train/XC1.ogg": ("amerob", "train", 3.0, 5.0, "XC1"),  # 5 s around 6.5 s, moved back to end at 8 s
        "train/XC2.ogg": ("norcar;amerob", "train", 0.0, pytest.approx(2.0), "XC2"),
        "test5s/HSN_001_20150708_061805_000_005.ogg": (
            None,
            "test",
            0.0,
            pytest.approx(5.0),
            "HSN_001_20150708_061805",
        ),
    }
    assert corpus.ledger.sentence == "3 of 4 recordings used; 1 skipped: 1 missing"


def test_beehives(tmp_path: Path) -> None:
    put(tmp_path, "Hive1_12_06_2018/Hive1_12_06_2018_QueenBee_H1_audio.wav", "Hive3_14_07_2017/H3_NO_QueenBee_1.wav")
    assert columns(opened(tmp_path, "beehive"), "label", "fold") == {
        "Hive1_12_06_2018/Hive1_12_06_2018_QueenBee_H1_audio.wav": ("queen", 1),
        "Hive3_14_07_2017/H3_NO_QueenBee_1.wav": ("no queen", 3),
    }


def test_every_layout_has_a_test() -> None:
    here = Path(__file__).parent
    tests = "".join((here / f"test_layouts_{part}.py").read_text() for part in ("sounds", "speech", "music", "nature"))
    # The four splits of MTG-Jamendo are one reader.
    untested = [name for name in LAYOUTS if f'"{name}"' not in tests and not name.startswith("mtg_jamendo")]
    assert not untested
