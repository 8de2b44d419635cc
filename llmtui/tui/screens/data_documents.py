"""Data, second view: the documents of the selected run's corpus, raw and cleaned."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePath
from typing import ClassVar, Literal, NamedTuple

from msgspec import structs
from textual import on
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import Input

from core.errors import LlmtuiError
from core.jobs.browse_protocol import (
    PAGE,
    DocumentNames,
    DocumentPage,
    FindText,
    ListNames,
    NotFound,
    Position,
    ReadDocument,
    Side,
)
from core.runs.artifacts import artifact_name
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.data import DataScreen
from llmtui.tui.widgets.document_names import NameList
from llmtui.tui.widgets.document_text import DocumentText
from llmtui.view import run_text
from llmtui.view.lines import Line
from llmtui.view.sanitize import shown

_SIDES: dict[Side, str] = {"documents": "raw", "train": "cleaned, training", "validation": "cleaned, validation"}

_QUERY_LIMIT = 500
"""Characters of a text to search for."""


class Source(NamedTuple):
    """What is browsed."""

    artifact: str
    """Its directory; empty if there is none."""
    side: Side


class Documents(DataScreen):
    """The text of one document; a list of those around it at the side from 100 columns on."""

    SCOPE = "documents"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("documents")]
    CSS_PATH: ClassVar[list[str | PurePath]] = ["data.tcss", "data_documents.tcss"]
    AUTO_FOCUS: ClassVar[str] = "DocumentText"

    def __init__(self) -> None:
        super().__init__()
        self._run_id = ""
        """The run whose corpus is shown."""
        self._opened: dict[str, str] = {}
        """Directories, by stage, of artifacts that are browsed instead, until another run is selected."""
        self._side: Side = "train"
        self._source = Source("", "train")
        self._position = Position()
        self._positions: dict[Source, Position] = {}
        """Where the user was in other artifacts and splits."""
        self._entering: Literal["search", "jump"] = "search"
        """What the input is for."""
        self._query = ""

    def compose_view(self) -> Iterable[Widget]:
        with Container(id="panes"):
            yield NameList(id="names")
            yield DocumentText(id="text")
        yield Input(id="entry")

    def on_mount(self) -> None:
        self.query_one("#entry").display = False

    def open(self, artifacts: dict[str, str]) -> None:
        """Browse these artifacts when the view is shown: their directories, by stage."""
        snapshot = self.snapshot
        of_the_run = snapshot and all(snapshot.artifact(stage) == path for stage, path in artifacts.items())
        self._opened = {} if of_the_run else artifacts
        self._run_id = self.session.selected_id
        self._side = "train" if "preprocess" in artifacts else "documents"

    # -- what is shown ----------------------------------------------------------------------------------------------

    def subject(self) -> Line:
        if self._opened:
            return [("of an artifact, not of a run", "dim")]
        return super().subject()

    def on_screen_resume(self) -> None:
        self._show_source()

    @on(RunsUpdated)
    def _show_source_if_current(self) -> None:
        if self.is_current:
            self._show_source()

    def _show_source(self) -> None:
        """Turn to the selected run's corpus, or the opened artifact, if it is not the one shown."""
        if self._run_id != self.session.selected_id:
            self._run_id, self._opened = self.session.selected_id, {}
        text = self.query_one(DocumentText)
        source = Source(self._artifact_of(self._side), self._side)
        if not source.artifact:
            self._source = source
            text.title = [(_SIDES[self._side], "title")]
            self.query_one(NameList).clear()
            text.show_message(self._why_nothing())
            self.show_header()
        elif source != self._source or (text.page is None and not text.message):
            self._source = source
            self.query_one(NameList).clear()
            text.title = [(shown(artifact_name(Path(source.artifact)), 64), "title"), (f"  {_SIDES[self._side]}", "")]
            self._go_to(self._positions.get(source, Position()))

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill_list)

    def _fill_list(self) -> None:
        """Read the names if the list has just been given a place."""
        names = self.query_one(NameList)
        if names.display and not names.items and self.query_one(DocumentText).page:
            self.run_latest(self._show_names, "documents")

    def _artifact_of(self, side: Side) -> str:
        """The directory of the documents of that side; empty if there is none."""
        stage = "download" if side == "documents" else "preprocess"
        if self._opened:
            return self._opened.get(stage, "")
        return self.snapshot.artifact(stage) if self.snapshot else ""

    def _why_nothing(self) -> str:
        """Why there are no documents of this side, and what to do."""
        if self._opened:
            word = "raw" if self._side == "documents" else "cleaned"
            return f"Its {word} documents are not on this machine: s shows the others, c lists what is there."
        if self.snapshot is None:
            return "No run is selected: 1 shows the runs, n there starts one. c lists the artifacts on this machine."
        name = run_text.name(self.snapshot)
        if self._side == "documents":
            return f"{name} has no documents yet: download is its first stage. 1 shows the runs, r there resumes one."
        raw = " s shows the raw ones." if self._artifact_of("documents") else " 1 shows the runs, r there resumes one."
        return f"{name} has no cleaned documents yet: preprocess comes after download.{raw}"

    def is_available(self, action: str) -> bool:
        page = self.query_one(DocumentText).page
        if action in ("documents.again", "documents.before"):
            return page is not None and bool(self._query)
        if action == "documents.more":
            return page is not None and (page.position.character + PAGE < page.characters or not page.last_part)
        if action == "documents.split":
            return self._side != "documents"
        if action.startswith("documents.") and action != "documents.stage":
            return page is not None
        return super().is_available(action)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _go_to(self, position: Position) -> None:
        """Read and show the page that begins at `position`."""
        question = ReadDocument(artifact=self._source.artifact, side=self._source.side, position=position)
        self._ask(question)

    def _ask(self, question: ReadDocument | FindText) -> None:
        self.run_latest(partial(self._answer, question), "documents")

    async def _answer(self, question: ReadDocument | FindText) -> None:
        source = self._source
        try:
            answer = await self.ask(question)
        except LlmtuiError as error:
            self.query_one(DocumentText).show_message(shown(error.sentence(), lines=True))
            return
        if source != self._source or answer is None:
            return
        if isinstance(answer, NotFound):
            self._show_nothing(answer)
        elif isinstance(answer, DocumentPage):
            self._show_page(answer)
            await self._show_names()

    def _show_page(self, page: DocumentPage) -> None:
        self._position = self._positions[self._source] = page.position
        if page.match:
            start = page.position.character + page.match[0]
            self._position = Position(page.position.number, page.position.part, start)
        self.query_one(DocumentText).show_page(page, self._query)
        self.show_header()

    def _show_nothing(self, answer: NotFound) -> None:
        if answer.documents:
            where = "the document" if answer.documents == 1 else f"any of the {answer.documents:,} documents"
            self.show_notice(f"“{self._query}” is not in {where}.", "warn")
        else:
            self.query_one(DocumentText).show_message("There are no documents here.")

    async def _show_names(self) -> None:
        """Update the list beside the text, where there is one."""
        names, number = self.query_one(NameList), self._position.number
        if not names.display:
            return
        if not names.has_around(number):
            question = ListNames(artifact=self._source.artifact, side=self._source.side, number=number)
            answer = None
            with suppress(LlmtuiError):  # the error is shown with the text
                answer = await self.ask(question)
            if not isinstance(answer, DocumentNames):
                return
            names.documents = answer.documents
            names.items = list(enumerate(answer.names, answer.first))
        names.highlight(str(number))
        names.update()

    @on(NameList.Highlighted)
    def _go_to_highlighted(self) -> None:
        item = self.query_one(NameList).highlighted
        if item and item[0] != self._position.number:
            self._go_to(Position(item[0]))

    # -- actions --------------------------------------------------------------------------------------------------

    def _move(self, step: int) -> None:
        page = self.query_one(DocumentText).page
        if page:
            self._go_to(Position((page.position.number + step) % page.documents))

    def action_documents_next(self) -> None:
        self._move(1)

    def action_documents_previous(self) -> None:
        self._move(-1)

    def action_documents_more(self) -> None:
        page = self.query_one(DocumentText).page
        if page is None:
            return
        number, part, character = page.position.number, page.position.part, page.position.character
        if character + PAGE < page.characters:
            self._go_to(Position(number, part, character + PAGE))
        elif not page.last_part:
            self._go_to(Position(number, part + 1))

    def action_documents_less(self) -> None:
        page = self.query_one(DocumentText).page
        if page is None:
            return
        number, part, character = page.position.number, page.position.part, page.position.character
        if character:
            self._go_to(Position(number, part, max(0, character - PAGE)))
        elif part:
            self._go_to(Position(number, part - 1))

    def action_documents_stage(self) -> None:
        self._turn_to("train" if self._side == "documents" else "documents")

    def action_documents_split(self) -> None:
        if self._side == "documents":
            self.show_notice("Raw documents are not split yet: s shows the cleaned ones.", "warn")
        else:
            self._turn_to("validation" if self._side == "train" else "train")

    def _turn_to(self, side: Side) -> None:
        self._side = side
        self._show_source()

    def action_documents_search(self) -> None:
        self._enter("search", "text to search for; capital letters make it match case; enter searches, esc leaves")

    def action_documents_jump(self) -> None:
        self._enter("jump", "number of a document; enter shows it, esc leaves")

    def action_documents_again(self) -> None:
        at = self._position
        self._search(Position(at.number, at.part, at.character + 1))

    def action_documents_before(self) -> None:
        self._search(self._position, backwards=True)

    def _search(self, position: Position, *, backwards: bool = False) -> None:
        if not self._query:
            self.show_notice("Nothing has been searched for yet: / does.", "warn")
        elif self._source.artifact:
            artifact, side = self._source
            self._ask(FindText(artifact=artifact, side=side, text=self._query, position=position, backwards=backwards))

    # -- the input --------------------------------------------------------------------------------------------------

    def _enter(self, purpose: Literal["search", "jump"], placeholder: str) -> None:
        if self.query_one(DocumentText).page is None:
            self.show_notice("There is no document to show.", "warn")
            return
        field = self.query_one("#entry", Input)
        self._entering, field.placeholder = purpose, placeholder
        field.value = self._query if purpose == "search" else ""
        field.display = True
        field.focus()

    @on(Input.Submitted, "#entry")
    def _entered(self, message: Input.Submitted) -> None:
        text = message.value[:_QUERY_LIMIT].encode(errors="replace").decode()
        page = self.query_one(DocumentText).page
        self._close_input()
        if self._entering == "search":
            self._query = text
            if text:
                self._search(self._position)
            elif page:
                self._show_page(structs.replace(page, match=None))
        elif page and text.strip():
            number = text.strip().replace(",", "").removeprefix("#")
            if number.isdecimal() and 1 <= int(number) <= page.documents:
                self._go_to(Position(int(number) - 1))
            else:
                self.show_notice(f"The documents have the numbers 1 to {page.documents:,}.", "warn")

    def _close_input(self) -> None:
        self.query_one("#entry").display = False
        self.query_one(DocumentText).focus()

    def action_app_back(self) -> None:
        if self.query_one("#entry").display:
            self._close_input()
        else:
            super().action_app_back()
