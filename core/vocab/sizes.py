"""How many entries a vocabulary will have, before there is one."""

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
"""Of tiktoken's, the end-of-text mark and other special tokens included."""

BYTES = 257
"""256, and the end-of-text mark."""


class Expected(NamedTuple):
    entries: int
    unsure: str
    """Why that is an estimate; empty where it is known."""


def expected(recipe: Tokenize) -> Expected:
    """What `recipe` will come to, as far as that can be known without its corpus."""
    if recipe.vocabulary == "bpe":
        return Expected(recipe.size, "a small corpus may make fewer")
    if recipe.vocabulary == "characters":
        return Expected(BYTES, "an estimate: one more for each character beyond ASCII, known when the corpus is read")
    return Expected(PUBLISHED.get(recipe.vocabulary, BYTES), "")
