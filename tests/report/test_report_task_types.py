"""What the report shows of tasks of other types than labelled clips, other units, and several tasks together."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import pytest
from made_pages import line

from auricle.report.numbers import Measure, by_name

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()


Read = Callable[..., Any]


def test_lower_is_better_in_table_verdict_and_gain(page: Read) -> None:
    unit = {"metric": "mae_semitones", "unit": "semitones", "better": "lower", "type_name": "regression"}
    _, words, figures = page(
        line("pitch", "pretrained", "linear", 1.25, **unit, low=1.1, high=1.4),
        line("pitch", "pretrained", "mhca", 1.75, **unit),
        line("pitch", "random", "linear", 2.5, **unit, low=2.4, high=2.6),
        line("pitch", "log-mel", "linear", 1.0, **unit, low=0.9, high=1.2),
    )
    assert "mean absolute pitch error, semitones, lower is better; 9 test units" in words
    assert "1.25 [1.1, 1.4] +1.25" in words
    assert (
        "Best pre-trained: mosaic with linear, 1.25 semitones; better than random weights (2.5 semitones, "
        "linear): +1.25, without a paired comparison; worse than log-mel statistics (1 semitones, linear): -0.25, "
        "without a paired comparison; no result of MFCC statistics. Lower is better." in words
    )
    assert "in semitones (positive is better, also where lower values are better)" in words
    (values,) = [f for f in figures if f["data"] and f["data"][0].get("error_x")]
    assert sorted(t["x"][0] for t in values["data"]) == [1.0, 1.25, 1.75, 2.5]
    assert "confusion" not in words.lower()
    assert "per-class" not in words


def test_the_best_cell_of_a_lower_metric_is_the_lowest(page: Read) -> None:
    text, _, _ = page(*(line("t", "pretrained", p, v, better="lower") for p, v in (("a", 0.3), ("b", 0.1))))
    assert text.count("number best") == 1
    assert 'class="number best">10.0<' in text


def test_provenance_tells_protocol_leaks_costs_and_units(page: Read) -> None:
    _, words, _ = page(
        line("t", "pretrained", "linear", 0.5, protocol_name="evar", leaks=["one"], macs=123456, params=77, tried=6,
             metrics={"accuracy": 0.5, "min_dcf": 0.25, "mae_db": 3.21}),
    )  # fmt: skip
    for told in (
        "protocol evar, split", "leaks the evar protocol makes scores optimistic: one",
        "multiply-adds of the probe per clip 123 456",
        "probe parameters 77", "6 per fold", "accuracy 50.0, min_dcf 0.25, mae_db 3.21 dB",
    ):  # fmt: skip
        assert told in words.replace("\u202f", " ")


def test_budget_and_layer_curves_hold_their_points(page: Read) -> None:
    budget = [
        {"budget": b, "value": v, "low": v - 0.1, "high": v + 0.05, "draws": [v, v + 0.01]}
        for b, v in ((1, 0.3), (5, 0.6))
    ]
    layer = [
        {"layer": n, "value": 0.1 * n, "low": None, "high": None, "validation": 0.12 * n, "chosen": int(n == 2)}
        for n in (1, 2, 3)
    ]
    _, words, figures = page(
        line("few", "pretrained", "linear", 0.5, details={"budget_curve": budget}, type_name="label_budget"),
        line("deep", "pretrained", "layer_curve", 0.2, details={"layer_curve": layer}),
    )
    assert "Label budget" in words
    assert "Layer by layer" in words
    (few,) = [f for f in figures if f["layout"].get("xaxis", {}).get("type") == "log"]
    assert few["data"][0]["y"] == pytest.approx([30, 60])
    assert few["data"][0]["error_y"]["arrayminus"] == pytest.approx([10, 10])
    assert few["data"][0]["error_y"]["array"] == pytest.approx([5, 5])
    assert few["data"][1]["x"] == [1, 1, 5, 5]
    assert few["layout"]["xaxis"]["ticktext"] == ["1", "5"]
    (deep,) = [f for f in figures if f["layout"].get("xaxis", {}).get("dtick") == 1]
    curve, ringed, valid = deep["data"]
    assert curve["y"] == pytest.approx([10, 20, 30])
    assert curve["error_y"]["array"] == [0, 0, 0]
    assert ringed["x"] == [2]
    assert valid["y"] == pytest.approx([12, 24, 36])


def test_det_axes_are_normal_deviates(page: Read) -> None:
    curve = [{"false_alarm": f, "miss": m} for f, m in ((0.0, 1.0), (0.1, 0.2), (0.5, 0.02), (1.0, 0.0))]
    details = {"det_curve": curve, "trials": {"target": 50, "nontarget": 100}}
    _, _, figures = page(
        line("who", "pretrained", "cosine", 0.15, details=details, type_name="verification", better="lower")
    )
    (det,) = [f for f in figures if f["layout"].get("yaxis", {}).get("title", {}).get("text") == "misses, %"]
    normal = NormalDist()
    assert det["data"][0]["x"] == pytest.approx([normal.inv_cdf(p) for p in (0.005, 0.1, 0.5, 0.995)])
    assert det["data"][0]["y"] == pytest.approx([normal.inv_cdf(p) for p in (0.99, 0.2, 0.02, 0.01)])
    ticks = det["layout"]["xaxis"]
    assert [normal.cdf(v) * 100 for v in ticks["tickvals"]] == pytest.approx([float(t) for t in ticks["ticktext"]])


def test_heat_map_of_many_readers(page: Read) -> None:
    _, words, figures = page(
        *(
            line("t", r, p, 0.1 * i + 0.2 * (r == "random"), better="lower")
            for i, p in enumerate("abc")
            for r in ("pretrained", "random")
        )
    )
    (heat,) = [f["data"][0] for f in figures if f["data"] and f["data"][0].get("meta") == "values"]
    assert heat["z"] == [pytest.approx([0, 10, 20]), pytest.approx([20, 30, 40])]
    assert heat["reversescale"] is True
    assert "Encoders by probes" in words


TIMELINES = [
    {"name": "a.wav@0.000000", "seconds": 4.0, "classes": ["<dog>", "bell"], "step": 0.5,
     "truth": [[0.5, 1.5, "<dog>"]], "said": [[0.6, 1.0, "<dog>"], [2.0, 3.0, "bell"]],
     "scores": {"<dog>": [0.1, 0.9], "bell": [0.2, None]}},
]  # fmt: skip


def test_events_are_drawn_in_time_with_their_sound(page: Read) -> None:
    clip = {
        "name": "a.wav@0.000000",
        "file": "a <b>.wav",
        "seconds": 4.0,
        "mime": "audio/mpeg",
        "audio": "QUJD",
        "spectrogram": PNG,
    }
    text, words, figures = page(
        line(
            "sed", "pretrained", "linear", 0.4, type_name="events", metric="event_f1", details={"timelines": TIMELINES}
        ),
        line("sed", "random", "linear", 0.2, type_name="events", metric="event_f1", details={"timelines": TIMELINES}),
        events={"task": "sed", "corpus_fingerprint": "corpus of sed", "clips": [clip]},
    )
    assert "a <b>.wav Show: mosaic, linear (40.0 % on all clips)" in words
    assert text.count('src="data:audio/mpeg;base64,QUJD"') == 1
    assert f'src="data:image/png;base64,{PNG}"' in text
    drawn = [f for f in figures if f["layout"].get("barmode")]
    assert len(drawn) == 2
    true, found, *scores = drawn[0]["data"]
    assert (true["base"], true["x"], true["y"]) == ([0.5], [1.0], [1.22])
    assert (found["base"], found["y"]) == ([0.6, 2.0], [0.78, -0.22])
    assert scores[0]["x"] == [0.25, 0.75]
    assert scores[0]["y"] == pytest.approx([1 - 0.45 + 0.09, 1 - 0.45 + 0.81])
    assert drawn[0]["layout"]["yaxis"]["ticktext"] == ["&lt;dog&gt;", "bell"]


@pytest.mark.parametrize(
    "poison", ["javascript:alert(1)", "https://example.org/a.mp3", "data:text/html;base64,QUJD", 3]
)
def test_examples_can_only_be_sounds_and_images(page: Read, poison: object) -> None:
    clip = {"name": "a.wav@0.000000", "file": "a", "mime": "audio/mpeg", "audio": poison, "spectrogram": poison}
    shown = {"maps": [{"target": "x", "overlay": poison, "firings": [{"seconds": ["<", 1], "band": None}, 3]}], **clip}
    text, words, _ = page(
        line("sed", "pretrained", "linear", 0.4, type_name="events", details={"timelines": TIMELINES}),
        events={"clips": [clip]},
        prototypes={"clips": [shown]},
    )
    assert "audio of this clip was not kept" in words
    assert "alert" not in text.split("<script")[0]
    assert "example.org" not in text.split("<script")[0]


def test_prototypes_are_boxes_over_the_spectrogram(page: Read) -> None:
    firing = {"prototype": 7, "strength": 1.25, "similarity": 0.4, "seconds": [1.0, 1.5], "band": [0.25, 0.5]}
    yes = {"target": "dog", "true": True, "probability": 0.875, "overlay": PNG, "seconds": 5.5, "firings": [firing]}
    no = {"target": "<cat>", "true": False, "probability": 0.1, "overlay": PNG, "firings": []}
    clip = {"file": "a.wav", "labels": ["dog"], "seconds": 5.0, "mime": "audio/mpeg", "audio": "QUJD"}
    clip |= {"spectrogram": PNG, "maps": [yes, no]}
    text, words, _ = page(
        line("t", "pretrained", "protobin", 0.4),
        prototypes={
            "encoder": "mosaic",
            "probe": "protobin",
            "fold": "1",
            "clips": [clip],
            "corpus_fingerprint": "corpus of t",
        },
    )
    assert "left:20.00%;width:10.00%;bottom:25.00%;height:25.00%" in text
    assert "width:110.000%" in text
    assert "dog 88 %; adds +1.25 to its logit" in words
    assert "<cat> 10 %, not a label of this clip; no prototype is in favour of it here" in words
    assert "prototype 7: +1.25, 1.00 to 1.50 s" in text


def test_what_was_made_of_another_corpus_is_not_shown(page: Read) -> None:
    _, words, _ = page(
        line("t", "pretrained", "protobin", 0.4),
        prototypes={"clips": [{"labels": ["dog"]}], "corpus_fingerprint": "other"},
    )
    assert "Activations of prototypes" not in words


def test_measures_write_numbers() -> None:
    share, level = Measure.of("accuracy"), Measure.of("mae_db")
    assert (Measure.of("new_metric").title, Measure.of("new_metric", "Hz", "lower").about) == (
        "new metric",
        "new metric, Hz, lower is better",
    )
    assert (by_name("ari", 0.5), by_name("ap", 0.5), by_name("mae_db", None)) == ("0.5", "50.0", "\u2013 dB")
    assert (share.text(0.8766), share.full(0.5), share.gain(0.7, 0.5)) == ("87.7", "50.0 %", "+20.0")
    assert (level.text(3.14159), level.full(2.0), level.gain(2.0, 3.5)) == ("3.14", "2 dB", "+1.5")
    assert share.text(None) == level.text(math.nan) == "\u2013"
