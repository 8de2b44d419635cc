"""The worker process of a run: `python -P -m core.worker RUN_DIR ATTEMPT`, started by the supervisor.

It drives the pipeline, writes its events to the journal, and passes requests from the control directory to it.
Exit codes: 0 done, 3 stopped on request, 4 killed from outside (it can be restarted), 75 another worker is running,
else the exit code of the error.

Several processes train together where torchrun starts them, which the supervisor of a run with `processes` does:

    python -m torch.distributed.run --standalone --nproc-per-node 2 -m core.worker RUN_DIR ATTEMPT

The first of them does all of the above. The others hold no lock and write nothing: they wait until the data is ready,
train along, and exit when the first does. When one is killed, all end, and the run is interrupted: it resumes from
its last checkpoint, with the same or another number of processes. torchrun itself exits with 0 when the run is done and
with 1 otherwise; the journal says how it ended.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from core import __version__
from core.errors import (
    BusyError,
    DiskError,
    LlmtuiError,
    ProcessKilledError,
    UnexpectedError,
    UsageError,
    as_llmtui_error,
    log,
)
from core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    Metric,
    ModelInfo,
    Note,
    Paused,
    Resumed,
    RuleActed,
    RungReached,
    StageStarted,
    TrainingForecast,
)
from core.git_commit import code_commit
from core.processes.pool import WorkerDiedError
from core.recipe.deadline import deadline_time
from core.runs.control import ControlRequests
from core.runs.directory import Run
from core.runs.recorder import RunRecorder
from core.runs.rule_command import start_rule_command
from core.storage.files import sweep
from core.storage.locks import Lock
from core.storage.workspace import Workspace
from core.train.commands import Command, Commands, SaveCheckpoint, Stop

STOPPED = 3
SAVE_MARGIN = 5.0
"""Seconds that a step and its checkpoint take beside twice those of the last checkpoint, before `train.deadline`."""


class StopRequested(Exception):
    """A stop was requested where nothing has to be saved, or the trainer has stopped by a rule or at a rung."""


class DeadlineError(UsageError):
    doing = "train"


class Worker:
    """One attempt at a run. lock: the writer's, held."""

    def __init__(self, run: Run, attempt: int, lock: Lock) -> None:
        self._run, self._attempt = run, attempt
        for directory in (run.control, run.checkpoints):
            directory.mkdir(mode=0o700, exist_ok=True)
        self._requests = ControlRequests(run)
        self._recorder = RunRecorder(run, lock)
        self._summary = self._recorder.summary
        self._stop_requested = self._stepped = self._has_earlier_metrics = False
        self._ended_by = ""
        """Why the trainer has ended the training: what a rule found, or a rung."""
        self._stopped_by_trainer = False
        self._deadline = math.inf
        self._requeue = False
        """Whether the run makes room: it ends without a last event, so that it is started again."""

    def run(self) -> int:
        """Run the pipeline to its end or to the next stop. Returns the exit code."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._terminate)
        try:
            self._drive()
            end = AttemptEnded(attempt=self._attempt, outcome="done", what=self._ended_by)
        except ProcessKilledError as error:  # no last event, as if this process had been killed: it can be restarted
            log(error.sentence())
            self._recorder.sync()
            return error.exit_code
        except StopRequested:
            if self._requeue:
                log("the run makes room, and continues from its checkpoint when it is started again")
                self._recorder.sync()
                return ProcessKilledError.exit_code
            end = self._stopped()
        except WorkerDiedError as error:  # a signal to the process group also ends its helper processes
            end = self._stopped() if self._stop_requested else self._failed(error)
        except Exception as error:
            if not isinstance(error, LlmtuiError):
                log(traceback.format_exc())
            end = self._failed(as_llmtui_error(error, self._run.path))
        self._end(end)
        return end.exit_code

    def _end(self, end: AttemptEnded) -> None:
        """Write the last event of the attempt."""
        written = self._recorder.finish(end)
        if not written and end.what:
            log(end.what)  # where the supervisor looks for a reason

    def _stopped(self) -> AttemptEnded:
        what = "" if self._stop_requested else self._ended_by
        return AttemptEnded(attempt=self._attempt, outcome="stopped", what=what, exit_code=STOPPED)

    def _failed(self, error: LlmtuiError) -> AttemptEnded:
        unexpected = isinstance(error, UnexpectedError)
        return AttemptEnded(
            attempt=self._attempt,
            outcome="failed",
            cause="disk" if isinstance(error, DiskError) else "",
            what=f"cannot {error.doing}: {error.what}",
            where=str(self._run.log) if unexpected else error.where,
            kept=error.kept,
            todo="the log has the details" if unexpected else error.todo,
            exit_code=error.exit_code,
        )

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self._stop_requested = True

    def _drive(self) -> None:
        # the heavy imports come only now: the lock is held, so a screen already shows the run as alive
        import torch

        from core.model.device import choose_device
        from core.pipeline import pipeline
        from core.train.distributed import ProcessGroup
        from core.train.memory_probe import peak_memory_on

        self._deadline = deadline_time(self._run.recipe.train.deadline, time.time())
        if self._deadline < time.time():
            raise DeadlineError(
                f"train.deadline = {self._run.recipe.train.deadline} has passed",
                kept="its checkpoints are untouched",
                todo=f"give it more time: llmtui resume {self._run.id} --set train.deadline=none",
            )
        workspace = Workspace().prepare()
        sweep(self._run.checkpoints)
        device = choose_device(self._run.recipe.train)
        description = f"{count} processes, {device.description}" if (count := processes()) > 1 else device.description
        self._recorder.emit(
            AttemptStarted(
                attempt=self._attempt,
                pid=os.getpid(),
                host=socket.gethostname(),
                device=description,
                version=__version__,
                commit=code_commit(),
                torch=str(torch.__version__),
            )
        )
        with (
            ProcessGroup.join(device.name) as group,
            contextlib.closing(
                pipeline(self._run.recipe, workspace, self._run.path, device, group, stop_at=self._run.file.stop_at)
            ) as events,
        ):
            commands: Commands | None = None
            while True:
                try:
                    event = events.send(commands)
                except StopIteration:
                    break
                if isinstance(event, TrainingForecast | Resumed):
                    self._recorder.hardware_monitor.peak = lambda: peak_memory_on(device.name)
                self._report_restart(event)
                self._recorder.emit(event)
                if isinstance(event, RuleActed):
                    self._on_rule(event)
                if isinstance(event, RungReached):
                    self._ended_by = f"it waits after {event.share:.0%} of its training"
                    self._stopped_by_trainer = True
                commands = self._commands(event)
            if self._stop_requested or self._stopped_by_trainer:
                raise StopRequested
            if group.orphaned and self._summary.stages["train"].state == "working":
                raise ProcessKilledError("what started its processes is gone", todo="resume it")

    def _report_restart(self, event: Event) -> None:
        """Emit Resumed(step=0) if training restarts without a checkpoint although earlier attempts reported steps."""
        match event:
            case StageStarted(stage="train"):
                self._stepped = False
                self._has_earlier_metrics = self._summary.metric is not None or self._summary.evaluation is not None
            case Resumed():
                self._has_earlier_metrics = False
            case ModelInfo() if self._has_earlier_metrics:
                self._recorder.emit(Resumed(step=0, checkpoint=""))
            case Metric():
                self._stepped = True

    def _on_rule(self, event: RuleActed) -> None:
        """Remember what ends the training, and start the recipe's command."""
        self._ended_by = event.what if event.action in ("stop", "finish") else self._ended_by
        self._stopped_by_trainer = self._stopped_by_trainer or event.action == "stop"
        if not self._run.recipe.rules.command:
            return
        evaluation = self._summary.evaluation
        try:
            start_rule_command(self._run, event, evaluation.bits_per_byte if evaluation else None)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._recorder.emit(Note(level="warning", text=f"rules.command was not started: {reason}"))

    def _commands(self, event: Event) -> Commands | None:
        """The commands to send after `event`. Waits while a pause is requested.

        Raises StopRequested if nothing has to be saved before stopping.
        """
        pending = self._requests.pending()
        if pending:
            for _ in self._pauses():
                self._recorder.require_directory()
                time.sleep(0.1)
            self._stop_requested = self._stop_requested or self._requests.take_stop()
            if self._requests.take_requeue():
                self._requeue = self._stop_requested = True
        if late := time.time() >= self._deadline - self._saving_seconds():
            self._ended_by, self._stopped_by_trainer = f"train.deadline = {self._run.recipe.train.deadline}", True
        if self._stop_requested or late:
            if self._summary.stage != "train" or not self._stepped:  # nothing to save
                raise StopRequested
            return (Stop(),)
        if not isinstance(event, Metric):
            return None
        if not pending:
            return ()
        commands: list[Command] = [*self._requests.take_samples()]
        commands += [SaveCheckpoint()] if self._requests.take_checkpoint() else []
        change = self._requests.take_learning_rate()
        return (*commands, change) if change else tuple(commands)

    def _saving_seconds(self) -> float:
        """Seconds before the deadline at which the last checkpoint is begun."""
        return SAVE_MARGIN + 2 * (self._summary.saved.seconds if self._summary.saved else 0.0)

    def _pauses(self) -> Iterator[None]:
        """Yields as long as a pause is requested."""
        if not self._requests.pause():
            return
        self._recorder.emit(Paused())
        self._recorder.write_status()
        while self._requests.pause() and not self._stop_requested:
            yield
            # a signal may have arrived meanwhile
            self._stop_requested = self._requests.take_stop() or self._stop_requested


def processes() -> int:
    """Number of processes started by torchrun, including this one; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def train_along(run: Run) -> int:
    """Run a process of rank 1 or higher, which only trains. Returns the exit code.

    The code is 0 if another rank died, whose own exit code counts.
    """
    from core.model.device import choose_device
    from core.pipeline import pipeline
    from core.train.distributed import ProcessGroup

    try:
        device = choose_device(run.recipe.train)
        with ProcessGroup.join(device.name) as group:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # rank 0 receives it, too, and decides when to stop
            for _ in pipeline(run.recipe, Workspace(), run.path, device, group, stop_at=run.file.stop_at):
                pass
    except ProcessKilledError:
        return 0
    except LlmtuiError as error:
        log(f"process {os.environ['RANK']}: {error.sentence()}")
        return error.exit_code
    return 0


def main() -> int:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run, attempt = Run.open(Path(sys.argv[1])), int(sys.argv[2])
        if processes() > 1 and os.environ["RANK"] != "0":
            return train_along(run)
        lock = Lock.acquire(run.path / "writer.lock")
        if lock is None:
            return BusyError.exit_code
        with lock:
            return Worker(run, attempt, lock).run()
    except (
        LlmtuiError,
        OSError,
    ) as error:  # there is no journal yet: the supervisor finds it in the log
        reported = as_llmtui_error(error, sys.argv[1])
        log(reported.sentence())
        return reported.exit_code


if __name__ == "__main__":
    sys.exit(main())
