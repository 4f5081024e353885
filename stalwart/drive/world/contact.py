"""When boxes touch, and whose fault it is."""

from __future__ import annotations

import math

from stalwart.drive.compiled import kernel, single

_HALF, _STRIP, _STILL_MPS = single(0.5), single(0.2), single(0.05)


@kernel
def overlap(
    ax: float, ay: float, ayaw: float, alength: float, awidth: float,
    bx: float, by: float, byaw: float, blength: float, bwidth: float,
) -> bool:  # fmt: skip
    """Whether two oriented boxes share a point: no axis of either separates them (the separating axis theorem)."""
    dx, dy = bx - ax, by - ay
    reach = _HALF * (alength + awidth + blength + bwidth)
    if dx * dx + dy * dy > reach * reach:
        return False
    c, s = math.cos(ayaw), math.sin(ayaw)
    c2, s2 = math.cos(byaw), math.sin(byaw)
    dot, cross = abs(c * c2 + s * s2), abs(c * s2 - s * c2)
    if abs(dx * c + dy * s) > _HALF * (alength + blength * dot + bwidth * cross):
        return False
    if abs(dy * c - dx * s) > _HALF * (awidth + blength * cross + bwidth * dot):
        return False
    if abs(dx * c2 + dy * s2) > _HALF * (blength + alength * dot + awidth * cross):
        return False
    return abs(dy * c2 - dx * s2) <= _HALF * (bwidth + alength * cross + awidth * dot)


STANDING, HIT_STANDING, FRONT, REAR, SIDE = range(5)
"""Ways in which a body is in a collision, seen from it: it stands; hits what stands; its front, rear or side is hit."""


@kernel
def contact(
    x: float, y: float, yaw: float, length: float, width: float, speed: float,
    ox: float, oy: float, oyaw: float, olength: float, owidth: float, ospeed: float,
) -> int:  # fmt: skip
    """How the first body is in a collision with the second; nuPlan's collision types (`no_ego_at_fault_collisions`).

    Its front is touched where the other overlaps the foremost strip of its box, its rear likewise.
    """
    if speed <= _STILL_MPS:
        return STANDING
    if ospeed <= _STILL_MPS:
        return HIT_STANDING
    c, s = math.cos(yaw), math.sin(yaw)
    strip = _STRIP * length
    ahead = _HALF * (length - strip)
    if overlap(x + c * ahead, y + s * ahead, yaw, strip, width, ox, oy, oyaw, olength, owidth):
        return FRONT
    if overlap(x - c * ahead, y - s * ahead, yaw, strip, width, ox, oy, oyaw, olength, owidth):
        return REAR
    return SIDE


@kernel
def at_fault(how: int, lane_d: float, lane_width: float, width: float) -> bool:
    """Whether the body is to blame: it hits what stands, hits with its front, or is hit at its side out of its lane."""
    if how in (HIT_STANDING, FRONT):
        return True
    return how == SIDE and abs(lane_d) + _HALF * width > _HALF * lane_width
