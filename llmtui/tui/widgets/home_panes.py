"""The panes of Home beside the list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from core.runs.directory import RunState
from llmtui.tui.screen_table import SCREENS
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.stages import stage_lines
from llmtui.view import run_text
from llmtui.view.lines import Line, wrap
from llmtui.view.next_steps import next_steps
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sample_text import continuation
from llmtui.view.sanitize import shown
from llmtui.view.welcome import welcome_lines

_SCREEN_KEYS = {entry.name: entry.number for entry in SCREENS}


class PreviewPane(Pane):
    """Shows something of one run."""

    snapshot: RunSnapshot | None = None


class StagesPreview(PreviewPane):
    """The five stages of one run."""

    def heading(self, width: int) -> Line:
        if self.snapshot is None:
            return [("stages", "title")]
        tags = "".join(f"  {shown(tag)}" for tag in self.snapshot.annotations.tags)
        return [(run_text.name(self.snapshot), "title"), (tags, "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return []
        state = self.snapshot.state
        alive, failed = state is RunState.RUNNING, state is RunState.FAILED
        return stage_lines(self.snapshot.run.recipe, self.snapshot.summary, width, alive, failed=failed)


class NextSteps(PreviewPane):
    """What the user can do next with the run, or why it failed; the notes on it."""

    snapshots: Sequence[RunSnapshot] = ()
    """Of all runs."""

    def heading(self, width: int) -> Line:
        return [("next", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return []
        advice = next_steps(self.snapshot, _SCREEN_KEYS, self.snapshots)
        return [[(part, role)] for text, role in advice for part in wrap(text, width)]


class SamplePreview(PreviewPane):
    """The last sample of the model."""

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

    machine = ""
    """A line about this machine; empty until it is known."""

    def heading(self, width: int) -> Line:
        return [("welcome", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        return welcome_lines(self.machine, width, height)


class FilterHint(Pane):
    """Below the filter: what is wrong with it, or what it takes."""

    FRAMED: ClassVar[bool] = False

    problems: tuple[str, ...] = ()

    def lines(self, width: int, height: int) -> list[Line]:
        if self.problems:
            return [[(shown("; ".join(self.problems)), "warn")]]
        return [[("parts of names, columns, fields of the recipe", "dim")]]
