"""The settings of the sampler as the Chat screen shows and changes them.

Every field of `Sampling`, and for masked models how they unmask.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Struct, structs

from core.errors import UsageError
from core.recipe.sampling import DENOISING_STEPS, Sampling, Slider, UnmaskingOrder, sampling_fields
from llmtui.view.lines import Line, joined
from llmtui.view.sanitize import shown


class SettingValueError(UsageError):
    """A text is no value of the setting."""

    doing = "change the setting"


class SamplerSettings(Struct, frozen=True, kw_only=True):
    """What a reply is generated with."""

    sampling: Sampling = Sampling()
    order: UnmaskingOrder = "random"
    """Of masked models, as is `denoising_steps`: see `core.sample.protocol.Generate`."""
    denoising_steps: int = DENOISING_STEPS


class Row(NamedTuple):
    """One setting in the list."""

    name: str
    label: str
    description: str


FIELDS = {field.name: field for field in sampling_fields()}
_ORDER, _STEPS = "order", "denoising_steps"
_DENOISING_STEPS = Slider("steps", (1, 2, 4, 8, 16, 32, 64, 128, 256))
_SUMMARY = ("temperature", "top_k", "top_p", "seed", "tokens")
"""The settings that the one-line summary always shows."""


def rows(*, masked: bool) -> list[Row]:
    """The settings of a causal or masked model: the most used first, then the others in order of application."""
    names = [*_SUMMARY, *(name for name in FIELDS if name not in _SUMMARY)]
    found = [Row(name, name.replace("_", " "), FIELDS[name].description) for name in names]
    if masked:
        orders = ", ".join(get_args(UnmaskingOrder))
        found.append(Row(_ORDER, "unmasking order", f"Which masked positions are unmasked first: {orders}."))
        found.append(Row(_STEPS, "denoising steps", "Forward passes per context of text; more are slower and better."))
    return found


def value(settings: SamplerSettings, name: str) -> Any:
    """The value of one setting."""
    return getattr(settings if name in (_ORDER, _STEPS) else settings.sampling, name)


def text_of(settings: SamplerSettings, name: str) -> str:
    """The value of one setting as it is shown, and as `parsed` reads it."""
    current, slider = value(settings, name), _slider(name)
    if isinstance(current, dict):
        return " ".join(f"{token}={bias:g}" for token, bias in current.items()) or "none"
    if isinstance(current, tuple):
        return " ".join(repr(each) for each in current) or "none"
    if slider is not None and slider.zero and not current:
        return slider.zero
    if slider is None or isinstance(current, int):
        return str(current)
    return f"{current:.{slider.decimals}f}" if round(current, slider.decimals) == current else f"{current:g}"


def stepped(settings: SamplerSettings, name: str, direction: int) -> SamplerSettings:
    """With the next larger (1) or smaller (-1) value of a setting; unchanged if there is none."""
    current, slider = value(settings, name), _slider(name)
    if name == _ORDER:
        orders = get_args(UnmaskingOrder)
        return _with(settings, name, orders[(orders.index(current) + direction) % len(orders)])
    if slider is None:
        return settings
    if slider.values:
        beyond = [each for each in slider.values if (each > current if direction > 0 else each < current)]
        return _with(settings, name, (beyond[0] if direction > 0 else beyond[-1]) if beyond else current)
    new = round(min(slider.highest, max(slider.lowest, current + slider.step * direction)), 2)
    return _with(settings, name, new)


def parsed(settings: SamplerSettings, name: str, text: str) -> SamplerSettings:
    """With the value that the user typed. Raises SettingValueError."""
    try:
        return _with(settings, name, _read(name, text.strip()))
    except msgspec.ValidationError as error:
        what = str(error).partition(" - at")[0]
        raise SettingValueError(f"{what}, got {shown(text, 40)}", todo=_example(name)) from None
    except (ValueError, SyntaxError):
        raise SettingValueError(
            f"{shown(text, 40)} is no value of {name.replace('_', ' ')}", todo=_example(name)
        ) from None


def reset(settings: SamplerSettings, name: str, recipe: SamplerSettings) -> SamplerSettings:
    """With the recipe's value of one setting."""
    return _with(settings, name, value(recipe, name))


def changed(settings: SamplerSettings, recipe: SamplerSettings) -> list[str]:
    """The names of the settings that differ from the recipe's."""
    return [row.name for row in rows(masked=True) if value(settings, row.name) != value(recipe, row.name)]


def summary(settings: SamplerSettings, recipe: SamplerSettings, cells: int) -> Line:
    """The usual settings and those that differ from the recipe's, which have a *, in one line."""
    different = changed(settings, recipe)
    names = [*_SUMMARY, *(name for name in different if name not in _SUMMARY)]
    parts: list[Line] = [
        [(f"{_label(name)} ", "dim"), (shown(text_of(settings, name), 40) + "*" * (name in different), "")]
        for name in names
    ]
    return joined(parts, cells, "   ")


def differences(settings: SamplerSettings, recipe: SamplerSettings) -> dict[str, Any]:
    """What differs from the recipe, by name, to be stored."""
    return {name: msgspec.to_builtins(value(settings, name), str_keys=True) for name in changed(settings, recipe)}


def with_differences(recipe: SamplerSettings, stored: dict[str, Any]) -> SamplerSettings:
    """The recipe's settings with the stored differences; those that are no longer valid are left out."""
    settings = recipe
    for name, each in stored.items():
        try:
            settings = _with(settings, name, each)
        except msgspec.ValidationError:
            continue
    return settings


def _slider(name: str) -> Slider | None:
    return _DENOISING_STEPS if name == _STEPS else None if name == _ORDER else FIELDS[name].slider


def _label(name: str) -> str:
    slider = _slider(name)
    return slider.label if slider else name.replace("_", " ")


def _with(settings: SamplerSettings, name: str, new: Any) -> SamplerSettings:
    """Raises msgspec.ValidationError for a value that is out of bounds."""
    if name in (_ORDER, _STEPS):
        known = msgspec.convert({name: new}, SamplerSettings)
        if known.denoising_steps < 1:
            raise msgspec.ValidationError("Expected `int` >= 1")
        return structs.replace(settings, **{name: getattr(known, name)})
    checked = msgspec.convert({name: new}, Sampling, strict=False, str_keys=True)
    return structs.replace(settings, sampling=structs.replace(settings.sampling, **{name: getattr(checked, name)}))


def _read(name: str, text: str) -> Any:
    if name == _ORDER:
        return next((order for order in get_args(UnmaskingOrder) if text and order.startswith(text)), text)
    if name in ("stop", "stop_tokens", "logit_bias") and text in ("", "none"):
        return {} if name == "logit_bias" else ()
    match name:
        case "stop":
            return tuple(_strings(text))
        case "stop_tokens":
            return tuple(int(part) for part in re.split(r"[\s,]+", text))
        case "logit_bias":
            joined_pairs = re.sub(r"\s*=\s*", "=", text.strip("{} "))  # as in the recipe, too
            pairs = (part.split("=") for part in re.split(r"[\s,]+", joined_pairs))
            return {int(token): float(bias) for token, bias in pairs}
    slider = _slider(name)
    if slider is not None and slider.zero and text == slider.zero:
        return 0
    integer = name == _STEPS or FIELDS[name].type is int
    number: float = int(text.replace(",", "")) if integer else float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _strings(text: str) -> Iterator[str]:
    """Quoted strings, or one without quotes in which \\n is a line break."""
    if text[0] not in "\"'":
        yield text.replace("\\n", "\n").replace("\\t", "\t")
        return
    quoted = re.findall(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", text)
    if re.sub(r"[\s,]", "", text) != re.sub(r"[\s,]", "", "".join(quoted)):
        raise ValueError(text)
    for each in quoted:
        yield str(ast.literal_eval(each))


def _example(name: str) -> str:
    examples = {
        "stop": "type one string, or several in quotes: '\\n' 'END'",
        "stop_tokens": "type token ids: 0 13",
        "logit_bias": "type token ids with a number: 318=-100",
        _ORDER: "type " + ", ".join(get_args(UnmaskingOrder)),
    }
    return examples.get(name, "type a number")
