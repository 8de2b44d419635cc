"""The rules by which a training ends or acts: pure functions of its recipe and its state."""

from __future__ import annotations

from core.events import RuleActed
from core.recipe.schema import Recipe, Train
from core.train.checkpoint import TrainingState
from core.train.schedule import progress, reached_limit


def finished_reason(recipe: Train, state: TrainingState) -> str:
    """Why the training is finished, in words; empty while it is not."""
    limits = reached_limit(recipe, steps=state.step, tokens=state.tokens, seconds=state.seconds)
    return lost_patience(recipe, state) or limits


def reached_share(recipe: Train, state: TrainingState, share: float) -> bool:
    """Whether that share of the training is done, at which a trial of a study stops; never at its end."""
    return share < 1 and progress(recipe, steps=state.step, tokens=state.tokens, seconds=state.seconds) >= share


def lost_patience(recipe: Train, state: TrainingState) -> str:
    """That evaluations in a row were no better, in words, once there are `train.patience` of them."""
    if not recipe.patience or state.stale < recipe.patience:
        return ""
    return f"{state.stale} evaluations in a row were no better"


def fell_below(recipe: Recipe, state: TrainingState, bits_per_byte: float) -> RuleActed | None:
    """The event if an evaluation is the first one below `rules.below`, which is then recorded in `state`.

    After a change of `below` on resume the rule acts again only at a lower value. It never acts before the first step.
    """
    limit = recipe.rules.below
    if limit is None or not bits_per_byte < limit or not state.step:
        return None
    if state.below is not None and state.below <= limit:
        return None
    state.below = limit
    stops = recipe.rules.stop and not finished_reason(recipe.train, state)
    what = f"{bits_per_byte:.4f} bits per byte are below {limit:g}"
    return RuleActed(rule="below", step=state.step, what=what, action="stop" if stops else "checkpoint")
