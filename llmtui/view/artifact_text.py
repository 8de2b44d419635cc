"""The artifacts of the data stages as text, the same on the screen and in `llmtui data artifacts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.plural import plural
from core.recipe.fields import fields
from core.runs.artifacts import StoredArtifact
from llmtui.view.sanitize import shown
from llmtui.view.units import many

STAGES = {"download": "raw", "preprocess": "cleaned", "tokenize": "tokens"}
"""What each data stage makes, in one word."""

_SECTIONS = {"download": "source", "preprocess": "preprocess", "tokenize": "tokenize"}
"""The section of the recipe that decides what each stage makes."""

_VALUE_LIMIT = 200


def content(artifact: StoredArtifact) -> str:
    """How much is in it: `653 documents`, `2.65M tokens`; of an unfinished or damaged one, that it is. Sanitised."""
    if artifact.state != "complete":
        return shown(f"damaged: {artifact.problem}" if artifact.problem else artifact.state, _VALUE_LIMIT)
    facts = artifact.facts
    if artifact.stage == "tokenize":
        return many(_sum(facts, "train_tokens", "validation_tokens"), "token")
    return plural(_sum(facts, "documents", "train_documents", "validation_documents"), "document")


def vocabulary(artifact: StoredArtifact) -> str:
    """`bpe 4,096` of token shards; empty for documents. Sanitised."""
    name, size = artifact.facts.get("vocabulary"), artifact.facts.get("vocabulary_size")
    return shown(f"{name} {size:,}" if isinstance(size, int) else name or "", 40)


def users(artifact: StoredArtifact) -> str:
    """`used by demo, bard`, or that no run uses it. Sanitised."""
    names = dict.fromkeys(artifact.runs)
    first = ", ".join(shown(name, 64) for name in list(names)[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"used by {first}{more}" if names else "used by no run"


def settings(artifact: StoredArtifact) -> list[tuple[str, str]]:
    """The fields of the recipe that made it, as (`source.corpus`, value), those that differ from their defaults first;
    the others say that they are the default. Sanitised."""
    section = _SECTIONS[artifact.stage]
    changed, defaults = [], []
    for field in fields():
        if field.section == section and field.stored_name in artifact.recipe:
            value = artifact.recipe[field.stored_name]
            if _plain(value) != _plain(field.default):
                changed.append((field.key, _value(value)))
            else:
                defaults.append((field.key, f"{_value(value)} (default)"))
    return changed + defaults


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value in ("", None) else str(value)
    return shown(text, _VALUE_LIMIT)


def _sum(facts: Mapping[str, int | float | str], *names: str) -> int:
    return sum(value for name in names if isinstance(value := facts.get(name), int))
