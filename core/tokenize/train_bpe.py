"""Training of a BPE vocabulary in a thread, with progress events."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from core.events import Event, Note
from core.plural import size_text
from core.processes.threads import run_in_thread
from core.storage.artifact import Facts
from core.tokenize import bpe
from core.tokenize.progress_model import COUNT_COST, TokenizeProgress
from core.tokenize.vocabulary import Vocabulary


def train_vocabulary(
    files: Sequence[Path], total: int, size: int, progress: TokenizeProgress, pattern: str
) -> Generator[Event, None, tuple[Vocabulary, Facts]]:
    """Train a vocabulary of `size` entries on the clean shards `files` with `total` bytes of text, or on a sample.

    Yields Progress and Notes. Facts: learned_bytes, and sample_seed if it is a sample.
    """
    sampled = total > bpe.SAMPLE_BYTES
    if sampled:
        yield Note(
            text=f"the vocabulary is learned from a sample of {size_text(bpe.SAMPLE_BYTES)} of {size_text(total)}"
        )
    trained_bytes = 0

    def texts() -> Iterator[str]:
        nonlocal trained_bytes
        for text in bpe.sample_texts(files, total):
            length = len(text.encode())
            trained_bytes += length
            progress.add_training_work(COUNT_COST * length)
            yield text
        progress.start_merging()

    vocabulary = yield from run_in_thread(
        lambda: bpe.train_bpe(texts(), size, pattern), progress.meter, on_wait=progress.estimate_merging
    )
    if vocabulary.size < size:
        yield Note(
            level="warning",
            text=f"the text has too few pairs that occur twice: the vocabulary has {vocabulary.size:,} entries "
            f"instead of {size:,}",
        )
    facts: Facts = {"learned_bytes": trained_bytes}
    return vocabulary, facts | ({"sample_seed": bpe.SAMPLE_SEED} if sampled else {})
