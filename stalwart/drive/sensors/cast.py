"""Casting a fan of rays at upright boxes: how far each ray goes, and what it meets.

A fan's rays come in columns and rows: the rays of a column run above one line on the ground, and all rays of a row rise
by the same slope along it. A camera whose pitch is zero is such a fan (its horizon moves by lens shift), and so is a
spinning LiDAR. A box then needs one ray/rectangle test for each column that it covers; along the column it fills the
rows between two slopes. Its near wall has one depth per column, its roof or underside one per row, and what a ray meets
of the box lies at the larger of both.
"""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, leaf
from stalwart.drive.compiled import part as inlined
from stalwart.drive.world.angles import angle_of

NONE, _ZERO, _ONE = np.float32(np.inf), np.float32(0), np.float32(1)
_NEAREST, _ALL = np.float32(1e-9), np.float32(1e9)
EIGHT = 8
"""Columns that go through one instruction: spans begin and end at multiples of it, so that few are left over."""

# A slot holds one box as this fan sees it: forward and left of the sensor, turned against it.
FORWARD, LEFT, COSINE, SINE, HALF_LENGTH, HALF_WIDTH, UNDER, TOP, EYE_X, EYE_Y = range(10)
SLOT_FIELDS = 10
TOP_ROW, END_ROW, _SLAB_1, _SLAB_2, _SLAB_3 = (np.int64(n) for n in (0, 1, 2, 6, 10))
SWEEP_FIELDS = 14


@inlined
def first_below(slopes: Array, slope: Real) -> Whole:
    """The first row whose slope is below `slope`; slopes fall from row to row."""
    low, high = 0, slopes.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if slopes[middle] >= slope:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def span(forward: Array, left: Array, lens: Array) -> tuple[Real, Real]:
    """Between which columns (not rounded) a convex shape of four corners lies; where it is around the eye, all."""
    planar, middle, scale = lens[0], lens[1], lens[2]
    if planar > 0:
        low, high, behind = 1e9, -1e9, 0
        for k in range(4):
            if forward[k] < 0.01:
                behind += 1
            else:
                tangent = left[k] / forward[k]
                low = min(low, tangent)
                high = max(high, tangent)
        if behind == 4:
            return 0.0, -1.0
        if behind > 0:
            return 0.0, 1e6
        return middle - high * scale, middle - low * scale
    x, y, reach = 0.0, 0.0, 0.0
    for k in range(4):
        x += forward[k] * 0.25
        y += left[k] * 0.25
    for k in range(4):
        reach = max(reach, (forward[k] - x) ** 2 + (left[k] - y) ** 2)
    if x * x + y * y <= reach * 1.01 + 1e-6:
        return 0.0, 1e6
    least, most = _ZERO, _ZERO
    for k in range(4):
        turn = angle_of(np.float32(x * left[k] - y * forward[k]), np.float32(x * forward[k] + y * left[k]))
        least = min(least, turn)
        most = max(most, turn)
    centre = angle_of(np.float32(y), np.float32(x))
    return middle - (centre + most) * scale, middle - (centre + least) * scale


@inlined
def part(first: Real, last: Real, lens: Array, width: Whole, turn: Whole) -> tuple[Whole, Whole]:
    """The columns a (included) to b of a span that was shifted by -1, 0 or 1 turns, some columns wide to each side."""
    shift = turn * lens[3]
    a = int(min(max(first + shift, 0.0), float(width)))
    b = int(min(max(last + shift + 2.0, 0.0), float(width)))
    return (a // EIGHT * EIGHT, min(width, (b + EIGHT - 1) // EIGHT * EIGHT)) if a < b else (a, b)


@inlined
def meet(
    near: Array, low: Array, high: Array, columns: Array, slots: Array, k: Whole, first: Whole, last: Whole, eye_z: Real
) -> None:
    """For each column the depth of a slot's near wall, and the slopes between which rays meet the box.

    Args:
        near: (boxes, W) float32, row k written.
        low, high: (W,) float32, written; where a column misses the box, low is above high.
    """
    cosine, sine = np.float32(slots[k, COSINE]), np.float32(slots[k, SINE])
    ahead, behind = (
        np.float32(slots[k, HALF_LENGTH] - slots[k, EYE_X]),
        np.float32(-slots[k, HALF_LENGTH] - slots[k, EYE_X]),
    )
    to_left, to_right = (
        np.float32(slots[k, HALF_WIDTH] - slots[k, EYE_Y]),
        np.float32(-slots[k, HALF_WIDTH] - slots[k, EYE_Y]),
    )
    up, down = np.float32(slots[k, TOP] - eye_z), np.float32(slots[k, UNDER] - eye_z)
    between = (up > _ZERO) & (down < _ZERO)
    for u in range(np.uint64(first), np.uint64(last)):
        along = _ONE / (cosine * columns[0, u] + sine * columns[1, u])
        across = _ONE / (cosine * columns[1, u] - sine * columns[0, u])
        a, b = behind * along, ahead * along
        c, d = to_right * across, to_left * across
        enter_x = a if a < b else b
        leave_x = b if a < b else a
        enter_y = c if c < d else d
        leave_y = d if c < d else c
        enter = enter_x if enter_x > enter_y else enter_y
        leave = leave_x if leave_x < leave_y else leave_y
        # Within the footprint no wall is seen from inside, but a roof below the eye is, down to straight below.
        outside = enter > _NEAREST
        begin = _ONE / enter if outside else _ALL
        end = _ONE / leave
        bottom = down * (end if down > _ZERO else begin)
        top = up * (end if up < _ZERO else begin)
        hit = (leave > enter) & (leave > _ZERO) & (outside | (not between))
        near[k, u] = enter
        low[u] = bottom if hit else _ALL
        high[u] = top if hit else -_ALL


@inlined
def fill(
    depth: Array, view: Whole, code: Array, near: Array, low: Array, high: Array, slopes: Array, k: Whole, first: Whole,
    last: Whole, top: Whole, bottom: Whole, cap: Real,
) -> None:  # fmt: skip
    """Rows `top` to `bottom` of slot k into the z-buffer, for the columns from first to last.

    Args:
        cap: height of the roof or underside that is seen, less that of the eye; 0 where none is.
    """
    # No branch and no choice of what is stored: of those the compiler makes masked stores, which some processors are
    # twenty times slower at.
    side, height = np.int32(2 * k), np.float32(cap)
    for v in range(np.uint64(top), np.uint64(bottom)):
        slope = slopes[v]
        plane = height / slope if height != 0 else -NONE
        for u in range(np.uint64(first), np.uint64(last)):
            enter, was, before = near[k, u], depth[view, v, u], code[v, u]
            d = max(enter, plane)
            here = d if (slope >= low[u]) & (slope < high[u]) else NONE
            depth[view, v, u] = min(was, here)
            what = np.int32(side + np.int32(plane > enter))
            code[v, u] = np.int32(before + np.int32(np.int32(what - before) * np.int32(here < was)))


@inlined
def bounds(low: Array, high: Array, first: Whole, last: Whole) -> tuple[Real, Real]:
    """The least of `low` and the largest of `high`."""
    least, most = low[first], high[first]
    for u in range(np.uint64(first), np.uint64(last)):
        least = low[u] if low[u] < least else least
        most = high[u] if high[u] > most else most
    return least, most


@leaf
def place(
    slots: Array, owner: Array, eyes: Array, view: Whole, ego: Whole, w: Whole, x: Array, y: Array, z0: Array, yaw:
    Array, length: Array, width: Array, height: Array, alive: Array, reach: Real, behind: Real,
) -> Whole:  # fmt: skip
    """Turns world w's boxes within `reach` into the sensor's frame; returns how many slots were filled.

    What lies behind the sensor, and by more than `behind` for each metre of the box's height, is passed over.

    Args:
        slots: (boxes, SLOT_FIELDS) float64, written.
        owner: (boxes,) int32, written: each slot's box.
        eyes: (V, 4), x, y, z in m and yaw in rad of the sensor in row `view`.
        ego: the box that carries the sensor, or -1. It comes first, so that slot 0 can be passed over.
    """
    count = 0
    cosine, sine = math.cos(eyes[view, 3]), math.sin(eyes[view, 3])
    for k in range(-1, x.shape[1]):
        b = ego if k == -1 else k
        if b < 0 or (k == ego) or not alive[w, b]:
            continue
        to_x, to_y = np.float64(x[w, b]) - eyes[view, 0], np.float64(y[w, b]) - eyes[view, 1]
        half_length, half_width = np.float64(length[w, b]) * 0.5, np.float64(width[w, b]) * 0.5
        radius = half_length + half_width
        if to_x * to_x + to_y * to_y > (reach + radius) ** 2:
            continue
        forward, left = cosine * to_x + sine * to_y, cosine * to_y - sine * to_x
        over = np.float64(z0[w, b]) + np.float64(height[w, b])
        if forward + radius + 1.0 + behind * over < 0 and k >= 0:
            continue
        turn = np.float64(yaw[w, b]) - eyes[view, 3]
        c, s = math.cos(turn), math.sin(turn)
        slots[count, FORWARD], slots[count, LEFT], slots[count, COSINE], slots[count, SINE] = forward, left, c, s
        slots[count, HALF_LENGTH], slots[count, HALF_WIDTH] = half_length, half_width
        slots[count, UNDER], slots[count, TOP] = z0[w, b], over
        slots[count, EYE_X], slots[count, EYE_Y] = -(c * forward + s * left), s * forward - c * left
        owner[count] = b
        count += 1
    return count


@inlined
def corners(forward: Array, left: Array, slots: Array, k: Whole) -> None:
    """The four corners of a slot's footprint."""
    c, s = slots[k, COSINE], slots[k, SINE]
    for corner in range(4):
        along = slots[k, HALF_LENGTH] if corner & 1 else -slots[k, HALF_LENGTH]
        across = slots[k, HALF_WIDTH] if corner & 2 else -slots[k, HALF_WIDTH]
        forward[corner] = slots[k, FORWARD] + c * along - s * across
        left[corner] = slots[k, LEFT] + s * along + c * across


@inlined
def behind_boxes(slope: Real, eye_z: Real) -> Real:
    """Depth of a row of ground or sky. What is nearer is a box: only there codes have a meaning."""
    return np.float32(-eye_z / np.float64(slope)) if slope < 0 else NONE


@leaf
def cast_ground(depth: Array, view: Whole, reach: Array, slopes: Array, eye_z: Real) -> None:
    """Ground below the horizon, sky above it, no boxes yet."""
    width = depth.shape[2]
    for v in range(depth.shape[1]):
        reach[0, v], reach[1, v] = width, 0
        away = behind_boxes(slopes[v], eye_z)
        for u in range(np.uint64(width)):
            depth[view, v, u] = away


@leaf
def cast_shadows(
    sweeps: Array, slots: Array, count: Whole, slopes: Array, lens: Array, width: Whole, eye_z: Real, sun_x: Real,
    sun_y: Real, margin: Real, reach: Real, highest: Real,
) -> Whole:  # fmt: skip
    """Where a camera may see the shadows of slots on the ground; returns how many there are.

    A shadow is the footprint swept by as much as the sun shifts the underside and the top: a hexagon, which is what
    three slabs have in common, two along the footprint's sides and one along the sweep.

    Args:
        sweeps: (boxes, SWEEP_FIELDS) float64, written: the rows from TOP_ROW to END_ROW that a shadow may be seen in,
            and of each slab its two sides, the forward part of its normal, and the inverse of the left part.
        sun_x, sun_y: what a shadow is shifted by for each metre of height, in the sensor's frame.
        margin: by how much a shadow is wider than what casts it, in m.
        reach: how far from the sensor boxes cast shadows, in m.
        highest: what stands higher above the ground casts none, in m.
    """
    found, height = 0, slopes.shape[0]
    horizon = first_below(slopes, _ZERO)
    to_left, to_right = lens[1] / lens[2], (lens[1] - (width - 1)) / lens[2]
    for k in range(count):
        forward, left = slots[k, FORWARD], slots[k, LEFT]
        if forward * forward + left * left > reach * reach or slots[k, UNDER] > highest:
            continue
        cosine, sine, under, over = slots[k, COSINE], slots[k, SINE], slots[k, UNDER], slots[k, TOP]
        half_length, half_width = slots[k, HALF_LENGTH] + margin, slots[k, HALF_WIDTH] + margin
        x, y = forward + sun_x * (under + over) / 2, left + sun_y * (under + over) / 2
        sweep_x, sweep_y = sun_x * (over - under), sun_y * (over - under)
        half_x = abs(cosine) * half_length + abs(sine) * half_width + abs(sweep_x) / 2
        half_y = abs(sine) * half_length + abs(cosine) * half_width + abs(sweep_y) / 2
        far, close = x + half_x, x - half_x
        if far < 0.01 or y - half_y > far * to_left or y + half_y < far * to_right:
            continue
        sweeps[found, TOP_ROW] = max(horizon, first_below(slopes, -eye_z / far) - 1)
        sweeps[found, END_ROW] = height if close < 0.01 else min(height, first_below(slopes, -eye_z / close) + 1)
        length = math.sqrt(sweep_x * sweep_x + sweep_y * sweep_y)
        # Without a sweep the third slab is as wide as the world.
        normal_x, normal_y, half = 1.0, 0.0, 1e9
        if length > 1e-6:
            normal_x, normal_y = -sweep_y / length, sweep_x / length
            half = half_length * abs(cosine * normal_x + sine * normal_y)
            half += half_width * abs(cosine * normal_y - sine * normal_x)
        half_length += abs(cosine * sweep_x + sine * sweep_y) / 2
        half_width += abs(cosine * sweep_y - sine * sweep_x) / 2
        slab(sweeps, found, _SLAB_1, cosine, sine, x, y, half_length)
        slab(sweeps, found, _SLAB_2, -sine, cosine, x, y, half_width)
        slab(sweeps, found, _SLAB_3, normal_x, normal_y, x, y, half)
        found += 1
    return found


@inlined
def slab(sweeps: Array, k: Whole, at: Whole, normal_x: Real, normal_y: Real, x: Real, y: Real, half: Real) -> None:
    """One slab of a shadow, around (x, y), into four fields from `at` on."""
    middle = normal_x * x + normal_y * y
    sweeps[k, at], sweeps[k, at + 1], sweeps[k, at + 2] = middle - half, middle + half, normal_x
    sweeps[k, at + 3] = 1.0 / (normal_y if abs(normal_y) > 1e-9 else 1e-9)


@inlined
def stretch(low: Real, high: Real, lens: Array, width: Real) -> tuple[Whole, Whole]:
    """The columns from first to last that a row meets between two places, as shares of its distance to the left."""
    first = np.int64(min(max(np.ceil(lens[1] - high * lens[2]), 0.0), width))
    last = np.int64(min(max(np.ceil(lens[1] - low * lens[2]), 0.0), width))
    return first, last


@inlined
def darken(
    dark: Array, sweeps: Array, count: Whole, v: Whole, slope: Real, eye_z: Real, lens: Array, rim: Real, pale: Whole
) -> tuple[Whole, Whole]:
    """Which pixels of row v lie in shadows; returns between which columns, both 0 where none does.

    A row of pixels meets the ground in a line, and a shadow in one stretch of it: what three slabs leave.

    Args:
        dark: (W,) uint8, written where there is any: 255 in shadow, `pale` within `rim` (m) of its edge, else 0.
    """
    nearness, width = -np.float64(slope) / eye_z, np.float64(dark.shape[0])
    begin, end, edge, slabs = np.int64(0), np.int64(0), rim * nearness, 2 if rim > 0 else 3
    for k in range(count):
        if v < sweeps[k, TOP_ROW] or v >= sweeps[k, END_ROW]:
            continue
        low, high, low_within, high_within = -1e9, 1e9, -1e9, 1e9
        for n in range(slabs):  # without sun nothing is swept
            at = _SLAB_1 + 4 * n
            a = (sweeps[k, at] * nearness - sweeps[k, at + 2]) * sweeps[k, at + 3]
            b = (sweeps[k, at + 1] * nearness - sweeps[k, at + 2]) * sweeps[k, at + 3]
            low, high = max(low, min(a, b)), min(high, max(a, b))
            wide = edge * abs(sweeps[k, at + 3])
            low_within, high_within = max(low_within, min(a, b) + wide), min(high_within, max(a, b) - wide)
        first, last = stretch(low, high, lens, width)
        if first < last:
            if begin == end:
                for u in range(np.uint64(dark.shape[0])):
                    dark[u] = np.uint8(0)
            begin, end = min(begin, first) if begin < end else first, max(end, last)
            if rim > 0:
                for u in range(np.uint64(first), np.uint64(last)):
                    dark[u] = max(dark[u], pale)
                first, last = stretch(low_within, high_within, lens, width)
            for u in range(np.uint64(first), np.uint64(last)):
                dark[u] = np.uint8(255)
    return begin // EIGHT * EIGHT, min(dark.shape[0], (end + EIGHT - 1) // EIGHT * EIGHT)


@leaf
def cast_boxes(
    depth: Array, view: Whole, code: Array, reach: Array, near: Array, slots: Array, begin: Whole, count: Whole,
    columns: Array, slopes: Array, lens: Array, eye_z: Real, low: Array, high: Array, forward: Array, left: Array,
    spans: Array,
) -> None:  # fmt: skip
    """All slots from `begin` on into the z-buffer.

    Args:
        depth: (V, H, W) float32, written in `view`: distance along the ground ray (for a camera: along its axis).
        code: (H, W) int32, written where a box is seen: 2k for the wall of slot k, 2k + 1 for its roof or underside.
        reach: (2, H) int64, widened to the columns in which each row sees boxes.
        near: (boxes, W) float32, written: each slot's wall depth in the columns it covers.
        low, high: (W,) float32, scratch; forward, left: (4,) float64, scratch.
        spans: (boxes, 2) int32, written: the columns that each slot may cover (all between them where they wrap).
    """
    height, width = code.shape
    for k in range(begin, count):
        spans[k, 0], spans[k, 1] = width, 0
        if lens[0] > 0 and slots[k, FORWARD] + slots[k, HALF_LENGTH] + slots[k, HALF_WIDTH] < 0.01:
            continue
        corners(forward, left, slots, k)
        first, last = span(forward, left, lens)
        up, down = slots[k, TOP] - eye_z, slots[k, UNDER] - eye_z
        cap = up if up < 0 else (down if down > 0 else 0.0)
        for turn in range(-1, 2):
            a, b = part(first, last, lens, width, turn)
            if a >= b:
                continue
            meet(near, low, high, columns, slots, k, a, b, eye_z)
            least, most = bounds(low, high, a, b)
            top, bottom = max(0, first_below(slopes, most) - 1), min(height, first_below(slopes, least))
            if top < bottom:
                fill(depth, view, code, near, low, high, slopes, k, a, b, top, bottom, cap)
                for v in range(top, bottom):
                    reach[0, v], reach[1, v] = min(reach[0, v], a), max(reach[1, v], b)
                spans[k, 0], spans[k, 1] = min(spans[k, 0], a), max(spans[k, 1], b)
