"""The Textual application: which screen is shown, which run it is about, one clock, one inference client."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import App
from textual.binding import BindingType
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import Screen

from core.errors import LlmtuiError
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs import launch
from core.runs.directory import Run, find_run
from core.storage.files import private
from core.storage.workspace import Workspace
from llmtui.clients.license_consent import agree, to_agree
from llmtui.tui.actions import BY_ID, Scope, bindings, checked_keymap, in_scope, key_name, keys_of
from llmtui.tui.launcher import over_ssh
from llmtui.tui.output_filter import SCRUB
from llmtui.tui.run_watcher import Follower
from llmtui.tui.screens.work import WorkScreen
from llmtui.tui.settings import SettingsError, load_memory, load_settings, save_memory
from llmtui.tui.textual_internals import output_waiting
from llmtui.tui.theming import DEFAULT, load_themes
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown
from llmtui.view.units import clock, size

if TYPE_CHECKING:
    from llmtui.clients.inference_client import InferenceClient


def _home() -> Screen[Any]:
    from llmtui.tui.screens.home import Home

    return Home()


def _train() -> Screen[Any]:
    from llmtui.tui.screens.train import Train

    return Train()


def _chat() -> Screen[Any]:
    from llmtui.tui.screens.chat import Chat

    return Chat()


class Workbench(App[None]):
    """The workbench over one workspace. Leaving it, or losing it, touches no run."""

    TITLE = "llmtui"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    SCREENS: ClassVar[dict[str, Callable[[], Screen[Any]]]] = {"home": _home, "train": _train, "chat": _chat}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-short"), (22, "-medium"), (36, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        workspace: Workspace,
        *,
        open_run: str | None = None,
        inference_client: InferenceClient | None = None,
        **textual: Any,
    ) -> None:
        """open_run: the run to begin with, as `core.runs.directory.find_run` takes it. Raises RunNotFoundError.

        inference_client: generates the replies of the chat. textual: what Textual's App takes, such as `driver_class`.
        """
        if "NO_COLOR" in os.environ:
            textual.setdefault("ansi_color", True)  # else Textual sends greys instead of no colours
        super().__init__(**textual)
        self.workspace = workspace
        self.settings, self._problems = load_settings(workspace.config / "config.toml")
        self.memory = load_memory(workspace.state)
        self.keymap, wrong_keys = checked_keymap(self.settings.keymap)
        self._problems += wrong_keys
        self.set_keymap(self.keymap)
        self.near = not over_ssh()
        self._inference_client = inference_client
        rate = self.settings.refresh_hz or (2.0 if self.near else 1.0)
        self.follower = Follower(workspace, self._tell, 1 / rate)
        opened = find_run(workspace, open_run) if open_run else None
        self.selected_id = opened.id if opened else ""
        self._first: str = "train" if opened else "home"
        self._load_themes()

    def _load_themes(self) -> None:
        themes, wrong = load_themes(self.workspace)
        self._problems += wrong
        for theme in themes.values():
            self.register_theme(theme)
        for wanted in (self.memory.theme, self.settings.theme):
            if wanted in themes:
                self.theme = wanted
                break
            if wanted:
                self._problems.append(f"there is no theme {wanted!r}")
        else:
            self.theme = DEFAULT
        self.theme_names = list(themes)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """For Textual's own themes, which know nothing of our variables."""
        return {
            "muted": "#949ba8", "frame": "#3a414d", "chart-train": "#6cb6ff", "chart-val": "#ffb454",
            "chart-raw": "#37587a", "chart-extra": "#b69cf6", "ink-background": "#14171c",
        }  # fmt: skip

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own filters, then the last gate before the terminal."""
        return [*super().get_line_filters(), SCRUB]

    # -- life -----------------------------------------------------------------------------------------------------

    async def on_mount(self) -> None:
        await self.follower.look()  # so that the first frame shows the runs, not an empty list
        self._settle()
        first = cast("WorkScreen", self.get_screen(self._first))
        self.push_screen(first)
        self.run_worker(self.follower.watch(self._congested), name="clock", exit_on_error=True)
        if self._problems:
            self.call_after_refresh(self._tell_problems)
        if not self.workspace.writable:
            where = shown(str(self.workspace.data))
            first.say(f"{where} is read-only: its runs can be looked at, not changed.")

    def _settle(self) -> None:
        """Until a run is chosen it is the newest, and stays that one when a newer one comes."""
        if not self.selected_id and self.follower.glances:
            self.selected_id = self.follower.glances[0].run.id

    def _tell_problems(self) -> None:
        first, *rest = self._problems
        self.show_error(SettingsError(first, todo="\n".join(rest)))

    async def on_unmount(self) -> None:
        if self._inference_client:
            await self._inference_client.close()

    @property
    def inference_client(self) -> InferenceClient:
        """Who draws text for the chat; imported when that is wanted, with the messages it takes: a tenth of what the
        first frame has to wait for."""
        if self._inference_client is None:
            from llmtui.clients.inference_client import InferenceClient

            self._inference_client = InferenceClient(self.workspace)
        return self._inference_client

    def _congested(self) -> bool:
        """Whether the terminal has not yet taken what was sent: then the next tick waits."""
        return output_waiting(self._driver)

    def _tell(self, message: Message) -> None:
        self._settle()
        # only the top screen: one that lies under another repaints the whole terminal whenever it gets a message,
        # so it draws anew when it comes back instead
        if self.screen_stack:
            self.screen.post_message(message)

    def _handle_exception(self, error: Exception) -> None:
        """A defect of ours: one line and a log, never a traceback on the screen."""
        log = self.workspace.state / "workbench.log"
        try:
            with open(log, "a", encoding="utf-8", opener=private) as file:
                file.write(time.strftime("%Y-%m-%d %H:%M:%S\n"))
                traceback.print_exception(error, file=file)
        except OSError:
            log = Path("(it could not be written)")
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
            self.panic(
                Text(
                    shown(
                        f"llmtui: the workbench broke off: {error!r}\n        log: {log}\n        runs go on",
                        lines=True,
                    )
                )
            )

    def panic(self, *renderables: Any) -> None:
        """End with these words, and as a failure whoever called for it."""
        self._return_code = self._return_code or 1
        super().panic(*renderables)

    # -- which run, which screen ----------------------------------------------------------------------------------

    @property
    def selected(self) -> RunSnapshot | None:
        """The run the screens are about; None before there is any, and when it is gone: keys never act on another."""
        return next((glance for glance in self.follower.glances if glance.run.id == self.selected_id), None)

    def select(self, run: Run) -> None:
        """Make `run` what the screens are about."""
        self.selected_id = run.id

    def show(self, name: str) -> None:
        """Show that screen."""
        wanted = self.get_screen(name)
        if self.screen is not wanted:
            self.switch_screen(name)
            if isinstance(wanted, WorkScreen):
                wanted.arrive()

    def show_error(self, trouble: LlmtuiError) -> None:
        """What went wrong, over the present screen."""
        from llmtui.tui.screens.dialogs import ErrorDialog

        self.push_screen(ErrorDialog(trouble))

    def say(self, text: str) -> None:
        """A sentence on the present screen."""
        if isinstance(self.screen, WorkScreen):
            self.screen.say(text)

    def remember(self, **changes: Any) -> None:
        """Change what is remembered for the next time."""
        for name, value in changes.items():
            setattr(self.memory, name, value)
        save_memory(self.workspace.state, self.memory)

    # -- starting runs --------------------------------------------------------------------------------------------

    def start(self, run: Run) -> None:
        """Start or resume `run` and show it."""
        self.select(run)

        async def begin() -> None:
            try:
                await asyncio.to_thread(launch.start, run, self.workspace)
            except LlmtuiError as trouble:
                self.show_error(trouble)
            self.follower.wake()

        self.run_worker(begin(), exit_on_error=True)

    def create(self, recipe: Recipe | None) -> None:
        """Make a run of `recipe`, start it and show it; nothing when there is none.

        Where its corpus has a notice, it is shown once and has to be agreed to.
        """
        if recipe is None:
            return
        corpus = to_agree(self.workspace, recipe)
        if corpus is not None:
            from llmtui.tui.screens.dialogs import Confirm

            def answered(yes: bool | None) -> None:
                if yes:
                    try:
                        agree(self.workspace, corpus)
                    except LlmtuiError as trouble:
                        self.show_error(trouble)
                    else:
                        self.create(recipe)

            about = f"{corpus.about} {size(corpus.bytes)} of text, licence: {corpus.licence}."
            question = f"{corpus.name}: {about}\n\n{corpus.notice}"
            self.push_screen(Confirm(question, yes="agree and start", no="leave it"), answered)
            return
        try:
            run = Run.create(self.workspace, recipe)
        except LlmtuiError as trouble:
            self.show_error(trouble)
            return
        self.follower.add(run)
        self.start(run)
        self.show("train")

    def start_demo(self) -> None:
        """Start a run of the demo recipe."""
        self.create(load(preset="demo"))

    # -- actions --------------------------------------------------------------------------------------------------

    def action_app_home(self) -> None:
        self.show("home")

    def action_app_train(self) -> None:
        self.show("train")

    def action_app_chat(self) -> None:
        self.show("chat")

    def action_app_help(self) -> None:
        from llmtui.tui.screens.help import Help

        self.push_screen(Help(self.keymap))

    def action_app_palette(self) -> None:
        from llmtui.tui.screens.picker import Choice, Picker

        screen = self.screen
        scope: Scope = screen.SCOPE if isinstance(screen, WorkScreen) else "app"
        choices = [
            Choice(
                f"do {action.id}",
                action.description,
                " ".join(key_name(key) for key in keys_of(action, self.keymap)),
                f"{action.id} {action.label}",
            )
            for action in in_scope(scope)
            if action.id != "app.palette" and (not isinstance(screen, WorkScreen) or screen.applicable(action.id))
        ]
        runs = {glance.run.id: glance.run for glance in self.follower.glances}
        choices += [
            Choice(f"run {name}", f"Run {run.name}", clock(run.made_at), f"show {name}") for name, run in runs.items()
        ]
        choices += [Choice(f"theme {name}", f"Theme {name}", "", "colours") for name in self.theme_names]

        async def chosen(choice: str | None) -> None:
            kind, _, name = (choice or "").partition(" ")
            if kind == "do":
                method = BY_ID[name].method
                await self.run_action(method, screen if hasattr(screen, f"action_{method}") else self)
            elif kind == "run":
                self.select(runs[name])
                self.show("chat" if scope == "chat" else "train")
                self.follower.wake()
            elif kind == "theme":
                self.theme = name
                self.remember(theme=name)

        self.push_screen(Picker("Commands", choices), chosen)

    def action_app_theme(self) -> None:
        from llmtui.tui.screens.picker import Choice, Picker

        def peek(name: str) -> None:
            self.theme = name

        def chosen(name: str | None) -> None:
            if name is not None:
                self.theme = name
                self.remember(theme=name)

        choices = [Choice(name, name, "" if self.available_themes[name].dark else "light") for name in self.theme_names]
        self.push_screen(Picker("Themes", choices, current=self.theme, peek=peek), chosen)

    def action_help_quit(self) -> None:
        """Ctrl+c, which Textual binds: not a way out, since it is pressed by accident."""
        self.say("q leaves the workbench; runs go on.")

    def action_app_leave(self) -> None:
        alive = [glance.run for glance in self.follower.glances if glance.state.alive]
        if not alive:
            self.exit()
            return
        names = ", ".join(run.name for run in alive[:3]) + (f" and {len(alive) - 3} more" if len(alive) > 3 else "")
        verb = "goes on" if len(alive) == 1 else "go on"
        self.exit(
            message=Text(shown(f"{names} {verb}. `llmtui` shows it again; `llmtui stop {alive[0].name}` stops it."))
        )
