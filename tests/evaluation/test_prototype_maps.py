"""Maps of where prototypes activate: of the right clips, and drawn the right way up."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from auricle.corpus.table import Corpus
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.evaluation.prototype_maps import draw_prototype_maps, overlay_png
from auricle.probes import SearchConfig
from auricle.report import write_report
from auricle.tasks.card import TaskCard
from auricle.tasks.clustering.rule import ClusteringRule

SEARCH = SearchConfig(epochs=6, lr=(3e-2,), weight_decay=(1e-4,), halving=(), min_batches=2)


def alpha(png: bytes) -> np.ndarray:
    """Opacity `(rows, columns)` of an RGBA picture whose lines are not filtered."""
    width, height = struct.unpack(">II", png[16:24])
    place = png.index(b"IDAT")
    size = struct.unpack(">I", png[place - 4 : place])[0]
    raw = np.frombuffer(zlib.decompress(png[place + 4 : place + 4 + size]), np.uint8).reshape(height, 1 + 4 * width)
    assert not raw[:, 0].any()
    return raw[:, 1:].reshape(height, width, 4)[..., 3]


def test_overlay_has_time_to_the_right_and_frequency_upwards() -> None:
    cells = np.full((3, 2), -1.0)
    cells[2, 0] = 2.0  # late and low
    cells[0, 1] = 1.0  # early and high, half opaque
    cells[1, 1] = np.nan
    assert alpha(overlay_png(cells)).tolist() == [[110, 0, 0], [0, 0, 220]]
    # Where all tokens speak for the class, the fainter half is left out.
    assert alpha(overlay_png(np.array([[1.0, 2.0, 4.0]]))).tolist() == [[220], [0], [0]]
    assert not alpha(overlay_png(np.full((2, 2), -1.0))).any()
    assert not alpha(overlay_png(np.full((2, 2), np.nan))).any()


def test_maps_are_of_test_clips_and_of_their_classes(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    corpus, card = tones(30), TaskCard(name="toys", folds=3)
    out = tmp_path / "run" / "probes" / "toys"
    path = draw_prototype_maps(encoder, card, corpus, out, search=SEARCH, count=4, progress=False)
    found = json.loads(path.read_text())
    assert (found["task"], found["probe"], found["encoder"], len(found["clips"])) == (
        "toys",
        "protobin",
        "toy encoder",
        4,
    )
    assert found["encoder_fingerprint"] == encoder.fingerprint
    assert {tuple(clip["labels"]) for clip in found["clips"]} == {("low",), ("mid",), ("high",)}
    for clip in found["clips"]:
        true = [one for one in clip["maps"] if one["true"]]
        assert [one["target"] for one in true] == clip["labels"]
        for one in clip["maps"]:
            assert 0 <= one["probability"] <= 1
            strengths = [f["strength"] for f in one["firings"]]
            assert strengths == sorted(strengths, reverse=True)
            assert all(s > 0 for s in strengths)
            assert all(0 <= f["band"][0] < f["band"][1] <= 1 for f in one["firings"])
            picture = alpha(base64.b64decode(one["overlay"]))
            assert picture.shape[1] * (one["seconds"] / picture.shape[1]) == pytest.approx(one["seconds"])
            if one["firings"]:
                assert picture.max() == 220  # the strongest evidence
    stamp = path.stat().st_mtime_ns
    assert draw_prototype_maps(encoder, card, corpus, out, search=SEARCH, count=4, progress=False) == path
    assert path.stat().st_mtime_ns == stamp
    draw_prototype_maps(encoder, card, corpus, out, search=SEARCH, count=3, progress=False)
    assert len(json.loads(path.read_text())["clips"]) == 3
    path.write_text("{cut")
    draw_prototype_maps(encoder, card, corpus, out, search=SEARCH, count=3, progress=False)
    assert len(json.loads(path.read_text())["clips"]) == 3
    (out / "results.jsonl").write_text(
        json.dumps({"task": "toys", "probe": "protobin", "value": 0.5, "role": "pretrained"})
    )
    page = write_report([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert "Activations of prototypes" in page
    assert page.count('class="spectrogram"') == sum(len(c["maps"]) for c in json.loads(path.read_text())["clips"])


def test_only_prototypes_on_labelled_clips(
    tones: Callable[..., Corpus], encoder: FrozenEncoder, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has no prototypes"):
        draw_prototype_maps(encoder, TaskCard(name="toys", folds=3), tones(), tmp_path, probe="linear", progress=False)
    card = TaskCard(name="toys", rule=ClusteringRule())
    with pytest.raises(ConfigError, match="no labelled clips"):
        draw_prototype_maps(encoder, card, tones(), tmp_path, progress=False)
