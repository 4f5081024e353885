"""Mosaic: objects lie where their pixels lie, and what a sample becomes does not hang on its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stalwart.core import catalog
from stalwart.core.contracts import Examples, Info, Objects, Sample
from stalwart.core.errors import InputError
from stalwart.core.objects import NONE
from stalwart.core.rng import Noise
from stalwart.feed.batches import Batches

HEIGHT, WIDTH = 40, 56


class Painted:
    """Pictures of two rectangles on black, each of a colour that no other in the split has, red telling the picture and
    green the object; with masks, or as maps whose classes are 1 and 2."""

    info = Info("painted", ("nothing", "first", "second"), "unknown", "made", 3, (HEIGHT, WIDTH))

    def __init__(self, count: int, maps: bool = False) -> None:
        self.count, self.maps = count, maps
        self.strata: Sequence[int] = [0] * count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = torch.Generator().manual_seed(index)
        image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
        boxes, masks = [], torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
        for number in range(2):  # one in either half
            left = int(torch.randint(0, 12, (), generator=rng)) + 28 * number
            top = int(torch.randint(0, 20, (), generator=rng))
            width, height = (int(side) for side in torch.randint(8, 17, (2,), generator=rng))
            masks[number, top : top + height, left : left + width] = True
            boxes.append([left, top, left + width, top + height])
            image[:, masks[number]] = torch.tensor([60 + 12 * index, 120 + 120 * number, 255], dtype=torch.uint8)[
                :, None
            ]
        if self.maps:
            return Sample(image, (masks[0] + 2 * masks[1]).to(torch.uint8), str(index))
        target = Objects(torch.tensor(boxes).float(), torch.tensor([1, 2]), masks, None, None)
        return Sample(image, target, str(index))

    def arrays(self) -> None:
        return None


def batches(spelled: str, task: str = "instance()", count: int = 12, maps: bool = False, **more: Any) -> Batches:
    examples: Examples = Painted(count, maps)
    augments = tuple(catalog.make(one, "augments") for one in spelled.split("; "))
    return Batches(examples, catalog.make(task, "tasks"), augments=augments, **{"batch": 4, "seed": 3, **more})


def colour_of(image: Tensor, picture: int, number: int) -> Tensor:
    """(H, W) bool: pixels of one object's colour, the blended ones at its edges left out."""
    own = torch.tensor([60 + 12 * picture, 120 + 120 * number, 255])[:, None, None] / 255
    return ((image - own).abs() < 2 / 255).all(0)


@given(
    seed=st.integers(0, 500), spelled=st.sampled_from(["mosaic()", "mosaic(middle=1.0)", "mosaic(low=0.3, high=0.6)"])
)
@settings(max_examples=15, deadline=None)
def test_every_box_lies_where_its_objects_pixels_lie(seed: int, spelled: str) -> None:
    found = 0
    for batch in batches(spelled, count=8, seed=seed).epoch(seed % 5):
        labels, boxes, masks = batch.targets.labels, batch.targets.boxes, batch.targets.masks
        for row, image in enumerate(batch.images):
            taken = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
            for box, label, mask in zip(boxes[row], labels[row].tolist(), masks[row], strict=True):
                if label == NONE:
                    continue
                left, top, right, bottom = box.tolist()
                assert 0 <= left < right <= WIDTH
                assert 0 <= top < bottom <= HEIGHT
                taken |= mask
                pictures = [n for n in range(8) if bool((colour_of(image, n, label - 1) & mask).any())]
                if not pictures:
                    assert min(right - left, bottom - top) < 4  # so narrow that all its pixels are blended ones
                    continue
                (picture,) = pictures  # one object, no other
                seen = colour_of(image, picture, label - 1) & mask
                rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
                around = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                assert float((around - box).abs().max()) <= 2
                found += 1
            # Every object is blue to the full; what is narrower than a pixel may be told by no box.
            missed = (image[2] > 0.98) & ((image[1] < 0.49) | (image[1] > 0.9)) & ~taken
            assert float(F.avg_pool2d(missed[None].float(), 2, 1).max()) < 1
    assert found > 8


def test_maps_say_what_the_pixels_show() -> None:
    for batch in batches("mosaic(); flip()", "semantic()", maps=True).epoch(1):
        for image, mask in zip(batch.images, batch.targets, strict=True):
            first = (image[2] > 0.98) & (image[1] < 0.6)
            second = (image[2] > 0.98) & (image[1] > 0.9)
            assert bool((mask[first] == 1).all())
            assert bool((mask[second] == 2).all())
            assert bool((mask[image.sum(0) == 0] == 0).all())
            border = (image == 0.5).all(0)
            assert float((mask[border] == 255).float().mean()) > 0.95 or not bool(border.any())


def test_what_a_sample_becomes_does_not_hang_on_its_batch() -> None:
    spelled = "mosaic(share=0.7); colour()"
    whole = {int(i): (x, b.targets.of(r)) for b in batches(spelled).epoch(2)
             for r, (i, x) in enumerate(zip(b.index, b.images, strict=True))}  # fmt: skip
    others = [
        batches(spelled, batch=3, shuffle=True),
        batches(spelled, memory=False, batch=5),
        batches(spelled, layout=torch.contiguous_format),
        *(batches(spelled, rank=rank, world=2) for rank in range(2)),
    ]
    for other in others:
        for batch in other.epoch(2):
            for row, index in enumerate(batch.index.tolist()):
                image, target = whole[index]
                assert torch.equal(batch.images[row], image)
                ours = batch.targets.of(row)
                assert torch.equal(ours.boxes, target.boxes)
                assert torch.equal(ours.masks, target.masks)
                assert torch.equal(ours.labels, target.labels)
    again = {int(i): x for b in batches(spelled).epoch(3) for i, x in zip(b.index, b.images, strict=True)}
    assert any(not torch.equal(again[index], whole[index][0]) for index in whole)


def test_images_that_are_left_alone_keep_every_bit() -> None:
    examples, kept = Painted(12), 0
    for batch in batches("mosaic(share=0.5)").epoch(0):
        for row, index in enumerate(batch.index.tolist()):
            sample = examples[index]
            if torch.equal(batch.images[row], sample.image / 255):
                kept += 1
                assert torch.equal(batch.targets.of(row).boxes, sample.target.boxes)
    assert 1 <= kept <= 11
    augment: Any = catalog.make("mosaic(share=0.0)", "augments")
    images = torch.rand(3, 4, 3, 20, 30)
    torch.testing.assert_close(augment(images, Noise.of_index(torch.arange(3), 0), 0), images[:, 0])


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(InputError, match=r"mosaic\(\) must stand first .* number 2"):
        batches("flip(); mosaic()")
    with pytest.raises(InputError, match="targets have a place"):
        batches("mosaic()", "classification()")
    with pytest.raises(InputError, match=r"low=\.\.\."):
        catalog.make("mosaic(low=0.9, high=0.5)", "augments")
