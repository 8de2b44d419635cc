"""The Textual application: it owns the session, shows the screens and applies the theme."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.binding import BindingType
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from core.storage.files import private
from core.storage.workspace import Workspace
from llmtui.tui.action_table import Scope
from llmtui.tui.actions import BY_ID, bindings
from llmtui.tui.alerts import Alerts
from llmtui.tui.key_order import MAX_PASTED, OrderedKeys
from llmtui.tui.output_filter import ASCII_FILTER, OUTPUT_FILTER
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screen_table import DATA_VIEWS, SCREENS, STUDY
from llmtui.tui.screens.workbench_screen import WorkbenchScreen, show_error, show_notice, show_screen
from llmtui.tui.session import Session
from llmtui.tui.settings import SettingsError
from llmtui.tui.textual_internals import output_waiting
from llmtui.tui.theming import DEFAULT, default_variables, load_themes, user_files
from llmtui.view.ascii_text import to_ascii
from llmtui.view.sanitize import shown
from llmtui.view.units import size

if TYPE_CHECKING:
    from core.runs.directory import Run
    from llmtui.clients.inference_client import InferenceClient
    from llmtui.tui.driver import Traffic


STUDY_PERIOD = 3.0
"""Seconds between two polls of the studies for alerts."""

THEME_PERIOD = 0.5
"""Seconds between two polls of the user's theme files."""


def load_screen(class_path: str) -> WorkbenchScreen:
    """Import and create the screen `module:class`."""
    module, _, name = class_path.partition(":")
    return cast(WorkbenchScreen, getattr(import_module(module), name)())


def _collect_garbage() -> None:
    """Let Python collect garbage, of what is made from now on, if `llmtui.tui.launcher` has turned it off."""
    if not gc.isenabled():
        gc.freeze()  # modules and the first screen stay; looking through them takes 30 ms each time
        gc.enable()


class Workbench(OrderedKeys):
    """The workbench over one workspace. Leaving it, or losing it, affects no run."""

    TITLE = "llmtui"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    SCREENS: ClassVar[dict[str, Callable[[], Screen[Any]]]] = {
        entry.name: partial(load_screen, entry.class_path) for entry in (*SCREENS, *DATA_VIEWS, STUDY)
    }
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
        """open_run, inference_client: as `Session` takes them; a run to open is shown in training.

        textual: arguments of Textual's App, such as `driver_class`. Raises RunNotFoundError.
        """
        if "NO_COLOR" in os.environ:
            textual.setdefault("ansi_color", True)  # else Textual sends greys instead of no colours
        self._first_screen = "train" if open_run else "home"
        # with the style sheet of the first screen, for which Textual would parse all of them again
        super().__init__(css_path=["app.tcss", f"screens/{self._first_screen}.tcss"], **textual)
        self.session = Session(workspace, self._post_to_screen, open_run=open_run, inference_client=inference_client)
        self.set_keymap(self.session.keymap)
        self._alerts = Alerts(lambda: self.session.settings, self.write_to_terminal, partial(show_notice, self))
        self._load_themes()

    def _load_themes(self) -> None:
        session = self.session
        themes, problems = load_themes(session.workspace)
        session.problems += problems
        for theme in themes.values():
            self.register_theme(theme)
        for name in (session.ui_state.theme, session.settings.theme):
            if name in themes:
                self.theme = name
                break
            if name:
                session.problems.append(f"there is no theme {name!r}")
        else:
            self.theme = DEFAULT
        self.theme_names = list(themes)

    async def _watch_themes(self) -> None:
        """Load the themes again when one of the user's files changed."""
        workspace = self.session.workspace
        before = await asyncio.to_thread(user_files, workspace)
        while True:
            await asyncio.sleep(THEME_PERIOD)
            stamps = await asyncio.to_thread(user_files, workspace)
            if stamps == before:
                continue
            before = stamps
            themes, problems = await asyncio.to_thread(load_themes, workspace)
            for theme in themes.values():
                self.register_theme(theme)
            self.theme_names = list(themes)
            self.mutate_reactive(Workbench.theme)
            if problems:
                show_notice(self, " ".join(f"{problem}." for problem in problems), "warn")

    async def _watch_studies(self) -> None:
        """Tell the user when a study ends, or cannot continue, whatever screen is shown."""
        while True:
            await asyncio.sleep(STUDY_PERIOD)
            if any(snapshot.run.file.study for snapshot in self.session.watcher.snapshots):
                await self.session.read_studies()
                selected = self.session.selected_study
                on_screen = getattr(self.screen, "SCOPE", "app") == "study"
                self._alerts.update_studies(self.session.studies or [], selected.id if selected and on_screen else "")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """For Textual's own themes, which do not have our variables."""
        return default_variables()

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own filters, then ours, so that nothing is added after them."""
        ours = [OUTPUT_FILTER, ASCII_FILTER] if self.session.ascii else [OUTPUT_FILTER]
        return [*super().get_line_filters(), *ours]

    # -- start and end --------------------------------------------------------------------------------------------

    async def on_mount(self) -> None:
        await self.session.watcher.refresh()  # so that the first frame shows the runs, not an empty list
        self.session.select_newest()
        self.push_screen(self._first_screen)
        self.call_after_refresh(_collect_garbage)
        self.run_worker(self.session.watcher.watch(self._output_waiting), name="run watcher", exit_on_error=True)
        self.run_worker(self._watch_themes(), name="themes", exit_on_error=True)
        self.run_worker(self._watch_studies(), name="studies", exit_on_error=True)
        if self.session.problems:
            self.call_after_refresh(self._show_problems)
        if not self.session.workspace.writable:
            where = shown(str(self.session.workspace.data))
            first = cast(WorkbenchScreen, self.get_screen(self._first_screen))
            first.show_notice(f"{where} is read-only: its runs can be shown, not changed.")

    def paste_shortened(self, characters: int) -> None:
        show_notice(self, f"The first {MAX_PASTED:,} of {characters:,} characters are pasted.", "warn")

    def _show_problems(self) -> None:
        first, *rest = self.session.problems
        show_error(self, SettingsError(first, todo="\n".join(rest)))

    async def on_unmount(self) -> None:
        await self.session.close()

    async def _shutdown(self) -> None:
        """Cancel the workers before the screens are removed, as `CancelsWorkers` does for those of a screen."""
        self.workers.cancel_all()
        await super()._shutdown()

    def _output_waiting(self) -> bool:
        return output_waiting(self._driver)

    def _post_to_screen(self, message: Message) -> None:
        if isinstance(message, RunsUpdated):
            self._alerts.update(message.snapshots, self.session.selected_id)
        # only to the top screen: one below it repaints the whole terminal at each message; it is redrawn when it
        # comes back instead
        if self.screen_stack:
            self.screen.post_message(message)

    def _handle_exception(self, error: Exception) -> None:
        """An unexpected exception ends the workbench with one line and a log, without a traceback on the screen."""
        log = self.session.workspace.state / "workbench.log"
        try:
            with open(log, "a", encoding="utf-8", opener=private) as file:
                file.write(time.strftime("%Y-%m-%d %H:%M:%S\n"))
                traceback.print_exception(error, file=file)
        except OSError:
            log = Path("(it could not be written)")
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
            message = f"llmtui: the workbench broke off: {error!r}\n        log: {log}\n        runs continue"
            self.panic(Text(shown(message, lines=True)))

    def panic(self, *renderables: Any) -> None:
        """Exit with a message, as Textual's does, and with an exit code that is not 0."""
        self._return_code = self._return_code or 1
        super().panic(*renderables)

    def write_to_terminal(self, data: str) -> None:
        """Send a sequence to the terminal, past everything that is drawn; nothing while there is no terminal."""
        if self._driver is not None and not self._driver.is_headless:
            self._driver.write(to_ascii(data) if self.session.ascii else data)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy what was selected with the mouse or in a field; Textual's has only OSC 52, which tmux drops."""
        self.copy(text)

    def copy(self, text: str, what: str = "", say: Callable[[str], None] | None = None) -> None:
        """See `SessionApp.copy`."""
        from llmtui.tui import clipboard

        self._clipboard = text
        workspace = self.session.workspace

        async def work() -> None:
            folder = workspace.exports if workspace.writable else None
            (say or partial(show_notice, self))(await clipboard.copy(text, what, self.write_to_terminal, folder))

        self.run_worker(work(), exit_on_error=True)

    # -- actions --------------------------------------------------------------------------------------------------

    def action_show_screen(self, name: str) -> None:
        show_screen(self, self.session.shown_views.get(name, name))

    def action_app_help(self) -> None:
        from llmtui.tui.screens.help import Help

        scope: Scope = getattr(self.screen, "SCOPE", "app")
        self.push_screen(Help(scope, self.session.keymap, self.focused))

    async def action_app_palette(self) -> None:
        from llmtui.tui.screens.command_palette import palette_choices
        from llmtui.tui.screens.picker import Picker

        screen, selected = self.screen, self.session.selected
        runs = {snapshot.run.id: snapshot.run for snapshot in self.session.watcher.snapshots}
        choices = await palette_choices(screen, self.session, self.theme_names)

        async def on_choice(choice: str | None) -> None:
            kind, _, name = (choice or "").partition(" ")
            if kind == "do":
                call = BY_ID[name].call
                method = f"action_{call.partition('(')[0]}"
                await self.run_action(call, screen if hasattr(screen, method) else self)
            elif kind == "run":
                self.session.select(runs[name])
                show_screen(self, "chat" if getattr(screen, "SCOPE", "") == "chat" else "train")
                self.session.watcher.wake()
            elif kind == "checkpoint" and selected:
                self._chat_with(selected.run, name)
            elif kind == "setting":
                self.action_app_settings(name)
            elif kind == "view":
                show_screen(self, name)
            elif kind == "theme":
                self._choose_theme(name)

        self.push_screen(Picker("Commands", choices), on_choice)

    def _chat_with(self, run: Run, checkpoint: str) -> None:
        """Show the chat with the checkpoint of that name."""
        from llmtui.tui.screens.chat import Chat

        chat = cast(Chat, self.get_screen("chat"))
        self.session.select(run)
        chat.choice.choose(run, checkpoint)
        show_screen(self, "chat")
        if chat.is_mounted:
            chat.redraw()

    def action_app_settings(self, name: str = "") -> None:
        """Show the settings, with the cursor on the one called `name`."""
        from llmtui.tui.screens.settings_dialog import SettingsDialog

        def apply(changed: str) -> None:
            if changed == "theme":
                self.session.remember(theme="")  # one that was chosen with `t`
                self.theme = self.session.settings.theme or DEFAULT
            elif changed == "ascii":
                self.mutate_reactive(Workbench.theme)  # draws everything again

        self.push_screen(SettingsDialog(self.session, self.theme_names, self.theme, apply, name))

    def action_app_traffic(self) -> None:
        """Say how much the terminal is sent: what a slow connection has to carry."""
        traffic: Traffic | None = getattr(self._driver, "traffic", None)
        if traffic is None:
            show_notice(self, "What this terminal is sent is not counted.", "warn")
            return
        rates = ", ".join(f"{size(round(traffic.rate(each)))}/s in the last {each} s" for each in (10, 60))
        show_notice(self, f"Sent to the terminal: {rates}, {size(traffic.total)} since the start.")

    def action_app_jump(self) -> None:
        if not isinstance(self.screen, WorkbenchScreen):  # a dialog
            return
        from llmtui.tui.screens.jump import Jump

        screen = self.screen
        panes = [pane for pane in screen.focus_chain if pane.region.area]

        def on_choice(pane: Widget | None) -> None:
            if pane is not None:
                screen.set_focus(pane)

        self.push_screen(Jump(panes), on_choice)

    def action_app_hosts(self) -> None:
        from llmtui.tui.screens.hosts import Hosts

        self.push_screen(Hosts(self.session.workspace))

    def action_app_notices(self) -> None:
        from llmtui.tui.screens.notices import Notices

        self.push_screen(Notices(list(self.session.notices)))

    def action_app_theme(self) -> None:
        from llmtui.tui.screens.picker import Choice, Picker

        def preview(name: str) -> None:
            self.theme = name

        def on_choice(name: str | None) -> None:
            if name is not None:
                self._choose_theme(name)

        choices = [Choice(name, name, "" if self.available_themes[name].dark else "light") for name in self.theme_names]
        self.push_screen(Picker("Themes", choices, current=self.theme, preview=preview), on_choice)

    def _choose_theme(self, name: str) -> None:
        self.theme = name
        self.session.remember(theme=name)

    def action_help_quit(self) -> None:
        """Textual binds this to ctrl+c, which is pressed by accident: it does not leave."""
        show_notice(self, "q leaves the workbench; runs continue.")

    def action_app_leave(self) -> None:
        active = [snapshot.run for snapshot in self.session.watcher.snapshots if snapshot.state.is_active]
        if not active:
            self.exit()
            return
        names = ", ".join(run.name for run in active[:3])
        names += f" and {len(active) - 3} more" if len(active) > 3 else ""
        verb = "continues" if len(active) == 1 else "continue"
        commands = f"`llmtui` shows it again; `llmtui stop {active[0].name}` stops it."
        self.exit(message=Text(shown(f"{names} {verb}. {commands}")))
