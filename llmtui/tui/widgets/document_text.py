"""A page of a document, with what a search found marked."""

from __future__ import annotations

import re
from typing import ClassVar

from core.jobs.browse_protocol import DocumentPage
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line, wrap, wrapped
from llmtui.view.sanitize import shown, visible


class DocumentText(ScrollPane):
    """The text of one page; `message` instead of it if there is none."""

    HELP: ClassVar[str] = "The text of one document, raw or cleaned. Places where a search found something are marked."

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.page: DocumentPage | None = None
        self.query_text = ""
        """What is searched for, marked wherever it stands."""
        self.message = ""
        """Shown without a page, or after an error."""
        self.title: Line = []
        """In front of the document's number and name."""
        self._wrapped: tuple[object, list[Line]] = (None, [])

    def show_page(self, page: DocumentPage, query_text: str = "") -> None:
        """Show another page, from its beginning or from what was found."""
        self.page, self.query_text, self.message = page, query_text, ""
        self.reset_scroll()
        if page.match:
            width, height = self.inner_size
            lines = self.content(width)
            found = next((y for y, line in enumerate(lines) if any(role == "cursor" for _, role in line)), 0)
            self._scrolled = max(0, found - height // 3)
        self.update()

    def show_message(self, text: str) -> None:
        """Show `text` instead of a document."""
        self.page, self.message = None, text
        self.reset_scroll()
        self.update()

    def heading(self, width: int) -> Line:
        page = self.page
        if page is None:
            return self.title or [("documents", "title")]
        number = f"document {page.position.number + 1:,} of {page.documents:,}"
        return [*self.title, (f"  {number}", ""), (f"  {shown(page.name, 200)}", "dim")]

    def content(self, width: int) -> list[Line]:
        if self.page is None:
            text, role = (self.message, "") if self.message else ("reading …", "dim")
            return [[(part, role)] for part in wrap(text, min(width, 76))]
        key = (self.page, self.query_text, width)
        if self._wrapped[0] != key:
            self._wrapped = (key, self._lines(self.page, width))
        return self._wrapped[1]

    def _lines(self, page: DocumentPage, width: int) -> list[Line]:
        lines = wrapped(_marked(page, self.query_text), width)
        first, end = page.position.character, page.position.character + len(page.text)
        if first or end < page.characters or not page.last_part or page.position.part:
            of = f"characters {first + 1:,} to {end:,} of {page.characters:,}"
            part = f" in part {page.position.part + 1}" if page.position.part or not page.last_part else ""
            more = end < page.characters or not page.last_part
            hint = "] shows what follows" if more else "[ shows what comes before"
            lines += [[], [(f"{of}{part}; {hint}", "key")]]
        return lines


def _marked(page: DocumentPage, query_text: str) -> Line:
    """The text as spans, in which occurrences of `query_text` and the one that was found are marked."""
    flags = 0 if query_text != query_text.lower() else re.IGNORECASE
    found = [match.span() for match in re.finditer(re.escape(query_text), page.text, flags)] if query_text else []
    if page.match and page.match not in found:  # it overlaps another
        found = [page.match]
    spans: Line = []
    at = 0
    for start, end in found:
        role = "cursor" if (start, end) == page.match else "accent"
        spans += [(visible(page.text[at:start]), ""), (visible(page.text[start:end]), role)]
        at = end
    return [*spans, (visible(page.text[at:]), "")]
