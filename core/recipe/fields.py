"""The fields of a recipe with their descriptions, and the names they had before. Read from the schema."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from core.recipe.schema import Recipe


class Field(NamedTuple):
    """A field of a recipe as help, forms and saved files show it."""

    section: str
    """Empty for the recipe's own `name`."""
    name: str
    stored_name: str
    """Its name in JSON, where it was introduced under another name; still accepted in recipe files."""
    description: str
    allowed: str
    """The values it takes, in words."""
    default: Any
    choices: tuple[str, ...]
    """The values of a field with a few: words, `true` and `false`; else empty."""
    is_text: bool
    """Whether its values are any text, rather than numbers, words of a choice or lists."""
    optional: bool
    """Whether it may be left out, as None."""

    @property
    def key(self) -> str:
        """The dotted name that `--set` takes."""
        return f"{self.section}.{self.name}" if self.section else self.name


def fields() -> list[Field]:
    """Every field of a recipe, in the order of the file."""
    return list(_all_fields())


@functools.cache
def _all_fields() -> tuple[Field, ...]:
    return (*fields_of(Recipe, ""), *(f for name, struct in sections().items() for f in fields_of(struct, name)))


@functools.cache
def sections() -> Mapping[str, type[Struct]]:
    """The sections of a recipe by name."""
    defaults = msgspec.structs.asdict(Recipe())
    return {name: type(default) for name, default in defaults.items() if isinstance(default, Struct)}


def fields_of(struct: type[Struct], section: str) -> Iterator[Field]:
    """The fields of `struct`, a section of a recipe, or of others that are annotated in the same way."""
    for field in msgspec.inspect.type_info(struct).fields:  # type: ignore[attr-defined]
        if isinstance(_bare(field.type), msgspec.inspect.StructType):
            continue
        description = field.type.extra_json_schema["description"]
        yield Field(
            section,
            field.name,
            field.encode_name,
            description,
            allowed(field.type),
            field.default,
            _choices(field.type),
            isinstance(_bare(field.type), msgspec.inspect.StrType),
            any(isinstance(part, msgspec.inspect.NoneType) for part in _alternatives(field.type)),
        )


def from_tables(tables: Mapping[str, Any]) -> Recipe:
    """The recipe of tables whose fields have their present names. Raises msgspec.ValidationError."""
    stored = {(field.section, field.name): field.stored_name for field in fields()}
    converted = {
        section: {stored.get((section, name), name): value for name, value in content.items()}
        if isinstance(content, Mapping)
        else content
        for section, content in tables.items()
    }
    return msgspec.convert(converted, Recipe, str_keys=True)  # keys of a TOML table are strings


def _bare(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return _bare(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def _alternatives(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    """The types of a union, or the type itself."""
    kind = _bare(kind)
    return kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)


def _choices(kind: msgspec.inspect.Type) -> tuple[str, ...]:
    for part in map(_bare, _alternatives(kind)):
        if isinstance(part, msgspec.inspect.LiteralType):
            return tuple(map(str, part.values))
        if isinstance(part, msgspec.inspect.BoolType):
            return "true", "false"
    return ()


def allowed(kind: msgspec.inspect.Type) -> str:
    """The values of a type in words: "a number above 0, at most 1". Raises TypeError for a type without words."""
    kind = _bare(kind)
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(allowed(t) for t in types if not isinstance(t, msgspec.inspect.NoneType))
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(v) for v in values)
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"a list, each {allowed(item)}"
        case msgspec.inspect.DictType(key_type=key, value_type=item):
            return f"a table from {allowed(key)} to {allowed(item)}"
        case msgspec.inspect.StructType(fields=names):
            return "a table of " + ", ".join(field.name for field in names)
        case msgspec.inspect.AnyType():
            return "any value"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.StrType(pattern=pattern):
            return "a-z, 0-9, dot, dash, underscore, at most 64 characters" if pattern else "text"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            what = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
            bounds = {"above": kind.gt, "at least": kind.ge, "below": kind.lt, "at most": kind.le}
            limits = [f"{word} {limit:,}" for word, limit in bounds.items() if limit is not None]
            return " ".join([what, ", ".join(limits)]).strip()
    raise TypeError(f"no words for {kind!r}")
