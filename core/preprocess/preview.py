"""Some documents before and after the cleaning, for people who want to see what a recipe does."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
from msgspec import Struct

from core.preprocess.shard import groups
from core.preprocess.steps import DROPPING, RESHAPING, STEPS
from core.recipe.schema import Preprocess
from core.storage.artifact import Artifact

EXCERPT = 2000
"""Characters that are shown of each side."""
_LEAD = 200
"""Of them, so many in front of the first difference."""
_LOOKED_AT = 2**18
"""Characters of a document that are cleaned: a preview comes at once."""


class Preview(Struct, frozen=True, kw_only=True):
    """What the steps that look at one document at a time make of it."""

    name: str
    before: str
    """An excerpt, from shortly before the first difference."""
    after: str
    """The same place after the cleaning."""
    start: int
    """Characters in front of the excerpt."""
    characters: int
    """Of the document, or of its beginning where it is long."""
    whole: bool
    """Whether the excerpts are all there is."""
    changed: tuple[str, ...] = ()
    """Steps that changed it."""
    removed_by: str = ""
    """The step that removes it; empty when it stays."""


def left_out(recipe: Preprocess) -> tuple[str, ...]:
    """The recipe's steps that need more than one document, which a preview cannot show."""
    return tuple(name for name in recipe.steps if name in DROPPING | RESHAPING)


def preview(documents: Artifact, recipe: Preprocess, count: int = 5, seed: int = 1) -> Iterator[Preview]:
    """`count` documents chosen by `seed`, in their order. Reads the shards that they are in, and nothing else."""
    shards = documents.files("documents-*.parquet")
    begins = []
    for path in shards:
        with pq.ParquetFile(path) as file:
            begins.append(np.flatnonzero(file.read(columns=["part"]).column(0).to_numpy() == 0))
    counts = np.cumsum([len(rows) for rows in begins])
    total = int(counts[-1]) if len(counts) else 0
    wanted = sorted(random.Random(seed).sample(range(total), min(count, total)))
    for shard, path in enumerate(shards):
        first = int(counts[shard]) - len(begins[shard])
        rows = {int(begins[shard][number - first]) for number in wanted if first <= number < counts[shard]}
        row = 0
        for batch in groups(path) if rows else ():
            for at in sorted(rows & set(range(row, row + len(batch)))):
                text = batch.column("text")[at - row].as_py()
                yield show(batch.column("name")[at - row].as_py(), text, recipe)
            row += len(batch)


def show(name: str, text: str, recipe: Preprocess) -> Preview:
    """What the recipe makes of one text, of which only the beginning is looked at."""
    text = text[:_LOOKED_AT]
    cleaned, changed, removed_by = text, [], ""
    for step in (STEPS[name] for name in recipe.steps):
        if step.rewrite is not None:
            rewritten = step.rewrite(cleaned, True)
            if step.counts(cleaned, rewritten):
                changed.append(step.name)
            cleaned = rewritten
        elif step.judge is not None and step.judge.removes(step.judge.measure(cleaned), recipe):
            removed_by = step.name
            break
    same = next(
        (at for at, (a, b) in enumerate(zip(text, cleaned, strict=False)) if a != b), min(len(text), len(cleaned))
    )
    # a text that only gets its last line break counts as unchanged, and is shown from its beginning
    start = max(0, same - _LEAD) if text != cleaned and (changed or removed_by) else 0
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
