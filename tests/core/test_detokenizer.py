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


def text_before_stop(text: str, stop: list[str]) -> str | None:
    """`text` before its first stop string, found character by character; None without one."""
    for end in range(1, len(text) + 1):
        matches = [each for each in stop if text[:end].endswith(each)]
        if matches:
            return text[: end - max(map(len, matches))]
    return None


def stream(ids: list[int], stop: list[str]) -> tuple[list[str], bool]:
    """The emitted pieces, that of `flush` last, and whether a stop string was found."""
    text = Detokenizer(VOCABULARY, stop)
    emitted = []
    for token in ids:
        emitted.append(text.add_token(token))
        if text.stopped:
            break
    return [*emitted, text.flush()], text.stopped


@given(tokens, stops)
@example([97, 98, 99], ["abc", "b"])
@example([265], ["abc", "b"])
def test_streamed_text_ends_before_the_first_complete_stop_string(ids: list[int], stop: list[str]) -> None:
    whole = VOCABULARY.decode(ids)
    expected = text_before_stop(whole, stop)
    pieces, stopped = stream(ids, stop)
    assert "".join(pieces) == (whole if expected is None else expected)
    assert stopped == (expected is not None)


@given(tokens, stops)
def test_output_does_not_depend_on_the_tokenization(ids: list[int], stop: list[str]) -> None:
    pieces, _ = stream(ids, stop)
    by_bytes, _ = stream(list(VOCABULARY.decode_bytes(ids)), stop)
    assert "".join(pieces) == "".join(by_bytes)


@given(tokens, stops)
def test_only_partial_characters_and_partial_stop_strings_are_held_back(ids: list[int], stop: list[str]) -> None:
    text, emitted, data = Detokenizer(VOCABULARY, stop), "", b""
    for token in ids:
        emitted += text.add_token(token)
        data += VOCABULARY.decode_bytes([token])
        if text.stopped:
            return
        decoded = data.decode("utf-8", "replace")
        pending = decoded[len(emitted) :]
        assert decoded.startswith(emitted)
        # a partial character, one U+FFFD as text, is the last part of what is held back
        assert any(each.startswith(rest) for rest in (pending, pending.removesuffix("�")) for each in ["", *stop])


def test_a_character_of_several_tokens_is_emitted_whole() -> None:
    assert stream(list("€".encode()), [])[0] == ["", "", "€", ""]
    assert stream(list("€".encode())[:2], [])[0] == ["", "", "�"]


def test_a_stop_string_may_span_tokens_and_characters() -> None:
    pieces, stopped = stream(list("so<|€|>on".encode()), ["<|€|>"])
    assert (pieces[:3], "".join(pieces), stopped) == (["s", "o", ""], "so", True)
    assert stream(list(b"a<|b"), ["<|€|>"])[0] == ["a", "", "", "<|b", ""]
    assert stream(list(b"a<|"), ["<|€|>"])[0] == ["a", "", "", "<|"]


@pytest.mark.parametrize("last", [b"\xe2", b"\xff"])
def test_a_stop_string_may_end_with_a_replacement_character(last: bytes) -> None:
    assert stream([*b"ab", *last], ["b�"]) == (["a", "", "", ""], True)


def test_nothing_is_emitted_after_a_stop_string() -> None:
    text = Detokenizer(VOCABULARY, ["b"])
    assert [text.add_token(token) for token in b"abc"] == ["a", "", ""]
    assert text.flush() == ""
