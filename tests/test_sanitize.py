"""What reaches a terminal takes as many cells in every terminal as in the layout, and hides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmtui.tui.output_filter import same_width
from llmtui.view.sanitize import DANGEROUS, shown, shown_path

MERGING = st.text(st.sampled_from("a1é❤👍👨क्\u200d\ufe0e\ufe0f\U0001f3fd\u00ad\u0301\u2060\x1b"), max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u200bb\u200cc e\u0301", "a\u200bb\u200cc e\u0301"),  # of languages, no cell in any terminal
        ("❤\ufe0f 1\ufe0f\u20e3", "❤ 1\u20e3"),
        ("👍\U0001f3fd", "👍"),
        ("👨\u200d👩\u200d👧", "👨👩👧"),
        ("क्\u200dष", "क्ष"),
        ("a\u2060b\ufeffc\u00ad", "a<U+2060>b<U+FEFF>c<U+00AD>"),
        ("a\U000e0041b\u3164", "a<U+E0041>b<U+3164>"),
        ("\x1b[2J\u202e", "␛[2J<U+202E>"),
    ],
)
def test_shown_text_has_one_width_and_nothing_that_hides(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text() | MERGING)
def test_a_row_of_shown_text_is_as_wide_as_its_characters(text: str) -> None:
    assert cell_len(shown(text)) == sum(map(cell_len, shown(text)))


@given(st.text() | MERGING)
def test_the_output_filter_makes_text_safe_and_moves_nothing(text: str) -> None:
    safe = same_width(text)
    assert not set(map(ord, safe)) & DANGEROUS.keys()
    assert cell_len(safe) == cell_len(text)


def test_of_merged_characters_the_first_is_left_in_as_many_cells() -> None:
    assert same_width("❤\ufe0f👨\u200d👩\u200d👧x") == "❤ 👨x"


def test_paths_below_the_home_directory_are_shown_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert shown_path("/home/ada/runs/a\x1b[2J") == "~/runs/a␛[2J"
    assert shown_path("/home/adam/runs") == "/home/adam/runs"
