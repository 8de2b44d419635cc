"""A vocabulary as the files that `tokenizers`, `transformers` and mlx-lm read; the same ids and texts as ours.

All kinds become byte-level BPE as in GPT-2, where each byte is written as a printable character: characters as entries
that are looked up whole, with their bytes where a character is unknown. The format's own byte fallback would decode
each byte of an invalid sequence to a U+FFFD, where ours decodes a truncated character to one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from core.errors import UsageError
from core.export.merges import merges_of
from core.tokenize.bpe import PATTERNS
from core.tokenize.encodings import ENCODINGS, byte_by_character
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary

_CHARACTER_BY_BYTE: Final = {byte: character for character, byte in byte_by_character().items()}
KNOWN_PATTERNS: Final = frozenset((*PATTERNS, *(spec.pattern for spec in ENCODINGS.values())))
"""Patterns whose words are tested to be the same in Oniguruma, the regular expressions of `tokenizers`."""
_BYTE_LEVEL: Final = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


class TokenizerExportError(UsageError):
    """The vocabulary cannot be expressed exactly."""

    doing = "export the vocabulary"


def tokenizer_files(vocabulary: Vocabulary, block_size: int) -> dict[str, bytes]:
    """The contents of tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    A special token in a text is encoded as one, as these libraries do by default; with `split_special_tokens` it is
    text, as in `Vocabulary.encode`. block_size: of the model, in tokens. Raises TokenizerExportError.
    """
    marks = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    config = {
        # the class of any model type that takes tokenizer.json as it is, in transformers 4 and 5: GPT2Tokenizer and
        # Qwen2Tokenizer replace its pre-tokenizer by their own
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": block_size,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "add_eos_token": False,
        **marks,
    }
    files = {"tokenizer.json": tokenizer_json(vocabulary), "tokenizer_config.json": config}
    files |= {"special_tokens_map.json": marks}
    return {name: msgspec.json.format(msgspec.json.encode(content), indent=1) for name, content in files.items()}


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The contents of tokenizer.json. Raises TokenizerExportError."""
    check_pattern(vocabulary)
    entries = {byte_level(entry): token for token, entry in enumerate(vocabulary.ranks) if entry}
    merges = merges_of(vocabulary.ranks) if vocabulary.kind == "pairs" else []
    added = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    special = sorted(vocabulary.special.items(), key=lambda item: item[1])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token, "content": mark} | added for mark, token in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*_split(vocabulary), _BYTE_LEVEL]},
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # as tiktoken does, and for characters, which no merge makes; a text in bytes is one word, which must not
            # be looked up: it could be a special token
            "ignore_merges": vocabulary.kind != "bytes",
            "vocab": entries | vocabulary.special,
            "merges": merge_lines(merges),
        },
    }


def check_pattern(vocabulary: Vocabulary) -> None:
    """Raises TokenizerExportError if the pattern of `vocabulary` is not one of KNOWN_PATTERNS."""
    if vocabulary.kind == "pairs" and vocabulary.pattern not in KNOWN_PATTERNS:
        raise TokenizerExportError(
            f"the words of the vocabulary {vocabulary.name} are split by a pattern that other programs may read "
            f"otherwise: {vocabulary.pattern}",
            where="vocabulary.json",
            todo="train with a vocabulary that this version of llmtui makes",
        )


def byte_level(entry: bytes) -> str:
    """`entry` in GPT-2's alphabet, in which each byte is a printable character."""
    return "".join([_CHARACTER_BY_BYTE[byte] for byte in entry])


def merge_lines(merges: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Merges as text; the alphabet has no space."""
    return [f"{byte_level(left)} {byte_level(right)}" for left, right in merges]


def _split(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The pre-tokenizer that splits a text into words."""
    if vocabulary.kind == "bytes":
        return []
    # `$` is the end of a line in Oniguruma, and of the text in Rust
    pattern = vocabulary.pattern.replace(r"\s+$", r"\s+(?![\s\S])") if vocabulary.kind == "pairs" else r"[\s\S]"
    return [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}]
