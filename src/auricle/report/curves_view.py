"""Training curves, all runs in the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auricle.report.figures import COLOURS, FigureBook, Trace, axis
from auricle.report.markup import Markup, details, element, plot_text
from auricle.report.numbers import number, short
from auricle.report.run_data import RunData


@dataclass(frozen=True)
class Panel:
    """One small chart.

    Attributes:
        title: of the chart.
        series: metric -> its name in the legend; the first one is drawn solid, others dashed or dotted.
        note: explanation.
        scale: values are multiplied by it.
        axis: further settings of the vertical axis.
    """

    title: str
    series: dict[str, str]
    note: str = ""
    scale: float = 1.0
    axis: tuple[tuple[str, str], ...] = ()


PANELS = (
    Panel("Loss", {"loss": "loss"}, "The minimised objective."),
    Panel(
        "Contrastive accuracy, %",
        {"accuracy": "accuracy"},
        "How often the other view of the same clip is the nearest of the batch. Chance depends on the number of "
        "candidates; objectives that report it show it among the further curves.",
        100.0,
        (("rangemode", "tozero"),),
    ),
    Panel(
        "Effective rank (RankMe)",
        {"rank_f": "representation", "rank_z": "projection"},
        "How many dimensions are in use. A fall towards 1 is a collapse.",
        axis=(("rangemode", "tozero"),),
    ),
    Panel(
        "Alignment and uniformity",
        {"alignment": "alignment", "uniformity": "uniformity"},
        "Alignment: distance of two views of a clip. Uniformity: how evenly clips fill the sphere. Lower is better.",
    ),
    Panel(
        "Clips per second", {"clips_per_second": "clips/s"}, "Each clip counts once.", axis=(("rangemode", "tozero"),)
    ),
    Panel(
        "Waiting for data, % of time",
        {"wait_share": "wait"},
        "Near zero: the loader is fast enough.",
        100.0,
        (("rangemode", "tozero"),),
    ),
    Panel("Gradient norm", {"grad_norm": "norm"}, axis=(("type", "log"),)),
    Panel("Learning rate", {"lr": "rate"}, axis=(("rangemode", "tozero"),)),
)
NOT_CURVES = {"step", "epoch", "seconds", "skipped", "batch"}
DASHES = ("solid", "dash", "dot")


def curves_section(runs: Sequence[RunData], book: FigureBook) -> Markup:
    """Draw the curves of all runs, and list the runs without curves."""
    parts: list[Markup] = []
    bare = [run.name for run in runs if len(run.metrics) < 2]
    if bare:
        parts.append(
            element(
                "p", "No training curves for ", ", ".join(bare), ": fewer than two steps were logged.", class_="missing"
            )
        )
    drawn = [run for run in runs if len(run.metrics) >= 2]
    if not drawn:
        return Markup("".join(parts))
    parts.append(legend([(run.name, COLOURS[runs.index(run) % len(COLOURS)]) for run in drawn]))
    shown: set[str] = set(NOT_CURVES)
    charts = []
    for panel in PANELS:
        shown.update(panel.series)
        charts.append(_chart(panel, runs, drawn, book))
    parts.append(element("div", charts, class_="panels"))
    others = sorted({name for run in drawn for line in run.metrics for name in line} - shown)
    more = [_chart(Panel(name.replace("_", " "), {name: name}), runs, drawn, book) for name in others]
    if any(more):
        parts.append(details("More curves", element("div", more, class_="panels")))
    return Markup("".join(parts))


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """Make a legend of colours and names."""
    keys = [element("span", element("i", style=f"background:{colour}"), name, class_="key") for name, colour in entries]
    return element("p", keys, class_="legend")


def _chart(panel: Panel, runs: Sequence[RunData], drawn: Sequence[RunData], book: FigureBook) -> Markup | None:
    traces: list[Trace] = []
    for run in drawn:
        colour = COLOURS[runs.index(run) % len(COLOURS)]
        for rank, (name, called) in enumerate(panel.series.items()):
            points = [(line["step"], number(line.get(name))) for line in run.metrics]
            points = [(step, value) for step, value in points if value is not None]
            if len(points) < 2:
                continue
            dash = DASHES[0 if called in list(panel.series.values())[:rank] else min(rank, 2)]
            title = f"{run.name}: {called}" if len(drawn) > 1 else called
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": plot_text(title),
                    "x": [step for step, _ in points],
                    "y": [panel.scale * value for _, value in points if value is not None],
                    "line": {"color": colour, "width": 2, "dash": dash},
                    "hovertemplate": "step %{x}: %{y:.4g}<extra>" + plot_text(title) + "</extra>",
                }
            )
    if not traces:
        return None
    last = [f"{short(t['y'][-1])}" for t in traces]
    several = len({trace["line"]["dash"] for trace in traces}) > 1
    figure = book.add(
        traces,
        height=230,
        showlegend=several and len(drawn) == 1,
        xaxis=axis("step"),
        yaxis=axis(**dict(panel.axis)),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        margin={"l": 48, "r": 12, "t": 26, "b": 40},
    )
    head = element(
        "h4", panel.title, element("span", "last: ", ", ".join(last), class_="last") if len(last) < 4 else None
    )
    if several and len(drawn) > 1:
        note = f"{panel.note} Solid: {next(iter(panel.series.values()))}; dashed: {list(panel.series.values())[1]}."
    else:
        note = panel.note
    return element("figure", head, book.show(figure, panel.title), element("figcaption", note), class_="panel")
