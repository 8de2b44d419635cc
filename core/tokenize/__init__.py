"""Clean documents become a vocabulary and token shards: the third stage."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path

from core.events import Event, Note
from core.plural import plural, verb
from core.processes.threads import run_in_thread
from core.recipe.schema import Tokenize
from core.storage.artifact import Artifact, Facts, Staging
from core.tokenize import bpe
from core.tokenize.characters import characters, single_bytes
from core.tokenize.encode import encode_shards, jobs
from core.tokenize.encodings import ENCODINGS, VocabularyUnavailableError, named
from core.tokenize.merge_parts import adopt_shards, adopt_vocabulary, part_artifacts
from core.tokenize.progress_model import COUNTING, SCANNING, Effort, merging
from core.tokenize.report import count_ids, write_report
from core.tokenize.shards import dtype_for
from core.tokenize.train_bpe import learned
from core.tokenize.vocabulary import Vocabulary, VocabularyError
from core.vocab.report import FILE as REPORT

__all__ = ["FORMAT", "VocabularyUnavailableError", "tokenize"]

FORMAT = 2
"""Changes when the same text and recipe would give other tokens."""
_FILE = "vocabulary.json"


def version(recipe: Tokenize, pattern: str) -> int | str:
    """As FORMAT, where only learned vocabularies depend on their pattern: the first one's tokens are as they were."""
    return f"{FORMAT}: {pattern}" if recipe.vocabulary == "bpe" and pattern != bpe.FIRST_PATTERN else FORMAT


def pattern_of(folders: Iterable[Path]) -> str:
    """Of the first learned vocabulary that lies in one of these folders beside weights: with another pattern the same
    text would give them other tokens. Today's where there is none."""
    for folder in folders:
        try:
            vocabulary = Vocabulary.load(folder / _FILE)
        except VocabularyError:
            continue
        if vocabulary.pattern in (bpe.FIRST_PATTERN, bpe.PATTERN):
            return vocabulary.pattern
    return bpe.PATTERN


def tokenize(
    recipe: Tokenize,
    clean: Artifact,
    out: Staging,
    part: tuple[int, int] | None = None,
    pattern: str = bpe.PATTERN,
) -> Generator[Event, None, Artifact]:
    """Write `vocabulary.json` and for each shard of clean text one of tokens: `train-00007.tokens` and so on.

    An own vocabulary is learned from the training text alone, cut by `pattern`. After a break it goes on behind the
    last complete shard. part: (i, n), i from 1, makes only every n-th shard, from the i-th on; without it, shards that
    complete artifacts of parts beside `out` have are taken over instead of made. Yields Progress in bytes of text, and
    Notes.

    Facts: vocabulary (its name), vocabulary_size, train_tokens, validation_tokens, train_bytes, validation_bytes,
    bytes_per_token (on validation, end-of-text marks counted as tokens), dtype; of a part: part, parts. The whole has
    `vocabulary_report.json` too. Raises VocabularyUnavailableError.
    """
    splits = {split: jobs(clean.files(f"{split}-*.parquet")) for split in ("train", "validation")}
    everything = [job for made in splits.values() for job in made]
    index, count = part or (1, 1)
    mine = everything[index - 1 :: count]
    effort = _effort(recipe, clean, len(mine) / max(1, len(everything)))
    others = part_artifacts(out) if part is None else []
    adopt_vocabulary(others, out, _FILE)
    if _FILE in out.published:
        vocabulary = Vocabulary.load(out.path / _FILE)
    else:
        vocabulary, facts = yield from _vocabulary(recipe, clean, effort, pattern)
        out.publish(_FILE, vocabulary.save, facts)
    adopted = yield from adopt_shards(others, out, [job.name for job in mine], _FILE, effort.meter)
    if adopted:
        theirs = f"{adopted:,} of {plural(len(mine), 'shard')}"
        yield Note(text=f"took over {theirs} that {verb(adopted, 'was', 'were')} made in parts")
    done = out.published
    effort.ready(sum(int(done[job.name].facts["bytes"]) for job in mine if job.name in done))
    yield effort.meter.report()
    yield from encode_shards([job for job in mine if job.name not in done], vocabulary, out, effort)
    sums: Facts = {
        f"{split}_{what}": sum(int(out.published[job.name].facts[what]) for job in made if job in mine)
        for what in ("tokens", "bytes")
        for split, made in splits.items()
    }
    if part is None:
        shards = [out.path / job.name for job in splits["train"]]
        counts = yield from run_in_thread(lambda: count_ids(shards, vocabulary.size), effort.meter)
        basis = int(out.published[_FILE].facts.get("learned_bytes", 0))
        out.publish(REPORT, partial(write_report, vocabulary=vocabulary, counts=counts, sums=sums, learned_from=basis))
    yield effort.complete()
    return out.finish(
        {
            "vocabulary": vocabulary.name,
            "vocabulary_size": vocabulary.size,
            **sums,
            "bytes_per_token": round(int(sums["validation_bytes"]) / max(1, int(sums["validation_tokens"])), 4),
            "dtype": dtype_for(vocabulary.size).name,
            **({"part": index, "parts": count} if part is not None else {}),
        }
    )


def _effort(recipe: Tokenize, clean: Artifact, share: float) -> Effort:
    """share: of the shards that are to be encoded, 0 to 1."""
    train, validation = int(clean.facts["train_bytes"]), int(clean.facts["validation_bytes"])
    text = int((train + validation) * share)
    if recipe.vocabulary == "bpe":
        sample = min(bpe.SAMPLE_BYTES, train)
        return Effort(text, learning=COUNTING * sample, merging=merging(sample, recipe.size))
    return Effort(text, learning=SCANNING * train if recipe.vocabulary == "characters" else 0)


def _vocabulary(
    recipe: Tokenize, clean: Artifact, effort: Effort, pattern: str
) -> Generator[Event, None, tuple[Vocabulary, Facts]]:
    """The vocabulary that the recipe asks for; learned_bytes: how much text it was learned from."""
    train = clean.files("train-*.parquet")
    total = int(clean.facts["train_bytes"])
    if recipe.vocabulary in ENCODINGS:
        return (yield from named(recipe.vocabulary, effort.meter)), {}
    if recipe.vocabulary == "bytes":
        return single_bytes(), {}
    if recipe.vocabulary == "characters":
        return (yield from characters(train, effort)), {"learned_bytes": total}
    return (yield from learned(train, total, recipe.size, effort, pattern))
