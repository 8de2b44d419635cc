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
            "undoes wrong decoding, such as â€™ for ’",
            characters.unicode_repair,
            nanoseconds=50,
        ),
        StepSpec("unicode_nfc", "one character, one spelling", characters.unicode_nfc, nanoseconds=0.4),
        StepSpec(
            "control_characters",
            "they steer terminals and are no text",
            characters.control_characters,
            nanoseconds=3,
        ),
        StepSpec(
            "trailing_space",
            "invisible, and a cost to every model",
            whitespace.trailing_space,
            counts=whitespace.more_than_a_newline,
            nanoseconds=3,
        ),
        StepSpec(
            "spaces",
            "one space between words, at most two blank lines",
            whitespace.spaces,
            cost="tables and drawings made of spaces lose their form",
            nanoseconds=20,
        ),
        StepSpec("detokenize", "writes text that was cut into tokens as people do", detokenize, nanoseconds=75),
        StepSpec(
            "passages",
            "joins rows of single sentences to passages",
            scope="reshape",
            parameters=("passage",),
            cost="which rows were documents of their own",
            nanoseconds=5,
        ),
        StepSpec("urls", "puts <url> for addresses", pii.urls, cost="the addresses", nanoseconds=12),
        StepSpec("emails", "puts <email> for e-mail addresses", pii.emails, cost="the addresses", nanoseconds=30),
        StepSpec("phones", "puts <phone> for telephone numbers", pii.phones, cost="the numbers", nanoseconds=25),
        StepSpec(
            "boilerplate",
            "takes out page furniture and Project Gutenberg's licence",
            boilerplate,
            cost="lines that say just that, wherever they stand",
            nanoseconds=100,
        ),
        StepSpec(
            "lower_case",
            "the classic recipe: a smaller vocabulary",
            characters.lower_case,
            cost="capitals: the model will never write one, nor see where names and sentences begin",
            nanoseconds=3,
        ),
        StepSpec(
            "punctuation",
            "the classic recipe: a smaller vocabulary",
            characters.punctuation,
            cost="all punctuation: the model will not know where a sentence ends",
            nanoseconds=110,
        ),
        StepSpec(
            "empty",
            "nothing to learn from",
            filter=DocumentFilter(document_filters.has_text, document_filters.is_empty),
            nanoseconds=0.1,
        ),
        StepSpec(
            "too_short",
            "too little to learn from",
            filter=DocumentFilter(document_filters.count_characters, document_filters.is_too_short),
            parameters=("min_characters",),
            nanoseconds=0.1,
        ),
        StepSpec(
            "too_long",
            "dumps and logs rather than texts",
            filter=DocumentFilter(document_filters.count_characters, document_filters.is_too_long),
            parameters=("max_characters",),
            nanoseconds=0.1,
        ),
        StepSpec(
            "not_text",
            "tables, encoded data and drawings are not language",
            filter=DocumentFilter(document_filters.count_symbols, document_filters.is_not_text),
            parameters=("text_share",),
            nanoseconds=12,
        ),
        StepSpec(
            "duplicates",
            "learned by heart, and leaks from training into validation",
            scope="dedup",
            nanoseconds=2,
        ),
        StepSpec(
            "duplicate_lines",
            "runs of lines that stood before, such as licences at the head of files",
            scope="reshape",
            parameters=("window",),
            nanoseconds=20,
        ),
        StepSpec(
            "near_duplicates",
            "versions and copies with small changes are learned by heart, too",
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
