"""Files of records: other versions, damaged bytes, odd text, and what a reader of them is told."""

from __future__ import annotations

import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_files import write_results
from test_record import record

from auricle.cli import main
from auricle.errors import AuricleError, CorpusError
from auricle.results.record import Result, append_result, read_results

SLOW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# A line as version 0.1 wrote it: `heard` instead of `seen`, and none of the fields that came with other types of task.
FIRST_VERSION = {
    "task": "esc10", "kind": "single", "encoder": "audiomosaic-tiny", "encoder_fingerprint": "0123456789abcdef",
    "role": "pretrained", "probe": "linear", "metric": "accuracy", "value": 0.75, "low": 0.7, "high": 0.8,
    "confidence": 0.95, "interval": "bootstrap, 1000 draws of the 400 test clips", "metrics": {"accuracy": 0.75},
    "per_fold": [0.7, 0.8], "per_seed": [0.75], "values": [[0.7, 0.8]],
    "per_class": {"dog": {"recall": 0.5, "precision": None}}, "classes": ["dog", "rain"],
    "confusion": [[1.0, 1.0], [0.0, 2.0]], "protocol": "folds", "split": "the corpus's own folds",
    "fold_names": ["1", "2"], "sizes": [[2, 1, 2], [2, 1, 2]], "refit": True, "clips": 4, "clips_total": 4,
    "chosen": [{"fold": "1", "lr": 0.001}], "tried": 12, "settings": {"epochs": 30}, "seeds": [0], "params": 10,
    "width": 4, "corpus": "esc10", "corpus_fingerprint": "feed", "heard": True, "predictions": None,
    "command": "auricle probe RUN --task esc10", "versions": {"auricle": "0.1.0"}, "seconds": 1.5,
    "made": "2025-11-30T12:00:00+00:00", "key": "00ff",
}  # fmt: skip


def test_a_line_of_version_0_1_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(FIRST_VERSION) + "\n")
    (found,) = read_results(path)
    assert found.seen is True
    assert (found.type_name, found.better, found.unit, found.protocol_name) == ("clips", "higher", "%", "strict")
    assert (found.leaks, found.macs, found.details, found.missing, found.notes) == ([], None, {}, {}, [])
    assert found.per_class["dog"] == {"recall": 0.5, "precision": None}
    assert main(["results", str(path), "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    assert r"75.0 \[70.0, 80.0\]" in said
    assert "this audio was seen in pre-training, without its labels: audiomosaic-tiny" in said


def test_a_folder_of_version_0_1_goes_on_in_this_one(tmp_path: Path) -> None:
    """What is added or replaced leaves the old lines as they are."""
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps({**FIRST_VERSION, "key": key, "heard": key == "b"}) + "\n" for key in "abc"))
    before = {found.key: found for found in read_results(path)}
    append_result(path, record(key="b", seen=None))
    append_result(path, record(key="new"))
    now = {found.key: found for found in read_results(path)}
    assert list(now) == ["a", "c", "b", "new"]
    assert (now["a"], now["c"]) == (before["a"], before["c"])
    assert now["b"].seen is None


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="counts the bytes that Linux has read")
def test_appending_reads_the_end_of_the_file_only(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    line = json.dumps(record().to_json())
    path.write_text("".join(f"{line}\n" for _ in range(20_000)))

    def count() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = count()
    append_result(path, record(key="new"))
    assert count() - before < 20_000 < path.stat().st_size / 100
    assert [found.key for found in read_results(path)] == [record().key, "new"]


@pytest.mark.parametrize("cut", [1, 5000, 10**6])
def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [record(key="1"), record(key="2", notes=["x" * 20_000])])
    whole = path.read_bytes()
    # As much of the second line as is asked for, but never its end.
    path.write_bytes(whole[: min(whole.index(b"\n") + 1 + cut, len(whole) - 2)])
    assert [found.key for found in read_results(path)] == ["1"]
    append_result(path, record(key="3"))
    assert [found.key for found in read_results(path)] == ["1", "3"]


def test_a_whole_line_without_an_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [record(key="1"), record(key="2")])
    path.write_bytes(path.read_bytes().rstrip())
    append_result(path, record(key="3"))
    assert [found.key for found in read_results(path)] == ["1", "2", "3"]


def test_writers_at_the_same_time_lose_no_record(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: append_result(path, record(key=str(key))), range(100)))
    assert sorted(int(found.key) for found in read_results(path)) == list(range(100))


def test_the_present_name_wins_where_a_line_has_both() -> None:
    assert Result.from_json({**FIRST_VERSION, "seen": False}).seen is False


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
number = st.floats(allow_nan=False) | st.just(math.inf) | st.just(-math.inf)


@SLOW
@given(
    words=st.lists(text, min_size=3, max_size=3),
    value=st.floats(-10, 10),
    metrics=st.dictionaries(text, st.floats(-1, 1), max_size=3),
    missing=st.dictionaries(text, text, max_size=3),
    seen=st.none() | st.booleans(),
)
def test_any_text_and_number_comes_back(
    tmp_path: Path, words: list[str], value: float, metrics: dict, missing: dict, seen: bool | None
) -> None:
    """Line separators of every alphabet, quotes, tabs: a record stays one line, and comes back as it was."""
    path = tmp_path / "results.jsonl"
    task, encoder, note = words
    first = record(
        key="1", task=task, encoder=encoder, notes=[note], value=value, metrics=metrics, missing=missing, seen=seen
    )
    write_results(path, [first, record(key="2")])
    assert read_results(path) == [first, record(key="2")]
    assert path.read_bytes().count(b"\n") == 2


@SLOW
@given(found=st.lists(st.sampled_from("abcd"), max_size=12))
def test_appending_keeps_the_last_of_each_key_in_the_order_of_writing(tmp_path: Path, found: list[str]) -> None:
    path = tmp_path / "results.jsonl"
    path.unlink(missing_ok=True)
    expected: dict[str, int] = {}
    for place, key in enumerate(found):
        append_result(path, record(key=key, clips=place))
        expected.pop(key, None)
        expected[key] = place
    assert {r.key: r.clips for r in (read_results(path) if found else [])} == expected
    assert [r.key for r in (read_results(path) if found else [])] == list(expected)


@SLOW
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_are_refused_in_words(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [record(key="1", task="Vögel"), record(key="2")])
    content = bytearray(path.read_bytes())
    for place, byte in places:
        content[place % len(content)] = byte
    path.write_bytes(content)
    # Any other exception would be a traceback for whoever lists results.
    with suppress(AuricleError):
        assert all(isinstance(found, Result) for found in read_results(path))


def test_text_that_is_not_utf_8_is_named_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [record(key="1"), record(key="2", task="vögel")])
    path.write_bytes(path.read_bytes().replace("ö".encode(), "ö".encode("latin-1")))
    with pytest.raises(CorpusError, match=r"line 2 of .*results\.jsonl is not JSON.*delete that line"):
        read_results(path)
    assert main(["results", str(path)]) == 2
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["value", "low", "high"])
@pytest.mark.parametrize("wrong", ["high", [0.5], {"value": 1}])
def test_a_value_that_is_no_number_is_named(name: str, wrong: object) -> None:
    with pytest.raises(CorpusError, match=f"its {name} is .*expected a number: run it again"):
        Result.from_json({**record().to_json(), name: wrong})


def test_every_field_without_a_default_is_needed() -> None:
    data = record().to_json()
    for name in ("task", "encoder_fingerprint", "corpus_fingerprint", "values", "key", "predictions"):
        with pytest.raises(CorpusError, match=f"lacks {name}; another version.*: run the probe again"):
            Result.from_json({key: value for key, value in data.items() if key != name})
    optional = [f.name for f in dataclasses.fields(Result) if f.default is not dataclasses.MISSING]
    assert set(optional) == {"type_name", "better", "unit", "protocol_name", "macs", "constant", "features", "scheme"}
    assert Result.from_json({key: value for key, value in data.items() if key not in optional}).unit == "%"


def test_empty_lines_and_line_ends_of_other_systems_are_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [record(key="1"), record(key="2")])
    path.write_bytes(b"\r\n" + path.read_bytes().replace(b"\n", b"\r\n") + b"\n  \n")
    assert [found.key for found in read_results(path)] == ["1", "2"]
