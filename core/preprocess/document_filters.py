"""Cleaning steps that remove documents: measures, which add up over the parts of a document, and criteria."""

from __future__ import annotations

import re
import unicodedata

from core.recipe.schema import Preprocess

Measure = tuple[int, int]

_SYMBOLS = re.compile(r"[^\w\s]+")
_TEXT = bytes(byte for byte in range(128) if chr(byte).isalnum() or chr(byte).isspace() or chr(byte) == "_")


def has_text(text: str) -> Measure:
    """(1 if the text has any character that is not white space, unused)."""
    return (0 if not text or text.isspace() else 1), 0


def count_characters(text: str) -> Measure:
    """(characters, unused)."""
    return len(text), 0


def count_symbols(text: str) -> Measure:
    """(characters that are neither letter, mark, digit nor space, all characters)."""
    if text.isascii():
        return len(text.encode().translate(None, _TEXT)), len(text)
    others = "".join(_SYMBOLS.findall(text))
    return sum(unicodedata.category(character)[0] != "M" for character in others), len(text)


def is_empty(measure: Measure, _recipe: Preprocess) -> bool:
    return not measure[0]


def is_too_short(measure: Measure, recipe: Preprocess) -> bool:
    return measure[0] < recipe.min_characters


def is_too_long(measure: Measure, recipe: Preprocess) -> bool:
    return measure[0] > recipe.max_characters


def is_not_text(measure: Measure, recipe: Preprocess) -> bool:
    others, characters = measure
    return characters - others < recipe.text_share * characters
