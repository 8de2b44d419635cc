"""Which recipe fields may change when a run is resumed, and which may not. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from core.errors import UsageError
from core.recipe.schema import Model, Recipe, Train
from core.storage.artifact import Artifact, NewerVersionError

FIXED = {
    "model": "the weights are of that model",
    "train.batch_size": "the position in the text is counted in batches of that size",
    "train.seed": "the order of the text depends on it",
    "train.mask": "it would be another task",
    "train.mask_ratio": "it would be another task",
    "train.optimizer": "its state is of that optimizer",
    "train.groups": "the optimizer state is of those groups",
    "train.evaluate_tokens": "losses on slices of another size cannot be compared",
    "source": "it would be another text",
    "preprocess": "it would be another text",
    "tokenize": "it would be another vocabulary",
    "name": "the run's directory has it",
}
"""Fields that must not change, with the reason; for a section, all of its fields. All others may change."""


class ResumeConflictError(UsageError):
    """Text, vocabulary or a field in `FIXED` has changed since the checkpoint was saved."""

    doing = "continue this run"


class NewerCheckpointError(NewerVersionError):
    """The newest checkpoint was saved by a later version: skipping it would lose its progress."""

    doing = "continue this run"


class RecipeChange(Struct, frozen=True, kw_only=True):
    """A recipe field whose value has changed."""

    field: str
    """With its section, as "train.lr"; for a parameter group "train.groups[0].lr"."""
    old: Any
    new: Any
    why_not: str
    """Why it must not change; empty if it may."""

    def __str__(self) -> str:
        return f"{self.field} {_words(self.old)} → {_words(self.new)}"


def recipe_changes(old: Struct, new: Struct, section: str = "") -> list[RecipeChange]:
    """The fields that differ between two recipes, or between two tables of the name `section`."""
    return list(_changes(old, new, section))


def _changes(old: Struct, new: Struct, section: str) -> Iterator[RecipeChange]:
    for name in old.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        field = f"{section}.{name}" if section else name
        if before == after:
            continue
        if isinstance(before, Struct):
            yield from _changes(before, after, field)
        elif field == "train.groups" and [(g.names, g.optimizer) for g in before] == [
            (g.names, g.optimizer) for g in after
        ]:
            for number, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from _changes(one, other, f"{field}[{number}]")
        else:
            why_not = FIXED.get(field) or FIXED.get(section, "")
            yield RecipeChange(field=field, old=before, new=after, why_not=why_not)


def reject_forbidden(found: list[RecipeChange], where: str) -> None:
    """Raise ResumeConflictError if one of the changes is not allowed, naming every such field with both values."""
    wrong = [change for change in found if change.why_not]
    if wrong:
        raise ResumeConflictError(
            "; ".join(f"{change} ({change.why_not})" for change in wrong),
            where=where,
            kept="its checkpoints and its recipe are untouched",
            todo="leave that as it was; or start a new run: model.init = run:NAME begins it with these weights",
        )


def changes_since_checkpoint(checkpoint: Artifact, recipe: Recipe, tokens: Artifact) -> list[RecipeChange]:
    """The allowed changes of the recipe since `checkpoint` was saved.

    Raises ResumeConflictError if anything else has changed, NewerCheckpointError if the checkpoint's recipe is of a
    later version.
    """
    where = str(checkpoint.path)
    vocabularies = [artifact.manifest.files.get("vocabulary.json") for artifact in (checkpoint, tokens)]
    if len({file.sha256 for file in vocabularies if file}) > 1:
        raise _tokens_changed("the vocabulary is another one than that of its checkpoint", where)
    if checkpoint.manifest.inputs.get("tokens", tokens.content_fingerprint()) != tokens.content_fingerprint():
        raise _tokens_changed(
            "its text has changed: the tokens are not those that its checkpoint was trained on", where
        )
    found: list[RecipeChange] = []
    for section, kind in (("model", Model), ("train", Train)):
        if section not in checkpoint.manifest.recipe:
            continue
        try:
            before: Struct = msgspec.convert(checkpoint.manifest.recipe[section], kind)
        except msgspec.ValidationError as error:
            version = checkpoint.manifest.version
            raise NewerCheckpointError(
                f"version {version} of llmtui made its newest checkpoint, whose recipe is unknown here: {error}",
                where=where,
                todo="update llmtui",
            ) from None
        found += recipe_changes(before, getattr(recipe, section), section)
    reject_forbidden(found, where)
    return found


def _tokens_changed(what: str, where: str) -> ResumeConflictError:
    return ResumeConflictError(
        what,
        where=where,
        kept="its checkpoints are untouched",
        todo="bring back the text as it was; or start a new run: model.init = run:NAME begins it with these weights",
    )


def _words(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, str):
        return value or '""'
    return msgspec.json.encode(value).decode()
