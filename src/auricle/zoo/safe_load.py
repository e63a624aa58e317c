"""Reading tensors from other people's files without running code, and comparing state dicts."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from auricle.errors import CheckpointError, ConfigError
from auricle.tensor_files import differences, read_tensor_file

_NESTS = ("model", "state_dict", "model_state_dict")


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or from a torch file that holds nothing but tensors.

    Prefixes of wrappers (`module.`, `_orig_mod.`) are removed, and so is one level of nesting under `model`,
    `state_dict` or `model_state_dict`.

    Raises:
        CheckpointError: missing, truncated, not a checkpoint, or a pickle that holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"found no checkpoint at {path}; check the path")
    found: Mapping[str, object]
    if path.suffix == ".safetensors":
        found, _ = read_tensor_file(path, "download it again")
    else:
        found = _read_torch(path)
    for nest in _NESTS:
        inner = found.get(nest)
        if isinstance(inner, Mapping):
            found = inner
            break
    tensors = {_strip(str(name)): value for name, value in found.items() if isinstance(value, Tensor)}
    others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if others or not tensors:
        what = f"entries that are no tensors ({', '.join(others[:5])})" if others else "no tensors"
        raise CheckpointError(f"found {what} in {path}, expected a state dict of named tensors")
    return tensors


def check_keys(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Refuse a state dict with other names or shapes than expected.

    Raises:
        CheckpointError: listing missing and unexpected names and wrong shapes.
    """
    faults = differences(found, expected)
    if faults:
        raise CheckpointError(f"{source} holds another model; {faults}. Load it with its own model")


def below_prefix(state: Mapping[str, Tensor], ending: str, source: str) -> dict[str, Tensor]:
    """Return the entries below the prefix of the one name that ends with `ending`, without the prefix.

    Args:
        state: a whole model's state dict.
        ending: of a name that the wanted part has exactly once.
        source: the expected model, for the error.

    Raises:
        ConfigError: no name, or several, end so.
    """
    starts = [name.removesuffix(ending) for name in state if name.endswith(ending)]
    if len(starts) != 1:
        raise ConfigError(
            f"found {len(starts)} names that end with {ending!r}, expected 1: the state of transformers' {source}"
        )
    return {name.removeprefix(starts[0]): value for name, value in state.items() if name.startswith(starts[0])}


def joined_qkv(inner: Mapping[str, Tensor], name: str, part: str, others: Sequence[str]) -> Tensor:
    """Join the entry `name` with those of `others`, which have another word in place of `part`, row by row.

    Raises:
        ConfigError: one of them is missing.
    """
    names = [name.replace(part, other) for other in others]
    missing = [each for each in names if each not in inner]
    if missing:
        raise ConfigError(f"found {name} without {missing[0]}; the checkpoint is incomplete: download it again")
    return torch.cat([inner[each] for each in names])


def _strip(name: str) -> str:
    while name.startswith(("module.", "_orig_mod.")):
        name = name.split(".", 1)[1]
    return name


def _read_torch(path: Path) -> Mapping[str, object]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"refused to unpickle {path}: it is damaged, or holds more than tensors, which could run code on reading. "
            "Ask its author for a safetensors file, or convert it if you trust it: "
            "safetensors.torch.save_file(torch.load(path)['model'], 'model.safetensors')"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"can't read {path} ({reason}); the file is truncated or damaged: download it again"
        ) from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"found a {type(found).__name__} in {path}, expected a state dict of named tensors")
    return found
