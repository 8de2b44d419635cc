"""Loss of a given text, against decoding token by token, evaluation and transformers."""

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

from core.model.gpt import GPT
from core.recipe.file import load
from core.recipe.schema import Model
from core.sample.kv_decoder import KVDecoder
from core.sample.samplers import LogitsError
from core.sample.score import short_context_tokens, token_losses
from core.tokenize.shards import TokenStream, write_shard
from core.train.evaluate import evaluate_loss
from tests.core.gpt2_folders import copy_gpt2, transformers_gpt2

MASKED: dict[str, Any] = {"objective": "masked"}


def make_model(block_size: int = 16, vocabulary: int = 30, dtype: torch.dtype = torch.float32, **fields: Any) -> GPT:
    torch.manual_seed(3)
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False, **fields)
    return GPT(shape, vocabulary, dtype=dtype)


def random_ids(length: int, vocabulary: int = 30) -> list[int]:
    return torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(length)).tolist()


def loss_of(model: GPT, ids: list[int], known: int = 1) -> float:
    """Loss in nats of all tokens after the first `known`."""
    windows = list(token_losses(model, ids, known))
    assert sum(window.tokens for window in windows) == len(ids) - known
    return sum(window.nats for window in windows)


def evaluation_loss(path: Path, model: GPT, ids: list[int]) -> float:
    write_shard(path, [np.array(ids, np.uint16)])
    return evaluate_loss(model, TokenStream([path]), torch.ones(30, dtype=torch.int64), batch_size=4, limit=10**6).nats


@pytest.mark.heavy
@pytest.mark.parametrize("block_size", [1, 2, 3, 8, 15, 16])
@pytest.mark.parametrize("length", [2, 16, 17, 18, 26, 60])
def test_loss_of_a_text_equals_the_loss_of_decoding_it_token_by_token(block_size: int, length: int) -> None:
    model, ids = make_model(block_size), random_ids(length)
    for known in {1, min(5, block_size, length - 1)}:
        decoder, expected = KVDecoder(model, ids[:known]), 0.0
        for token in ids[known:]:
            expected -= torch.log_softmax(decoder.logits[0], -1)[token].item()
            decoder.append([token])
        assert loss_of(model, ids, known) == pytest.approx(expected, rel=1e-5)


@pytest.mark.heavy
@given(st.integers(1, 40), st.integers(1, 200))
def test_tokens_predicted_from_less_than_half_a_context_are_counted(block_size: int, tokens: int) -> None:
    start, short = 0, 0
    for position in range(1, tokens + 1):  # an end-of-text token, then `tokens` tokens
        if position - start > block_size:
            start = position - max(1, block_size // 2)
        short += position - start < max(1, block_size // 2)
    assert short_context_tokens(make_model(block_size), tokens) == short


@pytest.mark.parametrize("length", [2, 10, 17])
def test_loss_within_one_context_equals_the_evaluation(tmp_path: Path, length: int) -> None:
    model, ids = make_model(), random_ids(length)
    assert loss_of(model, ids) == pytest.approx(evaluation_loss(tmp_path / "x", model, ids), rel=1e-6)


@pytest.mark.parametrize("length", [16 * 64 + 1, 16 * 70 + 5])
def test_bound_of_a_long_text_equals_the_evaluation(tmp_path: Path, length: int) -> None:
    model, ids = make_model(**MASKED), random_ids(length)
    assert loss_of(model, ids) == pytest.approx(evaluation_loss(tmp_path / "x", model, ids), rel=1e-5)
    assert short_context_tokens(model, length) == 0


@pytest.mark.parametrize("length", [2, 10, 17, 40])
def test_bound_of_a_short_text_averages_over_enough_masks(length: int) -> None:
    model, ids = make_model(**MASKED), random_ids(length)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert loss_of(model, ids) == pytest.approx((length - 1) * math.log(30), rel=1e-5)
    model_with_logits = make_model(**MASKED)
    assert loss_of(model_with_logits, ids) == loss_of(model_with_logits, ids)


def test_loss_does_not_depend_on_the_training_precision() -> None:
    ids = random_ids(100)
    for fields in ({}, MASKED):
        assert loss_of(make_model(**fields), ids) == loss_of(
            make_model(dtype=torch.bfloat16, dropout=0.5, **fields), ids
        )


def test_scoring_can_be_cancelled_between_forward_passes() -> None:
    windows = token_losses(make_model(), random_ids(100_000))
    assert [next(windows).tokens for _ in range(3)] == [16, 16 * 9, 16 * 9]
    windows.close()


def test_non_finite_logits_raise_an_error() -> None:
    model = make_model()
    with torch.no_grad():
        model.wte.weight[7] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        loss_of(model, [1, 7, 3])


@pytest.mark.heavy
def test_loss_matches_transformers() -> None:
    hf_model = transformers_gpt2(vocab_size=60, n_layer=2, n_head=2, n_embd=16, n_positions=32)
    model = GPT(replace(load(preset="gpt2").model, n_layer=2, n_head=2, n_embd=16, block_size=32), 60).eval()
    copy_gpt2(model, hf_model.state_dict())
    ids = torch.tensor([random_ids(32, 60)])
    with torch.no_grad():
        expected = hf_model(ids, labels=ids).loss.item()
    assert loss_of(model, ids[0].tolist()) / 31 == pytest.approx(expected, rel=1e-5)
