"""Monitors of a training run: means, skipped steps, memory, and the alarm for runs that collapse or learn nothing.

Nothing here waits for the device between two lines of the log: values stay tensors until a line is due.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from torch import Tensor

from auricle.errors import TrainingError


def memory_use(device: torch.device) -> dict[str, float]:
    """Return gigabytes: `memory_gb`, resident in this process; on CUDA also `gpu_gb`, the peak that was allocated."""
    use = {"memory_gb": round(psutil.Process().memory_info().rss / 1e9, 3)}
    if device.type == "cuda":
        use["gpu_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
    return use


class Interval:
    """Means of each step's values, from one line of the log to the next; skipped steps do not count."""

    def __init__(self, state: Mapping[str, list[float]] | None = None) -> None:
        """Begin an interval, or continue the one that `state` returned."""
        self._values: dict[str, list[Tensor]] = {
            name: [torch.tensor(value, dtype=torch.float32) for value in values]
            for name, values in (state or {}).items()
        }

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add a step's scalars (tensors, left on their device)."""
        for name, value in values.items():
            self._values.setdefault(name, []).append(value.detach().float())

    def state(self) -> dict[str, list[float]]:
        """Return all values as numbers; JSON keeps float32 exactly."""
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
        limit: consecutive skipped steps that end the run.
    """

    def __init__(self, device: torch.device, limit: int, state: list[float] | None = None) -> None:
        if state is not None and len(state) != 3:
            raise ValueError(f"{len(state)} counts of skipped steps; expected 3")
        self.limit = limit
        # Skipped in total, in a row now, and the longest row.
        self._counts = torch.tensor(state or [0.0, 0.0, 0.0], dtype=torch.float64, device=device)

    def add(self, skipped: Tensor) -> None:
        """Add a step's flag: 1 skipped, 0 done."""
        total, row, longest = self._counts.unbind()
        row = (row + 1) * skipped
        self._counts = torch.stack([total + skipped, row, torch.maximum(longest, row)])

    def state(self) -> list[float]:
        """Return the counts as numbers."""
        return [value if math.isfinite(value) else 0.0 for value in self._counts.tolist()]

    def check(self) -> int:
        """Return the number of skipped steps.

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


# What to do about a sign, by its kind.
_REMEDIES = {
    "collapse": (
        "Check the data first: clips that are mostly padding or silence make views that differ in nothing "
        "(--window.short repeat). Then lower --train.lr or lengthen --train.warmup-steps, raise --loader.batch (more "
        "negatives), and weaken --objective.mask.* or --augment.* until accuracy leaves chance"
    ),
    "teacher": (
        "A teacher that follows too fast makes its targets constant: raise --objective.teacher.decay towards 1, lower "
        "--train.lr, or normalise the target per token"
    ),
    "codes": (
        "Nearly all tokens get one code: raise the diversity weight or the first temperature of a learned quantiser, "
        "fit clusters on more clips, and check the corpus for silence (--loader.skip-silent)"
    ),
    "shortcut": (
        "The position of a token alone predicts its target: make the encoder's positions smaller or relative, slow the "
        "teacher, train longer, or choose another target; a falling loss proves nothing here"
    ),
    "guess": (
        "A guess without any input is as good: train longer, raise --train.lr, and check the targets (do they vary "
        "from clip to clip, and can they be predicted from the visible part?)"
    ),
    "copy": (
        "Repeating the last frame is as good: train longer, raise --train.lr, or predict further ahead "
        "(--objective.ahead; --objective.first of a contrast)"
    ),
    "identity": (
        "Which clip it is predicts as much as its past does: take negatives from the same clip (--objective.pool "
        "clip), or train longer"
    ),
}
_TITLES = {
    "shortcut": "shortcut", "guess": "nothing learned", "copy": "nothing learned", "identity": "shortcut",
}  # fmt: skip
# Signs of these kinds come from noisy values: they need so many lines in a row to appear, and to disappear.
_HOVERING = ("guess", "copy", "identity")
_LINES = 3
# A random order of slices correlates with the true one by 0 on average.
_NO_ORDER = 0.02


@dataclass
class CollapseAlarm:
    """Warns, once each time, when embeddings collapse to a point or a line, a shortcut is taken or nothing is learned.

    The signs, by the last part of a name (`tokens/rank_prediction`): the effective rank (RankMe, arXiv 2210.02885) near
    1; vectors so close on the sphere that their uniformity (arXiv 2005.10242) is near 0; a standard deviation near 0;
    codes of perplexity below 2; after warm-up, a contrastive accuracy that is still chance, a prediction no better
    than the mean of other clips at its position (`position_ratio`), codes that are predicted no better than from
    their position (`code_accuracy` beside `position_accuracy`).

    Signs that nothing is learned, after warm-up and in three lines in a row, where both numbers are finite:

    - `<term>/accuracy` within a tenth of `<term>/chance_accuracy` (else of `<term>/majority`, else of `<term>/chance`
      where that is below 1: in other objectives it is a loss), `<term>/pair_accuracy` of `<term>/pair_chance`;
    - `<term>/spearman` not above 0.02;
    - codes that are predicted no better than by their frequencies: `<term>/code_accuracy` not above `<term>/majority`,
      and the part `<term>` not below `<term>/unigram`. Both numbers are of one batch, in which few tokens of many
      codes make either baseline look better than it is: where both are present, both must hold;
    - in a contrast with the future: `<term>/accuracy` above chance, but not above `<term>/copy_accuracy`, of repeating
      the present; where `<term>/pool_clip` is not 1, `<term>/accuracy` that falls by less than a twentieth from the
      nearest step (`<term>/accuracy_1`) to the farthest;
    - the part `<term>` not below `<term>/constant` (nor its mean over tokens, which is `<term>/position_ratio` times
      `<term>/position`, where the part is a sum), or not below `<term>/copy_last`; `<term>/error` not below
      `<term>/constant_error`.

    Attributes:
        patience: steps after which an accuracy at chance, a shortcut or a guess is a sign.
    """

    patience: int
    _on: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)
    _gone: dict[str, int] = field(default_factory=dict)

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
        return found | (guesses(step, line) if late else {})

    def __call__(self, step: int, line: Mapping[str, Any]) -> str | None:
        """Return a warning about the signs that are new, with what to do; None where there are none."""
        found = self.signs(step, line)
        self._seen = {name: self._seen.get(name, 0) + 1 for name in found}
        shown = {n: kind for n, (kind, _) in found.items() if kind not in _HOVERING or self._seen[n] >= _LINES}
        new = sorted(shown.keys() - self._on.keys())
        absent = [name for name, kind in self._on.items() if name not in found and kind in _HOVERING]
        self._gone = {name: self._gone.get(name, 0) + 1 for name in absent}
        kept = {n: k for n, k in self._on.items() if k in _HOVERING and self._gone.get(n, 0) < _LINES}
        self._on = kept | shown
        groups: dict[str, list[str]] = {}
        for name in new:
            groups.setdefault(_TITLES.get(shown[name], "collapse"), []).append(name)
        texts = []
        for title, names in groups.items():
            kinds = dict.fromkeys(shown[name] for name in names)
            words = "; ".join(found[name][1] for name in names)
            texts.append(f"{title} at step {step}: {words}. {'. '.join(_REMEDIES[kind] for kind in kinds)}")
        return ". ".join(texts) or None


def guesses(step: int, line: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the signs that an objective does no better than a guess (see `CollapseAlarm`), as `signs` does."""
    values = {name: value for name, value in line.items() if isinstance(value, float) and math.isfinite(value)}
    found = {}
    for name, value in values.items():
        path, _, last = name.rpartition("/")
        if not path:
            continue
        if last == "accuracy":
            known = [
                values[n] for n in (f"{path}/{x}" for x in ("chance_accuracy", "majority", "chance")) if n in values
            ]
            copied = values.get(f"{path}/copy_accuracy")
            if known and _is_chance(value, known[0]):
                found[name] = ("guess", f"{name} is {value:.4f} after {step} steps, by chance {known[0]:.4f}")
            elif copied is not None and value <= copied:
                found[f"{path}/copy_accuracy"] = (
                    "copy",
                    f"{name} is {value:.4f} after {step} steps, of repeating the present {copied:.4f}",
                )
        elif last == "accuracy_1" and not values.get(f"{path}/pool_clip"):
            far = _farthest(path, values)
            if far is not None and far[1] > 0.95 * value > 1.5 * 0.95 * values.get(f"{path}/chance_accuracy", 0.0):
                found[name] = (
                    "identity",
                    f"{name} is {value:.4f} after {step} steps and {far[0]}, the farthest, {far[1]:.4f}: it does not "
                    "fall with distance",
                )
        elif last == "pair_accuracy":
            chance = values.get(f"{path}/pair_chance")
            if chance is not None and _is_chance(value, chance):
                found[name] = ("guess", f"{name} is {value:.3f} after {step} steps, by chance {chance:.3f}")
        elif last == "spearman" and value <= _NO_ORDER:
            found[name] = ("guess", f"{name} is {value:.3f} after {step} steps, by chance 0")
        elif last == "error" and value >= values.get(f"{path}/constant_error", math.inf):
            other = values[f"{path}/constant_error"]
            found[name] = ("guess", f"{name} is {value:.4g} after {step} steps, of a constant {other:.4g}")
        elif last == "constant":
            own = _regression_losses(path, values)
            if own and min(own) >= value:
                found[name] = ("guess", f"{path} is {min(own):.4g} after {step} steps, of a constant {value:.4g}")
        elif last == "copy_last":
            own = _regression_losses(path, values)
            if own and min(own) >= value:
                found[name] = ("copy", f"{path} is {min(own):.4g} after {step} steps, of the last frame {value:.4g}")
    for path in {name.rpartition("/")[0] for name in values if name.endswith(("/majority", "/unigram"))}:
        words = _by_frequency(path, values)
        if words:
            found[f"{path}/majority"] = ("guess", f"{words} after {step} steps: no better than the codes' frequencies")
    return found


def _is_chance(accuracy: float, chance: float) -> bool:
    # Near one, a tenth of the room above chance: an accuracy of 1.1 x 0.95 does not exist.
    return 0 < chance < 1 and accuracy <= chance + 0.1 * min(chance, 1 - chance)


def _farthest(path: str, values: Mapping[str, float]) -> tuple[str, float] | None:
    """Return name and accuracy of the farthest step that is predicted; None where there is one step only."""
    name = f"{path}/accuracy_{sum(n.startswith(f'{path}/accuracy_') for n in values)}"
    return None if name.endswith("_1") or name not in values else (name, values[name])


def _regression_losses(path: str, values: Mapping[str, float]) -> list[float]:
    own = [values[path]] if path in values else []
    ratio, position = values.get(f"{path}/position_ratio"), values.get(f"{path}/position")
    return own if ratio is None or position is None else [*own, ratio * position]


def _by_frequency(path: str, values: Mapping[str, float]) -> str:
    """Return the numbers that show codes predicted by their frequencies at best; empty where they do not."""
    accuracy, most = values.get(f"{path}/code_accuracy"), values.get(f"{path}/majority")
    # Each codebook is watched (`codes0`, `codes1`), and their mean loss is one part (`codes`).
    loss, unigram = values.get(path, values.get(path.rstrip("0123456789"))), values.get(f"{path}/unigram")
    found = []
    if accuracy is not None and most is not None:
        if accuracy > most:
            return ""
        found.append(f"{path}/code_accuracy is {accuracy:.3f} (of the commonest code {most:.3f})")
    if loss is not None and unigram is not None:
        if loss < unigram:
            return ""
        found.append(f"{path} is {loss:.4g} (unigram {unigram:.4g})")
    return " and ".join(found)
