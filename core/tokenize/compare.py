"""The child job behind `llmtui vocab compare`: `python -P -m core.tokenize.compare REQUEST DIRECTORY`.

REQUEST is a `CompareRequest` as JSON, DIRECTORY an empty directory for temporary files. See `core.processes.child_job`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from core import download
from core.errors import UsageError, did_you_mean
from core.events import Event, Note
from core.parsing import parse_json
from core.plural import size_text
from core.preprocess.split import cut_at_line
from core.processes.child_job import run_and_report
from core.processes.progress import ProgressMeter
from core.recipe.schema import Source
from core.storage.artifact import Artifact, Staging
from core.storage.documents import DocumentPart, read_parts, write_parts
from core.tokenize import bpe
from core.tokenize.characters import byte_vocabulary, train_characters
from core.tokenize.encode import encode_chunks, shard_jobs
from core.tokenize.encodings import ENCODINGS, load_encoding
from core.tokenize.progress_model import TokenizeProgress
from core.tokenize.vocabulary import Vocabulary
from core.vocab.protocol import CompareRequest, CompareResult, CompareSummary, VocabularyChoice

LIMIT = 64 * 2**20
"""Bytes of a corpus that are read: more text does not change the ranking of vocabularies."""
_EVERY = 10
"""One of so many documents is held out from training vocabularies."""
_DOCUMENTS = 20
"""With fewer documents the tail of the text is held out."""
_SECONDS = 0.5

T = TypeVar("T")


class CompareError(UsageError):
    doing = "compare the vocabularies"


class _Corpus(NamedTuple):
    """Files of clean text."""

    train: list[Path]
    """To train vocabularies on."""
    measure: list[Path]
    """To measure them on."""


def compare(request: CompareRequest, home: Path) -> Iterator[Note | CompareResult | CompareSummary]:
    """Encode the same text with each vocabulary, and measure. home: an empty directory for temporary files.

    Raises LlmtuiError.
    """
    for choice in request.vocabularies:
        _check(choice)
    making = any(_is_trained(choice) for choice in request.vocabularies)
    if request.clean:
        clean = Artifact.open(Path(request.corpus))
        text = _Corpus(clean.files("train-*.parquet"), clean.files("validation-*.parquet"))
    else:
        yield Note(text=f"reading {request.corpus}")
        text = yield from _read(request.corpus, home, making)
    measured = _measure_text(text.measure, making or request.clean)
    if not measured.bytes:
        raise CompareError("there is no text to compare them on", where=request.corpus)
    for choice in request.vocabularies:
        if _is_trained(choice):
            yield Note(text=f"making {choice.name} from the rest of the corpus")
        vocabulary, made_from = _vocabulary(choice, text.train)
        yield Note(text=f"encoding {size_text(measured.bytes)} with {choice.name}")
        tokens, seconds = _measure_encoding(vocabulary, text.measure)
        yield CompareResult(
            vocabulary=choice.name,
            entries=vocabulary.size,
            tokens=tokens,
            bytes_per_token=measured.bytes / max(1, tokens),
            characters_per_token=measured.characters / max(1, tokens),
            bytes_per_second=measured.bytes / max(seconds, 1e-6),
            learned_from=made_from,
        )
    yield measured


def _measure_encoding(vocabulary: Vocabulary, files: Sequence[Path]) -> tuple[int, float]:
    """Number of tokens, and seconds to encode them: the best of several runs if it is fast."""
    end, best = time.monotonic() + _SECONDS, math.inf
    while True:
        began = time.monotonic()
        tokens = sum(len(ids) for _, _, ids in encode_chunks(vocabulary, shard_jobs(files)))
        best = min(best, time.monotonic() - began)
        if time.monotonic() > end:
            return tokens, best


def _is_trained(choice: VocabularyChoice) -> bool:
    """Whether the vocabulary is trained on the corpus."""
    return not choice.file and (choice.name == "characters" or choice.name.startswith("bpe:"))


def _check(choice: VocabularyChoice) -> None:
    """Raise CompareError for an unknown name."""
    name, _, size = choice.name.partition(":")
    known = [*ENCODINGS, "characters", "bytes"]
    if choice.file or choice.name in known:
        return
    if name != "bpe":
        raise CompareError(
            f"there is no vocabulary {choice.name!r}",
            todo=did_you_mean(choice.name, known) or f"one of {', '.join(known)}, bpe:SIZE, or a run",
        )
    if not size.isdecimal() or not 257 <= int(size) <= 1_000_000:
        raise CompareError(
            f"{choice.name!r} has no size", todo="give one from 257 to 1,000,000 entries, such as bpe:4096"
        )


def _vocabulary(choice: VocabularyChoice, train: Sequence[Path]) -> tuple[Vocabulary, int]:
    """The vocabulary, and the bytes of `train` it was trained on."""
    if choice.file:
        return Vocabulary.load(Path(choice.file)), 0
    if choice.name == "bytes":
        return byte_vocabulary(), 0
    if choice.name in ENCODINGS:
        return _return_value(load_encoding(choice.name, ProgressMeter(None))), 0
    total = _measure_text(train, False).bytes
    if choice.name == "characters":
        return _return_value(train_characters(train, TokenizeProgress(total))), total
    size = int(choice.name.partition(":")[2])
    return bpe.train_bpe(bpe.sample_texts(train, total), size), min(total, bpe.SAMPLE_BYTES)


def _return_value(work: Generator[Event, None, T]) -> T:
    """Exhaust a generator; its return value."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def _measure_text(files: Sequence[Path], held_out: bool) -> CompareSummary:
    documents = size = length = 0
    for part in read_parts(files):
        documents += part.number == 0
        size += len(part.text.encode())
        length += len(part.text)
    return CompareSummary(documents=documents, bytes=size, characters=length, held_out=held_out)


def _read(corpus: str, home: Path, hold_out: bool) -> Generator[Note, None, _Corpus]:
    """Read the beginning of a corpus; hold_out: split it into text to train on and to measure on."""
    with Staging(home / "documents", "compare", "").open() as out:
        documents = yield from _only_notes(download.download(Source(corpus=corpus, max_bytes=LIMIT), out))
    parts = list(read_parts(documents.files("documents-*.parquet")))
    train, measure = _hold_out(parts) if hold_out else ([], parts)
    for name, side in (("learn.parquet", train), ("measure.parquet", measure)):
        write_parts(home / name, side)
    return _Corpus([home / "learn.parquet"], [home / "measure.parquet"])


def _only_notes(stage: Generator[Event, None, Artifact]) -> Generator[Note, None, Artifact]:
    """Run a stage and yield its Notes alone; returns its artifact."""
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            artifact: Artifact = end.value
            return artifact
        if isinstance(event, Note):
            yield event


def _hold_out(parts: Sequence[DocumentPart]) -> tuple[list[DocumentPart], list[DocumentPart]]:
    """Documents to train on, and held-out ones: every tenth document, or the tail if there are few."""
    documents = sum(part.number == 0 for part in parts)
    if documents < _DOCUMENTS:
        text = "".join(part.text for part in parts)
        size = len(text.encode())
        at = cut_at_line(text, size - size // _EVERY, size // 20)
        return [DocumentPart("", 0, text[:at])], [DocumentPart("", 0, text[at:])]
    sides: tuple[list[DocumentPart], list[DocumentPart]] = ([], [])
    number = -1
    for part in parts:
        number += part.number == 0
        sides[number % _EVERY == _EVERY - 1].append(part)
    return sides


if __name__ == "__main__":
    request, directory = sys.argv[1:]
    sys.exit(run_and_report(lambda: compare(parse_json(request, CompareRequest), Path(directory))))
