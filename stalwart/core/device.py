"""Which device to work on."""

from __future__ import annotations

import torch

from stalwart.core.errors import InputError


def pick(name: str = "auto") -> torch.device:
    """The device called `name`; 'auto' is the accelerator where there is one, else the CPU.

    Raises:
        InputError: the name is no device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "not available"
        raise InputError(f"device {name!r} cannot be used ({reason}). Known: auto, cpu, cuda, cuda:0, ...") from None
    return device
