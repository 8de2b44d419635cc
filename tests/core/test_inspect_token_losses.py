"""Surprisal of each token of a prompt."""

from __future__ import annotations

import math

import pytest

from core.sample.inspect_protocol import (
    PromptSurprisal,
)
from tests.core.inspecting import (
    TEXT,
    bits,
    each_objective,
    inspect_results,
    logits_at,
    model_of,
    of_type,
    softmax,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@each_objective
def test_surprisal_matches_a_slow_implementation(name: str) -> None:
    model = model_of(name)
    losses = [
        one for message in of_type(PromptSurprisal, inspect_results(model, surprisal=True)) for one in message.tokens
    ]
    assert [(one.position, one.token.id) for one in losses] == list(enumerate(TEXT, 1))
    if model.mask_token_id is None:
        assert (losses[0].bits, losses[0].rank, losses[0].entropy, losses[0].predicted) == (None, None, None, None)
    for one in losses[1 if model.mask_token_id is None else 0 :]:
        target = one.position - 1
        if model.mask_token_id is None:
            logits = logits_at(model, TEXT[:target])
        else:
            logits = logits_at(model, [*TEXT[:target], model.mask_token_id, *TEXT[target + 1 :]], target)
        probabilities = softmax(logits)
        assert one.bits == pytest.approx(-math.log2(probabilities[TEXT[target]]), abs=1e-4)
        assert one.rank == 1 + sum(logit > logits[TEXT[target]] for logit in logits)
        assert one.entropy == pytest.approx(bits(probabilities), abs=1e-4)
        assert one.predicted is not None
        assert one.predicted.token.id == max(range(257), key=logits.__getitem__)
        assert one.predicted.probability == pytest.approx(max(probabilities), abs=1e-5)
