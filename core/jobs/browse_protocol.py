"""Questions to the process that reads documents for the workbench, `core.jobs.browse`, and its answers.

One JSON line each; every question gets one final answer, in order, and a search some `SearchProgress` before it.
Imports no pyarrow.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from core.events import Excerpt, encode
from core.processes.child_job import Failed
from core.recipe.schema import Preprocess

PAGE = 20_000
"""Maximum characters of a page of a document."""

MAX_LINE_BYTES = 2**22
"""Longest line: a page of characters that JSON escapes, and a name."""

Side = Literal["documents", "train", "validation"]
"""documents: of the download stage; the splits: of the cleaned text."""


class Position(Struct, frozen=True):
    """A place in a corpus. Documents of more than 4 MiB are stored in parts, see `core.storage.documents`."""

    number: int = 0
    """Of the document, from 0."""
    part: int = 0
    character: int = 0
    """Of the part."""


class ReadDocument(Struct, frozen=True, kw_only=True, tag=True):
    """Answered by DocumentPage, from `position` on. A position after the end means the last document."""

    artifact: str
    """Its directory."""
    side: Side
    position: Position = Position()


class FindText(Struct, frozen=True, kw_only=True, tag=True):
    """Find the next occurrence of `text` after `position`, or the last one before it; continues at the other end.

    Ignores case unless `text` has a capital letter. Answered by DocumentPage or NotFound.
    """

    artifact: str
    side: Side
    text: str
    position: Position = Position()
    backwards: bool = False


class ListNames(Struct, frozen=True, kw_only=True, tag=True):
    """Answered by DocumentNames: those of `count` documents around document `number`."""

    artifact: str
    side: Side
    number: int = 0
    count: int = 200


class FindChanged(Struct, frozen=True, kw_only=True, tag=True):
    """Find the next document from `number` on, or the last one up to it, that the cleaning steps of `recipe` change or
    remove; continues at the other end. Steps that compare documents are not applied. Answered by CleanedDocument or
    NotFound."""

    artifact: str
    """Of the download stage."""
    recipe: Preprocess
    number: int = 0
    step: str = ""
    """Only documents that this step changes or removes; empty: any step."""
    backwards: bool = False


class EndSearch(Struct, frozen=True, tag=True):
    """Ends the search that is being answered; answered by Superseded itself."""


Question = ReadDocument | FindText | ListNames | FindChanged | EndSearch


class DocumentPage(Struct, frozen=True, kw_only=True, tag=True):
    """Part of a document."""

    position: Position
    documents: int
    """In the corpus."""
    name: str
    text: str
    """Up to PAGE characters."""
    characters: int
    """Of this part of the document."""
    last_part: bool
    """Whether the document ends with this part."""
    match: tuple[int, int] | None = None
    """What was found: its start and end in `text`."""


class DocumentNames(Struct, frozen=True, kw_only=True, tag=True):
    """Names of consecutive documents."""

    first: int
    documents: int
    names: tuple[str, ...]


class CleanedDocument(Struct, frozen=True, kw_only=True, tag=True):
    """A document before and after cleaning."""

    number: int
    documents: int
    excerpt: Excerpt


class SearchProgress(Struct, frozen=True, kw_only=True, tag=True):
    """How many documents have been searched."""

    done: int
    documents: int


class NotFound(Struct, frozen=True, kw_only=True, tag=True):
    """The search ended without a result."""

    documents: int
    """Documents searched."""


class Superseded(Struct, frozen=True, kw_only=True, tag=True):
    """A newer question came before this one was answered."""


Answer = DocumentPage | DocumentNames | CleanedDocument | SearchProgress | NotFound | Superseded | Failed


class DocumentRequest(Struct, frozen=True):
    """A line to the process."""

    id: int
    question: Question


class DocumentResponse(Struct, frozen=True):
    """A line from the process."""

    id: int
    answer: Answer


decode_question = msgspec.json.Decoder(DocumentRequest).decode
decode_answer = msgspec.json.Decoder(DocumentResponse).decode
encode_line = encode
