"""Teaches a driver to see and to drive, by an expert, and keeps it in a run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stalwart.core import catalog
from stalwart.core.contracts import Event, Signature
from stalwart.core.device import pick
from stalwart.core.errors import CheckpointError, InputError, RunError
from stalwart.core.rng import seed_of
from stalwart.core.spelling import spell
from stalwart.drive.birdseye import SIGNALS
from stalwart.drive.geometry.lanes import expect_choice
from stalwart.drive.lessons import FAMILIES, STYLES, Lessons
from stalwart.drive.sensing import Rig, Sensed
from stalwart.drive.sensors.camera import Camera
from stalwart.drive.sensors.lidar import Lidar
from stalwart.run._album import Album
from stalwart.run._imitation import losses
from stalwart.store import checkpoint
from stalwart.store.folder import RunFolder

STATE, ALBUM = "state.safetensors", "album"
_BLOCK = 20
"""Steps for which either the expert or the student is at a world's wheel."""
_MOST_NORM = 2.0


@dataclass(frozen=True)
class Teaching:
    """How a driver is taught."""

    steps: int = 120_000
    """Steps over all worlds together; each is learned from once."""
    worlds: int = 6
    """Worlds of each family, side by side."""
    families: tuple[str, ...] = tuple(FAMILIES)
    """Of roads, by name."""
    chapters: int = 10
    """Parts of the training; each has other maps, and all is saved between two."""
    through: int = 2
    """Steps of time that a gradient goes back."""
    lr: float = 2e-3
    """Greatest learning rate; it falls to nearly 0 along half a cosine."""
    expert: float = 0.25
    """Share of the chapters after which the student drives alone; before that the expert's share falls evenly."""
    start: str = ""
    """A driver's run that this one's weights begin from, wherever they fit; '' begins at random."""
    only: tuple[str, ...] = ()
    """Parts of the network that learn, such as 'line' and 'accel'; the others stay as they began. None named: all of
    it. 'lookout' alone is taught from the expert's drives: a gradient a step, and no other part is asked."""
    blind: float = 0.12
    """Chance that a world's camera is left out for a while, and the same for the LiDAR."""
    seed: int = 0
    """Of everything random."""
    device: str = "cpu"

    def check(self) -> None:
        """Raises InputError where a value is out of its range."""
        for name in ("steps", "worlds", "chapters", "through"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"Teaching({name}=...) must be int, >= 1. Got {value!r}.")
        for family in self.families:
            expect_choice("Teaching(families=...)", family, tuple(FAMILIES))
        if not self.families:
            raise InputError("Teaching(families=...) needs at least one family of roads. Got none.")
        for name, most in (("lr", 1.0), ("expert", 1.0), ("blind", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise InputError(f"Teaching({name}=...) must be in [0, {most:g}]. Got {getattr(self, name)!r}.")


def drive_train(
    model: str = "driver()",
    *,
    settings: Teaching | None = None,
    out: str | Path | None = None,
    resume: bool = False,
) -> Iterator[Event]:
    """Teach a driver through sensors by the rule-based expert, with the student at the wheel (DAgger, each step used
    once), yielding events; keep it as an ordinary checkpoint, which `stalwart drive score --driver RUN` drives with.

    On a CPU the same seed gives the same bits, also where the run was killed and resumed: it goes on from the last
    chapter's end, where everything random begins anew.

    Args:
        model: a driver as the room `models` spells it.
        out: the run folder; None keeps nothing.

    Yields:
        start, note (what `settings.start` did not fit), progress, epoch (one for each chapter), saved, result.

    Raises:
        InputError: a spelling or a setting, or a folder that cannot be used.
        CheckpointError: `settings.start` holds no weights that fit.
        RunError: `resume` of a run that was begun otherwise.
    """
    how = settings or Teaching()
    how.check()
    if resume and out is None:
        raise InputError("resume needs the run's folder: give out=...")
    architecture: Any = catalog.make(model, "models")
    if not hasattr(architecture, "rig"):
        raise InputError(f"drive train needs a model that drives, such as driver(). Got {spell(architecture)}.")
    camera = architecture.rig.camera
    signature = Signature(len(SIGNALS), 3, (camera.height, camera.width), "driving")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(how.seed, "driver"))
        net: nn.Module = architecture.build(signature)
    resumes = resume and out is not None and (Path(out) / "last" / STATE).exists()
    fresh = checkpoint.begin_with(net, how.start) if how.start and not resumes else []
    net = net.to(pick(how.device))
    for part in how.only:
        expect_choice("Teaching(only=...)", part, tuple(name for name, _ in net.named_children()))
    config = {
        "kind": "driver",
        "spelling": {"model": spell(architecture)},
        "settings": {**asdict(how), "families": list(how.families), "only": list(how.only)},
    }
    folder = RunFolder.begin(Path(out), config, resume) if out is not None else None
    try:
        if fresh:
            yield Event("note", {"message": f"{len(fresh)} tensors are new and begin at random: {fresh[0]} and on."})
        for event in _course(net, how, config, signature, folder, resume):
            if folder is not None:
                folder.append(event)
            yield event
    finally:
        if folder is not None:
            folder.close()


def _course(
    net: nn.Module, how: Teaching, config: dict[str, Any], signature: Signature, folder: RunFolder | None, resume: bool
) -> Iterator[Event]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.lr, weight_decay=1e-3, betas=(0.9, 0.98))
    first, seconds, figures, album = 0, 0.0, dict[str, Any](), Album()
    if resume and folder is not None and (folder.path / "last" / STATE).exists():
        first, seconds = _restore(folder, net, optimizer, album)
        folder.forget(first)
        kept = [event for event in folder.events() if event["kind"] == "epoch"]
        figures = {key: value for key, value in kept[-1].items() if key not in ("kind", "time")} if kept else {}
    yield Event("start", {"what": "drive_train", "model": config["spelling"]["model"], "total": how.steps,
                          "unit": "steps"})  # fmt: skip
    for chapter in range(first, how.chapters):
        begun, cpu = time.perf_counter(), time.process_time()
        for done, running in _chapter(net, optimizer, how, chapter, album):
            reached = round(chapter / how.chapters * how.steps) + done
            rate = done / max(time.perf_counter() - begun, 1e-9)
            yield Event("progress", {"done": min(reached, how.steps), "total": how.steps, "unit": "steps", "rate": rate,
                                     "left_s": max(how.steps - reached, 0) / rate, **running})  # fmt: skip
            figures = running
        seconds += time.process_time() - cpu
        figures = {"epoch": chapter + 1, "epochs": how.chapters, **figures, "cpu_s": seconds}
        yield Event("epoch", figures)
        if folder is not None:
            _save(folder, net, optimizer, album, config, signature, figures, chapter + 1, seconds)
            yield Event("saved", {"path": str(folder.path / "last")})
    final = {key: value for key, value in figures.items() if key not in ("epoch", "epochs")}
    yield Event("result", {"kind": "drive_train", **config["spelling"], "seed": how.seed, "steps": how.steps, **final,
                           **({"path": str(folder.path)} if folder else {})})  # fmt: skip


def _chapter(
    net: nn.Module, optimizer: torch.optim.Optimizer, how: Teaching, chapter: int, album: Album
) -> Iterator[tuple[int, dict[str, float]]]:
    """One chapter: (steps done, mean losses since the last time), after each gradient."""
    album.begin(seed_of(how.seed, "album", chapter))
    for name, child in net.named_children():
        learns = not how.only or name in how.only
        child.train(learns).requires_grad_(learns)
    rig: Any = net.rig
    device = next(net.parameters()).device
    if how.only == ("lookout",):
        yield from _looks(net, optimizer, how, chapter, album)
        return
    lessons = Lessons(rig, how.worlds, seed_of(how.seed, "chapter", chapter) >> 2, families=how.families)
    random = np.random.default_rng(seed_of(how.seed, "wheel", chapter))
    led = how.expert * how.chapters
    share = max(1 - chapter / led, 0.0) if led else 0.0
    rounds = max(1, round(how.steps / how.chapters / (lessons.count * how.through)))
    lookout = getattr(net, "lookout", None)  # a driver of the user's own may have none
    memory: Tensor | None = None
    means: dict[str, float] = {}
    experts = blind = deaf = np.zeros(lessons.count, np.bool_)
    tick = 0
    for number in range(rounds):
        _pace(optimizer, how, (chapter + number / rounds) / how.chapters)
        parts: dict[str, Tensor] = {}
        memory = None if memory is None else memory.detach()
        for _ in range(how.through):
            if tick % _BLOCK == 0:
                experts, blind, deaf = (random.random(lessons.count) < p for p in (share, how.blind, how.blind))
                deaf = deaf & ~blind
            sensed, right = lessons.sense()
            album.keep(sensed, right)
            sensed = _masked(sensed, blind, deaf).to(device)
            acted, memory = net(sensed, memory)
            for name, part in losses(acted, right).items():
                parts[name] = parts.get(name, torch.zeros((), device=device)) + part / how.through
            mine = acted.controls.detach().cpu().numpy()
            over = lessons.step(np.where(experts[:, None], right.controls.numpy(), mine).astype(np.float32))
            memory = memory * torch.from_numpy(~over).to(memory)[:, None]
            tick += 1
        if isinstance(lookout, nn.Module) and len(album):
            parts["lookout"] = album.loss(lookout, device)
        _learn(net, optimizer, parts, means, chapter)
        yield (number + 1) * lessons.count * how.through, {**means, "expert": share}


def _looks(
    net: nn.Module, optimizer: torch.optim.Optimizer, how: Teaching, chapter: int, album: Album
) -> Iterator[tuple[int, dict[str, float]]]:
    """A chapter for the second camera alone: the expert drives, each world on a map of its own; then so many gradients
    as it drove steps."""
    lookout: Any = net.lookout
    device = next(net.parameters()).device
    rig = Rig(Camera(8, 8), Lidar(4, 16), lookout=lookout.camera)
    seed = seed_of(how.seed, "chapter", chapter) >> 2
    lessons = Lessons(rig, how.worlds, seed, families=how.families, maps=how.worlds)
    means: dict[str, float] = {}
    rounds = max(1, round(how.steps / how.chapters / lessons.count))
    for _ in range(rounds):
        sensed, right = lessons.sense()
        album.keep(sensed, right)
        lessons.step(right.controls.numpy())
    for number in range(rounds):
        _pace(optimizer, how, (chapter + number / rounds) / how.chapters)
        _learn(net, optimizer, {"lookout": album.loss(lookout, device)}, means, chapter)
        yield (number + 1) * lessons.count, dict(means)


def _pace(optimizer: torch.optim.Optimizer, how: Teaching, at: float) -> None:
    """The learning rate at a share of the training: half a cosine after a short rise."""
    for group in optimizer.param_groups:
        group["lr"] = how.lr * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * at))) * min(1.0, 0.05 + 40 * at)


def _learn(
    net: nn.Module, optimizer: torch.optim.Optimizer, parts: dict[str, Tensor], means: dict[str, float], chapter: int
) -> None:
    """One step down the sum of the parts; their running means are kept in `means`."""
    total = torch.stack(list(parts.values())).sum()
    if not bool(total.isfinite()):
        raise RunError(f"the loss is no number in chapter {chapter + 1}: a lower learning rate may help.")
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), _MOST_NORM)
    optimizer.step()
    for name, part in {"loss": total, **parts}.items():
        now = float(part.detach())
        means[name] = 0.95 * means.get(name, now) + 0.05 * now


def _masked(sensed: Sensed, blind: Any, deaf: Any) -> Sensed:
    seeing, hearing = (torch.from_numpy(~mask).float()[:, None, None, None] for mask in (blind, deaf))
    second = None if sensed.lookout is None else sensed.lookout * seeing
    return Sensed(sensed.camera * seeing, sensed.lidar * hearing, sensed.own, second)


def _save(
    folder: RunFolder, net: nn.Module, optimizer: torch.optim.Optimizer, album: Album, config: dict[str, Any],
    signature: Signature, figures: dict[str, Any], chapter: int, seconds: float,
) -> None:  # fmt: skip
    card = {
        "task": "driving", "model": config["spelling"]["model"], "data": "lessons", "classes": list(SIGNALS),
        "signature": {"classes": signature.classes, "channels": 3, "size": list(signature.size)},
        "families": list(config["settings"]["families"]), "styles": list(STYLES), "settings": config["settings"],
        "scores": {key: value for key, value in figures.items() if isinstance(value, float)},
        "seed": config["settings"]["seed"], "versions": {"torch": torch.__version__},
    }  # fmt: skip
    checkpoint.save(folder.path / "last", net, card)
    state = {
        f"{n}.{name}": value for n, each in optimizer.state_dict()["state"].items() for name, value in each.items()
    }
    state |= {f"{ALBUM}.{name}": value for name, value in album.tensors().items()}
    marks = {"chapter": chapter, "seconds": seconds}
    more = {key: torch.tensor(value, dtype=torch.float64) for key, value in marks.items()}
    checkpoint.save_tensors(folder.path / "last" / STATE, {**state, **more})


def _restore(folder: RunFolder, net: nn.Module, optimizer: torch.optim.Optimizer, album: Album) -> tuple[int, float]:
    path = folder.path / "last" / STATE
    state = checkpoint.load_tensors(path)
    try:
        chapter, seconds = int(state.pop("chapter")), float(state.pop("seconds"))
        checkpoint.fit(net, checkpoint.load_weights(folder.path / "last"), path)
        kept = [name for name in state if name.startswith(f"{ALBUM}.")]
        album.restore({name.removeprefix(f"{ALBUM}."): state.pop(name) for name in kept})
        record = optimizer.state_dict()
        record["state"] = {}
        for name, value in state.items():
            number, _, what = name.partition(".")
            record["state"].setdefault(int(number), {})[what] = value
        optimizer.load_state_dict(record)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit this run: {error}.") from None
    return chapter, seconds
