"""Each cleaning step: exact cases, properties on random text, and the registry."""

from __future__ import annotations

import string
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import CleaningStep
from core.jobs import data_commands
from core.preprocess.document_filters import (
    count_characters,
    count_symbols,
    has_text,
    is_empty,
    is_not_text,
    is_too_long,
    is_too_short,
)
from core.preprocess.passages import PassageJoiner
from core.preprocess.phases import plan_phases
from core.preprocess.steps import STEPS, Rewrite
from core.recipe.checks import RecipeError
from core.recipe.fields import fields
from core.recipe.file import load
from core.recipe.schema import Preprocess
from core.storage.documents import DocumentPart, batch_of


def rewriter(name: str) -> Rewrite:
    rewrite = STEPS[name].rewrite
    assert rewrite is not None
    return rewrite


REWRITES = [step.name for step in STEPS.values() if step.rewrite is not None]


REWRITE_CASES = [
    ("unicode_repair", "â€œlikeÂ thisâ€\x9d cafÃ©", "“like\xa0this” café"),
    ("unicode_repair", "“clean” café 中文 नमस्ते", "“clean” café 中文 नमस्ते"),
    ("unicode_repair", "&amp; stays", "&amp; stays"),
    ("unicode_nfc", "e\u0301 A\u030a ﬁ", "\xe9 \xc5 ﬁ"),
    ("control_characters", "a\r\nb\rc\n\td\x00\x1b[31m\x7f\x85\x9b", "a\nb\nc\n\td[31m"),
    ("control_characters", "a\r\nb\x00\x1b[31m\x7f\t", "a\nb[31m\t"),
    ("control_characters", "\ufeffa\u202eb\u202c\u2066c\u2069\ufeff", "abc"),
    ("control_characters", "\u200dé中😀\xa0", "\u200dé中😀\xa0"),
    ("trailing_space", "a  \n\tb\t\n \nc \n\n \n", "a\n\tb\n\nc\n"),
    ("trailing_space", "no newline", "no newline\n"),
    ("trailing_space", "\n \n", ""),
    ("trailing_space", "", ""),
    ("spaces", "    def f(a,   b):\n\tx  =  1\n", "    def f(a, b):\n\tx = 1\n"),
    ("spaces", "a\n\n\n \n\t\n\nb\n\n\nc", "a\n\n\nb\n\n\nc"),
    ("detokenize", "i do n't know , she said .", "i don't know, she said."),
    ("detokenize", "`` it 's so , '' he said .", '"it\'s so," he said.'),
    ("detokenize", '" well , " she said , " we \'ll see ( maybe ) ! "', '"well," she said, "we\'ll see (maybe)!"'),
    ("detokenize", "he was gon na pay $ 5 -lrb- or 6 -rrb- ...", "he was gonna pay $5 (or 6)..."),
    ("detokenize", "    indented: x\n- a list, already written\n", "    indented: x\n- a list, already written\n"),
    ("urls", "see https://a.org/x?y=1, or (www.b.com).", "see <url>, or (<url>)."),
    ("urls", 'href="http://a.org/" ftp://c HTTP://D', 'href="<url>" <url> <url>'),
    ("urls", "http:// is no address, awww.x neither", "http:// is no address, awww.x neither"),
    ("emails", "mail a.b+c@x-y.co.uk, or <d@e.org>.", "mail <email>, or <<email>>."),
    ("emails", "user@host, @name, a@b.c", "user@host, @name, a@b.c"),
    ("phones", "+44 20 7946 0958, (555) 123-4567; 555-123-4567 555.123.4567", "<phone>, <phone>; <phone> <phone>"),
    (
        "phones",
        "2026-11-24 12:00 +0100, 1 000 000, 192.168.100.200",
        "2026-11-24 12:00 +0100, 1 000 000, 192.168.100.200",
    ),
    (
        "boilerplate",
        "Text.\nCopyright 2020 X Inc. All rights reserved.\nPage 3 of 9\n- 12 -\nMore.\n",
        "Text.\nMore.\n",
    ),
    ("boilerplate", "We use cookies to serve you.\nSkip to main content\nHome\nRead more\n", "Home\n"),
    ("boilerplate", "I read more.\nThe page 3 of it is gone.\n", "I read more.\nThe page 3 of it is gone.\n"),
    (
        "boilerplate",
        "Licence\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\n\nEmma\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***\nLicence\n",
        "Emma\n",
    ),
    (
        "boilerplate",
        "The Project Gutenberg EBook of A Long Title\n\nLicence\n\n"
        "***START OF THIS PROJECT GUTENBERG EBOOK A LONG TITLE, OR, WHAT GOES\nOVER TWO LINES***\n\n\n"
        "Produced by A. Volunteer and the Online\nDistributed Proofreading Team\n\n\nBook\n\n"
        "End of The Project Gutenberg Etext of A Long Title\n\n*** START: FULL LICENSE ***\n\nLicence\n",
        "Book\n\n",
    ),
    (
        "boilerplate",
        "**The Project Gutenberg Etext of Old**\n\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n"
        "Why is this here?\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\nBook\n\n"
        "End of this Project Gutenberg Etext\n\nLicence\n",
        "Book\n\n",
    ),
    (
        "boilerplate",
        "Book without a header.\n\nEnd of Project Gutenberg's Book\n\n"
        "***START**THE SMALL PRINT!**\nLegal\n*END*THE SMALL PRINT! FOR ETEXTS*END*\n",
        "Book without a header.\n\n",
    ),
    (
        "boilerplate",
        "L\n*** START OF THE PROJECT GUTENBERG EBOOK ONE ***\nOne\n*** END OF THE PROJECT GUTENBERG EBOOK ONE ***\n"
        "L\n*** START OF THE PROJECT GUTENBERG EBOOK TWO ***\nTwo\n*** END OF THE PROJECT GUTENBERG EBOOK ***\nL\n",
        "One\nTwo\n",
    ),
    (
        "boilerplate",
        "He came to the\nend of the Project Gutenberg of his youth; the small print was lost.\n",
        "He came to the\nend of the Project Gutenberg of his youth; the small print was lost.\n",
    ),
    ("lower_case", "ÀB ΑΣ", "àb ας"),
    ("punctuation", "Don't stop — now, (please)!\n", "Dont stop now please \n"),
    ("punctuation", "नमस्ते, 中文。", "नमस्ते 中文 "),
]


@pytest.mark.parametrize(("step", "before", "after"), REWRITE_CASES)
def test_a_step_rewrites(step: str, before: str, after: str) -> None:
    assert rewriter(step)(before, True) == after


def test_a_missing_last_newline_does_not_count_as_trailing_space() -> None:
    counts = STEPS["trailing_space"].counts
    assert not counts("ends without one", "ends without one\n") and not counts("as it was\n", "as it was\n")
    assert counts("space \nhere", "space\nhere\n") and counts("end ", "end\n") and counts("lines\n\n", "lines\n")


def test_trailing_space_keeps_the_end_of_a_part_that_is_not_the_last() -> None:
    assert rewriter("trailing_space")("a \n\nb ", False) == "a\n\nb "


# letters, marks and fragments that the steps search for, in random order
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *" \n\t.,;:!?()[]{}'\"`<>@+-/*_$%",
                *"``|''|n't|'s|...|-lrb-|gon|na|http://|www.|a@b.org|x@|.com|+1 555".split("|"),
                "555-123-4567",
                "(555) 123-4567",
                "Page 3\n",
                "- 4 -\n",
                "All rights reserved.\n",
                "Ã©",
                "â€™",
                "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n",
                "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n",
                "\n***START**THE SMALL PRINT!\n",
                "\n*END*THE SMALL PRINT!*END*\n",
                "\nEnd of Project Gutenberg\n",
                "Produced by X\n\n",
                "  ",
                "\n\n\n",
                "\u0301",
                "Σ",
                "İ",
                "\r\n",
                "\u202e",
                "\ufeff",
            ]
        ),
        st.text(max_size=4),
        st.text(string.ascii_letters + string.digits, max_size=4),
    ),
    max_size=30,
).map("".join)


@pytest.mark.heavy
@pytest.mark.parametrize("name", REWRITES)
@settings(deadline=None, max_examples=60)
@given(text=st.one_of(PIECES, st.text()), last=st.booleans())
def test_every_rewrite_is_idempotent(name: str, text: str, last: bool) -> None:
    once = rewriter(name)(text, last)
    assert rewriter(name)(once, last) == once
    once.encode()


@settings(deadline=None)
@given(text=st.text(), other=st.text())
def test_measures_of_parts_add_up(text: str, other: str) -> None:
    for measure in (count_characters, count_symbols):
        both = zip(measure(text), measure(other), strict=True)
        assert measure(text + other) == tuple(a + b for a, b in both)
    assert bool(has_text(text)[0] + has_text(other)[0]) == bool((text + other).strip())


HOSTILE = [
    *(character * 100_000 for character in " \t\n.@+-w5(a'\"`,:/\u0301*<é"),
    "http://" * 40_000,
    "www." * 70_000,
    "a@" * 100_000,
    "a." * 100_000 + "@",
    "+1 " * 100_000,
    "555-" * 70_000,
    "( " * 100_000,
    " n't" * 70_000,
    '" ' * 100_000,
    "a  " * 100_000,
    "\n " * 100_000,
    "Page 1\n" * 40_000,
    "*** START OF THE PROJECT GUTENBERG " * 8_000,
    "*** START OF THE PROJECT GUTENBERG E ***\n" * 7_000,
    "*** START OF THE PROJECT GUTENBERG E\n" * 7_000,
    "*** START OF THE PROJECT GUTENBERG E ***\n" + "produced by " * 20_000,
    "End of Project Gutenberg\n" * 10_000,
    "â€" * 100_000,
]


@pytest.mark.heavy
@pytest.mark.parametrize("name", REWRITES)
def test_rewrites_take_linear_time(name: str) -> None:
    # a backtracking pattern takes hours for one of these
    for text in HOSTILE:
        rewriter(name)(text, True)


def test_filters_read_their_thresholds_from_the_recipe() -> None:
    recipe = Preprocess(min_characters=3, max_characters=5, text_share=0.6)
    assert [is_empty(has_text(text), recipe) for text in ("", " \n\u2003", " a")] == [True, True, False]
    assert [is_too_short(count_characters(text), recipe) for text in ("ab", "abc")] == [True, False]
    assert [is_too_long(count_characters(text), recipe) for text in ("abcde", "abcdef")] == [False, True]
    texts = ["#--#a b 1", "words, mostly.", "नमस्ते", "==||=é", ""]
    assert [is_not_text(count_symbols(text), recipe) for text in texts] == [True, False, False, True, False]


def test_every_registered_step_has_a_reason_and_one_implementation() -> None:
    for name, step in STEPS.items():
        assert name == step.name and step.why and step.nanoseconds > 0
        assert sum([step.rewrite is not None, step.filter is not None, step.scope != "document"]) == 1


def test_every_registered_step_is_a_choice_of_the_recipe_and_in_its_help() -> None:
    steps = next(field for field in msgspec.structs.fields(Preprocess) if field.name == "steps")
    choices = get_args(get_args(get_args(steps.type)[0])[0])
    assert set(choices) == set(STEPS)
    listed = {event.name: event for event in data_commands.list_steps() if isinstance(event, CleaningStep)}
    assert listed.keys() == STEPS.keys() and all(event.why for event in listed.values())
    help_of = {field.key: field.description for field in fields()}
    for step in STEPS.values():
        assert all(step.name in help_of[f"preprocess.{parameter}"] for parameter in step.parameters)


def test_every_registered_step_has_a_test() -> None:
    text = "".join(
        (Path(__file__).parent / name).read_text("utf-8") for name in ("test_steps.py", "test_corpus_steps.py")
    )
    for step in STEPS.values():
        if step.rewrite is not None:
            assert step.name in {name for name, _, _ in REWRITE_CASES}
        elif step.filter is not None:
            assert f"{step.filter.removes.__name__}({step.filter.measure.__name__}(" in text
        else:
            assert f'"{step.name}"' in text


def test_the_error_names_an_unknown_step() -> None:
    with pytest.raises(RecipeError) as caught:
        load(overrides=['preprocess.steps=["urls", "urlz"]'])
    assert "urlz" in caught.value.sentence() and "urls" in caught.value.sentence()


def test_sentences_are_joined_into_passages() -> None:
    rows = ["one .", "two .", "three .\n", "a very long sentence that is enough by itself", "four", "five"]
    batch = batch_of([DocumentPart(str(n), 0, row) for n, row in enumerate(rows)])
    joined = PassageJoiner(batch.column("part").to_numpy(), 12, False)
    made = [row for batch in joined.join([batch]) for row in batch.to_pylist()]
    assert [(row["name"], row["text"]) for row in made] == [
        ("0", "one .\ntwo .\nthree .\n"),
        ("3", rows[3]),
        ("4", "four\nfive"),
    ]
    assert (joined.joined, joined.added) == (5, 3)


def test_a_recipe_is_split_into_phases_at_steps_that_need_the_whole_corpus() -> None:
    def phases(*steps: str) -> list[tuple[int | None, tuple[int, ...], tuple[int, ...]]]:
        return [(phase.reshape_step, phase.document_steps, phase.dedup_steps) for phase in plan_phases(steps)]

    assert phases() == [(None, (), ())]
    assert phases(*Preprocess().steps) == [(None, (0, 1, 2, 3), (4,))]
    assert phases("empty", "duplicates", "near_duplicates") == [(None, (0,), (1, 2))]
    assert phases("duplicates", "urls", "duplicate_lines") == [(None, (), (0,)), (None, (1,), ()), (2, (), ())]
    assert phases("passages", "empty", "passages") == [(0, (1,), ()), (2, (), ())]
    assert phases("duplicate_lines") == [(None, (), ()), (0, (), ())]


def test_a_long_book_is_not_removed_as_a_licence() -> None:
    book = "It was a bright cold day in April.\n" * 2_000
    marks = [
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n",
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n",
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n",
        "***START**THE SMALL PRINT!\n",
        "End of Project Gutenberg\n",
    ]
    for mark in marks:
        assert rewriter("boilerplate")(book + mark + book, True).count(book) == 2
    licence = "The Project Gutenberg Licence\n" * 600
    whole = licence + marks[0] + book + marks[4] + "\n" + licence
    assert rewriter("boilerplate")(whole + whole, True) == book + book
