"""Differentiable pictures against the compiled ones, and their gradients against finite differences of those."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worlds import random_scene

from stalwart.core.errors import InputError
from stalwart.drive.pyramid import FULL
from stalwart.drive.scene import Class, Ground, Scene
from stalwart.drive.sensors.camera import Camera, room, see
from stalwart.drive.sensors.locate import locate
from stalwart.drive.sensors.shade import shade
from stalwart.drive.sensors.skins import Look, default_look, skin
from stalwart.drive.sensors.textures import ripmap

CAMERA = Camera(height=40, width=64)


def scene_with_patches(worlds: int, seed: int) -> Scene:
    """A billboard ahead and a patch on the road, among others, in every style."""
    scene = random_scene(worlds, 16, seed)
    scene.alive[:, :3] = True
    c, s = np.cos(scene.yaw_rad[:, 0]), np.sin(scene.yaw_rad[:, 0])
    billboard, patch = (
        (1, 9.0, Class.BILLBOARD, "billboard_1", (0.2, 5, 3)),
        (2, 6.0, Class.PATCH, "plain", (4, 3, 0.01)),
    )
    for box, ahead, kind, name, size in (billboard, patch):
        scene.x_m[:, box], scene.y_m[:, box] = scene.x_m[:, 0] + ahead * c, scene.y_m[:, 0] + ahead * s
        scene.yaw_rad[:, box] = scene.yaw_rad[:, 0] + np.pi + 0.3
        scene.length_m[:, box], scene.width_m[:, box], scene.height_m[:, box] = size
        scene.z0_m[:, box], scene.kind[:, box], scene.skin[:, box] = 0.0, kind, skin(name)
        scene.tint[:, box] = 255
    return scene


@pytest.mark.parametrize("seed", [0, 1])
def test_both_ways_of_shading_agree_to_a_level(seed: int) -> None:
    scene, look = scene_with_patches(7, seed), default_look()
    frames = see(scene, CAMERA, out=room(CAMERA, 7, affine=True))
    levels = (shade(frames, look.textures) * 255).round().numpy()
    assert abs(levels - frames.rgb).max() <= 1
    assert np.array_equal(frames.rgb, see(scene, CAMERA).rgb)
    assert len(np.unique(frames.rgb)) > 100


def test_a_changed_texture_is_drawn_alike_both_ways() -> None:
    scene, look = scene_with_patches(7, 2), default_look()
    paper = (torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    frames = see(scene, CAMERA, out=room(CAMERA, 7, affine=True))
    soft = (shade(frames, look.textures, {"plain": paper, "advert_1": paper, "asphalt": paper}) * 255).round().numpy()
    hard = see(scene, CAMERA, look=Look(look.textures.replaced({"plain": paper, "advert_1": paper, "asphalt": paper})))
    assert abs(soft - hard.rgb).max() <= 1
    assert (abs(soft - frames.rgb).max(1) > 20).mean() > 0.05


def test_gradients_equal_finite_differences_of_the_compiled_pictures() -> None:
    """Steps of 60 levels: colours are rounded to 8 bits, and linear as far as they stay within them."""
    scene, look = scene_with_patches(4, 3), default_look()
    scene.style[:] = [0, 1, 4, 5]
    g = torch.Generator().manual_seed(1)
    paper = torch.full((3, 64, 64), 90 / 255)
    weights = torch.rand(4, 3, 40, 64, generator=g)
    frames = see(scene, CAMERA, out=room(CAMERA, 4, affine=True))
    for name in ("advert_1", "plain", "asphalt"):
        texture = paper.clone().requires_grad_()
        (shade(frames, look.textures, {name: texture}) * weights).sum().backward()
        direction = (torch.rand(3, 64, 64, generator=g) > 0.5).float()
        predicted = float((texture.grad * direction).sum()) * 60 / 255
        step = paper + direction * 60 / 255
        before, after = (
            torch.from_numpy(see(scene, CAMERA, look=Look(look.textures.replaced({name: t}))).rgb / 255)
            for t in (paper, step)
        )
        found = float(((after - before) * weights).sum())
        assert abs(predicted) > 5
        assert found == pytest.approx(predicted, rel=0.03, abs=0.3)


def test_a_ripmap_holds_means_of_every_halving() -> None:
    texture = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    rips = ripmap(texture)
    assert torch.equal(rips[..., :8, :8], texture)
    assert torch.allclose(rips[..., 14, 14], texture.mean((-1, -2)))
    assert torch.allclose(rips[..., 8:12, 0:8], texture.reshape(2, 4, 4, 2, 8).mean(3))
    assert torch.allclose(rips[..., 3, 12:14], texture[..., 3, :].reshape(2, 4, 2, 4).mean(-1))


def test_what_cannot_be_shaded_is_refused_by_name() -> None:
    scene, look = scene_with_patches(1, 4), default_look()
    with pytest.raises(InputError, match=r"room\(..., affine=True\)"):
        shade(see(scene, CAMERA), look.textures)
    frames = see(scene, CAMERA, out=room(CAMERA, 1, affine=True))
    with pytest.raises(InputError, match=r"texture 'plain' must be \(3, 64, 64\) or \(4, 64, 64\). Got \(3, 32, 32\)"):
        shade(frames, look.textures, {"plain": torch.zeros(3, 32, 32)})
    with pytest.raises(InputError, match=r"Got 'advert_9'. Did you mean 'advert_"):
        shade(frames, look.textures, {"advert_9": torch.zeros(3, 64, 64)})


def test_uv_names_the_place_on_the_texture_that_was_drawn() -> None:
    """A texture that holds its own u in red and v in green, drawn and read back."""
    scene, look = scene_with_patches(6, 6), default_look()
    ramp = (torch.arange(64) + 0.5) / 64
    own = torch.stack([ramp.expand(64, 64), ramp.flip(0)[:, None].expand(64, 64), torch.zeros(64, 64)])
    frames = see(scene, CAMERA, out=room(CAMERA, 6, affine=True))
    face, uv = locate(scene, CAMERA, frames)
    drawn = look.textures.replaced({"plain": own, "advert_1": own}).rips[torch.from_numpy(frames.texels[..., 0]).long()]
    for box, wanted in ((1, 0), (2, 4)):
        on = (frames.instance == scene.instance[:, box, None, None]) & (face == wanted)
        assert on.sum() > 100
        read = drawn.numpy()[on][:, :2].T
        assert abs(read - uv.transpose(1, 0, 2, 3)[:, on]).max(1).tolist() <= [0.13, 0.13]
    assert set(np.unique(face)) <= set(range(7))
    assert (face[frames.kind == 0] == 6).all()


@pytest.mark.parametrize("distance_m", [18.0, 45.0], ids=["squares", "pyramid"])
def test_paint_is_seen_with_its_area_whatever_the_row_it_falls_into(distance_m: float) -> None:
    """A stripe of half a metre across the road, thinner than most rows of pixels: its mean share over all rows."""
    worlds, raster = 400, np.full((1, 80, 400), Class.ROAD, np.uint8)
    raster[0, :, round(distance_m / 0.25) : round(distance_m / 0.25) + 2] = Class.LINE
    scene = Scene.empty(worlds, 1, Ground(raster, 0.25, np.array([[0, -10]], np.float32)))
    scene.length_m[:], scene.width_m[:], scene.height_m[:] = 4.0, 2.0, 1.5
    scene.alive[:], scene.x_m[:, 0] = True, np.linspace(0, distance_m / 3, worlds)
    camera = Camera(height=64, width=32, fov_deg=20, x_m=0.0, z_m=4.0)
    frames = see(scene, camera, out=room(camera, worlds, affine=True))
    assert frames.texels is not None
    seen = frames.texels[:, :, 16, 2].sum(1) / FULL
    away = distance_m - scene.x_m[:, 0].astype(np.float64)
    rows = camera.focal_px * camera.z_m * (1 / away - 1 / (away + 0.5))
    assert seen.mean() == pytest.approx(rows.mean(), rel=0.12)
