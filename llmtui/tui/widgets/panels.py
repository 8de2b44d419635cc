"""The text panes of the Train screen. Each shows one aspect of a run's snapshot and history."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from core.plural import plural
from core.runs.directory import RunState
from core.runs.summary import Summary
from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.tui.widgets.stages import stage_lines, stage_strip
from llmtui.view import plan_text, run_text, units
from llmtui.view.axes import scientific
from llmtui.view.history import History
from llmtui.view.lines import Line, bar, clip, joined, spread, table, wrap
from llmtui.view.loss_unit import LossUnit
from llmtui.view.queue_text import queue_reason
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sample_text import continuation
from llmtui.view.sanitize import shown


class RunPane(Pane):
    """A pane about one run."""

    snapshot: RunSnapshot | None = None
    history: History | None = None
    snapshots: tuple[RunSnapshot, ...] = ()
    """Of all runs, for panes that show more than one."""

    def show(self, snapshot: RunSnapshot | None, history: History | None) -> None:
        """Show this state of a run."""
        changed = (snapshot and snapshot.run.id) != (self.snapshot and self.snapshot.run.id)
        self.snapshot, self.history = snapshot, history
        if changed and isinstance(self, ScrollPane):
            self.reset_scroll()
        self.update()

    @property
    def summary(self) -> Summary:
        """Of the history; an empty one before it is read."""
        return self.history.summary if self.history else Summary()


class StatusLine(RunPane):
    """The first line: run, state, step, loss, speed."""

    FRAMED: ClassVar[bool] = False

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return [[("No run is selected: 1 shows the runs.", "dim")]]
        summary = self.summary
        snapshot = self.snapshot._replace(summary=summary) if self.history else self.snapshot
        glyph, word, role = run_text.state(snapshot)
        if snapshot.stall:
            word = run_text.stall_text(snapshot.stall)
        left: Line = [(f"{glyph} ", role), (run_text.name(self.snapshot), "bold"), (f"  {word}", role)]
        parts: list[Line] = [left]
        if self.history and not self.history.caught_up:
            parts.append([(f"reading its journal, {plural(summary.events, 'event')}", "dim")])
        history = self.history
        if summary.metric:
            parts.append([(run_text.step(self.snapshot._replace(summary=summary)), "")])
        if summary.metric and history:
            about = "≈" if history.unit is LossUnit.BITS else ""
            loss = about + history.unit.text(history.cost(summary.metric.loss))
            unit = "" if summary.evaluation else f" {history.unit.short}"
            parts.append([("loss ", "dim"), (loss, "train"), (unit, "dim")])
        if summary.evaluation and history:
            val = history.evaluation_text(summary.evaluation)
            parts.append([("val ", "dim"), (val, "val"), (f" {history.unit.short}", "dim")])
        speed = run_text.speed(self.snapshot._replace(summary=summary))
        if speed:
            parts.append([(speed, "")])
        return [joined(parts, width)]


_PRIORITY = ("lr", "grad", "best", "held-out", "xz -9", "saved", "seen", "gzip -9")


class RunDetails(RunPane):
    """Figures of the run, the most important first, as many as fit."""

    def heading(self, width: int) -> Line:
        shape = self.summary.shape
        size = f"  {units.count(shape.parameters)} parameters" if shape else ""
        return [("run", "title"), (size, "dim")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return []
        pairs = self._pairs()
        if height >= 6:
            return table(pairs, width)
        # in a small pane two figures per line, those that change first
        pairs.sort(key=lambda pair: _PRIORITY.index(pair[0]) if pair[0] in _PRIORITY else len(_PRIORITY))
        half = width // 2
        cells = [line for line in (figure_in(name, value, half - 1) for name, value in pairs) if line]
        lines = []
        for left, right in zip(cells[0::2], [*cells[1::2], []], strict=False):
            gap = " " * max(1, half - sum(len(text) for text, _ in left))
            lines.append([*left, (gap, ""), *right])
        return lines

    def _pairs(self) -> list[tuple[str, str]]:
        assert self.snapshot is not None
        recipe, summary = self.snapshot.run.recipe, self.summary
        train, model, metric = recipe.train, recipe.model, summary.metric
        batch = train.batch_size * model.block_size
        pairs: list[tuple[str, str]] = []
        if metric:
            clip = f" (clip {train.grad_clip:g})" if train.grad_clip else ""
            pairs += [("lr", scientific(metric.lr)), ("grad", f"{metric.grad_norm:.2f}{clip}")]
        if summary.headline_evaluation:
            name = "held-out" if summary.headline_evaluation.final else "best"
            pairs.append((name, f"{run_text.bits(summary.headline_evaluation)} bpb"))
        pairs += [
            (shown(name, 12), f"{units.cost(bpb)} bpb") for name, bpb in sorted(summary.compression_baselines.items())
        ]
        if metric:
            pairs.append(("seen", f"{units.count(metric.tokens)} tok"))
        if summary.saved:
            pairs.append(("saved", f"step {summary.saved.step:,}"))
        parent = self.snapshot.run.parent
        pairs += [("branch", run_text.parent_text(parent))] if parent else []
        annotations = self.snapshot.annotations
        pairs += [("tags", shown(" ".join(annotations.tags)))] if annotations.tags else []
        pairs += [("note", shown(" ".join(annotations.note.split()), 200))] if annotations.note else []
        if summary.plan and summary.plan.seconds is not None and summary.plan.tokens is not None:
            expected = f"{units.count(summary.plan.tokens)} tok in {units.duration(summary.plan.seconds)}"
            pairs.append(("planned", expected))
        if summary.plan and summary.peak:
            pairs.append(("memory", plan_text.peak_memory(summary)))
        at_once = ""
        if summary.plan and summary.plan.micro_batch < train.batch_size:
            at_once = f", {summary.plan.micro_batch:,} of {train.batch_size:,} at once"
        pairs.append(("batch", f"{units.count(batch)} tok{at_once}"))
        if summary.shape:
            shape = summary.shape
            if metric and shape.tokens:
                pairs.append(("epochs", f"{metric.tokens / shape.tokens:.2f} of {units.count(shape.tokens)} tok"))
        pairs.append(("shape", plan_text.shape(model)))
        if summary.plan:
            pairs += [
                ("parts", _brief(plan_text.parts(summary.plan.parameters), units.count)),
                ("holds", _brief(plan_text.shares(summary.plan.memory), units.size)),
            ]
        pairs.append(("context", f"{model.block_size:,} tok"))
        vocabulary = summary.shape.vocabulary if summary.shape else recipe.tokenize.size
        pairs.append(("vocab", f"{recipe.tokenize.vocabulary} {vocabulary:,}"))
        if summary.shape:
            pairs.append(("work", f"{units.count(summary.shape.flops_per_token)} FLOP/tok"))
        if summary.metric:
            pairs.append(("time", units.duration(max(10.0, summary.metric.seconds // 10 * 10))))
        pairs.append(("ends", f"after {run_text.limits(train)}"))
        pairs.append(("optim", f"{train.optimizer}, decay {train.weight_decay:g}"))
        pairs.append(("source", shown(recipe.source.corpus, 200)))
        if summary.attempt > 1:
            pairs.append(("attempt", str(summary.attempt)))
        return pairs


def figure_in(name: str, value: str, cells: int) -> Line:
    """A figure in at most `cells` cells, if need be without its details and its unit; empty if it does not fit."""
    if any(digit.isdigit() for digit in value.partition(" ")[0]):
        for end in (" (", ",", " in ", " "):
            while end in value and len(name) + 1 + len(value) > cells:
                value = value.rpartition(end)[0]
    return [(f"{name} ", "dim"), (value, "")] if len(name) + 1 + len(value) <= cells else []


_SHORT_NAMES = {
    "embedding": "emb",
    "positions": "pos",
    "attention": "attn",
    "feed-forward": "ffn",
    "norms": "norm",
    "output": "head",
    "process": "process",
    "weights": "wts",
    "gradients": "grad",
    "optimiser": "optim",
    "activations": "act",
    "checkpoint copy": "copy",
}


def _brief(pairs: list[tuple[str, int]], figure: Callable[[float], str]) -> str:
    """Short names and figures, the largest first, since a narrow pane cuts the end."""
    largest = sorted(pairs, key=lambda pair: -pair[1])
    return " ".join(f"{_SHORT_NAMES[name]} {figure(number)}" for name, number in largest)


class LastSample(RunPane, ScrollPane, can_focus=True):
    """The newest sample of the model."""

    HELP: ClassVar[str] = "The newest text that the model generated, after its prompt."

    _shown_at = 0.0
    """When the sample shown was generated."""

    def show(self, snapshot: RunSnapshot | None, history: History | None) -> None:
        sample = history.summary.sample if history else None
        if sample and sample.at != self._shown_at:
            self._shown_at = sample.at
            self.reset_scroll()
        super().show(snapshot, history)

    def heading(self, width: int) -> Line:
        sample = self.history.summary.sample if self.history else None
        if sample is None:
            return [("last sample", "title")]
        return [("last sample", "title"), (f"  step {sample.step:,} · T {sample.temperature:g}", "dim")]

    def content(self, width: int) -> list[Line]:
        sample = self.history.summary.sample if self.history else None
        if sample is None:
            return [[("none yet; s requests one during training", "dim")]]
        return continuation(sample.prompt, sample.text, width)


class ProgressLines(RunPane):
    """Progress bar, remaining time, and the five stages if they fit."""

    FRAMED: ClassVar[bool] = False

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return []
        summary, snapshot = self.summary, self.snapshot._replace(summary=self.summary)
        share = run_text.share(summary)
        alive = snapshot.state.is_active
        failed = snapshot.state is RunState.FAILED
        works = snapshot.state is RunState.RUNNING and not snapshot.stall
        strip = stage_strip(summary, alive, failed=failed) if width >= 70 else []
        left: Line = joined(
            [
                [(_remaining(summary) if works else self._outcome(snapshot), "")],
                [(self._next_checkpoint(summary), "dim")] if alive else [],
            ],
            width - sum(len(text) for text, _ in strip) - 2,
            " · ",
        )
        detail = spread(left, strip, width)
        if snapshot.state is RunState.DONE:
            share = 1.0
        meter: Line = [("no progress reported yet", "dim")] if snapshot.state is RunState.RUNNING else bar(0.0, width)
        if share is not None:
            figure = run_text.percent(share)
            if height == 1 and works:
                figure = "  ".join(part for part in (figure, run_text.remaining(summary)) if part)
            filled = bar(share, width - max(9, len(figure) + 1), "good" if snapshot.state is RunState.DONE else "bar")
            meter = spread(filled, [(figure, "")], width)
        if height == 1 and (failed or snapshot.state is RunState.INTERRUPTED):
            return [detail]  # why is worth more than how far
        return [meter, detail][:height]

    @staticmethod
    def _outcome(snapshot: RunSnapshot) -> str:
        if snapshot.state in (RunState.FAILED, RunState.INTERRUPTED):
            what, _, todo = run_text.failure(snapshot)
            return f"{what}: {todo}" if todo else what
        if snapshot.state.is_active or snapshot.state is RunState.CREATED:
            return run_text.state(snapshot)[1]
        by = run_text.ended_by(snapshot)
        return f"{snapshot.state.value} {run_text.when(snapshot)}" + (f": {by}" if by else "")

    def _next_checkpoint(self, summary: Summary) -> str:
        if summary.stage != "train" or not summary.metric or not self.snapshot:
            return ""
        every = self.snapshot.run.recipe.train.checkpoint_every
        return f"checkpoint by step {math.floor(summary.metric.step / every + 1) * every:,}"


def _remaining(summary: Summary) -> str:
    """The remaining time of the stage, or of the evaluation before the first step."""
    left = run_text.remaining(summary)
    if not summary.evaluating:
        return left
    return f"evaluating, {left}" if any(map(str.isdigit, left)) else "evaluating"


class StagesPane(RunPane):
    """The five stages and the newest notes, shown instead of the chart before training begins."""

    def heading(self, width: int) -> Line:
        return [("stages", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        if self.snapshot is None:
            return [[("No run is selected: 1 shows the runs, n starts one.", "dim")]]
        state = self.snapshot.state
        alive, failed = state is RunState.RUNNING, state is RunState.FAILED
        lines = stage_lines(self.snapshot.run.recipe, self.summary, width, alive, failed=failed)
        if self.snapshot.state in (RunState.FAILED, RunState.INTERRUPTED):
            lines += [
                [],
                *([(part, "bad")] for part in wrap(": ".join(filter(None, run_text.failure(self.snapshot))), width)),
            ]
        elif self.snapshot.state is RunState.QUEUED:
            reason = f"Waits in the queue: {queue_reason(self.snapshot, self.snapshots)}."
            lines += [[], *([(part, "")] for part in wrap(reason, width))]
        elif height > 7:
            # which column and encoding were detected: worth seeing before the training uses them
            notes = [(kind, text) for _, kind, text in self.history.events if kind in _NOTED] if self.history else []
            shown_notes = [clip([(shown(text), _NOTED[kind])], width) for kind, text in notes[6 - height :]]
            lines += [
                [],
                *(shown_notes or [[("The loss chart comes with the first training step.", "dim")]]),
            ]
        return lines


_NOTED = {"note": "dim", "warn": "warn"}


class RunsSidebar(RunPane):
    """All runs, in the widest layout; the one shown is bold."""

    def heading(self, width: int) -> Line:
        return [("runs", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = []
        index = next((i for i, g in enumerate(self.snapshots) if self.snapshot and g.run.id == self.snapshot.run.id), 0)
        first = max(0, min(index - height // 2, len(self.snapshots) - height))
        for snapshot in self.snapshots[first : first + height]:
            glyph, word, role = run_text.state(snapshot)
            selected = self.snapshot is not None and snapshot.run.id == self.snapshot.run.id
            left: Line = [(f"{glyph} ", role), (run_text.name(snapshot), "bold" if selected else "")]
            lines.append(spread(left, [(run_text.val(snapshot.summary).removeprefix("val ") or word, "dim")], width))
        return lines
