"""Runs the data stages in order; skips what is up to date and resumes what was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Struct

from core import download, preprocess, tokenize
from core.errors import DiskError
from core.events import Event, Note, Progress, StageFinished, StageSkipped, StageStarted
from core.plural import size_text
from core.recipe.schema import Recipe
from core.sources.catalog import source_name
from core.storage.artifact import AlteredArtifactError, Artifact, DamagedError, InUseError, Staging, fingerprint
from core.storage.files import remove_tree
from core.storage.workspace import Workspace, free_bytes
from core.tokenize import bpe
from core.tokenize.merge_parts import part_path

MARGIN = 16 * 2**20
"""Free bytes that every stage requires, so that the journal can be written."""

Stage = Generator[Event, Any, Artifact]
"""Yields events, returns the artifact. Values sent in are ignored: only the trainer takes commands."""


class Prepared(Struct, frozen=True):
    """The inputs of the training stage and the stages after it."""

    clean: Artifact
    tokens: Artifact


def prepare(
    recipe: Recipe, workspace: Workspace, part: tuple[int, int] | None = None, pattern: str = bpe.PATTERN
) -> Generator[Event, Any, Prepared]:
    """Download, clean and tokenize the source of `recipe` into the workspace's artifacts. Yields the stages' events.

    part: (i, n), i from 1, for several machines that share the tokenizing: each makes the same clean documents, then
    every n-th token shard from the i-th on, in its own artifact, `artifacts/tokens/NAME-FINGERPRINT.part-i-of-n`;
    part 0 has only the vocabulary. What artifacts of other parts on this machine have is used.
    pattern: pre-tokenization pattern of a vocabulary that is trained. Raises the stages' LlmtuiError.
    """
    whole: set[Path] = set()
    while True:
        try:
            return (yield from _prepare(recipe, workspace, part, pattern, whole))
        except AlteredArtifactError as damage:
            if damage.artifact in whole:
                raise  # as fast as it is made it changes: no disk to work on
            yield Note(level="warning", text=f"{damage.artifact.name}: {damage.what}; it is made again")
            remove_tree(damage.artifact)


def _prepare(
    recipe: Recipe, workspace: Workspace, part: tuple[int, int] | None, pattern: str, whole: set[Path]
) -> Generator[Event, Any, Prepared]:
    """`prepare`, until something is found to have changed. whole: artifacts known to be as written; grows.

    What a stage or the training reads is compared with its digest first, once an attempt.
    """
    name = source_name(recipe.source.corpus)

    def stage(
        stage: str,
        folder: str,
        version: int | str,
        fields: Struct,
        source: str | Artifact,
        make: Callable[[Staging], Stage],
        need: int,
    ) -> Stage:
        """One data stage: what decides its result decides its directory's name. need: bytes it will take at least."""
        inputs = {source.manifest.stage: source.fingerprint} if isinstance(source, Artifact) else {}
        content = source.content_fingerprint() if isinstance(source, Artifact) else source
        stage_fingerprint = fingerprint(stage, version, content, fields)
        path = workspace.artifacts / folder / f"{name}-{stage_fingerprint}"
        if stage == "tokenize" and part is not None:
            path = part_path(path, part)
        staging = Staging(path, stage, stage_fingerprint, inputs=inputs, recipe=msgspec.to_builtins(fields))

        def checked(out: Staging) -> Stage:
            _require_room(out, need)
            if isinstance(source, Artifact):
                yield from _verified(source, whole)
            return (yield from make(out))

        artifact = yield from run_stage(staging, checked)
        if staging.fresh:
            whole.add(artifact.path)
        return artifact

    documents = yield from stage(
        *("download", "documents", download.FORMAT, recipe.source, download.source_fingerprint(recipe.source)),
        lambda out: download.download(recipe.source, out),
        0,
    )
    clean = yield from stage(
        *("preprocess", "clean", preprocess.FORMAT, recipe.preprocess, documents),
        lambda out: preprocess.preprocess(recipe.preprocess, documents, out),
        _bytes(documents) // 2,  # cleaning may remove much of it
    )
    text = sum(int(clean.facts.get(f"{side}_bytes", 0)) for side in ("train", "validation"))
    # two bytes for each token of six bytes: few vocabularies do better
    need = 0 if part and part[0] == 0 else text // (3 * (part[1] if part else 1))
    tokens = yield from stage(
        *("tokenize", "tokens", tokenize.format_version(recipe.tokenize, pattern), recipe.tokenize, clean),
        lambda out: tokenize.tokenize(recipe.tokenize, clean, out, part, pattern),
        need,
    )
    yield from _verified(tokens, whole)
    yield from _verified(clean, whole, "validation-*")  # the compression baselines read it
    return Prepared(clean, tokens)


def _bytes(artifact: Artifact) -> int:
    return sum(file.bytes for file in artifact.manifest.files.values())


def _verified(artifact: Artifact, whole: set[Path], pattern: str = "*") -> Iterator[Event]:
    """Compare what `artifact` holds with its digests, unless that has been done. Raises AlteredArtifactError."""
    if artifact.path in whole:
        return
    done, total = 0, _bytes(artifact)
    for size in artifact.verify(pattern):
        done += size
        yield Progress(done=done, total=total, unit="bytes")
    if pattern == "*":
        whole.add(artifact.path)


def _require_room(out: Staging, need: int) -> None:
    """Raise DiskError where what `out` still lacks cannot have room. need: bytes of all of it, at least."""
    need = max(0, need - sum(file.bytes for file in out.published.values())) + MARGIN
    free = free_bytes(out.path)
    if free < need:
        raise DiskError(
            f"the disk has too little room for the {out.stage} stage: "
            f"{size_text(free)} free of at least {size_text(need)}",
            where=str(out.path.parents[2]),  # the data directory: which disk
            kept="what was complete is kept",
            todo="free some space or set LLMTUI_HOME to another directory, then resume",
        )


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
            pa.default_memory_pool().release_unused()  # Arrow keeps freed memory, which the next stage needs
            break
        except InUseError:
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
    except DamagedError:
        remove_tree(staging.final)
        return None
    return artifact if artifact.fingerprint == staging.fingerprint else None
