"""The presets by the size of their model, with a sentence each."""

from __future__ import annotations

import functools
from typing import NamedTuple

from core.model.count import parameters
from core.recipe.file import load, preset_about, presets
from core.recipe.schema import Recipe
from core.vocab.sizes import expected_size


class PresetEntry(NamedTuple):
    """A preset with what lists show of it."""

    name: str
    about: str
    parameters: int
    """Of its model with the expected vocabulary."""
    recipe: Recipe


@functools.cache
def preset_table() -> tuple[PresetEntry, ...]:
    """The presets, the smallest model first."""
    entries = []
    for name, path in presets().items():
        recipe = load(preset=name)
        total = parameters(recipe.model, expected_size(recipe.tokenize).entries).total
        entries.append(PresetEntry(name, preset_about(path), total, recipe))
    return tuple(sorted(entries, key=lambda entry: entry.parameters))
