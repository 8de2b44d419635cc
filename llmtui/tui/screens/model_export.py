"""Exporting a checkpoint from the screens: the dialog with format and folder, and the export in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.checkpoints import readable_checkpoints, step_of
from core.errors import LlmtuiError
from core.events import Note, Progress
from core.export.architectures import architecture_of
from core.export.request import FORMATS, ExportError, check_folder
from core.plural import plural
from core.runs.directory import Run
from core.sources.corpora import known_corpus
from core.storage.artifact import Artifact
from llmtui.clients.model_export import export_request, stream_export
from llmtui.clients.remote_inference import is_remote
from llmtui.tui.screens.chat_checkpoints import about_checkpoint
from llmtui.tui.screens.dialogs import Dialog
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.workbench_screen import show_error, show_notice
from llmtui.tui.session import SessionApp
from llmtui.tui.widgets.bars import Notice
from llmtui.view.sanitize import shown

_PROGRESS_INTERVAL = 0.5
"""Seconds between two polls of the progress; a notice stays longer."""


class ExportTarget(NamedTuple):
    """What the dialog asks for."""

    format_name: str
    dtype: str
    folder: Path


TARGETS = tuple((each.name, dtype) for each in FORMATS.values() for dtype in each.dtypes)
"""Format and number format, in the order in which the dialog goes through them."""


class ExportDialog(Dialog[ExportTarget | None]):
    """Asks for the format and the folder of an export."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close"),
        Binding("down", "target(1)"),
        Binding("up", "target(-1)"),
    ]

    def __init__(self, run: Run, checkpoint: Path, folder: Path) -> None:
        """folder: where a folder for the export is proposed. Raises NotExportableError."""
        super().__init__()
        self._run_shown, self._step, self._folder = run, step_of(checkpoint), folder
        self._architecture = architecture_of(run.recipe.model)
        self._target = 0
        self._proposed = ""

    def compose(self) -> ComposeResult:
        name, corpus = shown(self._run_shown.name, 64), known_corpus(self._run_shown.recipe.source.corpus)
        with Vertical(classes="dialog"):
            yield Static(
                Content(f"Export step {self._step:,} of {name} as {self._architecture.class_name}"), classes="title"
            )
            yield Static("", id="target")
            yield Static("", id="about", classes="detail")
            yield Input(placeholder="a new folder")
            yield Static("", classes="problem")
            if corpus and corpus.notice:
                yield Static(Content(f"Before you pass it on: {corpus.notice}"), classes="detail")
            yield Static("enter exports it in the background · ↑ ↓ format · esc leaves", classes="hint")

    def on_mount(self) -> None:
        self.action_target(0)

    def action_target(self, by: int) -> None:
        self._target = (self._target + by) % len(TARGETS)
        format_name, dtype = TARGETS[self._target]
        self.query_one("#target", Static).update(Content(f"‹ {format_name} · {dtype} ›"))
        about = FORMATS[format_name].about
        self.query_one("#about", Static).update(Content(f"{about[:1].upper()}{about[1:]}."))
        entry = self.query_one(Input)
        if entry.value == self._proposed:  # the user has typed no other
            self._proposed = entry.value = str(self._free_folder(f"-{format_name}-{dtype}"))
            entry.cursor_position = 0
            # once its text is laid out, a long path is scrolled to its end, which differs
            self.call_after_refresh(entry.action_end)

    def _free_folder(self, suffix: str) -> Path:
        stem = f"{self._run_shown.name}-{self._step}{suffix}"
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 1000))
        return next((self._folder / name for name in names if not (self._folder / name).exists()), self._folder)

    @on(Input.Changed)
    def _changed(self) -> None:
        self._show("")

    @on(Input.Submitted)
    async def _submitted(self, message: Input.Submitted) -> None:
        text = message.value.strip()
        if not text:
            self._show("Name a folder.")
            return
        try:
            folder = Path(text).expanduser().absolute()
            await asyncio.to_thread(check_folder, folder)
        except (ExportError, RuntimeError, ValueError) as error:  # no such user; a null byte
            self._show(f"{str(error)[:1].upper()}{str(error)[1:]}.")
        else:
            self.dismiss(ExportTarget(*TARGETS[self._target], folder))

    def _show(self, problem: str) -> None:
        self.query_one(".problem", Static).update(Content(shown(problem, 400)))

    def action_close(self) -> None:
        self.dismiss(None)


async def ask_and_export(app: App[Any], run: Run, checkpoint: Artifact | None) -> None:
    """Ask for what is missing, then export a checkpoint of `run`. In a worker of `app`.

    checkpoint: None: the user chooses one.
    """
    workspace = cast(SessionApp, app).session.workspace
    try:
        architecture_of(run.recipe.model)
        path = checkpoint.path if checkpoint else await _choose(app, run)
        if path is None:
            return
        if is_remote(path):
            show_notice(app, f"This checkpoint is on {run.host}: F copies the newest one here, to be exported.", "warn")
            return
        target = await app.push_screen_wait(ExportDialog(run, path, workspace.exports))
        if target is None:
            return
        request = await asyncio.to_thread(
            export_request, run, path, to=target.folder, format_name=target.format_name, dtype=target.dtype
        )
        notes: list[str] = []
        with _showing_progress(app, f"Exporting step {step_of(path):,} of {run.name} …") as progress:
            async with aclosing(stream_export(workspace, request)) as events:
                async for event in events:
                    if isinstance(event, Progress) and event.total:
                        progress.text = f"Exporting {run.name}: {event.done / event.total:.0%}"
                    elif isinstance(event, Note):
                        notes.append(event.text)
    except LlmtuiError as error:
        show_error(app, error)
    except OSError as error:
        show_error(app, LlmtuiError((error.strerror or str(error)).lower(), where=str(error.filename or "")))
    else:
        for text in notes:
            show_notice(app, text, "warn")
        show_notice(app, f"{run.name} is exported: {target.folder}{_noted(notes)}")


async def _choose(app: App[Any], run: Run) -> Path | None:
    """The checkpoint to export; None if there is none, or the user leaves."""
    found = await asyncio.to_thread(readable_checkpoints, run.checkpoints)
    if not found:
        here = f" here: F copies the newest one from {run.host}" if run.host else " yet"
        show_notice(app, f"{run.name} has no checkpoint{here}.", "warn")
        return None
    if len(found) == 1:
        return found[0].path
    choices = [
        Choice(each.path.name, f"step {step_of(each.path):,}", about_checkpoint(each)) for each in reversed(found)
    ]
    name = await app.push_screen_wait(Picker(f"Export of {run.name}: the checkpoint", choices))
    return next((each.path for each in found if each.path.name == name), None)


def _noted(notes: list[str]) -> str:
    """Where the notes of an export can be read: each has taken the place of the one before."""
    return f"  {plural(len(notes), 'note')}: ! shows them" if notes else ""


class _Progress:
    """What is shown of an export."""

    def __init__(self, text: str) -> None:
        self.text = text


@contextmanager
def _showing_progress(app: App[Any], text: str) -> Iterator[_Progress]:
    """Show `text` of the yielded object until the end, on whatever screen; it has no place among the past notices."""
    progress = _Progress(text)

    def show() -> None:
        if isinstance(app.screen, RunScreen) and app.screen.is_mounted:
            app.screen.query_one(Notice).show_text(shown(progress.text), "")

    show()
    timer = app.set_interval(_PROGRESS_INTERVAL, show)
    try:
        yield progress
    finally:
        timer.stop()
