"""The registry of cleaning steps.

To add one: a function here or in a module of this package, an entry in `STEPS`, its name in
`core.recipe.schema.Preprocess.steps`, and a test in `tests/core/test_steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from core.preprocess import characters, document_filters, pii, whitespace
from core.preprocess.boilerplate import boilerplate
from core.preprocess.detokenize import detokenize
from core.preprocess.document_filters import Measure
from core.recipe.schema import Preprocess

Rewrite = Callable[[str, bool], str]
"""Function of the text of a document part, and whether it is the last part; returns the cleaned text."""


class DocumentFilter(Struct, frozen=True):
    """Decides by a measure of a document, the sum over its parts, whether the document is removed."""

    measure: Callable[[str], Measure]
    removes: Callable[[Measure, Preprocess], bool]


class StepSpec(Struct, frozen=True):
    """One cleaning step: it has a `rewrite`, or a `filter`, or is one of the steps that need other documents."""

    name: str
    why: str
    """One line: the reason to use it."""
    rewrite: Rewrite | None = None
    counts: Callable[[str, str], bool] = str.__ne__
    """Whether a change, given the text before and after, is counted."""
    filter: DocumentFilter | None = None
    scope: Literal["document", "dedup", "reshape"] = "document"
    """document: needs one document at a time. dedup: compares all documents of the corpus, and removes some
    (`core.preprocess.dedup`). reshape: changes a document depending on others."""
    parameters: tuple[str, ...] = ()
    """Fields of `recipe.Preprocess` that it reads."""
    cost: str = ""
    """Useful information that it removes from the text, if any."""
    nanoseconds: float = 0.0
    """Per byte of English text on one core (Zen 5), for a progress bar that is linear in time."""


STEPS = {
    step.name: step
    for step in (
        StepSpec(
            "unicode_repair",
            "repairs wrongly decoded text, such as â€™ for ’",
            characters.unicode_repair,
            nanoseconds=50,
        ),
        StepSpec(
            "unicode_nfc",
            "Unicode normalisation form C: one encoding of each character",
            characters.unicode_nfc,
            nanoseconds=0.4,
        ),
        StepSpec(
            "control_characters",
            "removes control characters, which are not text",
            characters.control_characters,
            nanoseconds=3,
        ),
        StepSpec(
            "trailing_space",
            "removes white space at the ends of lines, which costs tokens",
            whitespace.trailing_space,
            counts=whitespace.more_than_a_newline,
            nanoseconds=3,
        ),
        StepSpec(
            "spaces",
            "reduces runs of spaces to one, and of blank lines to two",
            whitespace.spaces,
            cost="the layout of tables and drawings made of spaces",
            nanoseconds=20,
        ),
        StepSpec("detokenize", 'joins text that was split into tokens, such as "do n\'t"', detokenize, nanoseconds=75),
        StepSpec(
            "passages",
            "joins rows of single sentences into passages",
            scope="reshape",
            parameters=("passage",),
            cost="the boundaries of the rows",
            nanoseconds=5,
        ),
        StepSpec("urls", "replaces URLs with <url>", pii.urls, cost="the URLs", nanoseconds=12),
        StepSpec("emails", "replaces e-mail addresses with <email>", pii.emails, cost="the addresses", nanoseconds=30),
        StepSpec("phones", "replaces telephone numbers with <phone>", pii.phones, cost="the numbers", nanoseconds=25),
        StepSpec(
            "boilerplate",
            "removes page headers, page numbers and Project Gutenberg's licence",
            boilerplate,
            cost="other lines with the same text",
            nanoseconds=100,
        ),
        StepSpec(
            "lower_case",
            "converts to lower case, for a smaller vocabulary",
            characters.lower_case,
            cost="capitals: the model writes none, and does not see where names and sentences begin",
            nanoseconds=3,
        ),
        StepSpec(
            "punctuation",
            "removes punctuation, for a smaller vocabulary",
            characters.punctuation,
            cost="all punctuation: the model does not see where a sentence ends",
            nanoseconds=110,
        ),
        StepSpec(
            "empty",
            "removes documents without text",
            filter=DocumentFilter(document_filters.has_text, document_filters.is_empty),
            nanoseconds=0.1,
        ),
        StepSpec(
            "too_short",
            "removes short documents",
            filter=DocumentFilter(document_filters.count_characters, document_filters.is_too_short),
            parameters=("min_characters",),
            nanoseconds=0.1,
        ),
        StepSpec(
            "too_long",
            "removes long documents, such as dumps and logs",
            filter=DocumentFilter(document_filters.count_characters, document_filters.is_too_long),
            parameters=("max_characters",),
            nanoseconds=0.1,
        ),
        StepSpec(
            "not_text",
            "removes tables, encoded data and drawings, by their share of symbols",
            filter=DocumentFilter(document_filters.count_symbols, document_filters.is_not_text),
            parameters=("text_share",),
            nanoseconds=12,
        ),
        StepSpec(
            "duplicates",
            "removes exact copies, which are memorised and leak into validation",
            scope="dedup",
            nanoseconds=2,
        ),
        StepSpec(
            "duplicate_lines",
            "removes repeated runs of lines, such as licences at the head of files",
            scope="reshape",
            parameters=("window",),
            nanoseconds=20,
        ),
        StepSpec(
            "near_duplicates",
            "removes versions and copies with small changes",
            scope="dedup",
            parameters=("similarity",),
            nanoseconds=46,
        ),
    )
}

DEDUP_STEPS = frozenset(step.name for step in STEPS.values() if step.scope == "dedup")
RESHAPE_STEPS = frozenset(step.name for step in STEPS.values() if step.scope == "reshape")
_REMOVES_LINES = frozenset({"boilerplate"})
"""Rewrites that remove whole lines, which are not applied to prompts."""


def clean_prompt(text: str, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """`text` after the cleaning steps of the training text, and the names of the steps that changed it.

    Steps that remove lines or documents are skipped; white space at the end of the text stays.
    """
    changed = []
    for name in names:
        rewrite = STEPS[name].rewrite if name in STEPS and name not in _REMOVES_LINES else None
        if rewrite is not None and (rewritten := rewrite(text, False)) != text:
            text = rewritten
            changed.append(name)
    return text, tuple(changed)
