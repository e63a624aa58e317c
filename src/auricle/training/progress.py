"""How a running training is shown: a progress line in the terminal, scalars for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from auricle.errors import ConfigError


class ProgressLine:
    """Shows step/steps, loss, accuracy, clips per second, share of time waiting for data, skipped steps, time left.

    Without a terminal, prints a line at most every `quiet_seconds`.

    Attributes:
        steps: the last step, as known now.
        deadline: end of the run's time by `time.perf_counter`, None: no limit; the time left is that to the nearer end.
    """

    def __init__(
        self,
        steps: int,
        start: int = 0,
        *,
        enabled: bool = True,
        console: Console | None = None,
        quiet_seconds: float = 30.0,
    ) -> None:
        self.steps, self.start, self.enabled, self.quiet_seconds = steps, start, enabled, quiet_seconds
        self.console = console or Console(stderr=True)
        self.deadline: float | None = None
        self._begin = self._last = time.perf_counter()
        self._text = ""
        self._bar: Progress | None = None
        if enabled and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[left]}"),
                # Last: a narrow terminal cuts off the values, not the estimate.
                TextColumn("{task.fields[values]}"),
                console=self.console,
            )
            self._task = self._bar.add_task("train", total=steps, completed=start, values="", left="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, line: Mapping[str, Any] | None = None) -> None:
        """Show that `step` steps are done, with the values of a new line of metrics if given."""
        if line is not None:
            self._text = describe(line)
        if self._bar is not None:
            left = duration(self.left(step)) if step > self.start else ""
            self._bar.update(self._task, total=self.steps, completed=step, values=self._text, left=left)
        elif self.enabled and line is not None:
            now = time.perf_counter()
            if now - self._last >= self.quiet_seconds or step >= self.steps:
                self._last = now
                left = duration(self.left(step))
                self.console.print(
                    f"step {step}/{self.steps} {self._text}, {left} left", highlight=False, soft_wrap=True
                )

    def left(self, step: int) -> float:
        """Return the seconds to the nearer end, of the steps or of the time, after `step` steps."""
        now = time.perf_counter()
        # The steps of an earlier session took no time in this one: the estimate does not count them.
        by_speed = (now - self._begin) / max(1, step - self.start) * max(0, self.steps - step)
        return by_speed if self.deadline is None else max(0.0, min(by_speed, self.deadline - now))

    def note(self, text: str, style: str | None = None) -> None:
        """Print a message above the line."""
        if self.enabled:
            self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def check_tensorboard() -> None:
    """Refuse `train.tensorboard` where its package is missing.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "train.tensorboard needs the tensorboard package: pip install 'auricle[tensorboard]', or switch it off "
            "(metrics.jsonl is written always)"
        ) from error


class TensorBoardTracker:
    """Writes each line of metrics as scalars below `tensorboard/` of the run folder."""

    def __init__(self, folder: Path, purge_step: int = 0) -> None:
        """Open the writer.

        Args:
            folder: the run folder.
            purge_step: hide values that an earlier session wrote past this step.

        Raises:
            ConfigError: tensorboard is not installed.
        """
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder / "tensorboard", purge_step=purge_step or None)

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line of metrics."""
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Write the buffer and close the file."""
        self._writer.close()


def describe(line: Mapping[str, Any]) -> str:
    """Summarise a line of metrics."""
    parts = [f"loss {line['loss']:.3f}"]
    if "accuracy" in line:
        parts.append(f"accuracy {line['accuracy']:.1%}")
    parts.append(f"{line['clips_per_second']:.1f} clips/s")
    parts.append(f"{line['wait_share']:.0%} waiting for data")
    if line.get("skipped"):
        parts.append(f"{line['skipped']} steps skipped")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Format seconds as `1:02:03` or `2:03`.

    Examples:
        >>> duration(123.4)
        '2:03'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
