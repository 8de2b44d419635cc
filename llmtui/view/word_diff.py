"""Word-by-word diff of two versions of a text."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from core.events import Excerpt
from core.plural import plural

_WORD = re.compile(r"\w+|\s|[^\w\s]")
CONTEXT = 60
"""Characters of unchanged text kept on each side of a change."""


class DiffSpan(NamedTuple):
    """Text that is in both versions, only before or only after; kind "…": a note about text that is left out."""

    kind: Literal["both", "before", "after", "…"]
    text: str


def differences(before: str, after: str) -> list[DiffSpan]:
    """The diff of `before` and `after` in order, with long unchanged spans shortened.

    Takes quadratic time: meant for excerpts of a few thousand characters.
    """
    old, new = _WORD.findall(before), _WORD.findall(after)
    spans: list[DiffSpan] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            spans.append(DiffSpan("both", "".join(old[a:b])))
            continue
        if b > a:
            spans.append(DiffSpan("before", "".join(old[a:b])))
        if d > c:
            spans.append(DiffSpan("after", "".join(new[c:d])))
    return [
        part for number, span in enumerate(spans) for part in _shortened(span, number == 0, number == len(spans) - 1)
    ]


def excerpt_spans(excerpt: Excerpt, limit: int | None = None) -> list[DiffSpan]:
    """The differences of an excerpt, or the beginning of the text if it is unchanged; "…" where the document continues.

    limit: characters of an unchanged text.
    """
    if excerpt.before == excerpt.after or not (excerpt.changed_by or excerpt.removed_by):
        text = excerpt.before[:limit].rstrip()
        whole = excerpt.whole and len(text) >= len(excerpt.before.rstrip())
        return [DiffSpan("both", text if whole else f"{text} …")]
    spans = differences(excerpt.before, excerpt.after)
    while not excerpt.whole and len(spans) > 1 and spans[-1].kind != "both":
        spans.pop()  # the other text may have this after the end of the excerpt
    before = [DiffSpan("both", "… ")] if excerpt.start and spans[0].kind != "…" else []
    return [*before, *spans, *([] if excerpt.whole else [DiffSpan("both", " …")])]


def _shortened(span: DiffSpan, first: bool, last: bool) -> Iterator[DiffSpan]:
    """An unchanged span with CONTEXT characters next to each change; other spans as they are.

    first, last: whether it is the first or last span, which has a change on one side only.
    """
    text = span.text
    kept = CONTEXT * (1 if first or last else 2)
    if span.kind != "both" or len(text) <= kept + 20:
        yield span
        return
    if not first:
        yield DiffSpan("both", text[:CONTEXT])
    yield DiffSpan("…", f"{plural(len(text) - kept, 'character')} the same")
    if not last:
        yield DiffSpan("both", text[-CONTEXT:])
