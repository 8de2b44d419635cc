"""Where a run stands, in one wording for all commands: what it is doing or came to, and what to do about it."""

from __future__ import annotations

from core.runs.directory import Run, RunState
from core.runs.failure import failure


def state_word(run: Run, state: RunState) -> str:
    """The word for what `run` is doing, in `state`, its own."""
    return "ending" if run.is_ending(state) else state.value


def standing(run: Run) -> str:
    """What the run is doing or came to: `running`, `failed: out of memory`. Not sanitised."""
    state = run.state()
    why = failure(run, state) if state is RunState.FAILED else None
    return state_word(run, state) + (f": {why.what}" if why else "")


def next_step(run: Run) -> str:
    """What a person can do who wants more from the run than it has."""
    match run.state():
        case RunState.STARTING | RunState.RUNNING:
            return f"llmtui watch {run.id} shows how far it is"
        case RunState.CREATED:
            return f"llmtui resume {run.id} starts it"
        case RunState.FAILED:
            return f"llmtui show {run.id} says why, llmtui resume {run.id} tries again"
        case RunState.DONE:
            return f"llmtui show {run.id} says what it made"
        case _:
            return f"llmtui resume {run.id} goes on with it"
