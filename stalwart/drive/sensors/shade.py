"""A camera's pictures as differentiable functions of textures, to optimise one and then drive past it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stalwart.core.errors import InputError
from stalwart.drive.pyramid import FULL
from stalwart.drive.sensors.camera import Frames
from stalwart.drive.sensors.shading import LEVEL, UNIT
from stalwart.drive.sensors.textures import Textures, ripmap


def shade(frames: Frames, textures: Textures, changed: Mapping[str, Tensor] | None = None) -> Tensor:
    """Pictures (worlds, 3, H, W) float32 in [0, 1] of frames that `see` wrote into `room(..., affine=True)`.

    A colour is gain * texel + bias: with the light given it is linear in the textures, up to where it leaves [0, 1].
    The result equals `frames.rgb` to a level of 255 where `changed` is what was rendered.

    Args:
        textures: those of the look that the frames were rendered with.
        changed: textures (3, S, S) or (4, S, S) by name in place of the bank's, with or without gradient. How much
            their texels shine (alpha) stays what the frames were rendered with.

    Raises:
        InputError: the frames do not hold what colours were made of, or a texture is unknown or of another shape.
    """
    if frames.texels is None or frames.gain is None or frames.bias is None:
        raise InputError("shade needs frames from room(..., affine=True). Got frames without texels, gain and bias.")
    device = textures.bank.device
    index = torch.from_numpy(frames.texels).to(device)
    first, second, share = index[..., 0].long(), index[..., 1].long(), index[..., 2:].float() / FULL
    names = list(changed or {})
    base, over = textures.rips[first, :3], textures.rips[second, :3]  # (N, H, W, 3)
    if changed:
        new = torch.stack([textures.checked(name, changed[name])[:3] for name in names]).to(device, torch.float32)
        rips = ripmap(new).permute(0, 2, 3, 1).reshape(-1, 3)
        area = (2 << textures.bits) ** 2
        place = torch.full((len(textures.names),), -1, dtype=torch.int64, device=device)
        place[[textures.index(name) for name in names]] = torch.arange(len(names), device=device)
        base, over = (_with(old, at, place, rips, area) for old, at in ((base, first), (over, second)))
    texel = base + (over - base) * share
    gain = torch.from_numpy(frames.gain[..., :3].astype("float32")).to(device) / UNIT
    bias = torch.from_numpy(frames.bias[..., :3].astype("float32")).to(device) / (255 * LEVEL)
    return torch.addcmul(bias, gain, texel).clamp(0, 1).permute(0, 3, 1, 2)


def _with(old: Tensor, index: Tensor, place: Tensor, rips: Tensor, area: int) -> Tensor:
    """Texels (N, H, W, 3) with those of changed layers in place of the old."""
    layer = place[index // area]
    new = rips[layer.clamp(min=0) * area + index % area]
    return torch.where((layer >= 0)[..., None], new, old)
