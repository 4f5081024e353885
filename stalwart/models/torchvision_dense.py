"""torchvision's models for dense tasks, by their names."""

from __future__ import annotations

from typing import Any

import torchvision as vision
from torch import Tensor, nn
from torchvision.models import detection as detectors
from torchvision.models.detection.ssd import SSD

from stalwart.core.component import component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError, SpellingError, nearest
from stalwart.core.layers import Normalise, refuse_channels, refuse_too_small
from stalwart.feed.weights import fetch_weights
from stalwart.models._torchvision_detectors import OneStage, TwoStage


@component
class torchvision_dense:
    """A model of torchvision's for a dense task. A bare `fcos_resnet50_fpn()` means the same.

    - semantic: FCN, DeepLabV3 and LR-ASPP, without their auxiliary heads.
    - detection: SSD, SSDlite, RetinaNet, FCOS, Faster and Mask R-CNN.
    - instance: Mask R-CNN.

    Images are taken at their own size: torchvision's resizing is left out, and its normalisation is the model's first
    layer. Grey images are laid in all three channels. A detector gives plain tensors in training too, and its loss is
    deterministic and each image's own. The one-stage ones have their family's loss as torchvision computes it for a
    single image. Faster and Mask R-CNN draw their samples at random there; here the hardest take the samples' place,
    and true boxes are not slipped in among the proposals, since a forward pass does not know them.
    """

    name: str
    """torchvision's name of the model."""
    pretrained: bool = False
    """Begin with torchvision's default weights for the whole model, fetched once and kept in torch's cache, and with
    the mean and standard deviation they were trained with; what depends on the number of classes is taken over where
    that number is the same. Otherwise nothing is fetched, not for the backbone either."""

    def __post_init__(self) -> None:
        if not self.knows(self.name):
            raise SpellingError(f"torchvision has no dense model {self.name!r}. {nearest(self.name, self.known())}")

    @classmethod
    def known(cls) -> list[str]:
        """The names that it answers to."""
        found = [*_named(vision.models.segmentation), *_named(detectors)]
        return [name for name in found if not name.startswith("keypoint")]

    @classmethod
    def knows(cls, name: str) -> bool:
        return name in cls.known()

    def build(self, signature: Signature) -> nn.Module:
        """
        Raises:
            InputError: another task; images of this size do not come through the layers; or the pretrained weights are
                not at hand.
        """
        serves = self._serves()
        if signature.task not in serves:
            raise InputError(f"{self.name} serves {' and '.join(serves)}. Got the task {signature.task}.")
        refuse_channels(self.name, signature.channels)
        model = _Map(self._net(signature.classes)) if "semantic" in serves else self._detector(signature)
        refuse_too_small(self.name, model, signature.channels, signature.size)
        if self.pretrained:
            weights = vision.models.get_model_weights(self.name).DEFAULT
            _fill(model.net, fetch_weights(self.name, weights.url), self.name)
            model.normalise.set(*model.published)
        return model

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, _Map | OneStage | TwoStage)
        if not self.pretrained:
            model.normalise.fit(images)

    def _serves(self) -> tuple[str, ...]:
        if self.name in _named(vision.models.segmentation):
            return ("semantic",)
        return ("detection", "instance") if self.name.startswith("mask") else ("detection",)

    def _net(self, outputs: int) -> nn.Module:
        more: dict[str, Any] = {"aux_loss": False} if self.name[:3] in ("fcn", "dee") else {}
        net: nn.Module = vision.models.get_model(
            self.name, weights=None, weights_backbone=None, num_classes=outputs, **more
        )
        return net

    def _detector(self, signature: Signature) -> OneStage | TwoStage:
        if self.name.startswith(("fcos", "retinanet")):  # these have no output for the background
            return OneStage(self._net(signature.classes))
        net = self._net(signature.classes + 1)
        return OneStage(net) if isinstance(net, SSD) else TwoStage(net, signature.task == "instance")


def _named(module: Any) -> list[str]:
    return list(vision.models.list_models(module=module))


class _Map(nn.Module):
    """A model that gives one map of logits, of the images' size."""

    published = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """Mean and standard deviation of what the published weights were trained on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(3)
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(self.normalise(images))["out"]
        return logits


def _fill(net: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Take pretrained weights over, all but what is made for another number of classes."""
    own = net.state_dict()
    other = {key for key, theirs in state.items() if key in own and own[key].shape != theirs.shape}
    taken = net.load_state_dict({key: theirs for key, theirs in state.items() if key not in other}, strict=False)
    missing = [key for key in taken.missing_keys if key not in other and not key.endswith("num_batches_tracked")]
    uneven = [key for key in other if own[key].shape[1:] != state[key].shape[1:]]
    if missing or uneven:
        raise InputError(f"{name}: the pretrained weights do not fit the model ({(missing or uneven)[0]}).")
