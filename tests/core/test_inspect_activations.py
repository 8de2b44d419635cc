"""Attention weights and the logit lens, against plain implementations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from core.model.gpt import GPT
from core.sample.inspect_protocol import (
    AttentionHead,
    AttentionWeights,
    LogitLens,
    SampledToken,
)
from tests.core.generating import settings
from tests.core.inspecting import (
    TEXT,
    each_shape,
    inspect_results,
    logits_at,
    model_of,
    of_type,
    softmax,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def apply_rope(pairs: list[complex], position: int) -> list[complex]:
    angles = [position * math.pow(10_000, -at / len(pairs)) for at in range(len(pairs))]
    return [pair * complex(math.cos(angle), math.sin(angle)) for pair, angle in zip(pairs, angles, strict=True)]


@torch.no_grad()
def slow_attention(model: GPT, ids: Sequence[int], layer: int) -> list[list[list[float]]]:
    """Attention weights [head][query][key], in plain Python."""
    shape, x = model.config, model.wte(torch.tensor(list(ids)))
    if model.wpe is not None:
        x = x + model.wpe.weight[: len(ids)]
    for before in list(model.h)[: layer - 1]:
        x = before(x[None])[0]
    block: Any = model.h[layer - 1]
    size, heads, groups = shape.n_embd // shape.n_head, shape.n_head, shape.n_kv_head or shape.n_head
    rows = block.attn.c_attn(block.ln_1(x)).tolist()

    def vector(position: int, number: int, row: list[float]) -> list[complex]:
        found = row[number * size : (number + 1) * size]
        if shape.qk_norm:
            found = [one / math.sqrt(math.fsum(two * two for two in found) / size + 1e-6) for one in found]
        pairs = [complex(a, b) for a, b in zip(found[: size // 2], found[size // 2 :], strict=True)]
        return apply_rope(pairs, position) if shape.positions == "rotary" else pairs

    weights: list[list[list[float]]] = []
    for head in range(heads):
        queries = [vector(position, head, row) for position, row in enumerate(rows)]
        keys = [vector(position, heads + head // (heads // groups), row) for position, row in enumerate(rows)]
        weights.append([])
        for position, query in enumerate(queries):
            sees = keys[: position + 1] if model.mask_token_id is None else keys
            logits = [
                math.fsum((a * b.conjugate()).real for a, b in zip(query, key, strict=True)) / math.sqrt(size)
                for key in sees
            ]
            weights[head].append(softmax(logits) + [0.0] * (len(keys) - len(sees)))
    return weights


@each_shape
def test_attention_weights_match_a_slow_implementation(name: str) -> None:
    model = model_of(name)
    every = tuple(AttentionHead(layer) for layer in (1, 2, 3))
    heads = of_type(AttentionWeights, inspect_results(model, attention=every, attention_positions=128))
    assert [(head.layer, head.head) for head in heads] == [
        (layer, head) for layer in (1, 2, 3) for head in (1, 2, 3, 4)
    ]
    ids = TEXT if model.mask_token_id is None else [*TEXT, model.mask_token_id]
    slow = {layer: slow_attention(model, ids, layer) for layer in (1, 2, 3)}
    for head in heads:
        assert (head.first, set(head.before)) == (1, {0.0})
        for row, expected in zip(head.weights, slow[head.layer][head.head - 1], strict=True):
            assert math.fsum(one or 0.0 for one in row) == pytest.approx(1, abs=1e-4)
            assert row == pytest.approx(expected, abs=1e-5)


def test_attention_is_limited_to_the_last_positions_and_the_sum_before_them() -> None:
    model = model_of()
    (head,) = of_type(AttentionWeights, inspect_results(model, attention=(AttentionHead(2, 3),), attention_positions=4))
    slow = slow_attention(model, TEXT, 2)[2]
    assert head.first == 8
    assert len(head.weights) == len(head.before) == 4
    for row, before, expected in zip(head.weights, head.before, slow[-4:], strict=True):
        assert row == pytest.approx(expected[-4:], abs=1e-5)
        assert before == pytest.approx(math.fsum(expected[:-4]), abs=1e-5)


def test_each_generated_token_has_its_own_row_of_attention() -> None:
    model = model_of()
    results = inspect_results(model, sampling=settings(tokens=3), attention=(AttentionHead(1, 1),))
    heads, choices = of_type(AttentionWeights, results), of_type(SampledToken, results)
    text = [*TEXT, *(choice.token.id for choice in choices)]
    assert [len(head.weights) for head in heads] == [11, 1, 1]
    assert heads[2].weights[0] == pytest.approx(slow_attention(model, text[:13], 1)[0][-1], abs=1e-5)


@each_shape
def test_logit_lens_equals_a_model_truncated_after_the_layer(name: str) -> None:
    model = model_of(name)
    results = inspect_results(model, logit_lens=True, lens_tokens=2)
    (choice,) = of_type(SampledToken, results)
    ids = TEXT if model.mask_token_id is None else [*TEXT, model.mask_token_id]
    lenses = of_type(LogitLens, results)
    assert [lens.layer for lens in lenses] == [0, 1, 2, 3]
    for lens in lenses:
        shorter = model_of(name)
        shorter.load_state_dict(model.state_dict())
        del shorter.h[lens.layer :]
        logits = logits_at(shorter, ids)
        probabilities = softmax(logits)
        order = sorted(range(257), key=lambda token: -logits[token])
        assert [guess.token.id for guess in lens.tokens] == order[:2]
        assert [guess.probability for guess in lens.tokens] == pytest.approx(
            [probabilities[token] for token in order[:2]], abs=1e-5
        )
        assert lens.rank == 1 + sum(logit > logits[choice.token.id] for logit in logits)
        assert lens.probability == pytest.approx(probabilities[choice.token.id], abs=1e-5)
    assert lenses[-1].rank == choice.rank
    assert lenses[-1].probability == pytest.approx(choice.before, abs=1e-5)
