"""Teaches the camera stack's perception on drives of its own, and keeps it as a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Signature, Verdict
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rendering import worst
from stalwart.core.rng import Noise, generator, seed_of
from stalwart.core.spelling import spell
from stalwart.drive.adversaries.changes import Changed, Untouched
from stalwart.drive.adversaries.posters import Hung
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.sensors.camera import room, see
from stalwart.drive.sensors.skins import default_look
from stalwart.drive.stack.keeper import CAMERA
from stalwart.drive.stack.stixels import BINS, body_odds, targets
from stalwart.store import checkpoint
from stalwart.store.folder import RunFolder

SUITE = (
    "stopped_vehicle(draws=12, maps=2)", "stopped_vehicle(draws=12, maps=2, kind='van')",
    "lead_braking(speed_kmh=(50, 80), draws=8, maps=2)", "cut_in(draws=6, maps=2)",
)  # fmt: skip
STYLES = ("sun", "cloud", "dusk", "rain")
_SECONDS, _EVERY, _BATCH, _NOTHING = 20.0, 8, 64, 0.3
"""Of each drive; ticks from picture to picture; weight of a column without a body in the loss."""


@dataclasses.dataclass(frozen=True)
class Lessons:
    """How perception is taught."""

    epochs: int = 4
    lr: float = 6e-3
    width: int = 12
    """Channels of the net's first layer."""
    hardened: float = 0.0
    """Harden against PGD of 2 steps within this L∞ radius, in [0, 1] (Madry et al. 2018); 0: not."""
    seed: int = 0

    def check(self) -> None:
        """Raises InputError where a value is out of its range."""
        if not (1 <= self.epochs <= 1000 and 1 <= self.width <= 256 and 0 < self.lr <= 1 and 0 <= self.hardened <= 1):
            raise InputError(f"epochs and width must be at least 1, lr and hardened in [0, 1]. Got {self}.")


def drive_fit(
    out: str | Path, lessons: Lessons | None = None, suite: tuple[str, ...] = SUITE, styles: tuple[str, ...] = STYLES
) -> Iterator[Event]:
    """Film the drives of a baseline through a suite on maps of the train split, teach the net, and measure it on
    maps of the test split. In half of the drives the car ahead carries a picture of random squares, so that a
    picture as such is nothing new.

    Yields:
        start, progress, epoch (train_loss), saved, result (kind 'drive_fit': frames, `found`, the share of the columns
        with a body within 45 m in which one is seen, and `false`, the share of the others in which one is seen).

    Raises:
        InputError: a value out of range, no such scenario or style.
        RunError: something stands at `out` already.
    """
    how = lessons or Lessons()
    how.check()
    scenarios = scenarios_of(suite)
    architecture: Any = catalog.make(f"stixels(width={how.width})", "models")
    config = {"spelling": {"model": spell(architecture), "suite": list(suite)}, "settings": dataclasses.asdict(how)}
    with RunFolder.create(Path(out), config) as folder:
        total = len(scenarios) * len(styles)
        yield Event("start", {"what": "drive_fit", "total": total, "unit": "drives", "suite": list(suite)})
        parts, begun = [], time.perf_counter()
        for number, (scenario, style) in enumerate((s, t) for s in scenarios for t in styles):
            parts.append(_filmed(dataclasses.replace(scenario, style=style), "train", how.seed, number))
            rate = (number + 1) / (time.perf_counter() - begun)
            yield Event("progress", {"done": number + 1, "total": total, "unit": "drives", "rate": rate,
                                     "left_s": (total - number - 1) / rate})  # fmt: skip
        images, wanted = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(how.seed, "stixels") >> 1)
            model = architecture.build(Signature(BINS + 1, 3, (CAMERA.height, CAMERA.width), "stixels"))
        yield from _taught(model, images, wanted, how)
        seen, truth = zip(*(_filmed(s, "test", how.seed + 1, 2 * n) for n, s in enumerate(scenarios)), strict=True)
        figures = _measured(model, torch.from_numpy(np.concatenate(seen)), torch.from_numpy(np.concatenate(truth)))
        card = {
            "task": "stixels", "model": spell(architecture), "data": "drive",
            "classes": [*(f"range {k}" for k in range(BINS)), "none"],
            "signature": {"classes": BINS + 1, "channels": 3, "size": [CAMERA.height, CAMERA.width]},
            "scores": figures, "settings": dataclasses.asdict(how), "versions": {"torch": torch.__version__},
        }  # fmt: skip
        checkpoint.save(folder.path / "best", model, card)
        yield Event("saved", {"path": str(folder.path / "best")})
        yield Event("result", {"kind": "drive_fit", "frames": len(images), **figures,
                               "seconds": time.perf_counter() - begun})  # fmt: skip


def _filmed(scenario: Any, split: str, seed: int, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(N, 3, H, W) uint8 pictures and (N, columns) classes of one drive of all its worlds."""
    stage = scenario.stage(split, seed_of(seed, "lessons", number) >> 1)
    hung: Hung | Untouched = Untouched()
    if number % 2:
        squares = torch.rand(1, 3, 8, 8, generator=generator(seed, "lesson's poster", number))
        hung = Hung(F.interpolate(squares, 64)[0], "back", (1.6, 1.1))
    driver, look = Baseline(stage.world, "brake"), hung.look(default_look())
    dressed, out = Changed(stage.world, hung, 48), room(CAMERA, stage.world.worlds)
    pictures, found = [], []
    for tick in range(round(min(_SECONDS, stage.seconds) / stage.world.dt_s)):
        controls = driver()
        if tick % _EVERY == 0:
            frames = see(dressed.scene(), CAMERA, look=look, out=out)
            pictures.append(frames.rgb.copy())
            found.append(targets(frames))
        if stage.script is not None:
            controls[:, 1:] = stage.script(stage.world, tick * stage.world.dt_s)
        stage.world.step(controls)
    return np.concatenate(pictures), np.concatenate(found)


def _taught(model: nn.Module, images: Tensor, wanted: Tensor, how: Lessons) -> Iterator[Event]:
    """AdamW under one cycle of learning rates; pictures mirrored half of the time and of drawn brightness."""
    random = generator(how.seed, "lessons")
    steps = max(len(images) // _BATCH, 1)
    optimizer = torch.optim.AdamW(model.parameters(), how.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.lr, total_steps=how.epochs * steps)
    weight = torch.ones(BINS + 1)
    weight[BINS] = _NOTHING
    threat: Any = catalog.make(f"linf({how.hardened})", "threats")
    attack: Any = catalog.make("pgd(steps=2)", "attacks")
    begun = time.perf_counter()
    for epoch in range(how.epochs):
        model.train()
        order, total = torch.randperm(len(images), generator=random), 0.0
        for step in range(steps):
            index = order[step * _BATCH : (step + 1) * _BATCH]
            x, y = images[index].float() / 255, wanted[index]
            if step % 2:
                x, y = x.flip(-1), y.flip(-1)
            x = (x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1, generator=random))).clamp(0, 1)
            if how.hardened:
                with frozen(model):
                    hard = worst(attack, x, _Wrong(model, y, weight), threat, Noise.of_index(index, how.seed, epoch))
                x, y = torch.cat([x, hard]), torch.cat([y, y])
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), weight)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        yield Event("epoch", {"epoch": epoch + 1, "epochs": how.epochs, "train_loss": total / steps,
                              "seconds": time.perf_counter() - begun})  # fmt: skip
    model.eval()


class _Wrong:
    """The loss of training as a goal that is never done."""

    def __init__(self, model: nn.Module, wanted: Tensor, weight: Tensor) -> None:
        self.model, self.wanted, self.weight = model, wanted, weight

    def on(self, model: nn.Module) -> _Wrong:
        return _Wrong(model, self.wanted, self.weight)

    def select(self, index: Tensor) -> _Wrong:
        return _Wrong(self.model, self.wanted[index], self.weight)

    def __call__(self, images: Tensor) -> Verdict:
        each = F.cross_entropy(self.model(images).flatten(0, 1), self.wanted.flatten(), self.weight, reduction="none")
        return Verdict(each.reshape(len(images), -1).mean(1), None)


@torch.no_grad()
def _measured(model: nn.Module, images: Tensor, wanted: Tensor) -> dict[str, float]:
    """`found` and `false`; see `drive_fit`."""
    seen = torch.cat([body_odds(model(part.float() / 255)) > 0 for part in torch.split(images, 256)])
    near, none = wanted < BINS - 3, wanted == BINS  # the last three ranges begin at 41 m
    return {"found": float(seen[near].float().mean()), "false": float(seen[none].float().mean())}
