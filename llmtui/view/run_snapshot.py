"""The state of one run at one moment, as lists and screens show it."""

from __future__ import annotations

import time
from typing import NamedTuple

from core.events import AttemptEnded
from core.parsing import ParseError, read_json
from core.runs.annotations import Annotations, read_annotations
from core.runs.artifacts import artifact_path
from core.runs.curves import Curves
from core.runs.directory import Run, RunState
from core.runs.failure import Failure, failure
from core.runs.launches import Exited
from core.runs.remote_state import read_remote_state
from core.runs.stall import Stall, find_stall
from core.runs.summary import Summary


class RunSnapshot(NamedTuple):
    """The state of one run."""

    run: Run
    state: RunState
    summary: Summary
    failure: Failure | None
    """Why it failed or was interrupted."""
    over_at: float
    """Seconds since the epoch when its last attempt ended; 0 while it is active or if unknown."""
    stall: Stall | None
    """That a running one makes no progress."""
    ending: bool = False
    """Whether it has written its last event while its processes are still running."""
    queue_place: int = 0
    """1 for the first of the runs that wait for a device on its machine; 0 for a run that does not wait.

    Of runs of this machine `RunWatcher` sets it."""
    annotations: Annotations = Annotations()
    size: int | None = None
    """Bytes on disk; None until it is measured."""
    train_loss: float | None = None
    """Smoothed training loss in bits per byte; None until it is read, or if unknown."""

    def artifact(self, stage: str) -> str:
        """See `core.runs.artifacts.artifact_path`."""
        return artifact_path(self.run, self.summary, stage)

    def with_measurement(self, measurement: Measurement) -> RunSnapshot:
        """With the size and the training loss of `measurement`."""
        return self._replace(size=measurement.size, train_loss=measurement.train_loss)


def journal_age(run: Run) -> float:
    """Seconds since the journal of `run` grew; 0 if it is not known."""
    try:
        return max(0.0, time.time() - run.journal.stat().st_mtime)
    except OSError:
        return 0.0


class Measurement(NamedTuple):
    """What takes longer to read than a snapshot; see the fields of that name of `RunSnapshot`."""

    size: int
    train_loss: float | None


def take_snapshot(run: Run) -> RunSnapshot:
    """The present state of `run`, without what `measure` reads. Raises OSError."""
    summary = run.summary()
    state = run.state(summary)
    ended: AttemptEnded | Exited | None = None
    if not state.is_active:
        # the summary has the last event; only after a crash has the journal to be read again
        known = summary.ended if summary.ended and summary.ended.outcome == state.value else None
        ended = known or run.end_event(summary) or run.exit_record()
    return RunSnapshot(
        run,
        state,
        summary,
        failure(run, state),
        ended.at if ended else 0.0,
        find_stall(summary, journal_age(run)) if state is RunState.RUNNING else None,
        ending=summary.ended is not None and run.is_ending(state),
        queue_place=read_remote_state(run.path).queue_place if run.host and state is RunState.QUEUED else 0,
        annotations=read_annotations(run.path),
    )


def measure(run: Run, smoothing: float) -> Measurement:
    """Read the curves of `run` and the sizes of its files, which takes a few milliseconds.

    smoothing: weight of the past in the training loss, per step.
    """
    return Measurement(run.bytes(), _train_loss(run, smoothing))


def _train_loss(run: Run, smoothing: float) -> float | None:
    try:
        curves = read_json(run.path / "curves.json", Curves)
    except (OSError, ParseError):
        return None
    if curves.bits_per_nat is None or not curves.loss:
        return None
    return curves.bits_per_nat * curves.loss.smoothed(smoothing, _unchanged, _unchanged)[-1]


def _unchanged(value: float) -> float:
    return value
