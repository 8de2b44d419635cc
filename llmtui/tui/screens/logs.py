"""Logs: what the processes of the run have printed, and its journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar, Literal

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from core.runs.directory import Run
from core.storage.journal import JournalReader, tail_offset
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.workbench_screen import show_screen
from llmtui.tui.widgets.bars import HeaderBar
from llmtui.tui.widgets.log_pane import LogPane
from llmtui.tui.widgets.pane import Pane
from llmtui.view import run_text, units
from llmtui.view.log_lines import journal_lines, log_lines
from llmtui.view.sanitize import shown

Source = Literal["log", "journal"]

TAIL_BYTES = 2**22
"""Of a longer file only the end is read: 50,000 lines."""

CHUNK_BYTES = 2**20
"""Read at once, so that keys work while a long file is read."""

_EMPTY: dict[Source, str] = {
    "log": "Its processes have printed nothing; o shows the journal, which has every event of the run.",
    "journal": "No event so far: the run has not started.",
}


class Logs(RunScreen):
    """The lines of one of the two files, and a search in them."""

    SCOPE = "logs"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("logs")]
    CSS_PATH = "logs.tcss"
    AUTO_FOCUS: ClassVar[str] = "LogPane"

    def __init__(self) -> None:
        super().__init__()
        self._source: Source = "log"
        self._chosen = False
        """Whether the user chose the file; otherwise the journal is shown of a run whose log is empty, as most are."""
        self._log_is_empty = False
        """Why the journal is shown."""
        self._shown: tuple[str, Source] | None = None
        """Run id and file whose lines are shown."""
        self._reader: JournalReader | None = None
        self._skipped = 0
        """Bytes at the start of the file that are not shown."""
        self._reading = False
        self._wants_failure = False
        """Whether to go to the reason of a failure as soon as all lines are read."""

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield LogPane(id="lines")
        yield Input(placeholder="text to search for; enter keeps it, esc ends the search", id="search")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self.query_one("#search").display = False

    def on_screen_resume(self) -> None:
        self._refresh()

    @on(RunsUpdated)
    def _refresh(self) -> None:
        if not self.is_current:
            return
        snapshot = self.snapshot
        pane = self.query_one(LogPane)
        if snapshot and not self._chosen and (self._shown is None or self._shown[0] != snapshot.run.id):
            self._source, self._log_is_empty = "log", False
        wanted = (snapshot.run.id, self._source) if snapshot else None
        if wanted != self._shown:
            self._shown, self._reader, self._reading = wanted, None, False
            pane.hint = "reading …" if snapshot else "There is no run yet: 1 shows the runs, n there starts one."
            pane.clear()
        if snapshot and not self._reading:
            self._reading = True
            self.run_worker(self._read(snapshot.run), exit_on_error=True, group="log", exclusive=True)
        self._show()

    async def _read(self, run: Run) -> None:
        """Read the lines that are new, in chunks."""
        read_for, convert = self._shown, log_lines if self._source == "log" else journal_lines
        if self._reader is None:
            path = self._path(run)
            self._skipped = await asyncio.to_thread(tail_offset, path, TAIL_BYTES)
            self._reader = JournalReader(path, self._skipped)
        reader = self._reader
        while lines := await asyncio.to_thread(reader.lines, CHUNK_BYTES):
            converted = await asyncio.to_thread(convert, lines)
            if self._shown != read_for:
                return  # another run or file is shown by now
            self.query_one(LogPane).extend(converted)
        if self._shown != read_for:
            return
        self._reading = False
        pane = self.query_one(LogPane)
        pane.hint = _EMPTY[self._source]
        if self._wants_failure:
            if pane.to_failure() or self._source == "journal":
                self._wants_failure = False
            else:  # most errors are in the journal alone
                self._source = "journal"
                self._refresh()
        elif self._source == "log" and not self._chosen and not pane.length:
            self._source, self._log_is_empty = "journal", True
            self._refresh()
        self._show()

    def _path(self, run: Run) -> Path:
        return run.log if self._source == "log" else run.journal

    def _show(self) -> None:
        snapshot, pane = self.snapshot, self.query_one(LogPane)
        header = self.query_one(HeaderBar)
        header.left = [("logs", "title")]
        header.right = []
        if snapshot:
            glyph, word, role = run_text.state(snapshot)
            header.left += [("  ", ""), (run_text.name(snapshot), "bold"), (f"  {glyph} {word}", role)]
            path = self._path(snapshot.run)
            pane.title = [(path.name, "title")]
            if self._skipped and self._reader:
                pane.title += [(f"  without its first {units.size(self._skipped)}: {shown(str(path))}", "dim")]
            elif self._log_is_empty and not self._chosen:
                pane.title += [(f"  {snapshot.run.log.name} is empty", "dim")]
            elif pane.is_following and snapshot.state.is_active:
                pane.title += [("  follows", "dim")]
        if pane.search:
            only = ", only these lines" if pane.only_matches else ""
            header.right = [(f"“{shown(pane.search, 30)}” ", ""), (f"{pane.counter}{only}", "accent")]
        for each in (header, pane, self.query_one("#keys", Pane)):
            each.update()

    # -- actions --------------------------------------------------------------------------------------------------

    def is_available(self, action: str) -> bool:
        if action in ("logs.next", "logs.previous", "logs.only"):
            return bool(self.query_one(LogPane).search)
        return super().is_available(action)

    def show_failure(self) -> None:
        """Show the log at the reason of the run's failure."""
        self._source, self._wants_failure = "log", True
        if self.is_mounted:
            self._refresh()

    def action_logs_source(self) -> None:
        self._source, self._chosen = "journal" if self._source == "log" else "log", True
        self._refresh()

    def action_logs_search(self) -> None:
        field = self.query_one("#search", Input)
        field.display = True
        field.focus()

    @on(Input.Changed, "#search")
    def _search(self, message: Input.Changed) -> None:
        self.query_one(LogPane).search_for(message.value)
        self._show()

    @on(Input.Submitted, "#search")
    def _keep_search(self) -> None:
        self.query_one("#search").display = False
        self.query_one(LogPane).focus()

    def action_logs_next(self) -> None:
        self._to_match(1)

    def action_logs_previous(self) -> None:
        self._to_match(-1)

    def _to_match(self, step: int) -> None:
        if not self.query_one(LogPane).to_match(step):
            self.show_notice("No line has what is searched for; / searches for something else.", "warn")
        self._show()

    def action_logs_only(self) -> None:
        pane = self.query_one(LogPane)
        pane.only_matches = not pane.only_matches
        self._show()

    def action_logs_failure(self) -> None:
        if not self.query_one(LogPane).to_failure():
            self.show_notice("No line here looks like the reason of a failure.", "warn")
        self._show()

    def on_key(self) -> None:
        self.call_later(self._show)  # the place of the cursor among the matches

    def action_app_back(self) -> None:
        pane = self.query_one(LogPane)
        if pane.search:
            self.query_one("#search", Input).value = ""
            pane.only_matches = False
            self._keep_search()
        else:
            show_screen(self.app, "train")
