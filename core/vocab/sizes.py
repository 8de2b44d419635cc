"""The expected size of a vocabulary before it exists."""

from __future__ import annotations

from typing import NamedTuple

from core.recipe.schema import Tokenize

PUBLISHED = {
    "gpt2": 50_257,
    "r50k_base": 50_257,
    "p50k_base": 50_281,
    "p50k_edit": 50_284,
    "cl100k_base": 100_277,
    "o200k_base": 200_019,
    "o200k_harmony": 201_088,
}
"""Sizes of tiktoken's encodings, including special tokens."""

BYTES = 257
"""256, and the end-of-text token."""


class ExpectedSize(NamedTuple):
    entries: int
    unsure: str
    """Why the number is an estimate; empty if it is exact."""


def expected_size(recipe: Tokenize) -> ExpectedSize:
    """Number of entries that `recipe` will give, exact or estimated without its corpus."""
    if recipe.vocabulary == "bpe":
        return ExpectedSize(recipe.size, "a small corpus may make fewer")
    if recipe.vocabulary == "characters":
        return ExpectedSize(
            BYTES, "an estimate: one more for each character beyond ASCII, known when the corpus is read"
        )
    return ExpectedSize(PUBLISHED.get(recipe.vocabulary, BYTES), "")
