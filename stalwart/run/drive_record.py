"""Drives as films and logs: the camera's picture and the world from above, side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stalwart.core.contracts import Event
from stalwart.core.errors import InputError
from stalwart.drive.dressing import Dressed
from stalwart.drive.planners.named import driver_of
from stalwart.drive.recording import Log, Setting, read_log
from stalwart.drive.sensors.camera import Camera, see
from stalwart.drive.simulation import Worlds
from stalwart.drive.topdown import EGO, LIGHTS, ROUTE, WALKER, draw, route_of
from stalwart.run._movie import encoder, write_mp4
from stalwart.run.drive import steps_of
from stalwart.store import atomic

ENDINGS = (".gif", ".mp4", ".npz")
MOST_BYTES = 1024**3
"""What a film's pictures may take at most: they are in memory until it is written."""
_MARGIN_PX = 4
_FINE_M, _ACROSS_M = 0.125, 60.0
"""Metres of a pixel of the ground, so that lines are lines, and what the picture from above shows."""
_COLOURS = 200
_ALWAYS = (EGO, ROUTE, WALKER, *LIGHTS.values())
"""Colours of small things, which a palette drawn from the pictures might miss."""


class Film:
    """Pictures of one world of several: what its camera sees, and beside it the world from above.

    Args:
        index: which world.
        style: the weather, by name.
        height: pixels; the whole is 2.5 times as wide.

    Raises:
        InputError: no such world or style, or a height below 48.
    """

    def __init__(self, world: Worlds, index: int = 0, style: str = "sun", height: int = 240) -> None:
        if not 0 <= index < world.worlds:
            raise InputError(f"show must be a world from 0 to {world.worlds - 1}. Got {index}.")
        if not 48 <= height <= 1080:
            raise InputError(f"height must be 48 to 1080 pixels. Got {height}.")
        self._index, self._height = index, height
        self._dressed = Dressed(world, (style,), boxes=world.state.agents + 96)
        self._camera = Camera(height=height, width=height * 3 // 2, fov_deg=75)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, both even, as video codecs want them."""
        width = self._camera.width + _MARGIN_PX + self._height
        return self._height + self._height % 2, width + width % 2

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: the world as it is now."""
        world, k = self._dressed.world, self._index
        scene = self._dressed.scene().select(np.array([k]))
        seen = see(scene, self._camera).rgb[0].transpose(1, 2, 0)
        above = Image.fromarray(draw(scene, 0, size_px=self._height, across_m=_ACROSS_M, route_m=route_of(world, k)))
        state = world.state
        text = f"{3.6 * float(state.speed_mps[k, 0]):.0f} km/h   {float(state.words[k, 1]) * world.dt_s:.1f} s"
        brush = ImageDraw.Draw(above)
        box = brush.textbbox((5, 3), text)
        brush.rectangle((0, 0, box[2] + 5, box[3] + 4), fill=(250, 250, 248))
        brush.text((5, 3), text, fill=(30, 32, 38))
        whole = np.full((*self.size, 3), 250, np.uint8)
        whole[: self._height, : self._camera.width] = seen
        whole[: self._height, self._camera.width + _MARGIN_PX :][:, : self._height] = np.asarray(above)
        return whole


def record(
    setting: Setting, out: Path, driver: str = "expert", seconds: float = 20.0, *, show: int = 0, style: str = "sun",
    height: int = 240, every: int = 2,
) -> Iterator[Event]:  # fmt: skip
    """Drive and keep it: .gif or .mp4 shows one world, .npz is a log that replays to the same bits.

    Args:
        show: which world the film shows.
        height: of the film in pixels.
        every: a picture each so many steps of a tenth of a second, shown at the true speed.

    Yields:
        start, progress (unit 'steps'), saved, result (kind 'record').

    Raises:
        InputError: an ending of `out` that is none of the three, a value out of range, or PyAV is not there.
    """
    _refuse(out, every)
    steps = steps_of(seconds)
    world = setting.build(_FINE_M)
    hands = driver_of(driver, world)
    log = Log(setting, world) if out.suffix == ".npz" else None
    film = None if log is not None else Film(world, show, style, height)
    pictures = _Pictures(out, film, every, steps)
    yield Event("start", {"what": "record", "total": steps, "unit": "steps", **asdict(setting), "driver": driver})
    begun = time.perf_counter()
    for step in range(steps):
        pictures.take(step)
        controls = hands()
        outcome = world.step(controls)
        over = outcome.over
        if over.any():
            world.reset(over)
            hands.reset(over)
        if log is not None:
            log.add(controls, over, world)
        yield _progress(step + 1, steps, begun)
    if log is not None:
        log.write(out)
    pictures.write()
    yield Event("saved", {"path": str(out)})
    yield Event("result", {"kind": "record", "path": str(out), "steps": steps, "pictures": len(pictures),
                           "seconds": time.perf_counter() - begun})  # fmt: skip


def replay(
    log: Path, out: Path | None = None, *, show: int = 0, style: str = "sun", height: int = 240, every: int = 2
) -> Iterator[Event]:
    """Drive a log again, compare every step with what was recorded, and make a film of it if `out` says so.

    Yields:
        start, progress (unit 'steps'), saved, result (kind 'replay').

    Raises:
        DataError: the log cannot be read, or a step comes out otherwise.
        InputError: as for `record`.
    """
    if out is not None:
        _refuse(out, every)
        if out.suffix == ".npz":
            raise InputError(f"{out} must end in .gif or .mp4: {log} is a log already.")
    held = read_log(log)
    world = held.setting.build(_FINE_M)
    pictures = _Pictures(out, None if out is None else Film(world, show, style, height), every, held.steps)
    yield Event("start", {"what": "replay", "total": held.steps, "unit": "steps", **asdict(held.setting)})
    begun = time.perf_counter()
    pictures.take(0)
    for step, _ in enumerate(held.play(world), start=1):
        if step < held.steps:
            pictures.take(step)
        yield _progress(step, held.steps, begun)
    pictures.write()
    if out is not None:
        yield Event("saved", {"path": str(out)})
    yield Event("result", {"kind": "replay", "path": str(log), "steps": held.steps, "same": True,
                           "pictures": len(pictures), "seconds": time.perf_counter() - begun})  # fmt: skip


def watched(setting: Setting, driver: str = "expert", style: str = "sun", height: int = 360) -> Iterator[NDArray[Any]]:
    """Pictures (H, W, 3) uint8 of a drive without end, one for each step of a tenth of a second.

    Raises:
        InputError: as for `record`, at once and not with the first picture.
    """
    world = setting.build(_FINE_M)
    hands, film = driver_of(driver, world), Film(world, 0, style, height)

    def pictures() -> Iterator[NDArray[Any]]:
        while True:
            yield film.picture()
            outcome = world.step(hands())
            over = outcome.over
            if over.any():
                world.reset(over)
                hands.reset(over)

    return pictures()


def _progress(done: int, total: int, begun: float) -> Event:
    rate = done / max(time.perf_counter() - begun, 1e-9)
    return Event("progress", {"done": done, "total": total, "unit": "steps", "rate": rate,
                              "left_s": (total - done) / rate})  # fmt: skip


def _refuse(out: Path, every: int) -> None:
    if out.suffix not in ENDINGS:
        raise InputError(f"{out} must end in {', '.join(ENDINGS)}.")
    if out.is_dir():
        raise InputError(f"{out} must be a file to write. Got a folder.")
    if not 1 <= every <= 100:
        raise InputError(f"every must be 1 to 100 steps. Got {every}.")
    if out.suffix == ".mp4":
        encoder()


class _Pictures:
    """The pictures of a film, taken every few steps and written at the end."""

    def __init__(self, out: Path | None, film: Film | None, every: int, steps: int) -> None:
        self._out, self._film, self._every = out, film, every
        self._taken: list[NDArray[np.uint8]] = []
        if film is not None and steps / every * film.size[0] * film.size[1] * 3 > MOST_BYTES:
            raise InputError(f"a film's pictures take at most {MOST_BYTES:,} bytes: fewer seconds, a larger every.")

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, step: int) -> None:
        if self._film is not None and step % self._every == 0:
            self._taken.append(self._film.picture())

    def write(self) -> None:
        if self._out is None or self._film is None:
            return
        fill = self._mp4 if self._out.suffix == ".mp4" else self._gif
        atomic.write(self._out, fill)

    def _gif(self, path: Path) -> None:
        # One palette for all pictures, drawn from a few: else colours flicker, and the file grows.
        few = np.concatenate(self._taken[:: max(1, len(self._taken) // 6)])
        drawn = Image.fromarray(few).quantize(_COLOURS, Image.Quantize.MEDIANCUT).getpalette() or []
        palette = Image.new("P", (1, 1))
        palette.putpalette([*drawn[: 3 * _COLOURS], *(part for colour in _ALWAYS for part in colour)])
        flat = [Image.fromarray(one).quantize(palette=palette, dither=Image.Dither.NONE) for one in self._taken]
        flat[0].save(path, "GIF", save_all=True, append_images=flat[1:], duration=100 * self._every, loop=0,
                     optimize=False)  # fmt: skip

    def _mp4(self, path: Path) -> None:
        write_mp4(path, self._taken, Fraction(10, self._every))
