"""Every model builds for the usual sizes or says why not, takes pixels, learns, and goes through its state."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Architecture, Signature
from stalwart.core.errors import InputError, SpellingError
from stalwart.core.layers import Classifier, Normalise

OTHERS = ("torchvision", "torchvision_dense", "timm", "dense", "deeplabv3", "policy", "driver", "stixels")
"""Models that are no classifiers, or need a name."""
# One of each family and way of building, small ones.
SPELLED = [
    *(f"{name}()" for name in catalog.names("models") if name not in OTHERS),
    "resnet18()",
    "resnet18(stem='standard')",
    "densenet121()",
    "mobilenet_v3_small()",
    "shufflenet_v2_x0_5()",
    "googlenet()",
    "squeezenet1_1()",
    "regnet_y_400mf()",
    "mnasnet0_5()",
    "test_convnext()",
    "test_efficientnet()",
    "test_vit()",
    "timm('test_resnet.r160_in1k')",
]


def build(spelled: str, signature: Signature, seed: int = 0) -> tuple[Architecture, nn.Module]:
    architecture: Architecture = catalog.make(spelled, "models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture, architecture.build(signature)


def pixels(n: int, channels: int = 3, size: tuple[int, int] = (32, 32)) -> Tensor:
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spelled", SPELLED)
def test_model_takes_pixels_and_keeps_its_state(spelled: str) -> None:
    signature = Signature(10, 3, (32, 32))
    architecture, model = build(spelled, signature)
    images = pixels(4)
    architecture.prepare(model, images)
    model.eval()
    images.requires_grad_()
    logits = model(images)
    assert logits.shape == (4, 10)
    assert logits.dtype == torch.float32
    (slope,) = torch.autograd.grad(logits.square().sum(), images)
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().amax(1) > 0).all()
    _, other = build(spelled, signature, seed=5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(images), logits)


@pytest.mark.parametrize("spelled", SPELLED)
def test_model_is_the_same_for_a_seed(spelled: str) -> None:
    signature = Signature(3, 3, (32, 32))
    one, again = (build(spelled, signature)[1].state_dict() for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in one.items())


@pytest.mark.parametrize("spelled", [s for s in SPELLED if "squeezenet" not in s and "densenet" not in s])
def test_grey_images_and_other_shapes(spelled: str) -> None:
    architecture, model = build(spelled, Signature(4, 1, (64, 48)))
    images = pixels(3, 1, (64, 48))
    architecture.prepare(model, images)
    model.train()
    F.cross_entropy(model(images), torch.tensor([0, 1, 2])).backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name


@pytest.mark.parametrize("spelled", ["convnet(width=8)", "fastnet(widths=(8, 16))", "cnn_gru(width=8, hidden=32)"])
def test_our_own_models_take_tiny_images(spelled: str) -> None:
    _, model = build(spelled, Signature(10, 1, (8, 8)))
    assert model(pixels(2, 1, (8, 8))).shape == (2, 10)


def test_digits_are_learnt_in_seconds() -> None:
    source = catalog.make("digits()", "data")
    (images, labels), (held, answers) = (source.open(split).arrays() for split in ("train", "test"))
    x, y = images.float() / 255, torch.tensor(labels)
    architecture, model = build("convnet(width=8)", Signature(10, 1, (8, 8)))
    architecture.prepare(model, x)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(6):
        for part in torch.randperm(len(x), generator=order).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()
    model.eval()
    right = (model(held.float() / 255).argmax(1) == torch.tensor(answers)).float().mean()
    assert right > 0.95


def moving_dots(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clips (n, 4, 1, 12, 12) of a dot that goes right, left, down or up and ends anywhere in the middle."""
    draw = torch.Generator().manual_seed(seed)
    way = torch.randint(0, 4, (n,), generator=draw)
    end = torch.randint(4, 7, (n, 2), generator=draw)
    step = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])[way]
    clips = torch.zeros(n, 4, 1, 12, 12)
    for frame in range(4):
        place = end - step * (3 - frame)
        clips[torch.arange(n), frame, 0, place[:, 0], place[:, 1]] = 1
    return clips, way


def learnt(clips: Tensor, way: Tensor, held: Tensor, answers: Tensor) -> float:
    architecture, model = build("cnn_gru(width=4, hidden=32)", Signature(4, 1, (12, 12)))
    architecture.prepare(model, clips)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(10):
        for part in torch.arange(len(clips)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(clips[part]), way[part]).backward()
            optimizer.step()
    return float((model.eval()(held).argmax(1) == answers).float().mean())


def test_cnn_gru_learns_the_order_of_frames() -> None:
    clips, way = moving_dots(384, 0)
    held, answers = moving_dots(128, 1)
    assert learnt(clips, way, held, answers) > 0.9
    assert learnt(clips[:, -1], way, held[:, -1], answers) < 0.5  # the last frame alone does not tell


def test_cnn_gru_takes_an_image_as_one_frame_and_refuses_else() -> None:
    _, model = build("cnn_gru(width=4)", Signature(2, 3, (16, 16)))
    model.eval()
    images = pixels(2, 3, (16, 16))
    assert torch.equal(model(images), model(images[:, None]))
    with pytest.raises(InputError, match="clips"):
        model(images[0])


def test_whitening_makes_patches_uncorrelated() -> None:
    architecture, model = build("fastnet()", Signature(10, 3, (32, 32)))
    smooth = F.interpolate(pixels(200, 3, (8, 8)), (32, 32), mode="bilinear") * 0.5 + 0.2
    noisy = (smooth + 0.05 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    architecture.prepare(model, noisy)
    whiten = model.whiten
    assert isinstance(whiten, nn.Module)
    patches = F.conv2d(noisy, whiten.weight, whiten.bias).transpose(0, 1).flatten(1)  # type: ignore[arg-type]
    assert patches.mean(1).abs().max() < 1e-2
    cov = patches.cov()
    assert (cov - torch.diag(cov.diag())).abs().max() < 0.05
    assert cov.diag().max() < 1.01
    assert cov.diag().min() > 0.3  # the floor holds back directions in which there is little


def test_normalise_takes_mean_and_spread_from_training_images() -> None:
    images = pixels(50) * torch.tensor([0.2, 0.5, 1.0])[:, None, None]
    layer = Normalise(3)
    layer.fit(images)
    seen = layer(images)
    assert seen.mean((0, 2, 3)).abs().max() < 1e-5
    assert (seen.std((0, 2, 3)) - 1).abs().max() < 1e-5
    layer.fit(torch.full((2, 3, 4, 4), 0.5))  # images of one colour have no spread
    assert layer(torch.full((2, 3, 4, 4), 0.5)).abs().max() == 0
    assert set(layer.state_dict()) == {"mean", "std"}


def test_grey_fits_three_channels() -> None:
    model = Classifier(3, nn.Conv2d(3, 2, 3))
    grey = pixels(4, 1, (8, 8))
    model.normalise.fit(grey)
    assert torch.equal(model(grey), model(grey.expand(-1, 3, -1, -1)))


def test_names_are_known_and_mistakes_are_told() -> None:
    for room, name in (("torchvision", "resnet18"), ("timm", "mobilenetv4_conv_small")):
        keeper = catalog.load(f"models.{room}")
        assert keeper.knows(name)  # type: ignore[attr-defined]
        assert not keeper.knows("no_such_model")  # type: ignore[attr-defined]
    assert not catalog.load("models.timm").knows("resnet18.no_such_tag")  # type: ignore[attr-defined]
    assert not catalog.load("models.timm").knows("hf-hub:some/model")  # type: ignore[attr-defined]
    assert repr(catalog.make("resnet18(stem='small')", "models")) == "torchvision('resnet18', stem='small')"
    assert repr(catalog.make("mobilenetv4_conv_small", "models")) == "timm('mobilenetv4_conv_small')"
    with pytest.raises(SpellingError, match="'resnet18'"):
        catalog.make("torchvision('resnt18')", "models")
    with pytest.raises(SpellingError, match="'mobilenetv4_conv_small'"):
        catalog.make("timm('mobilenetv4_conv_smal')", "models")
    for wrong, meant in (
        ("resnt18()", "resnet18"),
        ("convnte(width=8)", "convnet"),
        ("efficientnet_b00", "efficientnet_b0"),
    ):
        with pytest.raises(SpellingError, match=f"Did you mean.*'{meant}'"):
            catalog.make(wrong, "models")
    with pytest.raises(SpellingError, match="standard stem only"):
        catalog.make("vit_b_16(stem='small')", "models")


@pytest.mark.parametrize(
    ("spelled", "size"),
    [("alexnet()", (32, 32)), ("inception_v3()", (32, 32)), ("maxvit_t()", (32, 32)), ("vit_b_16()", (32, 24))],
)
def test_images_of_a_wrong_size_are_refused(spelled: str, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size[0]} × {size[1]}") as caught:
        build(spelled, Signature(10, 3, size))
    assert "\n" not in str(caught.value)


# The smallest of every family that torchvision has, at a size that it takes.
FAMILIES = {
    "alexnet": ("alexnet", 64),
    "convnext": ("convnext_tiny", 32),
    "densenet": ("densenet121", 32),
    "efficientnet": ("efficientnet_b0", 32),
    "googlenet": ("googlenet", 32),
    "inception": ("inception_v3", 80),
    "maxvit": ("maxvit_t", 224),
    "mnasnet": ("mnasnet0_5", 32),
    "mobilenet": ("mobilenet_v3_small", 32),
    "regnet": ("regnet_y_400mf", 32),
    "resnet": ("resnet18", 32),
    "resnext": ("resnext50_32x4d", 32),
    "shufflenet": ("shufflenet_v2_x0_5", 32),
    "squeezenet": ("squeezenet1_1", 32),
    "swin": ("swin_t", 32),
    "vgg": ("vgg11", 32),
    "vit": ("vit_b_32", 64),
    "wide": ("wide_resnet50_2", 32),
}


def test_no_family_of_torchvision_is_forgotten() -> None:
    import re

    keeper = catalog.load("models.torchvision")
    assert {re.match("[a-z]+", name)[0] for name in keeper.known()} == set(FAMILIES)  # type: ignore[attr-defined,index]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_logits_alone_in_training_too(family: str) -> None:
    name, size = FAMILIES[family]
    _, model = build(f"{name}()", Signature(5, 1, (size, size)))
    images = pixels(2, 1, (size, size)).requires_grad_()
    for mode in (True, False):
        logits = model.train(mode)(images)
        assert isinstance(logits, Tensor)
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
    assert torch.autograd.grad(logits.sum(), images)[0].isfinite().all()


def test_four_channels_are_refused() -> None:
    for spelled in ("resnet18()", "test_resnet()"):
        with pytest.raises(InputError, match="1 or 3 channels"):
            build(spelled, Signature(10, 4, (32, 32)))


def test_stems() -> None:
    def first(spelled: str, size: int) -> nn.Conv2d:
        model = build(spelled, Signature(10, 3, (size, size)))[1]
        return next(module for module in model.modules() if isinstance(module, nn.Conv2d))

    assert first("resnet18()", 32).kernel_size == (3, 3)
    assert first("resnet18()", 32).stride == (1, 1)
    assert first("resnet18()", 64).kernel_size == (7, 7)
    assert first("resnet18(stem='standard')", 32).kernel_size == (7, 7)
    assert first("resnet18(stem='small')", 64).kernel_size == (3, 3)


def test_standard_stem_is_torchvisions_own() -> None:
    import torchvision

    _, model = build("resnet18(stem='standard')", Signature(10, 3, (32, 32)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = torchvision.models.resnet18(weights=None, num_classes=10)
    assert torch.equal(model.eval()(pixels(2)), own.eval()(pixels(2)))
