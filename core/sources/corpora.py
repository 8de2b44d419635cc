"""Well-known corpora of the Hugging Face hub: their repositories, licences and default cleaning steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from core.errors import UsageError, did_you_mean

PREFIX = "hf:"
EXPORT = "refs/convert/parquet"
"""The branch with the Parquet export of a data set that the hub generates."""

_HUB_NAME = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(\w[\w./-]*))?\Z", re.ASCII)


class CorpusError(UsageError):
    """The text after `hf:` is not the name of a data set."""

    doing = "find the source"


class CorpusLocation(Struct, frozen=True, kw_only=True):
    """A repository of the hub that holds a corpus or a copy of it."""

    repository: str
    """namespace/name."""
    revision: str = "main"
    config: str = ""
    split: str = "train"
    column: str = "text"
    """Empty: detected."""
    remark: str = ""
    """How the text differs from that at the first location."""


class Corpus(Struct, frozen=True, kw_only=True):
    """A corpus that a recipe can name without its namespace."""

    name: str
    about: str
    """One sentence."""
    bytes: int
    """Approximate size of its text."""
    licence: str
    locations: tuple[CorpusLocation, ...]
    """In the order in which they are tried."""
    notice: str = ""
    """What the user has to accept before the download; empty if nothing."""
    recipe: Mapping[str, Any] = {}
    """Recipe tables for this corpus, such as cleaning steps; presets, files and options take precedence."""


_SMASHWORDS = (
    "The books were copied from smashwords.com without asking their authors; its terms forbid passing them on, and "
    "no licence was ever given. Of the 11,038 books, 7,185 are different ones. Take it for study, do not publish it or "
    "what it yields word for word; 'hf:tinystories' and 'hf:fineweb-edu' are free of that."
)

# rows are sentences or lines: an end-of-text token after each would come every dozen words, and neighbouring rows in
# both splits would leak
_LINES = {"steps": ["unicode_nfc", "control_characters", "trailing_space", "empty", "passages", "duplicates"]}
_SENTENCES = {
    "steps": ["unicode_nfc", "control_characters", "trailing_space", "detokenize", "empty", "passages", "duplicates"]
}

_ALL = (
    Corpus(
        name="bookcorpus",
        about="Sentences of 11,038 free novels, lower-cased, with spaces around punctuation: the books of GPT-1.",
        bytes=4_853_859_824,
        licence="none: collected without the authors' consent",
        locations=(
            CorpusLocation(repository="bookcorpus/bookcorpus", revision=EXPORT, config="plain_text"),
            CorpusLocation(repository="SamuelYang/bookcorpus"),
            CorpusLocation(repository="rojagtap/bookcorpus"),
            CorpusLocation(
                repository="lucadiliello/bookcorpusopen",
                remark="these are whole books gathered later, with capitals and natural spacing, not its sentences",
            ),
        ),
        notice=_SMASHWORDS,
        recipe={"preprocess": _SENTENCES | {"split": "tail"}},
    ),
    Corpus(
        name="bookcorpusopen",
        about="17,868 whole books from the same site as BookCorpus, with their capitals and punctuation.",
        bytes=6_600_000_000,
        licence="none: collected without the authors' consent",
        locations=(CorpusLocation(repository="lucadiliello/bookcorpusopen"),),
        notice=_SMASHWORDS,
    ),
    Corpus(
        name="tinystories",
        about="2.1 million short stories in the words of a small child, written by GPT-3.5 and GPT-4.",
        bytes=1_910_000_000,
        licence="CDLA-Sharing-1.0",
        locations=(CorpusLocation(repository="roneneldan/TinyStories"),),
    ),
    Corpus(
        name="wikitext-103",
        about="28,475 good and featured articles of the English Wikipedia, one line a row.",
        bytes=540_000_000,
        licence="CC BY-SA 3.0 and GFDL",
        locations=(CorpusLocation(repository="Salesforce/wikitext", config="wikitext-103-raw-v1"),),
        recipe={"preprocess": _LINES | {"split": "tail"}},
    ),
    Corpus(
        name="wikitext-2",
        about="600 of the articles of WikiText-103, one line a row: a small one to try things with.",
        bytes=11_000_000,
        licence="CC BY-SA 3.0 and GFDL",
        locations=(CorpusLocation(repository="Salesforce/wikitext", config="wikitext-2-raw-v1"),),
        recipe={"preprocess": _LINES | {"split": "tail"}},
    ),
    Corpus(
        name="fineweb-edu",
        about="A sample of 10 billion tokens of web pages that a classifier found instructive.",
        bytes=46_000_000_000,
        licence="ODC-By 1.0, and the terms of use of Common Crawl",
        locations=(CorpusLocation(repository="HuggingFaceFW/fineweb-edu", config="sample-10BT"),),
    ),
    Corpus(
        name="openwebtext",
        about="8 million web pages that Reddit linked to: an open copy of GPT-2's training text.",
        bytes=39_769_491_688,
        licence="CC0 for the collection; the pages belong to their authors",
        locations=(CorpusLocation(repository="Skylion007/openwebtext"),),
    ),
    Corpus(
        name="climbmix",
        about="400 billion tokens of filtered web text, mixed by topic, in shuffled order; what nanochat trains on.",
        bytes=1_600_000_000_000,
        licence="see the card of the data set",
        locations=(CorpusLocation(repository="karpathy/climbmix-400b-shuffle"),),
    ),
)

CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ALL}


def known_corpus(corpus: str) -> Corpus | None:
    """The well-known corpus that `hf:NAME` or `hf:REPOSITORY` means; None for any other."""
    match = _HUB_NAME.match(corpus)
    if match is None:
        return None
    name = match[1].lower()
    if name in CORPORA:
        return CORPORA[name]
    original = [each for each in _ALL if each.locations[0].repository.lower() == name]
    if len(original) > 1:  # the repository holds several corpora: ambiguous
        return None
    copies = [each for each in _ALL if any(location.repository.lower() == name for location in each.locations)]
    return next(iter([*original, *copies]), None)


def corpus_locations(corpus: str) -> tuple[CorpusLocation, ...]:
    """The repositories to try for `hf:NAME[@REVISION]`, in order; at least one.

    With a revision, only the first location of a well-known corpus. Raises CorpusError.
    """
    match = _HUB_NAME.match(corpus)
    if match is None:
        raise CorpusError(
            f"{corpus!r} does not name a data set of the hub",
            where="source.corpus",
            todo=f"write hf:NAMESPACE/NAME or hf:NAMESPACE/NAME@REVISION, or one of {_names()}",
        )
    name, revision = match[1], match[2]
    if (by_name := CORPORA.get(name.lower())) is not None:
        return by_name.locations if revision is None else (replace(by_name.locations[0], revision=revision),)
    if "/" not in name:
        hint = did_you_mean(name.lower(), CORPORA)
        raise CorpusError(
            f"{name!r} is none of the corpora known by a short name",
            where="source.corpus",
            todo=f"{hint + '; ' if hint else ''}known are {_names()}; any other is hf:NAMESPACE/NAME",
        )
    return (CorpusLocation(repository=name, revision=revision or "main", column=""),)


def _names() -> str:
    return ", ".join(PREFIX + name for name in CORPORA)
