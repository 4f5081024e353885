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

SKY, GROUND, SHADED = -1, -2, -3
"""Codes of what no box covers. The wall of the box in slot k has code 2k, its roof or underside 2k + 1."""

NONE, _ZERO, _ONE, _HALF = np.float32(np.inf), np.float32(0), np.float32(1), np.float32(0.5)
_NEAREST, _ALL = np.float32(1e-9), np.float32(1e9)
EIGHT = 8
"""Columns that go through one instruction: spans begin and end at multiples of it, so that few are left over."""

# A slot holds one box as this fan sees it: forward and left of the sensor, turned against it.
FORWARD, LEFT, COSINE, SINE, HALF_LENGTH, HALF_WIDTH, UNDER, TOP, EYE_X, EYE_Y = range(10)
SLOT_FIELDS = 10
_FIRST, _FOUR, _EIGHT = np.int64(0), np.int64(4), np.int64(8)
"""Plain numbers as arguments would be types of their own, for each of which a kernel is compiled once more."""


@leaf
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


@leaf
def span(forward: Array, left: Array, count: Whole, lens: Array) -> tuple[Real, Real]:
    """Between which columns (not rounded) a convex shape with these corners lies; where it is around the eye, all."""
    planar, middle, scale = lens[0], lens[1], lens[2]
    if planar > 0:
        low, high, behind = 1e9, -1e9, 0
        for k in range(count):
            if forward[k] < 0.01:
                behind += 1
            else:
                tangent = left[k] / forward[k]
                low = min(low, tangent)
                high = max(high, tangent)
        if behind == count:
            return 0.0, -1.0
        if behind > 0:
            return 0.0, 1e6
        return middle - high * scale, middle - low * scale
    x, y, reach = 0.0, 0.0, 0.0
    for k in range(count):
        x += forward[k] / count
        y += left[k] / count
    for k in range(count):
        reach = max(reach, (forward[k] - x) ** 2 + (left[k] - y) ** 2)
    if x * x + y * y <= reach * 1.01 + 1e-6:
        return 0.0, 1e6
    low, high = 0.0, 0.0
    for k in range(count):
        turn = math.atan2(x * left[k] - y * forward[k], x * forward[k] + y * left[k])
        low = min(low, turn)
        high = max(high, turn)
    centre = math.atan2(y, x)
    return middle - (centre + high) * scale, middle - (centre + low) * scale


@leaf
def part(first: Real, last: Real, lens: Array, width: Whole, turn: Whole) -> tuple[Whole, Whole]:
    """The columns a (included) to b of a span that was shifted by -1, 0 or 1 turns, some columns wide to each side."""
    shift = turn * lens[3]
    a = int(min(max(first + shift, 0.0), float(width)))
    b = int(min(max(last + shift + 2.0, 0.0), float(width)))
    return (a // EIGHT * EIGHT, min(width, (b + EIGHT - 1) // EIGHT * EIGHT)) if a < b else (a, b)


@leaf
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


@leaf
def fill(
    depth: Array,
    code: Array,
    near: Array,
    low: Array,
    high: Array,
    slopes: Array,
    k: Whole,
    first: Whole,
    last: Whole,
    top: Whole,
    bottom: Whole,
    cap: Real,
) -> None:
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
            enter, was, before = near[k, u], depth[v, u], code[v, u]
            d = max(enter, plane)
            here = d if (slope >= low[u]) & (slope < high[u]) else NONE
            depth[v, u] = min(was, here)
            what = np.int32(side + np.int32(plane > enter))
            code[v, u] = np.int32(before + np.int32(np.int32(what - before) * np.int32(here < was)))


@leaf
def meet_shadow(
    low: Array, high: Array, columns: Array, slots: Array, k: Whole, sun_x: Real, sun_y: Real, margin: Real,
    first: Whole, last: Whole, eye_z: Real,
) -> None:  # fmt: skip
    """For each column the slopes between which rays meet a slot's shadow on the ground.

    The shadow is the footprint swept by as much as the sun shifts the underside and the top: a hexagon, which is what
    three slabs have in common, two along the footprint's sides and one along the sweep.
    """
    cosine, sine, under, over = slots[k, COSINE], slots[k, SINE], slots[k, UNDER], slots[k, TOP]
    x, y = slots[k, FORWARD] + sun_x * (under + over) / 2, slots[k, LEFT] + sun_y * (under + over) / 2
    sweep_x, sweep_y = sun_x * (over - under), sun_y * (over - under)
    length = math.sqrt(sweep_x * sweep_x + sweep_y * sweep_y)
    half_length, half_width = slots[k, HALF_LENGTH] + margin, slots[k, HALF_WIDTH] + margin
    half_1 = half_length + abs(cosine * sweep_x + sine * sweep_y) / 2
    half_2 = half_width + abs(cosine * sweep_y - sine * sweep_x) / 2
    middle_1, middle_2 = cosine * x + sine * y, cosine * y - sine * x
    # Without a sweep the third slab is as wide as the world.
    normal_x, normal_y, half_3 = 1.0, 0.0, 1e9
    if length > 1e-6:
        normal_x, normal_y = -sweep_y / length, sweep_x / length
        half_3 = half_length * abs(cosine * normal_x + sine * normal_y)
        half_3 += half_width * abs(cosine * normal_y - sine * normal_x)
    middle_3 = normal_x * x + normal_y * y
    # Along the slabs' three normals: their middles and halves, and how the columns' rays go.
    c_1, s_1, c_3, s_3 = np.float32(cosine), np.float32(sine), np.float32(normal_x), np.float32(normal_y)
    from_1, to_1 = np.float32(middle_1 - half_1), np.float32(middle_1 + half_1)
    from_2, to_2 = np.float32(middle_2 - half_2), np.float32(middle_2 + half_2)
    from_3, to_3 = np.float32(middle_3 - half_3), np.float32(middle_3 + half_3)
    eye = np.float32(-eye_z)
    for u in range(np.uint64(first), np.uint64(last)):
        rate_1 = _ONE / (c_1 * columns[0, u] + s_1 * columns[1, u])
        rate_2 = _ONE / (c_1 * columns[1, u] - s_1 * columns[0, u])
        rate_3 = _ONE / (c_3 * columns[0, u] + s_3 * columns[1, u])
        a, b = from_1 * rate_1, to_1 * rate_1
        c, d = from_2 * rate_2, to_2 * rate_2
        e, f = from_3 * rate_3, to_3 * rate_3
        enter = max(max(min(a, b), min(c, d)), min(e, f))
        leave = min(min(max(a, b), max(c, d)), max(e, f))
        hit = (leave > enter) & (leave > _ZERO)
        bottom = eye / enter if enter > _NEAREST else -_ALL
        low[u] = bottom if hit else _ALL
        high[u] = eye / leave if hit else -_ALL


@leaf
def shade(
    code: Array, low: Array, high: Array, slopes: Array, first: Whole, last: Whole, top: Whole, bottom: Whole
) -> None:
    """Rows `top` to `bottom` of one shadow, on ground that no box covers yet."""
    shaded = np.int32(SHADED)
    for v in range(np.uint64(top), np.uint64(bottom)):
        slope = slopes[v]
        for u in range(np.uint64(first), np.uint64(last)):
            before, hit = code[v, u], np.int32((slope >= low[u]) & (slope < high[u]))
            code[v, u] = np.int32(before + np.int32(np.int32(shaded - before) * hit))


@leaf
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
    Array, length: Array, width: Array, height: Array, alive: Array, reach: Real,
) -> Whole:  # fmt: skip
    """Turns world w's boxes within `reach` into the sensor's frame; returns how many slots were filled.

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
        turn = np.float64(yaw[w, b]) - eyes[view, 3]
        c, s = math.cos(turn), math.sin(turn)
        forward, left = cosine * to_x + sine * to_y, cosine * to_y - sine * to_x
        slots[count, FORWARD], slots[count, LEFT], slots[count, COSINE], slots[count, SINE] = forward, left, c, s
        slots[count, HALF_LENGTH], slots[count, HALF_WIDTH] = half_length, half_width
        slots[count, UNDER], slots[count, TOP] = z0[w, b], np.float64(z0[w, b]) + np.float64(height[w, b])
        slots[count, EYE_X], slots[count, EYE_Y] = -(c * forward + s * left), s * forward - c * left
        owner[count] = b
        count += 1
    return count


@leaf
def corners(
    forward: Array, left: Array, slots: Array, k: Whole, at: Whole, offset_x: Real, offset_y: Real, margin: Real
) -> None:
    """The four corners of a slot's footprint, from index `at` on."""
    c, s = slots[k, COSINE], slots[k, SINE]
    for corner in range(4):
        along = slots[k, HALF_LENGTH] + margin if corner & 1 else -slots[k, HALF_LENGTH] - margin
        across = slots[k, HALF_WIDTH] + margin if corner & 2 else -slots[k, HALF_WIDTH] - margin
        forward[at + corner] = slots[k, FORWARD] + offset_x + c * along - s * across
        left[at + corner] = slots[k, LEFT] + offset_y + s * along + c * across


@leaf
def cast_ground(depth: Array, code: Array, reach: Array, slopes: Array, eye_z: Real) -> None:
    """Ground below the horizon, sky above it, no boxes yet."""
    for v in range(depth.shape[0]):
        reach[0, v], reach[1, v] = depth.shape[1], 0
        slope = slopes[v]
        away = np.float32(-eye_z / slope) if slope < 0 else NONE
        what = np.int32(GROUND) if slope < 0 else np.int32(SKY)
        for u in range(depth.shape[1]):
            depth[v, u] = away
            code[v, u] = what


@leaf
def cast_shadows(
    code: Array, shady: Array, slots: Array, count: Whole, columns: Array, slopes: Array, lens: Array, eye_z: Real,
    sun_x: Real, sun_y: Real, margin: Real, reach: Real, low: Array, high: Array, forward: Array, left: Array,
) -> None:  # fmt: skip
    """Shadows of all slots on the ground.

    Args:
        shady: (H,) bool, written: the rows that may have shadows.
        sun_x, sun_y: what a shadow is shifted by for each metre of height, in the sensor's frame.
        margin: by how much a shadow is wider than what casts it, in m.
        reach: how far from the sensor boxes cast shadows, in m.
        low, high: (W,) float32, scratch; forward, left: (8,) float64, scratch.
    """
    height, width = code.shape
    horizon = first_below(slopes, np.float32(0.0))
    for v in range(height):
        shady[v] = False
    for k in range(count):
        if slots[k, FORWARD] ** 2 + slots[k, LEFT] ** 2 > reach * reach:
            continue
        under, top = slots[k, UNDER], slots[k, TOP]
        corners(forward, left, slots, k, _FIRST, sun_x * under, sun_y * under, margin)
        corners(forward, left, slots, k, _FOUR, sun_x * top, sun_y * top, margin)
        first, last = span(forward, left, _EIGHT, lens)
        for turn in range(-1, 2):
            a, b = part(first, last, lens, width, turn)
            if a >= b:
                continue
            meet_shadow(low, high, columns, slots, k, sun_x, sun_y, margin, a, b, eye_z)
            least, most = bounds(low, high, a, b)
            top_row, bottom_row = max(horizon, first_below(slopes, most) - 1), first_below(slopes, least)
            bottom_row = min(height, bottom_row)
            shade(code, low, high, slopes, a, b, top_row, bottom_row)
            for v in range(top_row, bottom_row):
                shady[v] = True


@leaf
def cast_boxes(
    depth: Array, code: Array, reach: Array, near: Array, slots: Array, begin: Whole, count: Whole, columns: Array,
    slopes: Array, lens: Array, eye_z: Real, low: Array, high: Array, forward: Array, left: Array, spans: Array,
) -> None:  # fmt: skip
    """All slots from `begin` on into the z-buffer.

    Args:
        depth: (H, W) float32, distance along the ground ray (for a camera: along its axis).
        code: (H, W) int32.
        reach: (2, H) int64, widened to the columns in which each row sees boxes.
        near: (boxes, W) float32, written: each slot's wall depth in the columns it covers.
        low, high: (W,) float32, scratch; forward, left: (8,) float64, scratch.
        spans: (boxes, 2) int32, written: the columns that each slot may cover (all between them where they wrap).
    """
    height, width = code.shape
    for k in range(begin, count):
        corners(forward, left, slots, k, _FIRST, 0.0, 0.0, 0.0)
        first, last = span(forward, left, _FOUR, lens)
        up, down = slots[k, TOP] - eye_z, slots[k, UNDER] - eye_z
        cap = up if up < 0 else (down if down > 0 else 0.0)
        spans[k, 0], spans[k, 1] = width, 0
        for turn in range(-1, 2):
            a, b = part(first, last, lens, width, turn)
            if a >= b:
                continue
            meet(near, low, high, columns, slots, k, a, b, eye_z)
            least, most = bounds(low, high, a, b)
            top, bottom = max(0, first_below(slopes, most) - 1), min(height, first_below(slopes, least))
            if top < bottom:
                fill(depth, code, near, low, high, slopes, k, a, b, top, bottom, cap)
                for v in range(top, bottom):
                    reach[0, v], reach[1, v] = min(reach[0, v], a), max(reach[1, v], b)
                spans[k, 0], spans[k, 1] = min(spans[k, 0], a), max(spans[k, 1], b)
