"""The form for a run: every field of the recipe, live validation, and what the training will take."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import ModalScreen
from textual.widgets import Input

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.model.preset_table import preset_table
from core.plural import plural
from core.recipe.fields import Field
from core.recipe.schema import Recipe
from core.runs.measured_speed import MeasuredSpeed, measured_speeds
from core.runs.recipe_change import change_recipe
from llmtui.tui.action_table import Scope
from llmtui.tui.actions import bindings
from llmtui.tui.recipe_export import FormResult, form_result
from llmtui.tui.recipe_form import PRESET, RecipeForm, Resolved, typed_overrides
from llmtui.tui.screen_table import NEW_RUN
from llmtui.tui.screens.form_values import known_values, source_values
from llmtui.tui.screens.run_screen import copy_text, show_error
from llmtui.tui.session import Session, SessionApp
from llmtui.tui.widgets.bars import FooterBar, HeaderBar, Notice
from llmtui.tui.widgets.form_panes import CommandPane, FieldDetail, FieldList, ForecastPane, Suggestion, problem_text
from llmtui.view.lines import Line
from llmtui.view.sanitize import shown

PAUSE = 0.08
"""Seconds without a key before a form is computed."""

_TITLES = {
    "new": "New run",
    "like": "New run like",
    "resume": "Resume with other settings:",
    "branch": "Branch of",
}


class NewRun(ModalScreen[Recipe | None]):
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

    def __init__(self, form: RecipeForm) -> None:
        super().__init__()
        self.form = form
        self.result = FormResult(Resolved(None, None, {}), None, [])
        self._before: tuple[str | None, str] = (None, "")
        """What the field had typed, and what it showed, before it was edited."""

    @property
    def session(self) -> Session:
        return cast(SessionApp, self.app).session

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
        if self.form.texts:
            self._notice("Your draft, as you left it; C sets all fields back.")

    # -- panes ----------------------------------------------------------------------------------------------------

    @property
    def fields(self) -> FieldList:
        return self.query_one(FieldList)

    @property
    def detail(self) -> FieldDetail:
        return self.query_one(FieldDetail)

    @property
    def editor(self) -> Input:
        return self.query_one("#value", Input)

    def _is_available(self, action: str) -> bool:
        if action == "form.documents":
            return self.form.purpose in ("new", "like")
        return action.startswith("form.") or action == "app.help"  # a dialog: no key leads elsewhere

    def _notice(self, text: str, role: str = "") -> None:
        self.query_one(Notice).show_text(shown(text, 400), role)

    def _speeds(self) -> list[MeasuredSpeed]:
        return measured_speeds((each.run.name, each.summary) for each in self.session.watcher.snapshots)

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
        editing = self.detail.editing
        footer.override = [("enter", "take it"), ("esc", "leave it"), ("tab", "complete"), ("↑ ↓", "choose")] * editing
        footer.update()

    def _state(self) -> Line:
        problems = len(self.result.resolved.problems)
        typed = len(self.form.texts)
        state: Line = [(f"● {plural(typed, 'field')} changed", "accent")] if typed else [("nothing changed yet", "dim")]
        return [*state, ("  ", ""), (f"✗ {plural(problems, 'problem')}", "bad")] if problems else state

    # -- the field under the cursor -------------------------------------------------------------------------------

    @on(FieldList.Highlighted)
    def _moved(self) -> None:
        self._suggest()
        self._draw()

    def _suggest(self) -> None:
        """Offer values for the field under the cursor: those known at once; those of a source are looked for."""
        field, typed = self.fields.field, self.editor.value if self.detail.editing else ""
        typed = "" if typed == self._before[1] else typed.lower()
        if field is not None and field.key == "source.corpus":
            if self.detail.editing:
                self.run_worker(self._complete_source(typed and self.editor.value), group="complete", exclusive=True)
            return
        runs = [each.run.id for each in self.session.watcher.snapshots]
        found = known_values(field, runs, self._speeds()) if field is not None else []
        self._offer([each for each in found if typed in each.value.lower()])

    async def _complete_source(self, text: str) -> None:
        self._offer(await asyncio.to_thread(source_values, text, self.session.workspace))

    def _offer(self, suggestions: list[Suggestion]) -> None:
        detail = self.detail
        detail.suggestions = suggestions
        values = [each.value for each in suggestions]
        current = self.editor.value if detail.editing else ""
        detail.chosen = values.index(current) if current in values and current == self._before[1] else -1
        detail.update()

    def action_form_edit(self) -> None:
        if self.detail.editing:
            return
        field = self.fields.field
        if field is None or self._refuses(field):
            return
        text = self.form.text(field, self.result.resolved.recipe)
        self._before = (self.form.texts.get(field.key), text)
        self.detail.editing = True
        self.add_class("-editing")
        self.editor.display = True
        with self.prevent(Input.Changed):
            self.editor.value = text
        self.editor.placeholder = f"{field.allowed}; {'empty: left out' if field.optional else ''}".rstrip("; ")
        self.set_focus(self.editor)  # at once: what is typed next is for it
        self._suggest()
        self._draw()

    def _refuses(self, field: Field) -> bool:
        """Whether a field must not change; a notice says why."""
        why = self.form.why_fixed(field.key)
        if why:
            self._notice(f"{field.key} must stay as it is: {why}.", "warn")
        return bool(why)

    @on(Input.Changed, "#value")
    def _typed(self, message: Input.Changed) -> None:
        field = self.fields.field
        if field is not None and self.detail.editing:
            self.form.set(field.key, message.value)
            self._suggest()
            self._changed()

    @on(Input.Submitted, "#value")
    def _take(self) -> None:
        detail, field = self.detail, self.fields.field
        if field is not None:
            value = detail.suggestions[detail.chosen].value if detail.chosen >= 0 else self.editor.value
            if value != self._before[1]:
                self.form.set(field.key, value)
            else:
                self._restore(field)
        self._end_edit()

    def _restore(self, field: Field) -> None:
        typed, showed = self._before
        if field.key == PRESET.key:
            self.form.set(field.key, showed)
        elif typed is None:
            self.form.reset(field.key)
        else:
            self.form.set(field.key, typed)

    def _end_edit(self) -> None:
        self.detail.editing = False
        self.detail.chosen = -1
        self.workers.cancel_group(self, "complete")
        self.editor.display = False
        self.remove_class("-editing")
        self.set_focus(self.fields)
        self._suggest()
        self._changed()

    def action_choose(self, step: int) -> None:
        """Move among the suggestions, or from the search to the fields."""
        if self.detail.editing:
            last = len(self.detail.suggestions) - 1
            self.detail.chosen = max(-1, min(last, self.detail.chosen + step))
            self.detail.update()
        else:
            self.set_focus(self.fields)

    def action_complete(self) -> None:
        """Put a suggestion into the editor; elsewhere go to the next pane."""
        detail = self.detail
        if not detail.editing:
            self.focus_next()
        elif detail.suggestions:
            self.editor.value = detail.suggestions[max(0, detail.chosen)].value
            self.editor.cursor_position = len(self.editor.value)

    def _step(self, direction: int) -> None:
        field = self.fields.field
        if field is None or self._refuses(field):
            return
        if self.form.step(field, self.result.resolved.recipe, direction):
            self._changed()
        else:
            self._notice(f"{field.key} has no list of values: enter edits it.")

    def action_form_next(self) -> None:
        self._step(1)

    def action_form_previous(self) -> None:
        self._step(-1)

    def action_form_reset(self) -> None:
        field = self.fields.field
        if field is not None and self.form.reset(field.key):
            self._changed()
        elif field is not None:
            self._notice(f"{field.key} is as it was.")

    def action_form_clear(self) -> None:
        self.form.texts.clear()
        self.form.reset(PRESET.key)
        self._changed()
        self._notice("All fields are as they were.")

    # -- search ---------------------------------------------------------------------------------------------------

    def action_form_search(self) -> None:
        search = self.query_one("#search", Input)
        search.display = True
        search.focus()

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
            self._notice(f"Not started. {problem_text(error)}", "bad")
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
        from llmtui.tui.screens.dialogs import Confirm
        from llmtui.tui.screens.form_dialogs import Documents

        notice = self.session.required_notice(recipe)

        def show(yes: bool | None) -> None:
            if not yes:
                return
            try:
                if notice is not None:
                    notice.accept()
            except LlmtuiError as error:
                show_error(self.app, error)
            else:
                self.app.push_screen(Documents(self.session.workspace, recipe))

        if notice is None:
            show(True)
        else:
            self.app.push_screen(Confirm(notice.text, yes="accept and read", no="leave it"), show)

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
