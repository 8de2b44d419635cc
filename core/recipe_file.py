"""Recipes as files: the layers that make one, each field in words, and what is said about mistakes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import tomli_w
from msgspec import Struct

from core.corpora import known
from core.recipe import Recipe
from core.trouble import Usage, nearest

PRESETS = Path(__file__).parent / "recipes"


class BadRecipe(Usage):
    """A recipe with a wrong key, a wrong value or an impossible combination."""

    doing = "use this recipe"


class Field(NamedTuple):
    """One line of a recipe as help, forms and saved files show it."""

    section: str
    """Empty for the recipe's own `name`."""
    name: str
    description: str
    allowed: str
    default: Any

    @property
    def key(self) -> str:
        """The dotted name that `--set` takes."""
        return f"{self.section}.{self.name}" if self.section else self.name


def _fields_of(struct: type[Struct], section: str) -> Iterator[Field]:
    for field in msgspec.inspect.type_info(struct).fields:  # type: ignore[attr-defined]
        if isinstance(_bare(field.type), msgspec.inspect.StructType):
            continue
        description = field.type.extra_json_schema["description"]
        yield Field(section, field.name, description, allowed(field.type), field.default)


def fields() -> list[Field]:
    """Every field of a recipe, in the order of the file."""
    sections = {
        name: type(default) for name, default in msgspec.structs.asdict(Recipe()).items() if isinstance(default, Struct)
    }
    return [*_fields_of(Recipe, ""), *(f for name, struct in sections.items() for f in _fields_of(struct, name))]


def _bare(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return _bare(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def allowed(kind: msgspec.inspect.Type) -> str:
    """What a field takes, in words: "a number above 0, at most 1"."""
    kind = _bare(kind)
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(allowed(t) for t in types if not isinstance(t, msgspec.inspect.NoneType))
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(v) for v in values)
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"a list, each {allowed(item)}"
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


def presets() -> dict[str, Path]:
    """The recipes that come with the program, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.toml"))}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a recipe file. Raises BadRecipe, naming the file and the line."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadRecipe("there is no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise BadRecipe(f"it is not UTF-8 text (byte {error.start})", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadRecipe(f"not TOML: {error}", where=str(path)) from None
    except OSError as error:
        raise BadRecipe((error.strerror or str(error)).lower(), where=str(path)) from None


def load(
    *,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe after all layers: default < what a well-known corpus needs < preset < file < base < overrides.

    preset: a name from `presets()`. overrides: `section.field=value` strings, the value in TOML or a bare word.
    base: tables that the caller worked out itself, such as the source named on the command line.
    Raises BadRecipe that names the layer, the field, what it takes and the nearest right name.
    """
    tables: dict[str, Any] = {}
    if preset is not None:
        there = presets()
        if preset not in there:
            raise BadRecipe(
                f"there is no preset {preset!r}", todo=nearest(preset, there) or f"there is: {', '.join(there)}"
            )
        _merge(tables, _checked(read_toml(there[preset]), f"preset {preset}"))
    if file is not None:
        _merge(tables, _checked(read_toml(file), str(file)))
    _merge(tables, dict(base or {}))
    for override in overrides:
        _merge(tables, _checked(_override(override), f"--set {override}"))
    corpus = known(tables.get("source", {}).get("corpus", ""))
    if corpus is not None:
        below: dict[str, Any] = {}
        _merge(below, corpus.recipe)
        _merge(below, tables)
        tables = below
    recipe = msgspec.convert(tables, Recipe)
    _check_together(recipe, str(file) if file else "")
    return recipe


def _override(text: str) -> dict[str, Any]:
    """`train.lr=3e-4` as tables."""
    key, equals, value = text.partition("=")
    if not equals:
        raise BadRecipe("--set needs FIELD=VALUE", where=f"--set {text}", todo="for example --set train.lr=3e-4")
    parsed: Any = value.strip()
    try:
        document = tomllib.loads(f"value = {value}")
        parsed = document["value"] if len(document) == 1 else parsed
    except tomllib.TOMLDecodeError:
        pass  # a bare word: --set tokenize.vocabulary=gpt2
    section, dot, name = key.strip().partition(".")
    return {section: {name: parsed}} if dot else {section: parsed}


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _checked(tables: dict[str, Any], where: str) -> dict[str, Any]:
    """The same tables, once every name and every value in them is known to be right."""
    known = {field.key: field for field in fields()}
    sections = {field.section for field in known.values()}
    for section, content in tables.items():
        if section in sections - {""}:
            if not isinstance(content, dict):
                raise BadRecipe(
                    f"{section!r} is a section, not a value", where=where, todo=f"write [{section}] above its fields"
                )
            names = [f"{section}.{name}" for name in content]
        else:
            names = [section]
        for key in names:
            if key not in known:
                raise BadRecipe(
                    f"unknown field {key!r}",
                    where=where,
                    todo=nearest(key, [*known, *(sections - {""})]) or "`llmtui recipe` prints them all",
                )
    for field in known.values():
        table = tables.get(field.section, {}) if field.section else tables
        if field.name in table:
            _check_value(field, table[field.name], where)
    return tables


def _check_value(field: Field, value: Any, where: str) -> None:
    struct = type(getattr(Recipe(), field.section)) if field.section else Recipe
    try:
        msgspec.convert({field.name: value}, struct)
    except msgspec.ValidationError:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise BadRecipe(
            f"{field.key} = {shown} is not {field.allowed}", where=where, todo=f"{field.key}: {field.description}"
        ) from None


def _check_together(recipe: Recipe, where: str) -> None:
    """What no single field can know."""
    width, heads = recipe.model.n_embd, recipe.model.n_head
    if recipe.model.positions == "rotary" and width % heads == 0 and width // heads % 2:
        raise BadRecipe(
            f"rotary positions turn pairs of numbers, and a head of {width // heads} is odd",
            where=where or "[model]",
            todo=f"nearest that works: n_embd = {width + heads}",
        )
    if width % heads:
        near = sorted({max(1, width // heads) * heads, (width // heads + 1) * heads})
        raise BadRecipe(
            f"model.n_embd {width} is not divisible by model.n_head {heads}",
            where=where or "[model]",
            todo=f"nearest that works: n_embd = {' or '.join(map(str, near))}",
        )


def to_toml(recipe: Recipe) -> str:
    """The recipe as a file, each field under its description; what is None is left out but named."""
    lines = ["# A recipe of llmtui: `llmtui run THIS-FILE` builds it."]
    section = None
    for field in fields():
        if field.section != section:
            section = field.section
            lines += ["", f"[{section}]"] if section else [""]
        value = getattr(getattr(recipe, section) if section else recipe, field.name)
        lines.append(f"# {field.description} ({field.allowed})")
        lines.append(f"# {field.name} =" if value is None else tomli_w.dumps({field.name: _plain(value)}).rstrip())
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
