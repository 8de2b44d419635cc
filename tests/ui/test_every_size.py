"""At every size of the terminal, the first line and the keys of every screen are whole."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screen_table import DATA_VIEWS, SCREENS, STUDY
from llmtui.tui.screens.new_run import NewRun
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.widgets.bars import FooterBar
from llmtui.tui.widgets.pane import Pane
from llmtui.view.lines import width
from tests.tokenized_runs import DirectClient
from tests.ui.complete_run import complete_run
from tests.ui.fake_studies import fail, finish, make_study
from tests.ui.pilot import screen_text, until
from tests.waiting import wait_until

pytestmark = pytest.mark.heavy

EVERY_SIZE = ((300, 100), (300, 10), (160, 36), (119, 22), (99, 15), (60, 16), (40, 100), (40, 10))
"""From the largest to the smallest, on both sides of the breakpoints."""


def clipped(app: Workbench, entrance: str) -> list[str]:
    """What is missing of the first line, the keys and the rest. entrance: the text at the start of the first line."""
    columns, rows = app.size
    lines = screen_text(app).splitlines()
    found = [
        f"line {number} has {cell_len(line)} cells" for number, line in enumerate(lines) if cell_len(line) > columns
    ]
    if len(lines) != rows:
        found.append(f"{len(lines)} lines")
    if not lines[0].strip().lower().startswith(entrance):
        found.append(f"the first line does not begin with {entrance!r}")
    footer = app.screen.query_one(FooterBar)
    if footer.region != (0, rows - 1, columns, 1):
        found.append(f"the keys are at {footer.region}")
    keys = footer.lines(columns - 2, 1)[0]
    words = "".join(text for text, _ in keys).rstrip()
    if not words or words.endswith("…") or width(keys) > columns - 2 or words not in lines[-1]:
        found.append(f"the keys are {words!r}")
    if (
        isinstance(app.screen, RunScreen)
        and not footer.override
        and not all(key in words for key in ("commands", "help", "leave"))
    ):
        found.append(f"the keys lack help, commands or leave: {words!r}")
    for pane in app.screen.query(Pane):
        if pane.display and pane.region.area and not app.size.region.contains_region(pane.region):
            found.append(f"{pane!r} at {pane.region} leaves the screen")
    return found


async def assert_whole_at_every_size(pilot: Pilot[None], app: Workbench, entrance: str) -> None:
    for size in EVERY_SIZE:
        await pilot.resize_terminal(*size)
        await wait_until(
            lambda size=size: app.size == size and not clipped(app, entrance),
            what=f"a whole screen at {size[0]}x{size[1]}",
            shows=lambda: "\n".join((*clipped(app, entrance), screen_text(app))),
            rest=pilot.pause,
        )


async def assert_dialog_whole_at_every_size(pilot: Pilot[None], app: Workbench, hint: str) -> None:
    """hint: of the keys that close it, which has to be on the screen."""
    for size in EVERY_SIZE:
        await pilot.resize_terminal(*size)

        def is_whole(size: tuple[int, int] = size) -> bool:
            dialog = app.screen.query_one(".dialog")
            return app.size == size and app.size.region.contains_region(dialog.region) and hint in screen_text(app)

        await wait_until(
            is_whole, what=f"a whole dialog at {size[0]}x{size[1]}", shows=lambda: screen_text(app), rest=pilot.pause
        )


def is_shown(app: Workbench, name: str) -> bool:
    """Whether that screen is on top and composed."""
    return app.screen is app.get_screen(name) and bool(app.screen.query(FooterBar))


ENTRANCES = {"home": "llmtui", "train": "✓ tiny", **{view.name: "data" for view in DATA_VIEWS}}
"""How the first line of a screen begins, if not with its name."""


async def test_no_screen_clips_its_first_line_or_its_keys(workspace: Workspace, tiny: Callable[..., Recipe]) -> None:
    run = complete_run(workspace, tiny())
    make_study(workspace, endings=(finish, fail))
    app = Workbench(workspace, open_run=run.id, inference_client=DirectClient(workspace))
    async with app.run_test(size=EVERY_SIZE[0]) as pilot:
        for entry in (*SCREENS, *DATA_VIEWS[1:], STUDY):
            app.action_show_screen(entry.name)
            await until(pilot, functools.partial(is_shown, app, entry.name))
            await assert_whole_at_every_size(pilot, app, ENTRANCES.get(entry.name, entry.name))


async def test_the_form_clips_neither_its_first_line_nor_its_keys(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=EVERY_SIZE[0]) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, NewRun) and app.screen.result.resolved.recipe is not None)
        await assert_whole_at_every_size(pilot, app, "new run")
