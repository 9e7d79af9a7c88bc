"""The curves: what is measured at their places, reading them from the data, drawing them."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.scaling.drawing import AXES, draw
from bench.scaling.series import GATEWAYS, NODES, ONLINE, RATE, SERIES, STORED, parse

SVG = "{http://www.w3.org/2000/svg}"


def line(series: str, x: int, rate: int, cost: float, gateway: float) -> str:
    cpu = {"gateway": gateway, "message worker": cost - gateway, "total": cost}
    return json.dumps({"series": series, "x": x, "messages_per_second": rate, "server_cpu_us": cpu})


LINES = (
    line("idle", 10_000, 4000, 200, 150.0),
    line("idle", 10, 9000, 100, 60.0),
    line("one-set", 1, 10_000, 90, 50.0),
    line("one-set", 2, 12_000, 80, 45.0),
    line("one-set", 2, 8000, 120, 55.0),
    line("one-set", 2, 11_000, 85, 40.0),
    "",
)


def test_the_places_of_a_curve_are_in_the_order_of_x_and_stand_for_all_times() -> None:
    curves = parse(LINES)
    assert {name: [place.x for place in places] for name, places in curves.items()} == {
        "idle": [10, 10_000],
        "one-set": [1, 2],
    }
    two = curves["one-set"][1]
    assert (two.rate, two.cost, two.of_gateway) == (11_000, 85, 45)
    assert two.rates == (12_000, 8000, 11_000)


def test_a_line_of_another_kind_is_not_taken_for_a_place() -> None:
    with pytest.raises(KeyError):
        parse(['{"case": "pairs-8", "messages_per_second": 1}'])


def test_the_plot_is_an_svg_with_the_curves_that_are_measured(tmp_path: Path) -> None:
    draw(parse(LINES), tmp_path / "plot.svg")
    root = ElementTree.parse(tmp_path / "plot.svg").getroot()
    texts = ["".join(each.itertext()).strip() for each in root.iter(f"{SVG}text")]
    assert root.tag == f"{SVG}svg"
    for shown in ("1 SET", "10 talk, 8 outstanding", "nodes a SET", "users online", "10,000", "messages/s"):
        assert shown in texts
    assert "2 SETs, half of the pairs across" not in texts


def test_the_same_data_gives_the_same_plot(tmp_path: Path) -> None:
    for name in ("one", "other"):
        draw(parse(LINES), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_each_place_has_as_many_users_messages_or_nodes_as_it_says() -> None:
    for series in SERIES:
        for point in series.points:
            case = point.case
            has = {
                NODES: point.nodes,
                ONLINE: case.users + case.idle,
                STORED: case.stored,
                RATE: case.rate,
                GATEWAYS: point.gateways,
            }
            assert (has[series.axis], case.name) == (point.x, series.name)


def test_the_committed_plot_is_that_of_the_committed_data() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    plot = (docs / "scaling.svg").read_text()
    curves = parse((docs / "scaling.jsonl").read_text().splitlines())
    for series in SERIES:
        if series.axis in AXES:
            assert series.name in curves
            assert series.label in plot
