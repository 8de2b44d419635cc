"""tiktoken's encodings: their patterns and special tokens, and loading one from a cache, an import or the network."""

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
from core.vocab.known import FILES_OF, find_file, published_file

DOWNLOAD_SECONDS = 90.0
"""Timeout for a file of at most 4 MB; tiktoken has none."""

# Copied here so that another version of tiktoken does not change tokens. They match the same words as tiktoken's
# patterns, but with all alternatives without a look-ahead in one group, which is faster: 20.6 MB/s instead of 11.4 on
# one core with GPT-2's vocabulary.
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


class EncodingSpec(NamedTuple):
    """Pattern and special tokens of one of tiktoken's encodings."""

    pattern: str
    special: dict[str, int]


_GPT2 = EncodingSpec(_GPT2_PATTERN, {END_OF_TEXT: 50256})
_O200K = EncodingSpec(_O200K_PATTERN, {END_OF_TEXT: 199999, "<|endofprompt|>": 200018})

ENCODINGS = {
    "gpt2": _GPT2,
    "r50k_base": _GPT2,
    "p50k_base": _GPT2,
    "p50k_edit": EncodingSpec(_GPT2_PATTERN, _GPT2.special | _fill_in_the_middle(50281)),
    "cl100k_base": EncodingSpec(
        _CL100K_PATTERN,
        {END_OF_TEXT: 100257, "<|endofprompt|>": 100276} | _fill_in_the_middle(100258),
    ),
    "o200k_base": _O200K,
    # tiktoken has two names for 200018; ids decode to the one of o200k_base
    "o200k_harmony": EncodingSpec(
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
    """An encoding of tiktoken is neither on this machine nor could it be downloaded."""

    doing = "get the vocabulary"


def load_encoding(name: str, meter: ProgressMeter) -> Generator[Event, None, Vocabulary]:
    """The vocabulary of tiktoken's encoding `name`, from its cache, from imported files, or downloaded into its cache.

    Raises VocabularyUnavailableError.
    """
    present = find_file(name, Workspace())
    if present is not None:
        known, content = present
    else:
        known = published_file(FILES_OF[name][0])
        content = yield from _download(name, meter)
    ranks = _parse_merges(content) if known.file.endswith(".bpe") else _parse_tiktoken(content)
    pattern, special = ENCODINGS[name]
    return Vocabulary(name, pattern, ranks, special)


def _download(name: str, meter: ProgressMeter) -> Generator[Event, None, bytes]:
    known = published_file(FILES_OF[name][0])
    fetch = partial(tiktoken.load.read_file_cached, known.url, known.sha256)
    try:
        content = yield from run_in_thread(fetch, meter, DOWNLOAD_SECONDS)
    except (OSError, ValueError) as error:  # errors of requests are OSErrors, as is TimeoutError
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


def _parse_tiktoken(content: bytes) -> list[bytes]:
    """The entries of a .tiktoken file, which has a token in base64 and its id per line; missing ids are empty."""
    lines = (line.split() for line in content.splitlines() if line)
    ids = {int(rank): base64.b64decode(token) for token, rank in lines}
    return [ids.get(token, b"") for token in range(max(ids) + 1)]


def _parse_merges(content: bytes) -> list[bytes]:
    """The entries of GPT-2's vocab.bpe: the printable bytes, the other bytes, then one merge per line."""
    byte_of = byte_by_character()
    ranks = [bytes([byte]) for byte in byte_of.values()]
    for line in content.decode().split("\n")[1:-1]:
        ranks.append(bytes(byte_of[character] for character in line if character != " "))
    return ranks


def byte_by_character() -> dict[str, int]:
    """Inverse of GPT-2's `bytes_to_unicode`: byte by character, the printable bytes first, in its order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}
