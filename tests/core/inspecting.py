"""Small random models of several shapes, and plain implementations of the figures of inspection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
import torch

from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample.inspect.prompt import inspect_prompt
from core.sample.inspect_protocol import (
    AnyInspectResult,
    InspectOptions,
    InspectResult,
)
from core.tokenize.bpe import train_bpe
from core.tokenize.vocabulary import Vocabulary
from tests.core.generating import settings

BYTES = train_bpe(iter(["a"]), 257)
"""256 bytes and an end-of-text token."""
TEXT = list(b"abracadabra")

GPT2 = {"positions": "learned", "norm": "layer", "activation": "gelu", "qk_norm": False, "bias": True}
SHAPES: dict[str, dict[str, Any]] = {
    "modern": {"n_kv_head": 2},
    "gpt2": {**GPT2, "tie_embeddings": True},
    "rotary, not normed": {"qk_norm": False, "n_kv_head": 1, "qkv_bias": True, "activation": "swiglu"},
    "masked": {"objective": "masked", "n_kv_head": 2},
    "masked gpt2": {**GPT2, "objective": "masked", "pad_vocabulary_multiple": 64},
}
each_shape = pytest.mark.parametrize("name", SHAPES)
each_objective = pytest.mark.parametrize("name", ["modern", "masked"])

S = TypeVar("S", bound=InspectResult)


def model_of(name: str = "modern", **other: Any) -> GPT:
    """A model with random weights, including norms and biases, of a size that affects all results."""
    shape = {"n_layer": 3, "n_head": 4, "n_embd": 32, "block_size": 16, "dropout": 0.5, **SHAPES[name], **other}
    torch.manual_seed(3)
    model = GPT(Model(**shape), BYTES.size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4).add_(0.3 if parameter.dim() == 1 else 0.0)
    return model


def inspect_results(
    model: GPT,
    prompt: Sequence[int] = TEXT,
    sampling: Sampling | None = None,
    vocabulary: Vocabulary = BYTES,
    **view: Any,
) -> list[AnyInspectResult]:
    results = inspect_prompt(model, vocabulary, prompt, sampling or settings(tokens=1), InspectOptions(**view))
    return [result for result in results if result is not None]


def of_type(kind: type[S], results: Sequence[AnyInspectResult]) -> list[S]:
    return [result for result in results if isinstance(result, kind)]


def softmax(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / math.fsum(powers) for power in powers]


def bits(probabilities: Sequence[float]) -> float:
    return -math.fsum(p * math.log2(p) for p in probabilities if p)


@torch.no_grad()
def logits_at(model: GPT, ids: Sequence[int], position: int = -1) -> list[float]:
    results: list[float] = model(torch.tensor([list(ids)]))[0, position].tolist()
    return results
