"""Any of torchvision's image classifiers, by its name."""

from __future__ import annotations

import re
from typing import Any, Literal

import torchvision as vision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

from stalwart.core.component import component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError, SpellingError, nearest
from stalwart.core.layers import Classifier, refuse_channels, refuse_too_small
from stalwart.feed.weights import fetch_weights

SMALL_BELOW = 64
"""With stem='auto', images whose shorter side has fewer pixels get the small stem."""

POOL_OF_STEM = {
    "densenet": "features.pool0",
    "efficientnet": "",
    "googlenet": "maxpool1",
    "mnasnet": "",
    "mobilenet": "",
    "regnet": "",
    "resnet": "maxpool",
    "resnext": "maxpool",
    "shufflenet": "maxpool",
    "wide": "maxpool",
}
"""Families whose first convolution halves the image, and their pooling layer right after it ('': none)."""


@component
class torchvision:
    """A classifier of `torchvision.models`: resnet18, convnext_tiny, vit_b_16, ... A bare `resnet18()` means the same.

    The head gets as many outputs as there are classes. Grey images are laid in all three channels. Auxiliary heads
    (GoogLeNet, Inception) are left out, so that every model gives logits alone.
    """

    name: str
    """torchvision's name of the model."""
    pretrained: bool = False
    """Begin with torchvision's default weights, fetched once and kept in torch's cache, and with the mean and standard
    deviation they were trained with. Otherwise nothing is fetched, and both come from the training images."""
    stem: Literal["auto", "small", "standard"] = "auto"
    """'standard' is torchvision's own. 'small' begins with a 3 × 3 convolution at full resolution and without the
    pooling after it (He et al., "Deep residual learning", CVPR 2016, section 4.2, for CIFAR-10); pretrained weights
    keep the middle of their larger filters. 'auto' is small below 64 pixels for ResNet, ResNeXt, DenseNet,
    GoogLeNet, ShuffleNet, MobileNet, MnasNet, EfficientNet and RegNet, and standard for all else."""

    def __post_init__(self) -> None:
        if not self.knows(self.name):
            raise SpellingError(f"torchvision has no classifier {self.name!r}. {nearest(self.name, self.known())}")
        if self.stem == "small" and self._family not in POOL_OF_STEM:
            raise SpellingError(
                f"torchvision(stem='small') is for {', '.join(POOL_OF_STEM)}. {self.name} has the standard stem only."
            )

    @classmethod
    def known(cls) -> list[str]:
        """The names that it answers to."""
        return list(vision.models.list_models(module=vision.models))

    @classmethod
    def knows(cls, name: str) -> bool:
        return name in cls.known()

    def build(self, signature: Signature) -> nn.Module:
        """
        Raises:
            InputError: images of this size do not come through the layers; or the pretrained weights are not at hand.
        """
        refuse_channels(self.name, signature.channels)
        try:
            net = vision.models.get_model(
                self.name, weights=None, num_classes=signature.classes, **self._more(signature)
            )
        except (ValueError, AssertionError) as error:  # MaxViT and ViT look at the size when they are made
            height, width = signature.size
            reason = str(error).splitlines()[0].rstrip(".!")
            raise InputError(f"{self.name} cannot take images of {height} × {width} pixels: {reason}.") from None
        if self._small(signature):
            self._make_small(net)
        model = Classifier(3, net)
        refuse_too_small(self.name, model, signature.channels, signature.size)
        if self.pretrained:
            weights = vision.models.get_model_weights(self.name).DEFAULT
            self._fill(net, fetch_weights(self.name, weights.url), len(weights.meta["categories"]), signature)
            # torchvision's builders move the input of these two from ImageNet's statistics back to those instead.
            half = self.name in ("googlenet", "inception_v3")
            preset = weights.transforms()
            model.normalise.set((0.5,) * 3 if half else tuple(preset.mean), (0.5,) * 3 if half else tuple(preset.std))
        return model

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, Classifier)
        if not self.pretrained:
            model.normalise.fit(images)

    @property
    def _family(self) -> str:
        found = re.match(r"[a-z]+", self.name)
        return found[0] if found else ""

    def _small(self, signature: Signature) -> bool:
        if self.stem == "auto":
            return self._family in POOL_OF_STEM and min(signature.size) < SMALL_BELOW
        return self.stem == "small"

    def _more(self, signature: Signature) -> dict[str, Any]:
        """Further arguments of this model's builder."""
        height, width = signature.size
        if self.name in ("googlenet", "inception_v3"):
            # Their truncated normals take seconds to draw; the layers' own initial weights do as well under BatchNorm.
            return {"aux_logits": False, "transform_input": False, "init_weights": False}
        if self._family == "vit":
            if height != width:
                raise InputError(f"{self.name} takes square images. Got {height} × {width} pixels.")
            return {"image_size": height}
        return {"input_size": (height, width)} if self._family == "maxvit" else {}

    def _make_small(self, net: nn.Module) -> None:
        place, first = _first_convolution(net)
        conv = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        net.set_submodule(place, conv)
        if POOL_OF_STEM[self._family]:
            net.set_submodule(POOL_OF_STEM[self._family], nn.Identity())

    def _fill(self, net: nn.Module, state: dict[str, Tensor], categories: int, signature: Signature) -> None:
        """Take pretrained weights over, all but a head for other classes."""
        own = net.state_dict()
        first = _first_convolution(net)[0] + ".weight"
        if self._family == "vit" and state["encoder.pos_embedding"].shape != own["encoder.pos_embedding"].shape:
            patch = state["conv_proj.weight"].shape[-1]
            state = dict(interpolate_embeddings(signature.size[0], patch, state))
        for name, mine in own.items():
            theirs = state.get(name)
            if theirs is None and name.endswith("num_batches_tracked"):
                continue  # weights from before BatchNorm counted
            if theirs is not None and name == first and theirs.shape != mine.shape:
                edge = (theirs.shape[-1] - mine.shape[-1]) // 2
                theirs = theirs[:, :, edge : edge + mine.shape[-2], edge : edge + mine.shape[-1]]
            if theirs is not None and theirs.shape == mine.shape:
                mine.copy_(theirs)  # what state_dict gives are the parameters themselves
            elif theirs is None or theirs.shape != (categories, *mine.shape[1:]):
                raise InputError(
                    f"{self.name}: the pretrained weights do not fit images of {signature.size[0]} × "
                    f"{signature.size[1]} pixels ({name}). Bring them to 224 pixels, or leave out pretrained=True."
                )


def _first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
