"""Durations from headers, for clips whose table tells none."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from auricle.corpus.stores import Place, Store
from auricle.errors import AudioError

# Reading headers waits for the disk more than for the processor.
_THREADS = 4


def probe_seconds(store: Store, places: Sequence[Place]) -> list[float | str]:
    """Return the seconds of each recording, or why its header can't be read."""

    def one(place: Place) -> float | str:
        try:
            return store.probe(place).seconds
        except AudioError as error:
            return str(error)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, places, chunksize=32))
