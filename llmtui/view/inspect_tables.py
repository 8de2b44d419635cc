"""Tables of the steps of generation: token ids, logits, probabilities, the sampled token. See
`core.sample.inspect_protocol`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from core.plural import plural
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

BAR_WIDTH = 16
"""Cells of a bar of probability 1."""
INDENT = 3
"""Cells left of everything below a heading."""
MAX_TOKENS = 16
"""Prompt tokens listed at most: the last ones."""
MAX_CHARACTERS = 40
"""Characters of the text shown at most: the last ones."""
MASKED = "▒▒▒"
NOT_FINITE = "–"
"""Shown for infinite and NaN values."""
PROCESSOR_HEADINGS = {
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
"""Column headings of softmax and the logits processors."""


def token_label(token: TokenInfo, limit: int = 16) -> str:
    """A token of at most `limit` characters: text in quotes, special tokens as their name, other bytes in
    hexadecimal."""
    if token.kind == "hidden":
        return MASKED
    if token.kind == "gap":
        return "(unused)"
    if token.kind == "bytes":
        text = f"bytes {_hex_pairs(token)}"
    else:
        text = shown(token.text) if token.kind == "mark" else repr(token.text)
    return text[: limit - 1] + "…" if len(text) > limit else text + "…" * token.cut


def _hex_pairs(token: TokenInfo) -> str:
    return " ".join(token.bytes[start : start + 2] for start in range(0, len(token.bytes), 2))


def decimal(value: FiniteFloat) -> str:
    return NOT_FINITE if value is None else f"{value:.2f}"


def percent(value: FiniteFloat) -> str:
    """A probability: `61.2%`."""
    return NOT_FINITE if value is None else "<0.1%" if 0 < value < 0.001 else f"{value:.1%}"


def bar(value: FiniteFloat, cells: int = BAR_WIDTH) -> str:
    """A bar for a number from 0 to 1, in eighths of a cell."""
    eighths = 0 if value is None else round(8 * cells * min(1.0, value))
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def aligned_table(rows: Rows, left: Sequence[int] = ()) -> str:
    """A table below a heading. Columns are right-aligned, except those with their index in `left`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [
        tuple(
            cell if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return textwrap.indent(table(cells), " " * INDENT)


def section_heading(title: str, explanation: str, width: int) -> str:
    """A heading and an explanation below it."""
    lines = textwrap.wrap(explanation, min(width, 100) - INDENT)
    return "\n".join([title, *(" " * INDENT + line for line in lines)]) + "\n"


def tokens_table(result: PromptTokens) -> str:
    """Step 1; the last tokens of a long prompt."""
    listed = list(enumerate(result.tokens, result.first))[-MAX_TOKENS:]
    rows: Rows = [("POSITION", "TOKEN", "ID", "BYTES")]
    rows += [
        (str(position), token_label(token, 24), str(token.id), _truncate(_hex_pairs(token), 24))
        for position, token in listed
    ]
    return aligned_table(rows, left=(1, 3))


def _truncate(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def logits_table(result: LogitsMatrix) -> str:
    """Step 2."""
    rows: Rows = [("POSITION", "TOKEN", *_columns(result.columns))]
    before = 0
    for row in result.rows:
        if row.position > before + 1:
            rows.append(("…", "", *("…" for _ in rows[0][2:])))
        rows.append((str(row.position), token_label(row.token), *_logits(result.columns, row.logits)))
        before = row.position
    return aligned_table(rows, left=(1,))


def last_logits_table(result: LastLogits) -> str:
    """Step 3."""
    return aligned_table([_columns(result.columns), _logits(result.columns, result.logits)])


def _columns(columns: Sequence[int]) -> tuple[str, ...]:
    """Token ids as column headings, with an ellipsis where some are left out."""
    return _with_gap(columns, [f"{'' if index else 'ID '}{column:,}" for index, column in enumerate(columns)])


def _logits(columns: Sequence[int], logits: Sequence[FiniteFloat]) -> tuple[str, ...]:
    return _with_gap(columns, [decimal(logit) for logit in logits])


def _with_gap(columns: Sequence[int], cells: list[str]) -> tuple[str, ...]:
    if len(columns) > 1 and columns[-1] > columns[-2] + 1:
        return (*cells[:-1], "…", cells[-1])
    return tuple(cells)


def probability_tables(result: TokenProbabilities, taken: int, width: int) -> Iterator[str]:
    """Step 4: as many columns side by side as fit `width`, the others in further tables. taken: id of the sampled
    token."""
    tokens = [token_label(candidate.token) for candidate in result.candidates]
    columns: list[list[str]] = [["LOGIT", *(decimal(candidate.logit) for candidate in result.candidates), ""]]
    for index, processor in enumerate(result.processors):
        probabilities = [candidate.probabilities[index] for candidate in result.candidates]
        cells = ["filtered" if each is None else percent(each) for each in probabilities]
        columns.append([_processor_heading(processor.name, processor.value), *cells, f"{processor.remaining:,}"])
    last = [candidate.probabilities[-1] or 0.0 for candidate in result.candidates]
    side = max(map(len, tokens)) + INDENT
    for group in _column_groups(columns, width - side - BAR_WIDTH - 12):
        bars = [""] * len(tokens)
        if group[-1] is columns[-1]:
            bars = [
                " ".join(filter(None, (bar(each), "◀ sampled" if candidate.token.id == taken else "")))
                for each, candidate in zip(last, result.candidates, strict=True)
            ]
        rows = list(zip(["TOKEN", *tokens, "left"], *group, ["", *bars, "tokens"], strict=True))
        yield aligned_table(rows, left=(0, len(group) + 1))


def _column_groups(columns: list[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Groups of columns that fit `width` cells, at least one column in each."""
    group: list[list[str]] = []
    for column in columns:
        if group and sum(2 + max(map(len, each)) for each in (*group, column)) > width:
            yield group
            group = []
        group.append(column)
    yield group


def _processor_heading(name: str, value: FiniteFloat) -> str:
    return PROCESSOR_HEADINGS.get(name, name) + ("" if value is None else f" {value:g}")


def sampled_token_text(result: SampledToken, among: TokenProbabilities) -> str:
    """Step 5, and the most probable other tokens."""
    greedy = among.processors[-1].value == 0 and among.processors[-1].name == "temperature"
    others = [candidate for candidate in among.candidates if candidate.token.id != result.token.id]
    column = 0 if greedy else -1
    alternatives = [
        f"{token_label(candidate.token)} {percent(candidate.probabilities[column])}"
        for candidate in others
        if candidate.probabilities[column] is not None
    ]

    lines = [
        f"{token_label(result.token, 30)}, ID {result.token.id:,}"
        + ("" if greedy else f", sampled with probability {percent(result.probability)}"),
        f"before processing {percent(result.before)}: rank {result.rank:,}, surprisal {result.surprise:.2f} bits",
        f"next most probable: {', '.join(alternatives[:2])}" if alternatives else "all other tokens were filtered out",
    ]
    return textwrap.indent("\n".join(lines), " " * INDENT)


END_REASONS = {
    "end": "the text ends here, with an end-of-text token or a stop token",
    "stop": "the text ends here, with a stop string",
}


def appended_token_text(result: AppendedToken, tokens: Sequence[TokenInfo]) -> str:
    """Step 6. tokens: all known tokens, including the new one."""
    decoded = _truncate(repr(result.text), MAX_CHARACTERS)
    if not result.text:
        decoded = "no whole character yet" if result.reason is None else "no text"
    text = repr(b"".join(bytes.fromhex(token.bytes) for token in tokens[-MAX_CHARACTERS:]).decode("utf-8", "replace"))
    end = text if len(text) <= MAX_CHARACTERS else "…" + text[-MAX_CHARACTERS:]
    lines = [
        f"ID {result.token.id:,} → {decoded}",
        f"context: {plural(result.length, 'token')}, ending in {end}",
    ]
    if result.reason in END_REASONS:
        lines.append(END_REASONS[result.reason])
    return textwrap.indent("\n".join(lines), " " * INDENT)
