"""What a given text costs: against reading along, evaluation, transformers, and the book's own figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.init.tensors import convert_gpt2, copy_into
from core.model.gpt import GPT
from core.recipe.file import load
from core.recipe.schema import Model
from core.sample.kv_decoder import KVDecoder
from core.sample.samplers import LogitsError
from core.sample.score import short_context_tokens, token_losses
from core.tokenize.shards import TokenStream, write_shard
from core.train.evaluate import evaluate_loss
from tests.core.gpt2_folders import transformers_gpt2

MASKED: dict[str, Any] = {"objective": "masked"}


def made(block_size: int = 16, vocabulary: int = 30, dtype: torch.dtype = torch.float32, **fields: Any) -> GPT:
    torch.manual_seed(3)
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False, **fields)
    return GPT(shape, vocabulary, dtype=dtype)


def text(length: int, vocabulary: int = 30) -> list[int]:
    return torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(length)).tolist()


def cost(model: GPT, ids: list[int], known: int = 1) -> float:
    """Of all tokens behind the first `known`, which the parts have to be."""
    found = list(token_losses(model, ids, known))
    assert sum(part.tokens for part in found) == len(ids) - known
    return sum(part.nats for part in found)


def evaluated(path: Path, model: GPT, ids: list[int]) -> float:
    write_shard(path, [np.array(ids, np.uint16)])
    return evaluate_loss(model, TokenStream([path]), torch.ones(30, dtype=torch.int64), batch_size=4, limit=10**6).nats


@pytest.mark.parametrize("block_size", [1, 2, 3, 8, 15, 16])
@pytest.mark.parametrize("length", [2, 16, 17, 18, 26, 60])
def test_every_token_costs_what_it_costs_whoever_reads_along(block_size: int, length: int) -> None:
    model, ids = made(block_size), text(length)
    for known in {1, min(5, block_size, length - 1)}:
        reader, expected = KVDecoder(model, ids[:known]), 0.0
        for token in ids[known:]:
            expected -= torch.log_softmax(reader.logits[0], -1)[token].item()
            reader.append([token])
        assert cost(model, ids, known) == pytest.approx(expected, rel=1e-5)


@given(st.integers(1, 40), st.integers(1, 200))
def test_few_are_predicted_from_less_than_half_a_context(block_size: int, tokens: int) -> None:
    begin, few = 0, 0
    for place in range(1, tokens + 1):  # of a mark and so many tokens
        if place - begin > block_size:
            begin = place - max(1, block_size // 2)
        few += place - begin < max(1, block_size // 2)
    assert short_context_tokens(made(block_size), tokens) == few


@pytest.mark.parametrize("length", [2, 10, 17])
def test_within_a_context_it_is_what_an_evaluation_finds(tmp_path: Path, length: int) -> None:
    model, ids = made(), text(length)
    assert cost(model, ids) == pytest.approx(evaluated(tmp_path / "x", model, ids), rel=1e-6)


@pytest.mark.parametrize("length", [16 * 64 + 1, 16 * 70 + 5])
def test_the_bound_of_a_long_text_is_that_of_an_evaluation(tmp_path: Path, length: int) -> None:
    model, ids = made(**MASKED), text(length)
    assert cost(model, ids) == pytest.approx(evaluated(tmp_path / "x", model, ids), rel=1e-5)
    assert short_context_tokens(model, length) == 0


@pytest.mark.parametrize("length", [2, 10, 17, 40])
def test_a_short_text_is_looked_at_often_enough_for_its_bound(length: int) -> None:
    model, ids = made(**MASKED), text(length)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert cost(model, ids) == pytest.approx((length - 1) * math.log(30), rel=1e-5)
    opinion = made(**MASKED)
    assert cost(opinion, ids) == cost(opinion, ids)


def test_it_is_the_same_in_whatever_precision_the_model_trains() -> None:
    ids = text(100)
    for fields in ({}, MASKED):
        assert cost(made(**fields), ids) == cost(made(dtype=torch.bfloat16, dropout=0.5, **fields), ids)


def test_between_two_looks_of_the_model_it_can_be_left() -> None:
    every = token_losses(made(), text(100_000))
    assert [next(every).tokens for _ in range(3)] == [16, 16 * 9, 16 * 9]
    every.close()


def test_output_that_is_not_finite_is_named() -> None:
    model = made()
    with torch.no_grad():
        model.wte.weight[7] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        cost(model, [1, 7, 3])


def test_it_is_what_transformers_finds() -> None:
    theirs = transformers_gpt2(vocab_size=60, n_layer=2, n_head=2, n_embd=16, n_positions=32)
    model = GPT(replace(load(preset="gpt2").model, n_layer=2, n_head=2, n_embd=16, block_size=32), 60).eval()
    copy_into(model, convert_gpt2(theirs.state_dict().items()), tokens=60, where="transformers")
    ids = torch.tensor([text(32, 60)])
    with torch.no_grad():
        expected = theirs(ids, labels=ids).loss.item()
    assert cost(model, ids[0].tolist()) / 31 == pytest.approx(expected, rel=1e-5)
