"""The line that shows how training goes: live in a terminal, now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressLine:
    """Shows step/steps, loss, accuracy, clips per second, share of time waiting for data, and the time left.

    Steps that were skipped, for want of a finite loss or gradient, are counted once there are any.

    Where there is no terminal it prints a line at most every `quiet_seconds`.
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
        self._begin = self._last = time.perf_counter()
        self._text = ""
        self._bar: Progress | None = None
        if enabled and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
            )
            # The steps of an earlier session took no time in this one: the estimate must not count them.
            self._task = self._bar.add_task("train", total=steps, completed=start, values="")

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
        """Show that `step` steps are done, with the values of a new line of metrics where there is one."""
        if line is not None:
            self._text = describe(line)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, values=self._text)
        elif self.enabled and line is not None:
            now = time.perf_counter()
            if now - self._last >= self.quiet_seconds or step >= self.steps:
                self._last = now
                left = (now - self._begin) / max(1, step - self.start) * (self.steps - step)
                self.console.print(
                    f"step {step}/{self.steps} {self._text}, {duration(left)} left", highlight=False, soft_wrap=True
                )

    def note(self, text: str, style: str | None = None) -> None:
        """Print a message above the line."""
        if self.enabled:
            self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def describe(line: Mapping[str, Any]) -> str:
    """Return a line of metrics in few words."""
    parts = [f"loss {line['loss']:.3f}"]
    if "accuracy" in line:
        parts.append(f"accuracy {line['accuracy']:.1%}")
    parts.append(f"{line['clips_per_second']:.1f} clips/s")
    parts.append(f"{line['wait_share']:.0%} waiting for data")
    if line.get("skipped"):
        parts.append(f"{line['skipped']} steps skipped")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a length of time as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
