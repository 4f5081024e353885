from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stalwart.core.errors import InputError
from stalwart.drive.scene import Class, Ground, Scene


def ground() -> Ground:
    return Ground(np.full((2, 4, 5), Class.ROAD, np.uint8), 0.5, np.zeros((2, 2), np.float32))


def test_a_wrong_array_is_named_with_what_came() -> None:
    scene = Scene.empty(3, 2, ground())
    with pytest.raises(InputError, match=r"Scene.yaw_rad must be a contiguous float32 array of \(3, 2\). Got float64"):
        dataclasses.replace(scene, yaw_rad=np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"Scene.tint .* Got uint8 \(3, 3, 2\)"):
        dataclasses.replace(scene, tint=np.zeros((3, 3, 2), np.uint8))
    with pytest.raises(InputError, match=r"Scene.x_m .*not contiguous"):
        dataclasses.replace(scene, x_m=np.zeros((2, 3), np.float32).T)
    with pytest.raises(InputError, match=r"Scene.map_of_world must lie in 0 to 1"):
        dataclasses.replace(scene, map_of_world=np.full(3, 2, np.int32))


def test_a_raster_holds_ground_alone() -> None:
    with pytest.raises(InputError, match=r"classes below 16. Got 16"):
        Ground(np.full((1, 2, 2), Class.CAR, np.uint8), 0.5, np.zeros((1, 2), np.float32))


def test_selected_worlds_are_copies_on_the_same_ground() -> None:
    scene = Scene.empty(3, 2, ground())
    scene.x_m[:] = np.arange(6).reshape(3, 2)
    chosen = scene.select(np.array([2, 0]))
    assert chosen.x_m.tolist() == [[4, 5], [0, 1]]
    assert chosen.key.tolist() == [2, 0]
    assert chosen.ground is scene.ground
    chosen.x_m[0, 0] = 9
    assert scene.x_m[2, 0] == 4
