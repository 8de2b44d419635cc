"""Preview of cleaning: some documents before and after the steps of a recipe."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
from msgspec import Struct

from core.events import Excerpt
from core.preprocess.shard import row_batches
from core.preprocess.steps import DEDUP_STEPS, RESHAPE_STEPS, STEPS
from core.recipe.schema import Preprocess
from core.storage.artifact import Artifact

EXCERPT = 2000
"""Maximum characters of each excerpt."""
_CONTEXT = 200
"""Of them before the first difference."""
_MAX_CHARACTERS = 2**18
"""Characters of a document that are cleaned, so that a preview is fast."""


class Preview(Struct, frozen=True, kw_only=True):
    """One document before and after the steps that process one document at a time."""

    name: str
    before: str
    """An excerpt, from shortly before the first difference."""
    after: str
    """The same part after cleaning."""
    start: int
    """Characters of the document before the excerpt."""
    characters: int
    """Characters of the document, or of its beginning if it is long."""
    whole: bool
    """Whether the excerpts are the whole document."""
    changed: tuple[str, ...] = ()
    """Steps that changed it."""
    removed_by: str = ""
    """The step that removes it; empty if it stays."""


def corpus_steps(recipe: Preprocess) -> tuple[str, ...]:
    """The recipe's steps that need the whole corpus, which a preview does not apply."""
    return tuple(name for name in recipe.steps if name in DEDUP_STEPS | RESHAPE_STEPS)


def preview(documents: Artifact, recipe: Preprocess, count: int = 5, seed: int = 1) -> Iterator[Preview]:
    """`count` documents sampled by `seed`, in corpus order. Reads only the shards that contain them."""
    shards = documents.files("documents-*.parquet")
    begins = []
    for path in shards:
        with pq.ParquetFile(path) as file:
            begins.append(np.flatnonzero(file.read(columns=["part"]).column(0).to_numpy() == 0))
    counts = np.cumsum([len(rows) for rows in begins])
    total = int(counts[-1]) if len(counts) else 0
    chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
    for shard, path in enumerate(shards):
        first = int(counts[shard]) - len(begins[shard])
        rows = {int(begins[shard][number - first]) for number in chosen if first <= number < counts[shard]}
        row = 0
        for batch in row_batches(path) if rows else ():
            for at in sorted(rows & set(range(row, row + len(batch)))):
                text = batch.column("text")[at - row].as_py()
                yield preview_document(batch.column("name")[at - row].as_py(), text, recipe)
            row += len(batch)


def preview_document(name: str, text: str, recipe: Preprocess) -> Preview:
    """Apply the recipe to the beginning of one text."""
    text = text[:_MAX_CHARACTERS]
    cleaned, changed, removed_by = text, [], ""
    for step in (STEPS[name] for name in recipe.steps):
        if step.rewrite is not None:
            rewritten = step.rewrite(cleaned, True)
            if step.counts(cleaned, rewritten):
                changed.append(step.name)
            cleaned = rewritten
        elif step.filter is not None and step.filter.removes(step.filter.measure(cleaned), recipe):
            removed_by = step.name
            break
    common = next(
        (at for at, (a, b) in enumerate(zip(text, cleaned, strict=False)) if a != b), min(len(text), len(cleaned))
    )
    # a text to which only a final newline is added counts as unchanged, and is shown from its beginning
    start = max(0, common - _CONTEXT) if text != cleaned and (changed or removed_by) else 0
    return Preview(
        name=name,
        before=text[start : start + EXCERPT],
        after=cleaned[start : start + EXCERPT],
        start=start,
        characters=len(text),
        whole=start == 0 and max(len(text), len(cleaned)) <= EXCERPT,
        changed=tuple(changed),
        removed_by=removed_by,
    )


def excerpt_of(shown: Preview) -> Excerpt:
    """The event that reports `shown`."""
    return Excerpt(
        name=shown.name,
        before=shown.before,
        after=shown.after,
        changed_by=shown.changed,
        removed_by=shown.removed_by,
        start=shown.start,
        whole=shown.whole,
    )
