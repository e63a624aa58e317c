"""The map of embeddings, with clips to play."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from auricle.report.figures import COLOURS, SYMBOLS, FigureBook, Trace, axis
from auricle.report.markup import Markup, details, element, plot_text, readable
from auricle.report.numbers import number
from auricle.report.run_data import Record
from auricle.report.spectrogram_view import spectrogram, start_of
from auricle.words import counted

BASE64 = re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*")
MEDIA = re.compile(r"(audio|image)/[a-z0-9.+-]+")


@dataclass
class ClipBook:
    """Every playable clip of a page, in groups of one map; the page embeds them once as JSON."""

    groups: list[list[dict[str, Any]]] = field(default_factory=list)

    def add(self, clips: list[dict[str, Any]]) -> int:
        """Keep a group and return its number."""
        self.groups.append(clips)
        return len(self.groups) - 1


def map_section(found: Record, run: str, book: FigureBook, clips: ClipBook) -> Markup:
    """Draw one map of embeddings with its player and its gallery.

    Args:
        found: a `map.json`: `points` with `x`, `y`, `labels`, `file` and `clip` (place in `clips`, or None);
            `clips` with `file`, `labels`, `mime`, `audio` and `spectrogram` as base64.
        run: name of the run that it belongs to.
        book: takes the figure.
        clips: takes the clips.
    """
    encoder = str(found.get("encoder", "encoder"))
    points = [p for p in found.get("points") or [] if number(p.get("x")) is not None and number(p.get("y")) is not None]
    if not points:
        return element("p", f"The map of {run} · {encoder} holds no points.", class_="missing")
    playable = [_clip(clip) for clip in found.get("clips") or []]
    group = clips.add(playable)
    panel = f"player-{group}"
    traces = _traces(points, playable)
    figure = book.add(
        traces,
        height=520,
        showlegend=len(traces) > 1,
        hovermode="closest",
        xaxis=axis(visible=False),
        yaxis=axis(visible=False, scaleanchor="x"),
        legend={"orientation": "h", "y": -0.04, "yanchor": "top", "x": 0, "font": {"size": 11}},
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
    place = element(
        "div",
        class_="figure",
        data_figure=figure,
        data_map=panel,
        data_clips=group,
        role="img",
        aria_label=f"Map of embeddings of {encoder}",
        style="min-height:520px",
    )
    player = element(
        "aside",
        element("b", "", class_="name"),
        element("p", "", class_="file quiet"),
        element("div", class_="seen", hidden=True),
        element("audio", controls=True, hidden=True),
        element("p", "Click a ringed point to play its clip and see its spectrogram.", class_="hint quiet"),
        class_="player",
        id_=panel,
        aria_live="polite",
    )
    ringed = sum(_sound(p, playable) is not None for p in points)
    method = found.get("method")
    who = run if run == encoder else f"{run} · {encoder}"
    about = f"{who}: {counted(len(points), 'clip')} by pooled embedding, {ringed} of them playable (ringed)."
    caption = element(
        "p",
        about,
        f" Made by {method}." if method else "",
        " Distances between distant groups are not meaningful.",
        class_="quiet",
    )
    gallery = _gallery(playable, [clip for clip in found.get("clips") or []], group)
    drawn = element("div", _highlight(points), place, class_="drawn")
    return Markup(element("div", drawn, player, class_="map") + caption + (gallery or ""))


def _labels(point: Record) -> list[str]:
    """Return the classes of a point or clip: of `labels`, or of a single `label`."""
    found = point.get("labels", point.get("label"))
    listed = found if isinstance(found, list | tuple) else [found]
    return [str(one) for one in listed if one is not None and one != ""]


def _label(point: Record) -> str:
    return " + ".join(_labels(point)) or "no label"


def _sound(point: Record, clips: list[dict[str, Any]]) -> int | None:
    place = point.get("clip")
    known = isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(clips)
    return place if known and clips[place]["audio"] else None  # type: ignore[index]


def _traces(points: list[Record], clips: list[dict[str, Any]]) -> list[Trace]:
    """Make one trace per class; a single one where clips have several labels, which the menu colours."""
    if any(len(_labels(point)) > 1 for point in points):
        return [_trace(points, clips, "clips", COLOURS[0], SYMBOLS[0])]
    traces = []
    for place, name in enumerate(sorted({_label(point) for point in points})):
        members = [point for point in points if _label(point) == name]
        symbol = SYMBOLS[(place // len(COLOURS)) % len(SYMBOLS)]
        traces.append(_trace(members, clips, plot_text(name), COLOURS[place % len(COLOURS)], symbol))
    return traces


def _trace(points: list[Record], clips: list[dict[str, Any]], name: str, colour: str, symbol: str) -> Trace:
    sounds = [_sound(point, clips) for point in points]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [point["x"] for point in points],
        "y": [point["y"] for point in points],
        "text": [plot_text(_label(point)) for point in points],
        "customdata": [
            {
                "label": readable(_label(point)),
                "labels": _labels(point),
                "file": readable(str(point.get("file", ""))),
                "clip": sound,
            }
            for point, sound in zip(points, sounds, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": [7 if sound is None else 12 for sound in sounds],
            "opacity": [0.65 if sound is None else 1.0 for sound in sounds],
            "line": {"width": [0 if sound is None else 2 for sound in sounds], "color": "ring"},
        },
    }


def _highlight(points: list[Record]) -> Markup | None:
    """Make a menu that colours the points of one class, for maps whose clips have several labels."""
    if not any(len(_labels(point)) > 1 for point in points):
        return None
    names = sorted({label for point in points for label in _labels(point)})
    options = [element("option", "every clip", value=""), [element("option", name, value=name) for name in names]]
    return element(
        "p", element("label", "Highlight: ", element("select", options, class_="highlight", autocomplete="off"))
    )


def _clip(clip: Record) -> dict[str, Any]:
    return {
        "label": readable(_label(clip)),
        "file": readable(str(clip.get("file", ""))) + start_of(clip),
        "audio": data_url(clip.get("audio"), str(clip.get("mime", ""))),
        "image": data_url(clip.get("spectrogram"), "image/png"),
    }


def data_url(value: Any, media: str) -> str:
    """Make a data URL of base64, or keep one that is an audio or image; anything else becomes empty.

    A map is data: anything else in it (a link, a script) does not reach the page.
    """
    if not isinstance(value, str) or not value:
        return ""
    if value.startswith("data:"):
        media, _, value = value.removeprefix("data:").partition(";base64,")
    if not MEDIA.fullmatch(media) or not BASE64.fullmatch(value):
        return ""
    return f"data:{media};base64,{''.join(value.split())}"


def _gallery(clips: list[dict[str, Any]], records: list[Record], group: int) -> Markup | None:
    shown = []
    for place, (clip, record) in enumerate(zip(clips, records, strict=True)):
        if not clip["audio"]:
            continue
        image = spectrogram(record, clip_id=f"{group}:{place}") if clip["image"] else None
        sound = element("audio", data_clip=f"{group}:{place}", controls=True, preload="none")
        caption = element("figcaption", element("b", clip["label"]), element("span", clip["file"], class_="quiet"))
        shown.append(element("figure", image, sound, caption, class_="clip"))
    return (
        details(f"All playable clips: {len(shown)}", element("div", shown, class_="gallery"), open=True)
        if shown
        else None
    )
