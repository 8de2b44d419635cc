"""Home: the list of runs, the stages of the highlighted one, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.widgets import Input

from core.plural import plural
from core.runs.directory import RunState
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.run_screen import RunScreen, show_screen
from llmtui.tui.widgets.bars import HeaderBar
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.panels import continuation
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.tui.widgets.stages import stage_lines
from llmtui.view import run_text, units
from llmtui.view.lines import Line, hanging, wrap
from llmtui.view.queue_text import queue_reason
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown


class StagesPreview(Pane):
    """The five stages of one run."""

    snapshot: RunSnapshot | None = None

    def heading(self, width: int) -> Line:
        return [(run_text.name(self.snapshot), "title")] if self.snapshot else [("stages", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return []
        return stage_lines(
            self.snapshot.run.recipe, self.snapshot.summary, width, self.snapshot.state is RunState.RUNNING
        )


class NextSteps(Pane):
    """What the user can do next with the run, or why it failed."""

    snapshot: RunSnapshot | None = None
    snapshots: Sequence[RunSnapshot] = ()
    """Of all runs."""

    def heading(self, width: int) -> Line:
        return [("next", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return []
        lines: list[Line] = []
        for text, role in _advice(self.snapshot, self.snapshots):
            lines += [[(part, role)] for part in wrap(text, width)]
        return lines


class SamplePreview(Pane):
    """The last sample of the model."""

    snapshot: RunSnapshot | None = None

    def heading(self, width: int) -> Line:
        sample = self.snapshot.summary.sample if self.snapshot else None
        return [("last sample", "title"), (f"  step {sample.step:,}" if sample else "", "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        sample = self.snapshot.summary.sample if self.snapshot else None
        if sample is None:
            return [[("No sample yet: the first comes during training.", "dim")]]
        return continuation(sample.prompt, sample.text, width)


class WelcomePane(Pane):
    """Shown instead of the list before the first run."""

    def heading(self, width: int) -> Line:
        return [("welcome", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        cells = min(width, 76)
        lines: list[Line] = [[(part, "")] for part in wrap(_WELCOME, cells)]
        if height > 14:
            lines = [[], *lines]
        for key, what in _FIRST_KEYS:
            lines += [[]] if key == "d" else []
            lines += hanging([(what, "")], (f"  {key}  ", "key"), cells)
        return [*lines, [], *([(part, "dim")] for part in wrap(_LEAVING_HINT, cells))]


_WELCOME = (
    "llmtui trains a GPT-style language model from scratch, on this machine, and shows it happening:"
    " real text becomes tokens, tokens train a Transformer, the Transformer writes text."
)
_FIRST_KEYS = (
    ("d", "start the demo: the Python standard library, a small GPT, about two minutes of training, no network"),
    ("n", "a run of your own: a file, a folder, a data set of the hub"),
    ("?", "all keys"),
)
_LEAVING_HINT = "Runs continue when you leave; come back at any time with `llmtui`."


class Home(RunScreen):
    """The list of runs above, the highlighted one below."""

    SCOPE = "home"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("home")]
    CSS_PATH = "home.tcss"
    AUTO_FOCUS: ClassVar[str] = "RunsList"

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield WelcomePane()
        with Container(id="body"):
            yield RunsList(id="runs")
            with Container(id="below"):
                yield StagesPreview(id="stages")
                yield SamplePreview(id="sampled")
                yield NextSteps(id="next")
        yield Input(placeholder="part of a name; enter keeps it, esc shows all", id="filter")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self.query_one("#filter").display = False
        self._show_welcome()

    @property
    def snapshot(self) -> RunSnapshot | None:
        return self.query_one(RunsList).highlighted

    def on_screen_resume(self) -> None:
        runs, selected = self.query_one(RunsList), self.session.selected
        if selected and not runs.matches(selected):
            self.query_one("#filter", Input).value = runs.filter_text = ""
        runs.highlight(self.session.selected_id)
        runs.show(self.session.watcher.snapshots, self.session.watcher.unreadable)
        self._show()

    @on(RunsUpdated)
    def _on_runs_updated(self, message: RunsUpdated) -> None:
        self._show_welcome()
        self.query_one(RunsList).show(message.snapshots, self.session.watcher.unreadable)
        self._show()

    @on(RunsList.Highlighted)
    def _select_highlighted(self) -> None:
        if self.snapshot:
            self.session.select(self.snapshot.run)
        self._show()

    def _show_welcome(self) -> None:
        empty = not self.session.watcher.snapshots and not self.session.watcher.unreadable
        self.set_class(empty, "-empty")

    def _show(self) -> None:
        header = self.query_one(HeaderBar)
        header.left = [("llmtui", "title"), ("  " + shown(_tilde(self.session.workspace.data)), "dim")]
        header.right = [(_machine(self.session.over_ssh), "dim")]
        header.update()
        self.query_one(NextSteps).snapshots = self.session.watcher.snapshots
        for pane in (self.query_one(StagesPreview), self.query_one(NextSteps), self.query_one(SamplePreview)):
            pane.snapshot = self.snapshot
            pane.update()
        self.query_one("#keys", Pane).update()
        self.query_one(WelcomePane).update()

    # -- actions --------------------------------------------------------------------------------------------------

    def action_home_open(self) -> None:
        if self.snapshot:
            self.session.select(self.snapshot.run)
            show_screen(self.app, "train")

    def action_home_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    @on(Input.Changed, "#filter")
    def _filter(self, message: Input.Changed) -> None:
        self.query_one(RunsList).set_filter(message.value)

    @on(Input.Submitted, "#filter")
    def _keep_filter(self) -> None:
        self.query_one("#filter").display = False
        self.query_one(RunsList).focus()

    def action_app_back(self) -> None:
        self.query_one("#filter", Input).value = ""
        self._keep_filter()


def _tilde(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _machine(over_ssh: bool) -> str:
    """Cores and free memory of this machine, and whether it is reached over SSH."""
    import psutil

    memory = psutil.virtual_memory()
    parts = [plural(os.cpu_count() or 1, "core"), f"{memory.available / 2**30:.0f}/{memory.total / 2**30:.0f} GiB free"]
    if over_ssh:
        parts.append("ssh")
    return " · ".join(parts)


def _advice(snapshot: RunSnapshot, snapshots: Sequence[RunSnapshot]) -> list[tuple[str, str]]:
    """(text, role) of each line for the state of the run, which is one of `snapshots`."""
    summary = snapshot.summary
    saved = summary.saved
    chat_hint = f"5 chats with step {saved.step:,}" if saved else ""
    lines: list[tuple[str, str]] = []
    if snapshot.silent:
        lines = [("Running, but without events for a while: the machine may be short of memory or disk.", "warn")]
    elif snapshot.state in (RunState.FAILED, RunState.INTERRUPTED):
        what, kept, todo = run_text.failure(snapshot)
        lines = [(part, role) for part, role in ((what, "bad"), (kept, ""), (todo, "")) if part]
        lines.append((f"r resumes from {f'step {saved.step:,}' if saved else 'the last finished stage'}", "dim"))
    elif snapshot.state is RunState.QUEUED:
        lines = [(f"Waits in the queue: {queue_reason(snapshot, snapshots)}.", "")]
        lines.append(("K and J change its place, S starts it now beside the others", "dim"))
    elif snapshot.state is RunState.CREATED:
        lines = [("Not started yet: r starts it.", "")]
    elif snapshot.ending:
        lines = [("It has ended; its process is about to exit.", "")]
    elif snapshot.state is RunState.STARTING:
        lines = [("Its process is starting.", "")]
    elif snapshot.state is RunState.PAUSED:
        lines = [("Waits with everything in memory; space continues it.", "")]
    elif snapshot.state is RunState.STOPPED:
        lines = [(f"r resumes from {f'step {saved.step:,}' if saved else 'the start'}", "")]
    if summary.headline_evaluation:
        verdict = summary.headline_evaluation
        baselines = [
            f"{shown(name, 20)} {units.cost(bpb)}" for name, bpb in sorted(summary.compression_baselines.items())
        ]
        beside = f"; {', '.join(baselines)}" if baselines else ""
        of = "on the held-out text" if verdict.final else f"at best, step {verdict.step:,}"
        lines.append((f"{run_text.bits(verdict)} bits per byte {of}{beside}", ""))
    if snapshot.state.is_active and not snapshot.ending:
        lines.append(("enter shows it" + (f"; {chat_hint} now, training continues" if chat_hint else ""), "dim"))
    elif chat_hint:
        lines.append((f"enter shows its curves; {chat_hint}", "dim"))
    return lines
