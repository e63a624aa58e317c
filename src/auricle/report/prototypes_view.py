"""Activations of a class's prototypes in a clip, drawn over its spectrogram."""

from __future__ import annotations

from auricle.report.clips_view import data_url
from auricle.report.markup import Markup, element, readable
from auricle.report.numbers import number
from auricle.report.run_data import Record
from auricle.report.spectrogram_view import spectrogram, start_of

BOXES = 5


def prototype_section(found: list[Record]) -> Markup | None:
    """Show prototype maps.

    Args:
        found: `prototypes.json` of a task. Each has `encoder`, `probe`, `fold`, and `clips` with `file`, `labels`,
            `seconds`, `mime`, `audio` and `spectrogram` as base64, and `maps`: of a class (`target`), whether it is
            `true`, its `probability`, the `overlay` (a transparent PNG as base64) with the `seconds` that it spans, and
            `firings`, each `prototype`, `strength`, `similarity`, `seconds` [from, to], `band` [from, to] of 0 ... 1.

    Returns:
        None if there is none.
    """
    parts = []
    for each in found:
        clips = [_clip(clip) for clip in each.get("clips") or [] if isinstance(clip, dict)]
        about = (
            f"{each.get('encoder', 'encoder')}, {each.get('probe', 'probe')}, test clips of fold "
            f"{each.get('fold', '?')}. "
            "Blue: activations of the prototypes with the largest weights for the class; boxes: the best token of "
            "each, strongest first. Point at a picture to see the spectrogram alone."
        )
        if clips:
            parts.append(element("p", about, class_="quiet") + element("div", clips, class_="gallery prototypes"))
    return Markup(element("h4", "Activations of prototypes") + "".join(parts)) if parts else None


def _clip(clip: Record) -> Markup:
    seconds = number(clip.get("seconds")) or 1.0
    labels = " + ".join(str(label) for label in clip.get("labels") or []) or "no label"
    sound = data_url(clip.get("audio"), str(clip.get("mime", "")))
    maps = [_map(one, clip, seconds) for one in clip.get("maps") or [] if isinstance(one, dict)]
    return element(
        "figure",
        element(
            "figcaption",
            element("b", labels),
            element("span", readable(str(clip.get("file", ""))) + start_of(clip), class_="quiet"),
        ),
        maps,
        element("audio", src=sound, controls=True, preload="none") if sound else None,
        class_="clip",
    )


def _map(one: Record, clip: Record, seconds: float) -> Markup:
    image, overlay = (data_url(v, "image/png") for v in (clip.get("spectrogram"), one.get("overlay")))
    span = number(one.get("seconds")) or seconds
    firings = [f for f in one.get("firings") or [] if isinstance(f, dict)][:BOXES]
    boxes = _boxes(firings, seconds)
    target = str(one.get("target", "?"))
    probability = number(one.get("probability"))
    said = f"{100 * probability:.0f} %" if probability is not None else ""
    mark = "" if one.get("true") else ", not a label of this clip"
    width = f"width:{100 * span / seconds:.3f}%"
    layer = element("img", src=overlay, alt="", class_="overlay", style=width) if overlay else None
    picture = spectrogram(clip, layer, *boxes, image=image) if image else None
    strengths = ", ".join(f"{number(f.get('strength')) or 0.0:+.2f}" for f in firings)
    none = "no prototype is in favour of it here" if not strengths else f"adds {strengths} to its logit"
    return element(
        "div", picture, element("p", element("b", target), f" {said}{mark}; {none}", class_="quiet"), class_="map-of"
    )


def _boxes(firings: list[Record], seconds: float) -> list[Markup]:
    """Draw one box a token, with the numbers of all prototypes whose best token it is."""
    held: dict[str, list[tuple[int, str]]] = {}
    for place, firing in enumerate(firings, 1):
        ends, band = firing.get("seconds"), firing.get("band")
        if not (isinstance(ends, list) and isinstance(band, list) and len(ends) == len(band) == 2):
            continue
        numbers = [number(v) for v in (*ends, *band)]
        if any(v is None for v in numbers):
            continue
        start, end, low, high = (float(v) for v in numbers if v is not None)
        style = (
            f"left:{100 * start / seconds:.2f}%;width:{100 * (end - start) / seconds:.2f}%;"
            f"bottom:{100 * low:.2f}%;height:{100 * (high - low):.2f}%"
        )
        strength = number(firing.get("strength")) or 0.0
        title = f"prototype {firing.get('prototype')}: {strength:+.2f}, {start:.2f} to {end:.2f} s"
        held.setdefault(style, []).append((place, title))
    return [
        element(
            "span",
            element("i", ",".join(str(place) for place, _ in each)),
            class_="box",
            style=style,
            title="; ".join(title for _, title in each),
        )
        for style, each in held.items()
    ]
