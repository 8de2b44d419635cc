"""Well-known corpora of the Hugging Face hub by name: where each can be had, and what to know before taking it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from core.errors import UsageError, did_you_mean

PREFIX = "hf:"
EXPORT = "refs/convert/parquet"
"""The branch on which the hub keeps a copy of a data set as Parquet, made by itself."""

_WRITTEN = re.compile(r"hf:(\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(\w[\w./-]*))?\Z", re.ASCII)


class CorpusError(UsageError):
    """The text after `hf:` is not the name of a data set."""

    doing = "find the source"


class Place(Struct, frozen=True, kw_only=True):
    """One repository of the hub that has a corpus, or a copy of it."""

    repository: str
    """namespace/name."""
    revision: str = "main"
    config: str = ""
    split: str = "train"
    column: str = "text"
    """Empty: found."""
    remark: str = ""
    """In which way what is here is another text than at the first place."""


class Corpus(Struct, frozen=True, kw_only=True):
    """A corpus people know by name."""

    name: str
    about: str
    """What it is, one sentence."""
    bytes: int
    """Of text, about."""
    licence: str
    places: tuple[Place, ...]
    """In the order in which they are tried."""
    notice: str = ""
    """What a person has to agree to before the first byte; empty where nothing has to be."""
    recipe: Mapping[str, Any] = {}
    """Tables that stand below everything a person says: what this text needs, such as its cleaning steps."""


_SMASHWORDS = (
    "The books were copied from smashwords.com without asking their authors; its terms forbid passing them on, and "
    "no licence was ever given. Of the 11,038 books, 7,185 are different ones. Take it for study, do not publish it or "
    "what it yields word for word; 'hf:tinystories' and 'hf:fineweb-edu' are free of that."
)

# rows are sentences or lines, so a mark behind each would come every dozen words, and neighbours in both parts leak
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
        places=(
            Place(repository="bookcorpus/bookcorpus", revision=EXPORT, config="plain_text"),
            Place(repository="SamuelYang/bookcorpus"),
            Place(repository="rojagtap/bookcorpus"),
            Place(
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
        places=(Place(repository="lucadiliello/bookcorpusopen"),),
        notice=_SMASHWORDS,
    ),
    Corpus(
        name="tinystories",
        about="2.1 million short stories in the words of a small child, written by GPT-3.5 and GPT-4.",
        bytes=1_910_000_000,
        licence="CDLA-Sharing-1.0",
        places=(Place(repository="roneneldan/TinyStories"),),
    ),
    Corpus(
        name="wikitext-103",
        about="28,475 good and featured articles of the English Wikipedia, one line a row.",
        bytes=540_000_000,
        licence="CC BY-SA 3.0 and GFDL",
        places=(Place(repository="Salesforce/wikitext", config="wikitext-103-raw-v1"),),
        recipe={"preprocess": _LINES | {"split": "tail"}},
    ),
    Corpus(
        name="wikitext-2",
        about="600 of the articles of WikiText-103, one line a row: a small one to try things with.",
        bytes=11_000_000,
        licence="CC BY-SA 3.0 and GFDL",
        places=(Place(repository="Salesforce/wikitext", config="wikitext-2-raw-v1"),),
        recipe={"preprocess": _LINES | {"split": "tail"}},
    ),
    Corpus(
        name="fineweb-edu",
        about="A sample of 10 billion tokens of web pages that a classifier found instructive.",
        bytes=46_000_000_000,
        licence="ODC-By 1.0, and the terms of use of Common Crawl",
        places=(Place(repository="HuggingFaceFW/fineweb-edu", config="sample-10BT"),),
    ),
    Corpus(
        name="openwebtext",
        about="8 million web pages that Reddit linked to: an open copy of GPT-2's training text.",
        bytes=39_769_491_688,
        licence="CC0 for the collection; the pages belong to their authors",
        places=(Place(repository="Skylion007/openwebtext"),),
    ),
    Corpus(
        name="climbmix",
        about="400 billion tokens of filtered web text, mixed by topic, in shuffled order; what nanochat trains on.",
        bytes=1_600_000_000_000,
        licence="see the card of the data set",
        places=(Place(repository="karpathy/climbmix-400b-shuffle"),),
    ),
)

CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in _ALL}


def known(corpus: str) -> Corpus | None:
    """The well-known corpus that a recipe's `hf:NAME` means, also by a repository that has it; None for any other."""
    found = _WRITTEN.match(corpus)
    if found is None:
        return None
    name = found[1].lower()
    if name in CORPORA:
        return CORPORA[name]
    at = {place.repository.lower(): each for each in reversed(_ALL) for place in reversed(each.places)}
    first = {each.places[0].repository.lower(): each for each in reversed(_ALL)}
    by_repository = first.get(name) or at.get(name)
    # one repository with several corpora is none of them
    several = sum(name == each.places[0].repository.lower() for each in _ALL) > 1
    return None if several else by_repository


def places(corpus: str) -> tuple[Place, ...]:
    """Where to look for `hf:NAME[@REVISION]`, in this order; at least one.

    A revision is one of a certain repository, so that a name with one means the first place only. Raises CorpusError.
    """
    found = _WRITTEN.match(corpus)
    if found is None:
        raise CorpusError(
            f"{corpus!r} does not name a data set of the hub",
            where="source.corpus",
            todo=f"write hf:NAMESPACE/NAME or hf:NAMESPACE/NAME@REVISION, or one of {_names()}",
        )
    name, revision = found[1], found[2]
    if (by_name := CORPORA.get(name.lower())) is not None:
        return by_name.places if revision is None else (replace(by_name.places[0], revision=revision),)
    if "/" not in name:
        hint = did_you_mean(name.lower(), CORPORA)
        raise CorpusError(
            f"{name!r} is none of the corpora known by a short name",
            where="source.corpus",
            todo=f"{hint + '; ' if hint else ''}known are {_names()}; any other is hf:NAMESPACE/NAME",
        )
    return (Place(repository=name, revision=revision or "main", column=""),)


def _names() -> str:
    return ", ".join(PREFIX + name for name in CORPORA)
