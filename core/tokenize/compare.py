"""The comparing process: `python -P -m core.tokenize.compare REQUEST DIRECTORY`, see `core.processes.child_job`.

REQUEST is a `Compare` as JSON, DIRECTORY an empty one for what is needed meanwhile.
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
from core.preprocess.split import cut_at_line
from core.processes.child_job import run_and_report
from core.processes.progress import ProgressMeter
from core.recipe.schema import Source
from core.storage.artifact import Artifact, Staging
from core.storage.documents import DocumentPart, read_parts, write_parts
from core.tokenize import bpe
from core.tokenize.characters import characters, single_bytes
from core.tokenize.encode import encoded, jobs
from core.tokenize.encodings import ENCODINGS, named
from core.tokenize.progress_model import Effort
from core.tokenize.vocabulary import Vocabulary
from core.vocab.protocol import Choice, Compare, Compared, Row

LIMIT = 64 * 2**20
"""Bytes of a corpus that are looked at: two vocabularies do not change places behind them."""
_EVERY = 10
"""Of so many documents one is held out from vocabularies that are made of the corpus."""
_DOCUMENTS = 20
"""With fewer, the tail of the text is held out."""
_SECONDS = 0.5

T = TypeVar("T")


class CompareError(UsageError):
    doing = "compare the vocabularies"


class _Text(NamedTuple):
    """Clean shards."""

    learn: list[Path]
    """What vocabularies are made of."""
    measure: list[Path]
    """What they are measured on."""


def compare(request: Compare, home: Path) -> Iterator[Note | Row | Compared]:
    """Answer a request. home: an empty directory for what is needed meanwhile. Raises LlmtuiError."""
    for choice in request.vocabularies:
        _check(choice)
    making = any(_is_made(choice) for choice in request.vocabularies)
    if request.clean:
        clean = Artifact.open(Path(request.corpus))
        text = _Text(clean.files("train-*.parquet"), clean.files("validation-*.parquet"))
    else:
        yield Note(text=f"reading {request.corpus}")
        text = yield from _read(request.corpus, home, making)
    measured = _measured(text.measure, making or request.clean)
    if not measured.bytes:
        raise CompareError("there is no text to compare them on", where=request.corpus)
    for choice in request.vocabularies:
        if _is_made(choice):
            yield Note(text=f"making {choice.name} from the rest of the corpus")
        vocabulary, made_from = _vocabulary(choice, text.learn)
        yield Note(text=f"encoding {measured.bytes:,} bytes with {choice.name}")
        tokens, seconds = _encoded(vocabulary, text.measure)
        yield Row(
            vocabulary=choice.name,
            entries=vocabulary.size,
            tokens=tokens,
            bytes_per_token=measured.bytes / max(1, tokens),
            characters_per_token=measured.characters / max(1, tokens),
            bytes_per_second=measured.bytes / max(seconds, 1e-6),
            learned_from=made_from,
        )
    yield measured


def _encoded(vocabulary: Vocabulary, files: Sequence[Path]) -> tuple[int, float]:
    """How many tokens there are, and the seconds it takes to make them: the best of some times if it is quick."""
    end, best = time.monotonic() + _SECONDS, math.inf
    while True:
        began = time.monotonic()
        tokens = sum(len(ids) for _, _, ids in encoded(vocabulary, jobs(files)))
        best = min(best, time.monotonic() - began)
        if time.monotonic() > end:
            return tokens, best


def _is_made(choice: Choice) -> bool:
    """Whether it comes from the corpus at hand."""
    return not choice.file and (choice.name == "characters" or choice.name.startswith("bpe:"))


def _check(choice: Choice) -> None:
    """Raise CompareError for a name that means nothing."""
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


def _vocabulary(choice: Choice, learn: Sequence[Path]) -> tuple[Vocabulary, int]:
    """The vocabulary, and how many bytes of `learn` it was made from."""
    if choice.file:
        return Vocabulary.load(Path(choice.file)), 0
    if choice.name == "bytes":
        return single_bytes(), 0
    if choice.name in ENCODINGS:
        return _made(named(choice.name, ProgressMeter(None))), 0
    total = _measured(learn, False).bytes
    if choice.name == "characters":
        return _made(characters(learn, Effort(total))), total
    size = int(choice.name.partition(":")[2])
    return bpe.learn(bpe.sample(learn, total), size), min(total, bpe.SAMPLE_BYTES)


def _made(work: Generator[Event, None, T]) -> T:
    """What a generator returns at its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def _measured(files: Sequence[Path], held_out: bool) -> Compared:
    documents = size = length = 0
    for part in read_parts(files):
        documents += part.number == 0
        size += len(part.text.encode())
        length += len(part.text)
    return Compared(documents=documents, bytes=size, characters=length, held_out=held_out)


def _read(corpus: str, home: Path, hold_out: bool) -> Generator[Note, None, _Text]:
    """The beginning of a corpus, divided when something is made of one part and measured on the other."""
    with Staging(home / "documents", "compare", "").open() as out:
        documents = yield from _notes(download.download(Source(corpus=corpus, max_bytes=LIMIT), out))
    parts = list(read_parts(documents.files("documents-*.parquet")))
    learn, measure = _divided(parts) if hold_out else ([], parts)
    for name, side in (("learn.parquet", learn), ("measure.parquet", measure)):
        write_parts(home / name, side)
    return _Text([home / "learn.parquet"], [home / "measure.parquet"])


def _notes(stage: Generator[Event, None, Artifact]) -> Generator[Note, None, Artifact]:
    """Of what a stage says, only what a person has to know."""
    while True:
        try:
            event = next(stage)
        except StopIteration as end:
            artifact: Artifact = end.value
            return artifact
        if isinstance(event, Note):
            yield event


def _divided(parts: Sequence[DocumentPart]) -> tuple[list[DocumentPart], list[DocumentPart]]:
    """What is made use of, and what is held out: every tenth document, of few the tail."""
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
    asked, place = sys.argv[1:]
    sys.exit(run_and_report(lambda: compare(parse_json(asked, Compare), Path(place))))
