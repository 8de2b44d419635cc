"""Synthetic stories generated from a seed, a corpus with a known entropy.

They come from a grammar written for this project (`story_words.toml`, `story_plots.toml`; grammar.py says how). Every
choice shows in the text and every choice costs a whole number of bits, so each story's probability is known exactly,
and so is the entropy of the source: no model can need fewer bits in the mean over unseen stories. One that seems to
has seen what it is tested on. Story `number` of a seed is a pure function of the two, the same on every machine.

The probability of a story includes that it ends: nothing that the grammar tells begins another story of it, so where
the text has come to its end, an end-of-text mark is certain. The floor is therefore the same with and without the mark;
a model that is asked for the mark pays what it does not know about that.
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
from core.download.grammar_generate import Teller, derivations
from core.download.source_reader import SourceBatch
from core.events import Event
from core.recipe.schema import Source
from core.storage.artifact import Facts, fingerprint
from core.storage.documents import DocumentPart, batch_of

FORMAT = 1
"""Changes when the same grammar and seed would give other stories."""
BYTES = 16 * 2**20
"""Bytes generated if the recipe sets no limit."""
_BATCH = 2**19


def story(seed: int, number: int) -> str:
    """Story `number` of `seed`: some 1,000 to 1,500 ASCII characters in paragraphs, one newline at the end."""
    teller = _teller()
    return teller.tell(shake_128(f"{seed}/{number}".encode()).digest(teller.draws))


def log2_probability(text: str) -> float:
    """log2 of the probability that a story is exactly `text`: a negative whole number; -inf where none can be.

    Parses the text, independently of how stories are generated.
    """
    for bits in derivations(grammar(), text):
        return -float(bits)  # there is no second way to tell it
    return -math.inf


def entropy() -> float:
    """Of one story in bits: what a perfect model needs in the mean."""
    return float(_means()[0])


def expected_bytes() -> float:
    """The expected length of a story in UTF-8."""
    return float(_means()[1])


def bits_per_byte() -> float:
    """Entropy by length: the floor for the loss of any model on stories it has not seen."""
    bits, size = _means()
    return float(bits / size)


@cache
def grammar() -> Grammar:
    """The rules of the stories."""
    words, plots = _tables()
    return Grammar(words["rules"] | plots["rules"], words["forms"])


def grammar_fingerprint() -> str:
    """A fingerprint of the grammar, whatever machine and Python it is read with."""
    return fingerprint(FORMAT, *_tables())


class Stories:
    """As many stories as the recipe says, the first one always whole."""

    def __init__(self, recipe: Source) -> None:
        self._seed = recipe.seed
        self._documents = recipe.max_documents or math.inf
        self._bytes = recipe.max_bytes or (math.inf if recipe.max_documents else BYTES)
        self.total: float | None = min(self._bytes, self._documents * expected_bytes())
        self.facts: Facts = {"entropy_bits_per_byte": round(bits_per_byte(), 6)}

    def read(self, position: Facts) -> Iterator[SourceBatch | Event]:
        """See `SourceReader.read`."""
        number, told = int(position.get("story", 0)), int(position.get("told", 0))
        for parts in self._batches(number, told):
            number += len(parts)
            told += sum(len(part.text.encode()) for part in parts)
            yield SourceBatch(batch_of(parts), told, {"story": number, "told": told})

    def _batches(self, number: int, told: int) -> Iterator[list[DocumentPart]]:
        parts: list[DocumentPart] = []
        held = 0
        while number < self._documents:
            text = story(self._seed, number)
            told += len(text.encode())
            if told > self._bytes and number:
                break
            parts.append(DocumentPart(f"story-{number:07d}", 0, text))
            number, held = number + 1, held + len(text)
            if held >= _BATCH:
                yield parts
                parts, held = [], 0
        if parts:
            yield parts


@cache
def _tables() -> tuple[dict[str, Any], ...]:
    names = ("story_words.toml", "story_plots.toml")
    return tuple(tomllib.loads(files("core.download").joinpath(name).read_text("utf-8")) for name in names)


@cache
def _means() -> tuple[Fraction, Fraction]:
    """Bits and bytes of a story."""
    return mean_bits(grammar()), mean_bytes(grammar())


@cache
def _teller() -> Teller:
    return Teller(grammar())
