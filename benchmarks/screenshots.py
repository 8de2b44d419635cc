"""Pictures of every screen, as SVG files in docs/screens: `python -m benchmarks.screenshots`.

They show real runs: the demo, a variation of it, and a study of eight short trials, which train for seven minutes in
a home of their own. --home keeps that home, or takes the runs of an earlier one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from textual.pilot import Pilot

from benchmarks.harness import LLMTUI
from benchmarks.screen_picture import screen_picture, screen_rows
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screen_table import DATA_VIEWS, SCREENS, STUDY

SIZES = ((80, 24), (120, 40), (200, 60))
THEMES = ("ink", "paper")
"""A dark one and a light one."""

RECORDING = (
    ("demo", "--plain"),
    ("run", "stdlib", "--preset=demo", "--set=name=low-lr", "--set=train.minutes=1", "--set=train.lr=0.002"),
    ("tune", "stdlib", "--preset=demo", "--name=sweep", "--trials=8", "--scheduler=none", "--set=train.minutes=0.4"),
    ("tag", "demo", "+baseline"),
    ("note", "demo", "Two minutes on two cores; compare everything with this."),
)
"""Commands after which there is something to show."""

PATIENCE = 120.0
"""Seconds to wait for a screen to be complete."""
QUIET = 0.5
"""Seconds without a change after which it is."""

_UNFINISHED = re.compile(r"(reading|starting|loading|computing|generating)\b[^\n│]*…|esc stop")
"""What screens show while they read, compute or generate."""

Press = Callable[[Pilot[None]], Awaitable[None]]


async def complete(pilot: Pilot[None], shows: str = "") -> None:
    """Wait until the screen shows that text and all that it reads and computes. Raises TimeoutError."""
    app, before, quiet = pilot.app, "", 0.0
    async with asyncio.timeout(PATIENCE):
        while quiet < QUIET:
            await pilot.pause(0.1)
            text = "\n".join("".join(segment.text for segment in row) for row in screen_rows(app))
            changed = text != before or shows not in text or _UNFINISHED.search(text)
            quiet = 0.0 if changed else quiet + 0.1
            before = text


def keys(*steps: str | tuple[str, str]) -> Press:
    """Press these keys, each when the screen is complete. A pair: a key, and what the screen shows then."""

    async def press(pilot: Pilot[None]) -> None:
        for step in steps:
            key, shows = (step, "") if isinstance(step, str) else step
            await pilot.press(*([key] if key in _NAMED or len(key) == 1 else key))
            await complete(pilot, shows)

    return press


_NAMED = ("enter", "escape", "space", "right", "down", "home", "ctrl+g", "ctrl+u")

# a new conversation, without the draft that may be kept
_CHAT = (("5", "chat"), "escape", "N", "i", "ctrl+u", "def read_json(path", ("enter", "tok/s"))


class Picture(NamedTuple):
    """One screen, and how it is reached."""

    name: str
    reach: Press


SPECIAL: dict[str, Press] = {
    "train": keys("3", "v"),
    "chat": keys(*_CHAT),
    "compare": keys("1", "home", "down", "m", "home", "m", "down", ("6", "differences")),
    "documents": keys("2", ("d", "document 1 of")),
    "cleaning": keys("2", ("l", "removed"), ("down", "changed by")),
    "batch": keys("2", ("b", "row 1 of"), ("space", "under step")),
}
"""Of screens that show more after some keys."""


def pictures() -> Iterator[Picture]:
    """Every screen, and the dialogs that are as large as one."""
    for screen in SCREENS:
        yield Picture(screen.name, SPECIAL.get(screen.name, keys(screen.number)))
    for view in DATA_VIEWS[1:]:
        yield Picture(view.name, SPECIAL.get(view.name, keys("2", view.key)))
    yield Picture(STUDY.name, keys("6", (STUDY.key, "best")))
    yield Picture("x-ray", keys(*_CHAT, ("ctrl+g", "token 1 of"), "right", ("right", "token 3 of")))
    yield Picture("new-run", keys("escape", "1", "n"))


async def take(directory: Path, only: str) -> None:
    """Write the pictures whose name contains `only`, at all sizes and in both themes."""
    app = Workbench(Workspace().prepare(), open_run="demo")
    async with app.run_test(size=(120, 40)) as pilot:
        app.session.remember(compared=())
        for picture in pictures():
            if only not in picture.name:
                continue
            await pilot.resize_terminal(120, 40)
            await picture.reach(pilot)
            for (columns, rows), theme in itertools.product(SIZES, THEMES):
                app.theme = theme
                await pilot.resize_terminal(columns, rows)
                await complete(pilot)
                path = directory / f"{picture.name}-{columns}x{rows}-{theme}.svg"
                path.write_text(screen_picture(app), encoding="utf-8")
                print(path)
            await pilot.press("escape")
            await complete(pilot)


def record(home: Path) -> None:
    """Train what the pictures show, unless `home` has it. Raises CalledProcessError."""
    runs = Workspace().prepare().runs
    if not any(runs.iterdir()):
        for command in RECORDING:
            subprocess.run([*LLMTUI, *command], cwd=home, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="home directory of the recording; by default a temporary one")
    parser.add_argument("--to", type=Path, default=Path("docs/screens"), help="where the pictures go")
    parser.add_argument("--only", default="", help="only screens whose name contains this")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmtui-screens-") as temporary:
        home: Path = (arguments.home or Path(temporary)).absolute()
        home.mkdir(parents=True, exist_ok=True)
        arguments.to.mkdir(parents=True, exist_ok=True)
        for name in ("LLMTUI_HOME", "NO_COLOR", "SSH_CONNECTION", "SSH_TTY"):
            os.environ.pop(name, None)
        for name in [name for name in os.environ if name.startswith("XDG_")]:
            del os.environ[name]
        os.environ |= {"HOME": str(home), "COLORTERM": "truecolor"}
        record(home)
        asyncio.run(take(arguments.to, arguments.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
