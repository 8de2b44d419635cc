"""Recipes as files: the layers that make one, each field in words, and what is said about mistakes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from encodings import aliases
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import tomli_w
from msgspec import Struct

from core import parsing
from core.errors import UsageError, did_you_mean
from core.recipe import init_spec
from core.recipe.model_config import InitError
from core.recipe.scaling import dialled
from core.recipe.schema import Model, Recipe
from core.sources.corpora import known
from core.storage.files import codec_named
from core.storage.workspace import Workspace

PRESETS = Path(__file__).parent / "presets"
LARGEST, MOST_STEPS = 10**15, 10**12
"""Of a number in a recipe. Beyond them the tokens of all steps are more than 64 bits count, and the run's own records
could not be read any more."""
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
"""In what msgspec says of a table."""


class RecipeError(UsageError):
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
        case msgspec.inspect.DictType(key_type=key, value_type=item):
            return f"a table from {allowed(key)} to {allowed(item)}"
        case msgspec.inspect.StructType(fields=names):
            return "a table of " + ", ".join(field.name for field in names)
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
    """The tables of a recipe file. Raises RecipeError, naming the file and the line."""
    try:
        return parsing.read_toml(path)
    except FileNotFoundError:
        raise RecipeError("there is no such file", where=str(path)) from None
    except parsing.ParseError as error:
        raise RecipeError(str(error), where=str(path)) from None
    except OSError as error:
        raise RecipeError((error.strerror or str(error)).lower(), where=str(path)) from None


def load(
    *,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe after all layers: default < what corpus and init need < preset < file < base < overrides.

    preset: a name from `presets()`. overrides: `section.field=value` strings, the value in TOML or a bare word.
    base: tables that the caller worked out itself, such as the source named on the command line.
    In each layer model.depth has the lowest priority; model.init is resolved by `init_spec.resolve_init`.
    Raises RecipeError that names the layer, the field, what it takes and the nearest right name.
    """
    tables: dict[str, Any] = {}
    if preset is not None:
        there = presets()
        if preset not in there:
            raise RecipeError(
                f"there is no preset {preset!r}", todo=did_you_mean(preset, there) or f"there is: {', '.join(there)}"
            )
        _lay(tables, _checked(read_toml(there[preset]), f"preset {preset}"))
    if file is not None:
        layer = _checked(read_toml(file), str(file))
        _lay(tables, layer, file.absolute().parent)
    _lay(tables, dict(base or {}))
    asked: dict[str, Any] = {}
    for override in overrides:
        _merge(asked, _checked(_override(override), f"--set {override}"))
    _lay(tables, asked)
    corpus = known(tables.get("source", {}).get("corpus", ""))
    needed = _implied(tables.get("model", {}))
    below: dict[str, Any] = {}
    for each in (corpus.recipe if corpus is not None else {}, needed, tables):
        _merge(below, each)
    try:
        recipe = msgspec.convert(below, Recipe, str_keys=True)  # TOML has no other keys
    except msgspec.ValidationError as error:  # of what the caller worked out: the other layers have been checked
        raise RecipeError(str(error)) from None
    _check_together(recipe, str(file) if file else "")
    if needed:
        with _as_recipe_trouble():
            init_spec.ensure_fit(recipe.model, msgspec.convert(needed["model"], Model))
            init_spec.ensure_tokens(recipe, needed)
    return recipe


def _lay(tables: dict[str, Any], layer: dict[str, Any], folder: Path | None = None) -> None:
    """Put a layer, whose paths start from `folder` or from here, upon `tables`. Names of runs are in lower case."""
    if isinstance(name := layer.get("name"), str):
        layer = layer | {"name": name.lower()}
    model = layer.get("model", {})
    if isinstance(depth := model.get("depth"), int):
        _merge(tables, dialled(depth))
    _merge(tables, layer)
    if isinstance(init := model.get("init"), str):
        with _as_recipe_trouble():
            tables["model"]["init"] = init_spec.resolve_init(init, folder or Path.cwd(), Workspace())


def _implied(model: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from model.init; nothing where the shape is said anyway, as in the recipe of a run."""
    optional = {name for name in init_spec.SHAPE if getattr(Model(), name) is None}
    if not model.get("init") or optional | set(model) >= set(init_spec.SHAPE):
        return {}
    with _as_recipe_trouble():
        return init_spec.implied(model["init"], Workspace())


@contextlib.contextmanager
def _as_recipe_trouble() -> Iterator[None]:
    try:
        yield
    except InitError as trouble:
        raise RecipeError(trouble.what, where=trouble.where, todo=trouble.todo) from None


def _override(text: str) -> dict[str, Any]:
    """`train.lr=3e-4` as tables."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError("--set needs FIELD=VALUE", where=f"--set {text}", todo="for example --set train.lr=3e-4")
    parsed: Any = value.strip()
    try:
        document = parsing.parse_toml(f"value = {value}")
        parsed = document["value"] if len(document) == 1 else parsed
    except parsing.ParseError:
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
    sections = {field.section for field in known.values()} - {""}
    for section, content in tables.items():
        if section in sections:
            if not isinstance(content, dict):
                example = next(key for key in known if key.startswith(f"{section}."))
                raise RecipeError(
                    f"{section!r} is a section, not a value",
                    where=where,
                    todo=f"name a field in it, as {example} is: [{section}] stands above its fields in a file",
                )
            names = [f"{section}.{name}" for name in content]
        else:
            names = [section]
        for key in names:
            if key not in known:
                what = "section" if key == section and isinstance(content, dict) else "field"
                raise RecipeError(f"unknown {what} {key!r}", where=where, todo=_meant(key, known, sections))
    for field in known.values():
        table = tables.get(field.section, {}) if field.section else tables
        if field.name in table:
            _check_value(field, table[field.name], where)
    return tables


def _meant(key: str, known: Mapping[str, Field], sections: Collection[str]) -> str:
    """Which field or section a wrong `key` may stand for, or where the right ones are."""
    section, dot, name = key.partition(".")
    there = [field.name for field in known.values() if field.section == section]
    if dot and (close := did_you_mean(name, there, f"{section}.{{}}")):
        return close
    elsewhere = [field.key for field in known.values() if field.name == (name or section)]
    if elsewhere:  # the right name in another section, or in none
        return "did you mean " + " or ".join(map(repr, elsewhere)) + "?"
    if dot:
        return f"[{section}] has {', '.join(there)}"
    close = did_you_mean(key, sections) or did_you_mean(key, known)
    return close or f"sections are {', '.join(sorted(sections))}; `llmtui recipe` prints all fields"


def _check_value(field: Field, value: Any, where: str) -> None:
    struct = type(getattr(Recipe(), field.section)) if field.section else Recipe
    if field.key == "name" and isinstance(value, str):
        value = value.lower()
    limit = MOST_STEPS if field.key == "train.steps" else LARGEST
    if isinstance(value, int) and value > limit and field.name != "seed":
        todo = f"{field.key}: {field.description}"
        raise RecipeError(f"{field.key} = {value} is more than {limit:,}", where=where, todo=todo)
    try:
        msgspec.convert({field.name: value}, struct, str_keys=True)
    except msgspec.ValidationError as error:
        if unknown := _UNKNOWN.search(str(error)):  # in a table of its own
            inside = field.allowed.rpartition("a table of ")[2].split(", ")
            todo = did_you_mean(unknown[1], inside) or f"there is {', '.join(inside)}"
            raise RecipeError(f"unknown field {unknown[1]!r} in {field.key}", where=where, todo=todo) from None
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        todo = f"{field.key}: {field.description}"
        if isinstance(value, str) and value[:1] in ("[", "{"):
            todo = f'it is no TOML: texts in it stand in quotes, such as ["a", "b"]; {todo}'
        raise RecipeError(f"{field.key} = {shown} is not {field.allowed}", where=where, todo=todo) from None


def _check_together(recipe: Recipe, where: str) -> None:
    """What no single field can know, nor its type."""
    if (encoding := recipe.source.encoding) and not codec_named(encoding):
        raise RecipeError(
            f"source.encoding = {encoding!r} is no encoding of text",
            where=where or "[source]",
            todo=did_you_mean(encoding, aliases.aliases.values()) or "such as utf-8, utf-16, cp1250, iso8859-2, koi8-r",
        )
    width, heads = recipe.model.n_embd, recipe.model.n_head
    if recipe.model.positions == "rotary" and width % heads == 0 and width // heads % 2:
        raise RecipeError(
            f"rotary positions turn pairs of numbers, and a head of {width // heads} is odd",
            where=where or "[model]",
            todo=f"nearest that works: n_embd = {width + heads}",
        )
    groups = recipe.model.n_kv_head or heads
    if heads % groups:
        raise RecipeError(
            f"model.n_kv_head {groups} does not divide model.n_head {heads}",
            where=where or "[model]",
            todo=f"one of {', '.join(str(n) for n in range(1, heads + 1) if heads % n == 0)}",
        )
    train = recipe.train
    if train.schedule == "wsd" and train.warmup + train.cooldown > 1:
        raise RecipeError(
            f"train.warmup {train.warmup:g} and train.cooldown {train.cooldown:g} are more than the whole training",
            where=where or "[train]",
            todo=f"train.cooldown = {1 - train.warmup:g} at most",
        )
    if width % heads:
        near = sorted({max(1, width // heads) * heads, (width // heads + 1) * heads})
        raise RecipeError(
            f"model.n_embd {width} is not divisible by model.n_head {heads}",
            where=where or "[model]",
            todo=f"nearest that works: n_embd = {' or '.join(map(str, near))}",
        )
    for role, template in msgspec.structs.asdict(recipe.chat).items():
        if template and (times := template.count("{text}")) != 1:
            raise RecipeError(
                f"chat.{role} has {{text}} {times} times",
                where=where or "[chat]",
                todo="it stands once where what is said goes; an empty template puts nothing around it",
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
        lines.append(f"# {field.name} =" if value is None else _line(field.name, value))
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any) -> str:
    """A field as TOML. Tables are written inline: with a heading of their own they would end the section."""
    if isinstance(value, tuple) and value and isinstance(value[0], Struct):
        tables = (
            ", ".join(_line(*item) for item in msgspec.structs.asdict(table).items() if item[1] is not None)
            for table in value
        )
        return f"{name} = [{', '.join(f'{{ {table} }}' for table in tables)}]"
    if isinstance(value, dict):
        return f"{name} = {{ {', '.join(_line(str(key), item) for key, item in value.items())} }}".replace("{  }", "{}")
    return tomli_w.dumps({name: list(value) if isinstance(value, tuple) else value}).rstrip()
