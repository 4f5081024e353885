"""Pictures in which a poster's texels are left open, so that any print can be put there while a net learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from stalwart.core.errors import InputError
from stalwart.drive.pyramid import FULL
from stalwart.drive.sensors.camera import Frames
from stalwart.drive.sensors.shading import LEVEL, UNIT
from stalwart.drive.sensors.textures import Textures, ripmap


@dataclass(frozen=True, eq=False)
class Blanks:
    """The P pixels of some pictures that show a poster. What `sensors.shade` does for whole frames, for these alone."""

    picture: Tensor
    """(P,) int64, which picture."""
    pixel: Tensor
    """(P,) int64, row · width + column."""
    texels: Tensor
    """(P, 2) int64 in the print's rip-map; −1 where the texel is none of it."""
    others: Tensor
    """(P, 2, 3) float32, the colours of those texels."""
    share: Tensor
    """(P, 1) how much of the second texel."""
    gain: Tensor
    """(P, 3)"""
    bias: Tensor
    """(P, 3)"""

    @staticmethod
    def none() -> Blanks:
        """No pixel at all."""
        whole, real = (torch.zeros(0, dtype=kind) for kind in (torch.int64, torch.float32))
        three = real.reshape(0, 3)
        return Blanks(whole, whole, whole.reshape(0, 2), real.reshape(0, 2, 3), real.reshape(0, 1), three, three)

    def select(self, index: Tensor) -> Blanks:
        """Of the pictures at `index` (n,), which are 0 to n − 1 then."""
        most = 1 + int(max(index.max(), self.picture.max() if len(self.picture) else 0))
        place = torch.full((most,), -1, dtype=torch.int64)
        place[index] = torch.arange(len(index))
        now = place[self.picture]
        kept = now >= 0
        rest = [getattr(self, part.name)[kept] for part in fields(self)[1:]]
        return Blanks(now[kept], *rest)

    def put(self, images: Tensor, prints: Tensor, which: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) with print `which` (n,) of (K, 3, S, S) on the poster; differentiable in the prints."""
        rips = ripmap(prints).permute(0, 2, 3, 1).reshape(len(prints), -1, 3)
        mine = rips[which[self.picture][:, None], self.texels.clamp(min=0)]  # (P, 2, 3)
        mine = torch.where((self.texels >= 0)[..., None], mine, self.others)
        colours = torch.addcmul(self.bias, self.gain, mine[:, 0] + (mine[:, 1] - mine[:, 0]) * self.share).clamp(0, 1)
        flat = images.flatten(2).transpose(1, 2)
        shown = flat.index_put((self.picture, self.pixel), colours)
        return shown.transpose(1, 2).reshape(images.shape)


def blanks_of(frames: Frames, textures: Textures, name: str) -> Blanks:
    """Of frames from `camera.room(..., affine=True)`, wherever the texture of that name shows.

    Raises:
        InputError: the frames do not hold what colours were made of.
    """
    if frames.texels is None or frames.gain is None or frames.bias is None:
        raise InputError("blanks need frames from room(..., affine=True). Got frames without texels, gain and bias.")
    area = (2 << textures.bits) ** 2
    texels = torch.from_numpy(frames.texels).flatten(1, 2)  # (W, H · B, 3)
    pair = texels[..., :2].long()
    ours = pair // area == textures.index(name)
    picture, pixel = ours.any(-1).nonzero().unbind(1)
    pair, ours = pair[picture, pixel], ours[picture, pixel]
    gain, bias = (torch.from_numpy(part.astype("float32")).flatten(1, 2)[picture, pixel, :3]
                  for part in (frames.gain, frames.bias))  # fmt: skip
    return Blanks(
        picture, pixel, torch.where(ours, pair % area, -1), textures.rips[pair, :3].clone(),
        texels[picture, pixel, 2:].float() / FULL, gain / UNIT, bias / (255 * LEVEL),
    )  # fmt: skip


def joined(parts: Sequence[tuple[int, Blanks]]) -> Blanks:
    """Of several lots of pictures, one after the other; each part is how many there are, and theirs."""
    starts = torch.tensor([0, *(count for count, _ in parts)]).cumsum(0)
    pictures = [one.picture + start for start, (_, one) in zip(starts, parts, strict=False)]
    rest = [torch.cat([getattr(one, part.name) for _, one in parts]) for part in fields(Blanks)[1:]]
    return Blanks(torch.cat(pictures), *rest)
