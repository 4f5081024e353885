"""A convolutional network for each frame and a recurrent one over time: for clips, and for single images."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from stalwart.core.component import at_least, component
from stalwart.core.contracts import Signature
from stalwart.core.errors import InputError
from stalwart.core.layers import Normalise

GRID = 4
"""Each frame's features are averaged over a grid of so many cells a side: what moves must leave a trace of where."""


@component
class cnn_gru:
    """Clips (B, T, C, H, W) in [0, 1] to logits (B, K); an image (B, C, H, W) is a clip of one frame.

    Convolutions see each frame alone, a gated recurrent unit reads their features in order, and its last state is
    classified. After Donahue et al., "Long-term recurrent convolutional networks" (CVPR 2015), with the unit of Cho et
    al., "Learning phrase representations" (EMNLP 2014): h_t = (1 − z_t) n_t + z_t h_{t−1}.
    """

    width: Annotated[int, at_least(1)] = 16
    """Channels of the first stage of convolutions; each further one has twice as many."""
    stages: Annotated[int, at_least(1)] = 3
    """Stages at most; fewer where the image would fall below 4 pixels."""
    hidden: Annotated[int, at_least(1)] = 128
    """Numbers in the recurrent state, and in a frame's features."""

    def build(self, signature: Signature) -> nn.Module:
        return _CnnGru(self.width, self.stages, self.hidden, signature)

    def prepare(self, model: nn.Module, images: Tensor) -> None:
        """Take the normalisation from training images or clips."""
        assert isinstance(model, _CnnGru)
        model.normalise.fit(images.flatten(0, 1) if images.ndim == 5 else images)


class _CnnGru(nn.Module):
    def __init__(self, width: int, stages: int, hidden: int, signature: Signature) -> None:
        super().__init__()
        self.normalise = Normalise(signature.channels)
        layers: list[nn.Module] = []
        channels, shorter = signature.channels, min(signature.size)
        for stage in range(stages):
            if stage and shorter < 2 * GRID:
                break
            if stage:
                layers.append(nn.MaxPool2d(2))
                shorter //= 2
            out = width * 2**stage
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        layers += [nn.AdaptiveAvgPool2d(GRID), nn.Flatten(), nn.Linear(channels * GRID**2, hidden), nn.ReLU()]
        self.frame = nn.Sequential(*layers)
        self.time = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, signature.classes)

    def forward(self, clips: Tensor) -> Tensor:
        if clips.ndim == 4:
            clips = clips[:, None]
        if clips.ndim != 5 or not clips.shape[1]:
            raise InputError(f"cnn_gru takes clips (B, T, C, H, W) or images (B, C, H, W). Got {tuple(clips.shape)}.")
        b, t = clips.shape[:2]
        features = self.frame(self.normalise(clips).flatten(0, 1)).view(b, t, -1)  # (B, T, hidden)
        states: Tensor = self.time(features)[0]
        logits: Tensor = self.head(states[:, -1])
        return logits
