"""What of a recipe may change between two attempts at one run, and what may not. Imports no torch."""

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
    "train.batch_size": "the place in the text is counted in batches of that size",
    "train.seed": "the order of the text hangs on it",
    "train.mask": "it would be another task",
    "train.mask_share": "it would be another task",
    "train.optimizer": "its averages are of that optimizer",
    "train.groups": "the averages are of those optimizers",
    "train.evaluate_tokens": "losses on slices of another size cannot be compared",
    "source": "it would be another text",
    "preprocess": "it would be another text",
    "tokenize": "it would be another vocabulary",
    "name": "the run's directory has it",
}
"""Fields, and sections of which every field, that must stay as they were, and why. All others may change."""


class ResumeConflictError(UsageError):
    """Something has changed that the training cannot go on with."""

    doing = "go on with this run"


class NewerCheckpointError(NewerVersionError):
    """The newest checkpoint is of a later version: to pass over it would lose what that one has done."""

    doing = "go on with this run"


class Change(Struct, frozen=True, kw_only=True):
    """A field that has another value than before."""

    field: str
    """With its section: "train.lr"; of a group of parameters "train.groups[0].lr"."""
    old: Any
    new: Any
    why_not: str
    """Why it must not change; empty where it may."""

    def __str__(self) -> str:
        return f"{self.field} {_words(self.old)} → {_words(self.new)}"


def changes(old: Struct, new: Struct, section: str = "") -> list[Change]:
    """What is different in `new`, a recipe or the part of one that `section` names."""
    return list(_changes(old, new, section))


def _changes(old: Struct, new: Struct, section: str) -> Iterator[Change]:
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
            yield Change(field=field, old=before, new=after, why_not=why_not)


def refuse(found: list[Change], where: str) -> None:
    """Raise ResumeConflictError where one of the changes must not be, naming every such field with both values."""
    wrong = [change for change in found if change.why_not]
    if wrong:
        raise ResumeConflictError(
            "; ".join(f"{change} ({change.why_not})" for change in wrong),
            where=where,
            kept="its checkpoints and its recipe are untouched",
            todo="leave that as it was; or start a new run: model.init = run:NAME begins it with these weights",
        )


def since(checkpoint: Artifact, recipe: Recipe, tokens: Artifact) -> list[Change]:
    """What may change and has since `checkpoint` was saved.

    Raises ResumeConflictError where something else has, and NewerCheckpointError where the checkpoint's recipe is of
    a later version.
    """
    where = str(checkpoint.path)
    vocabularies = [artifact.manifest.files.get("vocabulary.json") for artifact in (checkpoint, tokens)]
    if len({file.sha256 for file in vocabularies if file}) > 1:
        raise _other_tokens("the vocabulary is another one than that of its checkpoint", where)
    if checkpoint.manifest.inputs.get("tokens", tokens.content()) != tokens.content():
        raise _other_tokens("its text has changed: the tokens are not those that its checkpoint was trained on", where)
    found: list[Change] = []
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
        found += changes(before, getattr(recipe, section), section)
    refuse(found, where)
    return found


def _other_tokens(what: str, where: str) -> ResumeConflictError:
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
