"""How text is drawn from a model: settings that recipes, requests and screens share. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Numbers that weights are kept in while text is drawn; auto: what is fastest here, int8 left out."""

UnmaskingOrder = Literal["random", "confidence", "entropy"]
"""Which hidden places a masked model uncovers first: any; where a likely token was drawn; where least is open."""

Bias = Annotated[float, Meta(ge=-1000, le=1000)]


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From logits to a token, in the order of application, which `core.sample.logits_processors` implements."""

    tokens: Annotated[int, Meta(ge=1, le=1_000_000, description="Tokens drawn for each prompt.")] = 100
    logit_bias: Annotated[
        dict[int, Bias],
        Meta(description="Added to the scores of tokens, by their ids: { 318 = -100 } forbids one."),
    ] = {}
    repetition_penalty: Annotated[
        float,
        Meta(
            ge=0.01,
            le=100,
            description="Scores of tokens that prompt or text have are divided by this, negative ones multiplied.",
        ),
    ] = 1.0
    presence_penalty: Annotated[
        float, Meta(ge=-100, le=100, description="Taken from the scores of tokens that the text already has.")
    ] = 0.0
    frequency_penalty: Annotated[
        float, Meta(ge=-100, le=100, description="Taken from a token's score for each time the text already has it.")
    ] = 0.0
    temperature: Annotated[
        float,
        Meta(
            ge=0, le=100, description=("Below 1 more likely text, above 1 wilder; 0 always takes the likeliest token.")
        ),
    ] = 0.8
    top_k: Annotated[int, Meta(ge=0, description="Draw among the k likeliest tokens; 0 takes all.")] = 50
    top_p: Annotated[
        float, Meta(gt=0, le=1, description=("Draw among the likeliest tokens that together have this probability."))
    ] = 1.0
    min_p: Annotated[
        float, Meta(ge=0, le=1, description="Drop tokens less likely than this share of the likeliest one's.")
    ] = 0.0
    typical_p: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Draw among the tokens that are about as surprising as expected, up to this probability.",
        ),
    ] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**62, description="The same seed draws the same text.")] = 1
    stop: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...],
        Meta(max_length=16, description="The text ends before any of these strings."),
    ] = ()
    stop_tokens: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...],
        Meta(max_length=256, description="The text ends before any of these token ids; the end-of-text mark always."),
    ] = ()
