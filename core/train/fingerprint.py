"""The fingerprint of a training, by which a finished one is found instead of training again. Imports no torch."""

from __future__ import annotations

import msgspec

from core.recipe.schema import Recipe
from core.storage.artifact import Artifact, fingerprint

FORMAT = 1
"""Version of what a fingerprint of this stage stands for."""

WITHOUT_INFLUENCE = ("deadline", "sharding")
"""Fields of [train] that do not change what is computed."""


def training_fingerprint(recipe: Recipe, tokens: Artifact) -> str:
    """Fingerprint of everything that determines a checkpoint: the model, how it is trained, and on what."""
    train = msgspec.to_builtins(recipe.train)
    for field in WITHOUT_INFLUENCE:
        del train[field]
    return fingerprint("train", FORMAT, recipe.model, train, tokens.content_fingerprint())
