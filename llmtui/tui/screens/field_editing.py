"""What the form for a run does with the field under the cursor: its values, its editor, the values it offers."""

from __future__ import annotations

import asyncio
from typing import cast

from textual import on
from textual.screen import ModalScreen
from textual.widgets import Input

from core.recipe.fields import Field
from core.recipe.schema import Recipe
from core.runs.measured_speed import MeasuredSpeed, measured_speeds
from llmtui.tui.recipe_export import FormResult
from llmtui.tui.recipe_form import PRESET, RecipeForm, Resolved
from llmtui.tui.screens.cancels_workers import CancelsWorkers
from llmtui.tui.screens.form_values import known_values, source_values
from llmtui.tui.session import Session, SessionApp
from llmtui.tui.widgets.bars import Notice
from llmtui.tui.widgets.form_panes import FieldDetail, FieldList, Suggestion
from llmtui.view.sanitize import shown


class FieldEditing(CancelsWorkers, ModalScreen[Recipe | None]):
    """The part of the form that changes one field."""

    def __init__(self, form: RecipeForm) -> None:
        super().__init__()
        self.form = form
        self.result = FormResult(Resolved(None, None, {}), None, [])
        self._before: tuple[str | None, str] = (None, "")
        """What the field had typed, and what it showed, before it was edited."""

    @property
    def session(self) -> Session:
        return cast(SessionApp, self.app).session

    @property
    def fields(self) -> FieldList:
        return self.query_one(FieldList)

    @property
    def detail(self) -> FieldDetail:
        return self.query_one(FieldDetail)

    @property
    def editor(self) -> Input:
        return self.query_one("#value", Input)

    def _notice(self, text: str, role: str = "") -> None:
        self.query_one(Notice).show_text(shown(text, 400), role)

    def _speeds(self) -> list[MeasuredSpeed]:
        return measured_speeds((each.run.name, each.summary) for each in self.session.watcher.snapshots)

    def _changed(self) -> None:
        """Compute recipe and forecast again, and draw them."""
        raise NotImplementedError

    def _draw(self) -> None:
        raise NotImplementedError

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
