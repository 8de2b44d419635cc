"""The six steps of generating one token as lines of a pane, each with a sentence that says what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from core.plural import plural
from core.sample.inspect_protocol import (
    AppendedToken,
    FiniteFloat,
    LastLogits,
    LogitsMatrix,
    SampledToken,
    TokenCandidate,
    TokenInfo,
    TokenProbabilities,
)
from llmtui.view.inspect_tables import END_REASONS, NOT_FINITE, PROCESSOR_HEADINGS, bar, decimal
from llmtui.view.lines import Line, cell, clip, wrap
from llmtui.view.token_grid import GridToken
from llmtui.view.xray_tokens import token_chip, token_rows

STEPS = ("ids", "outputs", "last row", "probabilities", "choice", "append")
"""Short names of the steps, in order."""


class TokenSteps(NamedTuple):
    """What is known of one token."""

    context: Sequence[TokenInfo]
    """Prompt and text before it, as far as they are in the model's context."""
    outputs: LogitsMatrix | None
    """None: not computed yet."""
    last: LastLogits
    probabilities: TokenProbabilities
    sampled: SampledToken
    appended: AppendedToken
    candidate: int
    """Index of the candidate under the cursor."""
    seed: int


def step_lines(step: int, token: TokenSteps, cells: int, rows: int) -> list[Line]:
    """The content of step 1 to 6 in at most `rows` lines of at most `cells` cells."""
    explanation, table = _STEPS[step - 1](token, cells)
    lines: list[Line] = [[(part, "dim")] for part in wrap(explanation, cells)]
    if rows - len(lines) < 6:  # numbers before words
        lines = lines[: max(0, rows - 6)] if rows > 7 else []
    return [clip(line, cells) for line in (*lines, *table(rows - len(lines)))][:rows]


_Step = tuple[str, Callable[[int], list[Line]]]
"""The explanation, and the table at a number of rows."""


def _ids(token: TokenSteps, cells: int) -> _Step:
    length = token.last.position
    so_far = plural(length, "token")
    explanation = f"Prompt and text so far are {so_far}; the model's input is their ids, of shape (1, {length:,})."
    shown = [GridToken(token_chip(each), below=str(each.id)) for each in token.context]
    return explanation, lambda rows: token_rows(shown, cells, rows)


def _outputs(token: TokenSteps, cells: int) -> _Step:
    length, vocabulary = token.last.position, token.last.vocabulary
    explanation = (
        f"The model turns the ids into a matrix of logits of shape ({length:,}, {vocabulary:,}): a row for each"
        " position, a column for each entry of the vocabulary. This is a corner of it."
    )
    return explanation, lambda rows: _matrix(token.outputs, cells, rows)


def _matrix(outputs: LogitsMatrix | None, cells: int, rows: int) -> list[Line]:
    if outputs is None:
        return [[("reading the context …", "dim")]]
    note = " ◀ the last row" if cells >= 60 else " ◀"
    side = 5 + 12 + cell_len(note)
    columns = max(1, min(len(outputs.columns), (cells - side) // 9))
    kept = [*range(columns - 1), len(outputs.columns) - 1] if columns > 1 else [0]
    head: Line = [(cell("row", 5, right=True) + " " + cell("token", 11), "dim")]
    head += [(cell(f"id {outputs.columns[each]}", 9, right=True), "dim") for each in kept]
    body: list[Line] = []
    before = 0
    chosen = outputs.rows if len(outputs.rows) < rows - 1 else outputs.rows[-max(1, rows - 2) :]
    for row in chosen:
        if row.position > before + 1:
            body.append([(cell("…", 5, right=True), "dim")])
        before = row.position
        last = row is outputs.rows[-1]
        line: Line = [(cell(str(row.position), 5, right=True) + " ", "dim")]
        line.append((cell(token_chip(row.token, 11), 11), "accent" if last else ""))
        line += [(cell(decimal(row.logits[each]), 9, right=True), "accent" if last else "") for each in kept]
        body.append(line + ([(note, "accent")] if last else []))
    return [head, *body]


def _last_row(token: TokenSteps, cells: int) -> _Step:
    last = token.last
    explanation = (
        f"Only row {last.position:,}, of shape ({last.vocabulary:,},), predicts the next token: one logit for each"
        " entry of the vocabulary."
    )
    summary = (
        f"highest {last.highest:.2f} · lowest {last.lowest:.2f} · mean {last.mean:.2f} · deviation {last.deviation:.2f}"
    )
    highest = sorted(token.probabilities.candidates, key=lambda each: -each.logit)
    span = max(1e-9, last.highest - last.lowest)

    def table(rows: int) -> list[Line]:
        lines: list[Line] = [[(part, "")] for part in wrap(summary, cells)]
        for each in highest[: max(1, rows - len(lines))]:
            figure = bar((each.logit - last.lowest) / span, max(1, min(40, cells - 34)))
            lines.append(
                [
                    (cell(token_chip(each.token), 16), ""),
                    (f"{each.token.id:>7}", "dim"),
                    (f"{each.logit:>9.2f} ", ""),
                    (figure, "bar"),
                ]
            )
        return lines

    return explanation, table


def _probabilities(token: TokenSteps, cells: int) -> _Step:
    result = token.probabilities
    explanation = (
        f"Softmax makes probabilities of the {token.last.vocabulary:,} logits; each setting of the sampler then changes"
        " them or cuts tokens, from left to right."
    )
    return explanation, lambda rows: _probability_table(result, token, cells, rows)


def _probability_table(result: TokenProbabilities, token: TokenSteps, cells: int, rows: int) -> list[Line]:
    label = 14
    columns = list(range(len(result.processors)))
    widths = [max(6, cell_len(_heading(result, column)) + 1) for column in columns]
    # what changes least is left out first: the columns between the first and the last ones
    while len(columns) > 2 and label + 2 + sum(widths[column] for column in columns) > cells - 14:
        columns.pop(1)
    left_out = len(result.processors) - len(columns)
    head: Line = [("  " + cell("token", label), "dim")]
    head += [(cell(_heading(result, column), widths[column], right=True), "dim") for column in columns]
    head.append((f"  {left_out} more in a wider window" if left_out else "", "dim"))
    used = 2 + label + sum(widths[column] for column in columns)
    lines: list[Line] = [head]
    room = max(1, rows - 3)
    top = max(0, min(token.candidate - room // 2, len(result.candidates) - room))
    for index, each in list(enumerate(result.candidates))[top : top + room]:
        lines.append(_candidate_line(result, token, index, each, columns, widths, label, max(0, cells - used)))
    remaining: Line = [("  " + cell("tokens left", label), "dim")]
    entropies: Line = [("  " + cell("entropy, bits", label), "dim")]
    for column in columns:
        processor = result.processors[column]
        remaining.append((cell(f"{processor.remaining:,}", widths[column], right=True), "dim"))
        entropies.append((cell(decimal(processor.entropy), widths[column], right=True), "dim"))
    return [*lines, remaining, entropies]


def _candidate_line(
    result: TokenProbabilities,
    token: TokenSteps,
    index: int,
    candidate: TokenCandidate,
    columns: Sequence[int],
    widths: Sequence[int],
    label: int,
    room: int,
) -> Line:
    taken = candidate.token.id == token.sampled.token.id
    marked = index == token.candidate
    role = "good" if taken else ""
    line: Line = [("▸ " if marked else "  ", "key"), (cell(token_chip(candidate.token, label), label), role)]
    if marked:
        line[1] = (line[1][0], "cursor")
    line += [(cell(_share(candidate.probabilities[at]), widths[at], right=True), role) for at in columns]
    cut_by = next(
        (result.processors[at].name for at, value in enumerate(candidate.probabilities) if value is None), None
    )
    if cut_by is not None:
        line.append((f"  {'◀ taken, ' if taken else ''}cut by {_name(cut_by)}", "good" if taken else "dim"))
        return line
    figure = bar(candidate.probabilities[-1], max(1, min(24, room - 11)))
    return [*line, (f"  {figure}", "bar"), (" ◀ taken" if taken else "", "good")]


def _heading(result: TokenProbabilities, column: int) -> str:
    processor = result.processors[column]
    value = "" if processor.value is None else f" {processor.value:g}"
    return f"{_name(processor.name)}{value}"


def _name(processor: str) -> str:
    if processor == "softmax":
        return "raw"
    heading = PROCESSOR_HEADINGS.get(processor, processor)
    return heading if len(heading) == 1 else heading.lower()


def _share(value: float | None) -> str:
    """A probability in four cells: `.612`."""
    if value is None:
        return "·"
    return "1.00" if value > 0.9995 else "<.001" if 0 < value < 0.0005 else f"{value:.3f}"[1:]


def _choice(token: TokenSteps, cells: int) -> _Step:
    sampled, result = token.sampled, token.probabilities
    greedy = all(candidate.random is None for candidate in result.candidates) and (
        result.processors[-1].name == "temperature" and result.processors[-1].value == 0
    )
    explanation = (
        "Temperature 0 is greedy: the token with the highest probability is taken, without a random number."
        if greedy
        else f"Seed {token.seed} gives each remaining token a random number (exponential, mean 1); the highest"
        " probability / random number is taken."
    )
    lines: list[Line] = [
        [("taken  ", "dim"), (token_chip(sampled.token), "good"), (f"  id {sampled.token.id:,}", "dim")],
        *([(part, "")] for part in wrap(surprise_text(sampled, result), cells)),
    ]
    if sampled.instead_of is not None:
        lines.insert(1, [("you took it instead of ", "dim"), (token_chip(sampled.instead_of), "warn")])
    return explanation, lambda rows: [*lines, *_draws(result, token, cells, rows - len(lines))]


def surprise_text(sampled: SampledToken, result: TokenProbabilities) -> str:
    """`surprise 0.36 bit · rank 1 · entropy 1.31 bits`."""
    entropy: FiniteFloat = result.processors[0].entropy
    bits = NOT_FINITE if entropy is None else f"{entropy:.2f} bits"
    return f"surprise {sampled.surprise:.2f} bits · rank {sampled.rank:,} · entropy {bits}"


def _draws(result: TokenProbabilities, token: TokenSteps, cells: int, rows: int) -> list[Line]:
    known = [
        (each.probabilities[-1] / each.random, each)
        for each in result.candidates
        if each.random and each.probabilities[-1] is not None
    ]
    if not known or rows < 2:
        return []
    label = max(6, min(16, cells - 34))  # beside the figures and a mark
    lines: list[Line] = [[(f"{'token':<{label}}{'probability':>12}{'random':>10}{'ratio':>10}", "dim")]]
    winner = token.sampled.instead_of or token.sampled.token
    for ratio, each in sorted(known, key=lambda pair: -pair[0])[: rows - 1]:
        won = each.token.id == winner.id
        numbers = f"{_share(each.probabilities[-1]):>12}{each.random:>10.4f}{ratio:>10.4f}"
        line = cell(token_chip(each.token, label), label) + numbers
        mark = next((text for text in (" ◀ highest", " ◀") if len(line) + len(text) <= cells), "") if won else ""
        lines.append([(line + mark, "good" if won else "")])
    return lines


def _append(token: TokenSteps, cells: int) -> _Step:
    appended = token.appended
    explanation = (
        f"The id is appended: {plural(appended.length, 'token')} so far. The six steps repeat for the next one."
    )
    text = appended.text
    shown_text = "no whole character yet" if not text and appended.reason is None else repr(text)
    lines: list[Line] = [
        [(f"id {appended.token.id:,} → ", "dim"), (token_chip(appended.token), "good"), (f"  text {shown_text}", "")]
    ]
    if appended.reason is not None:
        lines.append([(END_REASONS.get(appended.reason, "the text has as many tokens as were asked for"), "dim")])

    def table(rows: int) -> list[Line]:
        after = [GridToken(token_chip(each), below=str(each.id)) for each in token.context]
        after.append(GridToken(token_chip(appended.token), "good", str(appended.token.id)))
        return [*lines, *token_rows(after, cells, max(2, min(4, rows - len(lines))))]

    return explanation, table


_STEPS = (_ids, _outputs, _last_row, _probabilities, _choice, _append)
