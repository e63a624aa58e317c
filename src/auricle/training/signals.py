"""How a training is asked to stop: by Ctrl-C or SIGTERM, once for the end of the running step, twice for at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from auricle.errors import Terminated

Ending = Literal["complete", "out of time", "interrupted", "terminated"]


class Stop(threading.Event):
    """Set when the run is asked to stop.

    Attributes:
        ending: how the run then ends.
    """

    ending: Ending = "interrupted"


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Set an event at the first Ctrl-C or SIGTERM, so that the running step can end; the second one interrupts.

    Outside the main thread, where Python takes no signals, the event is never set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if number == signal.SIGTERM:
            stop.ending = "terminated"
        stop.set()

    # Python can't put back a handler that was not installed from Python (None): it stays.
    free = (number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not None)
    before = {number: signal.signal(number, ask) for number in free}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
