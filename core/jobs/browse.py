"""The process that reads documents for the workbench: `python -P -m core.jobs.browse`.

Answers the questions of `core.jobs.browse_protocol` on standard input, one after the other. A newer question ends a
search. It exits when its input closes, and after some minutes without a question.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, assert_never

from core.errors import LlmtuiError, as_llmtui_error, log
from core.jobs.browse_protocol import (
    PAGE,
    Answer,
    CleanedDocument,
    DocumentNames,
    DocumentPage,
    DocumentRequest,
    DocumentResponse,
    EndSearch,
    FindChanged,
    FindText,
    ListNames,
    NotFound,
    Position,
    Question,
    ReadDocument,
    SearchProgress,
    Side,
    Superseded,
    decode_question,
    encode_line,
)
from core.jobs.document_reader import DocumentReader
from core.parsing import parse
from core.preprocess.preview import excerpt_of, preview_document
from core.processes.child_job import failed
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart

IDLE_TIMEOUT = 600.0
"""Seconds without a question after which the process exits; the next question starts another."""

_PROGRESS_INTERVAL = 0.25
"""Seconds between two reports of a search."""


def answers(question: Question) -> Iterator[Answer | None]:
    """The answers to `question`, the last one final. None: still searching. Raises DamagedError."""
    match question:
        case ReadDocument():
            return _read(question)
        case FindText():
            return _find_text(question)
        case ListNames():
            return _list_names(question)
        case FindChanged():
            return _find_changed(question)
        case EndSearch():
            return iter((Superseded(),))
        case _:
            assert_never(question)


class DocumentsGoneError(LlmtuiError):
    doing = "read the documents"


@lru_cache(2)
def _reader(artifact: str, side: Side) -> DocumentReader:
    if not Path(artifact).is_dir():
        todo = "`llmtui data prepare` with the run's recipe makes them again"
        raise DocumentsGoneError("they are no longer on this machine", where=artifact, todo=todo)
    return DocumentReader(Artifact.open(Path(artifact)), side)


def _read(question: ReadDocument) -> Iterator[Answer]:
    reader = _reader(question.artifact, question.side)
    at = question.position
    if not reader.documents:
        yield NotFound(documents=0)
        return
    if at.number >= reader.documents:
        at = Position(reader.documents - 1)
    yield _page(reader, at, reader.read(at.number, at.part), at.character)


def _page(
    reader: DocumentReader, at: Position, part: DocumentPart, start: int, match: tuple[int, int] | None = None
) -> DocumentPage:
    """The page of `part` that begins with character `start`. match: start and end of what was found in `part`."""
    start = max(0, min(start, len(part.text)))
    return DocumentPage(
        position=Position(at.number, at.part, start),
        documents=reader.documents,
        name=part.name,
        text=part.text[start : start + PAGE],
        characters=len(part.text),
        last_part=part.last,
        match=match and (match[0] - start, match[1] - start),
    )


def _list_names(question: ListNames) -> Iterator[Answer]:
    reader = _reader(question.artifact, question.side)
    first = max(0, min(question.number - question.count // 2, reader.documents - question.count))
    names = reader.names(first, question.count) if reader.documents else []
    yield DocumentNames(first=first, documents=reader.documents, names=tuple(names))


def _find_text(question: FindText) -> Iterator[Answer | None]:
    reader, at = _reader(question.artifact, question.side), question.position
    pattern = re.compile(re.escape(question.text), 0 if question.text != question.text.lower() else re.IGNORECASE)
    progress = _Progress(reader.documents)
    if not reader.documents or not question.text:
        yield NotFound(documents=reader.documents)
        return
    wrapped: list[tuple[int, DocumentPart]] = []
    for number, part in reader.walk(at.number, at.part, backwards=question.backwards):
        first = not wrapped
        wrapped = wrapped or [(number, part)]
        found = _nearest(pattern, part.text, at.character if first else None, question.backwards)
        if found:
            yield _page_of_match(reader, number, part, found)
            return
        yield progress.after(part)
    number, part = wrapped[0]  # the other side of where the search began
    if found := _nearest(pattern, part.text, None, question.backwards):
        yield _page_of_match(reader, number, part, found)
    else:
        yield NotFound(documents=reader.documents)


def _nearest(pattern: re.Pattern[str], text: str, beyond: int | None, backwards: bool) -> tuple[int, int] | None:
    """Start and end of the first match from `beyond` on; backwards: of the last one that begins before it."""
    if not backwards:
        found = pattern.search(text, beyond or 0)
        return found.span() if found else None
    last = None
    for found in pattern.finditer(text):
        if beyond is not None and found.start() >= beyond:
            break
        last = found.span()
    return last


def _page_of_match(reader: DocumentReader, number: int, part: DocumentPart, match: tuple[int, int]) -> DocumentPage:
    start = max(0, match[0] - PAGE // 4) if len(part.text) > PAGE else 0
    return _page(reader, Position(number, part.number), part, start, match)


def _find_changed(question: FindChanged) -> Iterator[Answer | None]:
    reader = _reader(question.artifact, "documents")
    progress = _Progress(reader.documents)
    if reader.documents:
        first = question.number % reader.documents  # after the last comes the first
        for number, part in reader.walk(first, backwards=question.backwards):
            if part.number:
                continue
            shown = preview_document(part.name, part.text, question.recipe)
            by = {*shown.changed, shown.removed_by} - {""}
            if question.step in by or (not question.step and by):
                yield CleanedDocument(number=number, documents=reader.documents, excerpt=excerpt_of(shown))
                return
            yield progress.after(part)
    yield NotFound(documents=reader.documents)


class _Progress:
    """Reports how many documents have been searched, a few times a second."""

    def __init__(self, documents: int) -> None:
        self._done, self._documents, self._reported = 0, documents, time.monotonic()

    def after(self, part: DocumentPart) -> SearchProgress | None:
        self._done += part.last
        now = time.monotonic()
        if now - self._reported < _PROGRESS_INTERVAL:
            return None
        self._reported = now
        return SearchProgress(done=self._done, documents=self._documents)


class _Process:
    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._questions: queue.Queue[DocumentRequest] = queue.Queue()

    def read(self, lines: BinaryIO) -> None:
        """Queue the questions, and exit with the client. Runs in a thread beside `run`."""
        for line in lines:
            self._questions.put(parse(decode_question, line))
        os._exit(0)

    def run(self) -> None:
        while True:
            try:
                request = self._questions.get(timeout=IDLE_TIMEOUT)
            except queue.Empty:
                return
            self._answer(request)

    def _answer(self, request: DocumentRequest) -> None:
        try:
            for answer in answers(request.question):
                if not self._questions.empty():
                    self._send(request, Superseded())
                    return
                if answer is not None:
                    self._send(request, answer)
        except Exception as error:
            if not isinstance(error, LlmtuiError):
                log(traceback.format_exc())
            _reader.cache_clear()
            self._send(request, failed(as_llmtui_error(error, getattr(request.question, "artifact", ""))))

    def _send(self, request: DocumentRequest, answer: Answer) -> None:
        self._out.write(encode_line(DocumentResponse(request.id, answer)) + b"\n")
        self._out.flush()


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not end up between the answers
    process = _Process(out)
    threading.Thread(target=process.read, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        process.run()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
