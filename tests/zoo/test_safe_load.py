from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from auricle.errors import CheckpointError
from auricle.zoo.safe_load import check_keys, load_tensors

STATE = {"a.weight": torch.arange(2000.0).reshape(40, 50), "b": torch.ones(3)}


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["safetensors", "bare", "nested", "wrapped"])
def test_reads_each_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("x.safetensors" if form == "safetensors" else "x.pt")
    if form == "safetensors":
        safetensors.torch.save_file(STATE, path)
    elif form == "wrapped":
        torch.save({f"module._orig_mod.{k}": v for k, v in STATE.items()}, path)
    else:
        torch.save({"model": STATE, "epoch": 3} if form == "nested" else STATE, path)
    found = load_tensors(path)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[k], STATE[k]) for k in STATE)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"model": Trap(mark)}, tmp_path / "trap.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Trap(mark)))
    for name in ("trap.pt", "plain.pkl"):
        with pytest.raises(CheckpointError, match="refused to unpickle"):
            load_tensors(tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("keep", [0, 5, 300, 5000])
def test_truncated(tmp_path: Path, suffix: str, keep: int) -> None:
    path = tmp_path / f"x.{suffix}"
    if suffix == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"x\."):
        load_tensors(path)


def test_missing_and_strange(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no checkpoint"):
        load_tensors(tmp_path / "none.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="found a list"):
        load_tensors(tmp_path / "list.pt")
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "mixed.pt")
    with pytest.raises(CheckpointError, match=r"no tensors \(epoch\)"):
        load_tensors(tmp_path / "mixed.pt")


def test_keys_are_listed_loudly() -> None:
    with pytest.raises(CheckpointError) as caught:
        check_keys({"a.weight": torch.ones(2), "c": torch.ones(1)}, STATE, "file.pt")
    text = str(caught.value)
    assert "1 missing: b" in text
    assert "1 unexpected: c" in text
    assert "a.weight (2,) instead of (40, 50)" in text
