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
_ACCEL, _BRAKE, _HEADWAY_S, _STANDING_M, _HARDEST = 1.5, 2.0, 1.5, 2.5, -9.0
_YELLOW_MPS2, _AT_LINE_M, _STANDS_MPS, _RELEASED = 3.0, 7.0, 0.3, 0.2
_BEND_MPS2, _EASE_MPS2, _CORRIDOR_M, _LINE_MARGIN_M = 2.0, 1.2, 1.4, 1.5


_SIGHT_MARGIN_M = -1.5
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


def followed(speed: Tensor, wish: Tensor, gap: Tensor, leader: Tensor) -> Tensor:
    """Acceleration behind a leader at a gap; all of one shape."""
    free = (_ACCEL * (1 - (speed / wish.clamp(min=0.1)) ** 4)).clamp(min=-3.0)
    closing = speed * (speed - leader) / (2 * (_ACCEL * _BRAKE) ** 0.5)
    wanted = _STANDING_M + (speed * _HEADWAY_S + closing).clamp(min=0.0)
    wished: Tensor = (free - _ACCEL * (wanted / gap.clamp(min=0.5)) ** 2).clamp(min=_HARDEST)
    return wished


def remembered(stood: Tensor, seen: Perceived, speed: Tensor) -> Tensor:
    """(W,) 1 where it stands at a stop sign now, and what was left of that a step ago, 3 % less, otherwise."""
    signed = seen.signal.softmax(1)[:, SIGNALS.index("stop")] > 0.5
    now = signed & (seen.line_m < _AT_LINE_M) & (speed < _STANDS_MPS)
    return torch.maximum(now.to(speed), 0.97 * stood).detach()


def planned(
    seen: Perceived, waypoints: Tensor, speed: Tensor, limit_mps: Tensor, grid: Grid, stood: Tensor | None = None
) -> Tensor:
    """(W,) expected acceleration [m/s²] along the waypoints (W, 5, 2), among those perceived, before a red light.

    Args:
        stood: (W,) see `remembered`: it stops at stop signs too, once, and for yellow only where it still can.
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
    if stood is None:
        halt, margin = red + yellow, _LINE_MARGIN_M
    else:
        margin = _SIGHT_MARGIN_M
        can = speed**2 < 2 * _YELLOW_MPS2 * seen.line_m
        halt = red + yellow * can + shown[:, SIGNALS.index("stop")] * (stood < _RELEASED)
    stop = followed(speed, wish, seen.line_m + margin, torch.zeros_like(speed))
    return torch.minimum(among, halt * stop + (1 - halt) * alone)
