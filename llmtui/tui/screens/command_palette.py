"""What the command palette lists: actions, runs, checkpoints, views, settings and themes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from textual.screen import Screen

from core.checkpoints import checkpoint_paths, step_of
from llmtui.tui.action_table import Scope
from llmtui.tui.actions import actions_in, key_name, keys_of
from llmtui.tui.screen_table import DATA_VIEWS, STUDY
from llmtui.tui.screens.picker import Choice
from llmtui.tui.screens.workbench_screen import WorkbenchScreen
from llmtui.tui.session import Session
from llmtui.tui.settings import setting_fields
from llmtui.view.units import clock


async def palette_choices(screen: Screen[Any], session: Session, themes: Sequence[str]) -> list[Choice]:
    """What can be chosen over `screen`. The value of each: its kind (do, run, checkpoint, view, setting or theme), a
    space, and an id or name."""
    workbench_screen = screen if isinstance(screen, WorkbenchScreen) else None
    scope: Scope = workbench_screen.SCOPE if workbench_screen else "app"
    choices = [
        Choice(
            f"do {action.id}",
            action.description,
            " ".join(key_name(key) for key in keys_of(action, session.keymap)),
            f"{action.id} {action.label}",
        )
        for action in actions_in(scope)
        if action.id != "app.palette" and (workbench_screen is None or workbench_screen.is_available(action.id))
    ]
    for snapshot in session.watcher.snapshots:
        run = snapshot.run
        choices.append(Choice(f"run {run.id}", f"Run {run.name}", clock(run.made_at), f"show {run.id}"))
    if selected := session.selected:
        for path in await asyncio.to_thread(checkpoint_paths, selected.run.checkpoints):
            name = f"Chat with step {step_of(path):,} of {selected.run.name}"
            choices.append(Choice(f"checkpoint {path.name}", name, "", "checkpoint"))
    if scope not in {view.name for view in DATA_VIEWS}:  # where they are actions
        choices += [Choice(f"view {view.name}", view.description, "", f"data {view.label}") for view in DATA_VIEWS]
    if scope not in ("compare", STUDY.name):
        choices.append(Choice(f"view {STUDY.name}", STUDY.description, "", f"compare {STUDY.label}"))
    choices += [
        Choice(f"setting {field.name}", f"Setting {field.name}", "", field.description) for field in setting_fields()
    ]
    return choices + [Choice(f"theme {name}", f"Theme {name}", "", "colours") for name in themes]
