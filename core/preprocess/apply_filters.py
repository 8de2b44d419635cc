"""Document filters applied to measured documents, and counts of what each step changed and removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.preprocess.shard_index import Array
from core.preprocess.steps import STEPS
from core.recipe.schema import Preprocess


class DocumentEffects(NamedTuple):
    """Effects of the steps of a phase on some documents."""

    sizes: Array
    """(steps + 1, documents) bytes before each step, and after the last."""
    touched: Array
    """(steps, documents) whether the step changed the document."""
    measures: Array
    """(steps, 2, documents) measures of the step's filter."""


def apply_filters(
    steps: Sequence[int],
    recipe: Preprocess,
    effects: DocumentEffects,
    counted: NDArray[np.bool_],
    counts: dict[int, list[int]],
) -> NDArray[np.bool_]:
    """(documents,) which of the documents in the mask `counted` are removed; adds what each step did to `counts`.

    Later steps do not count documents that an earlier one removed.
    """
    remaining = counted.copy()
    for number, index in enumerate(steps):
        removes = np.zeros(len(remaining), np.bool_)
        document_filter = STEPS[recipe.steps[index]].filter
        if document_filter is not None:
            measures = effects.measures[number].T.tolist()
            removes[:] = [
                remaining[at] and document_filter.removes((a, b), recipe) for at, (a, b) in enumerate(measures)
            ]
        count = counts[index]
        count[0] += int((effects.touched[number] & remaining).sum())
        count[1] += int(removes.sum())
        count[2] += int(effects.sizes[number][remaining].sum())
        count[2] -= int(effects.sizes[number + 1][remaining & ~removes].sum())
        remaining &= ~removes
    return counted & ~remaining
