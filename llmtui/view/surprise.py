"""Surprise of generated tokens, -log2 p, as shades of their text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from llmtui.view.lines import Line
from llmtui.view.sanitize import visible

SHADES = ((1.0, "surprise-1"), (3.0, "surprise-2"), (6.0, "surprise-3"), (10.0, "surprise-4"))
"""Bits below which a token has the role; at or above the last it is `MOST`."""
MOST = "surprise-5"


def role_of(bits: float) -> str:
    """The role of a token of that surprise."""
    return next((role for limit, role in SHADES if bits < limit), MOST)


def shaded(text: str, surprise: Sequence[tuple[int, float]]) -> Line:
    """`text` with a role for each token. surprise: as in `AnswerInfo`, for the end of `text`."""
    excess = sum(characters for characters, _ in surprise) - len(text)
    spans: Line = [(visible(text[:-excess]), "")] if excess < 0 else []
    at = max(0, -excess)
    for characters, bits in surprise:
        if excess > 0:  # of a text whose start was not kept
            characters, excess = max(0, characters - excess), max(0, excess - characters)
        spans.append((visible(text[at : at + characters]), role_of(bits)))
        at += characters
    return [(part, role) for part, role in spans if part]


def legend() -> Line:
    """What the shades mean, each in its own."""
    limits = [f"{limit:g}" for limit, _ in SHADES]
    ranges = [f"<{limits[0]}", *(f"{low}–{high}" for low, high in pairwise(limits))]
    line: Line = [("bits of surprise", "dim")]
    for text, (_, role) in zip(ranges, SHADES, strict=True):
        line += [(" ", ""), (text, role)]
    return [*line, (" ", ""), (f">{limits[-1]}", MOST)]
