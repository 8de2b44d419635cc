"""Vocabularies for tests: the published files, if present, and one made up with gaps."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import strategies as st

from core.tokenize import bpe
from core.tokenize.characters import byte_vocabulary, character_vocabulary
from core.tokenize.encodings import ENCODINGS
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary, split_chunks

SHARED = Path(__file__).parents[3] / "shared"
CACHE = SHARED / "tiktoken-cache"
R50K = CACHE / hashlib.sha1(b"https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken").hexdigest()
MERGES = CACHE / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"
ENCODER = CACHE / "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6"
needs_files = pytest.mark.skipif(not CACHE.is_dir(), reason="the published files are not here")
needs_texts = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the reference texts are not here")

TRICKY = st.text() | st.text("<|endoftx> \n\r\t\v\u3000\u0085019é😀'sT/S'Llaｋⅷ̈.!-\0\1", max_size=60)
TRAINING_TEXT = Path(bpe.__file__).read_text("utf-8") + Path(__file__).read_text("utf-8")


def made_up_ranks() -> dict[bytes, int]:
    """Five hundred merges trained on some source code, with gaps before every hundredth id."""
    entries = bpe.train_bpe(split_chunks(TRAINING_TEXT, 2000), 757).ranks
    return {token: index + index // 100 for index, token in enumerate(entries)}


def entries_by_id(ranks: dict[bytes, int]) -> list[bytes]:
    """The entries in the order of their ids, empty in the gaps."""
    entries = {index: token for token, index in ranks.items()}
    return [entries.get(index, b"") for index in range(max(entries) + 1)]


def vocabularies_of_each_kind() -> dict[str, Vocabulary]:
    """By name: one of each kind, and one with each of tiktoken's patterns, with the entries of `made_up_ranks`."""
    patterns = {pattern: name for name, (pattern, _) in ENCODINGS.items()}
    entries = entries_by_id(made_up_ranks())
    found = {name: Vocabulary(name, pattern, entries, {END_OF_TEXT: 900}) for pattern, name in patterns.items()}
    found["bpe"] = bpe.train_bpe(split_chunks(TRAINING_TEXT, 2000), 400)
    found["characters"] = character_vocabulary(sorted(set("the quick brown fox ☃ é 日本 😀\n")))
    found["bytes"] = byte_vocabulary()
    return found
