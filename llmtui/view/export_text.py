"""Whether a model can be exported for other programs, and as what, in a few words and in a sentence."""

from __future__ import annotations

from typing import Any

from core.export.architectures import advice, nearest, reasons
from core.recipe.schema import Model


def export_words(model: Model) -> tuple[str, str]:
    """For a heading: what the model is exported as, or the fields that prevent it; and the role of the text."""
    match = nearest(model)
    if match.exact:
        return f"exports as {match.architecture.name}", "dim"
    return f"no export: {', '.join(obstacle.field for obstacle in match.obstacles)}", "warn"


def export_sentence(model: Model) -> str:
    """What the model is exported as, or what prevents it and the nearest recipe without it."""
    match = nearest(model)
    if match.exact:
        return f"{match.architecture.class_name} of transformers, by llmtui export"
    return f"impossible with {reasons(match)}; {advice(match)}"


def export_record(model: Model) -> dict[str, Any]:
    """The same for JSON; `obstacles` is empty where the model can be exported."""
    match = nearest(model)
    return {
        "architecture": match.architecture.class_name,
        "obstacles": [obstacle._asdict() for obstacle in match.obstacles],
    }
