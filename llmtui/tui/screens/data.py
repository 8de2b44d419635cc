"""Data: what its views have in common. Each view is a screen of its own, in `llmtui/tui/screens/data_….py`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable

from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget
from textual.worker import Worker

from core.jobs.browse_protocol import Answer, FindChanged, FindText, Question, SearchProgress
from llmtui.tui.screen_table import DATA_VIEWS
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.workbench_screen import show_screen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.view import run_text
from llmtui.view.lines import Line, width


class DataScreen(RunScreen):
    """One view of the Data screen, below a line that names all of them.

    Subclasses name their own style sheet beside data.tcss in CSS_PATH, and define `compose_view`. The line shows the
    selected run unless `subject` says otherwise; `show_header` draws it again.
    """

    searching = False
    """Whether the corpus is being searched."""

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        with Container(id="body"):
            yield from self.compose_view()
        yield from self.compose_footer()

    def compose_view(self) -> Iterable[Widget]:
        """The panes of the view."""
        raise NotImplementedError

    def subject(self) -> Line:
        """What the view is about, at the right end of the first line."""
        return [(run_text.name(self.snapshot), "dim")] if self.snapshot else []

    def show_header(self) -> None:
        """Draw the first line and the footer again."""
        header, right = self.query_one(HeaderBar), self.subject()
        cells = header.inner_size[0]
        header.left = next((line for line in map(self._views, ("  ", " ")) if width(line) <= cells), self._views(" "))
        free = cells - width(header.left) - 1
        header.right = right if width(right) <= free else []
        header.update()
        self.query_one(FooterBar).update()

    def _views(self, gap: str) -> Line:
        """The name of the screen, and its views with their keys; the current one is marked."""
        line: Line = [("data", "title")]
        for view in DATA_VIEWS:
            current = view.name == self.SCOPE
            line += [(gap, ""), (view.key, "cursor" if current else "key")]
            line += [(f" {view.label}", "cursor" if current else "dim")]
        return line

    def run_latest(self, work: Callable[[], Coroutine[None, None, None]], group: str) -> None:
        """Run `work` in the background instead of what was started before in the same group."""
        # not a coroutine: one that is cancelled before it starts is reported as never awaited
        _: Worker[None] = self.run_worker(work, exclusive=True, group=group, exit_on_error=True)

    async def ask(self, question: Question) -> Answer | None:
        """The answer of the process that reads documents; the first line shows how far a search is.

        None if a newer question came first, or the search was ended. Raises LlmtuiError.
        """
        self.searching = isinstance(question, FindText | FindChanged)
        try:
            return await self.session.document_client.ask(question, self._show_progress)
        finally:
            self.searching = False
            if self.is_current and self.query(HeaderBar):  # not while the application ends
                self.show_header()

    def _show_progress(self, progress: SearchProgress) -> None:
        if self.is_current:
            header = self.query_one(HeaderBar)
            header.right = [(f"searched {progress.done:,} of {progress.documents:,}, esc ends it", "accent")]
            header.update()

    def on_screen_resume(self) -> None:
        self.session.shown_views[DATA_VIEWS[0].name] = self.SCOPE
        self.show_header()

    def on_screen_suspend(self) -> None:
        if self.searching and not self.app.screen.is_modal:
            self.session.document_client.end_search()

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_header)

    # -- actions --------------------------------------------------------------------------------------------------

    def action_show_view(self, name: str) -> None:
        show_screen(self.app, name)

    def action_app_back(self) -> None:
        if self.searching:
            self.session.document_client.end_search()
            self.show_notice("The search was ended.")
        else:
            show_screen(self.app, "home")
