"""Recipe values as `--set` takes them, and the options that lead from a preset to a recipe."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Struct

from core.recipe.fields import Field, fields
from core.recipe.file import InitResolver, load
from core.recipe.schema import Recipe


def value_of(recipe: Recipe, field: Field) -> Any:
    """The value of `field` in `recipe`."""
    return getattr(getattr(recipe, field.section) if field.section else recipe, field.name)


def toml_value(value: Any) -> str:
    """A value in TOML on one line; None, which TOML does not have, as `none`."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():  # a JSON string is a TOML string too, but for DEL
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple() | list():
            return f"[{', '.join(map(toml_value, value))}]"
        case Struct():
            items = msgspec.structs.asdict(value).items()
            return f"{{ {', '.join(f'{name} = {toml_value(item)}' for name, item in items if item is not None)} }}"
        case dict():
            return f"{{ {', '.join(f'{json.dumps(str(k))} = {toml_value(v)}' for k, v in value.items())} }}"
        case _:
            return str(value)


def override(key: str, value: Any) -> str:
    """`section.field=value`, as `load` and `--set` take it."""
    return f"{key}={toml_value(value)}"


IMPLY = ("model.init", "model.depth")
"""Fields that set others."""


def overrides_to(recipe: Recipe, *, preset: str | None, init: InitResolver | None = None) -> list[str]:
    """The overrides that make `recipe` of `preset` and its source, apart from `source.corpus`: few, and sufficient.

    Raises RecipeError where model.init cannot be resolved.
    """
    base = {"name": recipe.name, "source": {"corpus": recipe.source.corpus}}
    chosen: dict[str, str] = {}
    while True:  # a field that sets others may need some of them set back
        made = load(preset=preset, base=base, overrides=chosen.values(), init=init)
        differing = [field for field in fields() if value_of(made, field) != value_of(recipe, field)]
        differing = [field for field in differing if field.key in IMPLY] or differing
        added = {field.key: override(field.key, value_of(recipe, field)) for field in differing}
        if added.keys() <= chosen.keys():
            return list(chosen.values())
        chosen |= added
