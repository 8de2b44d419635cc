"""The state of the workbench that is no widget: settings, runs, the selected run, the inference process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec.structs import replace
from textual.message import Message

from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.annotations import Annotations, change_annotations
from core.runs.directory import Run
from core.runs.lookup import find_run
from core.storage.workspace import Workspace
from llmtui.tui.actions import checked_keymap
from llmtui.tui.run_watcher import RunWatcher
from llmtui.tui.settings import (
    Settings,
    load_settings,
    load_ui_state,
    save_ui_state,
    with_default_rules,
    write_setting,
)
from llmtui.tui.terminal import ascii_only, over_ssh
from llmtui.view.run_snapshot import RunSnapshot

if TYPE_CHECKING:
    from core.tune.study import Study
    from llmtui.clients.document_client import DocumentClient
    from llmtui.clients.inference_client import InferenceClient
    from llmtui.clients.license_consent import LicenseNotice
    from llmtui.clients.reply_inspection import ReplyInspection
    from llmtui.tui.recipe_form import Purpose, RecipeForm
    from llmtui.tui.study_reader import StudyReader
    from llmtui.view.study_snapshot import StudySnapshot


KEPT_NOTICES = 100
"""Notices that can be read again."""


class SessionApp(Protocol):
    """The application as screens see it."""

    session: Session

    def copy(self, text: str, what: str = "", say: Callable[[str], None] | None = None) -> None:
        """Copy `text` by every way there is, then say where it is now.

        what: the text in words, as `llmtui.tui.clipboard.copy` takes it. say: takes the sentence; by default a notice.
        """


class PastNotice(NamedTuple):
    """A notice that was shown."""

    at: float
    """Seconds since the epoch."""
    text: str
    """Not sanitised."""
    role: str


class Session:
    """What the screens share. It belongs to the event loop; nothing in it draws."""

    def __init__(
        self,
        workspace: Workspace,
        post: Callable[[Message], None],
        *,
        open_run: str | None = None,
        inference_client: InferenceClient | None = None,
    ) -> None:
        """
        post: receives `RunsUpdated` and `HistoryUpdated`.
        open_run: the run to select, as `core.runs.lookup.find_run` takes it. Raises RunNotFoundError.
        inference_client: generates the replies of the chat; by default one for `workspace`, created on first use.
        """
        self.workspace = workspace
        self.settings, self.problems = load_settings(workspace.config / "config.toml")
        """`problems`: a sentence for each setting or theme that is ignored."""
        self.keymap, keymap_problems = checked_keymap(self.settings.keymap)
        self.problems += keymap_problems
        self.ui_state = load_ui_state(workspace.state)
        self.shown_views: dict[str, str] = {}
        """By screen that has views, the view that was shown last."""
        self.over_ssh = over_ssh()
        self._ascii_terminal = ascii_only()
        self._post = post
        self._inference_client = inference_client
        self._document_client: DocumentClient | None = None
        self.inspections: dict[bytes, ReplyInspection] = {}
        """X-rays of replies with their branches, by request."""
        self.watcher = RunWatcher(workspace, self._post_update, self._period, self.settings.smoothing)
        self.studies: list[StudySnapshot] | None = None
        """The newest first, see `read_studies`; None before they have been read."""
        self._study_reader: StudyReader | None = None
        self.notices: deque[PastNotice] = deque(maxlen=KEPT_NOTICES)
        """The last ones, oldest first."""
        self.drafts: dict[str, RecipeForm] = {}
        """Forms that were left before their run was started, by `RecipeForm.draft_key`."""
        self.selected_id = find_run(workspace, open_run).id if open_run else ""

    @property
    def mouse(self) -> bool:
        """Whether the workbench takes the mouse from the terminal."""
        setting = self.settings.mouse
        return setting == "on" or (setting == "auto" and not self.over_ssh)

    @property
    def ascii(self) -> bool:
        """Whether the terminal gets ASCII characters alone."""
        setting = self.settings.ascii
        return setting == "on" or (setting == "auto" and self._ascii_terminal)

    @property
    def _period(self) -> float:
        """Seconds between two updates."""
        return 1 / (self.settings.refresh_hz or 2.0)

    async def change_setting(self, name: str, value: Any) -> None:
        """Give a setting its value, here and in config.toml; None: its default. Raises SettingNotChanged."""
        await asyncio.to_thread(write_setting, self.workspace.config / "config.toml", name, value)
        self.settings = replace(self.settings, **{name: getattr(Settings(), name) if value is None else value})
        self.watcher.period = self._period

    def remember(self, **changes: Any) -> None:
        """Set fields of `ui_state` and save it."""
        for name, value in changes.items():
            setattr(self.ui_state, name, value)
        save_ui_state(self.workspace.state, self.ui_state)

    # -- runs -----------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> RunSnapshot | None:
        """The selected run; None before there is any, and after it was deleted: keys never act on another one."""
        return next((snapshot for snapshot in self.watcher.snapshots if snapshot.run.id == self.selected_id), None)

    def select(self, run: Run) -> None:
        """Make `run` the one that screens and keys are about."""
        self.selected_id = run.id

    def select_newest(self) -> None:
        """Select the newest run unless one is selected already."""
        if not self.selected_id and self.watcher.snapshots:
            self.selected_id = self.watcher.snapshots[0].run.id

    def draft(self, purpose: Purpose, run: Run | None = None, checkpoint: Path | None = None) -> RecipeForm:
        """The form for that purpose as it was left, or a new one."""
        from llmtui.tui.recipe_form import RecipeForm

        form = RecipeForm(purpose, run, checkpoint)
        return self.drafts.setdefault(form.draft_key, form)

    def required_notice(self, recipe: Recipe) -> LicenseNotice | None:
        """The licence notice of the recipe's corpus if the user has to accept it first."""
        from llmtui.clients.license_consent import required_notice

        return required_notice(self.workspace, recipe)

    def create(self, recipe: Recipe) -> Run:
        """Create a run of `recipe`, with the user's rules if it has none, and select it.

        Raises LlmtuiError if it cannot be written.
        """
        run = Run.create(self.workspace, with_default_rules(recipe, self.settings))
        self.watcher.add(run)
        self.select(run)
        return run

    async def create_branch(self, run: Run, checkpoint: Path, recipe: Recipe) -> Run:
        """Create a branch of `run` from `checkpoint` and select it. Raises LlmtuiError."""
        from core.runs.branch import create_branch
        from core.storage.artifact import Artifact

        def create() -> Run:
            return create_branch(self.workspace, run, Artifact.open(checkpoint, verify=True), recipe)

        branch = await asyncio.to_thread(create)
        self.watcher.add(branch)
        self.select(branch)
        return branch

    async def start(self, run: Run) -> None:
        """Start or resume `run` in processes of its own. Raises LlmtuiError if they do not start."""
        try:
            await asyncio.to_thread(launch.start, run, self.workspace)
        finally:
            self.watcher.wake()

    async def annotate(self, run: Run, change: Callable[[Annotations], Annotations]) -> None:
        """Change the annotations of `run`. Raises LlmtuiError if they cannot be written."""
        try:
            await asyncio.to_thread(change_annotations, run.path, change)
        finally:
            self.watcher.wake()

    # -- studies --------------------------------------------------------------------------------------------------

    async def read_studies(self) -> None:
        """Read the studies that have changed."""
        from llmtui.tui.study_reader import StudyReader

        reader = self._study_reader = self._study_reader or StudyReader(self.workspace)
        self.studies = await asyncio.to_thread(reader.read)

    @property
    def selected_study(self) -> StudySnapshot | None:
        """The one that was chosen, else the newest; None if there is none."""
        studies = self.studies or []
        return next((each for each in studies if each.id == self.ui_state.study), next(iter(studies), None))

    async def create_study(self, recipe: Recipe, settings: Mapping[str, Any]) -> Study:
        """Create a study of `recipe`, start it and select it. settings: see `core.tune.start.complete_settings`.

        Raises LlmtuiError.
        """
        from core.tune.start import complete_settings
        from core.tune.start import start as start_controller
        from core.tune.study import Study

        def create() -> Study:
            study = Study.create(self.workspace, recipe, complete_settings(settings, recipe, "the settings"))
            start_controller(study, self.workspace)
            return study

        try:
            study = await asyncio.to_thread(create)
        finally:
            await self.read_studies()
        self.remember(study=study.id)
        return study

    def _post_update(self, message: Message) -> None:
        self.select_newest()
        self._post(message)

    # -- inference ------------------------------------------------------------------------------------------------

    @property
    def inference_client(self) -> InferenceClient:
        """Generates text for the chat. Imported on first use: its messages are a tenth of the time to the first
        frame."""
        if self._inference_client is None:
            from llmtui.clients.inference_client import InferenceClient

            self._inference_client = InferenceClient(self.workspace)
        return self._inference_client

    @property
    def document_client(self) -> DocumentClient:
        """Reads documents for the Data screen."""
        if self._document_client is None:
            from llmtui.clients.document_client import DocumentClient

            self._document_client = DocumentClient(self.workspace)
        return self._document_client

    async def close(self) -> None:
        """End the child processes."""
        for client in (self._inference_client, self._document_client):
            if client:
                await client.close()
