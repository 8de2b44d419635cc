"""Tokens and numbers as messages, and statistics of logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from core.sample.inspect_protocol import MAX_TOKEN_BYTES, FiniteFloat, PredictedToken, TokenInfo
from core.tokenize.vocabulary import Vocabulary


def finite_or_none(value: float | Tensor) -> FiniteFloat:
    """`value`; None if it is not finite, which JSON cannot represent."""
    number = float(value)
    return number if math.isfinite(number) else None


def finite_floats(values: Tensor, digits: int | None = None) -> tuple[FiniteFloat, ...]:
    """`values` (n,), rounded to `digits` decimal places."""
    numbers = (finite_or_none(value) for value in values.tolist())
    return tuple(number if number is None or digits is None else round(number, digits) for number in numbers)


def token_info(vocabulary: Vocabulary, token: int, *, mask: int | None = None) -> TokenInfo:
    """What the id `token` decodes to. mask: the id of a masked model's mask token."""
    if token == mask:
        return TokenInfo(token, "hidden")
    if token >= vocabulary.size:
        return TokenInfo(token, "gap")
    content = vocabulary.decode_bytes([token])
    shown, cut = content[:MAX_TOKEN_BYTES], len(content) > MAX_TOKEN_BYTES
    kind: Literal["text", "bytes", "mark"] = "mark" if token in vocabulary.special.values() else "text"
    if not content:
        return TokenInfo(token, "gap")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return TokenInfo(token, "bytes", "", shown.hex(), cut)
    return TokenInfo(token, kind, shown.decode("utf-8", "ignore") if cut else text, shown.hex(), cut)


def head_and_tail(length: int, limit: int, *, tail: int) -> list[int]:
    """At most `limit` of the indices 0 to `length` - 1: the first ones and the last `tail` ones."""
    if length <= limit:
        return list(range(length))
    tail = min(tail, limit)
    return [*range(limit - tail), *range(length - tail, length)]


def entropy(logits: Tensor) -> FiniteFloat:
    """Entropy of softmax(logits) in bits; logits: (n,)."""
    log_probabilities = torch.log_softmax(logits, -1)
    # nansum: 0 · -inf for impossible tokens
    bits = -float(torch.nansum(log_probabilities.exp() * log_probabilities)) / math.log(2)
    return None if bool(torch.isnan(log_probabilities).any()) else finite_or_none(max(0.0, bits))


def rank(logits: Tensor, token: int) -> int:
    """Rank of `token` among `logits` (V,): 1 is the most likely."""
    return 1 + int((logits > logits[token]).sum())


def top_tokens(vocabulary: Vocabulary, logits: Tensor, count: int) -> Iterator[PredictedToken]:
    """The `count` most likely tokens by `logits` (V,), most likely first; none if a logit is NaN."""
    if bool(torch.isnan(logits).any()):
        return
    probabilities = torch.softmax(logits, -1)
    best = torch.topk(probabilities, min(count, len(logits)))
    for probability, token in zip(best.values, best.indices.tolist(), strict=True):
        yield PredictedToken(token_info(vocabulary, token), finite_or_none(probability))
