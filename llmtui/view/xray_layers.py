"""Attention and logit lens of a context as lines of a pane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.sample.inspect_protocol import AttentionWeights, LensRow, TokenInfo
from llmtui.view.inspect_details import LEVELS
from llmtui.view.inspect_tables import NOT_FINITE
from llmtui.view.lines import Line, cell, wrap
from llmtui.view.token_grid import GridToken
from llmtui.view.xray_tokens import token_chip, token_rows

_SHADES = " ░▒▓█"
"""Weights of a small map, in quarters of the row's highest one."""
Heads = Mapping[tuple[int, int], AttentionWeights]
"""By layer and head."""


def attention_lines(weights: AttentionWeights, context: Sequence[TokenInfo], cells: int, rows: int) -> list[Line]:
    """How much the last position attends to each token of the context: a bar and the weight below it."""
    row = weights.weights[-1][-len(context) :]
    tokens = context[-len(row) :]
    explanation = (
        f"Layer {weights.layer}, head {weights.head}: how the {len(row)} last positions share the attention of the last"
        " one, which predicts the next token. Weights sum to 1."
    )
    lines: list[Line] = [[(part, "dim")] for part in wrap(explanation, cells)] if rows > 7 else []
    before = weights.before[-1] or 0.0
    if before > 0.0005:
        lines.append([(f"{before:.1%} on earlier positions", "dim")])
    shaded = [
        GridToken(token_chip(token), _weight_role(weight), _weight(weight))
        for token, weight in zip(tokens, row, strict=False)
    ]
    return [*lines, *token_rows(shaded, cells, rows - len(lines))][:rows]


def _weight(weight: float | None) -> str:
    if weight is None:
        return NOT_FINITE
    return f"{LEVELS[min(8, round(8 * weight))]}{f'{weight:.2f}'[1:] if weight < 0.995 else '1.0'}"


def _weight_role(weight: float | None) -> str:
    return "dim" if not weight or weight < 0.05 else "accent" if weight >= 0.2 else ""


def head_maps(heads: Heads, chosen: tuple[int, int], cells: int, rows: int) -> list[Line]:
    """A small map for each head: rows are layers, columns heads; in each a row for each of the last positions and a
    column for each position it attends to. chosen: layer and head whose name is marked."""
    layers = sorted({layer for layer, _ in heads})
    numbers = sorted({head for _, head in heads})
    if not layers:
        return [[("reading the layers …", "dim")]]
    width = max(4, min(24, (cells + 2) // len(numbers) - 2))
    shown_heads = max(1, min(len(numbers), (cells + 2) // (width + 2)))
    positions = max(len(each.weights) for each in heads.values())
    height = max(2, min(width // 2, rows // len(layers) - 1, positions))
    shown_layers = max(1, min(len(layers), rows // (height + 1)))
    layers = _around(layers, chosen[0], shown_layers)
    numbers = _around(numbers, chosen[1], shown_heads)
    lines: list[Line] = []
    for layer in layers:
        title: Line = []
        for head in numbers:
            name = f"{layer}.{head}"
            title += [(cell(name, width), "cursor" if (layer, head) == chosen else "dim"), ("  ", "")]
        lines.append(title)
        maps = [_map(heads.get((layer, head)), width, height) for head in numbers]
        for y in range(height):
            line: Line = []
            for index, picture in enumerate(maps):
                line += [(picture[y], "accent" if (layer, numbers[index]) == chosen else "bar"), ("  ", "")]
            lines.append(line)
    return lines[:rows]


def _around(values: list[int], chosen: int, count: int) -> list[int]:
    at = values.index(chosen) if chosen in values else 0
    start = max(0, min(at - count // 2, len(values) - count))
    return values[start : start + count]


def _map(weights: AttentionWeights | None, width: int, height: int) -> list[str]:
    """Two cells a column, so that the map is about square."""
    if weights is None:
        return ["·" * width] * height
    columns = width // 2
    picture = []
    for row in weights.weights[-height:]:
        kept = [weight or 0.0 for weight in row[-columns:]]
        most = max(kept, default=0.0) or 1.0
        picture.append(cell("".join(_SHADES[round(4 * weight / most)] * 2 for weight in kept), width))
    return [" " * width] * (height - len(picture)) + picture


def lens_lines(
    lens: Sequence[LensRow], context: Sequence[TokenInfo], taken: TokenInfo, cells: int, rows: int
) -> list[Line]:
    """The most likely next token after each layer (rows, the last on top) at the last positions (columns)."""
    if not lens:
        return [[("reading the layers …", "dim")]]
    explanation = (
        "The output layer applied after each layer: the token it would predict after each position, with its"
        " probability. The last column predicts the next token."
    )
    column = 13
    count = max(1, min((cells - 7) // (column + 1), len(lens[0].predictions)))
    lines: list[Line] = [[(part, "dim")] for part in wrap(explanation, cells)] if rows >= len(lens) + 5 else []
    head: Line = [(cell("after", 6) + " ", "dim")]
    for token in context[-count:]:
        head += [(cell(token_chip(token, column), column), "bold"), (" ", "")]
    lines.append(head)
    room = max(1, rows - len(lines))
    for layer in list(reversed(lens))[:room]:
        line: Line = [(cell("embed" if layer.layer == 0 else f"{layer.layer}", 6) + " ", "dim")]
        for index, prediction in enumerate(layer.predictions[-count:]):
            if prediction is None or prediction.probability is None:
                line += [(cell(NOT_FINITE, column), "dim"), (" ", "")]
                continue
            share = prediction.probability
            text = f"{LEVELS[min(8, max(1, round(8 * share)))]}{token_chip(prediction.token, column - 5)}"
            number = f"{share:.2f}"[1:] if share < 0.995 else "1.0"
            right = index == count - 1 and prediction.token.id == taken.id
            role = "good" if right else "dim" if share < 0.1 else "accent" if share >= 0.5 else ""
            line += [(cell(cell(text, column - 4) + f" {number}", column), role), (" ", "")]
        lines.append(line)
    return lines
