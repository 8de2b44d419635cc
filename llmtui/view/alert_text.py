"""What the terminal's title and notices say about runs, sanitised."""

from __future__ import annotations

from collections.abc import Sequence

from core.runs.directory import RunState
from llmtui.view import run_text
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown


def title(snapshots: Sequence[RunSnapshot], selected_id: str, ended: str) -> str:
    """The title: the share of the training, or the stage, of the selected run, or else of the newest active one; when
    none is active any more, `ended`, which says how the last one went.

    snapshots: newest first. In whole percent, so that it changes a hundred times in a run.
    """
    active = [snapshot for snapshot in snapshots if snapshot.state.is_active and not snapshot.ending]
    selected = next((snapshot for snapshot in active if snapshot.run.id == selected_id), None)
    snapshot = selected or next(iter(active), None)
    if snapshot is None:
        return ended
    glyph, word, _ = run_text.state(snapshot)
    summary, share = snapshot.summary, run_text.share(snapshot.summary)
    trains = snapshot.state is RunState.RUNNING and summary.stage == "train" and not summary.evaluating
    progress = f"{int(100 * share)} %" if trains and share is not None else word
    return f"{glyph} {progress} {run_text.name(snapshot)}"


def ended_title(snapshot: RunSnapshot) -> str:
    """The title after a run has ended: `✓ books done`."""
    glyph, word, _ = run_text.state(snapshot)
    return f"{glyph} {run_text.name(snapshot)} {word}"


def end_notice(snapshot: RunSnapshot) -> str:
    """How a run ended, in one line: why it failed, which rule ended it, or its validation loss."""
    if snapshot.state in (RunState.FAILED, RunState.INTERRUPTED):
        why = run_text.failure(snapshot)[0]
    else:
        why = ", ".join(filter(None, (run_text.ended_by(snapshot), run_text.val(snapshot.summary))))
    return shown(ended_title(snapshot) + (f": {why}" if why else ""), 200)
