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


# What to do about a sign; the signs of one kind share it.
_REMEDIES = {
    "collapse": (
        "Look at the data first: clips that are mostly padding or silence make views that differ from nothing "
        "(--window.short repeat). Then lower --train.lr or lengthen --train.warmup-steps, raise --loader.batch (more "
        "negatives), and weaken --objective.mask or --augment until accuracy leaves chance"
    ),
    "teacher": (
        "A teacher that follows too fast makes its targets constant: raise --objective.teacher.decay towards 1, lower "
        "--train.lr, or normalise the target per token"
    ),
    "codes": (
        "Nearly all tokens get one code: raise the diversity weight or the first temperature of a learned quantiser, "
        "fit clusters on more clips, and look for silence in the corpus (--loader.skip-silent)"
    ),
    "shortcut": (
        "What is predicted can be known from the place of a token alone: make the encoder's positions smaller or "
        "relative, slow the teacher, train longer, or choose another target; a falling loss proves nothing here"
    ),
}


@dataclass
class CollapseAlarm:
    """Tells when embeddings shrink to a point or a line, or a shortcut is taken, once per time that it happens.

    The signs, by the last part of a name (`tokens/rank_prediction`): the effective rank (RankMe, arXiv 2210.02885) near
    1; vectors so close on the sphere that their uniformity (arXiv 2005.10242) is near 0; a standard deviation near 0;
    codes of perplexity below 2; after warm-up, a contrastive accuracy that is still chance, a prediction no better
    than the mean of what other clips have in its place (`position_ratio`), codes that are guessed no better than from
    their place (`code_accuracy` beside `position_accuracy`).

    Attributes:
        patience: steps after which an accuracy at chance or a shortcut is a sign.
    """

    patience: int
    _on: set[str] = field(default_factory=set)

    def signs(self, step: int, line: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Return the signs in a line of metrics: name -> (which remedy, what was found)."""
        found = {}
        late = step >= self.patience
        for name, value in line.items():
            if not isinstance(value, float) or not math.isfinite(value):
                continue
            path, _, last = name.rpartition("/")
            if last.startswith("rank") and value < 1.5:
                found[name] = ("collapse", f"{name} is {value:.2f}: the embeddings lie on a line")
            elif last.startswith("uniformity") and value > -0.1:
                found[name] = ("collapse", f"{name} is {value:.3f}: the embeddings are one point")
            elif last == "std_target" and value < 1e-2:
                found[name] = ("teacher", f"{name} is {value:.1e}: the target is constant")
            elif last.startswith("std") and value < 1e-3:
                found[name] = ("collapse", f"{name} is {value:.1e}: the embeddings are one point")
            elif last.startswith("perplexity") and value < 2:
                found[name] = ("codes", f"{name} is {value:.2f}: there is one code left")
            elif last == "position_ratio" and late and value > 0.98:
                found[name] = ("shortcut", f"{name} is {value:.2f} after {step} steps: no better than by position")
            elif last == "code_accuracy" and late:
                place = line.get(f"{path}/position_accuracy" if path else "position_accuracy")
                if isinstance(place, float) and value <= place:
                    found[name] = ("shortcut", f"{name} is {value:.3f} after {step} steps, by position {place:.3f}")
        accuracy, chance = line.get("accuracy"), line.get("chance", 1 / max(1, 2 * line.get("batch", 1) - 1))
        if isinstance(accuracy, float) and late and accuracy < 1.5 * chance:
            found["accuracy"] = ("collapse", f"accuracy is {accuracy:.4f} after {step} steps, chance is {chance:.4f}")
        return found

    def __call__(self, step: int, line: Mapping[str, Any]) -> str | None:
        """Return a warning that says what to do where a sign is new, else None."""
        found = self.signs(step, line)
        new = found.keys() - self._on
        self._on = set(found)
        if not new:
            return None
        kinds = dict.fromkeys(remedy for remedy, _ in found.values())
        title = "shortcut" if set(kinds) == {"shortcut"} else "collapse"
        words = "; ".join(found[name][1] for name in sorted(found))
        return f"{title} at step {step}: {words}. {'. '.join(_REMEDIES[kind] for kind in kinds)}"
