"""What is watched while a run trains, and when to speak up.

Nothing here waits for the device between two lines of the log: values stay tensors until a line is due.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from auricle.errors import TrainingError


class Interval:
    """Means of what each step reports, from one line of the log to the next; steps that were skipped do not count."""

    def __init__(self, state: Mapping[str, list[float]] | None = None) -> None:
        """Begin an interval, or go on with the one that `state` returned."""
        self._values: dict[str, list[Tensor]] = {
            name: [torch.tensor(value, dtype=torch.float32) for value in values]
            for name, values in (state or {}).items()
        }

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take a step's scalars (tensors, left on their device)."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.detach().float())

    def state(self) -> dict[str, list[float]]:
        """Return all values as numbers; float32 survives the way through JSON exactly."""
        return {name: _numbers(values) for name, values in self._values.items()}

    def means(self) -> dict[str, float]:
        """Return the means of the finite values (NaN where there is none) and begin the next interval."""
        means = {}
        for name, numbers in self.state().items():
            finite = [number for number in numbers if math.isfinite(number)]
            means[name] = math.fsum(finite) / len(finite) if finite else math.nan
        self._values.clear()
        return means


def _numbers(values: list[Tensor]) -> list[float]:
    device = values[-1].device
    numbers: list[float] = torch.stack([value.to(device) for value in values]).tolist()
    return [number if math.isfinite(number) else math.nan for number in numbers]


class SkipCounter:
    """Counts steps without a finite loss and gradient, on the device.

    Attributes:
        limit: so many in a row end the run.
    """

    def __init__(self, device: torch.device, limit: int, state: list[float] | None = None) -> None:
        self.limit = limit
        # Skipped in all, in a row now, and the longest row.
        self._counts = torch.tensor(state or [0.0, 0.0, 0.0], dtype=torch.float64, device=device)

    def add(self, skipped: Tensor) -> None:
        """Take a step's flag: 1 skipped, 0 done."""
        total, row, longest = self._counts.unbind()
        row = (row + 1) * skipped
        self._counts = torch.stack([total + skipped, row, torch.maximum(longest, row)])

    def state(self) -> list[float]:
        """Return the counts as numbers."""
        return [value if math.isfinite(value) else 0.0 for value in self._counts.tolist()]

    def check(self) -> int:
        """Return how many steps were skipped in all.

        Raises:
            TrainingError: too many in a row.
        """
        total, row, longest = self.state()
        self._counts[2] = row
        if longest >= self.limit:
            raise TrainingError(
                f"{longest:.0f} steps in a row had no finite loss or gradient and were skipped (train.skip_limit is "
                f"{self.limit}): lower --train.lr, raise --train.warmup-steps, set --train.clip-norm 1, or try "
                "--train.precision fp32; the weights are those before the first of them"
            )
        return int(total)


@dataclass
class CollapseAlarm:
    """Tells when embeddings shrink to a point or a line, once per time that it happens.

    The signs: the effective rank (RankMe, arXiv 2210.02885) of projections or representations near 1; vectors so close
    on the sphere that their uniformity (arXiv 2005.10242) is near 0; a standard deviation near 0; after warm-up, a
    contrastive accuracy that is still chance.

    Attributes:
        patience: steps after which an accuracy at chance is a sign.
    """

    patience: int
    _on: set[str] = field(default_factory=set)

    def signs(self, step: int, line: Mapping[str, Any]) -> dict[str, str]:
        """Return the signs of collapse in a line of metrics: name -> what was found."""
        found = {}
        for name, value in line.items():
            if not isinstance(value, float) or not math.isfinite(value):
                continue
            if name.startswith("rank") and value < 1.5:
                found[name] = f"{name} is {value:.2f}: the embeddings lie on a line"
            elif name.startswith("uniformity") and value > -0.1:
                found[name] = f"{name} is {value:.3f}: the embeddings are one point"
            elif name.startswith("std") and value < 1e-3:
                found[name] = f"{name} is {value:.1e}: the embeddings are one point"
        accuracy, chance = line.get("accuracy"), 1 / max(1, 2 * line.get("batch", 1) - 1)
        if isinstance(accuracy, float) and step >= self.patience and accuracy < 1.5 * chance:
            found["accuracy"] = f"accuracy is {accuracy:.4f} after {step} steps, chance is {chance:.4f}"
        return found

    def __call__(self, step: int, line: Mapping[str, Any]) -> str | None:
        """Return a warning that says what to do where a sign is new, else None."""
        found = self.signs(step, line)
        new = found.keys() - self._on
        self._on = set(found)
        if not new:
            return None
        return (
            f"collapse at step {step}: {'; '.join(found[name] for name in sorted(found))}. Look at the data first: "
            "clips that are mostly padding or silence make views that differ from nothing (--window.short repeat). "
            "Then lower --train.lr or lengthen --train.warmup-steps, raise --loader.batch (more negatives), and weaken "
            "--objective.mask or --augment until accuracy leaves chance"
        )
