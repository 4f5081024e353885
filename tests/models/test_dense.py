"""The network for dense tasks: shapes, training targets of the detection head, learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Objects, Signature
from stalwart.core.errors import InputError
from stalwart.core.finding import finder_of, masker_of, surest
from stalwart.core.objects import stack
from stalwart.models._dense_heads import _gaussians


def build(
    task: str, classes: int = 3, size: tuple[int, int] = (40, 56), channels: int = 3, stride: int = 2
) -> nn.Module:
    torch.manual_seed(0)
    made = catalog.make(f"dense(width=4, neck=8, depth=1, stride={stride})", "models")
    model: nn.Module = made.build(Signature(classes, channels, size, task))
    return model.eval()


@pytest.mark.parametrize("size", [(40, 56), (33, 47), (16, 16)])
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_have_the_images_size(size: tuple[int, int], stride: int, channels: int) -> None:
    images = torch.rand(2, channels, *size)
    assert build("semantic", size=size, channels=channels, stride=stride)(images).shape == (2, 3, *size)
    model = build("detection", size=size, channels=channels, stride=stride)
    raw = model(images)
    assert raw.shape[1] == 7
    assert raw.shape[2:] == tuple(-(-side // stride) for side in size)
    boxes, logits = finder_of(model).candidates(raw)
    assert boxes.shape == (2, raw.shape[2] * raw.shape[3], 4)
    assert logits.shape == (*boxes.shape[:2], 3)

    model = build("instance", size=size, channels=channels, stride=stride)
    raw = model(images)
    masker = masker_of(model)
    assert [part.shape for part in masker.candidates(raw)] == [boxes.shape, logits.shape]
    assert masker.masks(raw, torch.tensor([[0, 3], [1, 1]]), size).shape == (2, 2, *size)


def test_a_task_that_it_does_not_serve_is_named() -> None:
    with pytest.raises(InputError, match="dense serves the tasks"):
        build("classification")


def perfect(boxes: Tensor, labels: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """The raw output (1, K + 4, h, w) that says what stands there: sure centres, the sides exactly."""
    height, width = size[0] // stride, size[1] // stride
    raw = torch.full((1, 7, height, width), -30.0)
    for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
        column, row = int((left + right) / 2 / stride), int((top + bottom) / 2 / stride)
        raw[0, label, row, column] = 30.0
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        sides = torch.tensor([x - left, y - top, right - x, bottom - y]) / (4 * stride)
        raw[0, 3:, row, column] = sides.expm1().log()  # softplus's inverse
    return raw


def test_the_loss_is_least_where_all_is_said_rightly() -> None:
    boxes, labels = torch.tensor([[4.0, 6, 20, 30], [30, 2, 50, 14]]), torch.tensor([0, 2])
    finder = finder_of(build("detection"))
    targets = stack([Objects(boxes, labels)])
    raw = perfect(boxes, labels, (40, 56), 2)
    found, logits = finder.candidates(raw)
    best = logits.flatten(1).topk(2).indices[0]
    said = found[0, best // 3]
    order = said[:, 0].argsort()
    torch.testing.assert_close(said[order], boxes, atol=1e-3, rtol=1e-3)
    assert (best[order] % 3).tolist() == [0, 2]
    right = float(finder.losses(raw, targets))
    wrong_class = raw.clone()
    wrong_class[:, [0, 1, 2]] = raw[:, [1, 0, 2]]
    assert float(finder.losses(wrong_class, targets)) > right + 5
    nothing = torch.full_like(raw, -30.0)
    assert float(finder.losses(nothing, targets)) > right + 5


def test_neighbouring_places_may_hold_an_object_each() -> None:
    """Two small ones of a class side by side are both seen; what says the same twice is seen once."""
    boxes, labels = torch.tensor([[10.0, 10, 12, 18], [12, 10, 14, 18]]), torch.tensor([1, 1])
    images, finder = torch.zeros(1, 3, 40, 56), finder_of(build("detection"))
    raw = perfect(boxes, labels, (40, 56), 2)
    [(_, found)] = surest(finder, raw, images, 100)
    seen = found.boxes[found.scores > 0.5]
    torch.testing.assert_close(seen[seen[:, 0].argsort()], boxes, atol=1e-3, rtol=1e-3)
    again = perfect(torch.tensor([[4.0, 6, 20, 30], [6, 6, 22, 30]]), labels, (40, 56), 2)
    [(_, found)] = surest(finder, again, images, 100)
    assert int((found.scores > 0.5).sum()) == 1


def test_a_large_object_leaves_room_for_a_small_one() -> None:
    """The middle of a large object holds more sure candidates than are looked at."""
    size, finder = (128, 128), finder_of(build("detection", size=(128, 128)))
    large, small = torch.tensor([[4.0, 4, 116, 116]]), torch.tensor([[110.0, 118, 120, 126]])
    raw = perfect(small, torch.tensor([2]), size, 2)
    raw[0, 2][raw[0, 2] > 0] = -1.0  # less sure than all of the large one
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    heat = 3.0 - ((y - 30).square() + (x - 30).square()) / 200
    middle = heat > 0
    raw[0, 0][middle] = heat[middle]
    (left, top, right, bottom), px, py = large[0].tolist(), (x + 0.5) * 2, (y + 0.5) * 2
    sides = torch.stack([px - left, py - top, right - px, bottom - py]) / 8
    raw[0, 3:][:, middle] = sides[:, middle].expm1().log()
    assert int(middle.sum()) > 400
    [(_, found)] = surest(finder, raw, torch.zeros(1, 3, *size), 100)
    seen = found.scores > 0.2
    assert found.labels[seen].tolist() == [0, 2]
    torch.testing.assert_close(found.boxes[seen], torch.cat([large, small]), atol=1e-3, rtol=1e-3)


def test_the_loss_of_each_image_is_its_own_and_crowds_are_not_learned() -> None:
    finder = finder_of(build("detection"))
    one = Objects(torch.tensor([[4.0, 6, 20, 30]]), torch.tensor([1]))
    none = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    crowd = Objects(one.boxes, one.labels, None, torch.tensor([True]))
    raw = torch.randn(3, 7, 20, 28)
    together = finder.losses(raw, stack([one, none, crowd]))
    for row, objects in enumerate([one, none, crowd]):
        torch.testing.assert_close(finder.losses(raw[row : row + 1], stack([objects])), together[row : row + 1])
    torch.testing.assert_close(
        finder.losses(raw[2:], stack([crowd])), finder.losses(raw[2:], stack([none])), msg="a crowd is as nothing"
    )


def test_centres_stand_at_exactly_one() -> None:
    boxes = torch.tensor([[4.0, 6, 20, 30], [0, 0, 3, 3], [50, 30, 56, 40]])
    near = _gaussians(stack([Objects(boxes, torch.tensor([0, 1, 2]))]), (20, 28), 2)
    assert near.flatten(2).amax(2).tolist() == [[1.0, 1.0, 1.0]]
    rows, columns = near[0].flatten(1).argmax(1) // 28, near[0].flatten(1).argmax(1) % 28
    assert rows.tolist() == [9, 0, 17]
    assert columns.tolist() == [6, 0, 26]


@pytest.mark.parametrize(("stride", "finer"), [(2, 1), (4, 2)])
def test_each_place_draws_with_its_own_network(stride: int, finer: int) -> None:
    torch.manual_seed(1)
    head: Any = masker_of(build("instance", stride=stride))
    few = 8 * finer**2
    raw = torch.randn(2, 3 + 4 + 169 + few, 5, 6)
    row, place = torch.tensor([1, 0, 1, 1]), torch.tensor([7, 29, 0, 13])
    size = (5 * stride - 1, 6 * stride)
    drawn = head._drawn(raw, row, place, size)
    boxes = head.candidates(raw)[0]
    for number, (image, at) in enumerate(zip(row.tolist(), place.tolist(), strict=True)):
        down, across = divmod(at, 6)
        left, top, right, bottom = boxes[image, at].tolist()
        # How far a pixel of the mask features is from the middle of the place, in pixels of the image.
        pixel = stride / finer
        x = (torch.arange(6.0 * finer) + 0.5) * pixel - (across + 0.5) * stride
        y = (torch.arange(5.0 * finer) + 0.5) * pixel - (down + 0.5) * stride
        x, y = x / max((right - left) / 2, stride), y / max((bottom - top) / 2, stride)
        shared = torch.zeros(8, 5 * finer, 6 * finer)
        for channel in range(few):
            feature, part = divmod(channel, finer**2)
            shared[feature, part // finer :: finer, part % finer :: finer] = raw[image, channel - few]
        seen = torch.cat([shared, x.expand(1, 5 * finer, -1), y[:, None].expand(1, -1, 6 * finer)])[None]
        weights = raw[image, 7:176, down, across]
        for inputs, outputs in ((10, 8), (8, 8), (8, 1)):
            own, weights = weights[: (inputs + 1) * outputs], weights[(inputs + 1) * outputs :]
            own = own.view(outputs, inputs + 1)
            seen = F.conv2d(seen, own[:, :-1, None, None], own[:, -1])
            seen = F.relu(seen) if outputs > 1 else seen
        large = F.interpolate(seen, size=(5 * stride, 6 * stride), mode="bilinear")[0, 0, : size[0]]
        torch.testing.assert_close(drawn[number], large, rtol=1e-4, atol=1e-4)
    index = torch.tensor([[7, 29], [0, 13]])
    both = head.masks(raw, index, size)
    torch.testing.assert_close(both[1, 1], drawn[3])
    torch.testing.assert_close(both[0, 1], drawn[1])


def test_a_small_object_is_learned_though_it_fills_no_place() -> None:
    """Two pixels by two across four places: less than half of each is covered, so at the places' own size the best
    mask is none at all."""
    head: Any = masker_of(build("instance", size=(16, 16), stride=4))
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 7:9, 7:9] = True
    truth = stack([Objects(torch.tensor([[7.0, 7, 9, 9]]), torch.tensor([1]), mask)])
    torch.manual_seed(0)
    raw = (0.3 * torch.randn(1, 7 + 169 + 32, 4, 4)).requires_grad_()
    optimizer = torch.optim.Adam([raw], 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        head.losses(raw, truth).sum().backward()
        optimizer.step()
    place = head.candidates(raw)[1][0, :, 1].argmax()
    drawn = head.masks(raw, place[None, None], (16, 16))[0, 0] > 0
    overlap = (drawn & mask[0]).sum() / (drawn | mask[0]).sum()
    assert overlap >= 0.5


def test_the_loss_of_masks_is_each_images_own_and_least_for_the_right_ones() -> None:
    head: Any = masker_of(build("instance"))
    boxes, labels = torch.tensor([[4.0, 6, 20, 30], [30, 2, 50, 14]]), torch.tensor([0, 2])
    masks = torch.zeros(2, 40, 56, dtype=torch.bool)
    masks[0, 6:30, 4:20] = True
    masks[1, 2:14, 30:50] = True
    two, none = Objects(boxes, labels, masks), Objects(boxes[:0], labels[:0], masks[:0])
    torch.manual_seed(2)
    raw = torch.randn(2, 7 + 169 + 8, 20, 28)
    together = head.losses(raw, stack([two, none]))
    for row, objects in enumerate([two, none]):
        torch.testing.assert_close(head.losses(raw[row : row + 1], stack([objects])), together[row : row + 1])
    # Networks that give their first feature, which says for every pixel whether it is the first object's or not.
    first = stack([Objects(boxes[:1], labels[:1], masks[:1])])
    raw = torch.zeros(1, 7 + 169 + 8, 20, 28)
    raw[:, 7], raw[:, 7 + 11] = 1.0, -1.0  # the first layer: +f and −f
    raw[:, 7 + 88], raw[:, 7 + 88 + 10] = 1.0, 1.0
    raw[:, 7 + 160], raw[:, 7 + 161] = 1.0, -1.0
    losses = []
    for sign in (20.0, -20.0):
        raw[:, -8] = sign * (2 * F.avg_pool2d(masks[:1].float(), 2) - 1)
        losses.append(float(head.losses(raw, first) - head.centres.losses(raw[:, :7], first)))
    assert losses[0] < 1e-3
    assert losses[1] > 10
