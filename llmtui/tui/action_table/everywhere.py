"""What works on all screens."""

from __future__ import annotations

from llmtui.tui.action_table.action import OVER_CHAT, Action
from llmtui.tui.screen_table import DATA_VIEWS, SCREENS, STUDY

SHOW_SCREEN = tuple(
    Action(f"app.{s.name}", (s.number,), s.name, s.description, "Screens", ("app",), show=False, screen=s.name)
    for s in SCREENS
)

ALL_SCREENS = (*{entry.name: None for entry in (*SCREENS, *DATA_VIEWS, STUDY)}, *OVER_CHAT)
"""Without the dialogs."""

EVERYWHERE = (
    Action(
        "app.palette",
        (":", "ctrl+p"),
        "commands",
        "Choose an action, a screen, a run, a checkpoint, a setting or a theme by its name.",
        "Everywhere",
        ("app",),
    ),
    Action(
        "app.help",
        ("?", "f1"),
        "help",
        "Show what has the focus, and all keys; / searches them.",
        "Everywhere",
        ("app",),
    ),
    Action(
        "app.copy",
        ("ctrl+y",),
        "copy",
        "Copy what has the focus: the row of a list, the values of a chart, the text of a pane.",
        "Everywhere",
        ALL_SCREENS,
        show=False,
    ),
    Action(
        "app.jump", (";",), "jump", "Put a letter on each pane; the letter goes to it.", "Everywhere", ("app",), False
    ),
    Action("app.notices", ("!",), "notices", "Show the last notices again.", "Everywhere", ("app",), show=False),
    Action(
        "app.settings", ("P",), "settings", "Show the settings, and change them.", "Everywhere", ("app",), show=False
    ),
    Action(
        "app.hosts",
        ("H",),
        "hosts",
        "Show the other machines whose runs are followed, with their load.",
        "Everywhere",
        ("app",),
        show=False,
    ),
    Action(
        "app.traffic",
        ("B",),
        "bytes",
        "Say how many bytes a second the terminal is sent.",
        "Everywhere",
        ("app",),
        show=False,
    ),
    Action("app.theme", ("t",), "theme", "Choose the theme.", "Everywhere", ("app",), show=False),
    Action(
        "app.back",
        ("escape",),
        "back",
        "Back by one level.",
        "Everywhere",
        ALL_SCREENS,
        show=False,
    ),
    Action("app.leave", ("q",), "leave", "Leave the workbench; runs continue.", "Everywhere", ("app",)),
)
