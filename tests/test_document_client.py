"""Pages, names, searches and changed documents of a corpus, from the process that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from core.errors import LlmtuiError
from core.jobs.browse_protocol import (
    PAGE,
    CleanedDocument,
    DocumentNames,
    DocumentPage,
    FindChanged,
    FindText,
    ListNames,
    NotFound,
    Position,
    ReadDocument,
)
from core.recipe.schema import Preprocess
from core.storage.artifact import Staging
from core.storage.documents import DocumentPart, write_parts
from core.storage.workspace import Workspace
from llmtui.clients.document_client import DocumentClient

Answered = TypeVar("Answered")


def write_corpus(path: Path, shards: list[list[DocumentPart]]) -> str:
    """An artifact like that of the download stage; its directory."""
    documents = 0
    with Staging(path, "download", "0").open() as out:
        for number, parts in enumerate(shards):
            documents += sum(part.number == 0 for part in parts)
            name = f"documents-{number:05d}.parquet"
            out.publish(name, lambda staged, parts=parts: write_parts(staged, parts), {"documents": documents})
        return str(out.finish({"documents": documents}).path)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Seven documents in three shards; number 3 has four parts and goes on in the second shard."""
    plain = [DocumentPart(f"doc {n}", 0, f"text {n}\nsecond line ") for n in range(3)]
    long = [DocumentPart("long", k, f"part {k} " + "x" * 30_000) for k in range(4)]
    last = [
        DocumentPart("bell", 0, "a bell \x07 rings, and " + "this goes on for long enough. " * 5),
        DocumentPart("empty", 0, " \n"),
        DocumentPart("wide", 0, "größe\u202e and more Größe"),
    ]
    return write_corpus(tmp_path / "corpus", [[*plain, *long[:2]], long[2:], last])


@asynccontextmanager
async def client(workspace: Workspace) -> AsyncIterator[DocumentClient]:
    documents = DocumentClient(workspace)
    try:
        yield documents
    finally:
        await documents.close()


async def answer(kind: type[Answered], asking: Awaitable[object]) -> Answered:
    answered = await asking
    assert isinstance(answered, kind), answered
    return answered


async def test_pages_names_and_searches_of_a_corpus(workspace: Workspace, corpus: str) -> None:
    async with client(workspace) as documents:

        async def read(number: int, part: int = 0, character: int = 0) -> DocumentPage:
            at = Position(number, part, character)
            return await answer(
                DocumentPage, documents.ask(ReadDocument(artifact=corpus, side="documents", position=at))
            )

        async def find(text: str, at: Position, *, backwards: bool = False) -> Position:
            question = FindText(artifact=corpus, side="documents", text=text, position=at, backwards=backwards)
            page = await answer(DocumentPage, documents.ask(question))
            assert page.match is not None
            start, end = page.match
            assert page.text[start:end].lower() == text.lower()
            return Position(page.position.number, page.position.part, page.position.character + start)

        page = await read(1)
        assert (page.name, page.text, page.documents, page.last_part) == ("doc 1", "text 1\nsecond line ", 7, True)
        page = await read(3)
        assert page.text == ("part 0 " + "x" * 30_000)[:PAGE] and page.characters == 30_007 and not page.last_part
        assert (await read(3, 2)).text.startswith("part 2")  # in the next shard
        assert (await read(3, 3)).last_part
        assert (await read(3, 0, PAGE)).position.character == PAGE
        assert (await read(4)).name == "bell" and (await read(99)).name == "wide"

        names = await answer(
            DocumentNames, documents.ask(ListNames(artifact=corpus, side="documents", number=4, count=3))
        )
        assert (names.first, names.names) == (3, ("long", "bell", "empty"))

        assert await find("second", Position(0, 0, 0)) == Position(0, 0, 7)
        assert await find("second", Position(0, 0, 8)) == Position(1, 0, 7)
        assert await find("part 3", Position()) == Position(3, 3, 0)
        assert await find("second", Position(4)) == Position(0, 0, 7)  # after the end comes the beginning
        assert await find("second", Position(1, 0, 7), backwards=True) == Position(0, 0, 7)
        assert await find("second", Position(0, 0, 7), backwards=True) == Position(2, 0, 7)
        assert await find("größe", Position()) == Position(6, 0, 0)
        assert await find("Größe", Position()) == Position(6, 0, 16)  # a capital letter: case matters
        missing = FindText(artifact=corpus, side="documents", text="nowhere")
        assert await documents.ask(missing) == NotFound(documents=7)


async def test_documents_that_a_step_changes_or_removes(workspace: Workspace, corpus: str) -> None:
    async with client(workspace) as documents:

        async def changed(number: int, step: str = "", *, backwards: bool = False) -> tuple[int, str]:
            question = FindChanged(artifact=corpus, recipe=Preprocess(), number=number, step=step, backwards=backwards)
            answered = await answer(CleanedDocument, documents.ask(question))
            return answered.number, answered.excerpt.removed_by or ", ".join(answered.excerpt.changed_by)

        assert await changed(0) == (0, "trailing_space")
        assert await changed(3) == (4, "control_characters, trailing_space")
        assert await changed(4, backwards=True) == (4, "control_characters, trailing_space")
        assert await changed(3, backwards=True) == (2, "trailing_space")
        assert await changed(0, "empty") == (5, "empty")
        assert await changed(6, "empty", backwards=True) == (5, "empty")
        question = FindChanged(artifact=corpus, recipe=Preprocess(), step="duplicates")
        assert await documents.ask(question) == NotFound(documents=7)


async def test_a_newer_question_ends_a_search(workspace: Workspace, tmp_path: Path) -> None:
    many = write_corpus(tmp_path / "many", [[DocumentPart(str(n), 0, "text") for n in range(200_000)]])
    async with client(workspace) as documents:
        search = asyncio.create_task(documents.ask(FindText(artifact=many, side="documents", text="nowhere")))
        await asyncio.sleep(0)  # the search is asked first
        page = await documents.ask(ReadDocument(artifact=many, side="documents", position=Position(7)))
        assert isinstance(page, DocumentPage) and page.name == "7"
        assert await search in (None, NotFound(documents=200_000))  # the latter on a very fast machine


async def test_the_process_is_started_again_and_a_missing_corpus_is_an_error(workspace: Workspace, corpus: str) -> None:
    async with client(workspace) as documents:
        question = ReadDocument(artifact=corpus, side="documents")
        assert isinstance(await documents.ask(question), DocumentPage)
        await documents.close()
        assert isinstance(await documents.ask(question), DocumentPage)
        with pytest.raises(LlmtuiError, match="no longer on this machine"):
            await documents.ask(ReadDocument(artifact=f"{corpus}-gone", side="documents"))
        assert isinstance(await documents.ask(question), DocumentPage)
