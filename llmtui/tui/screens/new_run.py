"""The form for a run: every field of the recipe, live validation, and what the training will take."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Input

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.model.preset_table import preset_table
from core.plural import plural
from core.runs.recipe_change import change_recipe
from llmtui.tui.action_table import Scope
from llmtui.tui.actions import bindings
from llmtui.tui.recipe_export import FormResult, form_result
from llmtui.tui.recipe_form import typed_overrides
from llmtui.tui.screen_table import NEW_RUN
from llmtui.tui.screens.field_editing import FieldEditing
from llmtui.tui.screens.run_screen import after_consent
from llmtui.tui.screens.workbench_screen import copy_text, show_error
from llmtui.tui.widgets.bars import FooterBar, HeaderBar, Notice
from llmtui.tui.widgets.form_panes import CommandPane, FieldDetail, FieldList, ForecastPane, problem_text
from llmtui.view.lines import Line
from llmtui.view.sanitize import shown

if TYPE_CHECKING:
    from llmtui.tui.recipe_form import RecipeForm
    from llmtui.tui.screens.form_dialogs import DocumentsDialog

PAUSE = 0.08
"""Seconds without a key before a form is computed."""

_TITLES = {
    "new": "New run",
    "like": "New run like",
    "resume": "Resume with other settings:",
    "branch": "Branch of",
}


class NewRun(FieldEditing):
    """A form over a preset or the recipe of a run. The result is the recipe to start, or None."""

    SCOPE: ClassVar[Scope] = NEW_RUN
    CSS_PATH = "new_run.tcss"
    AUTO_FOCUS = "FieldList"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(NEW_RUN),
        Binding("?,f1", "app.app_help", id="app.help"),  # a dialog hides the bindings of the application
        Binding("down", "choose(1)"),
        Binding("up", "choose(-1)"),
        Binding("tab", "complete"),
    ]

    def __init__(self, form: RecipeForm, notice: str = "") -> None:
        """notice: shown at first."""
        super().__init__(form)
        self._first_notice = notice

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield Input(placeholder="words of a name or description; enter keeps them, esc shows all fields", id="search")
        with Container(id="body"):
            yield FieldList(self.form, id="fields")
            with Container(id="side"):
                yield Input(id="value")
                yield FieldDetail(self.form, id="detail")
                yield ForecastPane(id="forecast")
                yield CommandPane(id="command")
        yield FooterBar(NEW_RUN, self._is_available, self.session.keymap)
        yield Notice()

    def on_mount(self) -> None:
        self.query_one("#search").display = self.query_one("#value").display = False
        self.fields.show_fields(self.form.search(""))
        self._changed()
        if self._first_notice:
            self._notice(self._first_notice)
        elif self.form.texts:
            self._notice("Your draft, as you left it; C sets all fields back.")

    # -- panes ----------------------------------------------------------------------------------------------------

    def _is_available(self, action: str) -> bool:
        if action in ("form.documents", "form.study"):
            return self.form.purpose in ("new", "like")
        return action.startswith("form.") or action == "app.help"  # a dialog: no key leads elsewhere

    def _changed(self) -> None:
        """Compute recipe and forecast again, after a pause in which nothing else changes."""
        self._draw()
        self.run_worker(self._compute(), group="compute", exclusive=True, exit_on_error=True)

    async def _compute(self) -> None:
        await asyncio.sleep(PAUSE)
        await asyncio.to_thread(preset_table)
        result = await asyncio.to_thread(form_result, self.form.inputs, self.session.workspace, self._speeds())
        if self in self.app.screen_stack:  # else it was left meanwhile
            self._show(result)

    def _show(self, result: FormResult) -> None:
        self.result = result
        forecast, command = self.query_one(ForecastPane), self.query_one(CommandPane)
        forecast.forecast, forecast.problems, forecast.pending = result.forecast, len(result.resolved.problems), False
        command.command = shlex.join(result.command)
        if not self.detail.editing:
            self._suggest()
        self._draw()

    def _draw(self) -> None:
        self.fields.resolved = self.detail.resolved = self.result.resolved
        self.detail.field = self.fields.field
        header = self.query_one(HeaderBar)
        run = self.form.run
        about = f" {shown(run.name, 80)}" if run else ""
        about += f", from step {step_of(self.form.checkpoint):,}" if self.form.checkpoint else ""
        header.left = [(_TITLES[self.form.purpose], "title"), (about, "")]
        header.right = self._state()
        for pane in (header, self.fields, self.detail, self.query_one(ForecastPane), self.query_one(CommandPane)):
            pane.update()
        footer = self.query_one(FooterBar)
        footer.override = []
        if self.detail.editing:
            footer.override = [("enter", "take it"), ("esc", "leave it"), ("tab", "complete"), ("↑ ↓", "choose")]
        elif self.focused is self.query_one("#search"):
            footer.override = [("enter", "keep these"), ("esc", "show all")]
        footer.update()

    def _state(self) -> Line:
        problems = len(self.result.resolved.problems)
        typed = len(self.form.texts)
        state: Line = [(f"● {plural(typed, 'field')} changed", "accent")] if typed else [("nothing changed yet", "dim")]
        return [*state, ("  ", ""), (f"✗ {plural(problems, 'problem')}", "bad")] if problems else state

    # -- search ---------------------------------------------------------------------------------------------------

    def action_form_search(self) -> None:
        search = self.query_one("#search", Input)
        search.display = True
        self.set_focus(search)
        self._draw()

    @on(Input.Changed, "#search")
    def _search(self, message: Input.Changed) -> None:
        self.fields.searched = message.value.strip()
        self.fields.show_fields(self.form.search(message.value))
        best = self.form.best_match(message.value) if self.fields.searched else None
        if best is not None:
            self.fields.highlight(best.key)
        self._suggest()
        self._draw()

    @on(Input.Submitted, "#search")
    def _end_search(self) -> None:
        self.query_one("#search").display = False
        self.set_focus(self.fields)
        self._draw()

    # -- leaving, starting and the rest ---------------------------------------------------------------------------

    def action_form_leave(self) -> None:
        field = self.fields.field
        if self.detail.editing and field is not None:
            self._restore(field)
            self._end_edit()
        elif self.fields.searched or self.query_one("#search").display:
            self.query_one("#search", Input).value = ""
            self._end_search()
        else:
            self.workers.cancel_node(self)  # what they compute has no panes any more
            self.dismiss(None)

    def action_form_start(self) -> None:
        if self.detail.editing:
            self._take()
        self.run_worker(self._start(), group="start", exclusive=True, exit_on_error=True)

    async def _start(self) -> None:
        """Check the form as it is now, then end with its recipe; or go to the first field that is wrong."""
        self.workers.cancel_group(self, "compute")
        result = await asyncio.to_thread(form_result, self.form.inputs, self.session.workspace, self._speeds())
        self._show(result)
        recipe, problems = result.resolved.recipe, result.resolved.problems
        if problems or recipe is None:
            key, error = next(iter(problems.items()))
            if key not in [field.key for field in self.form.search(self.fields.searched)]:
                self.query_one("#search", Input).value = ""
            self.fields.highlight(key)
            self._moved()
            self._notice(f"Not started. {problem_text(error, self.fields.field)}", "bad")
            return
        if self.form.purpose == "resume" and self.form.run:
            changes = typed_overrides(self.form.texts).values()
            try:
                await asyncio.to_thread(change_recipe, self.form.run, list(changes))
            except LlmtuiError as error:
                show_error(self.app, error)
                return
        self.dismiss(recipe)

    def action_form_documents(self) -> None:
        recipe, problem = self.result.resolved.recipe, self.result.resolved.problems.get("source.corpus")
        if problem or recipe is None:
            self._notice(problem_text(problem) if problem else "There is no recipe yet.", "bad")
            return
        from llmtui.tui.screens.form_dialogs import DocumentsDialog

        documents = DocumentsDialog(self.session.workspace, recipe)
        after_consent(self.app, recipe, lambda: self._read(documents), "accept and read")

    def _read(self, documents: DocumentsDialog) -> None:
        self.app.push_screen(documents)

    def action_form_study(self) -> None:
        recipe, problems = self.result.resolved.recipe, self.result.resolved.problems
        if recipe is None or problems:
            self._notice("There is no study before the fields marked ✗ are right.", "warn")
            return
        from llmtui.tui.screens.new_study import ask_for_study

        ask_for_study(self.app, recipe, self._leave)

    def _leave(self) -> None:
        self.session.drafts.pop(self.form.draft_key, None)
        self.workers.cancel_node(self)  # what they compute has no panes any more
        self.dismiss(None)

    def action_form_copy(self) -> None:
        from llmtui.tui.screens.form_dialogs import CommandDialog

        command = shlex.join(self.result.command)
        if command:
            dialog = CommandDialog(command)
            self.app.push_screen(dialog)
            copy_text(self.app, command, "the command", dialog.say)
        else:
            self._notice("There is no command before the fields marked ✗ are right.", "warn")

    def action_form_save(self) -> None:
        from llmtui.tui.screens.save_recipe import SaveRecipe

        recipe, problems = self.result.resolved.recipe, self.result.resolved.problems
        if recipe is None or problems:
            self._notice("Not saved: the fields marked ✗ have to be right first.", "warn")
            return

        def on_saved(path: Path | None) -> None:
            if path:
                self._notice(f"Saved as {path}; `llmtui run` takes it.")

        self.app.push_screen(SaveRecipe(recipe), on_saved)
