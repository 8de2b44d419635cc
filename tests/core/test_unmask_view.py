"""Spans of partially unmasked text: no partial characters, nothing after the end of the text."""

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


def block(text: bytes, masked: set[int], unmasked: tuple[int, ...] = ()) -> DenoisedBlock:
    return DenoisedBlock(tuple(None if position in masked else byte for position, byte in enumerate(text)), unmasked)


def test_masked_positions_are_counted_and_new_text_is_flagged() -> None:
    assert denoising_spans(block(b"abcdefg", {2, 3}, (5, 0)), BYTES) == [
        Span("a", new=True),
        Span("b"),
        Span(masked=2),
        Span("e"),
        Span("f", new=True),
        Span("g"),
    ]


def test_a_character_is_masked_until_all_its_bytes_are_unmasked() -> None:
    euro = "x€y".encode()
    assert denoising_spans(block(euro, {1, 3}, (2,)), BYTES) == [Span("x"), Span(masked=3), Span("y")]
    assert denoising_spans(block(euro, {1}, (3,)), BYTES) == [Span("x"), Span(masked=3), Span("y")]
    assert denoising_spans(block(euro, {3}, (1,)), BYTES) == [Span("x"), Span(masked=3), Span("y")]
    assert denoising_spans(block(euro, set(), (1,)), BYTES) == [Span("x"), Span("€", new=True), Span("y")]


def test_whole_characters_of_a_token_are_shown_without_partial_ones() -> None:
    pairs = Vocabulary("pairs", "", [*(bytes([byte]) for byte in range(256)), "a€".encode()[:2], "€b".encode()[1:]])
    assert denoising_spans(DenoisedBlock((256, None), ()), pairs) == [Span("a"), Span(masked=1)]
    assert denoising_spans(DenoisedBlock((None, 257), ()), pairs) == [Span(masked=1), Span("b")]
    assert denoising_spans(DenoisedBlock((256, 257), (0,)), pairs) == [Span("a€b", new=True)]
    assert denoising_spans(DenoisedBlock((256, 257), (1,)), pairs) == [Span("a"), Span("€b", new=True)]


@pytest.mark.parametrize("seed", range(60))
def test_exactly_the_characters_with_all_bytes_are_shown(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice("aé€😀 ") for _ in range(8))
    raw = text.encode()
    masked = {position for position in range(len(raw)) if rng.random() < rng.choice((0.1, 0.5))}
    expected, position = "", 0
    for character in text:
        size = len(character.encode())
        expected += "░" * size if masked & set(range(position, position + size)) else character
        position += size
    assert "".join(span.text or "░" * span.masked for span in denoising_spans(block(raw, masked), BYTES)) == expected


@pytest.mark.parametrize("seed", range(40))
def test_a_fully_unmasked_block_equals_the_decoded_text(seed: int) -> None:
    rng = random.Random(seed)
    stop = ("ab", "b\ufffd", "c")[: rng.randrange(4)]
    ids = [rng.choice((*b"abc\xe2\x82\xac\xff", END if rng.random() < 0.2 else 97)) for _ in range(12)]
    text, expected = Detokenizer(BYTES, stop), ""
    for token in ids:
        if token == END or text.stopped:
            break
        expected += text.add_token(token)
    expected += text.flush()
    spans = denoising_spans(DenoisedBlock(tuple(ids), ()), BYTES, stop_tokens={END}, stop=stop)
    assert "".join(span.text for span in spans) == expected
    assert not any(span.masked for span in spans)


@pytest.mark.parametrize("seed", range(40))
def test_partial_text_is_contained_in_the_final_text(seed: int) -> None:
    rng = random.Random(seed)
    ids = tuple(rng.choice(b"abc\xe2\x82\xac\xff") for _ in range(12))
    order = rng.sample(range(12), 12)
    whole = "".join(span.text for span in denoising_spans(DenoisedBlock(ids, ()), BYTES))
    known: tuple[int | None, ...] = (None,) * 12
    for position in order:
        known = (*known[:position], ids[position], *known[position + 1 :])
        spans = denoising_spans(DenoisedBlock(known, (position,)), BYTES)
        offset = 0
        for number, span in enumerate(spans):
            start = whole.find(span.text, offset)
            assert start >= 0 if number else start == 0
            offset = start + len(span.text)


def test_spans_end_at_stop_tokens_and_stop_strings() -> None:
    ids = (97, None, 98, 99, END, None, 100)
    assert denoising_spans(DenoisedBlock(ids, ()), BYTES, stop_tokens={END}) == [Span("a"), Span(masked=1), Span("bc")]
    assert denoising_spans(DenoisedBlock(ids, ()), BYTES, stop_tokens={END}, stop=("c",)) == [
        Span("a"),
        Span(masked=1),
        Span("b"),
    ]
    assert denoising_spans(block(b"ab\nc", {0}), BYTES, stop=("b\n",)) == [Span(masked=1)]


def test_pending_bytes_of_the_previous_block_come_first() -> None:
    text = Detokenizer(BYTES, ("stop",))
    assert "".join(text.add_token(byte) for byte in b"a st") == "a "
    assert text.pending == b"st"
    assert denoising_spans(block(b"ay", {1}), BYTES, stop=("stop",), pending=text.pending) == [
        Span("sta"),
        Span(masked=1),
    ]
    assert denoising_spans(block(b"op!", {2}), BYTES, stop=("stop",), pending=text.pending) == []
    half = Detokenizer(BYTES)
    half.add_token(0xE2)
    assert denoising_spans(block(b"\x82\xac", {1}), BYTES, pending=half.pending) == [Span(masked=3)]
    assert denoising_spans(block(b"\x82\xac", set()), BYTES, pending=half.pending) == [Span("€")]


def test_a_partial_character_at_the_end_waits_for_the_next_block() -> None:
    assert denoising_spans(block(b"a\xe2", set()), BYTES, last=False) == [Span("a"), Span(masked=1)]
    assert denoising_spans(block(b"a\xe2", set()), BYTES) == [Span("a\ufffd")]
