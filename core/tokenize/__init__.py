"""The third stage: make a vocabulary, and encode the clean documents to token shards."""

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
from core.tokenize.characters import byte_vocabulary, train_characters
from core.tokenize.encode import encode_shards, shard_jobs
from core.tokenize.encodings import ENCODINGS, VocabularyUnavailableError, load_encoding
from core.tokenize.merge_parts import part_artifacts, reuse_shards, reuse_vocabulary
from core.tokenize.progress_model import COUNT_COST, SCAN_COST, TokenizeProgress, merging_work
from core.tokenize.report import count_ids, write_report
from core.tokenize.shards import dtype_for
from core.tokenize.train_bpe import train_vocabulary
from core.tokenize.vocabulary import Vocabulary, VocabularyError
from core.vocab.report import REPORT_FILE as REPORT

__all__ = ["FORMAT", "VocabularyUnavailableError", "tokenize"]

FORMAT = 2
"""Format version: changes when the same text and recipe give other tokens."""
_FILE = "vocabulary.json"


def format_version(recipe: Tokenize, pattern: str) -> int | str:
    """Format version of the tokens: FORMAT, with the pattern for BPE if it is not that of older versions."""
    return f"{FORMAT}: {pattern}" if recipe.vocabulary == "bpe" and pattern != bpe.OLD_PATTERN else FORMAT


def vocabulary_pattern(folders: Iterable[Path]) -> str:
    """Pattern of the first trained vocabulary in `folders`, whose weights need it; the current pattern by default."""
    for folder in folders:
        try:
            vocabulary = Vocabulary.load(folder / _FILE)
        except VocabularyError:
            continue
        if vocabulary.pattern in bpe.PATTERNS:
            return vocabulary.pattern
    return bpe.PATTERN


def tokenize(
    recipe: Tokenize,
    clean: Artifact,
    out: Staging,
    part: tuple[int, int] | None = None,
    pattern: str = bpe.PATTERN,
) -> Generator[Event, None, Artifact]:
    """Write `vocabulary.json`, and for each shard of clean text one of tokens: `train-00007.tokens` and so on.

    A vocabulary of our own is trained on the training text alone, split by `pattern`. Resumes after the last complete
    shard. part: (i, n), i from 1, makes only every n-th shard, from the i-th on; (0, n) makes only the vocabulary. What
    complete artifacts of parts beside `out` have is reused. Yields Progress in bytes of text, and Notes.

    Facts: vocabulary (its name), vocabulary_size, train_tokens, validation_tokens, train_bytes, validation_bytes,
    bytes_per_token (on validation, counting end-of-text tokens), dtype; of a part: part, parts. The whole artifact has
    `vocabulary_report.json` too. Raises VocabularyUnavailableError.
    """
    splits = {split: shard_jobs(clean.files(f"{split}-*.parquet")) for split in ("train", "validation")}
    everything = [job for made in splits.values() for job in made]
    index, count = part or (1, 1)
    mine = everything[index - 1 :: count] if index else []
    progress = _estimate_work(recipe, clean, len(mine) / max(1, len(everything)))
    others = part_artifacts(out)
    reuse_vocabulary(others, out, _FILE)
    if _FILE in out.published:
        vocabulary = Vocabulary.load(out.path / _FILE)
    else:
        vocabulary, facts = yield from _vocabulary(recipe, clean, progress, pattern)
        out.publish(_FILE, vocabulary.save, facts)
    reused = yield from reuse_shards(others, out, [job.name for job in mine], _FILE, progress.meter)
    if reused:
        theirs = f"{reused:,} of {plural(len(mine), 'shard')}"
        yield Note(text=f"took over {theirs} that {verb(reused, 'was', 'were')} made in parts")
    done = out.published
    progress.start_encoding(sum(int(done[job.name].facts["bytes"]) for job in mine if job.name in done))
    yield progress.meter.report()
    yield from encode_shards([job for job in mine if job.name not in done], vocabulary, out, progress)
    sums: Facts = {
        f"{split}_{what}": sum(int(out.published[job.name].facts[what]) for job in made if job in mine)
        for what in ("tokens", "bytes")
        for split, made in splits.items()
    }
    if part is None:
        shards = [out.path / job.name for job in splits["train"]]
        counts = yield from run_in_thread(lambda: count_ids(shards, vocabulary.size), progress.meter)
        learned_bytes = int(out.published[_FILE].facts.get("learned_bytes", 0))
        out.publish(
            REPORT, partial(write_report, vocabulary=vocabulary, counts=counts, sums=sums, learned_from=learned_bytes)
        )
    yield progress.complete()
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


def _estimate_work(recipe: Tokenize, clean: Artifact, share: float) -> TokenizeProgress:
    """share: of the text that is encoded here, 0 to 1."""
    train, validation = int(clean.facts["train_bytes"]), int(clean.facts["validation_bytes"])
    text = int((train + validation) * share)
    if recipe.vocabulary == "bpe":
        sample = min(bpe.SAMPLE_BYTES, train)
        return TokenizeProgress(text, training=COUNT_COST * sample, merging_work=merging_work(sample, recipe.size))
    return TokenizeProgress(text, training=SCAN_COST * train if recipe.vocabulary == "characters" else 0)


def _vocabulary(
    recipe: Tokenize, clean: Artifact, progress: TokenizeProgress, pattern: str
) -> Generator[Event, None, tuple[Vocabulary, Facts]]:
    """The vocabulary of the recipe, and its facts; learned_bytes: bytes of text it was trained on."""
    train = clean.files("train-*.parquet")
    total = int(clean.facts["train_bytes"])
    if recipe.vocabulary in ENCODINGS:
        return (yield from load_encoding(recipe.vocabulary, progress.meter)), {}
    if recipe.vocabulary == "bytes":
        return byte_vocabulary(), {}
    if recipe.vocabulary == "characters":
        return (yield from train_characters(train, progress)), {"learned_bytes": total}
    return (yield from train_vocabulary(train, total, recipe.size, progress, pattern))
