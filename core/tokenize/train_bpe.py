"""Learning a vocabulary beside telling how far it is."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from core.events import Event, Note
from core.processes.threads import run_in_thread
from core.storage.artifact import Facts
from core.tokenize import bpe
from core.tokenize.progress_model import COUNTING, Effort
from core.tokenize.vocabulary import Vocabulary


def learned(
    files: Sequence[Path], total: int, size: int, effort: Effort, pattern: str
) -> Generator[Event, None, tuple[Vocabulary, Facts]]:
    """A vocabulary of `size` entries learned from the clean shards `files` with `total` bytes of text, or a sample.

    Facts: learned_bytes, sample_seed where it is a sample.
    """
    sampled = total > bpe.SAMPLE_BYTES
    if sampled:
        yield Note(text=f"the vocabulary is learned from a sample of {bpe.SAMPLE_BYTES:,} of {total:,} bytes")
    basis = 0

    def texts() -> Iterator[str]:
        nonlocal basis
        for text in bpe.sample(files, total):
            length = len(text.encode())
            basis += length
            effort.learned(COUNTING * length)
            yield text
        effort.merging()

    vocabulary = yield from run_in_thread(lambda: bpe.learn(texts(), size, pattern), effort.meter, on_wait=effort.wait)
    if vocabulary.size < size:
        yield Note(
            level="warning",
            text=f"the text has too few pairs that occur twice: the vocabulary has {vocabulary.size:,} entries "
            f"instead of {size:,}",
        )
    facts: Facts = {"learned_bytes": basis}
    return vocabulary, facts | ({"sample_seed": bpe.SAMPLE_SEED} if sampled else {})
