"""Memory of a prediction does not grow with the recording."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

PEAK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from toy_heads import tone_model
from auricle.answers.predicting import predict
done = predict(tone_model(), sys.argv[2], sys.argv[3], segment=5.0, threshold=0.0, progress=False)
print(done.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_the_peak_does_not_depend_on_the_length(tmp_path: Path) -> None:
    peaks = {}
    for minutes in (4, 40):
        folder = tmp_path / str(minutes)
        folder.mkdir()
        draw = np.random.default_rng(0)
        with soundfile.SoundFile(folder / "a.flac", "w", 24000, 2) as file:
            for _ in range(minutes):
                file.write(0.1 * draw.standard_normal((24000 * 60, 2)))
        words = [sys.executable, "-c", PEAK, str(Path(__file__).parent), str(folder), str(folder / "x.parquet")]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert int(said[0]) == minutes * 12 * 2
        peaks[minutes] = int(said[1]) / 1024
    # Decoded, 36 minutes more are 138 MB at the encoder's rate and 415 MB at their own.
    assert peaks[40] - peaks[4] < 30
