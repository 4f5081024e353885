"""From what is perceived to the controls: pure pursuit of the route, and the intelligent driver model in expectation.

Whoever is perceived on the way counts with its chance: the expected acceleration is the sum over the rows of the grid
of the chance that the first body on the way stands there, times what the model (Treiber et al., "Congested traffic
states in empirical observations and microscopic simulations", Physical Review E 62, 2000) would do behind it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stalwart.drive.birdseye import SIGNALS, Grid
from stalwart.drive.observation import PATH_M
from stalwart.drive.scene import Class
from stalwart.drive.sensing import Perceived
from stalwart.drive.world.bodies import BODIES
from stalwart.models._driver_views import near_route

_CAR = BODIES[Class.CAR]
_ACCEL, _BRAKE, _HEADWAY_S, _STANDING_M, _HARDEST, _GENTLE = 1.5, 2.0, 1.5, 2.5, -9.0, -2.0
_YELLOW_MPS2, _AT_LINE_M, _STANDS_MPS, _RELEASED = 3.0, 7.0, 0.3, 0.2
_SURE, _PERHAPS, _GONE, _LOST, _FADES, _STEP_S = 0.5, 0.25, 0.1, 0.9, 0.97, 0.1
_NEARER, _FARTHER = 0.4, 0.15
"""How far the way to a sign follows what is told: a driver that stops too late has run the sign."""
_BEND_MPS2, _EASE_MPS2, _CORRIDOR_M, _LINE_MARGIN_M = 2.0, 1.2, 1.4, 1.5
KEPT = 3
"""Numbers that `remembered` keeps of each world."""
_SIGHT_MARGIN_M, _OUT_OF_SIGHT_M = -1.5, 4.0
"""It stands 4 m before a line: nearer, heads and signs at the kerb leave the second camera's picture."""


def pursued(points: Tensor, speed_mps: Tensor) -> Tensor:
    """(W,) steering angle [rad] towards the line through (W, 5, 2) points 0, 5, 10, 20 and 40 m along a route, about a
    second ahead: `planners.pursuit.pursue`, differentiable."""
    reach = (0.9 * speed_mps).clamp(4.0, 15.0)[:, None]
    near = reach <= 7.5
    a, b, c = (torch.where(near, points[:, k], points[:, k + 1]) for k in range(3))
    p, q, r = (torch.where(near, low, high) for low, high in ((0.0, 5.0), (5.0, 10.0), (10.0, 20.0)))
    aim = (
        a * (reach - q) * (reach - r) / ((p - q) * (p - r))
        + b * (reach - p) * (reach - r) / ((q - p) * (q - r))
        + c * (reach - p) * (reach - q) / ((r - p) * (r - q))
    )
    x, y = aim[:, 0] + _CAR.wheelbase_m / 2, aim[:, 1]
    return torch.atan(2 * _CAR.wheelbase_m * y / (x**2 + y**2).clamp(min=1e-6))


def desired(points: Tensor, limit_mps: Tensor) -> Tensor:
    """(W,) the speed from which the bends of the route, taken at 2 m/s², are reached at 1.2 m/s².

    A bend's curvature is the turn from one chord of the route to the next over half of their length.
    """
    chords = points[:, 1:] - points[:, :-1]
    length = chords.norm(dim=-1).clamp(min=1.0)
    heading = torch.atan2(chords[..., 1], chords[..., 0])
    turn = torch.remainder(heading[:, 1:] - heading[:, :-1] + torch.pi, 2 * torch.pi) - torch.pi
    curvature = turn.abs() / ((length[:, 1:] + length[:, :-1]) / 2)
    caps = torch.minimum((_BEND_MPS2 / curvature.clamp(min=1e-4)).sqrt(), limit_mps[:, None])
    ahead = torch.tensor(PATH_M[1:-1]).to(points)
    eased = (caps**2 + 2 * _EASE_MPS2 * ahead).sqrt()
    slowest: Tensor = torch.minimum(eased.amin(1), limit_mps)
    return slowest


def allowed(speed: Tensor, limit_mps: Tensor) -> Tensor:
    """(W,) the most that it may accelerate [m/s²]: so as to be at the limit in a second; above it, it slows gently.

    What is learned is added to the plan and knows no bounds: faster than any lesson, it has sped up without end.
    """
    most: Tensor = (limit_mps - speed).clamp(min=_GENTLE)
    return most


def followed(speed: Tensor, wish: Tensor, gap: Tensor, leader: Tensor) -> Tensor:
    """Acceleration behind a leader at a gap; all of one shape."""
    free = (_ACCEL * (1 - (speed / wish.clamp(min=0.1)) ** 4)).clamp(min=-3.0)
    closing = speed * (speed - leader) / (2 * (_ACCEL * _BRAKE) ** 0.5)
    wanted = _STANDING_M + (speed * _HEADWAY_S + closing).clamp(min=0.0)
    wished: Tensor = (free - _ACCEL * (wanted / gap.clamp(min=0.5)) ** 2).clamp(min=_HARDEST)
    return wished


def remembered(kept: Tensor, seen: Perceived, speed: Tensor) -> Tensor:
    """(W, 3) of stop signs, out of what was kept a step ago: how lately it stood at one (1: now; 3 % less a step
    later), how sure and how lately it saw one at which it has not stood yet (likewise), and the way left to it [m].

    A sign at the kerb leaves the second camera's picture before the line is reached, and the way that one picture tells
    is some metres off. So what two pictures or more have shown holds for up to two seconds, and the way goes on by the
    own speed and half follows what is told. Slopes reach this step's pictures only.
    """
    stood, due, left = kept.detach().unbind(1)
    chance = seen.signal.softmax(1)[:, SIGNALS.index("stop")]
    sees = chance > _SURE
    left = left - speed * _STEP_S
    gain = torch.where(seen.line_m < left, _NEARER, _FARTHER)
    on = torch.where(due > 0, left + gain * (seen.line_m - left), seen.line_m)
    left = torch.where(sees, on, left)
    due = torch.where(sees, 0.5 + 0.5 * due, _FADES * due)  # one picture alone may be wrong
    out = ~sees & (due < _LOST)  # of the picture, for some steps
    left = torch.where(out, left.clamp(max=_OUT_OF_SIGHT_M), left)
    near = torch.where(due > _SURE, left, seen.line_m) < _AT_LINE_M
    # Less than sure is enough here: it must not wait for ever at a sign that may be another, as at a roundabout.
    now = ((chance > _PERHAPS) | (due > _SURE)) & near & (speed < _STANDS_MPS)
    stood = torch.maximum(now.to(speed), _FADES * stood)
    due = due * ((stood < _RELEASED) & (due > _GONE))
    return torch.stack([stood, due, left * (due > 0)], 1)


def planned(
    seen: Perceived, waypoints: Tensor, speed: Tensor, limit_mps: Tensor, grid: Grid, kept: Tensor | None = None
) -> Tensor:
    """(W,) expected acceleration [m/s²] along the waypoints (W, 5, 2), among those perceived, before a red light.

    Args:
        kept: (W, 3) see `remembered`: it stops at stop signs too, once, and for yellow only where it still can.
    """
    wish = desired(waypoints, limit_mps)
    ahead = torch.from_numpy(grid.middles[:, 0, 0]).to(speed)
    front = ahead > _CAR.length_m / 2
    # Who is in the way is no reason to mean another way: no slope goes to the waypoints.
    corridor = near_route(waypoints.detach(), grid, _CORRIDOR_M) * front[:, None]
    chance = torch.sigmoid(seen.agents) * corridor
    rows, where = chance.max(2)  # (W, rows)
    clear = torch.cumprod(1 - rows, 1)
    first = rows * torch.cat([torch.ones_like(clear[:, :1]), clear[:, :-1]], 1)
    leader = seen.velocity[:, 0].gather(2, where[..., None])[..., 0].clamp(min=0.0)
    gap = (ahead - grid.cell_m / 2 - _CAR.length_m / 2).clamp(min=0.5)
    count = len(speed)
    v, w = (one[:, None].expand(count, len(ahead)) for one in (speed, wish))
    behind = followed(v, w, gap.expand(count, -1), leader)
    alone = (_ACCEL * (1 - (speed / wish.clamp(min=0.1)) ** 4)).clamp(min=-3.0)
    among = (first * behind).sum(1) + clear[:, -1] * alone
    shown = seen.signal.softmax(1)
    red, yellow = shown[:, SIGNALS.index("red")], shown[:, SIGNALS.index("yellow")]
    none = torch.zeros_like(speed)
    if kept is None:
        halt = red + yellow
        stop = followed(speed, wish, seen.line_m + _LINE_MARGIN_M, none)
        return torch.minimum(among, halt * stop + (1 - halt) * alone)
    stood, due, left = kept.unbind(1)
    halt = red + yellow * (speed**2 < 2 * _YELLOW_MPS2 * seen.line_m)
    stop = followed(speed, wish, seen.line_m + _SIGHT_MARGIN_M, none)
    sign = torch.maximum(shown[:, SIGNALS.index("stop")], due * (due > _SURE)) * (stood < _RELEASED)
    sign = torch.minimum(sign, 1 - halt)
    way = torch.where(due > _SURE, left, seen.line_m)
    stand = followed(speed, wish, way + _SIGHT_MARGIN_M, none)
    return torch.minimum(among, halt * stop + sign * stand + (1 - halt - sign) * alone)
