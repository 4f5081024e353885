"""The network for dense tasks with other encoders, with several heads, and as a graph for other runtimes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Signature
from stalwart.core.errors import ContractError, InputError, SpellingError
from stalwart.core.finding import finder_of, masker_of

TIMM = importlib.import_module("stalwart.models.timm")
SIZE = (40, 56)


def build(spelled: str, task: str, size: tuple[int, int] = SIZE, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = catalog.make(spelled, "models").build(Signature(3, channels, size, task))
    return model.eval()


def pictures(size: tuple[int, int] = SIZE, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------- heads

ALL = "dense(width=4, neck=8, depth=1, heads=('detection', 'semantic', 'instance'))"


def alone(model: nn.Module, task: str) -> nn.Module:
    """A model of one head with the weights that the model of several has for it."""
    single = build("dense(width=4, neck=8, depth=1)", task)
    theirs = model.state_dict()
    head = "semantic" if task == "semantic" else "instance"
    part = "centres." if task == "detection" else ""
    single.load_state_dict(
        {
            key: theirs[key if not key.startswith("head.") else key.replace("head.", f"head.heads.{head}.{part}", 1)]
            for key in single.state_dict()
        }
    )
    return single


def test_one_forward_gives_what_each_head_gives_alone() -> None:
    model, images = build(ALL, "instance"), pictures()
    passes: list[int] = []
    model.get_submodule("stem").register_forward_hook(lambda *_: passes.append(1))
    together = model(images)
    assert list(together) == ["detection", "semantic", "instance"]
    for name, output in together.items():
        assert torch.equal(output, alone(model, name)(images)), name
    assert len(passes) == 1


@pytest.mark.parametrize("task", ["semantic", "detection", "instance"])
def test_each_task_reads_its_own_output(task: str) -> None:
    """Predictions, losses and goals of the model of all heads are those of the model of one."""
    several = build(ALL, task)
    single = alone(several, task)
    data = "shapes(train=2, size=40)" if task != "semantic" else "shapes(target='semantic', train=2, size=40)"
    examples = catalog.make(data, "data").open("train")
    adapter: Any = catalog.make(f"{task}()", "tasks")
    images = torch.stack([examples[row].image for row in range(2)]) / 255
    targets = adapter.collate([examples[row].target for row in range(2)])
    if task == "semantic":
        targets = targets.clamp_max(2)
        assert torch.equal(adapter.predict(several, images), adapter.predict(single, images))
    else:
        for ours, theirs in zip(adapter.predict(several, images), adapter.predict(single, images), strict=True):
            assert len(ours.boxes)
            assert torch.equal(ours.boxes, theirs.boxes)
            assert torch.equal(ours.scores, theirs.scores)
            assert (ours.masks is None) == (task == "detection")
    assert torch.equal(adapter.loss(several, images, targets), adapter.loss(single, images, targets))
    assert torch.equal(adapter.goal(several, targets)(images).loss, adapter.goal(single, targets)(images).loss)


def test_boxes_and_a_map_without_masks() -> None:
    model = build("dense(width=4, neck=8, depth=1, heads=('detection', 'semantic'))", "detection")
    said = model(pictures())
    assert {name: tuple(output.shape) for name, output in said.items()} == {
        "detection": (2, 7, 20, 28),
        "semantic": (2, 3, *SIZE),
    }
    assert finder_of(model).candidates(said)[0].shape == (2, 20 * 28, 4)
    with pytest.raises(ContractError, match=r"masks\(\)"):
        masker_of(model)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("dense(heads=('semantic', 'semantic'))", "each head once"),
        ("dense(heads=('depth',))", "heads"),
        ("dense(pretrained=True)", "needs a backbone"),
        ("dense(backbone='resnet81')", "timm has no model 'resnet81'"),
        ("dense(backbone='resnet18', width=8)", "width and depth"),
    ],
)
def test_odd_spellings_are_refused(spelled: str, message: str) -> None:
    with pytest.raises(SpellingError, match=message) as caught:
        catalog.make(spelled, "models")
    assert "\n" not in str(caught.value)


def test_heads_without_the_tasks_own_are_refused() -> None:
    with pytest.raises(InputError, match=r"detection needs detection\. Got \('semantic', 'instance'\)"):
        build("dense(heads=('semantic', 'instance'))", "detection")


# ---------------------------------------------------------------- backbones


@pytest.mark.parametrize(
    ("backbone", "stride", "size"),
    [
        ("test_resnet", 2, (40, 56)),
        ("test_efficientnet", 4, (33, 47)),
        ("test_vit", 16, (40, 56)),  # made for one size, one stride
        ("mambaout_femto", 4, (40, 56)),  # channels last
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_timm_backbones(backbone: str, stride: int, size: tuple[int, int], channels: int) -> None:
    spelled = f"dense(backbone='{backbone}', neck=8, stride={stride}, heads=('semantic', 'instance'))"
    model = build(spelled, "instance", size, channels)
    said = model(pictures(size, channels))
    assert said["semantic"].shape == (2, 3, *size)
    assert said["instance"].shape[2:] == tuple(-(-side // stride) for side in size)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d | nn.LayerNorm)]
    assert norms
    model.train()
    sum(output.square().mean() for output in model(pictures(size, channels)).values()).backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not still, "weights that no output depends on"


def test_a_place_of_the_map_is_where_its_pixels_are() -> None:
    """A spot that lights up changes the features around it, at each stride, whatever padding the size needs."""
    model = build("dense(backbone='test_resnet', neck=8, stride=2)", "detection", (88, 104))
    body: Any = model.backbone
    dark = torch.zeros(1, 3, 88, 104)
    lit = dark.clone()
    lit[:, :, 40:48, 64:72] = 3.0
    with torch.no_grad():
        levels = list(zip(body.strides, body(dark), body(lit), strict=True))
    for stride, before, after in levels[:3]:
        changed = (after - before).abs().sum(1)[0]  # (h, w)
        rows, columns = torch.arange(changed.shape[0]) + 0.5, torch.arange(changed.shape[1]) + 0.5
        y, x = (changed.sum(1) @ rows) / changed.sum() * stride, (changed.sum(0) @ columns) / changed.sum() * stride
        assert abs(float(y) - 44) < 2 * stride
        assert abs(float(x) - 68) < 2 * stride


def test_a_stride_that_the_backbone_has_not_is_named() -> None:
    with pytest.raises(InputError, match=r"features at strides 4, 8, 16, 32\. Got stride=2"):
        build("dense(backbone='convnext_atto')", "semantic")


def test_pretrained_backbones_say_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no network")

    monkeypatch.setattr(TIMM, "urlopen", cut_off)
    monkeypatch.setattr(TIMM, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(InputError) as caught:
        build("dense(backbone='test_resnet', pretrained=True)", "semantic")
    assert "dense(backbone='test_resnet', pretrained=True)" in str(caught.value)
    assert "timm/test_resnet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pretrained_weights_come_with_their_own_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    torch.manual_seed(5)
    donor = timm.create_model("test_resnet", features_only=True)
    create = timm.create_model

    def given(name: str, *, pretrained: bool = False, **more: Any) -> nn.Module:
        made: nn.Module = create(name, **more)
        if pretrained:
            made.load_state_dict(donor.state_dict())
        return made

    monkeypatch.setattr(TIMM, "_reach", lambda *_: None)
    monkeypatch.setattr(timm, "create_model", given)
    architecture = catalog.make("dense(backbone='test_resnet', pretrained=True)", "models")
    model: Any = architecture.build(Signature(3, 3, SIZE, "semantic"))
    own = model.backbone.net.state_dict()
    assert all(torch.equal(own[key], value) for key, value in donor.state_dict().items())
    about = timm.get_pretrained_cfg("test_resnet")
    architecture.prepare(model, torch.rand(4, 3, *SIZE))
    torch.testing.assert_close(model.normalise.mean.flatten(), torch.tensor(about.mean))
    torch.testing.assert_close(model.normalise.std.flatten(), torch.tensor(about.std))


# ---------------------------------------------------------------- graphs


@pytest.mark.parametrize("encoder", ["width=4, depth=1", "backbone='test_resnet'"])
def test_the_exported_graph_gives_the_same(encoder: str) -> None:
    model = build(f"dense({encoder}, neck=8, heads=('detection', 'semantic', 'instance'))", "instance")
    images = pictures()
    batch = torch.export.Dim("batch", min=1, max=64)
    graph = torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()
    more = torch.cat([images, images.flip(3), images[:1]])
    for name, output in graph(more).items():
        torch.testing.assert_close(output, model(more)[name], rtol=1e-4, atol=1e-5)


def test_onnx_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="torch.onnx needs onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="to run the exported graph")
    names = ["detection", "semantic", "instance"]
    model, images = build(ALL, "instance"), pictures()
    file = tmp_path / "dense.onnx"
    torch.onnx.export(model, (images,), file, dynamo=True, input_names=["images"], output_names=names)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for name, output in zip(names, session.run(names, {"images": images.numpy()}), strict=True):
        torch.testing.assert_close(torch.from_numpy(output), model(images)[name], rtol=1e-4, atol=1e-5)
