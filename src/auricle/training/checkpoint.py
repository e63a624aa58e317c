"""Checkpoints: weights and training state as safetensors and JSON. Nothing is pickled and nothing is unpickled.

A checkpoint is a folder `step-00001000` with `encoder.safetensors`, `objective.safetensors`,
`optimiser.safetensors` and `training.json` (step, progress, size and SHA-256 of each file, and a sum of its own). It is
written, and deleted, under another name (`HALF`), so a folder of that name is always complete.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auricle.errors import CheckpointError
from auricle.storage import disk_errors, sealed, sync_folder, unseal, write_bytes
from auricle.tensor_files import differences, read_tensor_file, tensor_bytes
from auricle.training.optimiser import named_parameters, optimiser_tensors, restore_optimiser

# 2: `training.json` holds a sum of itself.
FORMAT = 2
# What to do where a run fills the disk.
CONTINUE = "earlier files are complete: free some space (or lower --train.keep) and continue with --resume"
HALF = ".writing-"
"""Begin of the name of a checkpoint that is being written or deleted; what a killed run leaves of it is removed."""

_PREFIX = "step-"
# End of the name of a whole checkpoint while the one that replaces it takes its name.
_REPLACED = "-replaced"
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def checkpoint_name(step: int) -> str:
    """Return the folder name of the checkpoint after `step` steps."""
    return f"{_PREFIX}{step:08d}"


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the complete checkpoints below a folder, by step, oldest first."""
    found = {}
    for path in sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []:
        digits = path.name.removeprefix(_PREFIX)
        if path.is_dir() and digits.isdigit():
            found[int(digits)] = path
    return found


def checkpoint_bytes(encoder: nn.Module, objective: nn.Module) -> int:
    """Estimate the bytes of a checkpoint: weights, and two moments for each trainable one."""
    stored = sum(t.nbytes for module in (encoder, objective) for t in module.state_dict().values())
    return stored + 2 * sum(p.nbytes for _, p in named_parameters(encoder, objective))


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    encoder: nn.Module,
    objective: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    recipe: Mapping[str, Any],
    keep: int,
    views: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the checkpoint of a step, then delete all but the latest `keep` (0: keep all).

    `views` are the buffers of the view makers of all ranks (memory banks), and those of the encoder with which a
    resumed run goes on, written to `views.safetensors`.

    Raises:
        StorageError: the disk is full, or the folder can't be written; the earlier checkpoints are untouched.
    """
    final, temporary = folder / checkpoint_name(step), folder / f"{HALF}{checkpoint_name(step)}"
    with disk_errors(folder, CONTINUE):
        shutil.rmtree(temporary, ignore_errors=True)
        # Not the run folder itself: one that was deleted in the meantime must not come back with a checkpoint alone.
        folder.mkdir(exist_ok=True)
        temporary.mkdir()
    card = {"recipe": json.dumps(recipe), "step": str(step), "format": str(FORMAT)}
    try:
        files = {}
        for name, tensors in (
            ("encoder", encoder.state_dict()),
            ("objective", objective.state_dict()),
            ("optimiser", optimiser_tensors(optimiser, encoder, objective)),
            *([("views", views)] if views else []),
        ):
            data = tensor_bytes(tensors, card)
            write_bytes(temporary / f"{name}.safetensors", data, CONTINUE)
            files[f"{name}.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        state = {"format": FORMAT, "step": step, "progress": dict(progress), "files": files, "recipe": dict(recipe)}
        write_bytes(temporary / "training.json", sealed(state, indent=2).encode(), CONTINUE)
        sync_folder(temporary, CONTINUE)
        with disk_errors(final, CONTINUE):
            _replace(temporary, final)
        sync_folder(folder, CONTINUE)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if keep:
        for old in list(find_checkpoints(folder).values())[:-keep]:
            with disk_errors(old, CONTINUE):
                _delete(old)
    return final


def put_back(folder: Path) -> None:
    """Put back the checkpoints that a killed process was about to replace, in the folder of a run that it writes."""
    for old in folder.glob(f"{HALF}{_PREFIX}*{_REPLACED}"):
        final = folder / old.name.removeprefix(HALF).removesuffix(_REPLACED)
        if not final.exists():
            with disk_errors(final, CONTINUE):
                old.replace(final)


def _replace(new: Path, final: Path) -> None:
    """Give a written checkpoint its name; one of that name is there until then, or is put back."""
    old = final.with_name(f"{HALF}{final.name}{_REPLACED}")
    shutil.rmtree(old, ignore_errors=True)
    try:
        if final.is_dir():
            final.replace(old)
        new.replace(final)
    except BaseException:
        # A second Ctrl-C, too.
        if not final.exists() and old.is_dir():
            old.replace(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _delete(checkpoint: Path) -> None:
    """Delete a checkpoint in one step: one that is half deleted would look like a damaged one."""
    if checkpoint.is_dir():
        doomed = checkpoint.with_name(f"{HALF}{checkpoint.name}-deleted")
        shutil.rmtree(doomed, ignore_errors=True)
        checkpoint.replace(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return `training.json` of a checkpoint folder.

    Raises:
        CheckpointError: the file is missing, damaged, or of a newer format.
    """
    path = checkpoint / "training.json"
    try:
        text = path.read_text()
        state = unseal(text, required=False)
        form = state.get("format")
        if type(form) is not int or form == FORMAT:
            unseal(text)
    except FileNotFoundError:
        raise CheckpointError(
            f"{checkpoint} is not a checkpoint of auricle: it has no training.json{_pickle_note(checkpoint)}"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); {_remedy(checkpoint)}") from error
    if isinstance(form, int) and form > FORMAT:
        raise CheckpointError(
            f"{path} is of format {form}, this auricle reads up to {FORMAT}; update auricle, or {_remedy(checkpoint)}"
        )
    wrong = _wrong_entry(state)
    if wrong:
        raise CheckpointError(f"{path} is damaged: {wrong}; {_remedy(checkpoint)}")
    return state


def _wrong_entry(state: Mapping[str, Any]) -> str | None:
    """Return which entry of `training.json` has another type than it was written with."""
    for name, kind in (("format", int), ("step", int), ("files", dict), ("progress", dict), ("recipe", dict)):
        value = state.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"{name!r} is {str(value)[:40]!r} where {kind.__name__} was written"
    if state["step"] < 0:
        return f"the step is {state['step']}"
    for name, entry in state["files"].items():
        if not (isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)):
            return f"the size and SHA-256 of {name!r} are {str(entry)[:40]!r}"
    return None


def verify_file(checkpoint: Path, name: str, state: Mapping[str, Any]) -> Path:
    """Compare a file of a checkpoint with its size and SHA-256 in `training.json` (`state`); return its path.

    Raises:
        CheckpointError: the file is missing, a pickle, or not what was written.
    """
    path, expected = checkpoint / name, state["files"].get(name)
    if expected is None:
        raise CheckpointError(f"{checkpoint / 'training.json'} does not list {name}; {_remedy(checkpoint)}")
    _refuse_other(path)
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(
                f"{path} is truncated or damaged: {size} bytes, {expected['bytes']} were written; {_remedy(checkpoint)}"
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from error
    if found != expected["sha256"]:
        raise CheckpointError(f"{path} is damaged: its content is not what was written; {_remedy(checkpoint)}")
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file of a checkpoint; its tensors are on the CPU and own their memory.

    Raises:
        CheckpointError: the file is missing, truncated, or a pickle.
    """
    _refuse_other(path)
    tensors, _ = read_tensor_file(path, _remedy(path.parent))
    return tensors


def _refuse_other(path: Path) -> None:
    """Refuse a file that is missing, can't be read, or is a pickle."""
    if not path.is_file():
        raise CheckpointError(f"{path.parent} has no {path.name}{_pickle_note(path.parent)}; {_remedy(path.parent)}")
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise CheckpointError(f"can't read {path}: {error.strerror or error}") from error
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise CheckpointError(
            f"{path} is a pickle (torch.save), not safetensors: reading it could run code that it holds, so "
            "auricle does not; if you trust it, read it with torch.load(weights_only=True) and write it "
            "with safetensors.torch.save_file"
        )


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module, every name and shape exactly.

    Raises:
        CheckpointError: the file is unreadable, or holds another model's weights: the differing names are listed.
    """
    load_tensors(module, read_tensors(path), str(path))


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load named tensors into a module, every name and shape exactly.

    Buffers that a module lists in `grows` have shapes that depend on the data, and take those of the saved ones.

    Raises:
        CheckpointError: the tensors are another model's: the differing names are listed.
    """
    faults = misfits(module, tensors)
    if faults:
        raise CheckpointError(
            f"{source} holds the weights of another model than {type(module).__name__}: {faults}; load it with the "
            "recipe that it was trained with. Where that is so, the model has changed since: train it again, or use "
            "the version of auricle that trained it (environment.json of its run)"
        )
    module.load_state_dict(dict(tensors))


def misfits(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Return in words how named tensors differ from a module's by name and shape; "" where they fit."""
    grown = {
        f"{place}.{name}".lstrip(".") for place, child in module.named_modules() for name in getattr(child, "grows", ())
    }
    return differences(tensors, module.state_dict(), grown)


def restore_checkpoint(
    checkpoint: Path, *, encoder: nn.Module, objective: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load a checkpoint's weights and optimiser state and return its `training.json`.

    Raises:
        CheckpointError: a file is missing, damaged (size or SHA-256 differ), a pickle, or another model's.
    """
    state = read_state(checkpoint)
    weights, head, moments = (
        verify_file(checkpoint, f"{name}.safetensors", state) for name in ("encoder", "objective", "optimiser")
    )
    load_weights(encoder, weights)
    load_weights(objective, head)
    restore_optimiser(optimiser, encoder, objective, read_tensors(moments))
    return state


def read_views(checkpoint: Path, owner: str) -> dict[str, Tensor]:
    """Return the buffers of a rank's view maker (`rank0`), or the encoder's, at a checkpoint; empty where none are.

    Raises:
        CheckpointError: the file is damaged.
    """
    state = read_state(checkpoint)
    if "views.safetensors" not in state["files"]:
        return {}
    tensors = read_tensors(verify_file(checkpoint, "views.safetensors", state))
    prefix = f"{owner}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _pickle_note(folder: Path) -> str:
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES) if folder.is_dir() else []
    if not pickles:
        return ""
    return f" (it has {', '.join(pickles)}: pickles can run code when read, auricle reads safetensors only)"


def _remedy(checkpoint: Path) -> str:
    others = [p.name for p in find_checkpoints(checkpoint.parent).values() if p != checkpoint]
    if others:
        return f"delete the folder {checkpoint} to continue from {others[-1]}"
    return "there is no other checkpoint to continue from: train again, or copy the checkpoint again from its source"
