"""A partly unmasked block as text: readable characters, and the number of masked positions between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from core.sample.detokenizer import Detokenizer
from core.sample.diffusion import DenoisedBlock
from core.sample.protocol import Span
from core.tokenize.vocabulary import Vocabulary

_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that continue a character."""


class _TokenBytes(NamedTuple):
    """An unmasked token."""

    raw: bytes
    new: bool


def denoising_spans(
    block: DenoisedBlock,
    vocabulary: Vocabulary,
    *,
    stop_tokens: Collection[int] = (),
    stop: Sequence[str] = (),
    pending: bytes = b"",
    last: bool = True,
) -> list[Span]:
    """The text of `block`, up to its end or to where the text is certain to end.

    A character of which bytes are masked counts as masked, with all positions of its known bytes.
    stop_tokens: ids that end the text. pending: `Detokenizer.pending` of the text before. last: no block follows.
    """
    end = next((position for position, token in enumerate(block.ids) if token in stop_tokens), None)
    new_positions = set(block.unmasked)
    tokens: list[_TokenBytes | None] = [_TokenBytes(pending, False)]
    tokens += [
        None if token is None else _TokenBytes(vocabulary.decode_bytes([token]), position in new_positions)
        for position, token in enumerate(block.ids[:end])
    ]
    spans: list[Span] = []
    done = 0
    for masked, group in groupby(tokens, key=lambda token: token is None):
        members = list(group)
        after_mask, done = done > 0, done + len(members)
        if masked:
            spans.append(Span(masked=len(members)))
            continue
        run = [token for token in members if token is not None]
        if after_mask:
            run, lost = _drop_continuation(run)
            spans.append(Span(masked=lost))
        complete = done == len(tokens) and (last or end is not None)
        decoded = _decode_run(run, vocabulary, complete=complete)
        stopped_at = _stop_index(run, vocabulary, stop, complete=complete)
        spans += decoded if stopped_at is None else _truncate(decoded, stopped_at)
        if stopped_at is not None:
            break
    return list(_merge(spans))


def _drop_continuation(run: list[_TokenBytes]) -> tuple[list[_TokenBytes], int]:
    """A run after a masked position without bytes that may end a character there; and how many tokens that empties.

    A character has at most three bytes after its first.
    """
    emptied, limit = 0, 3
    for index, (raw, new) in enumerate(run):
        rest = raw[:limit].lstrip(_CONTINUATION_BYTES) + raw[limit:]
        limit -= len(raw) - len(rest)
        if rest or not limit:
            return [_TokenBytes(rest, new), *run[index + 1 :]], emptied + (bool(raw) and not rest)
        emptied += bool(raw)
    return [], emptied


def _decode_run(run: list[_TokenBytes], vocabulary: Vocabulary, *, complete: bool) -> list[Span]:
    """The characters of a run. complete: nothing follows it, so that incomplete characters become U+FFFD."""
    spans: list[Span] = []
    detokenizer, new, incomplete = Detokenizer(vocabulary), False, 0
    for raw, token_new in run:
        new |= token_new and bool(raw)
        incomplete += bool(raw)
        if characters := detokenizer.add_bytes(raw):
            spans.append(Span(characters, new=new))
            new, incomplete = token_new and bool(detokenizer.pending), 0
    spans.append(Span(detokenizer.flush(), new=new) if complete else Span(masked=incomplete))
    return spans


def _stop_index(run: list[_TokenBytes], vocabulary: Vocabulary, stop: Sequence[str], *, complete: bool) -> int | None:
    """Number of characters of a run before a stop string, if it has one."""
    if not stop:
        return None
    detokenizer = Detokenizer(vocabulary, stop)
    length = sum(len(detokenizer.add_bytes(raw)) for raw, _ in run)
    length += len(detokenizer.flush()) if complete else 0
    return length if detokenizer.stopped else None


def _truncate(spans: list[Span], characters: int) -> Iterator[Span]:
    for span in spans:
        yield Span(span.text[:characters], new=span.new)
        characters -= len(span.text[:characters])


def _merge(spans: list[Span]) -> Iterator[Span]:
    """Without empty spans; adjacent spans of the same kind become one."""
    nonempty = [span for span in spans if span.text or span.masked]
    for (_, new), group in groupby(nonempty, key=lambda span: (bool(span.masked), span.new)):
        same = list(group)
        yield Span("".join(span.text for span in same), masked=sum(span.masked for span in same), new=new)
