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
    found = [
        one for message in of_type(PromptSurprisal, inspect_results(model, surprisal=True)) for one in message.tokens
    ]
    assert [(one.position, one.token.id) for one in found] == list(enumerate(TEXT, 1))
    if model.mask_token_id is None:
        assert (found[0].bits, found[0].rank, found[0].entropy, found[0].predicted) == (None, None, None, None)
    for one in found[1 if model.mask_token_id is None else 0 :]:
        at = one.position - 1
        if model.mask_token_id is None:
            logits = logits_at(model, TEXT[:at])
        else:
            logits = logits_at(model, [*TEXT[:at], model.mask_token_id, *TEXT[at + 1 :]], at)
        probabilities = softmax(logits)
        assert one.bits == pytest.approx(-math.log2(probabilities[TEXT[at]]), abs=1e-4)
        assert one.rank == 1 + sum(logit > logits[TEXT[at]] for logit in logits)
        assert one.entropy == pytest.approx(bits(probabilities), abs=1e-4)
        assert one.predicted is not None
        assert one.predicted.token.id == max(range(257), key=logits.__getitem__)
        assert one.predicted.probability == pytest.approx(max(probabilities), abs=1e-5)
