"""Helpers to drive the application in a test and to read its screen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot

from llmtui.tui.screen_table import ScreenEntry, ViewEntry
from llmtui.tui.screens.run_screen import RunScreen
from tests.waiting import wait_until

SIZES = ((80, 24), (120, 40), (200, 60), (40, 10))


def screen_class(entry: ScreenEntry | ViewEntry) -> type[RunScreen]:
    """The class that an entry of the tables of screens names."""
    module, _, name = entry.class_path.partition(":")
    return getattr(import_module(module), name)


class CountingDriver(HeadlessDriver):
    """Renders as for a terminal and counts the bytes instead of writing them."""

    sent = 0
    text = ""

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        CountingDriver.sent += len(data.encode("utf-8", "surrogatepass"))
        CountingDriver.text += data

    def flush(self) -> None:
        pass


async def bytes_sent(pilot: Pilot[Any], quiet: float) -> int:
    """Bytes since `CountingDriver.sent` was set to 0: some, and no more for `quiet` seconds."""
    await until(pilot, lambda: CountingDriver.sent)
    sent = 0
    while sent != CountingDriver.sent:
        sent = CountingDriver.sent
        await pilot.pause(quiet)
    return sent


def screen_text(app: App[Any]) -> str:
    """What is on the screen, line by line."""
    height = app.size.height
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines[:height])


async def until(pilot: Pilot[Any], condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; the error shows the screen."""
    shows = functools.partial(screen_text, pilot.app)
    await wait_until(condition, what="the condition holds in the application", shows=shows, rest=pilot.pause)
