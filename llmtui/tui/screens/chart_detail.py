"""Single steps of long runs, for the part of their curves that is shown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial

from textual.screen import Screen

from core.runs.journal_window import StepWindow
from core.runs.series import Series
from llmtui.view.history import History
from llmtui.view.step_axis import Window

FINE = 400
"""Buckets in a window from which on the curves of the whole run are as fine as a chart."""


def wanted_steps(series: Series, window: Window, last: float) -> tuple[int, int] | None:
    """The steps to read for `window`: a quarter more at both sides, to move in. None if `series` is fine enough.

    last: the last step of all runs shown.
    """
    if window.width is None or series.span == 1:
        return None
    first, end = window.bounds(last)
    if (end - first) / series.span >= FINE:
        return None
    margin = (end - first) / 4
    return max(0, int(first - margin)), int(end + margin)


def covers(detail: StepWindow, window: Window, last: float) -> bool:
    """Whether `detail` has all steps of `window`, in buckets that are small enough for it."""
    first, end = window.bounds(last)
    return detail.first <= first and end <= detail.last and detail.last - detail.first <= 4 * (end - first)


class ChartDetail:
    """Reads what the window of a screen needs, in a thread, and draws the screen again when it has it."""

    def __init__(self, screen: Screen[None], redraw: Callable[[], None]) -> None:
        self._screen, self._redraw = screen, redraw
        self._stop = threading.Event()
        self._state: dict[str, tuple[object, ...]] = {}
        """By run id, what its detail was read or extended for."""

    def update(self, histories: Sequence[History], window: Window, last: float) -> None:
        """Give each of `histories` the detail that it has for `window`, and read what is missing."""
        reads: list[tuple[History, StepWindow]] = []
        extends: list[History] = []
        for history in histories:
            steps, loss = wanted_steps(history.curves.loss, window, last), history.curves.loss
            if steps is None:
                history.detail = None
                self._state.pop(history.run.id, None)
                continue
            if history.detail and (history.detail_revised != loss.revised or not covers(history.detail, window, last)):
                history.detail = None
            state = (steps, loss.revised) if history.detail is None else (loss.revised, loss.end)
            if self._state.get(history.run.id) == state:
                continue  # it is being read, or cannot be
            self._state[history.run.id] = state
            if history.detail is None:
                reads.append((history, StepWindow(history.run.journal, *steps)))
            elif history.detail.at_end:
                extends.append(history)
        if reads:
            self._stop.set()
            self._stop = threading.Event()
        if reads or extends:
            self._screen.run_worker(self._read(reads, extends, self._stop), group="chart detail", exit_on_error=True)

    async def _read(
        self, reads: list[tuple[History, StepWindow]], extends: list[History], stop: threading.Event
    ) -> None:
        changed = False
        for history, detail in reads:
            revised, state = history.curves.loss.revised, self._state.get(history.run.id)
            if await _done(partial(detail.read, stop.is_set)) and not stop.is_set():
                history.detail, history.detail_revised, changed = detail, revised, True
            elif stop.is_set() and self._state.get(history.run.id) == state:
                self._state.pop(history.run.id, None)  # to be read at the next update, if it still is to be shown
        for history in extends:
            if history.detail:
                changed |= await _done(history.detail.extend)
        if changed and self._screen.is_current:
            self._redraw()


async def _done(work: Callable[[], bool | None]) -> bool:
    """Whether `work`, in a thread, did what it does; a journal that is gone leaves the curves of the whole run."""
    try:
        return await asyncio.to_thread(work) is not False
    except OSError:
        return False
