"""A worker that waits while its screen is removed does not look for widgets that are gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.dialogs import Confirm
from llmtui.tui.widgets.bars import HeaderBar
from tests.ui.pilot import until


def query_when_removed(screen: Screen[Any], widget: type[Widget], monkeypatch: pytest.MonkeyPatch) -> Worker[None]:
    """A worker of `screen` that asks for `widget` as soon as it has been removed."""
    removed = asyncio.Event()
    monkeypatch.setattr(widget, "on_unmount", lambda _: removed.set(), raising=False)

    async def work() -> None:
        await removed.wait()
        screen.query_one(widget)

    return screen.run_worker(work(), exit_on_error=True)


async def test_workers_of_a_screen_end_with_the_application(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Workbench(workspace)
    async with app.run_test() as pilot:
        await until(pilot, lambda: bool(app.screen.query(HeaderBar)))
        worker = query_when_removed(app.screen, HeaderBar, monkeypatch)
    assert worker.is_cancelled


async def test_workers_of_the_application_end_before_its_screens(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Workbench(workspace)
    removed = asyncio.Event()
    monkeypatch.setattr(HeaderBar, "on_unmount", lambda _: removed.set(), raising=False)

    async def work() -> None:
        await removed.wait()
        while app.screen_stack:
            await asyncio.sleep(0)
        assert app.screen

    async with app.run_test() as pilot:
        await until(pilot, lambda: bool(app.screen.query(HeaderBar)))
        worker = app.run_worker(work(), exit_on_error=True)
    assert worker.is_cancelled


async def test_workers_of_a_dialog_end_when_it_is_closed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Workbench(workspace)
    async with app.run_test() as pilot:
        dialog = Confirm("Delete it?", yes="delete", no="keep")
        await app.push_screen(dialog)
        worker = query_when_removed(dialog, Static, monkeypatch)
        await pilot.press("n")
        await until(pilot, lambda: app.screen is not dialog)
    assert worker.is_cancelled
