"""tiktoken's vocabularies: what they are beside their files, and getting one wherever it can be got."""

from __future__ import annotations

import base64
from collections.abc import Generator
from functools import partial
from typing import NamedTuple

import tiktoken.load

from core.errors import LlmtuiError
from core.events import Event
from core.processes.progress import ProgressMeter
from core.processes.threads import run_in_thread
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary
from core.vocab.known import MADE_OF, find, published

DOWNLOAD_SECONDS = 90.0
"""Patience for a file of at most 4 MB; tiktoken itself would wait for ever."""

# Written here so that no other version of tiktoken changes files. They cut as tiktoken's own do, but all alternatives
# without a look-ahead stand in one group, which its regular expressions then match in one go: 20.6 MB/s instead of
# 11.4 on one core with GPT-2's vocabulary.
_GPT2_PATTERN = r"(?:'(?:[sdmt]|ll|ve|re)| ?(?:\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+)|\s+$)|\s+(?!\S)|\s"
_CL100K_PATTERN = (
    r"(?:'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|\s*[\r\n])"
    r"|\s+(?!\S)|\s"
)
_O200K_PATTERN = (
    r"(?:[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)|\s+(?!\S)|\s+"
)


def _fill_in_the_middle(first: int) -> dict[str, int]:
    return {f"<|fim_{what}|>": first + index for index, what in enumerate(("prefix", "middle", "suffix"))}


class Encoding(NamedTuple):
    """A vocabulary of tiktoken but for its merges."""

    pattern: str
    special: dict[str, int]


_GPT2 = Encoding(_GPT2_PATTERN, {END_OF_TEXT: 50256})
_O200K = Encoding(_O200K_PATTERN, {END_OF_TEXT: 199999, "<|endofprompt|>": 200018})

ENCODINGS = {
    "gpt2": _GPT2,
    "r50k_base": _GPT2,
    "p50k_base": _GPT2,
    "p50k_edit": Encoding(_GPT2_PATTERN, _GPT2.special | _fill_in_the_middle(50281)),
    "cl100k_base": Encoding(
        _CL100K_PATTERN,
        {END_OF_TEXT: 100257, "<|endofprompt|>": 100276} | _fill_in_the_middle(100258),
    ),
    "o200k_base": _O200K,
    # tiktoken has two names for 200018; an id is decoded to one text, and o200k_base's is the one with a meaning
    "o200k_harmony": Encoding(
        _O200K_PATTERN,
        {f"<|reserved_{token}|>": token for token in range(200013, 201088) if token != 200018}
        | {f"<|reserved_{token}|>": token for token in (200000, 200001, 200004, 200009, 200010, 200011)}
        | _O200K.special
        | {
            "<|startoftext|>": 199998,
            "<|return|>": 200002,
            "<|constrain|>": 200003,
            "<|channel|>": 200005,
            "<|start|>": 200006,
            "<|end|>": 200007,
            "<|message|>": 200008,
            "<|call|>": 200012,
        },
    ),
}


class VocabularyUnavailableError(LlmtuiError):
    """A vocabulary of tiktoken is not on this machine and could not be fetched."""

    doing = "get the vocabulary"


def named(name: str, meter: ProgressMeter) -> Generator[Event, None, Vocabulary]:
    """The vocabulary that tiktoken calls `name`: from its cache, from our imported files, or fetched into its cache.

    Raises VocabularyUnavailableError.
    """
    present = find(name, Workspace())
    if present is not None:
        known, content = present
    else:
        known = published(MADE_OF[name][0])
        content = yield from _fetched(name, meter)
    ranks = _merges(content) if known.file.endswith(".bpe") else _ranks(content)
    pattern, special = ENCODINGS[name]
    return Vocabulary(name, pattern, ranks, special)


def _fetched(name: str, meter: ProgressMeter) -> Generator[Event, None, bytes]:
    known = published(MADE_OF[name][0])
    fetch = partial(tiktoken.load.read_file_cached, known.url, known.sha256)
    try:
        content = yield from run_in_thread(fetch, meter, DOWNLOAD_SECONDS)
    except (OSError, ValueError) as error:  # what requests raises is an OSError; TimeoutError is one too
        slow = isinstance(error, TimeoutError)
        why = f"no answer within {DOWNLOAD_SECONDS:.0f} seconds" if slow else type(error).__name__
        raise VocabularyUnavailableError(
            f"{name} is neither in tiktoken's cache nor imported, and cannot be downloaded ({why})",
            where="tokenize.vocabulary",
            todo=f"fetch {known.url} on a machine with a network, then here `llmtui vocab import {known.file}`; "
            "or set TIKTOKEN_CACHE_DIR to a copy of another machine's cache; "
            "or use tokenize.vocabulary=bpe, which needs no network",
        ) from None
    return content


def _ranks(content: bytes) -> list[bytes]:
    """The entries of a .tiktoken file: a token in base64 and its id a line; ids that are left out stay empty."""
    lines = (line.split() for line in content.splitlines() if line)
    ids = {int(rank): base64.b64decode(token) for token, rank in lines}
    return [ids.get(token, b"") for token in range(max(ids) + 1)]


def _merges(content: bytes) -> list[bytes]:
    """The entries of GPT-2's vocab.bpe: the visible bytes, the others, then a pair to merge a line."""
    byte_of = byte_of_character()
    ranks = [bytes([byte]) for byte in byte_of.values()]
    for line in content.decode().split("\n")[1:-1]:
        ranks.append(bytes(byte_of[character] for character in line if character != " "))
    return ranks


def byte_of_character() -> dict[str, int]:
    """GPT-2's way to write bytes as visible characters, read backwards: the visible ones first, in its order."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}
