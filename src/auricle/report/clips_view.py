"""The map of embeddings: points to hover over and clips to play and see."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from auricle.report.figures import COLOURS, SYMBOLS, FigureBook, Trace, axis
from auricle.report.markup import Markup, details, element, plot_text, readable
from auricle.report.numbers import number
from auricle.report.run_data import Record

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
        found: a `map.json`: `points` with `x`, `y`, `label` (or `labels`), `file` and `clip` (place in `clips`, or
            None); `clips` with `file`, `label`, `audio` and `spectrogram` as base64.
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
    figure = book.add(
        _traces(points, playable),
        height=520,
        showlegend=True,
        hovermode="closest",
        xaxis=axis(showticklabels=False, zeroline=False, showgrid=False),
        yaxis=axis(showticklabels=False, zeroline=False, showgrid=False, scaleanchor="x"),
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
        element("img", alt="spectrogram of the chosen clip", hidden=True),
        element("audio", controls=True, hidden=True),
        element("p", "Click a ringed point: its clip plays and its spectrogram appears here.", class_="hint quiet"),
        class_="player",
        id_=panel,
        aria_live="polite",
    )
    ringed = sum(_sound(p, playable) is not None for p in points)
    method = found.get("method")
    about = f"{run} · {encoder}: {len(points)} clips by their pooled embedding, {ringed} of them playable (ringed)."
    told = element(
        "p",
        about,
        f" Made by {method}." if method else "",
        " Distances between far groups mean little.",
        class_="quiet",
    )
    gallery = _gallery(playable, group)
    return Markup(element("div", element("div", place), player, class_="map") + told + (gallery or ""))


def _label(point: Record) -> str:
    """The class that colours a point; several labels of one clip are joined."""
    label = point.get("label", point.get("labels"))
    if isinstance(label, list | tuple):
        label = " + ".join(str(one) for one in label)
    return str(label) if label else "no label"


def _sound(point: Record, clips: list[dict[str, Any]]) -> int | None:
    place = point.get("clip")
    known = isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(clips)
    return place if known and clips[place]["audio"] else None  # type: ignore[index]


def _traces(points: list[Record], clips: list[dict[str, Any]]) -> list[Trace]:
    counts = Counter(_label(point) for point in points)
    # More classes than a legend can hold (combinations of tags are many): the rarest share one colour.
    named = [name for name, _ in counts.most_common(40)]
    traces: list[Trace] = []
    for place, name in enumerate([*sorted(named), None]):
        members = [p for p in points if (_label(p) == name if name is not None else _label(p) not in named)]
        if not members:
            continue
        colour = COLOURS[place % len(COLOURS)] if name is not None else "#9aa3af"
        sounds = [_sound(p, clips) for p in members]
        title = plot_text(name) if name is not None else "rarer combinations"
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": title,
                "x": [p["x"] for p in members],
                "y": [p["y"] for p in members],
                "text": [plot_text(_label(p)) for p in members],
                "customdata": [
                    {"label": readable(_label(p)), "file": readable(str(p.get("file", ""))), "clip": sound}
                    for p, sound in zip(members, sounds, strict=True)
                ],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {
                    "color": colour,
                    "symbol": SYMBOLS[(place // len(COLOURS)) % len(SYMBOLS)],
                    "size": [7 if sound is None else 12 for sound in sounds],
                    "opacity": [0.65 if sound is None else 1.0 for sound in sounds],
                    "line": {"width": [0 if sound is None else 2 for sound in sounds], "color": "ring"},
                },
            }
        )
    return traces


def _clip(clip: Record) -> dict[str, Any]:
    return {
        "label": readable(_label(clip)),
        "file": readable(str(clip.get("file", ""))),
        "audio": _data_url(clip.get("audio"), str(clip.get("mime", clip.get("audio_type", "audio/ogg")))),
        "image": _data_url(clip.get("spectrogram"), "image/png"),
    }


def _data_url(value: Any, media: str) -> str:
    """Make a data URL of base64, or keep one that is an audio or image; anything else becomes empty.

    A map is data: whatever else stands in it (a link, a script) does not reach the page.
    """
    if not isinstance(value, str) or not value:
        return ""
    if value.startswith("data:"):
        media, _, value = value.removeprefix("data:").partition(";base64,")
    if not MEDIA.fullmatch(media) or not BASE64.fullmatch(value):
        return ""
    return f"data:{media};base64,{''.join(value.split())}"


def _gallery(clips: list[dict[str, Any]], group: int) -> Markup | None:
    shown = []
    for place, clip in enumerate(clips):
        if not clip["audio"]:
            continue
        image = (
            element("img", data_clip=f"{group}:{place}", alt=f"spectrogram: {clip['label']}") if clip["image"] else None
        )
        sound = element("audio", data_clip=f"{group}:{place}", controls=True, preload="none")
        caption = element("figcaption", element("b", clip["label"]), element("span", clip["file"], class_="quiet"))
        shown.append(element("figure", image, sound, caption, class_="clip"))
    return (
        details(f"All playable clips: {len(shown)}", element("div", shown, class_="gallery"), open=True)
        if shown
        else None
    )
