"""Documents from JSON lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from core.download import line_blocks
from core.download.batches import (
    EMPTY_BATCH,
    MAX_REPORTED,
    DocumentBatch,
    FilePosition,
    InvalidRecord,
    make_batches,
    skip_emitted,
)
from core.download.compression import ByteStream
from core.download.json_layout import parse_json
from core.download.line_blocks import read_blocks
from core.download.text_column import InvalidRecordError, text_in

BOM = b"\xef\xbb\xbf"
TOO_LONG = f"it is longer than {line_blocks.RECORD_BYTES // 2**20} MiB"


def read_json_lines(
    name: str, stream: ByteStream, field: str | None, position: FilePosition, *, nested: bool = False
) -> Iterator[DocumentBatch]:
    """The texts at `field` of JSON lines; a line that is a string is a text itself.

    field: a path, see `text_in`; None: every line is a string. nested: whether it leads into objects or lists.
    Documents are named `name:line`. Raises UnreadableError.
    """
    decoder, text_of = _decoder(field, nested)
    for block in read_blocks(stream, position.offset, position.line):
        after = FilePosition(offset=block.end, line=block.lines + block.data.count(b"\n") + block.too_long)
        if not block.data:
            invalid = (InvalidRecord(block.lines + 1, TOO_LONG),) if block.too_long else ()
            yield DocumentBatch(
                EMPTY_BATCH, after, stream.consumed, records=len(invalid), invalid_records=len(invalid), invalid=invalid
            )
            continue
        data = block.data.removeprefix(BOM) if block.start == 0 else block.data
        part = position.part if block.start == position.offset else 0
        start = FilePosition(offset=block.start, line=block.lines, part=part)
        count = data.count(b"\n") + (not data.endswith(b"\n"))
        counts = DocumentBatch(EMPTY_BATCH, after, 0)
        try:
            texts: list[str | None] = list(map(text_of, decoder.decode_lines(data)))
            # blank lines would shift the line numbers
            numbers = np.arange(block.lines + 1, block.lines + 1 + count) if len(texts) == count else None
        except (ValueError, RecursionError, InvalidRecordError):
            numbers = None
        if numbers is None:
            waiting = DocumentBatch(EMPTY_BATCH, start, stream.consumed)
            texts, numbers, counts = yield from _one_by_one(data, field, decoder, text_of, waiting, counts)
        yield from texts_to_batches(name, texts, numbers, counts, start, stream.consumed)


def texts_to_batches(
    name: str,
    texts: list[str | None],
    numbers: np.ndarray[Any, Any],
    counts: DocumentBatch,
    start: FilePosition,
    consumed: float,
) -> Iterator[DocumentBatch]:
    """`texts` as batches of documents, without the empty ones. counts: statistics to yield with the first batch."""
    counts = counts._replace(records=len(texts) + counts.invalid_records)
    has_text = np.fromiter(map(bool, texts), dtype=bool, count=len(texts))
    if not has_text.all():
        counts = counts._replace(empty=len(texts) - int(has_text.sum()))
        texts, numbers = [text for text in texts if text], numbers[has_text]
    return skip_emitted(
        make_batches(name, numbers, pa.array(texts, pa.string())), start, counts.position, consumed, counts
    )


def _decoder(field: str | None, nested: bool) -> tuple[msgspec.json.Decoder[Any], Callable[[Any], str | None]]:
    """A JSON decoder that builds objects only for the text where possible, and a function that extracts the text."""
    if field is None:
        return msgspec.json.Decoder(str), str
    if nested or not field or re.search(r'["\\\x00-\x1f]', field):  # msgspec takes no such names
        path = field.split(".")
        return msgspec.json.Decoder(), lambda line: line if isinstance(line, str) else text_in(line, path)
    record = msgspec.defstruct("Record", [("text", str | None, None)], rename={"text": field})
    return msgspec.json.Decoder(record | str), lambda line: line if isinstance(line, str) else line.text


def _one_by_one(
    data: bytes,
    field: str | None,
    decoder: msgspec.json.Decoder[Any],
    text_of: Callable[[Any], str | None],
    waiting: DocumentBatch,
    counts: DocumentBatch,
) -> Generator[DocumentBatch, None, tuple[list[str | None], np.ndarray[Any, Any], DocumentBatch]]:
    """The texts of the lines that can be read, their numbers, and `counts` with what is wrong with the others.

    waiting: yielded periodically, since there may be a million lines in a few MiB.
    """
    texts: list[str | None] = []
    numbers: list[int] = []
    invalid: list[InvalidRecord] = []
    replaced = invalid_count = 0
    for number, line in enumerate(data.split(b"\n"), waiting.position.line + 1):
        if number % 2**13 == 0:
            yield waiting
        if not line or line.isspace():
            continue
        try:
            text = text_of(decoder.decode(line))
        except (ValueError, RecursionError, InvalidRecordError):
            try:
                text, changed = _decode_leniently(line, field)
            except InvalidRecordError as error:
                invalid_count += 1
                if invalid_count <= MAX_REPORTED:
                    invalid.append(InvalidRecord(number, str(error)))
                continue
            replaced += changed
        texts.append(text)
        numbers.append(number)
    return (
        texts,
        np.asarray(numbers, dtype=np.int64),
        counts._replace(invalid_records=invalid_count, invalid=tuple(invalid), replaced=replaced),
    )


def _decode_leniently(line: bytes, field: str | None) -> tuple[str | None, int]:
    """The text of a line that the strict decoder rejects, and how many characters of it were replaced.

    Python writes NaN and lone surrogates into JSON, and some programs bytes that are not UTF-8.
    """
    try:
        record = parse_json(line)
    except RecursionError:
        raise InvalidRecordError("it is nested too deeply") from None
    except ValueError as error:
        raise InvalidRecordError(f"it is not JSON ({error})") from None
    try:
        text = record if isinstance(record, str) else text_in(record, [] if field is None else field.split("."))
    except InvalidRecordError:
        raise InvalidRecordError(
            f"its {field!r} is not text" if isinstance(record, dict) and field else "it is not text"
        ) from None
    if text is None:
        return None, 0
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text, max(0, text.count("\ufffd") - line.count(b"\xef\xbf\xbd") - line.lower().count(b"\\ufffd"))
