"""A vocabulary as the tokenizer inside a GGUF file. Known differences of llama.cpp's are named, never silent.

llama.cpp splits words by a pattern of its own program, which a file can only name. BPE becomes its `gpt2` model.
Characters and bytes become its `rwkv` model, the longest entry at each byte, which gives exactly our ids.
"""

from __future__ import annotations

import unicodedata
from typing import Final, NamedTuple

from core.export.merges import merges_of
from core.export.tokenizer_json import byte_level, check_pattern, merge_lines
from core.tokenize.bpe import MARKS_PATTERN, OLD_PATTERN, PATTERN
from core.tokenize.encodings import ENCODINGS
from core.tokenize.vocabulary import Vocabulary

NORMAL: Final = 1
CONTROL: Final = 3
UNUSED: Final = 5
"""Types of entries, llama.cpp's `llama_token_type`."""


class _Splitter(NamedTuple):
    """One of llama.cpp's pre-tokenizers."""

    name: str
    """In `tokenizer.ggml.pre`."""
    differs: str = ""
    """Texts that it splits otherwise than our pattern; empty: none."""
    whole_words: bool = False
    """Whether a word that is an entry is taken whole, as by tiktoken, even where no merge makes it."""


_LONG_NUMBERS: Final = "numbers of more than two digits"
_SPLITTERS: Final = {
    ENCODINGS["gpt2"].pattern: _Splitter("gpt-2"),
    ENCODINGS["cl100k_base"].pattern: _Splitter(
        "llama-bpe", "a line break and spaces at the end of a text", whole_words=True
    ),
    ENCODINGS["o200k_base"].pattern: _Splitter("gpt-4o", "words with letters beyond ASCII"),
    PATTERN: _Splitter("qwen35", whole_words=True),
    OLD_PATTERN: _Splitter("llama-bpe", _LONG_NUMBERS, whole_words=True),
    MARKS_PATTERN: _Splitter("llama-bpe", f"{_LONG_NUMBERS}, and words with combining marks", whole_words=True),
}
# for a vocabulary with combining marks in its words, as in Hindi, where the other would split most words
_SPLITTER_WITH_MARKS: Final = _Splitter("qwen35", "numbers of more than one digit, and words with joiners")


class GgufVocabulary(NamedTuple):
    """The arrays of a GGUF file's tokenizer."""

    model: str
    splitter: str
    """Empty where the model has none."""
    entries: list[str]
    types: list[int]
    merges: list[str]
    differs: str
    """Texts that llama.cpp encodes otherwise than in training; empty: none."""


def gguf_vocabulary(vocabulary: Vocabulary) -> GgufVocabulary:
    """`vocabulary` as llama.cpp reads it. Raises TokenizerExportError for a pattern that is unknown."""
    check_pattern(vocabulary)
    pairs = any(len(entry) > 1 for entry in vocabulary.ranks) and vocabulary.kind == "pairs"  # or else bytes
    entries, types = [f"<|unused_{token}|>" for token in range(vocabulary.size)], [UNUSED] * vocabulary.size
    for token, entry in enumerate(vocabulary.ranks):
        if entry:
            entries[token], types[token] = byte_level(entry) if pairs else _escaped(entry), NORMAL
    for mark, token in vocabulary.special.items():
        entries[token], types[token] = mark, CONTROL
    if not pairs:
        return GgufVocabulary("rwkv", "", entries, types, [], "")
    splitter, merges = _splitter(vocabulary), merges_of(vocabulary.ranks)
    unreachable = sum(len(entry) > 1 for entry in vocabulary.ranks) - len(merges)
    differs = [splitter.differs] if splitter.differs else []
    if unreachable and not splitter.whole_words:
        differs.append(f"{unreachable} entries that no merge makes")
    return GgufVocabulary("gpt2", splitter.name, entries, types, merge_lines(merges), ", and ".join(differs))


def _splitter(vocabulary: Vocabulary) -> _Splitter:
    if vocabulary.pattern == MARKS_PATTERN and any(map(_has_mark, vocabulary.ranks)):
        return _SPLITTER_WITH_MARKS
    return _SPLITTERS[vocabulary.pattern]


def _has_mark(entry: bytes) -> bool:
    return any(unicodedata.category(character).startswith("M") for character in entry.decode("utf-8", "ignore"))


def _escaped(entry: bytes) -> str:
    """`entry` as llama.cpp's rwkv model reads it: printable ASCII as it is, other bytes as \\xff."""
    return "".join([chr(byte) if 32 <= byte < 127 and byte != ord("\\") else f"\\x{byte:02x}" for byte in entry])
