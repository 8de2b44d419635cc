"""A document of a preview as lines, with what the cleaning changes."""

from __future__ import annotations

from core.events import Excerpt
from llmtui.view.lines import Line, Span, wrapped
from llmtui.view.sanitize import shown
from llmtui.view.word_diff import differences

LETTERS = 1_500
"""Characters shown of a document."""

_MARKS = {
    "before": ("[-", "-]", "bad"),
    "after": ("{+", "+}", "good"),
    "both": ("", "", ""),
    "…": (" […", "…] ", "dim"),
}


def excerpt_lines(excerpt: Excerpt, number: int, cells: int) -> list[Line]:
    """The name of a document and what happened to it, then its text: removed in [-brackets-], added in {+braces+}."""
    changed = f"changed by {', '.join(excerpt.changed_by)}" if excerpt.changed_by else "unchanged"
    what = f"removed by {excerpt.removed_by}" if excerpt.removed_by else changed
    head: Line = [(f"{number}  ", "dim"), (shown(excerpt.name, 200), "title"), (f"  {shown(what, 200)}", "dim")]
    if excerpt.before == excerpt.after or excerpt.removed_by or not excerpt.changed_by:
        text: Line = [(shown(excerpt.before.rstrip(), LETTERS, lines=True), "")]
    else:
        text = [
            _marked(span.kind, span.text) for span in differences(excerpt.before[:LETTERS], excerpt.after[:LETTERS])
        ]
    start: Line = [("… ", "dim")] if excerpt.start else []
    end: Line = [] if excerpt.whole else [(" …", "dim")]
    return [*wrapped(head, cells), *wrapped([*start, *text, *end], cells)]


def _marked(kind: str, text: str) -> Span:
    opening, closing, role = _MARKS[kind]
    return f"{opening}{shown(text, lines=True)}{closing}", role
