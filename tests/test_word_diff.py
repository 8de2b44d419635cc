"""Word-by-word diff of two texts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtui.view.word_diff import DiffSpan, differences


def test_a_changed_word_is_between_unchanged_spans() -> None:
    assert differences("to be  or not", "to be or nought") == [
        DiffSpan("both", "to be "),
        DiffSpan("before", " "),
        DiffSpan("both", "or "),
        DiffSpan("before", "not"),
        DiffSpan("after", "nought"),
    ]


def test_text_far_from_any_change_is_left_out() -> None:
    spans = differences("a" + " same" * 100 + "!", "b" + " same" * 100 + "?")
    assert [span.kind for span in spans] == ["before", "after", "both", "…", "both", "before", "after"]
    assert spans[3].text == f"{500 - 120} characters the same"
    assert all(len(span.text) <= 60 for span in spans if span.kind == "both")


@settings(max_examples=200)
@given(before=st.text("ab .\n", max_size=60), after=st.text("ab .\n", max_size=60))
def test_both_versions_can_be_reconstructed_from_the_spans(before: str, after: str) -> None:
    spans = differences(before, after)
    assert "".join(span.text for span in spans if span.kind in ("both", "before")) == before
    assert "".join(span.text for span in spans if span.kind in ("both", "after")) == after
