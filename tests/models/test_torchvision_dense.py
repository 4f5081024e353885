"""torchvision's dense models: plain outputs in either mode, the family's own losses and detections, image by image."""

from __future__ import annotations

import copy
import importlib
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from stalwart.core import catalog
from stalwart.core.contracts import Objects, Signature
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.finding import finder_of, masker_of
from stalwart.core.objects import stack
from stalwart.models._torchvision_detectors import TwoStage, _laid

SIZE = (64, 64)
ONE_STAGE = ["ssdlite320_mobilenet_v3_large", "fcos_resnet50_fpn", "retinanet_resnet50_fpn"]
TWO_STAGE = ["fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn"]


@cache
def built(name: str) -> nn.Module:
    """A fresh model, in evaluation mode; tests must not change it."""
    torch.manual_seed(0)
    task = "instance" if name.startswith("mask") else "detection"
    architecture = catalog.make(f"{name}()", "models")
    model: nn.Module = architecture.build(Signature(3, 3, SIZE, task))
    if isinstance(model, TwoStage):  # fewer proposals, to be quick
        model.most = 8
        model.net.rpn._post_nms_top_n = {"training": 8, "testing": 8}
    architecture.prepare(model, pictures())
    return model.eval()


def pictures() -> Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def objects() -> list[Objects]:
    """Two in the first image, one of them a crowd's neighbour; none in the second."""
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    boxes = torch.tensor([[8.0, 8, 40, 36], [30, 28, 62, 60], [0, 50, 12, 64]])
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    first = Objects(boxes, torch.tensor([0, 2, 1]), masks, torch.tensor([False, False, True]))
    return [first, Objects(boxes[:0], torch.zeros(0, dtype=torch.int64), masks[:0])]


@pytest.mark.parametrize("name", ONE_STAGE + TWO_STAGE)
def test_losses_are_each_images_own_and_leave_no_trace(name: str) -> None:
    model, images, targets = built(name), pictures(), objects()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        losses = finder_of(model).losses(model(images), stack(targets))
        again = finder_of(model).losses(model(images), stack(targets))
        alone = [finder_of(model).losses(model(images[i : i + 1]), stack([targets[i]])) for i in range(2)]
    assert torch.equal(losses, again)
    assert losses.dtype == torch.float32
    assert bool((losses > 0).all())  # an image without objects teaches too
    torch.testing.assert_close(torch.cat(alone), losses, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def theirs(model: nn.Module) -> Any:
    """The same network as torchvision would run it, but for the images' size and normalisation."""
    net: Any = copy.deepcopy(model.net)
    net.transform = GeneralizedRCNNTransform(64, 64, [0.0] * 3, [1.0] * 3, size_divisible=1)
    return net


@pytest.mark.parametrize("name", ONE_STAGE)
def test_one_stage_losses_are_torchvisions_of_a_single_image(name: str) -> None:
    model, images, target = built(name), pictures()[:1], objects()[0]
    net = theirs(model).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    shift = 1 if name.startswith("ssd") else 0
    kept = {"boxes": target.boxes[:2], "labels": target.labels[:2] + shift}  # a crowd is not learned
    with torch.no_grad():
        expected = sum(net(list(model.normalise(images)), [kept]).values())  # type: ignore[operator]
        ours = finder_of(model).losses(model(images), stack([target]))
    torch.testing.assert_close(ours[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ONE_STAGE + TWO_STAGE)
def test_the_surest_detections_are_torchvisions(name: str) -> None:
    model, images = built(name), pictures()
    net = theirs(model)
    heads = net.roi_heads if hasattr(net, "roi_heads") else net
    heads.score_thresh = 0.0
    heads.nms_thresh = 0.6
    with torch.no_grad():
        expected = net(list(model.normalise(images)))  # type: ignore[operator]
        boxes, logits = finder_of(model).candidates(model(images))
    many = 10 if name in ONE_STAGE else 1  # of a proposal torchvision may name a class that is not the surest
    for row, other in enumerate(expected):
        for box, label, score in zip(other["boxes"][:many], other["labels"], other["scores"], strict=False):
            same = (boxes[row].clamp(0, 64) - box).abs().amax(1) < 0.01
            column = int(label) - (0 if name.startswith(("fcos", "retinanet")) else 1)
            said = logits[row, same, column].sigmoid()
            assert float((said - score).abs().min()) < 1e-5


def ideal(model: Any, boxes: Tensor) -> Tensor:
    """The one-stage output that moves every anchor onto the nearest of `boxes`."""
    raw = model(pictures()[:1]).detach().clone()
    anchors = raw[0, :, :4]
    middle = lambda b: (b[:, :2] + b[:, 2:]) / 2  # noqa: E731
    nearest = boxes[torch.cdist(middle(anchors), middle(boxes)).argmin(1)]
    coder = model.net.box_coder
    raw[0, :, 4:8] = coder.encode(anchors, nearest) if model.first == 9 else coder.encode([nearest], [anchors])[0]
    return raw


@pytest.mark.parametrize("name", ONE_STAGE)
def test_ideal_outputs_are_the_objects(name: str) -> None:
    boxes = objects()[0].boxes[:2]
    found, _ = built(name).candidates(ideal(built(name), boxes))  # type: ignore[operator]
    distance = (found[0][:, None] - boxes).abs().amax(2).amin(1)
    assert float(distance.max()) < 0.01


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_the_loss_falls(name: str) -> None:
    model = copy.deepcopy(built(name)).train()
    images, targets = pictures(), stack(objects())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(6):
        outputs = model(images)
        assert all(isinstance(part, Tensor) for part in (outputs if isinstance(outputs, tuple) else (outputs,)))
        loss = finder_of(model).losses(outputs, targets).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.7 * losses[0]


def test_masks_lie_in_their_candidates_boxes_and_carry_a_slope() -> None:
    model = built("maskrcnn_resnet50_fpn")
    images = pictures().requires_grad_()
    outputs = model(images)
    masker, index = masker_of(model), torch.tensor([[0, 3], [5, 1]])
    masks = masker.masks(outputs, index, SIZE)
    assert masks.shape == (2, 2, *SIZE)
    boxes = masker.candidates(outputs)[0].gather(1, index[..., None].expand(-1, -1, 4))
    for mask, (left, top, right, bottom) in zip(masks.flatten(0, 1), boxes.flatten(0, 1).tolist(), strict=True):
        rows, columns = (mask > -99).nonzero().float().add(0.5).unbind(1)
        assert max(left, 0) - 0.01 <= float(columns.min())
        assert float(columns.max()) <= min(right, 64) + 0.01
        assert max(top, 0) - 0.01 <= float(rows.min())
        assert float(rows.max()) <= min(bottom, 64) + 0.01
    (slope,) = torch.autograd.grad(masks.clamp_min(-20).sum(), images)
    assert bool((slope.flatten(1).abs().amax(1) > 0).all())


def test_a_small_mask_is_stretched_over_its_box() -> None:
    small = torch.tensor([[[[-1.0, 1.0], [-1.0, 1.0]]]])
    laid = _laid(small, torch.tensor([[[2.0, 1.0, 6.0, 5.0]]]), (6, 8))[0, 0]
    inside = torch.full((6, 8), False)
    inside[1:5, 2:6] = True
    assert torch.equal(laid > -100, inside)
    assert laid[1:5, 2:6].tolist() == [[-1.0, -0.5, 0.5, 1.0]] * 4


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_semantic_models_give_one_map(name: str) -> None:
    torch.manual_seed(0)
    model = catalog.make(f"{name}()", "models").build(Signature(5, 1, (48, 64), "semantic"))
    images = torch.rand(2, 1, 48, 64).requires_grad_()
    for mode in (True, False):
        logits = model.train(mode)(images)
        assert logits.shape == (2, 5, 48, 64)
        assert bool((torch.autograd.grad(logits.square().sum(), images)[0] != 0).any())


@pytest.mark.parametrize("stride", [8, 16])
def test_deeplabv3_upon_timm_is_torchvisions(stride: int) -> None:
    import timm
    from torchvision.models.segmentation import DeepLabV3

    torch.manual_seed(0)
    made = catalog.make(f"deeplabv3('test_resnet', stride={stride})", "models")
    model = made.build(Signature(5, 3, (48, 64), "semantic"))
    made.prepare(model, pictures())
    model.eval()

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = timm.create_model("test_resnet", features_only=True, output_stride=stride)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"out": self.net(images)[-1]}

    other = DeepLabV3(Features(), copy.deepcopy(model.head)).eval()
    other.backbone.net.load_state_dict(model.backbone.net.state_dict())
    images = torch.rand(2, 3, 48, 64).requires_grad_()
    features = model.backbone(images)[-1]
    assert features.shape[2:] == (48 // stride, 64 // stride)
    assert [conv[0].dilation[0] for conv in model.head[0].convs[1:4]] == [96 // stride * n for n in (1, 2, 3)]
    logits = model(images)
    torch.testing.assert_close(logits, other(model.normalise(images))["out"])
    assert bool((torch.autograd.grad(logits.square().sum(), images)[0] != 0).any())
    assert model(torch.rand(1, 1, 50, 70)).shape == (1, 5, 50, 70)


def test_deeplabv3_names_its_mistakes() -> None:
    with pytest.raises(SpellingError, match="timm has no model 'resnet81'"):
        catalog.make("deeplabv3('resnet81')", "models")
    with pytest.raises(InputError, match=r"deeplabv3 serves semantic\. Got the task detection"):
        catalog.make("deeplabv3('test_resnet')", "models").build(Signature(5, 3, SIZE, "detection"))
    with pytest.raises(InputError, match=r"deeplabv3\(backbone='test_vit'\): timm gives no such features"):
        catalog.make("deeplabv3('test_vit')", "models").build(Signature(5, 3, SIZE, "semantic"))


def test_pretrained_weights_are_taken_over_but_for_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    room = importlib.import_module("stalwart.models.torchvision_dense")
    torch.manual_seed(9)
    name = "ssdlite320_mobilenet_v3_large"
    state = dict(torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict())
    monkeypatch.setattr(room, "fetch_weights", lambda name, url: dict(state))
    architecture = catalog.make(f"{name}(pretrained=True)", "models")
    model = architecture.build(Signature(3, 3, SIZE, "detection"))
    own = model.net.state_dict()
    other = [key for key in own if not torch.equal(own[key], state[key])] if len(own) == len(state) else ["another"]
    assert other
    assert all("classification_head" in key for key in other)
    architecture.prepare(model, pictures())
    assert model.normalise.mean.flatten().tolist() == [0.5] * 3
    del state["backbone.features.0.0.0.weight"]
    with pytest.raises(InputError, match="do not fit"):
        architecture.build(Signature(3, 3, SIZE, "detection"))


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"serves detection\. Got the task semantic"):
        catalog.make("fcos_resnet50_fpn()", "models").build(Signature(3, 3, SIZE, "semantic"))
    with pytest.raises(InputError, match=r"serves semantic\. Got the task classification"):
        catalog.make("fcn_resnet50()", "models").build(Signature(3, 3, SIZE))
    with pytest.raises(InputError, match="1 or 3 channels"):
        catalog.make("fcn_resnet50()", "models").build(Signature(3, 4, SIZE, "semantic"))
    with pytest.raises(SpellingError, match="fcos_resnet50_fpn"):
        catalog.make("torchvision_dense('fcos_resnet50')", "models")
