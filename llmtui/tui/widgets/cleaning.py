"""The cleaning of a corpus: its steps with their effect, and one document before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from core.events import CleaningReport, CleaningStep, StepEffect
from core.jobs.browse_protocol import CleanedDocument
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.cleaning_report import byte_change, report_tables
from llmtui.view.lines import Line, cell, clip, hanging, wrap, wrapped
from llmtui.view.sanitize import shown, visible
from llmtui.view.units import size
from llmtui.view.word_diff import DiffSpan

ALL_STEPS = "all steps"

_MARKS = {"before": ("[-", "-]", "bad"), "after": ("{+", "+}", "good"), "…": (" ⋯ ", " ⋯ ", "dim")}
"""Before and after text that is only in one version, or that is left out, and its role."""


class StepRow(NamedTuple):
    """One cleaning step, or all of them."""

    name: str
    effect: StepEffect | None = None
    """None before the corpus is cleaned."""


Figure = Callable[[StepEffect], str]
_CHANGED: tuple[Figure, str] = (lambda effect: f"{effect.changed:,}", "changed")
_REMOVED: tuple[Figure, str] = (lambda effect: f"{effect.removed:,}", "removed")
_BYTES: tuple[Figure, str] = (byte_change, "bytes")


class StepList(ListPane[StepRow]):
    """The steps of a recipe in their order, below the sum of all."""

    HELP: ClassVar[str] = (
        "The cleaning steps of the recipe in their order, with what each changed and removed. The highlighted one "
        "chooses which documents ← → show."
    )
    report: CleaningReport | None = None

    def heading(self, cells: int) -> Line:
        line: Line = [("cleaning steps", "title")]
        if self.report:
            before, after = self.report.before, self.report.after
            line += [
                (f"  {before.documents:,} → {after.documents:,} documents", ""),
                (f", {size(before.bytes)} → {size(after.bytes)}", "dim"),
            ]
        return line

    def key(self, item: StepRow) -> str:
        return item.name

    def row(self, item: StepRow, cells: int) -> Line:
        line: Line = [(cell(shown(item.name), 18), "bold")]
        if item.effect is None:
            return line
        for figure, word in (_CHANGED, _REMOVED, _BYTES):
            text = figure(item.effect)
            widest = max(len(figure(other.effect)) for other in self.items if other.effect)
            line.append((f"  {text:>{widest}} {word}", "dim" if text == "0" else ""))
        return clip(line, cells)


class DocumentChange(ScrollPane):
    """One document before and after cleaning, with the differences marked."""

    HELP: ClassVar[str] = "A document before and after cleaning, with what was removed and inserted marked."
    document: CleanedDocument | None = None
    spans: tuple[DiffSpan, ...] = ()
    message = "reading …"
    """Shown instead of a document."""
    step: CleaningStep | None = None
    """The step that documents are chosen by, described above the text."""

    def show_document(self, document: CleanedDocument, spans: list[DiffSpan]) -> None:
        """Show another document."""
        self.document, self.spans, self.message = document, tuple(spans), ""
        self.reset_scroll()
        self.update()

    def show_message(self, text: str) -> None:
        """Show `text` instead of a document."""
        self.document, self.message = None, text
        self.reset_scroll()
        self.update()

    def heading(self, width: int) -> Line:
        document = self.document
        if document is None:
            return [("before and after", "title")]
        number = f"document {document.number + 1:,} of {document.documents:,}"
        return [(number, "title"), (f"  {shown(document.excerpt.name, 200)}", "dim")]

    def content(self, width: int) -> list[Line]:
        lines: list[Line] = []
        if self.step:
            cost = f" Cost: {self.step.cost}." if self.step.cost else ""
            lines = [[(part, "dim")] for part in wrap(shown(f"{self.step.name}: {self.step.why}.{cost}"), width)]
        if self.document is None:
            return [*lines, *([(part, "")] for part in wrap(self.message, min(width, 76)))]
        excerpt = self.document.excerpt
        by = f"changed by {', '.join(excerpt.changed_by)}" if excerpt.changed_by else ""
        removed = f"removed by {excerpt.removed_by}" if excerpt.removed_by else ""
        start = f"from character {excerpt.start + 1:,} on" if excerpt.start else ""
        about = ", ".join(part for part in (removed, by, start) if part)
        key = "[-removed-] {+added+}"
        lines += [[(part, "accent")] for part in wrap(shown(f"{about}   {key}"), width)]
        text = wrapped(_styled(self.spans), width)
        if not excerpt.before.strip():
            text = [[("The document has no text.", "dim")]]
        return [*lines, [], *text]


class CleaningTables(ScrollPane):
    """The statistics of a cleaned corpus, except those of the steps."""

    HELP: ClassVar[str] = "What the cleaning did to the whole corpus, apart from its single steps."
    report: CleaningReport | None = None

    def heading(self, width: int) -> Line:
        return [("report", "title")]

    def content(self, width: int) -> list[Line]:
        if self.report is None:
            return [[(part, "dim")] for part in wrap("The report comes with the cleaned documents.", width)]
        lines: list[Line] = []
        for rows in report_tables(self.report):
            if rows[0][0] == "STEP":
                continue  # listed beside this pane
            widths = [max(len(shown(row[column])) for row in rows) for column in range(len(rows[0]))]
            lines += [[]] if lines else []
            for number, row in enumerate(rows):
                role = "dim" if number == 0 else ""
                head = "".join(f"{cell(shown(row[column]), widths[column])}  " for column in range(len(row) - 1))
                lines += hanging([(shown(row[-1]), role)], (head, role), width)
        return lines


def _styled(spans: tuple[DiffSpan, ...]) -> Line:
    line: Line = []
    for kind, text in spans:
        if kind == "both":
            line.append((visible(text), ""))
        else:
            before, after, role = _MARKS[kind]
            line.append((f"{before}{shown(text, len(text) + 1)}{after}", role))
    return line
