"""Ctrl-C between two steps and not within one."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupt:
    """While the block lasts and `patient` is set, Ctrl-C is noted in `asked`; a second one acts at once."""

    def __init__(self) -> None:
        self.asked = False
        self.patient = False
        """Whether somebody looks at `asked`; until then Ctrl-C acts as ever."""
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        self._main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        if self.asked or not self.patient:
            raise KeyboardInterrupt
        self.asked = True
