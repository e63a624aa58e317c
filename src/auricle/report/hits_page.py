"""The page of a search: the sounds that were found, to look at and to play."""

from __future__ import annotations

import time
from collections.abc import Sequence

from auricle.report.clips_view import data_url
from auricle.report.document import document, packaged
from auricle.report.markup import Child, Markup, element
from auricle.report.numbers import number
from auricle.report.run_data import Record
from auricle.report.spectrogram_view import spectrogram


def hits_page(title: str, facts: Sequence[str], query: Record | None, hits: Sequence[Record]) -> str:
    """Return the page of a search as text.

    Args:
        title: what was searched for.
        facts: about the search, in sentences.
        query: the sound that was searched for, as `auricle.corpus.examples.play_example` returns it; None: it was none.
        hits: best first. Each has `file`, `start`, `end`, `score` and `id`; `known`, the label that it has; and what
            `play_example` returns, or `missing`, the reason why it can't be played.
    """
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    asked = None
    if query is not None:
        asked = element(
            "section", element("h2", "Searched for"), element("div", _clip(query, None), class_="card asked")
        )
    found = [_clip(hit, place) for place, hit in enumerate(hits, 1)]
    nothing = element("p", "The library has no other rows.", class_="missing")
    return document(
        f"auricle search: {title}",
        element("header", element("h1", title), element("p", f"auricle search, {made}"), class_="top"),
        element(
            "main",
            element("div", [element("p", fact) for fact in facts], class_="card facts"),
            asked,
            element(
                "section", element("h2", "Found"), element("div", found, class_="gallery hits") if found else nothing
            ),
        ),
        element("footer", "This page is self-contained: it loads nothing. Click a picture to play from there."),
        element("script", packaged("hits_page.js")),
    )


def _clip(clip: Record, place: int | None) -> Markup:
    audio, image = (
        data_url(clip.get("audio"), str(clip.get("mime", ""))),
        data_url(clip.get("spectrogram"), "image/png"),
    )
    head: list[Child] = []
    if place is not None:
        score = number(clip.get("score"))
        head = [
            element("span", f"{place}", class_="rank"),
            element("span", "" if score is None else f"{score:.3f}", class_="score", title="cosine"),
            element("span", clip.get("known"), class_="badge") if clip.get("known") else None,
        ]
    said = element("p", f"Not playable: {clip.get('missing')}", class_="missing") if clip.get("missing") else None
    return element(
        "figure",
        element("div", head, class_="head") if head else None,
        spectrogram(clip, element("div", class_="playhead", hidden=True), image=image) if image else None,
        element("audio", src=audio, controls=True, preload="metadata") if audio else said,
        element("figcaption", element("b", clip.get("file")), element("span", _times(clip), class_="quiet")),
        class_="clip",
    )


def _times(clip: Record) -> str:
    start, end = number(clip.get("start")) or 0.0, number(clip.get("end"))
    words = f"{_clock(start)} to {_clock(end)}" if end is not None else f"from {_clock(start)}"
    return f"{words} · row {clip['id']}" if clip.get("id") is not None else words


def _clock(seconds: float) -> str:
    """Return a time as `1:02:03.5`.

    Examples:
        >>> _clock(3.25), _clock(3723.5)
        ('0:03.25', '1:02:03.5')
    """
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 100:05.2f}".rstrip("0").rstrip(".")
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
