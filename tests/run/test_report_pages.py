"""The building blocks of pages: escaping, ticks, charts, pictures, numbers."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stalwart.pages import charts, numbers
from stalwart.pages.charts import Axis, Line
from stalwart.pages.html import Html, clean, escape, page, tag
from stalwart.pages.pictures import LONGEST, difference, factor, png, reduced


class Once(HTMLParser):
    """What a browser reads from one element."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.data = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.data += data


@given(st.text(alphabet=st.characters(), max_size=300))
def test_any_text_comes_back_as_text(text: str) -> None:
    seen = Once(tag("b", text, title=text))
    assert seen.tags == ["b"]
    assert set(seen.attributes) == {"title"}
    assert seen.data == clean(text)
    assert (seen.attributes["title"] or "") == clean(text)
    page(text, text).encode("utf-8")


def test_markup_is_not_escaped_twice() -> None:
    inner = tag("i", "<&>")
    assert inner == "<i>&lt;&amp;&gt;</i>"
    assert tag("p", [inner, None, 3, "<"]) == "<p><i>&lt;&amp;&gt;</i>3&lt;</p>"
    assert isinstance(escape("x"), Html)
    assert not isinstance(inner + "<", Html), "what was joined outside is text again"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low: float, width: float) -> None:
    high = low + width
    ticks = charts.round_ticks(low, high)
    assert len(ticks) <= 7
    assert all(low - 1e-6 * width - 1e-6 <= tick <= high + 1e-6 * width + 1e-6 for tick in ticks)
    assert ticks == sorted(ticks)


def test_ticks_known() -> None:
    assert charts.round_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert charts.round_ticks(1, 3, whole=True) == [1, 2, 3]
    assert charts.round_ticks(0, 8, about=4) == [0, 2, 4, 6, 8]
    assert charts.round_ticks(5, 5) == [5]


def test_chart_draws_values_where_they_belong() -> None:
    x = Axis("x", str, 0.0, 10.0)
    y = Axis("y", str, 0.0, 1.0)
    source = charts.lines("t", [Line("a", [(0, 0), (5, 0.5), (10, 1)])], x, y)
    points = source.split('points="')[1].split('"')[0].split()
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in points)
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 > y1 > y2, "SVG counts downwards"
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert "<title>a: 0.5 at x 5</title>" in source


def test_charts_of_odd_data_are_drawn_or_left_out() -> None:
    x, y = Axis("x", str), Axis("y", str)
    assert charts.lines("t", [Line("a", [])], x, y) == ""
    assert "nan" not in charts.lines("t", [Line("a", [(1, 2)])], x, y).lower()
    assert "nan" not in charts.lines("t", [Line("a", [(1, 0.0), (2, 0.0)])], x, y).lower()
    many = charts.lines("t", [Line("a", [(i, i) for i in range(100_000)])], x, y)
    assert len(many) < 60_000
    assert "99999 at x 99999" in many, "the last point stays"


def test_bar_is_as_long_as_its_share() -> None:
    source = charts.bar(0.37, (0.3, 0.45))
    assert 'width="37"' in source
    assert 'x1="30" x2="45"' in source
    assert charts.bar(None) == ""


def test_heat_map_counts_rows_as_truth() -> None:
    source = charts.heat("t", ["cat", "dog"], [[9, 1], [0, 10]])
    assert "1 of 10 cat answered as dog (10.0 %)" in source
    assert source.count("<title>") == 4, "the chart's and one for each cell that is not empty"


def test_difference_is_centred_and_reversible() -> None:
    before = torch.tensor([[[10, 20], [30, 250]]], dtype=torch.uint8)
    after = torch.tensor([[[13, 20], [27, 255]]], dtype=torch.uint8)
    times = factor(before, after)
    assert times == 127 // 5
    shown = difference(before, after, times)
    assert torch.equal((shown.int() - 128) // times, after.int() - before.int())
    assert factor(before, before) == 1
    assert (difference(before, before, 1) == 128).all()


def test_large_pictures_are_reduced_and_small_ones_kept() -> None:
    small = torch.randint(0, 256, (3, 8, 5), dtype=torch.uint8)
    assert reduced(small, sharp=False) is small
    large = torch.randint(0, 256, (1, 600, 300), dtype=torch.uint8)
    for sharp in (False, True):
        assert reduced(large, sharp=sharp).shape == (1, LONGEST, LONGEST // 2)
    assert set(reduced(large * 0 + 7, sharp=False).unique().tolist()) == {7}
    with pytest.raises(ValueError, match="picture"):
        png(torch.zeros(2, 4, 4, dtype=torch.uint8))


def test_numbers_as_people_read_them() -> None:
    assert numbers.percent(0.98345) == "98.3\u00a0%"
    assert numbers.percent(None) == "–"
    assert numbers.span((0.9712, 0.99)) == "97.1 to 99.0\u00a0%"
    assert numbers.radius(8 / 255, True) == "8/255"
    assert numbers.radius(0.5 / 255, True) == "0.5/255"
    assert numbers.radius(0.1, True) == "25.5/255"
    assert numbers.radius(0.1, False) == "0.1"
    assert numbers.duration(3725) == "1\u00a0h 2\u00a0min"
    assert numbers.duration(0.074) == "0.074\u00a0s"
    assert numbers.figure(0.82) == "0.82"
    assert numbers.figure(1.5e-9) == "1.50e-09"
    assert numbers.figure(12345.6) == "12,346"
