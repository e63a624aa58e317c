"""Is one encoder, or one probe, clearly better than another? Paired on the same test clips."""

from __future__ import annotations

from pathlib import Path

from auricle.errors import CorpusError
from auricle.metrics.intervals import Difference
from auricle.results.predictions import load_predictions
from auricle.results.record import Result
from auricle.results.scoring import compare_predictions


def compare(
    first: Result,
    second: Result,
    folder: Path | str,
    second_folder: Path | str | None = None,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return how much better the first result is than the second, with a paired bootstrap interval.

    Args:
        first: a result.
        second: another one on the same task and corpus.
        folder: of the first's `results.jsonl`, with its predictions.
        second_folder: of the second's; None: the same.
        resamples: bootstrap samples.
        confidence: coverage of the interval.
        seed: of the bootstrap.

    Raises:
        CorpusError: they are not of the same task and metric, or predictions are missing or speak of other clips.
    """
    if (first.task, first.metric) != (second.task, second.metric):
        raise CorpusError(
            f"can't compare {first.metric} on {first.task} with {second.metric} on {second.task}; choose two "
            "results of one task and metric"
        )
    places = (Path(folder), Path(second_folder if second_folder is not None else folder))
    loaded = []
    for result, place in zip((first, second), places, strict=True):
        if result.predictions is None:
            raise CorpusError(
                f"the result of {result.encoder} on {result.task} kept no predictions; run the probe again"
            )
        loaded.append(load_predictions(place / result.predictions))
    one, two = loaded
    return compare_predictions(one, two, first.metric, resamples=resamples, confidence=confidence, seed=seed)
