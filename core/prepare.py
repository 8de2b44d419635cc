"""The data stages in their order: what is up to date is skipped, what broke off goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Struct

from core import download, preprocess, tokenize
from core.artifact import Artifact, Damaged, InUse, Staging, fingerprint
from core.events import Event, Note, Progress, StageFinished, StageSkipped, StageStarted
from core.files import remove_tree
from core.recipe import Recipe
from core.sources import source_name
from core.tokenize import bpe
from core.tokenize.adopt import part_name
from core.workspace import Workspace

Stage = Generator[Event, Any, Artifact]
"""Yields what it has to say, returns what it made. Only the trainer listens to what is sent in."""


class Prepared(Struct, frozen=True):
    """What training and everything behind it begin with."""

    clean: Artifact
    tokens: Artifact


def prepare(
    recipe: Recipe, workspace: Workspace, part: tuple[int, int] | None = None, pattern: str = bpe.PATTERN
) -> Generator[Event, Any, Prepared]:
    """Download, clean and tokenize what `recipe` says, in the workspace's artifacts. Yields what the stages say.

    part: (i, n), i from 1, for several machines that share the tokenizing: each makes the same clean documents, then
    every n-th shard of tokens from the i-th on, in an artifact of its own, `artifacts/tokens/NAME-MARK.part-i-of-n`.
    A machine that has the artifacts of other parts beside its own takes their shards over when it makes the whole.
    pattern: of a vocabulary that is learned. Raises the stages' Trouble.
    """
    name = source_name(recipe.source.corpus)

    def staging(stage: str, folder: str, version: int | str, fields: Struct, source: str | Artifact) -> Staging:
        """Where a data stage works: what decides its result decides its directory's name."""
        made_from = {source.manifest.stage: source.fingerprint} if isinstance(source, Artifact) else {}
        content = source.content() if isinstance(source, Artifact) else source
        mark = fingerprint(stage, version, content, fields)
        place = workspace.artifacts / folder / f"{name}-{mark}"
        if stage == "tokenize" and part is not None:
            place = part_name(place, part)
        return Staging(place, stage, mark, inputs=made_from, recipe=msgspec.to_builtins(fields))

    documents = yield from run_stage(
        staging("download", "documents", download.FORMAT, recipe.source, download.identify(recipe.source)),
        lambda out: download.download(recipe.source, out),
    )
    clean = yield from run_stage(
        staging("preprocess", "clean", preprocess.FORMAT, recipe.preprocess, documents),
        lambda out: preprocess.preprocess(recipe.preprocess, documents, out),
    )
    tokens = yield from run_stage(
        staging("tokenize", "tokens", tokenize.version(recipe.tokenize, pattern), recipe.tokenize, clean),
        lambda out: tokenize.tokenize(recipe.tokenize, clean, out, part, pattern),
    )
    return Prepared(clean, tokens)


def run_stage(staging: Staging, make: Callable[[Staging], Stage]) -> Stage:
    """One stage: skipped when its artifact is there, waited for while another run makes it, else made."""
    waiting = False
    while True:
        present = _present(staging)
        if present is not None:
            yield StageSkipped(stage=staging.stage, artifact=str(present.path), facts=present.facts)
            return present
        if not waiting:
            yield StageStarted(stage=staging.stage)
        try:
            with staging.open() as out:
                artifact = yield from make(out)
            pa.default_memory_pool().release_unused()  # Arrow keeps what it had, and the next stage wants room
            break
        except InUse:
            if not waiting:
                yield Note(text=f"waiting for another run that is at the same {staging.stage}")
            waiting = True
            yield Progress(done=0, total=None, unit="seconds")
            time.sleep(0.5)
    yield StageFinished(stage=staging.stage, artifact=str(artifact.path), facts=artifact.facts)
    return artifact


def _present(staging: Staging) -> Artifact | None:
    """The artifact, when it is there and whole; a damaged one is cleared away to be made again."""
    if not staging.final.exists():
        return None
    try:
        artifact = Artifact.open(staging.final)
    except Damaged:
        remove_tree(staging.final)
        return None
    return artifact if artifact.fingerprint == staging.fingerprint else None
