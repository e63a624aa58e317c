"""Files of named tensors: safetensors with metadata, written whole, and read without running code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from auricle.errors import CheckpointError


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file; the tensors may share memory, which the format refuses."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return safetensors.torch.save(whole, metadata=None if metadata is None else dict(metadata))


def read_tensor_file(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a safetensors file, on the CPU, and its metadata.

    Args:
        path: of the file.
        remedy: what to do where it is damaged.

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or can't be read.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # Clones: a memory-mapped file could change or vanish below a running job.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path} is truncated or damaged ({size} bytes; {error}); {remedy}") from error
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file without its tensors; empty where there is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], grown: Collection[str] = ()) -> str:
    """Return in words how names and shapes of tensors differ from the expected ones; "" where they agree.

    Args:
        found: tensors by name.
        expected: those of the model.
        grown: names whose shapes may differ.
    """
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in found.keys() & expected.keys()
        if found[name].shape != expected[name].shape and name not in grown
    ]
    kinds: tuple[tuple[str, Collection[str]], ...] = (
        ("missing", expected.keys() - found.keys()),
        ("unexpected", found.keys() - expected.keys()),
        ("of another shape", shapes),
    )
    return "; ".join(f"{len(names)} {what}: {_first(names)}" for what, names in kinds if names)


def _first(names: Iterable[str], most: int = 6) -> str:
    listed = sorted(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
