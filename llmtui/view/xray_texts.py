"""The loss of a text under two checkpoints, the steps of a masked model, and the branches of a text, as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.plural import plural
from core.sample.inspect_protocol import TokenInfo
from core.sample.protocol import DenoisingState
from llmtui.view.lines import Line, clip, cut, wrap, wrapped
from llmtui.view.sanitize import shown, visible
from llmtui.view.token_grid import GridToken
from llmtui.view.unmask import styled
from llmtui.view.xray_tokens import token_chip, token_rows

_CLEAR_BITS = 0.5
"""Differences from which a token is shaded."""


def difference_lines(
    tokens: Sequence[TokenInfo],
    first: Sequence[float],
    second: Sequence[float],
    names: tuple[str, str],
    cursor: int,
    cells: int,
    rows: int,
) -> list[Line]:
    """Each token with the loss under the second checkpoint minus that under the first, in bits.

    first, second: nats, for as many tokens as are known. names: of the checkpoints.
    """
    known = min(len(first), len(second))
    differences = [(b - a) / math.log(2) for a, b in zip(first, second, strict=False)]
    lines: list[Line] = []
    for name, nats in zip(names, (first, second), strict=True):
        if nats:
            mean = sum(nats) / len(nats) / math.log(2)
            lines.append([(shown(name), "bold"), (f"  {mean:.3f} bits per token over {len(nats):,}", "")])
        else:
            lines.append([(shown(name), "bold"), ("  scoring …", "dim")])
    if known:
        mean = sum(differences) / known
        better = "better" if mean < 0 else "worse"
        lines.append(
            [(f"{shown(names[1])} is {better} by {abs(mean):.3f} bits per token", "good" if mean < 0 else "bad")]
        )
        lines += [[(part, "dim")] for part in wrap(_LEGEND, cells)] if rows > 12 else []
        at = max(0, min(cursor, known - 1))
        lines.append(
            [
                (f"token {at + 1:,} of {known:,} ", "dim"),
                (token_chip(tokens[at]), "cursor"),
                (f"  {first[at] / math.log(2):.2f} → {second[at] / math.log(2):.2f} bits", ""),
            ]
        )
        shaded = [
            GridToken(token_chip(token), _difference_role(difference), _signed(difference))
            for token, difference in zip(tokens, differences, strict=False)
        ]
        lines += token_rows(shaded, cells, rows - len(lines), at)
    return [clip(line, cells) for line in lines[:rows]]


_LEGEND = (
    "Below each token: its loss under the second checkpoint minus that under the first, in bits. Negative is better."
)


def _signed(bits: float) -> str:
    return "0.0" if abs(bits) < 0.05 else f"{bits:+.1f}"


def _difference_role(bits: float) -> str:
    return "good" if bits <= -_CLEAR_BITS else "bad" if bits >= _CLEAR_BITS else ""


def denoising_lines(
    prompt: str, before: str, state: DenoisingState, step: int, total: int, mask_cells: int, cells: int, rows: int
) -> list[Line]:
    """The text after denoising step `step` of `total`, and the tokens that it unmasked with their probabilities."""
    masked = sum(span.masked for span in state.spans)
    explanation = (
        f"Step {step:,} of {total:,}: the model read all positions at once and unmasked"
        f" {plural(len(state.unmasked), 'position')}; {masked:,} are still masked (░)."
    )
    spans = [(visible(prompt), "dim"), (visible(before), ""), *styled(state.spans, mask_cells)]
    text = wrapped(spans, cells)
    table: list[Line] = [[("unmasked at this step, with the model's probability", "dim")]]
    for each in state.unmasked:
        share = f"{each.probability:.1%}"
        line: Line = [
            (f"position {each.position:>4} ", "dim"),
            (token_chip(each.token, 18), "accent"),
            (f" {share}", ""),
        ]
        table.append(line)
    lines: list[Line] = [[(part, "dim")] for part in wrap(explanation, cells)]
    room = max(1, rows - len(lines))
    kept = text[-max(1, room - min(len(table), room // 2) - 1) :]
    return [*lines, *kept, [], *table][:rows]


def film_lines(
    prompt: str, before: Sequence[str], states: Sequence[DenoisingState], step: int, cells: int, rows: int
) -> list[Line]:
    """The text after as many of the steps as have a row each, evenly spaced, with the present one; under a heading.

    before: the text before the spans of each state. Empty for fewer than five rows.
    """
    if rows < 5:
        return []
    count, total = min(rows - 2, len(states)), len(states)
    numbers = sorted({*(1 + round(n * (total - 1) / max(1, count - 2)) for n in range(count - 1)), step})
    lines: list[Line] = [[], [("step by step", "dim")]]
    for number in numbers[: rows - 2]:
        text = [(visible(prompt), "dim"), (visible(before[number - 1]), ""), *styled(states[number - 1].spans, 1)]
        flat: Line = [(" ".join(part.splitlines()), role) for part, role in text]
        lines.append(clip([(f"{number:>5}  ", "accent" if number == step else "dim"), *flat], cells))
    return lines


def tree_lines(branches: Sequence[tuple[int, int, str]], current: int, cells: int) -> list[tuple[int, str, str]]:
    """The branches of a text as a tree, depth first: index, a line of at most `cells` cells, role.

    branches: for each its parent's index, the number of the token where it leaves it, and its text from there on.
    """
    lines: list[tuple[int, str, str]] = []

    def add(index: int, depth: int) -> None:
        _, start, text = branches[index]
        mark = "●" if index == current else "○"
        origin = "" if depth == 0 else "  " * (depth - 1) + "└ "
        place = "the reply" if depth == 0 else f"from token {start}"
        lines.append(
            (index, cut(f"{origin}{mark} {place}: {shown(text, 200)}", cells), "accent" if index == current else "")
        )
        for child, (parent, _, _) in enumerate(branches):
            if parent == index:
                add(child, depth + 1)

    add(0, 0)
    return lines
