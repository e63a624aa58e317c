"""Sound events in time: spectrogram, audio, annotated and found events, and the scores; what a detector found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auricle.report.clips_view import data_url
from auricle.report.evidence import Entry, TaskEvidence
from auricle.report.figures import COLOURS, FigureBook, Trace, axis
from auricle.report.markup import Markup, details, element, plot_text, readable
from auricle.report.numbers import number
from auricle.report.run_data import Record, RunData
from auricle.report.spectrogram_view import frequency_axis, start_of

LEFT, RIGHT = 118, 14  # pixels beside the plot: the spectrogram above it keeps to the same
LONGEST = 15  # letters of a class name that fit beside the plot
TRUE = "#37a06f"


def timeline_section(task: TaskEvidence, found: list[Record], book: FigureBook) -> Markup | None:
    """Draw the example clips of an event task.

    Args:
        task: its records; `details.timelines` of each holds the events found in the examples.
        found: `events.json` of the task: `clips` with `name`, `file`, `seconds`, `audio`, `spectrogram`, `mime`.
        book: takes the figures.

    Returns:
        None if no record holds timelines.
    """
    entries = [e for e in task.entries if _timelines(e)]
    entries.sort(key=lambda e: (e.row.role != "pretrained", -task.merit(e)))
    if not entries:
        return None
    names = list(dict.fromkeys(name for e in entries for name in _timelines(e)))
    clips = {
        str(clip.get("name")): clip for each in found for clip in each.get("clips") or [] if isinstance(clip, dict)
    }
    shown = []
    for place, name in enumerate(names):
        choices = []
        for entry in entries:
            line = _timelines(entry).get(name)
            if line is not None:
                value = task.measure.full(entry.value)
                offset = (number(clips.get(name, {}).get("start")) or 0.0) - (number(line.get("start")) or 0.0)
                figure = events_figure(line, entry.row.colour, book, max(0.0, offset))
                choices.append((f"{entry.row.label}, {entry.probe} ({value} on all clips)", figure))
        if choices:
            seconds = next(number(_timelines(e)[name].get("seconds")) or 0.0 for e in entries if name in _timelines(e))
            shown.append(timeline(name, clips.get(name, {}), choices, seconds, book, open_=place == 0))
    return Markup(
        element("h4", "Events in time")
        + legend("; lines: scores from 0 to 1 in each row, before thresholds")
        + "".join(shown)
    )


def legend(more: str = "") -> Markup:
    """Return what the colours of a timeline mean; `more` is added."""
    return element(
        "p",
        element("i", class_="swatch", style=f"background:{TRUE}"),
        "annotated events; ",
        element("i", class_="swatch", style="background:#4c78d8"),
        f"found events (in the encoder's colour){more}. The vertical line follows the audio.",
        class_="quiet",
    )


def _timelines(entry: Entry) -> dict[str, Record]:
    found = entry.record.get("details")
    listed = found.get("timelines") if isinstance(found, dict) else None
    return {str(t.get("name")): t for t in listed if isinstance(t, dict)} if isinstance(listed, list) else {}


def timeline(
    name: str, clip: Record, choices: list[tuple[str, int]], seconds: float, book: FigureBook, *, open_: bool
) -> Markup:
    """Show a clip with its spectrogram, figures of its events, and a player.

    Args:
        name: of the clip.
        clip: `file`, `start`, `audio`, `spectrogram`, `mime`; what is missing is not shown.
        choices: label and place of each figure in the book; several are chosen from a list.
        seconds: length that is shown.
        book: holds the figures.
        open_: show it from the beginning.
    """
    sound = data_url(clip.get("audio"), str(clip.get("mime", "")))
    image = data_url(clip.get("spectrogram"), "image/png")
    alt = f"spectrogram of {readable(name)}"
    picture = (
        element("div", element("img", src=image, alt=alt), frequency_axis(clip), class_="strip") if image else None
    )
    player = (
        element("audio", src=sound, controls=True, preload="none")
        if sound
        else element("p", "The audio of this clip was not kept.", class_="quiet")
    )
    track = element(
        "div",
        picture,
        book.choose(choices, f"Events of {name}"),
        element("i", class_="playhead", hidden=True),
        class_="track",
        data_seconds=seconds,
        data_left=LEFT,
        data_right=RIGHT,
        style=f"--left:{LEFT}px;--right:{RIGHT}px",
    )
    title = str(clip.get("file") or name.rpartition("@")[0] or name)
    return details(title + start_of(clip), track, player, open=open_, class_="timeline")


def events_figure(line: Record, colour: str, book: FigureBook, offset: float = 0.0) -> int:
    """Draw annotated and found events, a row a class; return the figure's place in the book.

    Args:
        line: `classes`, `truth` and `said` (lists of `[onset, offset, class]`), `seconds`; `start`, `step` and `scores`
            where there are curves.
        colour: of found events.
        book: takes the figure.
        offset: where the clip starts in its recording, in seconds.
    """
    classes = [str(c) for c in line.get("classes") or []]
    row = {name: len(classes) - 1 - place for place, name in enumerate(classes)}
    traces: list[Trace] = [
        _bars(line.get("truth"), row, 0.22, TRUE, "annotated", offset),
        _bars(line.get("said"), row, -0.22, colour, "found", offset),
    ]
    step, scores = number(line.get("step")) or 0.0, line.get("scores") or {}
    start, seconds = offset + (number(line.get("start")) or 0.0), number(line.get("seconds")) or 1.0
    for name in classes:
        values = [number(v) for v in scores.get(name) or []]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": plot_text(name),
                "x": [round(start + step * (i + 0.5), 4) for i in range(len(values))],
                "y": [None if v is None else row[name] - 0.45 + 0.9 * v for v in values],
                "customdata": values,
                "line": {"color": colour, "width": 1.2},
                "opacity": 0.75,
                "hovertemplate": f"{plot_text(name)} at %{{x:.2f}} s: score %{{customdata:.2f}}<extra></extra>",
                "showlegend": False,
            }
        )
    return book.add(
        traces,
        height=70 + 40 * max(1, len(classes)),
        barmode="overlay",
        xaxis=axis("seconds in the recording", range=[start, start + seconds], zeroline=False, automargin=False),
        yaxis=axis(
            range=[-0.6, max(1, len(classes)) - 0.4],
            tickvals=[row[name] for name in classes],
            ticktext=[plot_text(_cut(name)) for name in classes],
            zeroline=False,
            showgrid=False,
            automargin=False,
        ),
        margin={"l": LEFT, "r": RIGHT, "t": 4, "b": 42},
    )


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _bars(events: Any, row: dict[str, int], shift: float, colour: str, called: str, offset: float) -> Trace:
    listed = [e for e in events or [] if isinstance(e, list) and len(e) == 3 and str(e[2]) in row]
    return {
        "type": "bar",
        "orientation": "h",
        "base": [offset + e[0] for e in listed],
        "x": [e[1] - e[0] for e in listed],
        "y": [row[str(e[2])] + shift for e in listed],
        "width": 0.36,
        "marker": {"color": colour, "opacity": 0.55, "line": {"color": colour, "width": 1}},
        "customdata": [[offset + e[0], offset + e[1], plot_text(e[2])] for e in listed],
        "hovertemplate": called + ": %{customdata[2]}, %{customdata[0]:.2f} to %{customdata[1]:.2f} s<extra></extra>",
        "showlegend": False,
    }


def detection_section(runs: Sequence[RunData], book: FigureBook) -> list[tuple[str, str, Markup]]:
    """Return the section of what detectors of runs found; empty where there is none.

    Args:
        runs: `detection` of each: `title`, `text`, `truth` and `said` (lists of `[onset, offset, class]`), and `clip`
            (see `auricle.corpus.examples.play_example`).
        book: takes the figures.
    """
    shown = [_detection(run.detection, book, place) for place, run in enumerate(runs) if run.detection]
    return [("detection", "Detection", Markup("".join(shown)))] if shown else []


def _detection(found: Record, book: FigureBook, place: int) -> Markup:
    held = found.get("clip")
    clip = held if isinstance(held, dict) else {}
    seconds = number(clip.get("seconds")) or 1.0
    lists = {name: _listed(found.get(name)) for name in ("truth", "said")}
    classes = list(dict.fromkeys(str(e[2]) for events in lists.values() for e in events))
    figure = events_figure({**lists, "classes": classes, "seconds": seconds}, COLOURS[place % len(COLOURS)], book)
    return element(
        "div",
        element("p", element("strong", str(found.get("title", ""))), ". ", str(found.get("text", ""))),
        timeline(str(clip.get("file", "")), clip, [("", figure)], seconds, book, open_=True),
        legend(),
        class_="card",
    )


def _listed(found: Any) -> list[list[Any]]:
    return [e for e in found if isinstance(e, list) and len(e) == 3] if isinstance(found, list) else []
