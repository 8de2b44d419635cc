"""Tokens as text and as a grid: every character visible, no line wider than its pane, the cursor on every token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sample.inspect_protocol import TokenInfo
from core.sample.token_protocol import TokenizedText
from llmtui.view.lines import width
from llmtui.view.sanitize import DANGEROUS
from llmtui.view.token_grid import GridToken, draw, layout, moved, rows_of, text_grid, token_text


def token(content: bytes, number: int = 1) -> TokenInfo:
    return TokenInfo(number, "text", "", content.hex())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b" def", " def"),
        (b"\n\t", "␊␉"),
        (b"\x1b[2J", "␛[2J"),
        ("größe".encode()[:3], "gr<C3>"),
        (b"\xb6\xc3\x9f", "<B6>ß"),
        ("\u200b".encode(), "<U+200B>"),
        ("\u00a0".encode(), "<U+00A0>"),
        ("\u202e".encode(), "<U+202E>"),
        ("\u0301x".encode(), "<U+0301>x"),
        ("e\u0301".encode(), "e\u0301"),
        ("😀".encode(), "😀"),
    ],
)
def test_a_token_shows_each_of_its_characters_and_bytes(content: bytes, expected: str) -> None:
    assert token_text(token(content)) == expected


@given(st.binary(max_size=12))
def test_no_token_reaches_the_terminal_with_a_control_character(content: bytes) -> None:
    assert not set(map(ord, token_text(token(content)))) & DANGEROUS.keys()


def test_unused_ids_and_the_mask_have_a_text() -> None:
    assert [token_text(TokenInfo(1, kind)) for kind in ("gap", "hidden")] == ["(unused)", "▒▒▒"]


labels = st.text(" abß😀␊", min_size=1, max_size=12)
grid_tokens = st.builds(GridToken, labels, below=st.sampled_from(["", "7", "50256"]), rule=st.sampled_from(["", "end"]))


@given(st.lists(grid_tokens, min_size=1, max_size=40), st.integers(4, 30), st.booleans())
def test_each_token_is_drawn_once_in_lines_that_fit(tokens: list[GridToken], cells: int, numbers: bool) -> None:
    lines = layout(tokens, cells, numbers=numbers)
    assert [number for line in lines for number in range(line.first, line.end)] == list(range(len(tokens)))
    for line in lines:
        rows = draw(tokens, line, cells, numbers=numbers, cursor=line.first)
        assert len(rows) == rows_of(line, numbers=numbers)
        assert max(map(width, rows)) <= cells
        assert sum(role == "cursor" for row in rows for _, role in row) == 1


def test_a_line_ends_after_a_line_feed_and_a_document() -> None:
    tokens = [GridToken("a␊"), GridToken("b"), GridToken("<end>", rule="the document ends here"), GridToken("c")]
    assert [(line.first, line.end) for line in layout(tokens, 40, numbers=False)] == [(0, 1), (1, 3), (3, 4)]


def test_up_and_down_keep_the_column() -> None:
    tokens = [GridToken(text) for text in ("aaaa", "bbbb", "cccc", "dd␊", "eeeeeeee", "ffff")]
    lines = layout(tokens, 40, numbers=False)
    assert moved(lines, 2, 1) == 5
    assert moved(lines, 5, -1) == 2
    assert (moved(lines, 0, -1), moved(lines, 5, 9)) == (0, 5)


def test_a_text_shows_ids_and_alternates_its_styles() -> None:
    infos = (TokenInfo(3, "text", "a", "61"), TokenInfo(9, "bytes", "", "c3"))
    grid = text_grid(TokenizedText(entries=10, ids=(3, 3, 9), bytes=3, tokens=infos))
    assert [(token.label, token.below, token.role) for token in grid] == [
        ("a", "3", ""),
        ("a", "3", "train"),
        ("<C3>", "9", "warn"),
    ]
    assert grid[2].detail == "token 3 of 3 · id 9 · 1 byte, c3 · part of a character"
