"""A camera's frames: cast, find the texels, light them. Views (worlds times cameras) are shared out among threads."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, free_kernel, kernel, leaf
from stalwart.drive.sensors import cast, falling, ground, pixels, shading, styles, surface
from stalwart.drive.sensors.records import Boxes, Dress, Land, Out, Rays, Row, Slots, new_row, new_slots
from stalwart.drive.threads import share

SKY_LAYERS = 8
"""Layers side by side that make up one style's sky, all the way around."""
SHADOW_REACH_M = 90.0
REACH_M = 1000.0
"""How far boxes are seen."""
GROUND_TILE_M = 8.0
"""The ground's textures repeat after so many metres."""
# A plain number is a type of its own, for which a kernel would be compiled once more.
_HERE, _BELOW, _MIDDLE, _HALF = (np.int64(n) for n in (ground.HERE, ground.BELOW, ground.MIDDLE, ground.HALF))
_FIRST, _TERRAIN = np.int64(0), np.int64(ground.TERRAIN)
_PLAIN = np.uint16(shading.UNIT)


@kernel
def cast_view(
    depth: Array, view: Whole, w: Whole, boxes: Boxes, style: Array, sun_x: Real, sun_y: Real, rays: Rays, s: Slots
) -> tuple[Whole, Whole]:
    """Depth and codes of one view; returns the first slot that is seen, and how many slots there are."""
    eye_z, ego = rays.eyes[view, 2], rays.ego[w]
    count = cast.place(
        s.slots, s.owner, rays.eyes, view, ego, w, boxes.x, boxes.y, boxes.z0, boxes.yaw, boxes.length, boxes.width,
        boxes.height, boxes.alive, REACH_M,
    )  # fmt: skip
    begin = 1 if ego >= 0 and boxes.alive[w, ego] else 0
    cast.cast_ground(depth, s.code, s.reach, rays.slopes, eye_z)
    sunny = style[styles.SUN] > 0
    stretch = style[styles.COTANGENT] if sunny else np.float32(0.0)
    margin = 0.0 if sunny else 0.25
    cast.cast_shadows(
        s.code, s.shady, s.slots, count, rays.columns, rays.slopes, rays.lens, eye_z, -sun_x * stretch,
        -sun_y * stretch, margin, SHADOW_REACH_M, s.low, s.high, s.forward, s.left,
    )  # fmt: skip
    cast.cast_boxes(
        depth, s.code, s.reach, s.near, s.slots, begin, count, rays.columns, rays.slopes, rays.lens, eye_z, s.low,
        s.high, s.forward, s.left, s.spans,
    )  # fmt: skip
    return begin, count


@kernel
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


@kernel
def aim(
    view: Whole, azimuth: Real, sky: Whole, map_: Whole, snow: Whole, per_metre: Real, land: Land, rays: Rays, dress:
    Dress, t: Row, bits: Whole,
) -> None:  # fmt: skip
    """Where the columns of one view point to: in the sky and on the ground's raster; what the ground wears."""
    around = SKY_LAYERS << bits
    for u in range(t.sky.shape[0]):
        turn = (rays.eyes[view, 3] + rays.azimuths[u] - azimuth) * around / (2 * math.pi)
        column = np.int64(math.floor(turn)) & (around - 1)
        t.sky[u] = ((sky + (column >> bits)) << (2 * bits + 2)) + (column & ((1 << bits) - 1))
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


@leaf
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
def colour_rows(
    view: Whole, camera: Whole, map_: Whole, per_metre: Real, eye_z: Real, style: Array, slope_step: Real,
    column_step: Real, bits: Whole, rgb: Array, depth: Array, kind: Array, instance: Array, index: Array, gain_out:
    Array, bias_out: Array, raster: Array, shape: Array, paint: Array, paint_table: Array, slopes: Array, columns:
    Array, beams: Array, bank: Array, code: Array, reach: Array, shady: Array, walls: Array, faces: Array, gains: Array,
    biases: Array, slots: Array, wear: Array, numbers: Array, tints: Array, veil:
    Array, texel: Array, places: Array, textures: Array, kinds: Array, painted:
    Array, seen: Array, eights: Array, gain: Array, bias: Array, light:
    Array, reflected: Array, sky: Array, layers: Array, aim: Array,
) -> None:  # fmt: skip
    """All rows of one view. Arrays come one by one: each that is taken from a bundle is counted."""
    height, width = code.shape
    texels = (1 << bits) / GROUND_TILE_M
    lamps, falls = style[styles.LAMPS] > 0, style[styles.DROPS] > 0
    wanted = index.shape[1] > 0
    first = True
    for v in range(height):
        slope, boxes = slopes[v], reach[0, v] < reach[1, v]
        plain = slope >= 0 and not (boxes or falls or wanted)
        for u in range(np.uint64(width)):
            instance[view, v, u] = np.uint16(0)
        if slope >= 0:
            row = (1 << bits) - 1 - min(np.int64(slope * (1 << bits)), (1 << bits) - 1)
            at = row << (bits + 1)
            for u in range(np.uint64(width)):
                texel[u] = bank[np.uint64(sky[u] + at)]
            for u in range(np.uint64(width)):
                kind[view, v, u] = np.uint8(0)
            if wanted:
                for u in range(width):
                    index[view, v, u, 0], index[view, v, u, 1], index[view, v, u, 2] = sky[u] + at, sky[u] + at, 0
            if not plain:
                for n in range(np.uint64(4 * width)):
                    gain[0, n] = _PLAIN
                for n in range(np.uint64(4 * width)):
                    bias[0, n] = np.uint16(0)
        else:
            ray = min(-eye_z / np.float64(slope), ground.FURTHEST_M)
            below = min(-eye_z / (np.float64(slope) - 0.5 * slope_step), ground.FURTHEST_M)
            across, along = ray * column_step, ray * min(slope_step / -np.float64(slope), 1e6)
            level = surface.level_of(0.75 * across * per_metre, paint_table.shape[0])
            texture_level = surface.level_of(max(across, 0.5 * along) * texels, bits)
            ground_row(
                v, ray, below, level, texture_level, first, per_metre, raster, shape, paint, paint_table, map_, bank,
                bits, texel, places, textures, kinds, painted, seen, eights, layers, aim,
            )  # fmt: skip
            first = False
            for u in range(np.uint64(width)):
                kind[view, v, u] = kinds[_HERE, u]
            if wanted:
                ground.keep_texels(index, view, v, kinds, seen, textures, layers)
            shading.mirrored_sky(reflected, style, slope)
            keep = shading.light_ground(light, style, np.float32(ray), slope, reflected)
            shading.spread(gain, bias, light, code, v, shady[v])
            if lamps:
                shading.lamps_on_ground(gain, style, np.float32(ray), keep, beams, camera)
        if boxes:
            pixels.see_boxes(
                texel, gain, bias, kind, instance, index, depth, view, v, reach[0, v], reach[1, v], code, walls, faces,
                gains, biases, slots, wear, numbers, tints, columns, style, beams, camera, slope, slope_step,
                column_step, bank, bits,
            )  # fmt: skip
        if falls:
            falling.through(gain, bias, veil, style, v)
        if plain:
            shading.part_channels(rgb, view, v, texel)
        else:
            shading.blend(rgb, view, v, texel, gain, bias)
        if wanted:
            shading.keep_light(gain_out, bias_out, view, v, gain, bias)


@free_kernel
def see_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real,
    slope_step: Real, column_step: Real, bits: Whole, s: Slots, t: Row,
) -> None:  # fmt: skip
    """The views from first to last; view c * worlds + w is camera c of world w."""
    for view in range(first, last):
        see_view(view, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits, s, t)


@kernel
def see_view(
    view: Whole, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real,
    slope_step: Real, column_step: Real, bits: Whole, s: Slots, t: Row,
) -> None:  # fmt: skip
    """One view, see `see_views`; `s` and `t` are scratch."""
    worlds, per_metre = boxes.x.shape[0], 1.0 / metres_per_square
    w, camera = view % worlds, view // worlds
    style, map_ = land.styles[land.style[w]], land.map_of_world[w]
    eye_z = rays.eyes[view, 2]
    turn = np.float64(land.sun_azimuth[w]) - rays.eyes[view, 3]
    sun_x, sun_y = math.cos(turn), math.sin(turn)
    begin, count = cast_view(out.depth[view], view, w, boxes, style, sun_x, sun_y, rays, s)
    dress_view(begin, count, w, camera, boxes, style, sun_x, sun_y, eye_z, rays, dress, s, slope_step, bits)
    snow = 1 if style[styles.SNOW] > 0 else 0
    sky = dress.skies[land.style[w]]
    aim(view, land.sun_azimuth[w], sky, map_, snow, per_metre, land, rays, dress, t, bits)
    if style[styles.DROPS] > 0:
        falling.fall(s.veil, style, rays.keys[view])
    colour_rows(
        view, camera, map_, per_metre, eye_z, style, slope_step, column_step, bits, out.rgb, out.depth, out.kind,
        out.instance, out.texels, out.gain, out.bias, land.raster, land.shape, land.paint, land.paint_table,
        rays.slopes, rays.columns, rays.beams, dress.bank, s.code, s.reach, s.shady, s.walls, s.faces, s.gains,
        s.biases, s.slots, s.wear, s.numbers, s.tints, s.veil, t.texel, t.places, t.textures, t.kinds, t.paint,
        t.seen, t.eights, t.gain, t.bias, t.light, t.reflected, t.sky, t.layers, t.aim,
    )  # fmt: skip


def frames(
    boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real, slope_step: Real,
    column_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """All views; the textures' size is 2**bits."""

    def work(first: int, last: int) -> None:
        height, width = out.depth.shape[1:]
        eights = np.zeros((2, -(-width // 8)), np.uint64)
        slots = new_slots(boxes.x.shape[1], height, width, np.empty)
        row = new_row(width, np.empty, eights, eights.view(np.uint8))
        see_views(
            first, last, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits, slots, row
        )

    share(work, len(out.depth))
