"""The state of the new-run form, without widgets: what was typed, the recipe it gives, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.init.resolve import Resolver
from core.model.preset_table import preset_table
from core.recipe.checks import RecipeError
from core.recipe.fields import Field, fields
from core.recipe.file import load, presets
from core.recipe.overrides import override, overrides_to, toml_value, value_of
from core.recipe.schema import Recipe
from core.runs.branch import BranchError, branch_changes, branch_name, check_limit
from core.runs.directory import Run
from core.sources.catalog import BUILT_IN, resolve_corpus, source_name
from core.storage.workspace import Workspace, check_name
from core.train.resume_compat import FIXED, recipe_changes
from core.train.schedule import limits

FIRST = (
    "source.corpus", "name", "model.depth", "model.block_size", "train.minutes", "train.batch_size", "train.lr",
    "train.muon_lr",
)  # fmt: skip
"""The fields that matter first: where the form begins."""

DEFAULT_PRESET = "small"

_OF_THE_MODEL = ("model", "tokenize")
"""Sections whose fields the Model screen changes."""

PRESET = Field(
    section="",
    name="preset",
    stored_name="preset",
    description="The recipe to start from; changed fields take precedence over it.",
    allowed=f"one of {', '.join(presets())}",
    default=DEFAULT_PRESET,
    choices=tuple(presets()),
    is_text=False,
    optional=False,
)
"""No field of a recipe, but one of the form."""

Purpose = Literal["new", "like", "resume", "branch"]
"""A new run of a preset; a new run with the recipe of another; the same run with other settings; a new run that
continues from a checkpoint of another."""


class Resolved(NamedTuple):
    """What a form gives at one moment."""

    recipe: Recipe | None
    """Without the fields that have a problem; None where the rest gives no recipe either."""
    start: Recipe | None
    """The recipe without any change: of the preset, or of the run."""
    problems: dict[str, LlmtuiError]
    """By field; "" where no field is to blame."""


class FormInputs(NamedTuple):
    """All that determines a recipe: a copy, for another thread."""

    preset: str
    run: Run | None
    purpose: Purpose
    texts: Mapping[str, str]
    checkpoint: Path | None = None


class RecipeForm:
    """The texts that the user gave to fields, over a preset or the recipe of a run."""

    def __init__(self, purpose: Purpose = "new", run: Run | None = None, checkpoint: Path | None = None) -> None:
        """run: for the purposes other than "new". checkpoint: where a branch begins."""
        self.purpose, self.run, self.checkpoint = purpose, run, checkpoint
        self.preset = DEFAULT_PRESET
        self.texts: dict[str, str] = {}
        """What was typed, by the key of the field, whether it is valid or not."""

    @property
    def draft_key(self) -> str:
        """Under which the session keeps it."""
        run = f" {self.run.id}" if self.run else ""
        return self.purpose + run + (f" {self.checkpoint.name}" if self.checkpoint else "")

    @property
    def inputs(self) -> FormInputs:
        return FormInputs(self.preset, self.run, self.purpose, dict(self.texts), self.checkpoint)

    @property
    def first(self) -> list[Field]:
        """The fields that matter first."""
        by_key = {field.key: field for field in fields()}
        first = [by_key[key] for key in FIRST]
        return [first[0], PRESET, *first[1:]] if self.purpose == "new" else first

    @property
    def fields(self) -> list[Field]:
        """Every field, those that matter first at the beginning."""
        first = self.first
        return [*first, *(field for field in fields() if field not in first)]

    def search(self, text: str) -> list[Field]:
        """The fields whose name or description contains all words of `text`; without text those that may change."""
        words = text.lower().split()
        return [
            field
            for field in self.fields
            if all(word in f"{field.key} {field.description}".lower() for word in words)
            and (words or not self.why_fixed(field.key))
        ]

    def best_match(self, text: str) -> Field | None:
        """Of the fields that `search` finds, the one named `text`, else one whose name contains it, else the first."""
        text = text.strip().lower()
        return min(
            self.search(text),
            key=lambda field: (field.key.rpartition(".")[2] != text, text not in field.key),
            default=None,
        )

    def why_fixed(self, key: str) -> str:
        """Why a field must not change; empty where it may."""
        if self.purpose not in ("resume", "branch") or (self.purpose == "branch" and key == "name"):
            return ""
        return FIXED.get(key) or FIXED.get(key.partition(".")[0], "")

    def set(self, key: str, text: str) -> None:
        """Give a field the text that was typed."""
        if key == PRESET.key:
            self.preset = text
        else:
            self.texts[key] = text

    def set_model(self, recipe: Recipe, preset: str) -> None:
        """Give the fields of the model and its vocabulary the values of `recipe`, a variant of `preset`, or of the run
        that this form is like. What was typed into other fields is kept."""
        by_key = {field.key: field for field in fields()}
        if self.run:
            before = self.run.recipe
            changed = [key for key, field in by_key.items() if value_of(before, field) != value_of(recipe, field)]
        else:
            self.preset = preset
            changed = [entry.partition("=")[0] for entry in overrides_to(recipe, preset=preset)]
        self.texts = {key: text for key, text in self.texts.items() if by_key[key].section not in _OF_THE_MODEL}
        self.texts |= {key: self.value_in(by_key[key], recipe) for key in changed}

    def reset(self, key: str) -> bool:
        """Take back what was typed into a field; whether there was anything."""
        if key == PRESET.key:
            changed, self.preset = self.preset != DEFAULT_PRESET, DEFAULT_PRESET
            return changed
        return self.texts.pop(key, None) is not None

    def text(self, field: Field, recipe: Recipe | None) -> str:
        """What a field holds: as it was typed, else its value in `recipe`."""
        if field.key == PRESET.key:
            return self.preset
        if field.key in self.texts:
            return self.texts[field.key]
        return "" if recipe is None else self.value_in(field, recipe)

    def value_in(self, field: Field, recipe: Recipe) -> str:
        """The value of a field in `recipe`, as it is typed."""
        return value_text(value_of(recipe, field))

    def is_changed(self, field: Field, resolved: Resolved) -> Literal["typed", "follows", ""]:
        """Whether a field was changed, or has another value because of another field."""
        if field.key == PRESET.key:
            return "typed" if self.preset != DEFAULT_PRESET else ""
        if field.key in self.texts:
            return "typed"
        if resolved.recipe is None or resolved.start is None:
            return ""
        return "follows" if value_of(resolved.recipe, field) != value_of(resolved.start, field) else ""

    def step(self, field: Field, recipe: Recipe | None, direction: int) -> bool:
        """Choose the next or previous of the values of a field with a few; whether it has any."""
        values = [entry.name for entry in preset_table()] if field.key == PRESET.key else list(field.choices)
        if field.optional and values:
            values = ["", *values]
        if not values or self.why_fixed(field.key):
            return False
        now = self.text(field, recipe)
        index = values.index(now) if now in values else -1 if direction > 0 else 0
        self.set(field.key, values[(index + direction) % len(values)])
        return True


def value_text(value: Any) -> str:
    """A value as the form shows it and takes it: text without quotes, nothing where it is left out."""
    if value is None:
        return ""
    return value if isinstance(value, str) else toml_value(value)


def typed_overrides(texts: Mapping[str, str]) -> dict[str, str]:
    """The overrides of the fields with the texts that were typed, by key."""
    by_key = {field.key: field for field in fields()}
    return {key: _as_override(by_key[key], text) for key, text in texts.items()}


def _as_override(field: Field, text: str) -> str:
    text = text if field.is_text else text.strip()
    if field.optional and not text:
        return override(field.key, None)
    is_word = field.is_text or (field.choices and "true" not in field.choices)
    return override(field.key, text) if is_word else f"{field.key}={text}"


def resolve_form(inputs: FormInputs, workspace: Workspace) -> Resolved:
    """The recipe of a form, with the errors that `load` gives, one for each field. Reads presets, runs and folders."""
    problems: dict[str, LlmtuiError] = {}
    texts = dict(inputs.texts)
    try:
        load(preset=inputs.preset)
    except RecipeError as error:
        problems[PRESET.key] = error
        inputs = inputs._replace(preset=DEFAULT_PRESET)
    start = _start(inputs, None)
    base = _start(inputs, _corpus(texts.pop("source.corpus", None), problems))
    name = texts.pop("name", "").strip()
    if name:
        try:
            base["name"] = check_name(name)
        except LlmtuiError as error:
            problems["name"] = error
    preset = inputs.preset if inputs.purpose == "new" else None
    resolver = Resolver(workspace)
    overrides = typed_overrides(texts)
    recipe, together = None, None
    while recipe is None:
        try:
            recipe = load(preset=preset, base=base, overrides=overrides.values(), init=resolver)
        except LlmtuiError as error:
            key = blamed_field(error, overrides)
            if error.where.startswith("--set ") or together is None:
                problems.setdefault(key, error)
            if not error.where.startswith("--set "):  # without that field the others may not fit either: no news
                together = error
            if not overrides.pop(key, None):
                break
    try:
        unchanged = load(preset=preset, base=start, init=resolver)
    except LlmtuiError:
        unchanged = None
    if inputs.run and recipe and inputs.purpose in ("resume", "branch"):
        branch = inputs.checkpoint is not None
        for change in branch_changes(inputs.run, recipe) if branch else recipe_changes(inputs.run.recipe, recipe):
            if change.why_not:
                problems.setdefault(change.field, RecipeError(f"{change.field} must stay: {change.why_not}"))
    if inputs.checkpoint and recipe:
        try:
            check_limit(inputs.checkpoint, recipe)
        except BranchError as error:
            problems.setdefault(f"train.{next(iter(limits(recipe.train)))}", error)
    return Resolved(recipe, unchanged, problems)


def _corpus(text: str | None, problems: dict[str, LlmtuiError]) -> str | None:
    """The source as a run stores it; None where none is typed, or what is typed has a problem."""
    if text is None:
        return None
    try:
        return resolve_corpus(text.strip() or BUILT_IN[0])
    except LlmtuiError as error:
        problems["source.corpus"] = error
        return None


def _start(inputs: FormInputs, corpus: str | None) -> dict[str, Any]:
    """The tables below the changes. corpus: the source, by default that of the preset or the run."""
    if inputs.run is None:
        corpus = corpus or load(preset=inputs.preset).source.corpus
        return {"name": source_name(corpus), "source": {"corpus": corpus}}
    tables: dict[str, Any] = msgspec.to_builtins(inputs.run.recipe, str_keys=True)
    if inputs.purpose == "like":
        tables["name"] = next_name(inputs.run.name)
        if corpus:
            tables["source"]["corpus"] = corpus
    if inputs.checkpoint:
        tables["name"] = branch_name(inputs.run, step_of(inputs.checkpoint))
    return tables


def next_name(name: str) -> str:
    """The name of a run like the one called `name`: `bard-2` after `bard`, `bard-3` after that."""
    stem, number = re.fullmatch(r"(.*?)(?:-(\d{1,4}))?", name).groups()  # type: ignore[union-attr]
    return f"{stem[:58]}-{int(number) + 1 if number else 2}" if stem else f"{name[:58]}-2"


def blamed_field(error: LlmtuiError, typed: Iterable[str]) -> str:
    """The field among those `typed` that an error is about; "" where it names none of them."""
    typed = list(typed)
    if error.where.startswith("--set "):
        key = error.where.removeprefix("--set ").partition("=")[0]
        return key if key in typed else ""
    if error.where in typed:
        return error.where
    named = f"{error.what} {error.todo}"
    section = error.where.strip("[]")
    for key in reversed(typed):  # the last change is the likeliest cause
        if re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", named):
            return key
        if key.startswith(f"{section}.") and re.search(rf"(?<!\w){re.escape(key.partition('.')[2])}(?!\w)", named):
            return key
    return next((key for key in reversed(typed) if key.startswith(f"{section}.")), "")
