"""Records of results: what is written is read, and a kill never leaves half a line."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
from result_files import write_results

from auricle.errors import CorpusError
from auricle.results.record import SCHEME, Result, append_result, read_results


def record(**changes) -> Result:
    values: dict = {f.name: "x" for f in dataclasses.fields(Result)}
    values |= {
        "kind": "single", "role": "pretrained", "value": 0.9, "low": 0.8, "high": 0.95, "confidence": 0.95,
        "metrics": {"accuracy": 0.9}, "per_fold": [0.9], "per_seed": [0.9], "values": [[0.9]],
        "per_class": {"a": {"recall": 0.9}}, "classes": ["a"], "confusion": [[1.0]], "protocol": "split",
        "fold_names": ["test"], "sizes": [[1, 1, 1]], "refit": True, "clips": 1, "clips_total": 1,
        "chosen": [{"lr": 0.1}],
        "tried": 4, "settings": {}, "seeds": [0], "params": 3, "width": 4, "seen": None, "versions": {},
        "seconds": 1.0, "missing": {}, "notes": [], "leaks": [], "macs": None, "details": {}, "constant": "",
        "constant_metrics": {}, "better": "higher", "scheme": SCHEME,
    }  # fmt: skip
    return Result(**(values | changes))


def test_round_trip_and_odd_names(tmp_path: Path) -> None:
    path = tmp_path / "probes" / "results.jsonl"
    first, second = record(key="1", task="vögel\nnachts \u2028"), record(key="2", seen=True)
    append_result(path, first)
    append_result(path, second)
    assert read_results(path) == [first, second]
    assert read_results(path.parent) == [first, second]


def test_same_key_replaces(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    write_results(path, [record(key="1"), record(key="2")])
    append_result(path, record(key="1", value=0.5))
    assert [(r.key, r.value) for r in read_results(path)] == [("2", 0.9), ("1", 0.5)]
    assert [p.name for p in tmp_path.iterdir()] == ["results.jsonl"]


def test_what_is_not_a_number_is_null_in_json(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_result(path, record(low=math.nan, per_class={"a": {"recall": math.nan}}))
    data = json.loads(path.read_text())
    assert data["low"] is None
    back = read_results(path)[0]
    assert math.isnan(back.low)
    assert back.per_class["a"]["recall"] is None


def test_unknown_fields_are_left_out_and_missing_ones_refused() -> None:
    data = record().to_json()
    assert Result.from_json({**data, "later": 1}) == record()
    del data["metric"]
    with pytest.raises(CorpusError, match="lacks metric"):
        Result.from_json(data)


def test_missing_or_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no results at"):
        read_results(tmp_path)
    path = tmp_path / "results.jsonl"
    path.write_text("{}x\n")
    with pytest.raises(CorpusError, match="line 1"):
        read_results(path)
    path.write_text("[1]\n")
    with pytest.raises(CorpusError, match="not a result record"):
        read_results(path)
