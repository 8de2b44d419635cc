"""Recipes from TOML: layers of defaults, presets, files and overrides; and to TOML."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import tomli_w
from msgspec import Struct

from core import parsing
from core.errors import did_you_mean
from core.recipe.checks import RecipeError, check_together, checked, renamed
from core.recipe.fields import fields, from_tables
from core.recipe.scaling import scale_to_depth
from core.recipe.schema import Recipe
from core.sources.corpora import known_corpus

PRESETS = Path(__file__).parent / "presets"


class InitResolver(Protocol):
    """Resolves `model.init`, which may name a run or a folder; `core.init.resolve` has the implementation."""

    def locate(self, init: str, folder: Path) -> str:
        """`init` with an absolute path or the id of a run. folder: start of a relative path. Raises RecipeError."""

    def implied(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Tables that follow from the weights which the [model] section names. Raises RecipeError."""

    def check(self, recipe: Recipe, implied: Mapping[str, Any]) -> None:
        """Raises RecipeError where the recipe does not fit the weights."""


def presets() -> dict[str, Path]:
    """The recipes that come with the program, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.toml"))}


def preset_about(path: Path) -> str:
    """The first sentence of the comment at the top of a preset, on one line."""
    comment = [line.removeprefix("#").strip() for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    return re.split(r"(?<=[.])\s", " ".join(comment))[0]


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
    init: InitResolver | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Recipe:
    """The recipe of all layers: default < corpus and initial weights < preset < file < base < overrides.

    preset: a name from `presets()`. overrides: `section.field=value` strings, the value in TOML or a bare word; the
    word none leaves out a field that may be left out.
    base: tables from the caller, such as the source named on the command line, or a recipe as JSON.
    init: resolves `model.init`; without it no run is looked up and no weights are read, and `model.init` stays as is.
    note: called with a message about each field that is given under its former name.
    In each layer model.depth has lower precedence than the other fields of the layer.
    Raises RecipeError that names the layer, the field, the allowed values and the nearest correct name.
    """
    tables: dict[str, Any] = {}

    def add(layer: dict[str, Any], folder: Path | None = None) -> None:
        _merge_layer(tables, layer)
        model_init = layer.get("model", {}).get("init")
        if init is not None and isinstance(model_init, str):
            tables["model"]["init"] = init.locate(model_init, folder or Path.cwd())

    if preset is not None:
        available = presets()
        if preset not in available:
            raise RecipeError(
                f"there is no preset {preset!r}",
                todo=did_you_mean(preset, available) or f"there is: {', '.join(available)}",
            )
        add(checked(read_toml(available[preset]), f"preset {preset}", note))
    if file is not None:
        add(checked(read_toml(file), str(file), note), file.absolute().parent)
    add(renamed(base or {}, "", lambda _: None))
    settings: dict[str, Any] = {}
    for override in overrides:
        _merge(settings, checked(_parse_override(override), f"--set {override}", note))
    add(settings)
    corpus = known_corpus(tables.get("source", {}).get("corpus", ""))
    implied = init.implied(tables.get("model", {})) if init is not None else {}
    merged: dict[str, Any] = {}
    for layer in (corpus.recipe if corpus is not None else {}, implied, tables):
        _merge(merged, layer)
    try:
        recipe = from_tables(merged)
    except msgspec.ValidationError as error:  # from `base`: the other layers have been checked
        raise RecipeError(str(error)) from None
    check_together(recipe, str(file) if file else "")
    if init is not None and implied:
        init.check(recipe, implied)
    return recipe


def _merge_layer(tables: dict[str, Any], layer: dict[str, Any]) -> None:
    """Put a layer on top of `tables`, below it the shape of its model.depth; names of runs become lower case."""
    if isinstance(name := layer.get("name"), str):
        layer = layer | {"name": name.lower()}
    if isinstance(depth := layer.get("model", {}).get("depth"), int):
        _merge(tables, scale_to_depth(depth))
    _merge(tables, layer)


def _parse_override(text: str) -> dict[str, Any]:
    """`train.lr=3e-4` as tables."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError("--set needs FIELD=VALUE", where=f"--set {text}", todo="for example --set train.lr=3e-4")
    parsed: Any = value.strip()
    try:
        document = parsing.parse_toml(f"value = {value}")
        if len(document) == 1 and not isinstance(
            document["value"], datetime.date | datetime.time
        ):  # those are texts here
            parsed = document["value"]
    except parsing.ParseError:
        pass  # a bare word: --set tokenize.vocabulary=gpt2
    section, dot, name = key.strip().partition(".")
    if parsed == "none" and value.strip() == "none" and key.strip() in _optional():
        parsed = None
    return {section: {name: parsed}} if dot else {section: parsed}


def _optional() -> set[str]:
    """The fields that may be left out."""
    return {field.key for field in fields() if field.optional}


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


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
