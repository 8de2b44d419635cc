"""`llmtui vocab import`, `report`, `encode` and `compare`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import click
import msgspec

from core.errors import UsageError
from core.events import Note
from core.plural import plural, verb
from core.recipe.schema import Recipe, Source
from core.run_names import RunNotFoundError
from core.sample.protocol import TokenizeText, Tokens
from core.sample.token_protocol import MAX_TEXT_LENGTH, TokenizedText
from core.sources.catalog import UnknownSourceError, resolve_corpus
from core.storage.workspace import Workspace
from core.vocab.known import FILES_OF, encodings_of, import_files, imported_directory
from core.vocab.protocol import CompareRequest, CompareResult, CompareSummary, VocabularyChoice
from core.vocab.report import VocabularyEntry, VocabularyReport, read_report
from llmtui.cli.commands.group import SuggestingGroup
from llmtui.cli.commands.lookup import find_artifact
from llmtui.cli.commands.options import NAME, PathType, json_option, read_text, run_argument, yes_option
from llmtui.cli.commands.recipe_argument import ensure_license_accepted
from llmtui.cli.console import print_json, print_message, print_output
from llmtui.clients.child_job import run_child_job
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.view.table import table
from llmtui.view.units import size

SHOWN = 10
"""Tokens listed of the longest and of the most frequent."""


class NoTokensError(UsageError):
    doing = "inspect the vocabulary"


@click.group(cls=SuggestingGroup, short_help="Import, inspect and compare vocabularies.")
def vocab() -> None:
    """Import, inspect and compare the vocabularies of tokenizers."""


@vocab.command("import", short_help="Import a published vocabulary file, for use without a network.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PathType())
@json_option
def import_(files: tuple[Path, ...], as_json: bool) -> None:
    """Import FILE, a published vocabulary file, for runs without a network.

    FILE is a .tiktoken file (r50k_base, p50k_base, cl100k_base, o200k_base), GPT-2's vocab.bpe with or without its
    encoder.json, or a folder with any of them, such as a copy of tiktoken's cache. Files are
    recognized by SHA-256, not by name.
    """
    workspace = Workspace().prepare()
    for known in import_files(files, workspace):
        path = imported_directory(workspace) / known.file
        if as_json:
            print_json({"file": known.file, "sha256": known.sha256, "path": str(path), "serves": encodings_of(known)})
        else:
            print_output(f"{known.file} imported; it serves {', '.join(encodings_of(known))}")


@vocab.command(short_help="Show how a vocabulary fits its corpus.")
@run_argument()
@json_option
def report(run_name: str | None, as_json: bool) -> None:
    """Show how the vocabulary of RUN fits its corpus: bytes per token, unused entries, longest and most frequent
    tokens.

    RUN can also be the name of a tokenized data set.
    """
    statistics = read_report(find_artifact(Workspace(), run_name, "tokenize"))
    if as_json:
        print_json(msgspec.structs.asdict(statistics) | {"unused_share": statistics.unused_share})
        return
    print_output(table(_detail_rows(statistics)))
    for heading, entries in (("LONGEST", statistics.longest), ("MOST FREQUENT", statistics.frequent)):
        print_output("\n" + table([(heading, "ID", "BYTES", "COUNT"), *map(_listed, entries[:SHOWN])]))


def _detail_rows(statistics: VocabularyReport) -> list[tuple[str, ...]]:
    source = f"learned from {size(statistics.learned_from)} of text" if statistics.learned_from else "published"
    if 0 < statistics.learned_from < statistics.train_bytes:
        source += f", a sample of {size(statistics.train_bytes)}"
    do = verb(statistics.unused, "does", "do")
    return [
        ("vocabulary", f"{statistics.vocabulary}, {source}" if statistics.vocabulary != "bytes" else "bytes"),
        ("ids", f"{statistics.size:,}, of which {statistics.entries:,} stand for text"),
        (
            "bytes per token",
            f"{statistics.bytes_per_token:.3f} on held-out text, {statistics.train_bytes_per_token:.3f} in training",
        ),
        ("tokens", f"{statistics.train_tokens:,} for training, {statistics.validation_tokens:,} held out"),
        (
            "unused",
            f"{plural(statistics.unused, 'entry')} ({statistics.unused_share:.1%}) {do} not occur in the training text",
        ),
    ]


def _listed(entry: VocabularyEntry) -> tuple[str, ...]:
    text = entry.text if "\ufffd" not in entry.text else f"{entry.text} (bytes {entry.hex})"
    return repr(text), str(entry.id), str(entry.bytes), f"{entry.count:,}"


@vocab.command(short_help="Encode the same text with two vocabularies.")
@click.argument("vocabularies", type=NAME, metavar="A B", nargs=-1, required=True)
@click.option(
    "--on", "corpus", type=NAME, metavar="CORPUS", required=True, help="A source, or a run: its held-out text."
)
@yes_option
@json_option
def compare(vocabularies: tuple[str, ...], corpus: str, yes: bool, as_json: bool) -> None:
    """Encode CORPUS with the vocabularies A and B (or more), and say what becomes of it.

    Each is a name of tiktoken's (gpt2, cl100k_base …), characters, bytes, bpe:SIZE, or a run, whose own is taken.
    characters and bpe:SIZE are made from one part of the corpus; then all are measured on another, which they have
    not seen. Of a large corpus the first 64 MiB are taken.
    """
    workspace = Workspace().prepare()
    choices = tuple(_choice(workspace, name) for name in vocabularies)
    source, clean = _corpus(workspace, corpus)
    if not clean:
        ensure_license_accepted(workspace, Recipe(source=Source(corpus=source)), yes)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=workspace.cache) as directory:
        asked = msgspec.json.encode(CompareRequest(vocabularies=choices, corpus=source, clean=clean)).decode()
        answers = run_child_job(
            workspace, "core.tokenize.compare", asked, directory, result_type=Note | CompareResult | CompareSummary
        )
        _print_loaded(answers, as_json)


@vocab.command(short_help="Show the tokens of a text.")
@click.argument("vocabulary", type=NAME, metavar="VOCABULARY")
@click.argument("text", required=False)
@json_option
def encode(vocabulary: str, text: str | None, as_json: bool) -> None:
    """Show the tokens of TEXT ("-" or nothing: standard input) under VOCABULARY: a name of tiktoken's, bytes, or a
    run, whose own is taken. Nothing is downloaded."""
    workspace = Workspace()
    if vocabulary == "characters" or vocabulary.startswith("bpe:"):
        raise NoTokensError(f"{vocabulary} is made from a corpus", todo="name a run that has it")
    raw = read_text("-") if text in (None, "-") else text or ""
    if len(raw) > MAX_TEXT_LENGTH:
        raise NoTokensError(f"the text is longer than {MAX_TEXT_LENGTH:,} characters", todo="give a part of it")
    encoded = asyncio.run(_encode(workspace, TokenizeText(id=0, vocabulary=_choice(workspace, vocabulary), text=raw)))
    tokens = {token.id: token for token in encoded.tokens}
    if as_json:
        for number in encoded.ids:
            print_json({"id": number, "text": tokens[number].text, "bytes": tokens[number].bytes})
        return
    rows = [
        (str(number), repr(tokens[number].text) if tokens[number].text else "", tokens[number].bytes)
        for number in encoded.ids
    ]
    print_output(table([("ID", "TEXT", "BYTES"), *rows]))
    per_token = f", {encoded.bytes / len(encoded.ids):.2f} bytes per token" if encoded.ids else ""
    print_message(f"{plural(len(encoded.ids), 'token')} of {encoded.entries:,} ids{per_token}")


async def _encode(workspace: Workspace, request: TokenizeText) -> TokenizedText:
    """Raises NoTokensError, InferenceProcessError."""
    client = InferenceClient(workspace)
    try:
        async with aclosing(client.stream(request)) as replies:
            async for reply in replies:
                if isinstance(reply, Tokens) and isinstance(reply.result, TokenizedText):
                    return reply.result
    except InferenceError as error:
        raise NoTokensError(error.what, where=error.where, todo=error.todo) from None
    finally:
        await client.close()
    raise NoTokensError("the process that encodes ended without an answer")


def _print_loaded(answers: Iterator[Note | CompareResult | CompareSummary], as_json: bool) -> None:
    """Print what the comparing process answers."""
    rows: list[CompareResult] = []
    for answer in answers:
        match answer:
            case Note(text=text):
                print_message(text)
            case CompareResult() if as_json:
                print_json(answer)
            case CompareResult():
                rows.append(answer)
            case CompareSummary() if as_json:
                print_json(answer)
            case CompareSummary():
                head = ("VOCABULARY", "IDS", "TOKENS", "BYTES/TOKEN", "CHARACTERS/TOKEN", "SPEED", "MADE FROM")
                print_output(table([head, *map(_table_row, rows)]))
                held_out = " held-out" if answer.held_out else ""
                many = plural(answer.documents, "document")
                print_message(f"on {size(answer.bytes)} of{held_out} text, {many}")


def _table_row(row: CompareResult) -> tuple[str, ...]:
    return (
        row.vocabulary,
        f"{row.entries:,}",
        f"{row.tokens:,}",
        f"{row.bytes_per_token:.3f}",
        f"{row.characters_per_token:.3f}",
        f"{size(row.bytes_per_second)}/s",
        size(row.learned_from) if row.learned_from else "",
    )


def _choice(workspace: Workspace, name: str) -> VocabularyChoice:
    """What `name` means: a vocabulary by itself, or that of a run."""
    if name in FILES_OF or name in ("characters", "bytes") or name.startswith("bpe:"):
        return VocabularyChoice(name=name)
    try:
        return VocabularyChoice(name=name, file=str(find_artifact(workspace, name, "tokenize") / "vocabulary.json"))
    except RunNotFoundError as trouble:
        raise NoTokensError(
            f"{name!r} is neither a vocabulary nor a run",
            todo=f"vocabularies are {', '.join(FILES_OF)}, characters, bytes, bpe:SIZE; {trouble.todo}",
        ) from None


def _corpus(workspace: Workspace, run_name: str) -> tuple[str, bool]:
    """The source that `run_name` names, or the clean documents of a run; and which of both it is."""
    try:
        return resolve_corpus(run_name), False
    except UnknownSourceError as unknown:
        try:
            return str(find_artifact(workspace, run_name, "preprocess")), True
        except RunNotFoundError:
            raise unknown from None
