"""Text wrapped into lines of a terminal."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from rich.cells import cell_len, chop_cells

from llmtui.view.lines import clip, cut, cut_start, wrap, wrap_with_offsets


def plainly(text: str, cells: int) -> Iterator[tuple[int, str]]:
    """The same from the definition: all that is left is looked at for each line."""
    place = 0
    for paragraph in text.split("\n"):
        rest = paragraph
        while cell_len(rest) > cells:
            head = chop_cells(rest, cells)[0]
            space = head.rfind(" ")
            if space > cells // 2:
                head = head[: space + 1]
            yield place, head.rstrip()
            place, rest = place + len(head), rest[len(head) :]
        yield place, rest
        place += len(rest) + 1


@pytest.mark.heavy
def test_lines_are_those_of_the_definition_whatever_the_characters_are() -> None:
    draw = random.Random(1)
    kinds = ["ab ", "\u6f22\u5b57 ", "a\u0301\u200b\u0308", "\U0001f469\u200d\U0001f467\ufe0f ", "a\n \u6f22\u0301"]
    for _ in range(2000):
        letters = draw.choice([*kinds, "".join(kinds)])
        text = "".join(draw.choices(letters, k=draw.randrange(200)))
        if draw.random() < 0.2:
            text += "x" + "\u0301" * draw.randrange(400) + "y z" * 9
        cells = draw.randrange(2, 40)
        assert list(wrap_with_offsets(text, cells)) == list(plainly(text, cells))


@pytest.mark.heavy
def test_a_paragraph_as_long_as_a_book_is_broken_in_the_time_that_it_takes_to_read_it() -> None:
    for letter, cells in (("\u6f22", 2), ("a", 1)):
        lines = list(wrap(letter * 500_000, 80))
        assert len(lines) == 500_000 * cells // 80
        assert "".join(lines) == letter * 500_000


def test_a_character_wider_than_the_line_stands_in_one_of_its_own() -> None:
    assert [line for line in wrap("\u6f22\u5b57", 1) if line] == ["\u6f22", "\u5b57"]


def test_lines_are_cut_at_the_ends_of_words() -> None:
    assert cut("a checkpoint is saved at the next step", 24) == "a checkpoint is saved…"
    assert cut("a checkpoint is saved at the next step", 25) == "a checkpoint is saved at…"
    assert cut("20261128-233741-shakespeare-4f2a", 12) == "20261128-23…"
    assert cut("漢字 漢字漢字 漢字", 8) == "漢字 漢…" and cut("word", 0) == "" and cut("word", 4) == "word"
    saved = [("Save a ", "key"), ("checkpoint, then stop", "dim")]
    assert clip(saved, 20) == [("Save a ", "key"), ("checkpoint…", "dim")]
    assert clip([("all of it  ", "key"), ("  ", "dim")], 10) == [("all of it ", "key")]


def test_a_path_is_cut_at_its_start() -> None:
    assert cut_start("/a/books/text.txt", 10) == "…/text.txt"
    assert cut_start("short", 5) == "short" and cut_start("日本語", 3) == "…語" and cut_start("long", 0) == ""
