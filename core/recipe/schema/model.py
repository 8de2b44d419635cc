"""[model]: the architecture."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The architecture of the Transformer, with GPT-2's names."""

    depth: Annotated[
        Annotated[int, Meta(ge=1, le=48)] | None,
        Meta(
            description=(
                "Size of the model in one number: sets n_layer, n_head, n_embd, batch_size and learning rates; "
                "fields that are given besides take precedence."
            )
        ),
    ] = None
    objective: Annotated[
        Literal["causal", "masked"],
        Meta(
            description=(
                "causal: predicts the next token from those before it. "
                "masked: predicts masked tokens from both sides, and generates by unmasking."
            )
        ),
    ] = "causal"
    n_layer: Annotated[int, Meta(ge=1, le=1000, description="Transformer blocks.")] = 3
    n_head: Annotated[int, Meta(ge=1, le=1000, description="Attention heads of each block.")] = 4
    n_kv_head: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(
            description=(
                "Heads of keys and values, each shared by a group of query heads (grouped-query attention); "
                "left out: n_head."
            )
        ),
    ] = None
    n_embd: Annotated[int, Meta(ge=1, le=100_000, description="Width: size of the vector of a token.")] = 256
    block_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Context length in tokens.")] = 256
    positions: Annotated[
        Literal["learned", "rotary"],
        Meta(
            description=(
                "learned: an embedding for each position, as in GPT-2. "
                "rotary: rotary position embedding (RoPE) on queries and keys."
            )
        ),
    ] = "rotary"
    norm: Annotated[Literal["layer", "rms"], Meta(description="layer: LayerNorm, as in GPT-2. rms: RMSNorm.")] = "rms"
    activation: Annotated[
        Literal["gelu", "swiglu", "relu2"],
        Meta(description="Activation of the MLP: gelu (GPT-2), relu2 (ReLU squared), or swiglu (gated SiLU)."),
    ] = "relu2"
    qk_norm: Annotated[bool, Meta(description="RMS-normalise queries and keys before attention (QK-norm).")] = True
    zero_init: Annotated[
        bool,
        Meta(
            description=(
                "Initialise the output projections of the blocks and an untied head with zeros, and the embedding "
                "with a larger standard deviation."
            )
        ),
    ] = True
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Dropout probability while training.")] = 0.0
    bias: Annotated[bool, Meta(description="Biases in linear layers and norms, as in GPT-2.")] = False
    qkv_bias: Annotated[bool | None, Meta(description="Biases of queries, keys and values; left out: as `bias`.")] = (
        None
    )
    tie_embeddings: Annotated[bool, Meta(description="Share the token embedding with the output head.")] = field(
        default=False, name="tied_head"
    )
    pad_vocabulary_multiple: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="Pad the rows of embedding and head to a multiple of this, for speed; they are never used.",
        ),
    ] = field(default=1, name="vocabulary_multiple")
    init: Annotated[
        str,
        Meta(
            max_length=4096,
            description=(
                "Initial weights: hf:NAME for published GPT-2 weights, run:NAME for the best checkpoint of another "
                "run, or a folder, such as one that `llmtui export` wrote; empty: random."
            ),
        ),
    ] = ""
