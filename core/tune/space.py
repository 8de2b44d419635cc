"""The search space of a study: which fields of a recipe vary, over which values, and under which conditions.

In TOML, a table [space] of fields with a range or a list:

    [space]
    train.lr = { low = 1e-4, high = 3e-3, log = true }
    model.n_layer = [4, 6, 8]
    train.muon_lr = { low = 0.005, high = 0.05, log = true, when = { "train.optimizer" = "muon" } }
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct

from core.errors import did_you_mean
from core.recipe.checks import RecipeError, check_field, suggestion
from core.recipe.fields import Field, allowed, fields
from core.recipe.file import load
from core.recipe.overrides import toml_value
from core.recipe.schema import Recipe

Values = dict[str, Any]
"""Values of fields by their dotted names."""

NOT_SEARCHED = {
    "name": "it names the runs",
    "train.steps": "it is the budget of a trial",
    "train.tokens": "it is the budget of a trial",
    "train.minutes": "it is the budget of a trial",
    "train.seed": "repeats over seeds are a setting of the study",
    "train.evaluate_tokens": "losses on slices of another size cannot be compared",
}
"""Fields that a study does not vary, with the reason."""

GRID_POINTS = 5
"""Values of a range without a step in a grid."""


class SpaceError(RecipeError):
    """A search space that is empty, contradictory or impossible."""

    doing = "use this search space"


class Range(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high`, both included; whole numbers if the field takes them."""

    low: float
    high: float
    log: bool = False
    """Uniform in the logarithm: for values of several orders of magnitude."""
    step: float | None = None
    """Distance between two values; any number in between without one."""
    when: dict[str, Any] = {}
    """The values of other fields with which this one varies; otherwise it stays as in the recipe."""


class Choice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of some values."""

    values: tuple[Any, ...]
    when: dict[str, Any] = {}


class Parameter(Struct, frozen=True, kw_only=True):
    """A field that varies."""

    key: str
    domain: Range | Choice
    integer: bool

    def sample(self, rng: random.Random) -> Any:
        """A value, uniform in the range or its logarithm, or among the choices."""
        domain = self.domain
        if isinstance(domain, Choice):
            return domain.values[rng.randrange(len(domain.values))]
        if domain.log:
            return self.rounded(math.exp(rng.uniform(math.log(domain.low), math.log(domain.high))))
        if self.integer and domain.step is None:
            return rng.randint(int(domain.low), int(domain.high))
        if domain.step is not None:
            return self.rounded(domain.low + domain.step * rng.randint(0, self._steps))
        return self.rounded(rng.uniform(domain.low, domain.high))

    def grid(self) -> list[Any]:
        """All choices; of a range every step, or `GRID_POINTS` values at equal distances."""
        domain = self.domain
        if isinstance(domain, Choice):
            return list(domain.values)
        if domain.step is not None:
            numbers = [domain.low + domain.step * index for index in range(self._steps + 1)]
        else:
            shares = [index / (GRID_POINTS - 1) for index in range(GRID_POINTS)]
            if domain.log:
                numbers = [domain.low * (domain.high / domain.low) ** share for share in shares]
            else:
                numbers = [domain.low + (domain.high - domain.low) * share for share in shares]
        return list(dict.fromkeys(self.rounded(number) for number in numbers))

    def contains(self, value: Any) -> bool:
        """Whether the parameter can have this value."""
        domain = self.domain
        if isinstance(domain, Choice):
            return value in domain.values
        return isinstance(value, int | float) and domain.low <= value <= domain.high

    def rounded(self, number: float) -> float | int:
        """`number` within the range, as the field stores it: a whole number, or four significant digits."""
        assert isinstance(self.domain, Range)
        number = min(max(number, self.domain.low), self.domain.high)
        return round(number) if self.integer else float(f"{number:.4g}")

    @property
    def _steps(self) -> int:
        assert isinstance(self.domain, Range) and self.domain.step is not None
        return int((self.domain.high - self.domain.low) / self.domain.step + 1e-9)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameter varies, given the values of all fields before it."""
        return all(values.get(key) == value for key, value in self.domain.when.items())


class Space(Struct, frozen=True, kw_only=True):
    """The parameters of a study, those that others depend on first."""

    parameters: tuple[Parameter, ...]

    def sample(self, rng: random.Random, recipe: Recipe) -> Values:
        """A random value of each parameter that applies."""
        return self._assign(recipe, (parameter.sample(rng) for parameter in self.parameters))

    def grid(self, recipe: Recipe) -> Iterator[Values]:
        """Every combination, each once."""
        seen = set()
        for combination in itertools.product(*(parameter.grid() for parameter in self.parameters)):
            values = self._assign(recipe, combination)
            key = msgspec.json.encode(sorted(values.items(), key=lambda pair: pair[0]))
            if key not in seen:
                seen.add(key)
                yield values

    def _assign(self, recipe: Recipe, sampled: Iterable[Any]) -> Values:
        values: Values = {}
        context = _conditions(recipe, self.parameters)
        for parameter, value in zip(self.parameters, sampled, strict=True):
            if parameter.applies(context):
                values[parameter.key] = context[parameter.key] = value
        return values

    def applying(self, recipe: Recipe, values: Mapping[str, Any]) -> list[Parameter]:
        """The parameters that vary, given the values of others."""
        context = _conditions(recipe, self.parameters) | dict(values)
        return [parameter for parameter in self.parameters if parameter.applies(context)]


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """`recipe` with these values. Raises RecipeError if they do not fit together."""
    overrides = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in values.items()]
    return load(base=msgspec.to_builtins(recipe, str_keys=True), overrides=overrides)


def typed_values(recipe: Recipe, overrides: Sequence[str]) -> Values:
    """The values in `FIELD=VALUE` strings, checked as a change of `recipe`. Raises RecipeError."""
    base = msgspec.to_builtins(recipe, str_keys=True)
    changed = msgspec.to_builtins(load(base=base, overrides=overrides), str_keys=True)
    values: Values = {}
    for override in overrides:
        key = override.partition("=")[0].strip()
        section, _, name = key.rpartition(".")
        table = changed[section] if section else changed
        values[key] = table[name]
    with_values(recipe, values)
    return values


def field_value(recipe: Recipe, key: str) -> Any:
    """The value of the field with that dotted name."""
    section, _, name = key.rpartition(".")
    return getattr(getattr(recipe, section) if section else recipe, name)


def read_space(tables: Mapping[str, Any], recipe: Recipe, where: str = "[space]") -> Space:
    """The search space in the table [space], checked against `recipe`, which has the values of all other fields.

    Raises SpaceError that names the field and says what is wrong, before anything is trained.
    """
    known = {field.key: field for field in fields()}
    parameters: list[Parameter] = []
    for key, value in _flattened(tables, known):
        parameters.append(_parameter(key, value, known, where))
    for parameter in parameters:
        if sum(other.key == parameter.key for other in parameters) > 1:
            raise SpaceError(f"{parameter.key} is given twice", where=where)
    if not parameters:
        raise SpaceError(
            "it is empty", where=where, todo="for example: train.lr = { low = 1e-4, high = 3e-3, log = true }"
        )
    return Space(parameters=_ordered(parameters, recipe, where))


def _flattened(tables: Mapping[str, Any], known: Mapping[str, Field]) -> Iterator[tuple[str, Any]]:
    """Dotted names and their values; in TOML `train.lr = …` is a table in a table."""
    sections = {field.section for field in known.values()}
    for key, value in tables.items():
        if key in sections and isinstance(value, Mapping):
            for name, inner in value.items():
                yield f"{key}.{name}", inner
        else:
            yield key, value


def _parameter(key: str, value: Any, known: Mapping[str, Field], where: str) -> Parameter:
    if key not in known:
        raise SpaceError(f"a recipe has no field {key!r}", where=where, todo=suggestion(key))
    if key in NOT_SEARCHED:
        raise SpaceError(f"{key} cannot vary: {NOT_SEARCHED[key]}", where=where)
    domain = _domain(key, value, where)
    bounds = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
    integer = isinstance(domain, Range) and known[key].allowed.startswith("a whole number")
    if integer:
        assert isinstance(domain, Range)
        numbers = [number for number in (*bounds, domain.step) if number is not None]
        if any(number != int(number) for number in numbers):
            raise SpaceError(f"{key} takes whole numbers, and the range has others", where=where)
        bounds = tuple(int(number) for number in bounds)
    for bound in bounds:  # each with the rest as it is in the recipe: a combination may fail, a single value must not
        _check_value(key, bound, where)
    for condition in domain.when:
        if condition not in known:
            todo = did_you_mean(condition, known) or ""
            raise SpaceError(f"{key} depends on {condition!r}, which is no field", where=where, todo=todo)
    return Parameter(key=key, domain=domain, integer=integer)


def _check_value(key: str, value: Any, where: str) -> None:
    """Raises SpaceError if the field never takes this value, whatever the others are."""
    try:
        check_field(key, value)
    except RecipeError as error:
        raise SpaceError(error.what, where=where, todo=error.todo) from None


def _domain(key: str, value: Any, where: str) -> Range | Choice:
    todo = "write a range, { low = …, high = …, log = true }, or a list of values"
    if isinstance(value, list | tuple):
        value = {"values": value}
    if not isinstance(value, Mapping):
        raise SpaceError(f"{key} = {value!r} is neither a range nor a list", where=where, todo=todo)
    kind: type[Range] | type[Choice] = Choice if "values" in value else Range
    if wrong := wrong_entry(value, kind):
        raise SpaceError(f"{key}: {wrong[0]}", where=where, todo=wrong[1] or todo)
    domain: Range | Choice = msgspec.convert(dict(value), kind)
    if isinstance(domain, Choice):
        if not domain.values:
            raise SpaceError(f"{key} has no values", where=where)
        for each in domain.values:
            if isinstance(each, float) and not math.isfinite(each):
                raise SpaceError(f"{key}: the value {each} is not finite", where=where)
            if sum(msgspec.json.encode(other) == msgspec.json.encode(each) for other in domain.values) > 1:
                raise SpaceError(f"{key} has the value {each!r} twice", where=where)
        return domain
    if not all(map(math.isfinite, (domain.low, domain.high, domain.step or 1.0))):
        raise SpaceError(f"{key}: low, high and step have to be finite", where=where)
    if domain.low > domain.high:
        raise SpaceError(f"{key}: low {domain.low:g} is above high {domain.high:g}", where=where)
    if domain.log and domain.low <= 0:
        raise SpaceError(
            f"{key}: the logarithm of low {domain.low:g} does not exist", where=where, todo="a low above 0, or no log"
        )
    if domain.log and domain.step is not None:
        raise SpaceError(f"{key}: a range has a step, or it is logarithmic, not both", where=where)
    if domain.step is not None and domain.step <= 0:
        raise SpaceError(f"{key}: step {domain.step:g} is not above 0", where=where)
    return domain


_OTHER_KEYS = {"min": "low", "max": "high", "choices": "values", "distribution": "log", "type": "log"}
"""What other programs call the entries of a range or a list."""


def wrong_entry(table: Mapping[str, Any], kind: type[Struct]) -> tuple[str, str] | None:
    """What is wrong with an entry of `table`, which is to become a `kind`, and what to do; None if nothing is."""
    types = get_type_hints(kind, include_extras=True)
    about = {field.name: field for field in msgspec.inspect.type_info(kind).fields}  # type: ignore[attr-defined]
    for name, value in table.items():
        if name not in about:
            close = f"did you mean {other!r}?" if (other := _OTHER_KEYS.get(name)) in about else ""
            return f"there is no {name!r}", close or did_you_mean(name, about) or f"there is {', '.join(about)}"
        try:
            msgspec.convert(value, types[name], str_keys=True)
        except msgspec.ValidationError:
            return f"{name} = {toml_value(value)} is not {allowed(about[name].type)}", ""
    missing = [name for name, field in about.items() if field.required and name not in table]
    return (f"it has no {missing[0]}", "") if missing else None


def _ordered(parameters: list[Parameter], recipe: Recipe, where: str) -> tuple[Parameter, ...]:
    """Parameters after those that they depend on. Raises SpaceError for a circle, and for a `when` that never holds."""
    by_key = {parameter.key: parameter for parameter in parameters}
    ordered: list[Parameter] = []
    while len(ordered) < len(parameters):
        placed = {parameter.key for parameter in ordered}
        ready = [
            parameter
            for parameter in parameters
            if parameter.key not in placed and all(key in placed or key not in by_key for key in parameter.domain.when)
        ]
        if not ready:
            circle = ", ".join(key for key in by_key if key not in placed)
            raise SpaceError(f"these depend on each other: {circle}", where=where)
        ordered += ready
    for parameter in ordered:
        for key, value in parameter.domain.when.items():
            other = by_key.get(key)
            if other is None and field_value(recipe, key) != value:
                raise SpaceError(
                    f"{parameter.key} varies when {key} = {value!r}, which it never is",
                    where=where,
                    todo=f"it is {field_value(recipe, key)!r} in the recipe",
                )
            if other is not None and isinstance(other.domain, Choice) and value not in other.domain.values:
                raise SpaceError(
                    f"{parameter.key} varies when {key} = {value!r}, which is none of its values", where=where
                )
    return tuple(ordered)


def _conditions(recipe: Recipe, parameters: Iterable[Parameter]) -> Values:
    """The recipe's values of the fields that conditions are about."""
    keys = {key for parameter in parameters for key in parameter.domain.when}
    return {key: field_value(recipe, key) for key in keys}
