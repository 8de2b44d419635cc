"""Tokens and numbers as they are told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from core.sample.inspect_protocol import PIECE, Guess, Number, Token
from core.tokenize.vocabulary import Vocabulary


def number(value: float | Tensor) -> Number:
    """`value` as JSON knows it: None where it is not finite."""
    found = float(value)
    return found if math.isfinite(found) else None


def numbers(values: Tensor, digits: int | None = None) -> tuple[Number, ...]:
    """Those of `values` (n,); digits: so many behind the point."""
    found = (number(value) for value in values.tolist())
    return tuple(value if value is None or digits is None else round(value, digits) for value in found)


def told(vocabulary: Vocabulary, token: int, *, mask: int | None = None) -> Token:
    """What the id `token` stands for; mask: the id of a masked model's hidden places."""
    if token == mask:
        return Token(token, "hidden")
    if token >= vocabulary.size:
        return Token(token, "gap")
    content = vocabulary.decode_bytes([token])
    known, cut = content[:PIECE], len(content) > PIECE
    kind: Literal["text", "bytes", "mark"] = "mark" if token in vocabulary.special.values() else "text"
    if not content:
        return Token(token, "gap")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return Token(token, "bytes", "", known.hex(), cut)
    return Token(token, kind, known.decode("utf-8", "ignore") if cut else text, known.hex(), cut)


def ends(length: int, most: int, *, last: int) -> list[int]:
    """At most `most` of the places 0 to `length` - 1: the first ones and the `last` ones."""
    if length <= most:
        return list(range(length))
    last = min(last, most)
    return [*range(most - last), *range(length - last, length)]


def entropy(scores: Tensor) -> Number:
    """Bits of the draw that softmax makes of `scores` (n,)."""
    logs = torch.log_softmax(scores, -1)
    # what is impossible adds nothing
    bits = -float(torch.nansum(logs.exp() * logs)) / math.log(2)
    return None if bool(torch.isnan(logs).any()) else number(max(0.0, bits))


def rank(scores: Tensor, token: int) -> int:
    """How many of `scores` (V,) are above that of `token`, and one: 1 is the likeliest."""
    return 1 + int((scores > scores[token]).sum())


def guesses(vocabulary: Vocabulary, scores: Tensor, most: int) -> Iterator[Guess]:
    """The likeliest tokens by `scores` (V,), likeliest first; none where there is a NaN among them."""
    if bool(torch.isnan(scores).any()):
        return
    probabilities = torch.softmax(scores, -1)
    best = torch.topk(probabilities, min(most, len(scores)))
    for probability, token in zip(best.values, best.indices.tolist(), strict=True):
        yield Guess(told(vocabulary, token), number(probability))
