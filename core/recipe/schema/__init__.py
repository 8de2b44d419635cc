"""The typed recipe. Each field is one line with its description, used for files, `--help`, forms and errors.

A field whose name has changed keeps its first name in `msgspec.field(name=...)`: that name is stored in run.json,
model.json and manifests and enters the fingerprints, so that existing artifacts stay valid. Recipe files and `--set`
take the new name, and still the stored one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from core.recipe.schema.chat import Chat
from core.recipe.schema.model import Model
from core.recipe.schema.preprocess import Preprocess
from core.recipe.schema.rules import Rules
from core.recipe.schema.sample import Sample
from core.recipe.schema.source import Source
from core.recipe.schema.tokenize import Tokenize
from core.recipe.schema.train import Group, Train

__all__ = ["Chat", "Group", "Model", "Preprocess", "Recipe", "Rules", "Sample", "Source", "Tokenize", "Train"]


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a run builds."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
            description="Name of the run: a-z, 0-9, dot, dash, underscore.",
        ),
    ] = "untitled"
    source: Source = Source()
    preprocess: Preprocess = Preprocess()
    tokenize: Tokenize = Tokenize()
    model: Model = Model()
    train: Train = Train()
    rules: Rules = Rules()
    sample: Sample = Sample()
    chat: Chat = Chat()
