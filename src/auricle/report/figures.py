"""Figures as plain data for plotly.js. Colours work on light and dark grounds; the page's script adds the theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from auricle.report.markup import Markup, element

COLOURS = ("#4c78d8", "#e8833a", "#37a06f", "#b65fc9", "#d9506a", "#3aa6b9", "#a98b2d", "#8a77e0", "#6f9a3b", "#c46a9b")
CONTROL_COLOURS = {"random": "#8c95a3", "log-mel": "#b8a27a", "mfcc": "#93a88b"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagon")

Trace = dict[str, Any]


@dataclass
class FigureBook:
    """Every figure of a page, by its number; the page embeds them once as JSON."""

    figures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, traces: Sequence[Trace], *, height: int = 300, **layout: Any) -> int:
        """Keep a figure and return its number."""
        self.figures.append({"data": list(traces), "layout": {"height": height, **layout}})
        return len(self.figures) - 1

    def show(self, number: int, label: str, class_: str = "") -> Markup:
        """Return the place on the page where a figure is drawn; `label` describes it to screen readers."""
        height = self.figures[number]["layout"]["height"]
        style = f"min-height:{height}px"
        return element(
            "div", class_=f"figure {class_}".strip(), data_figure=number, role="img", aria_label=label, style=style
        )

    def choose(self, choices: Iterable[tuple[str, int]], label: str) -> Markup:
        """Return a place that shows one of several figures, with a menu to choose from."""
        listed = list(choices)
        first = self.show(listed[0][1], label)
        if len(listed) == 1:
            return Markup(element("p", listed[0][0], class_="chosen") + first)
        options = [element("option", name, value=figure) for name, figure in listed]
        menu = element("label", "Show: ", element("select", options, class_="choose", autocomplete="off"))
        return element("div", menu, first, class_="switch")


def marker(colour: str, *, control: bool, size: int) -> dict[str, Any]:
    """Return the sign of an encoder's value: filled, or a ring for a control."""
    return {"color": colour, "size": size, "symbol": "circle-open" if control else "circle", "line": {"width": 2}}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis with a title, which stands clear of the labels."""
    return {"title": {"text": title, "standoff": 12}, **more}
