"""Places: what moves an image moves its masks and boxes alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stalwart.core import catalog, objects, places
from stalwart.core.contracts import Composing, Moving, Objects
from stalwart.core.rng import Noise
from stalwart.feed.decode import fit

MOVING = ["flip()", "altflip()", "crop(3, mode='zero')", "shrink(10, epochs=5)", "zoom(0.6, 1.8)"]


def noise(n: int, seed: int) -> Noise:
    return Noise.of_index(torch.arange(n), seed)


def test_every_augmentation_that_moves_pixels_says_where_to() -> None:
    """An image of its own coordinates tells what an augmentation did, whoever wrote it."""
    for name in catalog.names("augments"):
        augment = catalog.make(f"{name}()", "augments")
        if isinstance(augment, Composing):  # of several images: tests/augments/test_mosaic.py
            continue
        height, width = 24, 40
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        images = torch.stack([x / 64, y / 64, torch.ones_like(x) / 2]).float().expand(6, 3, height, width)
        moved = augment(images.clone(), noise(6, 3), 0)
        stays = moved.shape == images.shape and float((moved - images).abs().flatten(1).median(1).values.max()) < 1e-6
        if not isinstance(augment, Moving):
            assert stays or name == "colour", f"{name} moves pixels and has no placement()"


@pytest.mark.parametrize("spelled", MOVING)
@given(seed=st.integers(0, 1000), epoch=st.integers(0, 3))
@settings(deadline=None, max_examples=10)
def test_a_placement_says_what_the_images_do(spelled: str, seed: int, epoch: int) -> None:
    augment = catalog.make(spelled, "augments")
    height, width = 20, 30
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    images = torch.stack([x / 64, y / 64]).expand(5, 2, height, width).contiguous()
    moved = augment(images, noise(5, seed), epoch)
    placement = augment.placement(noise(5, seed), epoch, (height, width))
    size = (moved.shape[2], moved.shape[3])
    grid = places.grid(placement, size, (height, width))
    at_x, at_y = (grid[..., 0] + 1) * width / 2, (grid[..., 1] + 1) * height / 2
    inside = (at_x > 3) & (at_x < width - 3) & (at_y > 3) & (at_y < height - 3)
    torch.testing.assert_close((moved[:, 0] * 64)[inside], at_x[inside], atol=0.05, rtol=0)
    torch.testing.assert_close((moved[:, 1] * 64)[inside], at_y[inside], atol=0.05, rtol=0)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_masks_flip_and_shift_exactly(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 5, (3, 8, 6), generator=generator).to(torch.uint8)
    flipped = torch.tensor([True, False, True])
    moved = places.move_masks(masks, places.mirrored(flipped, 6), (8, 6), 255)
    assert torch.equal(moved[0], masks[0].flip(1))
    assert torch.equal(moved[1], masks[1])
    shifted = places.move_masks(masks, places.affine(3, "cpu", dx=2.0, dy=-1.0), (8, 6), 255)
    assert torch.equal(shifted[:, 1:, :4], masks[:, :-1, 2:])
    assert (shifted[:, 0] == 255).all()
    assert (shifted[:, :, 4:] == 255).all()


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_a_box_moves_as_its_mask_does(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, top = torch.randint(0, 20, (2,), generator=generator).tolist()
    wide, high = torch.randint(3, 10, (2,), generator=generator).tolist()
    mask = torch.zeros(1, 30, 30, dtype=torch.bool)
    mask[0, top : top + high, left : left + wide] = True
    one = Objects(torch.tensor([[left, top, left + wide, top + high]]).float(), torch.tensor([0]), mask)
    placement = places.affine(1, "cpu", sx=-0.5, sy=0.5, dx=28.0, dy=1.0)
    moved = objects.move(objects.stack([one]), placement, (40, 50)).of(0)
    if not len(moved):
        return
    assert moved.masks is not None
    rows, columns = moved.masks[0].any(1).nonzero(), moved.masks[0].any(0).nonzero()
    drawn = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
    torch.testing.assert_close(moved.boxes[0], drawn, atol=1.01, rtol=0)


def test_what_leaves_the_image_is_no_object_any_more() -> None:
    two = Objects(torch.tensor([[0.0, 0, 4, 4], [10, 10, 20, 20]]), torch.tensor([0, 1]))
    moved = objects.move(objects.stack([two]), places.affine(1, "cpu", dx=8.0, dy=8.0), (8, 8)).of(0)
    assert moved.labels.tolist() == [1]
    assert moved.boxes.tolist() == [[2.0, 2.0, 8.0, 8.0]]


def test_inverting_twice_is_nothing() -> None:
    placement = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(places.invert(places.invert(placement)), placement, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("source", "size"), [((20, 30), (10, 10)), ((15, 10), (30, 30)), ((12, 18), (12, 18))])
def test_fitted_is_what_fit_does(source: tuple[int, int], size: tuple[int, int]) -> None:
    y, x = torch.meshgrid(torch.arange(source[0]), torch.arange(source[1]), indexing="ij")
    image = torch.stack([x * 8, y * 8, x * 0]).to(torch.uint8)
    small: Tensor = fit(image, size, 3).float() / 8 + 0.5
    grid = places.grid(places.fitted(source, size)[None], size, source)[0]
    middle = (slice(2, -2), slice(2, -2))
    torch.testing.assert_close(((grid[..., 0] + 1) * source[1] / 2)[middle], small[0][middle], atol=0.3, rtol=0)
    torch.testing.assert_close(((grid[..., 1] + 1) * source[0] / 2)[middle], small[1][middle], atol=0.3, rtol=0)


@given(height=st.integers(1, 70), width=st.integers(1, 70), size=st.tuples(st.integers(1, 48), st.integers(1, 48)))
@settings(deadline=None, max_examples=60)
def test_a_whole_image_lies_where_its_placement_says(height: int, width: int, size: tuple[int, int]) -> None:
    """The border is grey, and void in masks, at the very same pixels; within, places are those of the image."""
    image = torch.full((1, height, width), 255, dtype=torch.uint8)
    shown = fit(image, size, 1, whole=True)
    placement = places.fitted((height, width), size, whole=True)
    mask = places.move_masks(torch.ones(1, height, width, dtype=torch.uint8), placement[None], size, 255)
    if (height, width) != size:
        assert torch.equal(shown[0] == 255, mask[0] == 1)
        assert set(shown.unique().tolist()) <= {114, 255}
    box = places.move_boxes(torch.tensor([[[0.0, 0.0, width, height]]]), placement[None])[0, 0]
    inside = (mask[0] == 1).nonzero()
    edges = [*inside.amin(0).flip(0).tolist(), *(inside.amax(0) + 1).flip(0).tolist()]
    torch.testing.assert_close(box, torch.tensor(edges).float(), atol=1e-3, rtol=0)


def test_a_ramp_in_a_letterbox_keeps_its_places() -> None:
    x = torch.arange(40).repeat(20, 1)
    image = torch.stack([x * 6, torch.arange(20)[:, None].expand(20, 40) * 12, x * 0]).to(torch.uint8)
    shown = fit(image, (30, 30), 3, whole=True)
    placement = places.fitted((20, 40), (30, 30), whole=True)
    at = (places.grid(placement[None], (30, 30), (20, 40))[0] + 1) / 2 * torch.tensor([40.0, 20.0]) - 0.5
    inner = (slice(10, 20), slice(3, 27))
    torch.testing.assert_close(shown[0].float()[inner], (at[..., 0] * 6)[inner], atol=1.5, rtol=0)
    torch.testing.assert_close(shown[1].float()[inner], (at[..., 1] * 12)[inner], atol=1.5, rtol=0)
