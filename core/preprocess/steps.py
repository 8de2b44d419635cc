"""The cleaning steps: what there is, why, and what each needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from core.preprocess import characters, measures, pii, whitespace
from core.preprocess.detokenize import detokenize
from core.preprocess.measures import Measure
from core.recipe.schema import Preprocess

Rewrite = Callable[[str, bool], str]
"""Text of a part, whether the document ends with it → cleaned text."""


class Judge(Struct, frozen=True):
    """Decides from a measure of a document, the sum over its parts, whether it goes."""

    measure: Callable[[str], Measure]
    removes: Callable[[Measure, Preprocess], bool]


class Step(Struct, frozen=True):
    """One cleaning step: it has a `rewrite`, or a `judge`, or needs to know more than one document."""

    name: str
    why: str
    """One line: what it is good for."""
    rewrite: Rewrite | None = None
    counts: Callable[[str, str], bool] = str.__ne__
    """Whether a rewriting, from one text to another, is a change worth counting."""
    judge: Judge | None = None
    parameters: tuple[str, ...] = ()
    """Fields of `recipe.Preprocess` that it reads."""
    cost: str = ""
    """What the text loses by it, where it loses something people may want."""
    nanoseconds: float = 0.0
    """Time a byte of English text takes on one core (Zen 5), so that progress is even in time."""


STEPS = {
    step.name: step
    for step in (
        Step(
            "unicode_repair",
            "undoes wrong decoding, such as â€™ for ’",
            characters.unicode_repair,
            nanoseconds=50,
        ),
        Step("unicode_nfc", "one character, one spelling", characters.unicode_nfc, nanoseconds=0.4),
        Step(
            "control_characters",
            "they steer terminals and are no text",
            characters.control_characters,
            nanoseconds=3,
        ),
        Step(
            "trailing_space",
            "invisible, and a cost to every model",
            whitespace.trailing_space,
            counts=whitespace.more_than_a_newline,
            nanoseconds=3,
        ),
        Step(
            "spaces",
            "one space between words, at most two blank lines",
            whitespace.spaces,
            cost="tables and drawings made of spaces lose their form",
            nanoseconds=20,
        ),
        Step("detokenize", "writes text that was cut into tokens as people do", detokenize, nanoseconds=75),
        Step(
            "passages",
            "joins rows of single sentences to passages",
            parameters=("passage",),
            cost="which rows were documents of their own",
            nanoseconds=5,
        ),
        Step("urls", "puts <url> for addresses", pii.urls, cost="the addresses", nanoseconds=12),
        Step("emails", "puts <email> for e-mail addresses", pii.emails, cost="the addresses", nanoseconds=30),
        Step("phones", "puts <phone> for telephone numbers", pii.phones, cost="the numbers", nanoseconds=25),
        Step(
            "boilerplate",
            "takes out page furniture and Project Gutenberg's licence",
            pii.boilerplate,
            cost="lines that say just that, wherever they stand",
            nanoseconds=100,
        ),
        Step(
            "lower_case",
            "the classic recipe: a smaller vocabulary",
            characters.lower_case,
            cost="capitals: the model will never write one, nor see where names and sentences begin",
            nanoseconds=3,
        ),
        Step(
            "punctuation",
            "the classic recipe: a smaller vocabulary",
            characters.punctuation,
            cost="all punctuation: the model will not know where a sentence ends",
            nanoseconds=110,
        ),
        Step("empty", "nothing to learn from", judge=Judge(measures.blank, measures.is_empty), nanoseconds=0.1),
        Step(
            "too_short",
            "too little to learn from",
            judge=Judge(measures.length, measures.is_too_short),
            parameters=("shortest",),
            nanoseconds=0.1,
        ),
        Step(
            "too_long",
            "dumps and logs rather than texts",
            judge=Judge(measures.length, measures.is_too_long),
            parameters=("longest",),
            nanoseconds=0.1,
        ),
        Step(
            "not_text",
            "tables, encoded data and drawings are not language",
            judge=Judge(measures.symbols, measures.is_not_text),
            parameters=("text_share",),
            nanoseconds=12,
        ),
        Step("duplicates", "learned by heart, and leaks from training into validation", nanoseconds=2),
        Step(
            "duplicate_lines",
            "runs of lines that stood before, such as licences at the head of files",
            parameters=("window",),
            nanoseconds=20,
        ),
        Step(
            "near_duplicates",
            "versions and copies with small changes are learned by heart, too",
            parameters=("similarity",),
            nanoseconds=46,
        ),
    )
}

_CUTTING = frozenset({"boilerplate"})
"""Rewrites that take whole lines out, which nobody expects of a prompt."""


def as_trained(text: str, names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """A prompt, or other text, written as those cleaning steps left the training text, and which of them changed it.

    Steps that take out lines or documents are passed over; white space at the very end stays.
    """
    changed = []
    for name in names:
        rewrite = STEPS[name].rewrite if name in STEPS and name not in _CUTTING else None
        if rewrite is not None and (rewritten := rewrite(text, False)) != text:
            text = rewritten
            changed.append(name)
    return text, tuple(changed)


DROPPING = frozenset({"duplicates", "near_duplicates"})
"""Steps that look at the whole corpus and only take documents away."""
RESHAPING = frozenset({"passages", "duplicate_lines"})
"""Steps that change texts by more than the one in hand."""
