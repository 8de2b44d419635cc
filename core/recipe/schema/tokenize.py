"""[tokenize]: the vocabulary."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class Tokenize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text becomes token ids."""

    vocabulary: Annotated[
        Literal[
            "bpe",
            "characters",
            "bytes",
            "gpt2",
            "r50k_base",
            "p50k_base",
            "p50k_edit",
            "cl100k_base",
            "o200k_base",
            "o200k_harmony",
        ],
        Meta(
            description=(
                "bpe: byte-pair encoding trained on this corpus. characters: those of this corpus. bytes: all 256. "
                "gpt2: the 50,257 entries of GPT-2. The others: tiktoken's, by its names."
            )
        ),
    ] = "bpe"
    size: Annotated[
        int,
        Meta(ge=257, le=1_000_000, description="Entries of a bpe vocabulary, the end-of-text token included."),
    ] = 4096
