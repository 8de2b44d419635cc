"""Checks of a recipe's tables and of fields that depend on one another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from encodings import aliases
from typing import Any

import msgspec

from core.errors import UsageError, did_you_mean
from core.recipe.deadline import deadline_time
from core.recipe.fields import Field, fields, sections
from core.recipe.schema import Recipe
from core.storage.files import codec_named

LARGEST, MOST_STEPS = 10**15, 10**12
"""Largest integers in a recipe. Above, the tokens of all steps exceed 64 bits, and a run's records are unreadable."""
_LIMITS = {"train.steps": MOST_STEPS, "sample.seed": 2**62}
OTHER_NAMES = {
    "train.lr": ("learning_rate", "max_lr"),
    "train.lr_final": ("min_lr",),
    "train.schedule": ("lr_scheduler", "lr_scheduler_type"),
    "train.warmup": ("warmup_ratio", "warmup_steps", "warmup_iters"),
    "train.steps": ("max_steps", "max_iters"),
    "train.batch_size": ("per_device_train_batch_size",),
    "model.n_layer": ("n_layers", "num_layers", "num_hidden_layers"),
    "model.n_head": ("n_heads", "num_heads", "num_attention_heads"),
    "model.n_embd": ("d_model", "hidden_size", "embed_dim", "width"),
    "model.block_size": ("seq_len", "max_seq_len", "context_length", "max_position_embeddings"),
}
"""Fields under the names that transformers, nanoGPT and others give them."""
_UNKNOWN = re.compile(r"unknown field `(.+?)`")
"""In msgspec's message about a table."""


class RecipeError(UsageError):
    """A recipe with a wrong key, a wrong value or an impossible combination."""

    doing = "use this recipe"


def checked(tables: dict[str, Any], where: str, note: Callable[[str], None]) -> dict[str, Any]:
    """The tables of one layer with the present names of all fields, every name and value checked.

    note: called with a message about each field that is given under its former name. Raises RecipeError.
    """
    tables = renamed(tables, where, note)
    known = {field.key: field for field in fields()}
    for section, content in tables.items():
        if section in sections():
            if not isinstance(content, dict):
                example = next(key for key in known if key.startswith(f"{section}."))
                raise RecipeError(
                    f"{section!r} is a section, not a value",
                    where=where,
                    todo=f"name a field in it, as {example} is: in a file its fields follow a line [{section}]",
                )
            names = [f"{section}.{name}" for name in content]
        else:
            names = [section]
        for key in names:
            if key not in known:
                what = "section" if key == section and isinstance(content, dict) else "field"
                raise RecipeError(f"unknown {what} {key!r}", where=where, todo=suggestion(key))
    for field in known.values():
        table = tables.get(field.section, {}) if field.section else tables
        if field.name in table:
            _check_value(field, table[field.name], where)
    return tables


def renamed(tables: Mapping[str, Any], where: str, note: Callable[[str], None]) -> dict[str, Any]:
    """`tables` with the present names of fields that have a former one. Raises RecipeError where both are given."""
    former = {(field.section, field.stored_name): field for field in fields() if field.stored_name != field.name}
    out: dict[str, Any] = {}
    for section, content in tables.items():
        if not isinstance(content, Mapping):
            out[section] = content
            continue
        out[section] = {name: value for name, value in content.items() if (section, name) not in former}
        for name in (name for name in content if (section, name) in former):
            field = former[section, name]
            if field.name in content:
                raise RecipeError(
                    f"{section}.{name} is the former name of {field.key}, and both are given", where=where
                )
            note(f"{section}.{name} is now called {field.key} ({where})")
            out[section][field.name] = content[name]
    return out


def check_field(key: str, value: Any) -> None:
    """Check the value of one field, whatever the others are. Raises RecipeError."""
    _check_value(next(field for field in fields() if field.key == key), value, "")


def suggestion(key: str) -> str:
    """The field or section that a wrong `key` is likely to mean, or where the right ones are listed."""
    known = {field.key: field for field in fields()}
    section, dot, name = key.partition(".")
    there = [field.name for field in known.values() if field.section == section]
    if same := [field for field, names in OTHER_NAMES.items() if (name or section).lower() in names]:
        return f"did you mean {same[0]!r}?"
    if dot and (close := did_you_mean(name, there, f"{section}.{{}}")):
        return close
    elsewhere = [field.key for field in known.values() if field.name == (name or section)]
    if elsewhere:  # the right name in another section, or in none
        return "did you mean " + " or ".join(map(repr, elsewhere)) + "?"
    if dot:
        return f"[{section}] has {', '.join(there)}"
    close = did_you_mean(key, sections()) or did_you_mean(key, known)
    return close or f"sections are {', '.join(sorted(sections()))}; `llmtui recipe` prints all fields"


def _check_value(field: Field, value: Any, where: str) -> None:
    struct = sections().get(field.section, Recipe)
    if field.key == "name" and isinstance(value, str):
        value = value.lower()
    limit = _LIMITS.get(field.key, 2**63 - 1 if field.name == "seed" else LARGEST)
    if isinstance(value, int) and value > limit:
        todo = f"{field.key}: {field.description}"
        raise RecipeError(f"{field.key} = {value} is more than {limit:,}", where=where, todo=todo)
    try:
        msgspec.convert({field.stored_name: value}, struct, str_keys=True)
    except msgspec.ValidationError as error:
        if unknown := _UNKNOWN.search(str(error)):  # in a table of its own
            inside = field.allowed.rpartition("a table of ")[2].split(", ")
            todo = did_you_mean(unknown[1], inside) or f"there is {', '.join(inside)}"
            raise RecipeError(f"unknown field {unknown[1]!r} in {field.key}", where=where, todo=todo) from None
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        todo = f"{field.key}: {field.description}"
        if isinstance(value, str) and value[:1] in ("[", "{"):
            todo = f'it is not valid TOML: strings need quotes, such as ["a", "b"]; {todo}'
        raise RecipeError(f"{field.key} = {shown} is not {field.allowed}", where=where, todo=todo) from None


def check_together(recipe: Recipe, where: str) -> None:
    """Constraints between fields, and values that the type does not restrict. Raises RecipeError."""
    if (encoding := recipe.source.encoding) and not codec_named(encoding):
        raise RecipeError(
            f"source.encoding = {encoding!r} is no encoding of text",
            where=where or "[source]",
            todo=did_you_mean(encoding, aliases.aliases.values()) or "such as utf-8, utf-16, cp1250, iso8859-2, koi8-r",
        )
    width, heads = recipe.model.n_embd, recipe.model.n_head
    if recipe.model.positions == "rotary" and width % heads == 0 and width // heads % 2:
        raise RecipeError(
            f"rotary positions rotate pairs of dimensions, and the head size {width // heads} is odd",
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
    try:
        deadline_time(train.deadline, 0.0)
    except ValueError:
        raise RecipeError(
            f"train.deadline = {train.deadline!r} is not a time",
            where=where or "[train]",
            todo="a date and time, such as 2026-11-30T08:00, or a time, such as 08:00",
        ) from None
    if train.schedule == "wsd" and train.warmup + train.cooldown > 1:
        raise RecipeError(
            f"train.warmup {train.warmup:g} and train.cooldown {train.cooldown:g} are more than the whole training",
            where=where or "[train]",
            todo=f"train.cooldown = {1 - train.warmup:g} at most",
        )
    if recipe.rules.stop and recipe.rules.below is None:
        raise RecipeError(
            "rules.stop = true says nothing without rules.below",
            where=where or "[rules]",
            todo="give the loss at which to stop, such as rules.below = 1.5; train.patience ends a run by itself",
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
                todo="write it once, in place of the message; an empty template is the message alone",
            )
