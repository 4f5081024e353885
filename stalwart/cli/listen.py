"""Hands a runner's events to whoever listens: the screen, a stream of JSON lines, TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stalwart.cli.console import err, out
from stalwart.cli.figures import json_line
from stalwart.cli.screen import Screen
from stalwart.core.errors import InputError

if TYPE_CHECKING:  # importing it at run time would import PyTorch
    from stalwart.core.contracts import Event

Listener = Callable[["Event"], None]


def play(
    events: Iterator[Event],
    *,
    as_json: bool = False,
    quiet: bool = False,
    tensorboard: Path | None = None,
    json_kinds: tuple[str, ...] = (),
) -> None:
    """Run a runner to its end.

    Args:
        events: what the runner yields.
        as_json: one JSON line on stdout for each event, and nothing else there.
        quiet: no progress on the screen.
        tensorboard: the folder to write scalars to.
        json_kinds: with `as_json`, the only kinds to print; warnings then go to stderr. Empty: all.
    """
    listeners: list[Listener] = []
    with contextlib.ExitStack() as stack:
        if tensorboard is not None:
            listeners.append(_tensorboard(tensorboard, stack))
        if as_json:
            listeners.append(_printer(json_kinds))
            _exhaust(events, listeners)
            return
        screen = Screen(out(), quiet)
        stack.callback(screen.stop)
        _exhaust(events, [*listeners, screen.show])
        screen.close()


def _exhaust(events: Iterator[Event], listeners: list[Listener]) -> None:
    """Give each event to each listener. Ctrl-C reaches the runner, so that it can save, wherever it struck."""
    try:
        for event in events:
            _tell(event, listeners)
    except KeyboardInterrupt as interrupt:
        throw = getattr(events, "throw", None)
        if throw is None:
            raise
        with contextlib.suppress(StopIteration):
            _tell(throw(interrupt), listeners)
        for event in events:
            _tell(event, listeners)
        raise


def _tell(event: Event, listeners: list[Listener]) -> None:
    for listen in listeners:
        listen(event)


def _printer(kinds: tuple[str, ...]) -> Listener:
    def listen(event: Event) -> None:
        if not kinds or event.kind in kinds:
            print(json_line(event), flush=True)
        elif event.kind == "warning":
            err().print(f"warning: {event.values.get('message', '')}", soft_wrap=True)

    return listen


def _tensorboard(folder: Path, stack: contextlib.ExitStack) -> Listener:
    """Writes every running figure: `step/...` against images or steps done, `epoch/...` against the epoch."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--tensorboard needs the package tensorboard: pip install 'stalwart[tensorboard]'.") from None
    writer = SummaryWriter(log_dir=str(folder))
    stack.callback(writer.close)
    places = {"progress": ("step", "done"), "epoch": ("epoch", "epoch")}

    def listen(event: Event) -> None:
        if event.kind not in places:
            return
        group, at = places[event.kind]
        for name, value in event.values.items():
            is_figure = isinstance(value, int | float) and not isinstance(value, bool)
            if is_figure and name not in ("done", "total", "epochs", "left_s", at):
                writer.add_scalar(f"{group}/{name}", value, int(event.values.get(at, 0)))

    return listen
