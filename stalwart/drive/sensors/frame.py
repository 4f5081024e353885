"""A camera's frames: cast, find the texels, light them. Views (worlds times cameras) are shared out among threads."""

from __future__ import annotations

import math

import numpy as np

from stalwart.drive.compiled import Array, Real, Whole, free_kernel, kernel, leaf
from stalwart.drive.sensors import cast, falling, pixels, shading, styles, surface
from stalwart.drive.sensors.records import (
    STRIP,
    Boxes,
    Dress,
    Land,
    Out,
    Rays,
    Slots,
    Strip,
    new_slots,
    new_strip,
)
from stalwart.drive.threads import share

SKY_LAYERS = 8
"""Layers side by side that make up one style's sky, all the way around."""
SHADOW_REACH_M = 90.0
REACH_M = 1000.0
"""How far boxes are seen."""
GROUND_TILE_M = 8.0
"""The ground's textures repeat after so many metres."""
_NONE = np.int64(0)  # a plain 0 is a type of its own, for which a kernel would be compiled once more


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
    cast.cast_ground(depth, s.code, rays.slopes, eye_z)
    sunny = style[styles.SUN] > 0
    stretch = style[styles.COTANGENT] if sunny else np.float32(0.0)
    margin = 0.0 if sunny else 0.25
    cast.cast_shadows(
        s.code, s.slots, count, rays.columns, rays.slopes, rays.lens, eye_z, -sun_x * stretch, -sun_y * stretch, margin,
        SHADOW_REACH_M, s.low, s.high, s.forward, s.left,
    )  # fmt: skip
    cast.cast_boxes(
        depth, s.code, s.near, s.slots, begin, count, rays.columns, rays.slopes, rays.lens, eye_z, s.low, s.high,
        s.forward, s.left, s.spans,
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
            dress.layers, snow, dress.tiles, dress.mirrored, suit, slope_step, bits,
        )  # fmt: skip
        shading.light_walls(
            s.gains_16, s.biases_16, s.tints, k, style, s.near, s.faces, s.wear, rays.beams, camera, first, last
        )


@kernel
def aim(
    view: Whole, azimuth: Real, sky: Whole, map_: Whole, per_metre: Real, land: Land, rays: Rays, t: Strip, bits: Whole
) -> None:
    """Where the columns of one view point to: in the sky's texture and on the ground's raster."""
    around = SKY_LAYERS << bits
    for u in range(t.sky.shape[0]):
        turn = (rays.eyes[view, 3] + rays.azimuths[u] - azimuth) * around / (2 * math.pi)
        column = np.int64(math.floor(turn)) & (around - 1)
        t.sky[u] = ((sky + (column >> bits)) << (2 * bits + 2)) + (column & ((1 << bits) - 1))
    t.base[0] = (rays.eyes[view, 0] - land.origin[map_, 0]) * per_metre
    t.base[1] = (rays.eyes[view, 1] - land.origin[map_, 1]) * per_metre
    cosine, sine = math.cos(rays.eyes[view, 3]) * per_metre, math.sin(rays.eyes[view, 3]) * per_metre
    for u in range(t.sky.shape[0]):
        t.rate[0, u] = cosine * rays.columns[0, u] - sine * rays.columns[1, u]
        t.rate[1, u] = sine * rays.columns[0, u] + cosine * rays.columns[1, u]


@leaf
def colour_rows(
    view: Whole, camera: Whole, map_: Whole, snow: Whole, per_metre: Real, eye_z: Real, style: Array, slope_step: Real,
    column_step: Real, bits: Whole, rgb: Array, depth: Array, kind: Array, instance: Array, index: Array, gain_out:
    Array, bias_out: Array, raster: Array, shape: Array, paint: Array, paint_table: Array, slopes: Array, columns:
    Array, beams: Array, ground_layers: Array, bank: Array, code: Array, walls: Array, faces: Array, gains: Array,
    biases: Array, slots: Array, wear: Array, numbers: Array, tints: Array, texel: Array, gain: Array, bias: Array,
    gain_16: Array, bias_16: Array, texel_bytes: Array, gain_parts: Array, bias_parts: Array, packed: Array,
    packed_bytes: Array, lit: Array, lit_16: Array, shaded: Array, shaded_16: Array, haze: Array, haze_16: Array, veil:
    Array, reflected: Array, sky: Array, rate: Array, base: Array, values: Array, shares: Array, places: Array, taps:
    Array, textures: Array,
) -> None:  # fmt: skip
    """All rows of one view, a strip at a time. Arrays come one by one: each that is taken from a bundle is counted."""
    height, width = code.shape
    texels = (1 << bits) / GROUND_TILE_M
    lamps = style[styles.LAMPS] > 0
    step = 1 if lamps else 0
    falls = style[styles.DROPS] > 0
    for top in range(0, height, STRIP):
        rows = min(STRIP, height - top)
        above: Whole = _NONE
        for r in range(rows):
            slope = slopes[top + r]
            if slope >= 0:
                row = (1 << bits) - 1 - min(np.int64(slope * (1 << bits)), (1 << bits) - 1)
                pixels.see_sky(texel, gain, bias, r, kind, instance, index, view, top + r, sky, row << (bits + 1), bank)
                above = r + 1
                continue
            ray = -eye_z / np.float64(slope)
            stretch, across, away = slope_step / -np.float64(slope), ray * column_step, np.float32(ray)
            level = surface.level_of(0.75 * across * per_metre, paint_table.shape[0] - 1)
            texture_level = surface.level_of(max(across, 0.5 * ray * stretch) * texels, bits)
            quarter = 0.25 * min(stretch, 1.0)
            surface.ground_row(
                places, taps, textures, r, base, rate, paint_table, shape[1], shape[0], level, ray,
                ray / (1.0 + quarter), ray / (1.0 - quarter), texels / per_metre, texture_level, bits,
            )  # fmt: skip
            shading.mirrored_sky(reflected, style, slope)
            keep = shading.light_ground(lit_16, shaded_16, haze_16, r, style, away, slope, reflected)
            if lamps:
                shading.lamps_on_ground(lit_16, shaded_16, r, style, away, keep, beams, camera)
        if above < rows:
            pixels.see_ground(
                texel, gain, bias, above, rows, top, code, kind, instance, index, view, lit, shaded, step, haze, values,
                shares, places, taps, textures, raster, paint, map_, ground_layers, snow, bank, bits,
            )  # fmt: skip
        pixels.see_boxes(
            texel, gain, bias, gain_16, bias_16, top, rows, code, kind, instance, index, depth, view, walls, faces,
            gains, biases, slots, wear, numbers, tints, columns, style, beams, camera, slopes, eye_z, slope_step,
            column_step, bank, bits,
        )  # fmt: skip
        if falls:
            falling.through(gain_16, bias_16, veil, style, top, rows)
        shading.blend(packed_bytes, texel_bytes, gain_parts, bias_parts, 4 * rows * width)
        shading.part_channels(rgb, view, top, packed, rows)
        if gain_out.shape[1] > 0:
            for r in range(rows):
                for u in range(width):
                    gain_out[view, top + r, u], bias_out[view, top + r, u] = gain[r, u], bias[r, u]


@free_kernel
def see_views(
    first: Whole, last: Whole, boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real,
    slope_step: Real, column_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """The views from first to last; view c * worlds + w is camera c of world w."""
    worlds, per_metre = boxes.x.shape[0], 1.0 / metres_per_square
    s = new_slots(boxes.x.shape[1], out.depth.shape[1], out.depth.shape[2])
    t = new_strip(out.depth.shape[2])
    for view in range(first, last):
        w, camera = view % worlds, view // worlds
        style, map_ = land.styles[land.style[w]], land.map_of_world[w]
        eye_z = rays.eyes[view, 2]
        turn = np.float64(land.sun_azimuth[w]) - rays.eyes[view, 3]
        sun_x, sun_y = math.cos(turn), math.sin(turn)
        begin, count = cast_view(out.depth[view], view, w, boxes, style, sun_x, sun_y, rays, s)
        dress_view(begin, count, w, camera, boxes, style, sun_x, sun_y, eye_z, rays, dress, s, slope_step, bits)
        aim(view, land.sun_azimuth[w], dress.skies[land.style[w]], map_, per_metre, land, rays, t, bits)
        snow = 1 if style[styles.SNOW] > 0 else 0
        if style[styles.DROPS] > 0:
            falling.fall(s.veil, style, rays.keys[view])
        colour_rows(
            view, camera, map_, snow, per_metre, eye_z, style, slope_step, column_step, bits, out.rgb, out.depth,
            out.kind, out.instance, out.texels, out.gain, out.bias, land.raster, land.shape, land.paint,
            land.paint_table, rays.slopes, rays.columns, rays.beams, dress.ground, dress.bank, s.code, s.walls, s.faces,
            s.gains, s.biases, s.slots, s.wear, s.numbers, s.tints, t.texel, t.gain, t.bias, t.gain_16, t.bias_16,
            t.texel_bytes, t.gain_parts, t.bias_parts, t.packed, t.packed_bytes, t.lit, t.lit_16, t.shaded, t.shaded_16,
            t.haze, t.haze_16, s.veil, t.reflected, t.sky, t.rate, t.base, t.values, t.shares, t.places, t.taps,
            t.textures,
        )  # fmt: skip


def frames(
    boxes: Boxes, land: Land, rays: Rays, dress: Dress, out: Out, metres_per_square: Real, slope_step: Real,
    column_step: Real, bits: Whole,
) -> None:  # fmt: skip
    """All views; the textures' size is 2**bits."""

    def work(first: int, last: int) -> None:
        see_views(first, last, boxes, land, rays, dress, out, metres_per_square, slope_step, column_step, bits)

    share(work, len(out.depth))
