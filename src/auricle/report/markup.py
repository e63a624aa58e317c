"""HTML from nested calls. Text is escaped unless it is `Markup` already: no label or file name can break the page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

Child = Any  # Markup, text, a number, None (left out), or an iterable of these
VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def render(child: Child) -> Markup:
    """Turn a child, or a nested list of them, into HTML, escaping all that is not `Markup`."""
    if child is None or child is False:
        return Markup("")
    if isinstance(child, Markup):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str | bytes | dict):
        return Markup("".join(render(c) for c in child))
    return Markup(html.escape(readable(str(child))))


def element(tag: str, *children: Child, **attributes: Any) -> Markup:
    """Make an element.

    Args:
        tag: its name.
        children: what it holds; see `render`.
        attributes: `class_` becomes `class`, underscores become hyphens; None and False leave one out, True gives
            it without a value.
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        parts.append(name if value is True else f'{name}="{html.escape(readable(str(value)))}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening) if tag in VOID else Markup(f"{opening}{render(children)}</{tag}>")


def readable(text: str) -> str:
    """Replace control characters (odd file names have them) and lone surrogates by visible stand-ins."""
    text = "".join(chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in text)
    return text.encode("utf-8", "replace").decode("utf-8")


def plot_text(text: object) -> str:
    """Escape text for plotly, which reads a part of HTML in labels."""
    return html.escape(readable(str(text)), quote=False).replace("\n", "␊")


def script_json(data: Any) -> Markup:
    """Write data as JSON that can stand inside a script element: no tag can end it early."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, code)
    return Markup(text)


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], class_: str = "plain") -> Markup:
    """Make a table in a box that scrolls sideways. A cell that is a `td` or `th` element already stays as it is."""
    body = []
    for row in rows:
        cells = [c if isinstance(c, Markup) and c.startswith(("<td", "<th")) else element("td", c) for c in row]
        body.append(element("tr", cells))
    header = element("thead", element("tr", [element("th", cell, scope="col") for cell in head]))
    return element("div", element("table", header, element("tbody", body), class_=class_), class_="scroll")


def details(summary: Child, *children: Child, **attributes: Any) -> Markup:
    """Make a part of the page that unfolds."""
    return element("details", element("summary", summary), *children, **attributes)
