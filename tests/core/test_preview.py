"""What people see of a recipe before they run it."""

from __future__ import annotations

from pathlib import Path

from core.preprocess.preview import EXCERPT, corpus_steps, preview, preview_document
from core.recipe.schema import Preprocess
from core.storage.documents import DocumentPart
from tests.core.test_corpus_steps import corpus


def test_a_preview_shows_the_place_of_the_first_difference() -> None:
    shown = preview_document("a", "x" * 5000 + "\x07 bell  \n", Preprocess())
    assert shown.start == 4800 and shown.changed == ("control_characters", "trailing_space")
    assert shown.before == "x" * 200 + "\x07 bell  \n" and shown.after == "x" * 200 + " bell\n"
    assert not shown.whole and shown.removed_by == "" and shown.characters == 5009


def test_a_text_that_only_gets_its_last_line_break_is_unchanged_and_shown_from_its_beginning() -> None:
    shown = preview_document("a", "word " * 200 + "end", Preprocess())
    assert shown.changed == () and shown.start == 0 and shown.before.startswith("word")


def test_a_preview_says_which_step_removes_a_document() -> None:
    recipe = Preprocess(steps=("too_short", "lower_case"), min_characters=10)
    assert preview_document("a", "Short", recipe).removed_by == "too_short"
    assert preview_document("a", "Not so short", recipe).after == "not so short"


def test_a_preview_of_a_huge_document_is_short() -> None:
    shown = preview_document("a", "word " * 10**6, Preprocess())
    assert len(shown.before) <= EXCERPT and shown.characters == 2**18


def test_the_same_seed_shows_the_same_documents(tmp_path: Path) -> None:
    parts = [DocumentPart(str(n), 0, f"document {n} ") for n in range(50)] + [
        DocumentPart("50", k, "long") for k in range(4)
    ]
    documents = corpus(tmp_path / "d", [parts[:20], parts[20:52], parts[52:]])
    names = [[shown.name for shown in preview(documents, Preprocess(), 8, seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2] and len(set(names[0])) == 8
    assert names[0] == sorted(names[0], key=int)
    assert len(list(preview(documents, Preprocess(), 100))) == 51


def test_steps_that_need_the_whole_corpus_are_named() -> None:
    assert corpus_steps(Preprocess(steps=("urls", "duplicates", "passages"))) == ("duplicates", "passages")
