"""`python -m bench.scaling`: measures the curves of `series.py`, adds a JSON line for each place, and draws.

Each place has a server of its own with fresh data. Lines that are in the file stay: several of one place are
drawn as their median. What the figures mean is written in docs/performance.md.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from bench.__main__ import Bench, allow_connections, broken, own_server, tell
from bench.scaling.drawing import draw
from bench.scaling.series import SERIES, Point, Series, parse
from bench.stack import ROOT
from bench.window import progress

DATA = ROOT / "docs" / "scaling.jsonl"
PLOT = ROOT / "docs" / "scaling.svg"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling")
    parser.add_argument("--series", action="append", choices=[s.name for s in SERIES], help="only this one")
    parser.add_argument("--x", type=int, action="append", help="only this place of a series")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured at each place (default 5)")
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what is in the data")
    parser.add_argument("--data", type=Path, default=DATA, help="JSON lines (default docs/scaling.jsonl)")
    parser.add_argument("--plot", type=Path, default=PLOT, help="SVG (default docs/scaling.svg)")
    return parser.parse_args()


def measure(series: Series, point: Point, seconds: float, data: Path) -> int:
    """Measure one place and add its line to the data; how many messages were lost, doubled, out of order."""
    with own_server(point.case.sets, point.nodes, point.gateways) as (app, server):
        progress(f"{series.name}: {point.x} {series.axis}")
        place = {"series": series.name, "x": point.x, "nodes": point.nodes}
        workers = {kind: len(server.workers(kind)) for kind in ("message", "query")}
        line = asyncio.run(Bench(app, server, seconds).run(point.case))
    tell(place | {"workers": workers} | line, data)
    return broken(line)


def main() -> int:
    """Measure what is wanted and draw; exit status 1 when a message was lost, doubled or out of order."""
    chosen = arguments()
    allow_connections()
    wrong = 0
    for series in SERIES if not chosen.draw else ():
        for point in series.points:
            if series.name in (chosen.series or [series.name]) and point.x in (chosen.x or [point.x]):
                wrong += measure(series, point, chosen.seconds, chosen.data)
    draw(parse(chosen.data.read_text().splitlines()), chosen.plot)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
