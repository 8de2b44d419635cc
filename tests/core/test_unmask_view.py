"""A text that is being uncovered, as what can be read of it: never half a character, and nothing behind its end."""

from __future__ import annotations

import random

import pytest

from core.sample.detokenizer import Detokenizer
from core.sample.diffusion import DenoisedBlock
from core.sample.protocol import Span
from core.sample.unmask_view import denoising_spans
from core.tokenize.characters import byte_vocabulary
from core.tokenize.vocabulary import Vocabulary

BYTES = byte_vocabulary()
END = BYTES.end_of_text


def stretch(text: bytes, hidden: set[int], fresh: tuple[int, ...] = ()) -> DenoisedBlock:
    return DenoisedBlock(tuple(None if place in hidden else byte for place, byte in enumerate(text)), fresh)


def test_hidden_places_are_counted_and_new_text_is_marked() -> None:
    assert denoising_spans(stretch(b"abcdefg", {2, 3}, (5, 0)), BYTES) == [
        Span("a", new=True),
        Span("b"),
        Span(masked=2),
        Span("e"),
        Span("f", new=True),
        Span("g"),
    ]


def test_a_character_is_hidden_until_its_last_byte_is_there_and_new_with_it() -> None:
    euro = "x€y".encode()
    assert denoising_spans(stretch(euro, {1, 3}, (2,)), BYTES) == [Span("x"), Span(masked=3), Span("y")]
    assert denoising_spans(stretch(euro, {1}, (3,)), BYTES) == [Span("x"), Span(masked=3), Span("y")]
    assert denoising_spans(stretch(euro, {3}, (1,)), BYTES) == [Span("x"), Span(masked=3), Span("y")]
    assert denoising_spans(stretch(euro, set(), (1,)), BYTES) == [Span("x"), Span("€", new=True), Span("y")]


def test_a_token_with_half_a_character_shows_its_whole_ones() -> None:
    pairs = Vocabulary("pairs", "", [*(bytes([byte]) for byte in range(256)), "a€".encode()[:2], "€b".encode()[1:]])
    assert denoising_spans(DenoisedBlock((256, None), ()), pairs) == [Span("a"), Span(masked=1)]
    assert denoising_spans(DenoisedBlock((None, 257), ()), pairs) == [Span(masked=1), Span("b")]
    assert denoising_spans(DenoisedBlock((256, 257), (0,)), pairs) == [Span("a€b", new=True)]
    assert denoising_spans(DenoisedBlock((256, 257), (1,)), pairs) == [Span("a"), Span("€b", new=True)]


@pytest.mark.parametrize("seed", range(60))
def test_of_any_text_and_any_hidden_places_exactly_the_whole_characters_show(seed: int) -> None:
    drawn = random.Random(seed)
    text = "".join(drawn.choice("aé€😀 ") for _ in range(8))
    raw = text.encode()
    hidden = {place for place in range(len(raw)) if drawn.random() < drawn.choice((0.1, 0.5))}
    expected, place = "", 0
    for character in text:
        size = len(character.encode())
        expected += "░" * size if hidden & set(range(place, place + size)) else character
        place += size
    assert "".join(span.text or "░" * span.masked for span in denoising_spans(stretch(raw, hidden), BYTES)) == expected


@pytest.mark.parametrize("seed", range(40))
def test_when_all_is_uncovered_it_is_the_text(seed: int) -> None:
    drawn = random.Random(seed)
    stop = ("ab", "b\ufffd", "c")[: drawn.randrange(4)]
    ids = [drawn.choice((*b"abc\xe2\x82\xac\xff", END if drawn.random() < 0.2 else 97)) for _ in range(12)]
    text, expected = Detokenizer(BYTES, stop), ""
    for token in ids:
        if token == END or text.stopped:
            break
        expected += text.add_token(token)
    expected += text.flush()
    seen = denoising_spans(DenoisedBlock(tuple(ids), ()), BYTES, stop_tokens={END}, stop=stop)
    assert "".join(span.text for span in seen) == expected
    assert not any(span.masked for span in seen)


@pytest.mark.parametrize("seed", range(40))
def test_what_shows_is_of_the_text_that_comes_of_it(seed: int) -> None:
    drawn = random.Random(seed)
    ids = tuple(drawn.choice(b"abc\xe2\x82\xac\xff") for _ in range(12))
    order = drawn.sample(range(12), 12)
    whole = "".join(span.text for span in denoising_spans(DenoisedBlock(ids, ()), BYTES))
    known: tuple[int | None, ...] = (None,) * 12
    for place in order:
        known = (*known[:place], ids[place], *known[place + 1 :])
        seen = denoising_spans(DenoisedBlock(known, (place,)), BYTES)
        at = 0
        for number, span in enumerate(seen):
            found = whole.find(span.text, at)
            assert found >= 0 if number else found == 0
            at = found + len(span.text)


def test_the_text_ends_where_a_mark_or_a_stop_string_is_sure_to_end_it() -> None:
    ids = (97, None, 98, 99, END, None, 100)
    assert denoising_spans(DenoisedBlock(ids, ()), BYTES, stop_tokens={END}) == [Span("a"), Span(masked=1), Span("bc")]
    assert denoising_spans(DenoisedBlock(ids, ()), BYTES, stop_tokens={END}, stop=("c",)) == [
        Span("a"),
        Span(masked=1),
        Span("b"),
    ]
    assert denoising_spans(stretch(b"ab\nc", {0}), BYTES, stop=("b\n",)) == [Span(masked=1)]


def test_what_waits_from_the_stretch_before_is_shown_in_front() -> None:
    text = Detokenizer(BYTES, ("stop",))
    assert "".join(text.add_token(byte) for byte in b"a st") == "a "
    assert text.pending == b"st"
    assert denoising_spans(stretch(b"ay", {1}), BYTES, stop=("stop",), pending=text.pending) == [
        Span("sta"),
        Span(masked=1),
    ]
    assert denoising_spans(stretch(b"op!", {2}), BYTES, stop=("stop",), pending=text.pending) == []
    half = Detokenizer(BYTES)
    half.add_token(0xE2)
    assert denoising_spans(stretch(b"\x82\xac", {1}), BYTES, pending=half.pending) == [Span(masked=3)]
    assert denoising_spans(stretch(b"\x82\xac", set()), BYTES, pending=half.pending) == [Span("€")]


def test_half_a_character_at_the_end_waits_for_the_next_stretch_if_there_is_one() -> None:
    assert denoising_spans(stretch(b"a\xe2", set()), BYTES, last=False) == [Span("a"), Span(masked=1)]
    assert denoising_spans(stretch(b"a\xe2", set()), BYTES) == [Span("a\ufffd")]
