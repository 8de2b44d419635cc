"""The user's annotations of the run that a screen is about: tags, notes, archived or not."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from core.errors import LlmtuiError
from core.runs.annotations import Annotations, with_note, with_tags
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.workbench_screen import show_error, show_notice
from llmtui.view.run_snapshot import RunSnapshot


class AnnotatedScreen(RunScreen):
    """A screen with the actions that annotate its run."""

    @property
    def marked_step(self) -> int | None:
        """The training step that a new note is about; None: the whole run."""
        return None

    async def annotate(self, snapshot: RunSnapshot, change: Callable[[Annotations], Annotations], notice: str) -> None:
        """Change the annotations of the run, then show `notice`. Raises LlmtuiError if they cannot be written."""
        await self.session.annotate(snapshot.run, change)
        show_notice(self.app, notice)

    def action_run_tag(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to tag.", "warn")
            return
        from llmtui.tui.screens.annotation_dialogs import TagsDialog

        before = snapshot.annotations.tags

        async def save(tags: tuple[str, ...]) -> None:
            if set(tags) != set(before):
                notice = f"{snapshot.run.name}: {' '.join(tags) or 'no tags'}"
                await self.annotate(snapshot, lambda known: with_tags(known, tags, set(before) - set(tags)), notice)

        self.app.push_screen(TagsDialog(snapshot.run.name, before, save))

    def action_run_note(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to write a note on.", "warn")
            return
        from llmtui.tui.screens.annotation_dialogs import Note, NoteDialog

        async def save(note: Note) -> None:
            on = snapshot.run.name if note.step is None else f"step {note.step:,} of {snapshot.run.name}"
            notice = f"Noted on {on}." if note.text.strip() else f"The note on {on} is removed."
            await self.annotate(snapshot, lambda known: with_note(known, note.text, note.step), notice)

        self.app.push_screen(NoteDialog(snapshot.run.name, snapshot.annotations, self.marked_step, save))

    def action_run_archive(self) -> None:
        snapshot = self.snapshot
        if snapshot is None:
            self.show_notice("There is no run to archive.", "warn")
            return
        archived = not snapshot.annotations.archived
        notice = f"{snapshot.run.name} is {'archived; A shows archived runs' if archived else 'listed again'}."

        async def write() -> None:
            try:
                await self.annotate(snapshot, lambda known: replace(known, archived=archived), notice)
            except LlmtuiError as error:
                show_error(self.app, error)

        self.app.run_worker(write(), exit_on_error=True)
