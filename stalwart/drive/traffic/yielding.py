"""Signals, stop lines and gaps: how far an agent may go before it has to stop at a junction."""

from __future__ import annotations

import math

from stalwart.drive.compiled import part, single
from stalwart.drive.geometry.lanes import Control, Use
from stalwart.drive.geometry.tables import (
    CONFLICTS,
    CONFLICTS_END,
    CONTROL,
    JUNCTION,
    LANE_M,
    LEADING,
    LIMIT_MPS,
    MOST_LINKS,
    SIGNAL,
    STOPS,
    USE,
    Tables,
)
from stalwart.drive.traffic.around import FAR, NOWHERE, Floats, Links
from stalwart.drive.traffic.drivers import ACCEPTED_S, RUNS_RED
from stalwart.drive.world.state import (
    AFTER_LANE,
    LANE,
    LENGTH_M,
    NEXT_LANE,
    S_M,
    SHOWN_LANE,
    SPEED_MPS,
    STOPPED_FOR,
    WAITED_S,
    Ints,
)

GREEN, YELLOW, RED = range(3)
_ZERO, _HALF, _ONE, _TWO = single(0.0), single(0.5), single(1.0), single(2.0)
_SIGNAL, _STOP, _ALL_WAY, _WALK = int(Control.SIGNAL), int(Control.STOP), int(Control.ALL_WAY_STOP), int(Use.WALK)
_YELLOW_MPS2, _START_MPS2, _LATE_MPS2 = single(3.5), single(1.2), single(3.0)
_IN_M, _PAST_LINE_M, _BEFORE_M = single(0.3), single(1.0), single(1.2)
_LEAST_PATIENCE, _PATIENCE_S, _ROOM_M, _QUICK_MPS = single(0.45), single(30.0), single(2.0), single(2.5)
_SLOW_MPS, _WALK_START_S, _LINE_M = single(0.5), single(7.0), single(3.0)


@part
def signal_state(t: Tables, signal: int, time_s: float) -> int:
    """GREEN, YELLOW or RED."""
    into = (time_s - t.signal_s[signal, 1]) % t.signal_s[signal, 0]
    if into < t.signal_s[signal, 2]:
        return GREEN
    return YELLOW if into < t.signal_s[signal, 2] + t.signal_s[signal, 3] else RED


@part
def time_to(speed: float, way: float, fastest: float) -> float:
    """Seconds for a way [m] at a gentle acceleration of 1.2 m/s² up to the speed `fastest`."""
    if way <= _ZERO:
        return _ZERO
    gain = max(fastest * fastest - speed * speed, _ZERO) / (_TWO * _START_MPS2)
    if way < gain:
        return (math.sqrt(speed * speed + _TWO * _START_MPS2 * way) - speed) / _START_MPS2
    fast = max(fastest, speed)
    return (fast - speed) / _START_MPS2 + (way - gain) / fast


@part
def way_to_stop(
    t: Tables, f: Floats, n: Ints, traits: Floats, a: int, time_s: float, reach: float, base: int, head: Links,
    link: Links,
) -> float:  # fmt: skip
    """Metres from the agent's front to where it has to stop within `reach`; `FAR`: nowhere."""
    if not t.lane_n[n[LANE, a], STOPS]:
        return FAR
    front = f[S_M, a] + _HALF * f[LENGTH_M, a]
    offset = _ZERO
    lane, then = n[LANE, a], n[NEXT_LANE, a]
    for step in range(3):
        if lane < 0 or offset - front > reach:
            break
        if t.lane_n[lane, JUNCTION] >= 0:
            stop = _at_junction(t, f, n, traits, a, lane, then, offset, front, time_s, base, head, link)
            if stop < FAR:
                return stop
        offset += t.lane_f[lane, LANE_M]
        lane = n[NEXT_LANE, a] if step == 0 else n[AFTER_LANE, a]
        then = n[AFTER_LANE, a] if step == 0 else NOWHERE
    return FAR


@part
def _at_junction(
    t: Tables, f: Floats, n: Ints, traits: Floats, a: int, lane: int, then: int, offset: float, front: float,
    time_s: float, base: int, head: Links, link: Links,
) -> float:  # fmt: skip
    speed = f[SPEED_MPS, a]
    walks = t.lane_n[lane, USE] == _WALK
    # Vehicles stop before their lane's end, so that long ones can turn past them.
    ahead = offset - front - (_ZERO if walks else _LINE_M)
    entering = ahead > -_PAST_LINE_M
    if entering:
        control = t.lane_n[lane, CONTROL]
        if control == _SIGNAL:
            state = signal_state(t, t.lane_n[lane, SIGNAL], time_s)
            if walks:
                into = (time_s - t.signal_s[t.lane_n[lane, SIGNAL], 1]) % t.signal_s[t.lane_n[lane, SIGNAL], 0]
                if state != GREEN or into > _WALK_START_S:
                    return ahead
            elif (state == RED and traits[a, RUNS_RED] == _ZERO) or (
                state == YELLOW and speed * speed < _TWO * _YELLOW_MPS2 * ahead
            ):
                return ahead
        elif (control in (_STOP, _ALL_WAY)) and n[STOPPED_FOR, a] != lane:
            return ahead
    patience = max(_ONE - f[WAITED_S, a] / _PATIENCE_S, _LEAST_PATIENCE)
    accepted = traits[a, ACCEPTED_S] * patience
    stop = FAR
    fastest = t.lane_f[lane, LIMIT_MPS]
    for k in range(t.lane_n[lane, CONFLICTS], t.lane_n[lane, CONFLICTS_END]):
        enter = offset + t.conflict_m[k, 0] - front
        leave = offset + t.conflict_m[k, 1] - front + f[LENGTH_M, a]
        if leave < _ZERO or enter < -_IN_M:
            continue  # past it, or in it: go on
        if not _anyone(t, k, walks, base, head):
            continue
        soon, late = time_to(speed, enter, fastest), time_to(speed, leave, fastest)
        if _taken(t, f, n, a, k, enter, soon, late, accepted, walks, entering, time_s, base, head, link):
            stop = min(stop, ahead if entering else max(enter - _BEFORE_M, _ZERO))
    if entering and stop == FAR and not walks and then >= 0:  # room behind the junction, so as not to block it
        j = head[then - base]
        while j >= 0:
            rear = f[S_M, j] - _HALF * f[LENGTH_M, j]
            if j != a and rear < f[LENGTH_M, a] + _ROOM_M and f[SPEED_MPS, j] < _QUICK_MPS:
                return ahead
            j = link[j]
    return stop


@part
def _anyone(t: Tables, k: int, walks: bool, base: int, head: Links) -> bool:
    """Whether anyone is on the other lane of conflict `k`, or on the lanes into it if they might go first."""
    other = t.conflict_n[k, 0]
    if head[other - base] >= 0:
        return True
    if t.conflict_n[k, 1] == 0 and not walks:
        return False
    for m in range(MOST_LINKS):
        before = t.lane_n[other, LEADING + m]
        if before < 0:
            return False
        if head[before - base] >= 0:
            return True
    return False


@part
def _taken(
    t: Tables, f: Floats, n: Ints, a: int, k: int, way: float, soon: float, late: float, accepted: float, walks: bool,
    entering: bool, time_s: float, base: int, head: Links, link: Links,
) -> bool:  # fmt: skip
    """Whether conflict `k`, `way` metres ahead, is taken, or will be by someone with priority, from `soon` to `late`
    seconds on.

    A walker has priority, but lets a vehicle pass that could only brake hard. Of two that stand within an
    all-way stop, each to give way to the other, the nearer goes first.
    """
    other, yields = t.conflict_n[k, 0], t.conflict_n[k, 1] != 0
    control = t.lane_n[other, CONTROL]
    both = control == _ALL_WAY and not entering
    start, end = t.conflict_m[k, 2], t.conflict_m[k, 3]
    j = head[other - base]
    while j >= 0:
        half = _HALF * f[LENGTH_M, j]
        enter, leave = start - f[S_M, j] - half, end - f[S_M, j] + half
        v = f[SPEED_MPS, j]
        if j != a and leave > _ZERO:
            if enter <= _IN_M:
                if soon < leave / max(v, _SLOW_MPS) + _HALF:
                    return True
            elif (yields and not (both and v < _SLOW_MPS and (way < enter or (way == enter and a < j)))) or (
                walks and v * v > _TWO * _LATE_MPS2 * enter
            ):
                pace = max(v, _ONE)
                if enter / pace < late + accepted and leave / pace > soon - accepted:
                    return True
        j = link[j]
    if not (yields or walks):
        return False
    if both:
        return False  # whoever is in goes on
    state = signal_state(t, t.lane_n[other, SIGNAL], time_s) if control == _SIGNAL else GREEN
    for m in range(MOST_LINKS):
        before = t.lane_n[other, LEADING + m]
        if before < 0:
            break
        j = head[before - base]
        while j >= 0:
            if n[SHOWN_LANE, j] == other and j != a:
                half = _HALF * f[LENGTH_M, j]
                line = t.lane_f[before, LANE_M] - f[S_M, j] - half
                v = f[SPEED_MPS, j]
                comes = state == GREEN or v * v > _TWO * _LATE_MPS2 * max(line, _ZERO)
                if control in (_STOP, _ALL_WAY):
                    comes = comes and n[STOPPED_FOR, j] == other
                if control == _ALL_WAY:  # who came first goes first
                    mine, theirs = f[WAITED_S, a], f[WAITED_S, j]
                    comes = comes and (theirs > mine or (theirs == mine and j < a))
                if comes and (not walks or v * v > _TWO * _LATE_MPS2 * (line + start)):
                    pace = max(v, _ONE)
                    if (line + start) / pace < late + accepted and (line + end + half + half) / pace > soon - accepted:
                        return True
            j = link[j]
    return False
