"""OpenDRIVE files: each geometry against its closed form, maps against what was written, hostile files refused."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import fresnel
from xodr import LANES, crossing, document, geometry, road, written

from stalwart.core import catalog
from stalwart.core.errors import DataError
from stalwart.drive.geometry.curves import wrap
from stalwart.drive.geometry.lanes import Control, RoadMap, Turn, Use
from stalwart.drive.opendrive.planview import ReferenceLine
from stalwart.drive.opendrive.records import Geometry
from stalwart.drive.scene import Class
from stalwart.drive.simulation import make


def built(path: str) -> RoadMap:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        roads: RoadMap = catalog.make(f"opendrive({path!r})", "roads").build()
    return roads


def line(kind: str, length: float, *values: float, normalized: bool = False) -> ReferenceLine:
    return ReferenceLine((Geometry("a", kind, 0.0, length, 3.0, -2.0, 0.7, values, normalized),))


def placed(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    c, s = math.cos(0.7), math.sin(0.7)
    return np.stack([3 + c * u - s * v, -2 + s * u + c * v], 1)


S = np.linspace(0, 60, 25)


def test_lines_and_arcs_are_theirs() -> None:
    np.testing.assert_allclose(line("line", 60).at(S)[:, :2], placed(S, 0 * S), atol=1e-9)
    at = line("arc", 60, -0.02).at(S)
    np.testing.assert_allclose(at[:, :2], placed(50 * np.sin(S / 50), 50 * np.cos(S / 50) - 50), atol=1e-9)
    np.testing.assert_allclose(at[:, 2:], np.stack([0.7 - S / 50, 0 * S - 0.02], 1), atol=1e-12)


def test_a_spiral_is_fresnels_integral() -> None:
    """With curvature s / A² the point is A √π (C, S)(s / (A √π))."""
    a = math.sqrt(60 / 0.05)
    sine, cosine = fresnel(S / (a * math.sqrt(math.pi)))
    at = line("spiral", 60, 0.0, 0.05).at(S)
    np.testing.assert_allclose(
        at[:, :2], placed(a * math.sqrt(math.pi) * cosine, a * math.sqrt(math.pi) * sine), atol=1e-8
    )
    np.testing.assert_allclose(at[:, 3], 0.05 * S / 60, atol=1e-12)


def test_a_parabola_is_walked_by_arc_length() -> None:
    """v = u² / 40 up to u has the length u/2 √(1 + u²/400) + 10 asinh(u / 20)."""
    u = np.linspace(0, 30, 20)
    s = u / 2 * np.sqrt(1 + u**2 / 400) + 10 * np.arcsinh(u / 20)
    length = float(s[-1])
    curves = [
        line("poly3", length, 0, 1, 0, 0, 0, 0, 1 / 40, 0),
        line("paramPoly3", length, 0, 30, 0, 0, 0, 0, 900 / 40, 0, normalized=True),
    ]
    for curve in curves:
        at = curve.at(s)
        np.testing.assert_allclose(at[:, :2], placed(u, u**2 / 40), atol=2e-3)
        np.testing.assert_allclose(at[:, 2], 0.7 + np.arctan(u / 20), atol=1e-4)
        np.testing.assert_allclose(at[:, 3], (1 / 20) / (1 + (u / 20) ** 2) ** 1.5, atol=1e-5)


@given(st.floats(-0.04, 0.04), st.floats(-0.04, 0.04), st.floats(20, 80), st.floats(-0.03, 0.03))
@settings(deadline=None, max_examples=15)
def test_lanes_lie_beside_the_reference_line_and_widths_swell_them(
    tmp_path_factory: pytest.TempPathFactory, first: float, last: float, length: float, swell: float
) -> None:
    shape = f'<spiral curvStart="{first!r}" curvEnd="{last!r}"/>'
    lanes = LANES.format(offset='<laneOffset s="0" a="0.4" b="0.01" c="0" d="0"/>').replace(
        'a="3.5" b="0"', f'a="3.5" b="{swell!r}"'
    )
    path = written(tmp_path_factory.mktemp("x"), road(1, geometry((5, 6, 1.0), length, shape), length, lanes))
    roads = built(path)
    reference = ReferenceLine((Geometry("a", "spiral", 0.0, length, 5.0, 6.0, 1.0, (first, last)),))
    assert len(roads.lanes) == 2
    for lane, side in zip(roads.lanes, (1, -1), strict=True):
        s = np.linspace(0, length, 23)
        at = reference.at(s)
        away = 0.4 + 0.01 * s + side * (3.5 + swell * s) / 2
        x, y = at[:, 0] - away * np.sin(at[:, 2]), at[:, 1] + away * np.cos(at[:, 2])
        for px, py in zip(x, y, strict=True):
            _, d = lane.line.project(float(px), float(py))
            assert abs(d) < 0.01
        ends = lane.line.start, lane.line.end
        forward = ends if side < 0 else ends[::-1]
        assert math.hypot(forward[0].x_m - x[0], forward[0].y_m - y[0]) < 1e-6
        assert math.hypot(forward[1].x_m - x[-1], forward[1].y_m - y[-1]) < 1e-6


def test_a_crossing_comes_back_as_it_was_written(tmp_path: Path) -> None:
    roads = built(written(tmp_path, *crossing()))
    arms = [k for k, lane in enumerate(roads.lanes) if lane.junction < 0]
    through = [k for k, lane in enumerate(roads.lanes) if lane.junction == 0]
    assert (len(arms), len(through)) == (8, 12)
    for k in through:
        lane = roads.lanes[k]
        (after,) = lane.successors
        bend = wrap(lane.line.end.yaw_rad - lane.line.start.yaw_rad)
        said = {Turn.STRAIGHT: 0.0, Turn.LEFT: math.pi / 2, Turn.RIGHT: -math.pi / 2}[lane.turn]
        assert bend == pytest.approx(said, abs=1e-9)
        radius = {Turn.STRAIGHT: None, Turn.LEFT: 13.75, Turn.RIGHT: 10.25}[lane.turn]
        assert lane.line.length_m == pytest.approx(24.0 if radius is None else radius * math.pi / 2, abs=1e-6)
        assert wrap(roads.lanes[after].line.start.yaw_rad - lane.line.end.yaw_rad) == pytest.approx(0, abs=1e-9)
        assert lane.control == Control.SIGNAL
        axis = round(lane.line.start.yaw_rad / (math.pi / 2)) % 2
        assert lane.signal == axis  # each controller's two lights are green together
        assert lane.limit_mps == pytest.approx(40 / 3.6)
    a, b = roads.signals
    assert a.start_s + a.green_s + a.yellow_s <= b.start_s
    assert sum(roads.lanes[k].entry for k in arms) == 4
    heads = [box for box in roads.boxes if box.kind == Class.SIGNAL]
    assert {(round(b.x_m, 6), round(b.y_m, 6)) for b in heads} == {
        (14.0, 4.5),
        (-4.5, 14.0),
        (-14.0, -4.5),
        (4.5, -14.0),
    }
    raster, (left, bottom) = roads.raster(0.25)
    assert raster[int((0.0 - bottom) / 0.25), int((50 - left) / 0.25)] in (Class.YELLOW_LINE, Class.ROAD)
    edge = int((3.5 - bottom) / 0.25)  # between two rows: one of them is painted
    assert (raster[edge - 1 : edge + 1, int((50 - left) / 0.25)] == Class.LINE).sum() == 1
    crossing_lefts = [c for c in roads.conflicts if roads.lanes[c.lane].turn == Turn.LEFT and c.yields]
    assert crossing_lefts


def test_sections_and_roads_that_go_on_become_one_lane_and_a_lane_that_opens_is_beside(tmp_path: Path) -> None:
    width = '<width sOffset="0" a="3.5" b="0" c="0" d="0"/>'
    mark = '<roadMark sOffset="0" type="broken" color="white"/>'

    def lane(number: int, before: int | None, after: int | None) -> str:
        ends = "".join(f'<{n} id="{v}"/>' for n, v in (("predecessor", before), ("successor", after)) if v is not None)
        return f'<lane id="{number}" type="driving"><link>{ends}</link>{width}{mark}</lane>'

    def sections(*parts: tuple[float, list[str]]) -> str:
        middle = '<center><lane id="0" type="none"/></center>'
        all_ = (f'<laneSection s="{s}">{middle}<right>{"".join(own)}</right></laneSection>' for s, own in parts)
        return f"<lanes>{''.join(all_)}</lanes>"

    first = sections((0, [lane(-1, None, -1)]), (40, [lane(-1, -1, -1)]), (70, [lane(-1, -1, -1), lane(-2, None, -2)]))
    second = sections((0, [lane(-1, -1, None), lane(-2, -2, None)]))
    roads = built(written(
        tmp_path,
        road(1, geometry((0, 0, 0), 100.0, "<line/>"), 100.0, first,
             '<successor elementType="road" elementId="2" contactPoint="start"/>'),
        road(2, geometry((100, 0, 0), 50.0, '<arc curvature="0.01"/>'), 50.0, second,
             '<predecessor elementType="road" elementId="1" contactPoint="end"/>'),
    ))  # fmt: skip
    assert [round(lane.line.length_m, 3) for lane in roads.lanes] == [
        70.0,
        round(30 + 50 * 1.0175, 3),
        round(30 + 50 * 1.0525, 3),
    ]
    assert roads.lanes[0].successors == (1,)
    assert (roads.lanes[1].right, roads.lanes[2].left) == (2, 1)
    solid = first.replace("broken", "solid")
    roads = built(written(tmp_path, road(1, geometry((0, 0, 0), 100.0, "<line/>"), 100.0, solid)))
    assert all(lane.left == lane.right == -1 for lane in roads.lanes)


def test_sidewalks_are_walked_both_ways_and_stop_signs_stop(tmp_path: Path) -> None:
    walk = '<lane id="-2" type="sidewalk"><width sOffset="0" a="2" b="0" c="0" d="0"/></lane></right>'
    lanes = LANES.format(offset="").replace("</right>", walk)
    parts = crossing(lights=False)
    sign = '<signals><signal id="7" type="206" s="3" t="4.5" orientation="-"/></signals>'
    parts[0] = road(0, geometry((12, 0, 0), 90.0, "<line/>"), 90.0, lanes,
                    '<predecessor elementType="junction" elementId="9"/>', -1, sign)  # fmt: skip
    roads = built(written(tmp_path, *parts))
    walks = [roads.lanes[k] for k in roads.lanes_of(Use.WALK)]
    assert sorted(round(lane.line.start.y_m, 6) for lane in walks) == [-5.0, -4.0]
    assert {round(math.cos(lane.line.start.yaw_rad)) for lane in walks} == {-1, 1}
    assert sum(lane.control == Control.STOP for lane in roads.lanes) == 3
    assert any(box.kind == Class.SIGN for box in roads.boxes)


def test_a_light_beyond_the_junction_stands_where_it_is_and_rules_the_roads_that_refer_to_it(tmp_path: Path) -> None:
    """As CARLA's towns have it: the light itself is of no lane, the junction's roads name it."""
    parts = crossing(lights=False)
    out = (12.0, 0.0, 0.0)
    light = (
        '<signals><signal id="5" type="1000001" s="1" t="-4.5" orientation="+" dynamic="yes">'
        '<validity fromLane="0" toLane="0"/></signal></signals>'
    )
    link = '<predecessor elementType="junction" elementId="9"/>'
    parts[0] = road(0, geometry(out, 90.0, "<line/>"), 90.0, link=link, more=light)
    (straight,) = (k for k, part in enumerate(parts) if ' id="17"' in part and "<planView>" in part)
    refers = (
        '<signals><signalReference id="5" s="0" t="-4" orientation="+"><validity fromLane="-1" toLane="-1"/>'
        "</signalReference></signals></road>"
    )
    parts[straight] = parts[straight].replace("</road>", refers)
    roads = built(written(tmp_path, *parts))
    (ruled,) = (lane for lane in roads.lanes if lane.control == Control.SIGNAL)
    assert ruled.line.start.x_m < -10
    assert ruled.turn == Turn.STRAIGHT
    (head,) = (box for box in roads.boxes if box.kind == Class.SIGNAL)
    assert (round(head.x_m, 3), round(head.y_m, 3), head.signal) == (13.0, -4.5, ruled.signal)
    assert wrap(head.yaw_rad - math.pi) == pytest.approx(0)  # towards who comes across the junction


def test_traffic_stays_on_an_imported_map_for_a_minute(tmp_path: Path) -> None:
    path = written(tmp_path, *crossing())
    world = make(f"opendrive({path!r})", 4, agents=10, walkers=0, traffic="timid", seed=1)
    state, raster, origin = world.state, world.ground.raster[0], world.ground.origin_m[0]
    state.alive[:, 0] = 0
    driven = 0.0
    for step in range(600):
        world.step(np.zeros((4, 1, 2)))
        driven += float((state.speed_mps * state.alive)[:, 1:].sum()) * 0.1
        if step % 10 == 0:
            at = np.stack([state.x_m, state.y_m], -1)[:, 1:][state.alive[:, 1:] == 1]
            cell = np.floor((at - origin) / 0.25).astype(int)
            inside = (cell >= 0).all(1) & (cell[:, 1] < raster.shape[0]) & (cell[:, 0] < raster.shape[1])
            assert not np.isin(raster[cell[inside, 1], cell[inside, 0]], (Class.TERRAIN, Class.SIDEWALK)).any()
            assert np.abs(state.d_m[:, 1:][state.alive[:, 1:] == 1]).max() < 1.2
    assert driven > 4 * 9 * 60  # more than a metre a second each, red lights included


GOOD = road(1, geometry((0, 0, 0), 50.0, "<line/>"), 50.0)
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><OpenDRIVE>&b;</OpenDRIVE>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "without a document type"),
        ("<OpenDRIVE><road>", "expected XML"),
        ("<svg/>", "expected an element 'OpenDRIVE'. Got 'svg'"),
        (document(), "expected elements 'road'. Got none"),
        (document(GOOD, GOOD), "road's id once. Got '1' twice"),
        (document(GOOD.replace("<line/>", "")), "road '1': geometry 1: expected one of line, arc"),
        (document(GOOD.replace("<line/>", '<arc curvature="nan"/>')), "arc: expected 'curvature' as a finite number"),
        (document(GOOD.replace("<line/>", '<arc curvature="9"/>')), "geometry 1: expected a turn of at most twice"),
        (document(GOOD.replace('length="50.0"', 'length="9e9"')), "expected a length from 0 to 100,000 m"),
        (document(GOOD.replace(' hdg="0"', "")), "geometry 1: expected attribute 'hdg' of 'geometry'. Got none"),
        (document(GOOD.replace('lane id="-1"', 'lane id="1"')), "laneSection 1: expected each lane's id once. Got 1"),
        (document(GOOD.replace('lane id="-1"', 'lane id="x"')), "expected 'id' as a finite number. Got 'x'"),
        (document(GOOD.replace('unit="km/h"', 'unit="knots"')), "a speed's unit among m/s, km/h, mph. Got 'knots'"),
        (document(GOOD.replace('type="driving"', 'type="tram"')), "expected lanes of type 'driving'. Got none"),
        (document(GOOD.replace("<road ", '<road rule="LHT" ')), "expected traffic on the right"),
        (document(GOOD.replace("<laneSection", "<laneSectio").replace("/laneSection", "/laneSectio")), "'laneSection'"),
        (document(GOOD.replace('<line/>', '<paramPoly3 aU="0" bU="0" cU="0" dU="0" aV="0" bV="0" cV="0" dV="0"/>')),
         "expected a paramPoly3 of some length"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.xodr"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        built(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"nowhere\.xodr: expected a file"):
        built("nowhere.xodr")


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    more = (
        '<elevationProfile><elevation s="0" a="1" b="0.1" c="0" d="0"/></elevationProfile><objects><object/></objects>'
    )
    more += '<signals><signal id="3" type="274" s="1" t="4"/></signals>'
    path = written(tmp_path, road(1, geometry((0, 0, 0), 50.0, "<line/>"), 50.0, more=more))
    with pytest.warns(UserWarning, match=r"read without elevation \(1\), object \(1\), signal of type '274' \(1\)"):
        catalog.make(f"opendrive({path!r})", "roads").build()
