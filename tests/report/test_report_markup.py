"""Escaping and number writing."""

from __future__ import annotations

import html
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.report.markup import Markup, details, element, plot_text, render, script_json, table
from auricle.report.numbers import duration, number, percent, short

FEW = settings(max_examples=40, deadline=None)
PLAIN = st.none() | st.text(max_size=30) | st.integers()
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner), max_leaves=8)


@FEW
@given(st.text(max_size=60))
def test_text_comes_back_from_html_and_holds_no_tag(text: str) -> None:
    out = render(text)
    assert "<" not in out
    assert ">" not in out
    if not any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert html.unescape(out) == text or "&" in text


@FEW
@given(st.text(max_size=60))
def test_an_attribute_cannot_be_left(text: str) -> None:
    out = element("a", href=text)
    assert out.startswith('<a href="')
    assert out.endswith('"></a>')
    assert out.removeprefix('<a href="').removesuffix('"></a>').count('"') == 0


@FEW
@given(NESTED)
def test_script_data_is_the_same_data_and_cannot_end_the_script(data: object) -> None:
    out = script_json(data)
    assert "<" not in out
    assert "\u2028" not in out
    assert json.loads(out) == data


def test_elements() -> None:
    assert element("p", "a<b", Markup("<b>c</b>"), None, [1, ["x"]], class_="q") == '<p class="q">a&lt;b<b>c</b>1x</p>'
    assert element("img", alt="x", hidden=True, src=None) == '<img alt="x" hidden>'
    assert details("s", "t", open=True) == "<details open><summary>s</summary>t</details>"
    assert "<td>&lt;x&gt;</td>" in table(["h"], [["<x>"]])
    assert plot_text("<b>\n&") == "&lt;b&gt;␊&amp;"
    assert render("a\x00b\x1b") == "a␀b␛"
    assert render("\ud800").isprintable()


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.8315, "83.2"), (1.0, "100.0"), (None, "–"), (math.nan, "–"), ("x", "–"), (True, "–")],  # noqa: RUF001
)
def test_percent(value: object, written: str) -> None:
    assert percent(value) == written


def test_numbers_and_settings_are_short() -> None:
    assert number(math.inf) is None
    assert number(3) == 3.0
    assert [short(v) for v in (True, None, 3, 12345, 0.0006, 2.0, [1, 2], (), {"a": 1.5}, "x")] == [
        "yes", "none", "3", "12\u202f345", "0.0006", "2", "1, 2", "none", "a 1.5", "x",
    ]  # fmt: skip
    assert [duration(v) for v in (3.21, 73, 900, 7300, None)] == ["3.2 s", "73 s", "15 min", "2.0 h", "–"]  # noqa: RUF001
