"""What a person sees of a runner: a live bar, a row for each epoch, and the figures at the end.

On a terminal the bar is live; elsewhere (a file, a pipe, a CI log) a plain line comes now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from stalwart.cli import attacked, checked, corrupted, defences, driven, graded, tables
from stalwart.cli.figures import number, seconds

if TYPE_CHECKING:  # importing it at run time would import PyTorch
    from stalwart.core.contracts import Event

_LIVE_S = 0.1
"""Seconds between two pictures of the live bar."""
_PLAIN_S = 15.0
"""Seconds between two progress lines where there is no terminal."""
_FRAME = ("done", "total", "unit", "rate", "left_s", "epoch", "epochs", "step", "steps")
"""Progress values that have their own place in the line."""
_EPOCH_FIRST = ("epoch", "epochs", "train_loss", "lr")


class Screen:
    """Shows events one by one; `close` prints what is due at the end.

    Args:
        console: where to print.
        quiet: only warnings and what `close` prints.
    """

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._shown_at = 0.0
        self._columns: list[str] = []
        self._saved: dict[str, None] = {}
        self._predictions: list[Mapping[str, Any]] = []
        self._attacks: list[Mapping[str, Any]] = []
        self._shields: list[Mapping[str, Any]] = []
        self._detections: list[Mapping[str, Any]] = []
        self._audits: list[Mapping[str, Any]] = []
        self._results: list[Mapping[str, Any]] = []

    def show(self, event: Event) -> None:
        values = event.values
        match event.kind:
            case "start":
                self._start(values)
            case "progress":
                self._progress(values)
            case "epoch":
                self._epoch(values)
            case "note":
                self._say("note", values.get("message", ""), "dim")
            case "warning":
                self._print(Text.assemble(("warning: ", "bold yellow"), str(values.get("message", ""))))
            case "saved":
                self._saved[str(values.get("path", ""))] = None
            case "prediction":
                self._predictions.append(values)
            case "result" if values.get("kind") == "audit":
                self._audits.append(values)
            case "result" if values.get("kind") == "detect":
                self._detections.append(values)
            case "result" if values.get("kind") == "shield":
                self._shields.append(values)
            case "result" if "robust_accuracy" in values:
                self._attacks.append(values)
            case "result" if "run" not in values:  # the parts of a larger whole are in its report
                self._results.append(values)

    def close(self) -> None:
        """Take the bar away and print tables and paths."""
        self._stop_bar()
        if self._predictions:
            self.console.print(tables.predictions(self._predictions))
            self._results = []  # the table says it all, and warnings told of what was skipped
        for values in self._results:
            for table in TABLES.get(str(values.get("kind")), _others)(values):
                self.console.print(table)
        targeted = [values for values in self._attacks if values.get("toward")]
        if targeted:
            self.console.print(graded.towards(targeted))
        plain = [values for values in self._attacks if not values.get("toward")]
        measured = [values for values in plain if values.get("score")]
        if measured:
            self.console.print(graded.table(measured))
        if len(measured) < len(plain):
            self.console.print(tables.attacks([values for values in plain if not values.get("score")]))
        for values in self._shields:
            self.console.print(defences.shields(values))
        for values in self._detections:
            for table in defences.detections(values):
                self.console.print(table)
        for values in self._audits:
            self.console.print(tables.audit(values, whole=len(self._audits) == 1))
        for path in self._saved:
            self.console.print(Text(f"saved {path}", style="dim"), soft_wrap=True)

    def stop(self) -> None:
        """Take the bar away and print nothing: after an error."""
        self._stop_bar()

    # ------------------------------------------------------------ while it runs

    def _start(self, values: Mapping[str, Any]) -> None:
        self._stop_bar()
        self._columns = []
        self._shown_at = time.monotonic()
        if self.quiet:
            return
        spelled = [
            str(values[key])
            for key in ("env", "algo", "data", "model", "objective", "attack", "detector", "threat", "shield")
            if values.get(key)
        ]
        amount = f"{values['total']:,} {values.get('unit', '')}".strip() if values.get("total") else ""
        self._print(Text.assemble((str(values.get("what", "")), "bold"), "  ", "  ".join([*spelled, amount])))
        if self.console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=28),
                TextColumn("{task.fields[line]}", markup=False),
                console=self.console,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._bar.add_task("", total=values.get("total") or None, line="")
            self._bar.start()

    def _progress(self, values: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if self.quiet or now - self._shown_at < (_PLAIN_S if self._bar is None else _LIVE_S):
            return
        self._shown_at = now
        line = progress_line(values)
        if self._bar is None or self._task is None:
            done, total = values.get("done"), values.get("total")
            self.console.print(f"{done:,}/{total:,}  {line}" if done is not None and total else line, soft_wrap=True)
            return
        self._bar.update(self._task, completed=values.get("done", 0), total=values.get("total") or None, line=line)
        self._bar.refresh()

    def _epoch(self, values: Mapping[str, Any]) -> None:
        if self.quiet:
            return
        names = [name for name, value in values.items() if isinstance(value, int | float) and name != "epochs"]
        ordered = [name for name in _EPOCH_FIRST if name in names] + [n for n in names if n not in _EPOCH_FIRST]
        if any(name not in self._columns for name in ordered):
            self._columns = ordered
            self._print(Text("  ".join(f"{name:>{_width(name)}}" for name in ordered), style="bold"))
        cells = {name: number(name, values[name]) for name in ordered}
        if "epochs" in values and "epoch" in cells:
            cells["epoch"] = f"{values['epoch']}/{values['epochs']}"
        self._print(Text("  ".join(f"{cells.get(name, ''):>{_width(name)}}" for name in self._columns)))

    def _say(self, kind: str, message: Any, style: str) -> None:
        if not self.quiet:
            self._print(Text(f"{kind}: {message}", style=style))

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None


TABLES: Mapping[str, Callable[[Mapping[str, Any]], Sequence[Table]]] = {
    "data": checked.tables,
    "corruptions": corrupted.tables,
    "drive_attack": attacked.tables,
    "drive_score": driven.tables,
    "drive_perceive": lambda values: [driven.perceived(values)],
}
"""What shows each kind of result."""


def _others(values: Mapping[str, Any]) -> list[Table]:
    return [*tables.figures(values), *defences.tables(values)]


def progress_line(values: Mapping[str, Any]) -> str:
    """The running figures, the rate and the time left: ``epoch 3/10  loss 0.41  9,120 images/s  0:42 left``."""
    parts = []
    if "epoch" in values:
        total = f"/{values['epochs']}" if "epochs" in values else ""
        parts.append(f"epoch {number('epoch', values['epoch'])}{total}")
    figures = {n: v for n, v in values.items() if n not in _FRAME and isinstance(v, int | float)}
    parts += [f"{name} {number(name, value)}" for name, value in figures.items()]
    if values.get("rate"):
        rate = float(values["rate"])
        parts.append(
            f"{rate:,.0f} {values.get('unit', '')}/s" if rate >= 10 else f"{rate:.2f} {values.get('unit', '')}/s"
        )
    if values.get("left_s") is not None:
        parts.append(f"{seconds(float(values['left_s']))} left")
    return "  ".join(parts)


def _width(name: str) -> int:
    return max(len(name), 9)
