"""Files as a source: one, a folder of them, or those that match a pattern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow.compute as pc
from msgspec.structs import asdict

from core.download import sniff
from core.download.arrow_file import skip_dataset_metadata
from core.download.batches import DocumentBatch, FilePosition
from core.download.discover import NoTextError, SourceFile, UnreadableError, list_files
from core.download.formats import format_of
from core.download.sniff import SniffedFile, sniff_file
from core.download.source_reader import SourceBatch
from core.download.text_column import TextColumnError
from core.errors import LlmtuiError
from core.events import Event, Note
from core.plural import plural, verb
from core.processes.progress import ProgressMeter
from core.recipe.schema import Source
from core.storage.artifact import Facts

_SHOWN = 5
"""Invalid records, and names in a list, that are reported individually."""

_REASONS = 10
"""Reasons for skipping files that are reported, each with its files."""


class TooManyInvalidRecordsError(LlmtuiError):
    """More records are invalid than the recipe allows."""

    doing = "read the source"


class TruncatedFileError(LlmtuiError):
    """A file was truncated while it was read."""

    doing = "read the source"


class _Position(FilePosition, kw_only=True):
    """The position in the source, and statistics of what was read before it. The names of its fields are stored."""

    file: int = 0
    """Index in the listing."""
    replaced: int = 0
    damaged: int = 0
    """Files that could be opened but not read to their end."""
    broken: int = 0
    """Invalid records."""
    empty: int = 0
    """Records without text."""
    records: int = 0
    """All records."""
    documents: int = 0
    """Documents made of them."""
    unbalanced: int = 0
    """Table rows with unbalanced quotation marks."""
    inside: int = 0
    """Line breaks inside quoted cells."""

    def position(self) -> FilePosition:
        """The current position in the file."""
        return FilePosition(offset=self.offset, line=self.line, part=self.part, state=self.state)

    def add(self, step: DocumentBatch, of_records: bool) -> None:
        """Advance past `step` and add its statistics."""
        self.move_to(step.position)
        self.replaced, self.empty = self.replaced + step.replaced, self.empty + step.empty
        self.broken, self.records = self.broken + step.invalid_records, self.records + step.records
        self.unbalanced, self.inside = self.unbalanced + step.unbalanced, self.inside + step.quoted_newlines
        if of_records:
            self.documents += pc.sum(pc.equal(step.batch["part"], 0)).as_py() or 0

    def move_to(self, position: FilePosition) -> None:
        """Set the position in the file."""
        self.offset, self.line, self.part, self.state = position.offset, position.line, position.part, position.state


class FileSource:
    """The files of a source: one document per file, or one per record in it."""

    def __init__(self, recipe: Source, listing: list[SourceFile] | None = None) -> None:
        """List the files. listing: the files, if they are not the ones that the recipe names.

        Raises UnknownSourceError, UnreadableError, NoTextError.
        """
        self._recipe = recipe
        self._files = skip_dataset_metadata(list_files(recipe.corpus) if listing is None else listing, recipe.split)
        self.total: float | None = None
        self.facts: Facts = {}
        self._repaired: dict[str, str] = {}
        """Files with undecodable bytes, and their encodings, since the reading started or resumed."""

    def read(self, position: Facts) -> Iterator[SourceBatch | Event]:
        """See `SourceReader.read`.

        Raises UnreadableError, NoTextError, TextColumnError, TooManyInvalidRecordsError, TruncatedFileError,
        EncodingError.
        """
        files = yield from self._sniff_files()
        yield from _about(files)
        self.total = float(sum(sniffed.file.size for sniffed in files if not sniffed.skip_reason))
        state = _Position(**position)  # type: ignore[arg-type]
        skipped = sum(1 for sniffed in files if sniffed.skip_reason)
        done = sum(sniffed.file.size for sniffed in files[: state.file] if not sniffed.skip_reason)
        self._count(state, skipped)
        for index in range(state.file, len(files)):
            sniffed = files[index]
            try:
                for step in () if sniffed.skip_reason else sniff.read(sniffed, state.position()):
                    before = state.broken
                    state.add(step, sniffed.of_records)
                    if step.replaced:
                        self._repaired[sniffed.file.name] = sniffed.encoding
                    for invalid in step.invalid[: max(0, _SHOWN - before)]:
                        yield Note(
                            level="warning", text=f"{sniffed.file.name}:{invalid.line} is passed over: {invalid.why}"
                        )
                    if state.broken > self._recipe.max_invalid_records:
                        invalid = step.invalid[min(self._recipe.max_invalid_records - before, len(step.invalid) - 1)]
                        raise self._too_many(f"{sniffed.file.name}:{invalid.line}: {invalid.why}")
                    self._count(state, skipped)
                    yield SourceBatch(step.batch, done + step.consumed, asdict(state))
            except UnreadableError as error:
                state.damaged += 1
                yield Note(level="warning", text=f"{sniffed.file.name} could not be read to its end: {error.what}")
            if not sniffed.skip_reason:
                _check_length(sniffed.file)
            state.file = index + 1
            state.move_to(FilePosition())
            done += 0 if sniffed.skip_reason else sniffed.file.size
        self._count(state, skipped)
        yield from _about_records(state)
        yield from _about_repairs(state, self._repaired)

    def _count(self, state: _Position, skipped: int) -> None:
        counts = {"broken": state.broken, "empty": state.empty}
        self.facts = {"skipped": skipped + state.damaged, **{name: count for name, count in counts.items() if count}}

    def _too_many(self, where: str) -> TooManyInvalidRecordsError:
        limit = self._recipe.max_invalid_records
        return TooManyInvalidRecordsError(
            f"more than {limit:,} records in it cannot be read",
            where=where,
            todo="repair the file, or let more pass: --set source.max_invalid_records=NUMBER",
        )

    def _sniff_files(self) -> Generator[Event, None, list[SniffedFile]]:
        """Determine how to read each file. Raises UnreadableError, NoTextError, TextColumnError."""
        meter = ProgressMeter(None, "documents")
        files: list[SniffedFile] = []
        missing_column: TextColumnError | None = None
        for file in self._files:
            try:
                files.append(sniff_file(file, self._recipe))
            except TextColumnError as error:
                missing_column = missing_column or error
                todo = "" if self._recipe.column or not error.todo else f" ({error.todo})"
                files.append(SniffedFile(file, format_of(file.name), error.what + todo))
            yield from meter.advance(1)
        has_column = bool(self._recipe.column)
        if missing_column is not None and all(
            sniffed.skip_reason or (has_column and not sniffed.of_records) for sniffed in files
        ):
            raise missing_column
        _check(self._recipe.corpus, files)
        return files


def _check(corpus: str, files: list[SniffedFile]) -> None:
    """Raise UnreadableError or NoTextError if no file can be read."""
    good = [sniffed for sniffed in files if not sniffed.skip_reason]
    todo = "name a text file or a folder with text files in it"
    if not good and len(files) == 1 and files[0].skip_reason != "binary":
        raise UnreadableError(files[0].skip_reason, where=str(files[0].file.path))
    if not good:
        first = files[0]
        many = (
            f"none of the {len(files):,} files in it is readable text "
            f"(the first, {first.file.name}: {first.skip_reason})"
        )
        raise NoTextError("it is binary, not text" if len(files) == 1 else many, where=corpus, todo=todo)
    if not any(sniffed.file.size for sniffed in good):
        raise NoTextError("there is no text in it, only empty files", where=corpus, todo=todo)


def _about(files: list[SniffedFile]) -> Iterator[Note]:
    """Notes about skipped files and about how the others are read, with the first files of each kind."""
    skipped: dict[str, list[str]] = defaultdict(list)
    encodings: dict[str, list[str]] = defaultdict(list)
    columns: dict[tuple[str | None, tuple[str, ...]], list[SniffedFile]] = defaultdict(list)
    unnamed: list[str] = []
    for sniffed in files:
        if sniffed.skip_reason:
            skipped[sniffed.skip_reason].append(sniffed.file.name)
            continue
        if sniffed.encoding not in ("", "utf-8"):
            encodings[sniffed.encoding].append(sniffed.file.name)
        if sniffed.of_records and (sniffed.first or sniffed.column):
            columns[sniffed.column, sniffed.columns].append(sniffed)
        if sniffed.table is not None and not sniffed.table.named:
            unnamed.append(sniffed.file.name)
    for why, names in list(skipped.items())[:_REASONS]:
        yield Note(level="warning", text=f"left out {_count(names)}, {why}: {_list(names)}")
    if left := [name for names in list(skipped.values())[_REASONS:] for name in names]:
        yield Note(level="warning", text=f"left out {_count(left)} for other reasons: {_list(left)}")
    for encoding, names in encodings.items():
        yield Note(text=f"{_count(names)} read as {encoding}: {_list(names)}")
    for (column, available), those in list(columns.items())[:_SHOWN]:
        yield Note(text=_about_column(column, available, those))
    if unnamed:
        text = f"{_count(unnamed)} without names of columns in the first row: {_list(unnamed)}"
        yield Note(level="warning", text=f"{text}; if it holds names: --set source.header=true")


def _about_column(column: str | None, available: tuple[str, ...], files: list[SniffedFile]) -> str:
    names = [sniffed.file.name for sniffed in files]
    if column is None:
        what = "each record a text itself"
    else:
        others = _list([repr(name) for name in available if name != column])
        what = f"the text in {column!r}" + (f", beside {others}" if others else "")
    if any(sniffed.listed for sniffed in files):
        what += ", the items of a list as lines of one document"
    first = next((sniffed.first for sniffed in files if sniffed.first), "")
    return f"{_count(names)} with {what}: {_list(names)}" + (f"; it begins: {first!r}" if first else "")


def _check_length(file: SourceFile) -> None:
    """Raise TruncatedFileError if a file is shorter than when it was listed."""
    try:
        size = file.path.stat().st_size
    except OSError:
        return
    if size < file.size:
        raise TruncatedFileError(
            f"it became shorter while it was read: {size:,} of {file.size:,} bytes are there",
            where=str(file.path),
            todo="start again when the file is whole",
        )


def _about_records(state: _Position) -> Iterator[Note]:
    if not state.records:
        return
    lacking = {"without text": state.empty, "that cannot be read": state.broken}
    why = ", ".join(f"{count:,} {what}" for what, count in lacking.items() if count)
    text = f"{plural(state.records, 'record')} gave {plural(state.documents, 'document')}"
    if state.inside:
        text += f"; {plural(state.inside, 'line break')} {verb(state.inside, 'stands', 'stand')} inside quoted cells"
    yield Note(text=f"{text}; {why}" if why else text)
    if state.unbalanced:
        have = verb(state.unbalanced, "has", "have")
        taken = verb(state.unbalanced, "it was taken as it stands", "they were taken as they stand")
        what = f"{have} a quotation mark that is not closed, or closed too early: {taken}"
        yield Note(level="warning", text=f"{plural(state.unbalanced, 'row')} {what}")


def _about_repairs(state: _Position, repaired: dict[str, str]) -> Iterator[Note]:
    """repaired: files and their encodings, without those read before a resume."""
    if state.replaced:
        meant = " or ".join(sorted(set(repaired.values()))).replace("utf-8", "UTF-8") or "in their encoding"
        were, where = verb(state.replaced, "was", "were"), f": {_list(list(repaired))}" if repaired else ""
        text = f"{plural(state.replaced, 'place')} {were} not {meant} and {were} replaced by \ufffd{where}"
        yield Note(level="warning", text=text)
    if state.broken > _SHOWN:
        were = verb(state.broken, "was", "were")
        yield Note(level="warning", text=f"{plural(state.broken, 'record')} could not be read and {were} passed over")


def _count(names: list[Any]) -> str:
    return plural(len(names), "file")


def _list(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
