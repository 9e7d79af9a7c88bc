"""Draws the curves. The same data gives the same file, byte by byte, with the same matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from bench.scaling.series import NODES, ONLINE, SERIES, STORED, Place, Series

STYLE = {
    "svg.hashsalt": "imcloud",
    "svg.fonttype": "none",  # text stays text
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
}
COLOURS = ("#1f6fb4", "#d1741b", "#2f8f4e")
AXES = (NODES, ONLINE, STORED)


def draw(curves: Mapping[str, Sequence[Place]], plot: Path) -> None:
    """Write the plot as SVG: a column for each of AXES, throughput above, CPU a message below."""
    with style.context(STYLE, after_reset=True):
        figure = Figure(figsize=(9.5, 5.2), layout="constrained")
        panels = figure.subplots(2, len(AXES), sharex="col", squeeze=False)
        for column, axis in enumerate(AXES):
            above, below = panels[0][column], panels[1][column]
            shown = [each for each in SERIES if each.axis == axis and each.name in curves]
            for series, colour in zip(shown, COLOURS, strict=False):
                _curve(above, below, series, curves[series.name], colour)
            _name(above, below, axis, sorted({place.x for each in shown for place in curves[each.name]}))
        panels[0][0].set_ylabel("messages/s")
        panels[1][0].set_ylabel("server CPU, µs a message\n(dashed: the gateway's)")
        figure.savefig(plot, format="svg", metadata={"Date": None, "Creator": None})


def _curve(above: Axes, below: Axes, series: Series, places: Sequence[Place], colour: str) -> None:
    xs = [place.x for place in places]
    above.plot(xs, [place.rate for place in places], color=colour, label=series.label)
    below.plot(xs, [place.cost for place in places], color=colour, label=series.label)
    below.plot(xs, [place.of_gateway for place in places], color=colour, linestyle="--", linewidth=1)
    for place in places:
        for panel, values in ((above, place.rates), (below, place.costs)):
            panel.plot([place.x] * len(values), values, color=colour, linestyle="", marker="o", markersize=3)


def _name(above: Axes, below: Axes, axis: str, xs: Sequence[int]) -> None:
    for panel in (above, below):
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_locator(FixedLocator(xs))
        panel.xaxis.set_minor_locator(NullLocator())
    below.set_xticks(xs, [f"{x:,}" for x in xs])
    below.set_xlabel(axis)
    if xs:
        above.legend(loc="lower left")
