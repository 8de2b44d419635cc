"""Tokens become text as they come: whole characters, and nothing of the string that ends it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.sample.detokenizer import Detokenizer
from core.tokenize.vocabulary import Vocabulary

BYTES = [bytes([byte]) for byte in range(256)]
PIECES = [b"ab", b"ba", b"a\xc3", b"\xa9b", "é€".encode(), b"\xe2\x82", b"aab", b"<|", b"|>", b"abc"]
VOCABULARY = Vocabulary("pieces", "", BYTES + PIECES, kind="pairs")
COMMON = [*b"ab<|>", *"é€😀".encode(), 0xFF, *range(256, 256 + len(PIECES)), 97, 98]

tokens = st.lists(st.sampled_from(COMMON), max_size=40)
stops = st.lists(st.text("ab<|>é€�", min_size=1, max_size=5), max_size=4)


def ended(text: str, stop: list[str]) -> str | None:
    """`text` up to its first stop string, character by character; None where none comes."""
    for end in range(1, len(text) + 1):
        here = [each for each in stop if text[:end].endswith(each)]
        if here:
            return text[: end - max(map(len, here))]
    return None


def streamed(ids: list[int], stop: list[str]) -> tuple[list[str], bool]:
    """The pieces, the last that of the end, and whether a stop string came."""
    text = Detokenizer(VOCABULARY, stop)
    shown = []
    for token in ids:
        shown.append(text.add_token(token))
        if text.stopped:
            break
    return [*shown, text.flush()], text.stopped


@given(tokens, stops)
@example([97, 98, 99], ["abc", "b"])
@example([265], ["abc", "b"])
def test_the_pieces_are_the_text_before_the_stop_string_that_is_complete_first(ids: list[int], stop: list[str]) -> None:
    whole = VOCABULARY.decode(ids)
    expected = ended(whole, stop)
    pieces, stopped = streamed(ids, stop)
    assert "".join(pieces) == (whole if expected is None else expected)
    assert stopped == (expected is not None)


@given(tokens, stops)
def test_how_the_text_is_cut_into_tokens_changes_nothing(ids: list[int], stop: list[str]) -> None:
    pieces, _ = streamed(ids, stop)
    by_bytes, _ = streamed(list(VOCABULARY.decode_bytes(ids)), stop)
    assert "".join(pieces) == "".join(by_bytes)


@given(tokens, stops)
def test_nothing_waits_but_a_part_of_a_character_or_the_beginning_of_a_stop_string(
    ids: list[int], stop: list[str]
) -> None:
    text, shown, data = Detokenizer(VOCABULARY, stop), "", b""
    for token in ids:
        shown += text.add_token(token)
        data += VOCABULARY.decode_bytes([token])
        if text.stopped:
            return
        there = data.decode("utf-8", "replace")
        waiting = there[len(shown) :]
        assert there.startswith(shown)
        # the part of a character, which as text would be one U+FFFD, waits behind whatever else does
        assert any(each.startswith(rest) for rest in (waiting, waiting.removesuffix("�")) for each in ["", *stop])


def test_a_character_of_several_tokens_comes_whole() -> None:
    assert streamed(list("€".encode()), [])[0] == ["", "", "€", ""]
    assert streamed(list("€".encode())[:2], [])[0] == ["", "", "�"]


def test_a_stop_string_may_be_spread_over_tokens_and_characters() -> None:
    pieces, stopped = streamed(list("so<|€|>on".encode()), ["<|€|>"])
    assert (pieces[:3], "".join(pieces), stopped) == (["s", "o", ""], "so", True)
    assert streamed(list(b"a<|b"), ["<|€|>"])[0] == ["a", "", "", "<|b", ""]
    assert streamed(list(b"a<|"), ["<|€|>"])[0] == ["a", "", "", "<|"]


@pytest.mark.parametrize("last", [b"\xe2", b"\xff"])
def test_a_stop_string_may_be_complete_only_with_what_is_no_character(last: bytes) -> None:
    assert streamed([*b"ab", *last], ["b�"]) == (["a", "", "", ""], True)


def test_after_the_stop_string_nothing_follows() -> None:
    text = Detokenizer(VOCABULARY, ["b"])
    assert [text.add_token(token) for token in b"abc"] == ["a", "", ""]
    assert text.flush() == ""
