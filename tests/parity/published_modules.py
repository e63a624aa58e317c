"""Numbers of published modules: weights and inputs follow from their names by one rule, so that only numbers are kept.

A file of `published/` names the repository, commit and files that were run, the shapes of the module's weights and
inputs, what else it was given (masks, codes), and what it returned. Everything was run in float64.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Turn = Callable[[Tensor], Tensor]
FOLDER = Path(__file__).parent / "published"


def ruled(name: str, shape: Sequence[int]) -> Tensor:
    """Return the tensor of a name: normal numbers from the name's own seed, scaled as a weight of its kind.

    Weights of norms are about 1, other vectors about 0.1, matrices keep the scale of their input, tables of positions
    are about 0.5; inputs are standard normal.

    Args:
        name: as published, or `input/...`.
        shape: of the tensor.
    """
    # The numbers of this old generator are fixed for all versions of numpy.
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    x = torch.from_numpy(np.asarray(drawn, dtype=np.float64))
    if name.startswith("input/"):
        return x
    if name.endswith("running_var"):
        return 1 + 0.5 * x.abs()
    if x.ndim <= 1:
        return 1 + 0.1 * x if name.endswith(("weight", "weight_g", "original0")) else 0.1 * x
    if shape[0] == 1:
        return 0.5 * x
    return x / (x.numel() / shape[0]) ** 0.5


class Published:
    """What a published module was given and returned.

    Attributes:
        shapes: of its weights, by their published names.
        given: masks, codes, draws.
        returned: losses and other numbers.
        gradients: norms of the gradients of some weights.
    """

    def __init__(self, name: str) -> None:
        kept = json.loads((FOLDER / f"{name}.json").read_text())
        self.shapes: dict[str, list[int]] = kept["shapes"]
        self._inputs: dict[str, list[int]] = kept["inputs"]
        self.given = {key: torch.tensor(value) for key, value in kept["given"].items()}
        self.returned: dict[str, Any] = kept["returned"]
        self.gradients: dict[str, float] = kept["gradients"]
        self._used: set[str] = set()

    def weight(self, name: str) -> Tensor:
        self._used.add(name)
        return ruled(name, self.shapes[name])

    def input(self, name: str) -> Tensor:
        return ruled(f"input/{name}", self._inputs[name])

    def _theirs(self, name: str, names: Mapping[str, str]) -> str:
        for pattern, text in names.items():
            name = re.sub(pattern, text, name)
        return name

    @torch.no_grad()
    def fill(
        self, module: nn.Module, names: Mapping[str, str], skip: str = "$^", turned: Mapping[str, Turn] | None = None
    ) -> None:
        """Fill a module's parameters and buffers, all of which must be known (counters excepted).

        Args:
            module: in float64.
            names: patterns of our names and their replacements, applied in turn; `{q,k,v}` stands for three weights
                that ours has joined.
            skip: pattern of names that stay as they are.
            turned: by our name, what brings a published weight into our order.
        """
        state = {}
        for name, own in module.state_dict().items():
            theirs = self._theirs(name, names)
            if name == "done" or name.endswith("num_batches_tracked") or re.search(skip, name):
                state[name] = own
            elif "{" in theirs:
                state[name] = torch.cat([self.weight(part) for part in _parts(theirs)]).reshape(own.shape)
            else:
                weight = self.weight(theirs)
                state[name] = (turned or {}).get(name, _as_it_is)(weight).reshape(own.shape)
        module.load_state_dict(state)

    def check_gradients(self, module: nn.Module, names: Mapping[str, str], rel: float) -> int:
        """Compare the norms of a module's gradients with those that are kept, and return how many there were."""
        compared = 0
        for name, own in module.named_parameters():
            theirs = self._theirs(name, names)
            parts = _parts(theirs) if "{" in theirs else [theirs]
            if not all(part in self.gradients for part in parts):
                continue
            assert own.grad is not None, name
            for part, gradient in zip(parts, own.grad.chunk(len(parts)), strict=True):
                assert float(gradient.norm()) == pytest.approx(self.gradients[part], rel=rel, abs=1e-9), part
                compared += 1
        return compared

    def unused(self) -> set[str]:
        """Return the published weights that no part of ours has taken."""
        return set(self.shapes) - self._used


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _parts(name: str) -> list[str]:
    before, inner, after = re.split(r"[{}]", name)
    return [before + part + after for part in inner.split(",")]
