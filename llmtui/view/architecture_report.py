"""The picture of a model with the figures of each step beside it: for the Model screen, and as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from core.recipe.schema import Recipe
from llmtui.view.architecture import hidden_shape, steps
from llmtui.view.architecture_figures import (
    Figures,
    ModelFigures,
    column_cells,
    column_titles,
    columns,
    columns_width,
    total_cells,
)
from llmtui.view.architecture_picture import MIN_WIDTH, Row, draw
from llmtui.view.export_text import export_sentence
from llmtui.view.lines import Line, width, wrap

_ROOMY: Final = 36
"""Rows of the picture in plain text: with all arrows, without frames around the steps."""


def with_figures(
    rows: Sequence[Row], cells: int, figures: ModelFigures, before: ModelFigures, indices: Sequence[int]
) -> list[Line]:
    """The lines of `rows`, with the columns `indices` after `cells` cells."""
    return [
        _padded(row.line, cells) + (column_cells(row.step, figures, before, indices) if row.head else [])
        for row in rows
    ]


def titles_line(cells: int, indices: Sequence[int]) -> Line:
    return [(" " * cells, ""), *column_titles(indices)]


def total_line(cells: int, figures: ModelFigures, before: ModelFigures, indices: Sequence[int]) -> Line:
    return [*_padded([("  the whole model", "")], cells), *total_cells(figures, before, indices)]


def _padded(line: Line, cells: int) -> Line:
    return [*line, (" " * max(0, cells - width(line)), "")]


def architecture_report(recipe: Recipe, vocabulary: int, cells: int) -> Iterator[str]:
    """The lines of the picture with its figures, then each step in the order of the forward pass, explained."""
    model, batch = recipe.model, recipe.train.batch_size
    figures, every = ModelFigures.of(model, vocabulary), steps(model, vocabulary, batch)
    indices = columns(cells - MIN_WIDTH, False)
    picture = min(cells - columns_width(indices), 48)
    rows = draw(every, hidden_shape(model, batch), picture, _ROOMY)
    lines = [titles_line(picture, indices), *with_figures(rows, picture, figures, figures, indices)]
    for line in [*lines, total_line(picture, figures, figures, indices)]:
        yield "".join(text for text, _ in line).rstrip()
    yield ""
    yield from wrap(f"export: {export_sentence(model)}", cells)
    for step in every:
        yield ""
        yield " · ".join((step.title, *step.details))
        for text in (*step.formula, step.explanation):
            yield from (f"  {line}" for line in wrap(text, cells - 2))


def step_records(recipe: Recipe, vocabulary: int) -> list[dict[str, Any]]:
    """The steps in the order of the forward pass as records for JSON; FLOPs of a token, forward and backward."""
    figures, nothing = ModelFigures.of(recipe.model, vocabulary), Figures(0, 0)
    return [
        {
            "name": step.name,
            "title": step.title,
            "details": step.details,
            "formula": step.formula,
            "explanation": step.explanation,
            **figures.steps.get(step.name, nothing)._asdict(),
        }
        for step in steps(recipe.model, vocabulary, recipe.train.batch_size)
    ]
