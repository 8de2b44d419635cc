"""The architecture of a model on standard output, for `llmtui plan --picture` and `llmtui show --model`."""

from __future__ import annotations

from core.recipe.schema import Recipe
from llmtui.cli.console import columns, print_json, print_output

MAX_WIDTH = 100
"""Cells; longer lines are hard to read."""


def print_architecture(recipe: Recipe, vocabulary: int, as_json: bool) -> None:
    """Print the picture and the steps, or the steps as one JSON object. vocabulary: entries."""
    # rich, by which lines are measured, takes as long to import as the rest of these commands
    from llmtui.view.architecture_picture import MIN_WIDTH
    from llmtui.view.architecture_report import architecture_report, step_records

    if as_json:
        print_json({"vocabulary": vocabulary, "steps": step_records(recipe, vocabulary)})
    else:
        cells = max(MIN_WIDTH, min(columns(), MAX_WIDTH))
        print_output("\n".join(architecture_report(recipe, vocabulary, cells)))
