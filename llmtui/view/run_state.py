"""The state of a run as text, and the next command to try, in one wording for all commands."""

from __future__ import annotations

from core.events import AttemptEnded
from core.runs.directory import Run, RunState
from core.runs.failure import Failure, failure


def state_word(run: Run, state: RunState) -> str:
    """The word for `state`, that of `run`; "ending" if it has finished and its processes are about to exit."""
    return "ending" if run.is_ending(state) else state.value


def state_text(run: Run) -> str:
    """The state of the run, with the reason of its end if there is one: `running`, `failed: out of memory`. Not
    sanitised."""
    state = run.state()
    why: Failure | AttemptEnded | None = failure(run, state) if state is RunState.FAILED else None
    if state in (RunState.STOPPED, RunState.DONE):
        why = run.end_event()
    return state_word(run, state) + (f": {why.what}" if why and why.what else "")


def next_step_text(run: Run) -> str:
    """A command that gets further with the run."""
    match run.state():
        case RunState.QUEUED:
            return f"llmtui queue {run.id} --now starts it now"
        case RunState.STARTING | RunState.RUNNING:
            return f"llmtui watch {run.id} shows its progress"
        case RunState.CREATED:
            return f"llmtui resume {run.id} starts it"
        case RunState.FAILED:
            return f"llmtui show {run.id} shows why, llmtui resume {run.id} tries again"
        case RunState.DONE:
            return f"llmtui show {run.id} shows its results"
        case RunState.UNREACHABLE:
            return f"llmtui hosts show {run.host} says why; llmtui hosts connect {run.host} connects again"
        case _:
            return f"llmtui resume {run.id} continues it"
