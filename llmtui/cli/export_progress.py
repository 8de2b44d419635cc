"""The progress of an export, for `llmtui export` and `llmtui data export`."""

from __future__ import annotations

from core.events import Progress
from llmtui.cli.console import print_message
from llmtui.view.units import duration, rate


class ExportProgress:
    """Prints the progress of an export every few seconds."""

    def __init__(self) -> None:
        self._started = self._printed = 0.0

    def show(self, event: Progress) -> None:
        self._started = self._started or event.tick
        if event.total and event.tick - (self._printed or self._started) >= 5:
            self._printed = event.tick
            seconds = event.tick - self._started
            speed = event.done / seconds
            left = duration((event.total - event.done) / speed) if speed else "–"
            print_message(f"{event.done / event.total:.0%}, {rate(speed, event.unit)}, {left} left")
