"""What the Chat screen says before there is anything to show."""

from __future__ import annotations

from core.runs.directory import RunState
from llmtui.view.chat_turn import GAP
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown


def hint(snapshot: RunSnapshot | None, *, has_checkpoint: bool) -> str:
    """What can be done, or why nothing can."""
    if snapshot is None:
        return "There is no run yet: 1 shows the runs, n there starts one."
    recipe, host = snapshot.run.recipe, shown(snapshot.run.host, 20)
    if not has_checkpoint and host:
        return f"No checkpoint of this run is known on {host} yet. What {host} saves there answers here."
    if not has_checkpoint and snapshot.state is RunState.DONE:
        return "All checkpoints of this run were deleted, so nothing can answer. L in Train starts a run like it."
    if not has_checkpoint and not snapshot.state.is_active:
        return f"This run has no checkpoint yet ({snapshot.state.value}): r in Train resumes it."
    if not has_checkpoint:
        return "This run has no checkpoint yet. Training saves the first one soon; c in Train saves one at once."
    if recipe.chat.templated:
        return "Say something and press enter. The recipe's [chat] templates make a conversation of it."
    gap = ""
    if recipe.model.objective == "masked":
        gap = f" {GAP} between two texts is a gap that it fills with as many tokens as the setting says."
    training = ""
    if snapshot.state.is_active:
        training = " Training continues meanwhile, and is slower while text is generated."
    if host:
        training += f" Texts are generated on {host}, unless F has copied the checkpoint here."
    return (
        "Type the beginning of a text and press enter: the model continues it. It was trained on text alone,"
        f" so it continues rather than answers.{gap}{training}"
    )
