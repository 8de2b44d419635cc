"""The tokens of a text under any vocabulary on this machine."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from core.errors import UsageError
from core.processes.progress import ProgressMeter
from core.sample.inspect.figures import token_info
from core.sample.token_protocol import TokenizedText
from core.storage.workspace import Workspace
from core.tokenize.characters import byte_vocabulary
from core.tokenize.encodings import load_encoding
from core.tokenize.vocabulary import Vocabulary, replace_surrogates
from core.vocab.known import FILES_OF, find_file
from core.vocab.protocol import VocabularyChoice

KEPT = 4
"""Vocabularies kept in memory: reading the largest takes half a second."""


class VocabularyMissingError(UsageError):
    """The vocabulary is not on this machine."""

    doing = "encode the text"


def open_vocabulary(choice: VocabularyChoice) -> Vocabulary:
    """The vocabulary in `choice.file`, or the encoding of tiktoken or "bytes" that `choice.name` names.

    Nothing is downloaded. Raises VocabularyMissingError, VocabularyError.
    """
    if not choice.file:
        return _named(choice.name)
    path = Path(choice.file)
    try:
        return _from_file(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise VocabularyMissingError(
            "the vocabulary is no longer on this machine", where=choice.file, todo="choose another one"
        ) from None
    except OSError as error:
        raise VocabularyMissingError((error.strerror or str(error)).lower(), where=choice.file) from None


@lru_cache(KEPT)
def _from_file(path: Path, modified_ns: int) -> Vocabulary:
    """modified_ns: so that a replaced file is read again."""
    return Vocabulary.load(path)


@lru_cache(KEPT)
def _named(name: str) -> Vocabulary:
    if name == "bytes":
        return byte_vocabulary()
    if name not in FILES_OF or find_file(name, Workspace()) is None:
        raise VocabularyMissingError(
            f"the vocabulary {name} is not on this machine", todo="llmtui vocab import adds its published file"
        )
    loading = load_encoding(name, ProgressMeter(None))
    while True:
        try:
            next(loading)
        except StopIteration as end:
            vocabulary: Vocabulary = end.value
            return vocabulary


def tokenize_text(vocabulary: Vocabulary, text: str) -> TokenizedText:
    """The ids of `text` in order, and what each of them stands for."""
    text = replace_surrogates(text)
    ids = vocabulary.encode(text)
    return TokenizedText(
        entries=vocabulary.size,
        ids=tuple(ids),
        bytes=len(text.encode()),
        tokens=tuple(token_info(vocabulary, token) for token in sorted(set(ids))),
    )
