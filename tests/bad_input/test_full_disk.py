"""Disks that are full or fill up, and places that can't be written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bad_input_command import QUICK, TINY, Command, FullDisk, full_disk
from bad_input_data import clips, sides

needs_limits = pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")


@needs_limits
@pytest.mark.parametrize("room", [0, 2_000, 60_000])
def test_pretraining_on_a_full_disk(auricle: Command, good: Path, tmp_path: Path, room: int) -> None:
    """Without room for the recipe, for the metrics, for a checkpoint."""
    out = tmp_path / "run"
    with full_disk(room):
        message = auricle.refused("pretrain", "audiomosaic", "--data", good, "--out", out, *TINY)
    assert str(out) in message
    assert "space" in message
    assert not list(out.glob("checkpoints/step-*"))


@needs_limits
def test_scanning_on_a_full_disk(auricle: Command, good: Path, tmp_path: Path) -> None:
    with full_disk(500):
        message = auricle.refused("corpus", "scan", good, "--out", tmp_path / "t.parquet")
    assert str(tmp_path / "t.parquet") in message
    assert "space" in message
    assert not list(tmp_path.iterdir())


@needs_limits
def test_embedding_on_a_full_disk(auricle: Command, run: Path, good: Path, tmp_path: Path) -> None:
    with full_disk(500):
        message = auricle.refused("embed", run, "--data", good, "--out", tmp_path / "v.parquet")
    assert str(tmp_path / ".v.parquet.unfinished") in message
    assert "space" in message
    assert not (tmp_path / "v.parquet").exists()


@needs_limits
def test_probing_on_a_full_disk(auricle: Command, run: Path, good: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["probe", run, "--task", "folder", "--data", good, "--out", out, *QUICK]
    with full_disk(500):
        message = auricle.refused(*arguments)
    assert str(out) in message
    assert "space" in message
    # With the tokens there, the results are next.
    assert auricle(*arguments) == 0
    (out / "results.jsonl").unlink()
    with full_disk(500):
        message = auricle.refused(*arguments)
    assert str(out) in message
    assert "space" in message
    assert not (out / "results.jsonl").exists()
    assert auricle(*arguments) == 0


@needs_limits
def test_reporting_on_a_full_disk(auricle: Command, run: Path, tmp_path: Path) -> None:
    with full_disk(100_000):
        message = auricle.refused("report", run, "--out", tmp_path / "report.html")
    assert str(tmp_path / "report.html") in message
    assert "space" in message
    assert not list(tmp_path.iterdir())


def test_a_place_that_cant_be_written(auricle: Command, run: Path, good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inside = tmp_path / "file" / "out"
    for arguments in (
        ["corpus", "scan", good, "--out", inside / "t.parquet"],
        ["pretrain", "audiomosaic", "--data", good, "--out", inside, *TINY],
        ["embed", run, "--data", good, "--out", inside / "v.parquet"],
        ["probe", run, "--task", "folder", "--data", good, "--out", inside, *QUICK],
        ["report", run, "--out", inside / "report.html"],
    ):
        assert str(tmp_path / "file") in auricle.refused(*arguments)


@pytest.mark.usefixtures("own_encoders")
@pytest.mark.parametrize("name", ["tokens.bin", "journal.jsonl", "predictions", "results.jsonl", "fits", "map.json"])
def test_a_disk_that_fills_up_while_probing(
    auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    words = auricle.probe(data, "--probes", "knn", "linear")
    disk = FullDisk(monkeypatch, name)
    message = auricle.refused(*words)
    assert disk.hits
    assert "space" in message
    # The tokens' writer names the folder.
    assert ("tokens" if name in ("tokens.bin", "journal.jsonl") else name) in message
    assert not list((tmp_path / "out").rglob("*.writing"))
    disk.full = False
    assert auricle(*words) == 0
    assert set(auricle.results()) == {"knn", "linear"}


@pytest.mark.usefixtures("own_encoders")
def test_a_disk_that_fills_up_keeps_what_was_measured_before(
    auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = clips(tmp_path / "data", sides("ab", 4, 2, 2))
    assert auricle(*auricle.probe(data, "--probes", "knn")) == 0
    before = (tmp_path / "out" / "folder" / "results.jsonl").read_bytes()
    disk = FullDisk(monkeypatch, "results.jsonl")
    message = auricle.refused(*auricle.probe(data, "--probes", "knn", "centroid"))
    assert "results.jsonl" in message
    assert (tmp_path / "out" / "folder" / "results.jsonl").read_bytes() == before
    export = tmp_path / "out" / "table.md"
    disk.name = "table.md"
    assert "space" in auricle.refused("results", tmp_path / "out", "--format", "markdown", "--out", export)
    disk.full = False
    assert auricle("results", tmp_path / "out", "--format", "markdown", "--out", export) == 0
    assert "knn" in export.read_text()
