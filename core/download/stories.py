"""Synthetic stories generated from a seed, a corpus with a known entropy.

They come from a grammar (`story_words.toml`, `story_plots.toml`; syntax in grammar.py). Each choice can be read off the
text and costs a whole number of bits, so the probability of each story and the entropy of the source are known exactly:
no model can have a lower mean loss on unseen stories, and a lower loss means that test stories were in the training
text. Story `number` of a seed is a pure function of the two, the same on every machine.

The probability of a story includes its end: no story is a prefix of another, so that the end-of-text token is certain
after a complete story, and the lower bound of the loss is the same with and without that token.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from hashlib import shake_128
from importlib.resources import files
from typing import Any

from core.download.grammar import Grammar
from core.download.grammar_expectations import mean_bits, mean_bytes
from core.download.grammar_generate import TextGenerator, derivation_bits
from core.download.source_reader import SourceBatch
from core.events import Event
from core.recipe.schema import Source
from core.storage.artifact import Facts, fingerprint
from core.storage.documents import DocumentPart, batch_of

FORMAT = 1
"""Format version: changes when the same grammar and seed give other stories."""
BYTES = 16 * 2**20
"""Bytes generated if the recipe sets no limit."""
_BATCH = 2**19
"""Bytes."""


def story(seed: int, number: int) -> str:
    """Story `number` of `seed`: about 1,000 to 1,500 ASCII characters in paragraphs, one newline at the end."""
    generator = _text_generator()
    return generator.generate(shake_128(f"{seed}/{number}".encode()).digest(generator.max_random_bytes))


def log2_probability(text: str) -> float:
    """log2 of the probability that a story is exactly `text`, a negative whole number; -inf if it is impossible.

    Parses the text, independently of how stories are generated.
    """
    for bits in derivation_bits(grammar(), text):
        return -float(bits)  # the derivation is unique
    return -math.inf


def entropy() -> float:
    """Entropy of a story in bits."""
    return float(_means()[0])


def expected_bytes() -> float:
    """Expected length of a story in UTF-8."""
    return float(_means()[1])


def bits_per_byte() -> float:
    """Entropy per byte: the lower bound of the loss of any model on unseen stories."""
    bits, size = _means()
    return float(bits / size)


@cache
def grammar() -> Grammar:
    """The grammar of the stories."""
    words, plots = _tables()
    return Grammar(words["rules"] | plots["rules"], words["forms"])


def grammar_fingerprint() -> str:
    """The fingerprint of the grammar, the same on every machine and Python version."""
    return fingerprint(FORMAT, *_tables())


class Stories:
    """As many complete stories as the recipe's limits allow, at least one."""

    def __init__(self, recipe: Source) -> None:
        self._seed = recipe.seed
        self._documents = recipe.max_documents or math.inf
        self._bytes = recipe.max_bytes or (math.inf if recipe.max_documents else BYTES)
        self.total: float | None = min(self._bytes, self._documents * expected_bytes())
        self.facts: Facts = {"entropy_bits_per_byte": round(bits_per_byte(), 6)}

    def read(self, position: Facts) -> Iterator[SourceBatch | Event]:
        """See `SourceReader.read`."""
        number, size = int(position.get("story", 0)), int(position.get("told", 0))
        for parts in self._batches(number, size):
            number += len(parts)
            size += sum(len(part.text.encode()) for part in parts)
            yield SourceBatch(batch_of(parts), size, {"story": number, "told": size})

    def _batches(self, number: int, size: int) -> Iterator[list[DocumentPart]]:
        """Stories from `number` on. size: bytes of those before."""
        parts: list[DocumentPart] = []
        batch_size = 0
        while number < self._documents:
            text = story(self._seed, number)
            size += len(text.encode())
            if size > self._bytes and number:
                break
            parts.append(DocumentPart(f"story-{number:07d}", 0, text))
            number, batch_size = number + 1, batch_size + len(text)
            if batch_size >= _BATCH:
                yield parts
                parts, batch_size = [], 0
        if parts:
            yield parts


@cache
def _tables() -> tuple[dict[str, Any], ...]:
    names = ("story_words.toml", "story_plots.toml")
    return tuple(tomllib.loads(files("core.download").joinpath(name).read_text("utf-8")) for name in names)


@cache
def _means() -> tuple[Fraction, Fraction]:
    """Mean bits and bytes of a story."""
    return mean_bits(grammar()), mean_bytes(grammar())


@cache
def _text_generator() -> TextGenerator:
    return TextGenerator(grammar())
