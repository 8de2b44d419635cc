"""Print the events of a run as they come, and its result when it has ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    GeneratedSample,
    Metric,
    Progress,
    StageFinished,
    StageStarted,
)
from core.runs.directory import Run, RunState
from core.runs.failure import describe_failure
from core.runs.queue import begins_to_wait
from core.runs.stall import find_stall
from core.runs.summary import Summary
from core.storage.journal import JournalReader, read_backwards
from llmtui.cli.console import print_error, print_message, print_output
from llmtui.view.event_text import event_text
from llmtui.view.failure_text import failure_text
from llmtui.view.run_snapshot import journal_age
from llmtui.view.run_state import next_step_text, state_text
from llmtui.view.run_text import stall_text
from llmtui.view.summary_text import describe_progress, result_lines
from llmtui.view.units import duration

PROGRESS_INTERVAL = 5.0
"""Seconds of the worker's clock between two lines of progress."""
POLL_INTERVAL = 0.2
"""Seconds between two reads of a journal that is being written."""
INDENT = 12
"""Columns before the text of a line: the stage's name."""

Item = TypeVar("Item")


class EventFormatter:
    """Formats events, given in order, as lines of text; keeps their summary and the final samples."""

    def __init__(self, summary: Summary | None = None) -> None:
        """summary: of earlier events, which were not formatted."""
        self.summary = summary or Summary()
        self.samples: list[GeneratedSample] = []
        """Samples of the sample stage."""
        self._stage_started: float | None = None
        """On the worker's clock; None if the event was not seen."""
        self._last_progress = 0.0

    def format(self, event: AnyEvent, *, progress: bool = True) -> Iterator[str]:
        """The lines of `event`, none for many; not sanitised. progress: include a line of progress at intervals."""
        self.summary.absorb(event)
        match event:
            case Progress() | Metric():
                if progress and self.summary.stage and event.tick - self._last_progress >= PROGRESS_INTERVAL:
                    self._last_progress = event.tick
                    yield _line(self.summary.stage, describe_progress(self.summary))
                return
            case AttemptStarted():
                self._last_progress = event.tick
            case StageStarted():
                self._stage_started = self._last_progress = event.tick
                if event.stage == "sample":
                    self.samples.clear()
            case GeneratedSample() if self.summary.stage == "sample":
                self.samples.append(event)
                return  # printed with the result
            case AttemptEnded(outcome="failed"):
                return  # printed with the result, or followed by another attempt
        text = event_text(event)
        if text is None:
            return
        took = ""
        if isinstance(event, StageFinished) and self._stage_started is not None:
            took = f" ({duration(event.tick - self._stage_started)})"
        stage = "" if isinstance(event, AttemptStarted | AttemptEnded) else text.stage or self.summary.stage
        for line in text.lines:
            yield _line(stage, line + took)


def _line(stage: str, text: str) -> str:
    return f"{stage:<{INDENT - 2}}  {text}" if stage else text


def replay(run: Run) -> tuple[EventFormatter, JournalReader]:
    """A formatter that has seen the journal up to its end, and a reader that continues there."""
    summary, reader = run.load_summary()
    formatter = EventFormatter(summary)
    samples: list[GeneratedSample] = []
    for event in read_backwards(run.journal):  # the samples of the last stage, if it got there, are at the end
        if isinstance(event, GeneratedSample):
            samples.append(event)
        elif isinstance(event, StageStarted):
            formatter.samples = samples[::-1] if event.stage == "sample" else []
            break
    for event in reader.iter_events():
        for _ in formatter.format(event):
            pass
    return formatter, reader


class StallReporter:
    """Prints that a run which is followed makes no progress, and again whenever that has lasted twice as long."""

    def __init__(self, run: Run, formatter: EventFormatter) -> None:
        self._run, self._formatter = run, formatter
        self._reported = 0.0

    def check(self) -> None:
        """Call it after the new events have been formatted."""
        stall = find_stall(self._formatter.summary, journal_age(self._run))
        if stall is None or self._run.state() is not RunState.RUNNING:
            self._reported = 0.0
        elif stall.seconds >= 2 * self._reported:
            self._reported = stall.seconds
            print_message(f"{self._run.id}: {stall_text(stall)}; llmtui logs {self._run.id} shows its log")


def follow(run: Run, read: Callable[[], Iterable[Item]], after: Callable[[], None] | None = None) -> Iterator[Item]:
    """Yield what `read` finds new in the journal until the run has ended and everything has been read.

    after: called each time.
    """
    while True:
        is_active = run.state().is_active  # before reading: what was written before the end is still read
        yield from read()
        if not is_active:
            return
        if after:
            after()
        time.sleep(POLL_INTERVAL)


def print_started(run: Run, *, share: bool, detach: bool) -> None:
    """Print whether `run`, whose supervisor was started, trains or waits for a device.

    share: as `core.runs.launch.start` took it. detach: whether it is not followed.
    """
    waits = not share and begins_to_wait(run)
    does = "waits in the background until no other run uses its device" if waits else "runs in the background"
    if detach:
        print_message(f"{run.id} {does}; llmtui {'queue shows the order' if waits else 'watch shows it'}")
    else:
        print_message(f"{run.id} {does}; Ctrl-C stops following it, not the run")


def follow_run(run: Run, formatter: EventFormatter, reader: JournalReader) -> int:
    """Print the run's events on standard error until it ends, then its result; returns the exit code."""
    for event in follow(run, reader.iter_events, StallReporter(run, formatter).check):
        for line in formatter.format(event):
            print_message(line, indent=INDENT)
    return print_result(run, formatter)


def print_result(run: Run, formatter: EventFormatter) -> int:
    """Print the result of a run that has ended, or why there is none; returns the exit code."""
    state = run.state()
    if state is RunState.DONE:
        for line in result_lines(run, formatter.summary, formatter.samples):
            print_output(line)
        return 0
    if state is RunState.STOPPED:
        ended = run.end_event()
        by = f" by a rule of its recipe: {ended.what}" if ended and ended.what else ""
        print_message(f"{run.id} was stopped{by}; llmtui resume {run.id} continues it")
    else:
        print_error(f"{run.id} {state.value}: " + "\n        ".join(failure_text(describe_failure(run)).lines))
    ended = run.end_event()
    return (ended.exit_code if ended else 0) or 1


@contextlib.contextmanager
def detach_on_interrupt(run: Run) -> Iterator[None]:
    """On Ctrl+C in this block, print how to get back to the run, which is not affected. Re-raises KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt:
        if run.state().is_active:
            print_message(f"\n{run.id} continues; llmtui watch {run.id} shows it, llmtui stop {run.id} stops it")
        else:
            print_message(f"\n{run.id}: {state_text(run)}; {next_step_text(run)}")
        raise
