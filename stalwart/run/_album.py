"""Pictures of a driver's second camera that are looked at again: what rules ahead is rare, and lights change seldom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stalwart.drive.birdseye import FARTHEST_M, SIGNALS
from stalwart.drive.lessons import Answers
from stalwart.drive.sensing import Sensed

_BATCH, _MOST = 64, 800
_SHARES = (0.3, 0.2, 0.1, 0.2, 0.15, 0.05)
"""Of a batch, by `SIGNALS`."""
_APART, _APART_S, _STEP_S = 0.04, 1.0, 0.1
"""Share of the way to the line, and seconds, that lie between two pictures that are kept, where nothing else changes:
near ones are those to learn from, and far ones are many."""


class Album:
    """The latest 800 pictures of each of `SIGNALS`, from all chapters; batches are drawn by fixed shares of them."""

    def __init__(self) -> None:
        self._kept: list[list[tuple[Tensor, float]]] = [[] for _ in SIGNALS]
        self._seen = [0] * len(SIGNALS)
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Other worlds from now on, and another seed of what is drawn."""
        self._random = np.random.default_rng(seed)
        self._since: Tensor | None = None
        self._last: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All that `restore` needs, by name."""
        found = {"seen": torch.tensor(self._seen)}
        for name, kept in zip(SIGNALS, self._kept, strict=True):
            if kept:
                found[f"pictures_{name}"] = torch.stack([picture for picture, _ in kept])
                found[f"ways_{name}"] = torch.tensor([way for _, way in kept])
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Become the album whose `tensors` these are.

        Raises:
            KeyError: one is missing.
        """
        self._seen = [int(n) for n in tensors["seen"]]
        self._kept = [
            list(zip(tensors[f"pictures_{name}"].clone(), tensors[f"ways_{name}"].tolist(), strict=True))
            if seen
            else []
            for name, seen in zip(SIGNALS, self._seen, strict=True)
        ]

    def __len__(self) -> int:
        """How many pictures there are."""
        return sum(map(len, self._kept))

    def keep(self, sensed: Sensed, right: Answers) -> None:
        """Add what W worlds' second cameras see, where there are any and they are nearer or something else rules."""
        if sensed.lookout is None:
            return
        count = len(right.signal)
        since = torch.ones(count) if self._since is None else self._since
        since = since + _STEP_S / _APART_S + _STEP_S * sensed.own[:, 0].cpu() / (_APART * (right.line_m + 1.0))
        fresh = since >= 1.0
        if self._last is not None:
            fresh |= self._last != right.signal
        self._since, self._last = since * ~fresh, right.signal.clone()
        for w in torch.nonzero(fresh)[:, 0].tolist():
            signal = int(right.signal[w])
            kept, place = self._kept[signal], self._seen[signal] % _MOST
            picture = (sensed.lookout[w] * 255).round().to("cpu", torch.uint8)
            kept[place : place + 1] = [(picture, float(right.line_m[w]))]
            self._seen[signal] += 1

    def loss(self, lookout: nn.Module, device: torch.device) -> Tensor:
        """Cross-entropy of what rules and how far the way to the line is off, in a batch of 64 pictures, each moved by
        a few pixels and a little darker or brighter."""
        there = np.array([share if kept else 0.0 for share, kept in zip(_SHARES, self._kept, strict=True)])
        which = self._random.choice(len(SIGNALS), _BATCH, p=there / there.sum())
        chosen = [self._kept[k][int(self._random.integers(len(self._kept[k])))] for k in which]
        moves = self._random.integers(-4, 5, (_BATCH, 2)).tolist()
        moved = [picture.roll(move, (1, 2)) for (picture, _), move in zip(chosen, moves, strict=True)]
        gain = torch.from_numpy(self._random.uniform(0.85, 1.15, (_BATCH, 1, 1, 1)).astype(np.float32)).to(device)
        pictures = (torch.stack(moved).to(device).float() / 255 * gain).clamp(max=1.0)
        told = lookout(pictures)
        signal = torch.from_numpy(which).to(device)
        way = torch.tensor([way for _, way in chosen], device=device)
        ruled = (signal > 0).float()
        off = F.smooth_l1_loss(FARTHEST_M * torch.sigmoid(told[:, -1]) / 5, way / 5, reduction="none")
        return F.cross_entropy(told[:, :-1], signal) + 0.3 * (off * ruled).sum() / ruled.sum().clamp(min=1)
