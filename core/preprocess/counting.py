"""What each step did to each document, and which documents go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.preprocess.shard_index import Array
from core.preprocess.steps import STEPS
from core.recipe.schema import Preprocess


class Judgement(NamedTuple):
    """What was found out about some documents, a column each, at the slots of a phase."""

    sizes: Array
    """(slots + 1, documents) bytes before each slot, and behind the last."""
    touched: Array
    """(slots, documents) whether the slot changed it."""
    measures: Array
    """(slots, 2, documents) what the slot's judge measured."""


def judge(
    slots: Sequence[int], recipe: Preprocess, found: Judgement, counted: NDArray[np.bool_], counts: dict[int, list[int]]
) -> NDArray[np.bool_]:
    """Which of the documents go, of those that are `counted`; adds to `counts` what each slot did to those.

    What is gone already counts for no later step.
    """
    alive = counted.copy()
    for slot, index in enumerate(slots):
        removes = np.zeros(len(alive), np.bool_)
        verdict = STEPS[recipe.steps[index]].judge
        if verdict is not None:
            measures = found.measures[slot].T.tolist()
            removes[:] = [alive[at] and verdict.removes((a, b), recipe) for at, (a, b) in enumerate(measures)]
        count = counts[index]
        count[0] += int((found.touched[slot] & alive).sum())
        count[1] += int(removes.sum())
        count[2] += int(found.sizes[slot][alive].sum())
        count[2] -= int(found.sizes[slot + 1][alive & ~removes].sum())
        alive &= ~removes
    return counted & ~alive
