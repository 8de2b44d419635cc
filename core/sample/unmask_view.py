"""How far a masked model is, as text: what can be read already, and how much is hidden between."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from core.sample.detokenizer import TextOf
from core.sample.diffusion import Stretch
from core.sample.protocol import Span
from core.tokenize.vocabulary import Vocabulary

_INSIDE = bytes(range(0x80, 0xC0))
"""Bytes that go on with a character of UTF-8 but begin none."""


class _Bytes(NamedTuple):
    """Those of one token that is uncovered."""

    raw: bytes
    new: bool


def spans(
    stretch: Stretch,
    vocabulary: Vocabulary,
    *,
    ends: Collection[int] = (),
    stop: Sequence[str] = (),
    waiting: bytes = b"",
    last: bool = True,
) -> list[Span]:
    """What stands where `stretch` is being written, up to where the text is sure to end by now.

    A character of which bytes are missing is hidden, and so is the place it stands on. ends: tokens that end the text.
    waiting: what the text had before, see `TextOf.waiting`. last: no other stretch follows.
    """
    ended = next((place for place, token in enumerate(stretch.ids) if token in ends), None)
    fresh = set(stretch.fresh)
    places: list[_Bytes | None] = [_Bytes(waiting, False)]
    places += [
        None if token is None else _Bytes(vocabulary.decode_bytes([token]), place in fresh)
        for place, token in enumerate(stretch.ids[:ended])
    ]
    found: list[Span] = []
    at = 0
    for hidden, group in groupby(places, key=lambda place: place is None):
        some = list(group)
        opened, at = at > 0, at + len(some)
        if hidden:
            found.append(Span(hidden=len(some)))
            continue
        run = [place for place in some if place is not None]
        if opened:
            run, lost = _from_a_beginning(run)
            found.append(Span(hidden=lost))
        closed = at == len(places) and (last or ended is not None)
        readable = _readable(run, vocabulary, closed=closed)
        end = _end(run, vocabulary, stop, closed=closed)
        found += readable if end is None else _first(readable, end)
        if end is not None:
            break
    return list(_merged(found))


def _from_a_beginning(run: list[_Bytes]) -> tuple[list[_Bytes], int]:
    """A run behind a hidden place, without what may be the end of a character that begins there; places that empties.

    A character has at most three bytes behind its first.
    """
    lost, most = 0, 3
    for number, (raw, new) in enumerate(run):
        rest = raw[:most].lstrip(_INSIDE) + raw[most:]
        most -= len(raw) - len(rest)
        if rest or not most:
            return [_Bytes(rest, new), *run[number + 1 :]], lost + (bool(raw) and not rest)
        lost += bool(raw)
    return [], lost


def _readable(run: list[_Bytes], vocabulary: Vocabulary, *, closed: bool) -> list[Span]:
    """The characters of a run. closed: nothing will follow it, so that what lacks bytes is U+FFFD."""
    read: list[Span] = []
    text, new, silent = TextOf(vocabulary), False, 0
    for raw, its_new in run:
        new |= its_new and bool(raw)
        silent += bool(raw)
        if characters := text.take(raw):
            read.append(Span(characters, new=new))
            new, silent = its_new and bool(text.waiting), 0
    read.append(Span(text.rest(), new=new) if closed else Span(hidden=silent))
    return read


def _end(run: list[_Bytes], vocabulary: Vocabulary, stop: Sequence[str], *, closed: bool) -> int | None:
    """After how many characters of a run a stop string ends the text."""
    if not stop:
        return None
    text = TextOf(vocabulary, stop)
    length = sum(len(text.take(raw)) for raw, _ in run)
    length += len(text.rest()) if closed else 0
    return length if text.stopped else None


def _first(spans: list[Span], characters: int) -> Iterator[Span]:
    for span in spans:
        yield Span(span.text[:characters], new=span.new)
        characters -= len(span.text[:characters])


def _merged(spans: list[Span]) -> Iterator[Span]:
    """Without what is empty, neighbours of a kind as one."""
    some = [span for span in spans if span.text or span.hidden]
    for (_, new), group in groupby(some, key=lambda span: (bool(span.hidden), span.new)):
        alike = list(group)
        yield Span("".join(span.text for span in alike), hidden=sum(span.hidden for span in alike), new=new)
