"""Labels of the driving world's pictures, against pictures of each object alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from worlds import random_scene

from stalwart.core.errors import InputError
from stalwart.drive.dressing import Dressed
from stalwart.drive.footage import SIGNALS, WORLDS, Footage, Shot
from stalwart.drive.labels import INDEX, SEMANTIC, STUFF, THINGS, class_map, things
from stalwart.drive.scene import Class
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.sensors.skins import SKINS
from stalwart.drive.simulation import make

CAMERA = Camera(height=48, width=72)


def footage(**changes: object) -> Footage:
    return replace(Footage(CAMERA, families=("crossroads",), styles=("sun", "rain")), **changes)  # type: ignore[arg-type]


@cache
def clip() -> list[Shot]:
    return footage().clip("train", 0)


def test_a_clip_is_the_same_each_time_and_splits_have_maps_of_their_own() -> None:
    again = footage().clip("train", 0)
    for one, other in zip(clip(), again, strict=True):
        np.testing.assert_array_equal(one.frames.rgb, other.frames.rgb)
        np.testing.assert_array_equal(one.signals, other.signals)
    assert not np.array_equal(clip()[0].frames.rgb, clip()[1].frames.rgb)
    seeds = {
        split: {footage(seed=seed).map_seed(split, k) for seed in (0, 1, 7) for k in range(900)}
        for split in ("train", "val", "test")
    }
    assert all(len(found) == 2700 for found in seeds.values())
    assert not seeds["train"] & seeds["val"]
    assert not seeds["train"] & seeds["test"]
    assert not seeds["val"] & seeds["test"]


def test_boxes_occlusion_and_truncation_are_those_of_the_object_alone() -> None:
    """Each box is drawn with nothing else there, by a camera that sees beyond the picture's border with the same focal
    length: its pixels there say what is hidden and what is cut off."""
    scene = random_scene(24, 20, seed=3)
    scene.style[:] = 0
    camera = Camera(height=96, width=144)
    wide = Camera(height=96 * 5, width=144 * 5, fov_deg=2 * np.degrees(np.arctan(72 * 5 / camera.focal_px)),
                  horizon=(camera.horizon * 96 + 96 * 2) / (96 * 5))  # fmt: skip
    assert wide.focal_px == pytest.approx(camera.focal_px)
    frames = see(scene, camera)
    looked, hidden, cut = 0, 0, 0
    for world in range(24):
        for thing in things(scene, world, frames, camera):
            alone = scene.select(np.array([world]))
            alone.alive[:] = alone.instance == thing.instance
            whole = see(alone, wide).instance[0] == thing.instance
            mine = frames.instance[world] == thing.instance
            inside = whole[192:288, 288:432]
            assert thing.visible_px == mine.sum()
            assert not (mine & ~inside).any()
            at_border = 4 * (inside.sum() ** 0.5 + 2)
            assert thing.occlusion * inside.sum() == pytest.approx(inside.sum() - mine.sum(), abs=0.5 * at_border)
            if not (whole[0].any() or whole[-1].any() or whole[:, 0].any() or whole[:, -1].any()):
                assert thing.truncation == pytest.approx(1 - inside.sum() / whole.sum(), abs=2 * whole.sum() ** -0.5)
            rows, columns = np.nonzero(inside)
            around = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_allclose(thing.whole_px, around, atol=1.01)
            rows, columns = np.nonzero(mine)
            assert thing.box_px == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            looked, hidden, cut = looked + 1, hidden + (thing.occlusion > 0.2), cut + (thing.truncation > 0.2)
    assert looked > 40
    assert min(hidden, cut) > 3


def test_a_things_place_projects_into_its_box() -> None:
    seen = 0
    for shot in clip():
        for world in range(WORLDS):
            for thing in shot.things(world, CAMERA):
                if thing.truncation == 0 and thing.place_m[0] > 3:
                    x, y, z = thing.place_m
                    row, column, _ = CAMERA.project(np.array(x), np.array(y), np.array(z + thing.size_m[2] / 2))
                    left, top, right, bottom = thing.whole_px
                    assert left <= column + 0.5 <= right
                    assert top <= row + 0.5 <= bottom
                    assert thing.distance_m == pytest.approx(np.hypot(x - CAMERA.x_m, y))
                    seen += 1
    assert seen > 30


def test_every_class_has_one_index() -> None:
    assert len(set(SEMANTIC)) == len(SEMANTIC) == len(STUFF) + len(THINGS) == 19
    assert {int(INDEX[kind]) for kind in Class} == set(range(19))
    kinds = np.array([[Class.SKY, Class.YELLOW_LINE, Class.CAR]], np.uint8)
    assert [SEMANTIC[k] for k in class_map(kinds)[0]] == ["sky", "marking", "car"]


def test_a_signal_that_counts_shines_in_its_colour_and_signals_change() -> None:
    found = set()
    for number in range(2):
        for shot in footage(camera=Camera(height=96, width=144), styles=("cloud",)).clip("test", number):
            for world, label in enumerate(shot.signals):
                found.add(SIGNALS[label])
                if label == 0:
                    continue
                lit = shot.frames.rgb[world][:, shot.frames.kind[world] == Class.SIGNAL].astype(int)
                red, green = (lit[0] - lit[1]).max(), (lit[1] - lit[0]).max()
                assert (red > green) == (SIGNALS[label] == "red" or SIGNALS[label] == "yellow")
    assert {"none", "red", "green"} <= found


def test_what_is_worn_follows_from_the_world_alone() -> None:
    def dressed(worlds: int, first: int) -> Dressed:
        return Dressed(make("crossroads(seed=1)", worlds, agents=8, walkers=2, seed=4, first=first), ("dusk",), 60)

    both, one = dressed(3, 0).scene(), dressed(1, 2).scene()
    for name in ("skin", "tint", "style", "sun_azimuth_rad"):
        np.testing.assert_array_equal(getattr(both, name)[2:], getattr(one, name))
    assert not np.array_equal(both.tint[0, :8], both.tint[1, :8])
    worn = {SKINS[k].name for k in np.unique(both.skin[both.alive])}
    assert worn & {"brick_house", "render_house", "stone_house", "office"}
    assert worn & {"stop_sign", "yield_sign", "signal_red", "signal_green"}
    with pytest.raises(InputError, match="styles must be 1 or 3"):
        Dressed(dressed(3, 0).world, ("sun", "fog"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"styles": ("hail",)}, "Got 'hail'"),
        ({"families": ()}, "at least one family"),
        ({"families": ("twon",)}, "Did you mean 'town'"),
    ],
)
def test_footage_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        footage(**changes)
