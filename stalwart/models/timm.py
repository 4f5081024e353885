"""Any of timm's image classifiers, by its name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import timm as image_models
import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch import Tensor, nn

from stalwart.core.component import component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError, SpellingError, nearest
from stalwart.core.layers import Classifier, refuse_channels, refuse_too_small


@component
class timm:
    """A classifier of timm (Wightman, "PyTorch image models", 2019): mobilenetv4_conv_small, convnextv2_atto, ...

    A bare `mobilenetv4_conv_small()` means the same where torchvision has no model of that name. The head gets as many
    outputs as there are classes. Grey images are laid in all three channels. Models made for one size of image are
    built for the size at hand.
    """

    name: str
    """timm's name of the model, with a tag after a dot where certain weights are meant: 'resnet18.a1_in1k'."""
    pretrained: bool = False
    """Begin with timm's weights, fetched once and kept in Hugging Face's cache, and with the mean and standard
    deviation they were trained with. Otherwise nothing is fetched, and both come from the training images."""

    def __post_init__(self) -> None:
        self.expect(self.name)

    @classmethod
    def known(cls) -> list[str]:
        """The names that it answers to, tags left out."""
        return list(image_models.list_models())

    @classmethod
    def knows(cls, name: str) -> bool:
        # A tag is looked up too: timm itself takes any, and only fails when it looks for the weights.
        return image_models.is_model(name) and ("." not in name or name in image_models.list_pretrained())

    @classmethod
    def expect(cls, name: str) -> None:
        """
        Raises:
            SpellingError: timm has no such model; the nearest are named.
        """
        if not cls.knows(name):
            raise SpellingError(f"timm has no model {name!r}. {nearest(name, cls.known())}")

    def build(self, signature: Signature) -> nn.Module:
        """
        Raises:
            InputError: images of this size do not come through the layers; or the pretrained weights are not at hand.
        """
        refuse_channels(self.name, signature.channels)
        about: Any = image_models.get_pretrained_cfg(self.name)
        size = signature.size if about is not None and about.fixed_input_size else None
        try:
            net = image_models.create_model(self.name, num_classes=signature.classes, in_chans=3, img_size=size)
        except (ValueError, AssertionError, RuntimeError) as error:  # some look at the size when they are made
            height, width = signature.size
            reason = _first_line(error).rstrip(".!")
            raise InputError(f"{self.name} cannot take images of {height} × {width} pixels: {reason}.") from None
        model = Classifier(3, net)
        refuse_too_small(self.name, model, signature.channels, signature.size)
        if self.pretrained:
            model.net = fetched(
                f"{self.name}(pretrained=True)",
                about,
                lambda: image_models.create_model(
                    self.name, pretrained=True, num_classes=signature.classes, in_chans=3, img_size=size
                ),
            )
            model.normalise.set(tuple(about.mean), tuple(about.std))
        return model

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, Classifier)
        if not self.pretrained:
            model.normalise.fit(images)


def fetched(who: str, about: Any, make: Callable[[], nn.Module]) -> nn.Module:
    """The network that `make` builds with timm's published weights.

    Args:
        who: the spelling to be named in an error.
        about: timm's `PretrainedCfg` of the model, or None.

    Raises:
        InputError: there are no such weights, or they are not at hand.
    """
    if about is None or not about.has_weights:
        raise InputError(f"{who}: timm has no weights of this model.")
    try:
        with _quiet():
            _reach(about.hf_hub_id)
            return make()
    except Exception as error:  # what a missing network or a damaged file raises has no common base
        where = f"https://huggingface.co/{about.hf_hub_id}" if about.hf_hub_id else about.url
        cache = constants.HF_HUB_CACHE if about.hf_hub_id else f"{torch.hub.get_dir()}/checkpoints"
        raise InputError(
            f"{who}: the weights could not be fetched or read ({_first_line(error)}). "
            f"They are at {where} and are kept in {cache}: copy that folder from a machine with a network, "
            "or leave out pretrained=True to train from scratch."
        ) from None


def _reach(repository: str | None) -> None:
    """Fail at once where the weights are neither here nor to be had: the hub's own client tries for a minute.

    Raises:
        OSError: no network.
    """
    if repository is None:
        return
    files = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return
    with suppress(HTTPError):  # an answer of any kind
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=10).close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the library's warnings about each attempt to connect; the error says it once."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
