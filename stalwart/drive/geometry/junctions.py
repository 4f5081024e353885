"""Junctions: lanes through them, crossings, signals; roundabouts."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.geometry.curves import CentreLine, Doubles, Piece, Pose, arc, fit, wrap
from stalwart.drive.geometry.lanes import Area, Box, Control, Lane, Marking, Signal, Turn, Use
from stalwart.drive.geometry.network import SIDEWALK_M, Arm, Draft
from stalwart.drive.scene import Class

STOP_M = 3.0
"""From the stop line to the end of the lane."""
CROSSING_M = 3.0
"""Width of a crossing."""
_SETBACK_M = 2.4
"""From the stop line to a crossing's middle."""
_ALL_RED_S = 2.0


def junction(draft: Draft, arms: list[Arm], control: Control, limit_mps: float, *, green_s: float = 14.0) -> int:
    """Join streets: lanes through, kerbs at the corners, crossings where there are sidewalks, signals or signs.

    `control` rules the arms that are not `major`; under SIGNAL and ALL_WAY_STOP all arms alike. Two arms make a bend.
    """
    arms = sorted(arms, key=lambda arm: math.atan2(*_from_middle(arm, arms)))  # counterclockwise
    number = draft.junctions
    draft.junctions += 1
    axis = [_axis(arm, arms[0]) for arm in arms]
    heads = _signals(draft, green_s) if control == Control.SIGNAL and len(arms) > 2 else (-1, -1)
    rules = [_rule(control, arm, len(arms)) for arm in arms]
    for i, source in enumerate(arms):
        for j, target in enumerate(arms):
            if i == j:
                continue
            turn_rad = wrap(target.pose.yaw_rad - source.pose.yaw_rad - math.pi)
            turn = Turn.STRAIGHT if abs(turn_rad) < math.pi / 4 else Turn.LEFT if turn_rad > 0 else Turn.RIGHT
            for a, b in _pairs(source.entering, target.leaving, turn, bend=len(arms) == 2):
                start, end = draft.lanes[a].line.end, draft.lanes[b].line.start
                line = CentreLine(start, (fit(start, end),))
                sharpest = max(abs(line.pieces[0].start_curvature), abs(line.pieces[0].end_curvature), 1e-3)
                through = Lane(
                    line, draft.lanes[a].width_m, min(limit_mps, math.sqrt(2.5 / sharpest)), junction=number,
                    control=rules[i], signal=heads[axis[i]], turn=turn,
                )  # fmt: skip
                index = draft.add(through)
                draft.link(a, index)
                draft.link(index, b)
    _ground(draft, arms)
    if all(arm.walks for arm in arms):
        _sidewalks(draft, arms, number, [heads[1 - x] if heads[0] >= 0 else -1 for x in axis])
    for arm, rule, x in zip(arms, rules, axis, strict=True):
        _furnish(draft, arm, rule, heads[x])
    return number


def _from_middle(arm: Arm, arms: list[Arm]) -> tuple[float, float]:
    x = sum(a.pose.x_m for a in arms) / len(arms)
    y = sum(a.pose.y_m for a in arms) / len(arms)
    return arm.pose.y_m - y, arm.pose.x_m - x


def _axis(arm: Arm, first: Arm) -> int:
    """0 for arms along the first one, 1 for those across."""
    return int(abs(math.sin(arm.pose.yaw_rad - first.pose.yaw_rad)) > math.sqrt(0.5))


def _rule(control: Control, arm: Arm, arms: int) -> Control:
    if arms == 2:
        return Control.NONE
    return Control.NONE if control in (Control.STOP, Control.YIELD) and arm.major else control


def _signals(draft: Draft, green_s: float) -> tuple[int, int]:
    """Two signals that are green in turn."""
    half = green_s + 3.0 + _ALL_RED_S
    draft.signals += [Signal(2 * half, 0.0, green_s), Signal(2 * half, half, green_s)]
    return len(draft.signals) - 2, len(draft.signals) - 1


def _pairs(entering: list[int], leaving: list[int], turn: Turn, *, bend: bool) -> list[tuple[int, int]]:
    """Which lane leads to which: the innermost turns left, the outermost right, all go straight."""
    if not entering or not leaving:
        return []
    if bend or turn == Turn.STRAIGHT:
        return [(lane, leaving[min(k, len(leaving) - 1)]) for k, lane in enumerate(entering)]
    return [(entering[0], leaving[0])] if turn == Turn.LEFT else [(entering[-1], leaving[-1])]


def _corner(first: Arm, second: Arm, away_m: float) -> CentreLine:
    """From an arm's left edge in to the edge of the next arm counterclockwise, `away_m` further out."""
    start = first.pose.ahead(0, first.left_edge_m + away_m).reversed()
    end = second.pose.ahead(0, -second.right_edge_m - away_m)
    return CentreLine(start, (fit(start, end),))


def _ground(draft: Draft, arms: list[Arm]) -> None:
    points = []
    for first, second in zip(arms, arms[1:] + arms[:1], strict=True):
        kerb = _corner(first, second, 0.0)
        points.append(kerb.poses(np.linspace(0, kerb.length_m, 16))[:, :2])
        if first.walks and second.walks:
            outer = _corner(first, second, SIDEWALK_M)
            far = outer.poses(np.linspace(outer.length_m, 0, 16))[:, :2]
            draft.areas.append(Area(Class.SIDEWALK, np.concatenate([points[-1], far])))
    draft.areas.append(Area(Class.ROAD, np.concatenate(points)))


def _sidewalks(draft: Draft, arms: list[Arm], number: int, heads: list[int]) -> None:
    """Corners to walk around, and a crossing over each arm; its signal is that of the street across."""
    width = SIDEWALK_M / 2
    for first, second in zip(arms, arms[1:] + arms[:1], strict=True):
        assert first.walks is not None
        assert second.walks is not None
        for start, end in ((first.walks[0], second.walks[3]), (second.walks[2], first.walks[1])):
            a, b = draft.lanes[start].line.end, draft.lanes[end].line.start
            around = draft.add(Lane(CentreLine(a, (fit(a, b),)), width, 1.4, Use.WALK))
            draft.link(start, around)
            draft.link(around, end)
    for arm, head in zip(arms, heads, strict=True):
        assert arm.walks is not None
        if len(arms) == 2:
            continue
        left_in, left_out, right_in, right_out = arm.walks
        for start, end, forward in ((left_in, right_out, -0.6), (right_in, left_out, 0.6)):
            a = draft.lanes[start].line.end
            b = draft.lanes[end].line.start
            # To the kerb opposite the crossing, over it, and back to the other sidewalk; walkers turn on the spot.
            side_a, side_b = _beside(arm.pose, a), _beside(arm.pose, b)
            near = arm.pose.ahead(-_SETBACK_M + forward, side_a)
            far = arm.pose.ahead(-_SETBACK_M + forward, side_b)
            across = Pose(near.x_m, near.y_m, math.atan2(far.y_m - near.y_m, far.x_m - near.x_m))
            steps = (_straight(a, near), CentreLine(across, (Piece(abs(side_a - side_b)),)), _straight(far, b))
            before = start
            for k, step in enumerate(steps):
                over = {"junction": number, "signal": head, "control": Control.SIGNAL if head >= 0 else Control.NONE}
                lane = Lane(step, CROSSING_M / 2, 1.4, Use.WALK, **(over if k == 1 else {}))  # type: ignore[arg-type]
                index = draft.add(lane)
                draft.link(before, index)
                before = index
            draft.link(before, end)
        edge = (arm.left_edge_m, -arm.right_edge_m)
        _zebra(draft, arm.pose.ahead(-_SETBACK_M), *edge)


def _beside(pose: Pose, at: Pose) -> float:
    return (at.y_m - pose.y_m) * math.cos(pose.yaw_rad) - (at.x_m - pose.x_m) * math.sin(pose.yaw_rad)


def _straight(a: Pose, b: Pose) -> CentreLine:
    yaw = math.atan2(b.y_m - a.y_m, b.x_m - a.x_m)
    return CentreLine(Pose(a.x_m, a.y_m, yaw), (Piece(math.hypot(b.x_m - a.x_m, b.y_m - a.y_m)),))


def _zebra(draft: Draft, middle: Pose, left_m: float, right_m: float) -> None:
    """Bars along the arm's direction, half a metre wide and as far apart."""
    for k in range(int((left_m - right_m - 0.4) / 1.0)):
        inner = right_m + 0.45 + k
        draft.areas.append(
            Area(Class.CROSSING, _rectangle(middle, -CROSSING_M / 2, CROSSING_M / 2, inner, inner + 0.5))
        )


def _rectangle(pose: Pose, back_m: float, front_m: float, right_m: float, left_m: float) -> Doubles:
    corners = [(front_m, left_m), (back_m, left_m), (back_m, right_m), (front_m, right_m)]
    return np.array([[p.x_m, p.y_m] for p in (pose.ahead(f, side) for f, side in corners)])


def _furnish(draft: Draft, arm: Arm, rule: Control, head: int) -> None:
    """Stop lines; and at the left and right of the entering lanes a pole with a signal head or a sign."""
    if rule == Control.NONE or not arm.entering:
        return
    draft.areas.append(
        Area(Class.STOP_LINE, _rectangle(arm.pose, STOP_M - 0.6, STOP_M - 0.2, 0.2, arm.left_edge_m - 0.2))
    )
    faces = arm.pose.yaw_rad
    # Seen looking out the lanes that enter are on the left: their driver's right-hand kerb is at +left_edge.
    near = arm.pose.ahead(0.3, arm.left_edge_m + 0.4)
    if rule == Control.SIGNAL:
        draft.boxes.append(Box(Class.POLE, near.x_m, near.y_m, faces, 0.16, 0.16, 2.6))
        draft.boxes.append(Box(Class.SIGNAL, near.x_m, near.y_m, faces, 0.35, 0.4, 1.1, 2.6, signal=head))
    else:
        draft.boxes.append(Box(Class.POLE, near.x_m, near.y_m, faces, 0.1, 0.1, 2.1))
        front = near.ahead(0.08)
        draft.boxes.append(Box(Class.SIGN, front.x_m, front.y_m, faces, 0.06, 0.75, 0.75, 2.0))


def roundabout(draft: Draft, arms: list[Arm], middle: tuple[float, float], radius_m: float, limit_mps: float) -> int:
    """A one-lane ring driven counterclockwise; whoever enters gives way to the ring."""
    arms = sorted(arms, key=lambda arm: math.atan2(*_from_middle(arm, arms)))
    number = draft.junctions
    draft.junctions += 1
    width = draft.lanes[arms[0].entering[0]].width_m + 0.6
    angles = [math.atan2(arm.pose.y_m - middle[1], arm.pose.x_m - middle[0]) for arm in arms]
    half = 0.42  # rad from an arm's middle to where its lanes touch the ring
    limit = min(limit_mps, math.sqrt(2.2 * radius_m))

    def on_ring(angle: float) -> Pose:
        x, y = middle[0] + radius_m * math.cos(angle), middle[1] + radius_m * math.sin(angle)
        return Pose(x, y, angle + math.pi / 2)

    def ring(start: float, end: float) -> int:
        turn = (end - start) % (2 * math.pi)
        return draft.add(Lane(CentreLine(on_ring(start), (arc(radius_m, turn),)), width, limit, junction=number))

    past = [ring(angle - half, angle + half) for angle in angles]
    between = [ring(a + half, b - half) for a, b in zip(angles, angles[1:] + angles[:1], strict=True)]
    for k, (arm, angle) in enumerate(zip(arms, angles, strict=True)):
        draft.link(past[k], between[k])
        draft.link(between[k - 1], past[k])
        a, b = draft.lanes[arm.entering[0]].line.end, on_ring(angle + half)
        enter = Lane(CentreLine(a, (fit(a, b),)), width, limit, junction=number, control=Control.YIELD, turn=Turn.RIGHT)
        index = draft.add(enter)
        draft.link(arm.entering[0], index)
        draft.link(index, between[k])
        a, b = on_ring(angle - half), draft.lanes[arm.leaving[0]].line.start
        index = draft.add(Lane(CentreLine(a, (fit(a, b),)), width, limit, junction=number, turn=Turn.RIGHT))
        draft.link(between[k - 1], index)
        draft.link(index, arm.leaving[0])
        _furnish(draft, arm, Control.YIELD, -1)
    outer, inner = radius_m + width / 2, radius_m - width / 2
    circle = np.linspace(0, 2 * math.pi, 97)[:-1]
    around = np.stack([np.cos(circle), np.sin(circle)], 1)
    draft.areas.append(Area(Class.ROAD, np.array(middle) + outer * around))
    draft.areas.append(Area(Class.LINE, np.array(middle) + (inner + 0.15) * around))
    draft.areas.append(Area(Class.TERRAIN, np.array(middle) + inner * around))
    draft.boxes.append(Box(Class.OBSTACLE, *middle, 0.0, 0.7 * inner, 0.7 * inner, 0.8))
    for lane in past:
        draft.change(lane, right_marking=Marking.NONE)
    return number
