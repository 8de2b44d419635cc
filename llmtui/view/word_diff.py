"""Two versions of a text, and what differs between them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from core.plural import plural

_PIECE = re.compile(r"\w+|\s|[^\w\s]")
CONTEXT = 60
"""Characters of unchanged text kept on each side of a change."""


class Span(NamedTuple):
    """A stretch of text and where it stands: in both versions, only before, only after; "…": left out."""

    kind: Literal["both", "before", "after", "…"]
    text: str


def differences(before: str, after: str) -> list[Span]:
    """The spans that tell one version from the other, in order, long unchanged stretches shortened.

    Compares word by word: fit for excerpts of a few thousand characters, not for whole books.
    """
    old, new = _PIECE.findall(before), _PIECE.findall(after)
    spans: list[Span] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            spans.append(Span("both", "".join(old[a:b])))
            continue
        if b > a:
            spans.append(Span("before", "".join(old[a:b])))
        if d > c:
            spans.append(Span("after", "".join(new[c:d])))
    return [
        piece for number, span in enumerate(spans) for piece in _shortened(span, number == 0, number == len(spans) - 1)
    ]


def _shortened(span: Span, first: bool, last: bool) -> Iterator[Span]:
    """An unchanged stretch without its middle; at the ends of the text without what lies far from any change."""
    text = span.text
    kept = CONTEXT * (1 if first or last else 2)
    if span.kind != "both" or len(text) <= kept + 20:
        yield span
        return
    if not first:
        yield Span("both", text[:CONTEXT])
    yield Span("…", f"{plural(len(text) - kept, 'character')} the same")
    if not last:
        yield Span("both", text[-CONTEXT:])
