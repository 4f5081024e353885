"""timm's networks as encoders for dense tasks: one level of features for each stride."""

from __future__ import annotations

from typing import Any

import timm as image_models
import torch.nn.functional as F
from torch import Tensor, nn

from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.models.timm import fetched


class Backbone(nn.Module):
    """Levels of features of a timm network, from `stride` to its coarsest, by `features_only`.

    Images are padded on the right and at the bottom to a multiple of the coarsest stride, since networks differ in what
    they do with a rest; each level is cut to what the image itself covers.

    Args:
        who: the component's name, for messages.
        name: timm's name; the caller has made sure that there is one.
        stride: pixels to a place of the finest level that is wanted.
        dilated: no level is coarser than that; where the network would go on halving, its filters are spread instead.

    Raises:
        InputError: no features of that stride, none of this network at all, or the weights are not at hand.
    """

    def __init__(
        self, who: str, name: str, pretrained: bool, signature: Signature, stride: int, dilated: bool = False
    ) -> None:
        super().__init__()
        self.who = f"{who}(backbone={name!r}"
        self.kept: dict[str, Any] = {"output_stride": stride} if dilated else {}
        self.about: Any = image_models.get_pretrained_cfg(name)
        fixed = self.about is not None and self.about.fixed_input_size
        trial: Any = self._made(name, None)
        strides = [int(each) for each in trial.feature_info.reduction()]
        if stride not in strides:
            raise InputError(
                f"{self.who}, stride={stride}): this network has features at strides "
                f"{', '.join(str(each) for each in sorted(set(strides)))}. Got stride={stride}."
            )
        self.coarsest = max(strides)
        height, width = (-(-side // self.coarsest) * self.coarsest for side in signature.size)
        size = (height, width) if fixed else None
        if pretrained:
            self.net: Any = fetched(
                f"{self.who}, pretrained=True)", self.about, lambda: self._made(name, size, pretrained=True)
            )
        else:
            self.net = trial if size is None else self._made(name, size)
        # Of several levels of one stride the last has seen most.
        self.levels = [strides.index(each) + strides.count(each) - 1 for each in sorted(set(strides)) if each >= stride]
        self.strides = [strides[level] for level in self.levels]
        self.widths = [int(self.net.feature_info.channels()[level]) for level in self.levels]
        self.last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[2:]
        rest = (0, -width % self.coarsest, 0, -height % self.coarsest)
        every = self.net(F.pad(images, rest) if any(rest) else images)
        levels = []
        for level, stride in zip(self.levels, self.strides, strict=True):
            features = every[level].permute(0, 3, 1, 2) if self.last else every[level]
            levels.append(features[:, :, : -(-height // stride), : -(-width // stride)])
        return levels

    def _made(self, name: str, size: tuple[int, int] | None, pretrained: bool = False) -> nn.Module:
        more: dict[str, Any] = self.kept if size is None else {**self.kept, "img_size": size}
        try:
            made: nn.Module = image_models.create_model(
                name, features_only=True, pretrained=pretrained, in_chans=3, **more
            )
        except (RuntimeError, AttributeError, TypeError, AssertionError, ValueError) as error:
            if pretrained:
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{self.who}): timm gives no such features of this network ({reason}).") from None
        return made
