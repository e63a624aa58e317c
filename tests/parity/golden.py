"""Golden tensors of published objectives against recipes: the same loss from the same weights, inputs and masks.

A recipe is taken as it is; only its width, depth, heads and input size shrink to the file's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder
from auricle.objectives.contract import Loss, Objective, View
from auricle.recipes import Recipe, get_recipe
from auricle.recipes.building import build

# Patterns of our names, and what the released vision transformers have in their place.
VIT = {
    r"blocks\.(\d+)\.(qkv|proj)\.": r"blocks.\1.attn.\2.",
    r"blocks\.(\d+)\.(fc1|fc2)\.": r"blocks.\1.mlp.\2.",
    r"^patch_proj\.": "patch_embed.proj.",
    r"^patch_norm\.": "patch_embed.norm.",
    r"^positions$": "pos_embed",
}
# The same of masked autoencoders' decoders, Audio-MAE's windows included.
DECODER = {
    r"attention\.(qkv|proj|tau)": r"attn.\1",
    r"attention\.offset_hidden": "attn.meta_mlp.fc1",
    r"attention\.offset_bias": "attn.meta_mlp.fc2",
    **VIT,
    r"^decoder\.mask_token": "mask_token",
    r"^decoder\.(embed|blocks|norm)": r"decoder_\1",
    r"^terms\.0\.head": "decoder_pred",
}


class Golden:
    """One file, and which of its tensors a test has used.

    Attributes:
        tensors: by name, in the file's precision.
    """

    def __init__(self, shared_audio: Path, name: str) -> None:
        file = shared_audio.parent / "golden" / f"{name}.npz"
        if not file.is_file():
            pytest.skip(f"no golden tensors at {file}")
        with np.load(file) as arrays:
            self.tensors = {key: torch.from_numpy(np.array(arrays[key])) for key in arrays.files}
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self._used.add(name)
        return self.tensors[name]

    def fill(self, module: nn.Module, names: Mapping[str, str], prefix: str = "w/") -> None:
        """Load a module's parameters and buffers, all of which must be in the file (counters excepted).

        Args:
            module: in float64.
            names: patterns of our names and their replacements, applied in turn.
            prefix: of the file's names.
        """
        state = {}
        for name, own in module.state_dict().items():
            theirs = name
            for pattern, text in names.items():
                theirs = re.sub(pattern, text, theirs)
            counter = name == "done" or name.endswith("num_batches_tracked")
            state[name] = own if counter else self[theirs if "/" in theirs else prefix + theirs].reshape(own.shape)
        module.load_state_dict(state)

    def unused(self) -> set[str]:
        """Return the names of weights that no part of ours has taken."""
        return {name for name in self.tensors if "/" in name} - self._used


def shrunk(method: str, encoder: Mapping[str, Any], **objective: Any) -> tuple[Encoder, Objective]:
    """Return encoder and objective of a method's published size at another size, in float64 and training mode."""
    return small(get_recipe(method, "paper"), encoder, **objective)


def small(recipe: Recipe, encoder: Mapping[str, Any], **objective: Any) -> tuple[Encoder, Objective]:
    """Return encoder and objective of a recipe at another size, in float64 and training mode."""
    changed = recipe.replace(
        encoder=recipe.encoder.replace(**encoder), objective=recipe.objective.replace(**objective), previous=None
    )
    _, made, loss = build(changed, 0)
    return made.double().train(), loss.double().train()


def give_masks(objective: Any, monkeypatch: pytest.MonkeyPatch, *masks: Tensor) -> None:
    """Let the recipe's own mask sampler return these `(rows, N)` masks, one each pass."""
    waiting = [mask.bool() for mask in masks]
    monkeypatch.setattr(type(objective.config.mask), "sample", lambda *_: waiting.pop(0))


def loss_of(encoder: Encoder, objective: Objective, inputs: Sequence[Tensor]) -> Loss:
    """Return the loss of views `(B, T, F)`."""
    lengths = torch.full((len(inputs[0]),), inputs[0].shape[1])
    views = [View(Features(x, lengths, encoder.input_rate), torch.arange(len(x))) for x in inputs]
    return objective(encoder, views, torch.Generator().manual_seed(0))


def time_major(x: Tensor, freq: int, skip: int = 0, axis: int = 1) -> Tensor:
    """Bring tokens from frequency-major into time-major order.

    Args:
        x: tokens, or their positions, or a mask.
        freq: number of bands.
        skip: class tokens, which come first and stay there.
        axis: of the tokens.
    """
    first, rest = x.split([skip, x.shape[axis] - skip], axis)
    return torch.cat([first, rest.unflatten(axis, (freq, -1)).transpose(axis, axis + 1).flatten(axis, axis + 1)], axis)
