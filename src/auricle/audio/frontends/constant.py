"""Fixed arrays of the front ends, at hand in every precision and on every device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Constant:
    """A float64 array that comes as a tensor in the precision and on the device of another tensor.

    A module's buffer would tie a front end to one precision: float64 audio would meet a float32 window, and casting the
    encoder to bfloat16 would round the mel filters.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self._made: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, tensor: Tensor) -> Tensor:
        """Return the array with the tensor's dtype on the tensor's device."""
        key = (tensor.device, tensor.dtype)
        if key not in self._made:
            # A tensor made under inference mode could never take part in a later backward pass.
            with torch.inference_mode(False):
                self._made[key] = torch.from_numpy(self.values).to(tensor.dtype).to(tensor.device)
        return self._made[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"values": self.values, "_made": {}}
