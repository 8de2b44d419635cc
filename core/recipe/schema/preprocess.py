"""[preprocess]: cleaning and the validation split."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Preprocess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the documents are cleaned and split."""

    steps: Annotated[
        tuple[
            Literal[
                "unicode_repair",
                "unicode_nfc",
                "control_characters",
                "trailing_space",
                "spaces",
                "detokenize",
                "passages",
                "urls",
                "emails",
                "phones",
                "boilerplate",
                "lower_case",
                "punctuation",
                "empty",
                "too_short",
                "too_long",
                "not_text",
                "duplicates",
                "duplicate_lines",
                "near_duplicates",
            ],
            ...,
        ],
        Meta(description="Cleaning steps, applied in this order; `llmtui data steps` explains them."),
    ] = ("unicode_nfc", "control_characters", "trailing_space", "empty", "duplicates")
    min_characters: Annotated[int, Meta(ge=1, description="Shorter documents are removed by too_short.")] = field(
        default=100, name="shortest"
    )
    max_characters: Annotated[int, Meta(ge=1, description="Longer documents are removed by too_long.")] = field(
        default=10_000_000, name="longest"
    )
    text_share: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of letters, digits and spaces below which not_text removes a document."),
    ] = 0.6
    window: Annotated[
        int, Meta(ge=1, le=100, description="Consecutive lines that duplicate_lines removes where they repeat.")
    ] = 5
    similarity: Annotated[
        float,
        Meta(
            ge=0.3,
            le=1,
            description="Share of common five-word shingles from which near_duplicates removes the later document.",
        ),
    ] = 0.8
    passage: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Characters after which passages starts a new document.")
    ] = 8_000
    split: Annotated[
        Literal["auto", "document", "tail"],
        Meta(
            description=(
                "How text is held out for validation: whole documents, or the tail of the text. "
                "auto: documents where there are 20 or more."
            )
        ),
    ] = "auto"
    validation: Annotated[float, Meta(gt=0, le=0.5, description="Share of the text held out for validation.")] = 0.05
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="Chooses which documents are held out.")] = 1
