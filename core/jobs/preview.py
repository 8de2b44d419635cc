"""Previews a corpus: cleans its beginning and shows documents before and after."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

from msgspec.structs import replace

from core.download import download
from core.events import Event, Note, StageFinished, StageStarted
from core.preprocess import CorpusTooSmallError, preprocess
from core.preprocess.preview import corpus_steps, excerpt_of
from core.preprocess.preview import preview as previews
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact, Staging


def preview(recipe: Recipe, directory: Path, *, documents: int, limit: int) -> Iterator[Event]:
    """Read about `limit` bytes of the recipe's source, clean them, show `documents` of them before and after.

    directory: an empty directory for intermediate artifacts. Yields the events of the stages, including the
    CleaningReport, then an Excerpt for each document shown. Steps that need the whole corpus, such as duplicates, see
    only this part of it. Raises the stages' LlmtuiError.
    """
    source = replace(recipe.source, max_bytes=min(limit, recipe.source.max_bytes or limit))
    with Staging(directory / "documents", "download", "preview").open() as out:
        raw = yield from _stage_events("download", download(source, out))
    try:
        with Staging(directory / "clean", "preprocess", "preview").open() as out:
            yield from _stage_events("preprocess", preprocess(recipe.preprocess, raw, out))
    except CorpusTooSmallError as error:
        yield Note(level="warning", text=f"it is too little to train on: {error.what}")
    if documents and (left := corpus_steps(recipe.preprocess)):
        yield Note(text=f"{', '.join(left)}: seen in the counts alone, as each document shown is cleaned by itself")
    for shown in previews(raw, recipe.preprocess, documents, recipe.preprocess.seed):
        yield excerpt_of(shown)


def _stage_events(stage: str, work: Generator[Event, None, Artifact]) -> Generator[Event, None, Artifact]:
    yield StageStarted(stage=stage)
    artifact = yield from work
    yield StageFinished(stage=stage, artifact=str(artifact.path), facts=artifact.facts)
    return artifact
