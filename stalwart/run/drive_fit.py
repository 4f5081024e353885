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
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Signature, Verdict
from stalwart.core.errors import InputError
from stalwart.core.freeze import frozen
from stalwart.core.rendering import worst
from stalwart.core.rng import Noise, generator, seed_of
from stalwart.core.spelling import spell
from stalwart.drive.adversaries.blanks import Blanks, blanks_of, joined
from stalwart.drive.adversaries.changes import Changed, Untouched
from stalwart.drive.adversaries.posters import TEXTURE, Hung
from stalwart.drive.planners.baselines import Baseline
from stalwart.drive.scenarios.suites import scenarios_of
from stalwart.drive.scene import Scene
from stalwart.drive.sensors.camera import room, see
from stalwart.drive.sensors.skins import default_look
from stalwart.drive.simulation import Worlds
from stalwart.drive.stack.keeper import CAMERA
from stalwart.drive.stack.stixels import BINS, body_odds, targets
from stalwart.run._calm import peaks
from stalwart.store import checkpoint
from stalwart.store.folder import RunFolder

SUITE = (
    "stopped_vehicle(draws=12, maps=2)", "stopped_vehicle(draws=12, maps=2, kind='van')",
    "lead_braking(speed_kmh=(50, 80), draws=8, maps=2)", "cut_in(draws=6, maps=2)",
)  # fmt: skip
STYLES = ("sun", "cloud", "dusk", "rain")
_SECONDS, _EVERY, _BATCH, _NOTHING = 20.0, 8, 64, 0.3
"""Of each drive; ticks from picture to picture; weight of a column without a body in the loss."""
_PRINTS, _PRINT, _PRINT_STEP, _RESTART = 8, 64, 0.05, 0.1
"""Prints at a time, their side in texels, PGD's step, and the chance in each step that one begins anew."""


@dataclasses.dataclass(frozen=True)
class Lessons:
    """How perception is taught."""

    epochs: int = 4
    lr: float = 6e-3
    width: int = 12
    """Channels of the net's first layer."""
    hardened: float = 0.0
    """Harden against PGD of 2 steps within this L∞ radius, in [0, 1] (Madry et al. 2018); 0: not."""
    posters: bool = False
    """Harden against prints on the back of the car ahead that hide it (adversarial patch training: Rao, Stutz and
    Schiele, "Adversarial training against location-optimized adversarial patches", ECCV workshops 2020)."""
    seed: int = 0

    def check(self) -> None:
        """Raises InputError where a value is out of its range."""
        if not (1 <= self.epochs <= 1000 and 1 <= self.width <= 256 and 0 < self.lr <= 1 and 0 <= self.hardened <= 1):
            raise InputError(f"epochs and width must be at least 1, lr and hardened in [0, 1]. Got {self}.")


def drive_fit(
    out: str | Path, lessons: Lessons | None = None, suite: tuple[str, ...] = SUITE, styles: tuple[str, ...] = STYLES
) -> Iterator[Event]:
    """Film the drives of a baseline through a suite on maps of the train split, teach the net, and measure it on
    maps of the test split. In half of the worlds, under every light, the car ahead carries a picture of random
    squares, so that a picture as such is nothing new. Then it drives the suite once more, on maps of the train split,
    and the card keeps how high each guard's score rose in each drive (`calm`), from which guards get their limits.

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
        parts: list[Film] = []
        begun = time.perf_counter()
        for number, (scenario, style) in enumerate((s, t) for s in scenarios for t in styles):
            one = dataclasses.replace(scenario, style=style)
            parts.append(_filmed(one, "train", how.seed, number, blank=how.posters))
            rate = (number + 1) / (time.perf_counter() - begun)
            yield Event("progress", {"done": number + 1, "total": total, "unit": "drives", "rate": rate,
                                     "left_s": (total - number - 1) / rate})  # fmt: skip
        images, wanted = torch.cat([part.pictures for part in parts]), torch.cat([part.wanted for part in parts])
        blanks = joined([(len(part.pictures), part.blanks) for part in parts]) if how.posters else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(how.seed, "stixels") >> 1)
            model = architecture.build(Signature(BINS + 1, 3, (CAMERA.height, CAMERA.width), "stixels"))
        yield from _taught(model, images, wanted, how, blanks)
        shown = [_filmed(one, "test", how.seed + 1, 2 * n, hang=False) for n, one in enumerate(scenarios)]
        figures = _measured(model, torch.cat([s.pictures for s in shown]), torch.cat([s.wanted for s in shown]))
        calm = peaks(model, scenarios, how.seed, _SECONDS)
        card = {
            "task": "stixels", "model": spell(architecture), "data": "drive",
            "classes": [*(f"range {k}" for k in range(BINS)), "none"],
            "signature": {"classes": BINS + 1, "channels": 3, "size": [CAMERA.height, CAMERA.width]},
            "scores": figures, "calm": calm, "settings": dataclasses.asdict(how),
            "versions": {"torch": torch.__version__},
        }  # fmt: skip
        checkpoint.save(folder.path / "best", model, card)
        yield Event("saved", {"path": str(folder.path / "best")})
        yield Event("result", {"kind": "drive_fit", "frames": len(images), **figures,
                               "seconds": time.perf_counter() - begun})  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Film:
    """What one drive of all its worlds gives."""

    pictures: Tensor
    """(N, 3, H, W) uint8."""
    wanted: Tensor
    """(N, columns) int64 classes."""
    blanks: Blanks
    """Where prints may be put; none where no poster hangs or none is asked for."""


class _OnHalf(Hung):
    """The picture hangs in about half of the worlds, drawn by lot: `worlds_of` puts maps in turn, so every other world
    would be every other map. It is of the class of the body that it hangs on: one that covers a car is the car."""

    def __init__(self, picture: Tensor, size_m: tuple[float, float], random: torch.Generator) -> None:
        super().__init__(picture, "back", size_m)
        self.random, self.there = random, torch.zeros(0)

    def place(self, scene: Scene, world: Worlds) -> None:
        super().place(scene, world)
        if len(self.there) != scene.worlds:
            self.there = torch.rand(scene.worlds, generator=self.random)
        slot = scene.boxes - 1
        scene.alive[:, slot] &= (self.there < 0.5).numpy()
        scene.kind[:, slot] = scene.kind[:, 1]


def _filmed(scenario: Any, split: str, seed: int, number: int, hang: bool = True, blank: bool = False) -> Film:
    """Pictures and classes of one drive of all its worlds; in half of them the car ahead carries a picture if it is to
    `hang`."""
    stage = scenario.stage(split, seed_of(seed, "lessons", number) >> 1)
    hung: Hung | Untouched = Untouched()
    if hang:
        random = generator(seed, "lesson's poster", number)
        squares = torch.rand(1, 3, 8, 8, generator=random)
        size = (1.2 + 0.8 * float(torch.rand(1, generator=random)), 1.5) if blank else (1.6, 1.1)
        hung = _OnHalf(F.interpolate(squares, _PRINT)[0], size, random)
    driver, look = Baseline(stage.world, "brake"), hung.look(default_look())
    dressed, out = Changed(stage.world, hung, 48), room(CAMERA, stage.world.worlds, affine=blank)
    pictures, found, blanks = [], [], []
    for tick in range(round(min(_SECONDS, stage.seconds) / stage.world.dt_s)):
        controls = driver()
        if tick % _EVERY == 0:
            frames = see(dressed.scene(), CAMERA, look=look, out=out)
            pictures.append(frames.rgb.copy())
            found.append(targets(frames))
            if blank:
                blanks.append((len(frames.rgb), blanks_of(frames, look.textures, TEXTURE)))
        if stage.script is not None:
            controls[:, 1:] = stage.script(stage.world, tick * stage.world.dt_s)
        stage.world.step(controls)
    shown, classes = torch.from_numpy(np.concatenate(pictures)), torch.from_numpy(np.concatenate(found))
    return Film(shown, classes, joined(blanks) if blanks else Blanks.none())


class _Prints:
    """Prints that hide bodies from a net as it learns. They are kept from step to step, so that each is climbed for
    long, and begin anew as random squares now and then."""

    def __init__(self, blanks: Blanks, random: torch.Generator) -> None:
        self.blanks, self.random = blanks, random
        self.prints = torch.cat([self._fresh() for _ in range(_PRINTS)])

    def _fresh(self) -> Tensor:
        side = 2 ** int(torch.randint(0, 5, (1,), generator=self.random))
        return F.interpolate(torch.rand(1, 3, side, side, generator=self.random), _PRINT)

    def put(self, model: nn.Module, images: Tensor, index: Tensor, wanted: Tensor) -> Tensor:
        """The pictures at `index` (n, 3, H, W) with prints, after two steps of PGD on them."""
        here = self.blanks.select(index)
        which = torch.randint(0, _PRINTS, (len(index),), generator=self.random)
        bodies = (wanted < BINS).float()
        with frozen(model), torch.enable_grad():
            for _ in range(2):
                prints = self.prints.clone().requires_grad_()
                seen = F.softplus(body_odds(model(here.put(images, prints, which)))) * bodies
                (slope,) = torch.autograd.grad(-seen.sum(), prints)
                self.prints = (self.prints + _PRINT_STEP * slope.sign()).clamp(0, 1)
        shown = here.put(images, self.prints, which)
        if torch.rand(1, generator=self.random) < _RESTART:
            k = int(torch.randint(0, _PRINTS, (1,), generator=self.random))
            self.prints[k : k + 1] = self._fresh()
        return shown


def _taught(model: nn.Module, images: Tensor, wanted: Tensor, how: Lessons, blanks: Blanks | None) -> Iterator[Event]:
    """AdamW under one cycle of learning rates; pictures mirrored half of the time and of drawn brightness."""
    random = generator(how.seed, "lessons")
    steps = max(len(images) // _BATCH, 1)
    optimizer = torch.optim.AdamW(model.parameters(), how.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.lr, total_steps=how.epochs * steps)
    weight = torch.ones(BINS + 1)
    weight[BINS] = _NOTHING
    threat: Any = catalog.make(f"linf({how.hardened})", "threats")
    attack: Any = catalog.make("pgd(steps=2)", "attacks")
    prints = None if blanks is None else _Prints(blanks, generator(how.seed, "prints"))
    begun = time.perf_counter()
    for epoch in range(how.epochs):
        model.train()
        order, total = torch.randperm(len(images), generator=random), 0.0
        for step in range(steps):
            index = order[step * _BATCH : (step + 1) * _BATCH]
            x, y = images[index].float() / 255, wanted[index]
            if prints is not None:
                x = prints.put(model, x, index, y)
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
