"""What is seen of a model at work, as text for people: see `core.sample.inspect_protocol`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from core.plural import plural, verb
from core.sample.inspect_protocol import (
    AppendedToken,
    FiniteFloat,
    LastLogits,
    LogitsMatrix,
    PromptTokens,
    SampledToken,
    TokenInfo,
    TokenProbabilities,
)
from llmtui.view.sanitize import shown
from llmtui.view.table import table

Rows = list[tuple[str, ...]]

BAR = 16
"""Cells of the longest bar."""
EDGE = 3
"""Columns to the left of everything below a heading."""
TOKENS_SHOWN = 16
"""Of a prompt so many are listed at most, the last ones."""
TEXT_SHOWN = 40
"""Characters of the text that are repeated at most, the last ones."""
HIDDEN = "▒▒▒"
NO_FIGURE = "–"
"""Stands where a number is not finite."""
NAMES = {
    "softmax": "SOFTMAX",
    "logit_bias": "BIAS",
    "repetition_penalty": "REPETITION",
    "presence_penalty": "PRESENCE",
    "frequency_penalty": "FREQUENCY",
    "temperature": "T",
    "top_k": "TOP-K",
    "top_p": "TOP-P",
    "min_p": "MIN-P",
    "typical_p": "TYPICAL",
}
"""Of the links of the chain, short enough for the head of a column."""


def named(token: TokenInfo, limit: int = 16) -> str:
    """A token in quotes; what is no text as what it is."""
    if token.kind == "hidden":
        return HIDDEN
    if token.kind == "gap":
        return "(nothing)"
    if token.kind == "bytes":
        text = f"bytes {_pairs(token)}"
    else:
        text = shown(token.text) if token.kind == "mark" else repr(token.text)
    return text[: limit - 1] + "…" if len(text) > limit else text + "…" * token.cut


def _pairs(token: TokenInfo) -> str:
    return " ".join(token.bytes[start : start + 2] for start in range(0, len(token.bytes), 2))


def number(value: FiniteFloat) -> str:
    return NO_FIGURE if value is None else f"{value:.2f}"


def share(value: FiniteFloat) -> str:
    """A probability: `61.2%`."""
    return NO_FIGURE if value is None else "<0.1%" if 0 < value < 0.001 else f"{value:.1%}"


def bar(value: FiniteFloat, cells: int = BAR) -> str:
    """A bar for a number from 0 to 1, in eighths of a cell."""
    eighths = 0 if value is None else round(8 * cells * min(1.0, value))
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def figures(rows: Rows, left: Sequence[int] = ()) -> str:
    """A table below a heading: columns of figures end in line, those in `left` begin in line."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        tuple(
            cell if at in left else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return textwrap.indent(table(cells), " " * EDGE)


def explained(title: str, words: str, width: int) -> str:
    """A heading and a sentence or two below it."""
    lines = textwrap.wrap(words, min(width, 100) - EDGE)
    return "\n".join([title, *(" " * EDGE + line for line in lines)]) + "\n"


def tokens_table(seen: PromptTokens) -> str:
    """Step 1; of a long prompt the end."""
    listed = list(enumerate(seen.tokens, seen.first))[-TOKENS_SHOWN:]
    rows: Rows = [("PLACE", "TOKEN", "ID", "BYTES")]
    rows += [(str(place), named(token, 24), str(token.id), _cut(_pairs(token), 24)) for place, token in listed]
    return figures(rows, left=(1, 3))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def outputs_table(seen: LogitsMatrix) -> str:
    """Step 2."""
    rows: Rows = [("PLACE", "TOKEN", *_columns(seen.columns))]
    before = 0
    for row in seen.rows:
        if row.position > before + 1:
            rows.append(("…", "", *("…" for _ in rows[0][2:])))
        rows.append((str(row.position), named(row.token), *_scores(seen.columns, row.logits)))
        before = row.position
    return figures(rows, left=(1,))


def last_row_table(seen: LastLogits) -> str:
    """Step 3."""
    return figures([_columns(seen.columns), _scores(seen.columns, seen.logits)])


def _columns(columns: Sequence[int]) -> tuple[str, ...]:
    """The ids at the head, with a gap where some are left out."""
    return _with_gap(columns, [f"{'' if at else 'ID '}{column:,}" for at, column in enumerate(columns)])


def _scores(columns: Sequence[int], scores: Sequence[FiniteFloat]) -> tuple[str, ...]:
    return _with_gap(columns, [number(score) for score in scores])


def _with_gap(columns: Sequence[int], cells: list[str]) -> tuple[str, ...]:
    if len(columns) > 1 and columns[-1] > columns[-2] + 1:
        return (*cells[:-1], "…", cells[-1])
    return tuple(cells)


def probabilities_tables(seen: TokenProbabilities, taken: int, width: int) -> Iterator[str]:
    """Step 4: as many columns beside one another as there is room for, the others below. taken: the choice's id."""
    tokens = [named(candidate.token) for candidate in seen.candidates]
    columns: list[list[str]] = [["LOGIT", *(number(candidate.logit) for candidate in seen.candidates), ""]]
    for at, link in enumerate(seen.processors):
        found = [candidate.probabilities[at] for candidate in seen.candidates]
        cells = ["cut" if each is None else share(each) for each in found]
        columns.append([_head(link.name, link.value), *cells, f"{link.remaining:,}"])
    last = [candidate.probabilities[-1] or 0.0 for candidate in seen.candidates]
    side = max(map(len, tokens)) + EDGE
    for group in _beside(columns, width - side - BAR - 10):
        bars = [""] * len(tokens)
        if group[-1] is columns[-1]:
            bars = [
                " ".join(filter(None, (bar(each), "◀ taken" if candidate.token.id == taken else "")))
                for each, candidate in zip(last, seen.candidates, strict=True)
            ]
        rows = list(zip(["TOKEN", *tokens, "left"], *group, ["", *bars, "tokens"], strict=True))
        yield figures(rows, left=(0, len(group) + 1))


def _beside(columns: list[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Columns in groups that fit `width`, at least one in each."""
    group: list[list[str]] = []
    for column in columns:
        if group and sum(2 + max(map(len, each)) for each in (*group, column)) > width:
            yield group
            group = []
        group.append(column)
    yield group


def _head(name: str, value: FiniteFloat) -> str:
    return NAMES.get(name, name) + ("" if value is None else f" {value:g}")


def choice_lines(seen: SampledToken, among: TokenProbabilities) -> str:
    """Step 5, and what could have been taken instead."""
    greedy = among.processors[-1].value == 0 and among.processors[-1].name == "temperature"
    others = [candidate for candidate in among.candidates if candidate.token.id != seen.token.id]
    column = 0 if greedy else -1
    left = [
        f"{named(candidate.token)} {share(candidate.probabilities[column])}"
        for candidate in others
        if candidate.probabilities[column] is not None
    ]
    instead = "behind it come" if greedy else "it could also have been"
    lines = [
        f"{named(seen.token, 30)}, ID {seen.token.id:,}"
        + ("" if greedy else f", drawn with a probability of {share(seen.probability)}"),
        f"the model itself gives it {share(seen.before)}: rank {seen.rank:,}, a surprise of {seen.surprise:.2f} bits",
        f"{instead} {', '.join(left[:2])}" if left else "no other token was left in the draw",
    ]
    return textwrap.indent("\n".join(lines), " " * EDGE)


REASONS = {
    "end": "the text ends here, with an end-of-text mark or a stop token",
    "stop": "the text ends here, with a stop string",
}


def appended_lines(seen: AppendedToken, tokens: Sequence[TokenInfo]) -> str:
    """Step 6; tokens: all that are known, the new one included."""
    decoded = _cut(repr(seen.text), TEXT_SHOWN)
    if not seen.text:
        decoded = "no whole character yet" if seen.reason is None else "no text"
    text = repr(b"".join(bytes.fromhex(token.bytes) for token in tokens[-TEXT_SHOWN:]).decode("utf-8", "replace"))
    end = text if len(text) <= TEXT_SHOWN else "…" + text[-TEXT_SHOWN:]
    lines = [
        f"ID {seen.token.id:,} → {decoded}",
        f"{plural(seen.length, 'token')} by now, which {verb(seen.length, 'ends', 'end')} in {end}",
    ]
    if seen.reason in REASONS:
        lines.append(REASONS[seen.reason])
    return textwrap.indent("\n".join(lines), " " * EDGE)
