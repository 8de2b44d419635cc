"""The machines whose runs are followed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from core.remote.hosts import all_hosts
from core.storage.workspace import Workspace
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.host_text import HostStatus, connection_text, host_status, load_text
from llmtui.view.lines import Line, hanging

EVERY = 1.0
"""Seconds between two polls of the connections."""


class HostLines(ScrollPane):
    """Each host with its connection and its load."""

    HELP: ClassVar[str] = "The other machines whose runs are followed over ssh."

    FRAMED: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.hosts: Sequence[HostStatus] | None = None

    def content(self, width: int) -> list[Line]:
        if self.hosts is None:
            return [[("reading …", "dim")]]
        lines: list[Line] = []
        for status in self.hosts:
            lines += [[], *_host_lines(status, width)] if lines else _host_lines(status, width)
        if not lines:
            return [
                [("There are no other machines yet.", "")],
                [("llmtui hosts add USER@HOST", "key"), (" follows the runs of one over ssh.", "dim")],
            ]
        return lines

    def on_resize(self) -> None:
        self.fit()

    def fit(self) -> None:
        """Take the height of the content."""
        self.styles.height = len(self.content(self.inner_size[0]))
        self.update()


class Hosts(Dialog[None]):
    """The machines whose runs are followed, with their load."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,H", "close")]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -notices"):
            yield Static("Other machines", classes="title")
            yield HostLines()
            yield Static("↑ ↓ move · esc closes this", classes="hint")

    def on_mount(self) -> None:
        self.query_one(HostLines).focus()
        self.set_interval(EVERY, self._read)
        self.call_later(self._read)

    async def _read(self) -> None:
        lines = self.query_one(HostLines)
        lines.hosts = await asyncio.to_thread(lambda: [host_status(host) for host in all_hosts(self._workspace)])
        lines.fit()

    def action_close(self) -> None:
        self.dismiss(None)


def _host_lines(status: HostStatus, width: int) -> list[Line]:
    """A host in a few lines of at most `width` cells."""
    role = "good" if status.is_connected else "warn" if status.mirrored else "dim"
    name = status.host.name
    lines = hanging([(connection_text(status), role)], (f"{name}  ", "bold"), width)
    if load := load_text(status):
        lines += hanging([(load, "")], ("  ", ""), width)
    if not status.mirrored:
        lines += hanging([(f"llmtui hosts connect {name}", "dim")], ("  ", ""), width)
    return lines
