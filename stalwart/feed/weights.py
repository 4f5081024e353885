"""Pretrained weights from torchvision's publisher, or from torch's cache, without running any code of theirs."""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor

from stalwart.core.errors import InputError

SILENCE_S = 30.0
"""How long the publisher of weights may stay silent."""


def fetch_weights(name: str, url: str) -> dict[str, Tensor]:
    """The weights at `url`, from torch's cache or the network, read without running any code of theirs."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlsplit(url).path).name
    try:
        with _impatient(), redirect_stdout(sys.stderr):  # its message would stand among `--json` lines
            state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except OSError as error:  # URLError is one
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        raise InputError(
            f"{name}(pretrained=True): the weights could not be fetched ({reason}). Put {url} into {folder}, or leave "
            "out pretrained=True to train from scratch."
        ) from None
    except Exception as error:  # what damaged files make torch raise has no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{file}: expected the weights of {name}. Got a damaged file ({reason}); remove it.") from None
    digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if digest and not _sha256(file).startswith(digest[1]):
        raise InputError(f"{file}: expected a file whose SHA-256 begins with {digest[1]}. Got another; remove it.")
    return state


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _impatient() -> Iterator[None]:
    """torch.hub sets no time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
