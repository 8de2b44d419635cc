"""Data, third view: what each cleaning step did to the corpus, and documents before and after."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePath
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from core.errors import LlmtuiError
from core.events import CleaningReport, CleaningStep
from core.jobs.browse_protocol import CleanedDocument, FindChanged, NotFound
from core.parsing import ParseError, read_json
from core.recipe.schema import Preprocess
from core.storage.workspace import Workspace
from llmtui.clients.child_job import run_child_job
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.data import DataScreen
from llmtui.tui.widgets.cleaning import ALL_STEPS, CleaningTables, DocumentChange, StepList, StepRow
from llmtui.view import run_text
from llmtui.view.sanitize import shown
from llmtui.view.word_diff import excerpt_spans


class Cleaning(DataScreen):
    """Steps above, a document below, and the report instead of it or, in wide terminals, beside it."""

    SCOPE = "cleaning"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("cleaning")]
    CSS_PATH: ClassVar[list[str | PurePath]] = ["data.tcss", "data_cleaning.tcss"]
    AUTO_FOCUS: ClassVar[str] = "StepList"

    def __init__(self) -> None:
        super().__init__()
        self._descriptions: dict[str, CleaningStep] = {}
        self._described = asyncio.Event()
        """Set once `_descriptions` has been read."""
        self._shown: tuple[str, str, Preprocess] | None = None
        """Directories of raw and clean documents, and the recipe's section, of what is shown."""
        self._number = -1
        """Of the document shown."""

    def compose_view(self) -> Iterable[Widget]:
        yield StepList(id="steps")
        yield DocumentChange(id="change")
        yield CleaningTables(id="report")

    def on_mount(self) -> None:
        self.run_latest(self._describe, "descriptions")

    async def _describe(self) -> None:
        self._descriptions = await asyncio.to_thread(_describe_steps, self.session.workspace)
        self._described.set()

    # -- what is shown ----------------------------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        self._show_run()

    @on(RunsUpdated)
    def _show_run_if_current(self) -> None:
        if self.is_current:
            self._show_run()

    def _show_run(self) -> None:
        """Turn to the selected run's corpus, if it is not the one shown."""
        snapshot = self.snapshot
        if snapshot is None:
            self._shown = None
            self._show_steps((), None)
            self.query_one(DocumentChange).show_message("No run is selected: 1 shows the runs, n there starts one.")
            self.show_header()
            return
        now = (snapshot.artifact("download"), snapshot.artifact("preprocess"), snapshot.run.recipe.preprocess)
        if now != self._shown:
            self._shown = now
            self.run_latest(partial(self._read, *now), "cleaning")

    async def _read(self, raw: str, clean: str, recipe: Preprocess) -> None:
        """Read the report, then find the first document that was changed."""
        report = await asyncio.to_thread(_read_report, clean)
        if report is None and self.snapshot:
            report = self.snapshot.summary.report
        self._show_steps(recipe.steps, report)
        self.show_header()
        if raw:
            await self._find(0)
        else:
            self.query_one(DocumentChange).show_message(self._why_nothing())

    def _show_steps(self, steps: Iterable[str], report: CleaningReport | None) -> None:
        effects = {effect.step: effect for effect in report.steps} if report else {}
        rows = self.query_one(StepList)
        rows.report = self.query_one(CleaningTables).report = report
        names = list(steps)
        rows.show_items([StepRow(ALL_STEPS), *(StepRow(name, effects.get(name)) for name in names)] if names else ())
        self.query_one(CleaningTables).update()

    def _why_nothing(self) -> str:
        assert self.snapshot is not None
        name = run_text.name(self.snapshot)
        return f"{name} has no documents yet: download is its first stage. 1 shows the runs, r there resumes one."

    @property
    def step(self) -> str:
        """The highlighted step; empty for all of them."""
        row = self.query_one(StepList).highlighted
        return row.name if row and row.name != ALL_STEPS else ""

    def is_available(self, action: str) -> bool:
        if action == "cleaning.report":
            return not self.has_class("-wide")
        if action.startswith("cleaning."):
            return bool(self._shown and self._shown[0])
        return super().is_available(action)

    # -- finding documents ------------------------------------------------------------------------------------------

    @on(StepList.Highlighted)
    def _find_first(self) -> None:
        if self._shown and self._shown[0]:
            self._start_search(0)

    def _start_search(self, number: int, *, backwards: bool = False) -> None:
        find = partial(self._find, number, backwards=backwards)
        self.run_latest(find, "cleaning")

    async def _find(self, number: int, *, backwards: bool = False) -> None:
        """Show the next document from `number` on, or before it, that the highlighted step changes or removes."""
        assert self._shown is not None
        raw, _, recipe = self._shown
        await self._described.wait()
        change, row = self.query_one(DocumentChange), self.query_one(StepList).highlighted
        change.step = self._descriptions.get(self.step)
        if reason := _no_document(row, change.step):
            change.show_message(reason)
            return
        question = FindChanged(artifact=raw, recipe=recipe, number=number, step=self.step, backwards=backwards)
        try:
            answer = await self.ask(question)
        except LlmtuiError as error:
            change.show_message(shown(error.sentence(), lines=True))
            return
        if answer is None and change.document is None:
            change.show_message("The search was ended: → begins it again.")
        elif isinstance(answer, NotFound):
            change.show_message(f"No document is changed or removed by {shown(self.step or 'a single step')}.")
        elif isinstance(answer, CleanedDocument):
            spans = await asyncio.to_thread(excerpt_spans, answer.excerpt)
            self._number = answer.number
            change.show_document(answer, spans)

    # -- actions --------------------------------------------------------------------------------------------------

    def action_cleaning_next(self) -> None:
        self._move(self._number + 1)

    def action_cleaning_previous(self) -> None:
        self._move(self._number - 1, backwards=True)

    def _move(self, number: int, *, backwards: bool = False) -> None:
        if self._shown and self._shown[0]:
            self._start_search(number, backwards=backwards)
        else:
            self.show_notice("There are no documents to go through.", "warn")

    def action_cleaning_report(self) -> None:
        self.toggle_class("-report")
        for pane in (self.query_one(CleaningTables), self.query_one(DocumentChange)):
            pane.update()
        self.query_one(CleaningTables if self.has_class("-report") else StepList).focus()


def _no_document(row: StepRow | None, step: CleaningStep | None) -> str:
    """Why no single document shows the effect of a step; empty if one may."""
    if row is None or row.name == ALL_STEPS:
        return ""
    effect = row.effect
    if effect and not effect.changed and not effect.removed:
        return f"{shown(row.name)} changed and removed nothing in this corpus."
    if step and step.compares:
        counts = f" Here it changed {effect.changed:,} and removed {effect.removed:,}." if effect else ""
        return f"It depends on other documents, so that a single one does not show it.{counts}"
    return ""


def _read_report(clean: str) -> CleaningReport | None:
    """The report beside the clean documents; None if there is none or it is damaged."""
    if not clean:
        return None
    try:
        return read_json(Path(clean) / "report.json", CleaningReport)
    except (OSError, ParseError):
        return None


def _describe_steps(workspace: Workspace) -> dict[str, CleaningStep]:
    """What each cleaning step is for; empty if the child process that knows it fails."""
    try:
        job = run_child_job(workspace, "core.jobs.data_commands", "steps", result_type=CleaningStep)
        return {step.name: step for step in job}
    except LlmtuiError:
        return {}
