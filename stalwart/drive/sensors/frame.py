"""A camera's frames: cast, find the texels, light them. Views (worlds times cameras) are shared out among threads."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, free_kernel, leaf, part
from stalwart.drive.sensors import cast, falling, ground, pixels, shading, styles, surface
from stalwart.drive.sensors.records import Boxes, Dress, Land, Out, Rays, Row, Slots, new_row, new_slots
from stalwart.drive.threads import share

SKY_LAYERS = 8
"""Layers side by side that make up one style's sky, all the way around."""
SKY_FINE = 0.7
"""The sky's texels may be a little shorter than a pixel: it is smooth, and so are its edges in small pictures."""
SHADOW_REACH_M = 90.0
RIM_M, PALE_M, LIES_M = 0.6, 0.4, 1.0
"""Without sun: how far the dark below a body reaches beyond it, how much of that is a paler rim, and how high above the
ground what casts such a shadow may lie."""
_PALE = np.uint8(120)
REACH_M = 1000.0
"""How far boxes are seen."""
GROUND_TILE_M = 8.0
"""The ground's textures repeat after so many metres."""
# A plain number is a type of its own, for which a kernel would be compiled once more.
_HERE, _BELOW, _MIDDLE, _HALF = (np.int64(n) for n in (ground.HERE, ground.BELOW, ground.MIDDLE, ground.HALF))
_FIRST, _TERRAIN = np.int64(0), np.int64(ground.TERRAIN)
_PLAIN = np.uint16(shading.UNIT)
_AT_ONCE: Whole = np.bool_(True)
_BEND, _TALL = styles.SKY_BEND, 1 + styles.SKY_BEND


@leaf
def cast_view(
    depth: Array, view: Whole, w: Whole, boxes: Boxes, style: Array, sun_x: Real, sun_y: Real, rays: Rays, s: Slots
) -> tuple[Whole, Whole, Whole]:
    """Depth and codes of one view; returns the first slot seen, and how many slots and shadows there are."""
    eye_z, ego = rays.eyes[view, 2], rays.ego[w]
    sunny = style[styles.SUN] > 0
    stretch = np.float64(style[styles.COTANGENT]) if sunny else 0.0
    count = cast.place(
        s.slots, s.owner, rays.eyes, view, ego, w, boxes.x, boxes.y, boxes.z0, boxes.yaw, boxes.length, boxes.width,
        boxes.height, boxes.alive, REACH_M, stretch,
    )  # fmt: skip
    begin = 1 if ego >= 0 and boxes.alive[w, ego] else 0
    cast.cast_ground(depth, view, s.reach, rays.slopes, eye_z)
    margin, highest = (0.0, REACH_M) if sunny else (RIM_M, LIES_M)
    shadows = cast.cast_shadows(
        s.sweeps, s.slots, count, rays.slopes, rays.lens, depth.shape[2], eye_z, -sun_x * stretch, -sun_y * stretch,
        margin, SHADOW_REACH_M, highest,
    )  # fmt: skip
    cast.cast_boxes(
        depth, view, s.code, s.reach, s.near, s.slots, begin, count, rays.columns, rays.slopes, rays.lens, eye_z, s.low,
        s.high, s.forward, s.left, s.spans,
    )  # fmt: skip
    return begin, count, shadows


@leaf
def dress_view(
    begin: Whole, count: Whole, w: Whole, camera: Whole, boxes: Boxes, style: Array, sun_x: Real, sun_y: Real, eye_z:
    Real, rays: Rays, dress: Dress, s: Slots, slope_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """Texel columns and light of every wall that one view may see."""
    pixels.wear_slots(
        s.wear, s.numbers, s.tints, s.slots, s.owner, begin, count, w, boxes.kind, boxes.instance, boxes.tint, style,
        sun_x, sun_y, eye_z,
    )  # fmt: skip
    snow = 1 if style[styles.SNOW] > 0 else 0
    for k in range(begin, count):
        first, last = s.spans[k, 0], s.spans[k, 1]
        if first >= last:
            continue
        suit = min(np.int64(boxes.skin[w, s.owner[k]]), dress.layers.shape[0] - 1)
        surface.dress(
            s.wear, s.numbers, s.walls, s.faces, s.slots, k, s.near, rays.columns, rays.steps, first, last,
            dress.layers, snow, dress.tiles, dress.mirrored, suit, eye_z, slope_step, bits,
        )  # fmt: skip
        shading.light_walls(
            s.gains, s.biases, s.lights, s.tints, k, style, s.near, s.faces, s.wear, rays.beams, camera, first, last
        )


@leaf
def aim(
    view: Whole, azimuth: Real, sky: Whole, map_: Whole, snow: Whole, per_metre: Real, column_step: Real, land: Land,
    rays: Rays, dress: Dress, t: Row, bits: Whole,
) -> None:  # fmt: skip
    """Where the columns of one view point to: in the sky and on the ground's raster; what the ground wears."""
    around = SKY_LAYERS << bits
    # In int32, and of less than two turns, so that many go through one instruction.
    per, ahead, last, one = around / (2 * math.pi), rays.eyes[view, 3] - azimuth, np.int32(around - 1), np.int32(bits)
    layer, within = np.int32(2 * bits + 2), np.int32((1 << bits) - 1)
    level = np.int32(surface.level_of(SKY_FINE * column_step * per, bits) & 31)
    begins = np.int32((2 << bits) - ((2 << bits) >> level))
    ahead -= np.floor(ahead / (2 * math.pi)) * (2 * math.pi)
    for u in range(np.uint64(t.sky.shape[0])):
        column = np.int32(np.int32(np.floor((ahead + rays.azimuths[u]) * per)) & last)
        place = np.int32(begins + np.int32(np.int32(column & within) >> level))
        t.sky[u] = np.int32(np.int32(np.int32(sky + np.int32(column >> one)) << layer) + place)
    cosine, sine = math.cos(rays.eyes[view, 3]) * per_metre, math.sin(rays.eyes[view, 3]) * per_metre
    t.aim[0] = (rays.eyes[view, 0] - land.origin[map_, 0]) * per_metre
    t.aim[1] = (rays.eyes[view, 1] - land.origin[map_, 1]) * per_metre
    t.aim[2] = cosine * rays.columns[0, 0] - sine * rays.columns[1, 0]
    t.aim[3] = sine * rays.columns[0, 0] + cosine * rays.columns[1, 0]
    t.aim[4] = cosine * rays.steps[0, 0] - sine * rays.steps[1, 0]
    t.aim[5] = sine * rays.steps[0, 0] + cosine * rays.steps[1, 0]
    for kind in range(16):
        under = ground.ROAD if kind >= 8 else kind
        t.layers[0, kind] = np.uint32(dress.ground[snow, kind]) << np.uint32(2 * bits + 2)
        t.layers[1, kind] = np.uint32(dress.ground[snow, under]) << np.uint32(2 * bits + 2)


@part
def sky_row(slope: Real, slope_step: Real, bits: Whole) -> Whole:
    """Where in a layer of the sky the texels of a row begin; heights as in `surroundings.height_in_sky`."""
    size, near = np.int64(1) << bits, np.float64(slope) + _BEND
    row = size - 1 - min(np.int64(_TALL * np.float64(slope) / near * size), size - 1)
    level = np.int64(surface.level_of(SKY_FINE * slope_step * (_TALL * _BEND) / (near * near) * size, bits))
    return np.int64((2 * size - (2 * size >> level) + (row >> level)) << (bits + 1))


@part
def ground_row(
    v: Whole, away: Real, below: Real, level: Whole, texture_level: Whole, first: bool, per_metre: Real, raster: Array,
    shape: Array, paint: Array, paint_table: Array, map_: Whole, bank: Array, bits: Whole, texel: Array, places: Array,
    textures: Array, kinds: Array, painted: Array, seen: Array, eights: Array, layers: Array, aim: Array,
) -> None:  # fmt: skip
    """Classes and texels of the ground in row v.

    Args:
        away, below: depths of the row's middle and of its lower edge, in m.
        level: of the paint's pyramid, 0 for the raster's own squares.
        first: whether it is the first row below the horizon.
    """
    spare = np.int64(32)
    while (max(shape[0], shape[1]) >> (32 - spare)) > 0:  # bits left for the fraction of a square
        spare -= 1
    before, after = _HALF + (v & 1), _HALF + 1 - (v & 1)
    tiles = (shape[1] + 7) >> 3
    ground.touch(kinds, _HERE, places, raster, map_, away, aim, spare, _FIRST, _FIRST, tiles, shape, _TERRAIN)
    if level == 0:
        ground.touch(kinds, _BELOW, places, raster, map_, below, aim, spare, _FIRST, _FIRST, tiles, shape, _TERRAIN)
        ground.paint_of(painted, _MIDDLE, kinds, _HERE)
        ground.paint_of(painted, after, kinds, _BELOW)
    else:
        start, tiles = paint_table[level - 1, 0], paint_table[level - 1, 1]
        ground.touch(painted, _MIDDLE, places, paint, map_, away, aim, spare, level, start, tiles, shape, _FIRST)
        ground.touch(painted, after, places, paint, map_, below, aim, spare, level, start, tiles, shape, _FIRST)
    mixed = ground.share_paint(seen, painted, _MIDDLE if first else before, after)
    metre = 1.0 / (per_metre * GROUND_TILE_M)
    x, y = (aim[0] + aim[2] * away) * metre, (aim[1] + aim[3] * away) * metre
    step_x, step_y = aim[4] * away * metre, aim[5] * away * metre
    whole = np.int64(32)
    ground.texture_places(
        textures, ground.point(x, whole), ground.point(y, whole), ground.point(step_x, whole),
        ground.point(step_y, whole), np.uint32(bits - texture_level),
        np.uint32((2 << bits) - ((2 << bits) >> texture_level)), np.uint32(bits + 1),
    )  # fmt: skip
    ground.texels(texel, kinds, seen, eights, textures, layers, bank, mixed)


@leaf
def light_rows(style: Array, eye_z: Real, slopes: Array, t: Row) -> None:
    """The light on every row of ground, which is the same in all views of one style and eye height."""
    for v in range(slopes.shape[0]):
        if slopes[v] < 0:
            away = np.float32(min(-eye_z / np.float64(slopes[v]), ground.FURTHEST_M))
            shading.mirrored_sky(t.reflected, style, slopes[v])
            t.kept[v] = shading.light_ground(t.light, v, style, away, slopes[v], t.reflected)


@leaf
def colour_rows(
    view: Whole, camera: Whole, map_: Whole, per_metre: Real, eye_z: Real, style: Array, shadows: Whole, slope_step:
    Real, column_step: Real, bits: Whole, out: Out, land: Land, rays: Rays, dress: Dress, s: Slots, t: Row,
) -> None:  # fmt: skip
    """All rows of one view."""
    height, width = s.code.shape
    texels = (1 << bits) / GROUND_TILE_M
    lamps, falls = style[styles.LAMPS] > 0, style[styles.DROPS] > 0
    rim = 0.0 if style[styles.SUN] > 0 else PALE_M
    wanted = out.texels.shape[1] > 0
    first = _AT_ONCE
    for v in range(height):
        slope, boxes, even = rays.slopes[v], s.reach[0, v] < s.reach[1, v], False
        begin, end = _FIRST, _FIRST
        plain = slope >= 0 and not (boxes or falls or wanted)
        for u in range(np.uint64(width)):
            out.instance[view, v, u] = np.uint16(0)
        if slope >= 0:
            at = sky_row(slope, slope_step, bits)
            for u in range(np.uint64(width)):
                t.texel[u] = dress.bank[np.uint64(t.sky[u] + at)]
            for u in range(np.uint64(width)):
                out.kind[view, v, u] = np.uint8(0)
            if wanted:
                for u in range(width):
                    spot = t.sky[u] + at
                    out.texels[view, v, u, 0], out.texels[view, v, u, 1], out.texels[view, v, u, 2] = spot, spot, 0
            if not plain:
                for n in range(np.uint64(4 * width)):
                    t.gain[0, n] = _PLAIN
                for n in range(np.uint64(4 * width)):
                    t.bias[0, n] = np.uint16(0)
        else:
            ray = min(-eye_z / np.float64(slope), ground.FURTHEST_M)
            below = min(-eye_z / (np.float64(slope) - 0.5 * slope_step), ground.FURTHEST_M)
            across, along = ray * column_step, ray * min(slope_step / -np.float64(slope), 1e6)
            level = surface.level_of(0.75 * across * per_metre, land.paint_table.shape[0])
            texture_level = surface.level_of(max(across, 0.5 * along) * texels, bits)
            ground_row(
                v, ray, below, level, texture_level, first, per_metre, land.raster, land.shape, land.paint,
                land.paint_table, map_, dress.bank, bits, t.texel, t.places, t.textures, t.kinds, t.paint, t.seen,
                t.eights, t.layers, t.aim,
            )  # fmt: skip
            first = False
            for u in range(np.uint64(width)):
                out.kind[view, v, u] = t.kinds[_HERE, u]
            if wanted:
                ground.keep_texels(out.texels, view, v, t.kinds, t.seen, t.textures, t.layers)
            begin, end = cast.darken(s.dark, s.sweeps, shadows, v, slope, eye_z, rays.lens, rim, _PALE)
            even = not (boxes or falls or wanted or lamps)
            if not even:
                shading.spread(t.gain, t.bias, t.light, v, s.dark, begin, end)
            if lamps:
                shading.lamps_on_ground(t.gain, style, np.float32(ray), t.kept[v], rays.beams, camera)
        if boxes:
            pixels.see_boxes(
                t.texel, t.gain, t.bias, out.kind, out.instance, out.texels, out.depth, view, v, s.reach[0, v],
                s.reach[1, v], s.code, s.walls, s.faces, s.gains, s.biases, s.slots, s.wear, s.numbers, s.tints,
                rays.columns, style, rays.beams, camera, slope, slope_step, column_step, dress.bank, bits, t.spots,
                t.marks, cast.behind_boxes(slope, eye_z),
            )  # fmt: skip
        if falls:
            falling.through(t.gain, t.bias, s.veil, style, v)
        if plain:
            shading.part_channels(out.rgb, view, v, t.texel)
        elif even:
            shading.blend_evenly(out.rgb, view, v, t.texel, t.light)
            shading.blend_shaded(out.rgb, view, v, t.texel, t.light, s.dark, begin, end)
        else:
            shading.blend(out.rgb, view, v, t.texel, t.gain, t.bias)
        if wanted:
            shading.keep_light(out.gain, out.bias, view, v, t.gain, t.bias)


@part
def see_view(
    view: Whole, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real,
    slope_step: Real, column_step: Real, bits: Whole, s: Slots, t: Row,
) -> None:  # fmt: skip
    """One view, see `see_views`; `s` and `t` are scratch, and `t.lit` says which light `t` holds from a view before."""
    worlds, per_metre = boxes.x.shape[0], 1.0 / metres_per_square
    w, camera = view % worlds, view // worlds
    number, map_, eye_z = np.int64(land.style[w]), land.map_of_world[w], rays.eyes[view, 2]
    turn = np.float64(land.sun_azimuth[w]) - rays.eyes[view, 3]
    sun_x, sun_y = math.cos(turn), math.sin(turn)
    if number != t.lit[0] or eye_z != t.lit[1]:
        t.lit[0], t.lit[1] = number, eye_z
        for field in range(t.style.shape[0]):
            t.style[field] = land.styles[number, field]
        light_rows(t.style, eye_z, rays.slopes, t)
    begin, count, shadows = cast_view(out.depth, view, w, boxes, t.style, sun_x, sun_y, rays, s)
    dress_view(begin, count, w, camera, boxes, t.style, sun_x, sun_y, eye_z, rays, dress, s, slope_step, bits)
    snow = 1 if t.style[styles.SNOW] > 0 else 0
    sky = np.int32(dress.skies[number])
    aim(view, land.sun_azimuth[w], sky, map_, snow, per_metre, column_step, land, rays, dress, t, bits)
    if t.style[styles.DROPS] > 0:
        falling.fall(s.veil, t.style, rays.keys[view])
    colour_rows(
        view, camera, map_, per_metre, eye_z, t.style, shadows, slope_step, column_step, bits, out, land, rays, dress,
        s, t,
    )  # fmt: skip


@leaf
def colour_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real,
    slope_step: Real, column_step: Real, bits: Whole, s: Slots, t: Row,
) -> None:  # fmt: skip
    """`see_views` as a leaf, so that arrays taken out of bundles are not counted: that took a sixteenth of the time."""
    t.lit[0] = -1.0
    for view in range(first, last):
        see_view(view, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits, s, t)


@free_kernel
def see_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real,
    slope_step: Real, column_step: Real, bits: Whole, s: Slots, t: Row,
) -> None:  # fmt: skip
    """The views from first to last; view c * worlds + w is camera c of world w."""
    colour_views(first, last, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits, s, t)


def frames(
    boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real, slope_step: Real,
    column_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """All views; the textures' size is 2**bits."""

    def work(first: int, last: int) -> None:
        height, width = out.depth.shape[1:]
        eights = np.zeros((2, -(-width // 8)), np.uint64)
        slots = new_slots(boxes.x.shape[1], height, width, np.empty)
        row = new_row(height, width, np.empty, eights, eights.view(np.uint8))
        see_views(
            first, last, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits, slots, row
        )

    share(work, len(out.depth))
