"""What to build: a typed recipe. Every field explains itself, once, for the file, `--help` and the forms."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the text comes from."""

    corpus: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "'stdlib' (the standard library of this Python), or the path of a text file or a folder of them."
            ),
        ),
    ] = "stdlib"


class Preprocess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the documents are cleaned and divided."""

    steps: Annotated[
        tuple[Literal["unicode_nfc", "control_characters", "trailing_space", "empty", "duplicates"], ...],
        Meta(description="Cleaning steps, applied in this order."),
    ] = ("unicode_nfc", "control_characters", "trailing_space", "empty", "duplicates")
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
    seed: Annotated[int, Meta(ge=0, description="Chooses which documents are held out.")] = 1


class Tokenize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text becomes numbers."""

    vocabulary: Annotated[
        Literal["bpe", "gpt2"],
        Meta(description=("bpe: byte pairs learned from this corpus. gpt2: the 50,257 entries of GPT-2.")),
    ] = "bpe"
    size: Annotated[
        int,
        Meta(
            ge=257,
            le=1_000_000,
            description=("Entries of a learned vocabulary, the end-of-text mark included; not used by gpt2."),
        ),
    ] = 4096


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the Transformer, in GPT-2's words."""

    n_layer: Annotated[int, Meta(ge=1, le=1000, description="Transformer blocks, one after the other.")] = 3
    n_head: Annotated[int, Meta(ge=1, le=1000, description="Attention heads in each block.")] = 4
    n_embd: Annotated[int, Meta(ge=1, le=100_000, description="Width: numbers that represent one token.")] = 256
    block_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Context: tokens the model sees at once.")] = 256
    positions: Annotated[
        Literal["learned", "rotary"],
        Meta(
            description="learned: a vector for each place, as in GPT-2. rotary: queries and keys turn with their place."
        ),
    ] = "rotary"
    norm: Annotated[
        Literal["layer", "rms"], Meta(description="layer: centred and scaled, as in GPT-2. rms: scaled only.")
    ] = "rms"
    activation: Annotated[
        Literal["gelu", "relu2"], Meta(description="What bends the feed-forward layer: GPT-2's GELU, or ReLU squared.")
    ] = "relu2"
    qk_norm: Annotated[bool, Meta(description="Scale queries and keys to one length before they meet.")] = True
    zero_init: Annotated[
        bool,
        Meta(description="Start the output of every block, and an untied head, at zero, and its embedding large."),
    ] = True
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Share of activations dropped while training.")] = 0.0
    bias: Annotated[bool, Meta(description="Biases in the linear layers and norms, as in GPT-2.")] = False
    tied_head: Annotated[bool, Meta(description="Use the token embedding as the output layer too.")] = False


class Train(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model learns, and for how long: the first limit reached ends it; with none given, 5 minutes."""

    steps: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many steps.")] = None
    tokens: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many tokens.")] = None
    minutes: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None,
        Meta(description=("Stop after so many minutes of training; evaluations and samples count, pauses do not.")),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Sequences in one forward pass.")] = 8
    accumulate: Annotated[int, Meta(ge=1, le=1_000_000, description="Forward passes that make one step.")] = 1
    optimizer: Annotated[
        Literal["adamw", "muon"],
        Meta(description="muon: turns the blocks' matrices by orthogonal steps, AdamW does the rest."),
    ] = "muon"
    lr: Annotated[float, Meta(gt=0, le=1, description="Peak learning rate of AdamW, reached after warm-up.")] = 8e-3
    muon_lr: Annotated[float, Meta(gt=0, le=1, description="Peak learning rate of Muon, where it is used.")] = 0.02
    muon_iterations: Annotated[
        int, Meta(ge=1, le=20, description="Newton-Schulz iterations of each Muon step: 5 are exact, 3 are cheaper.")
    ] = 3
    lr_final: Annotated[float, Meta(ge=0, le=1, description="Share of the peak learning rate left at the end.")] = 0.1
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of the training that warms up.")] = 0.05
    weight_decay: Annotated[float, Meta(ge=0, le=10, description="Weight decay of matrices and embeddings.")] = 0.0
    beta1: Annotated[float, Meta(ge=0, lt=1, description="AdamW's average of gradients.")] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1, description="AdamW's average of squared gradients.")] = 0.99
    clip: Annotated[float, Meta(ge=0, description="Largest gradient norm; 0 never clips.")] = 1.0
    evaluate_every: Annotated[int, Meta(ge=1, description="Steps between evaluations.")] = 50
    evaluate_tokens: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Validation tokens each evaluation looks at, always the same; the last looks at up to 64 times as many."
            ),
        ),
    ] = 16_384
    sample_every: Annotated[int, Meta(ge=1, description="Steps between samples drawn while training.")] = 50
    checkpoint_every: Annotated[int, Meta(ge=1, description="Steps between checkpoints.")] = 100
    keep: Annotated[int, Meta(ge=2, le=1000, description="Newest checkpoints kept; the best is kept besides.")] = 3
    seed: Annotated[int, Meta(ge=0, description="Decides initial weights, batches and dropout.")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Meta(description="Where the arithmetic happens.")] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(
            description=(
                "Arithmetic of the matrix products; weights are kept in float32. auto: bfloat16 where it is fast."
            )
        ),
    ] = "auto"


class Sample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text is drawn from the model."""

    prompts: Annotated[
        tuple[Annotated[str, Meta(max_length=100_000)], ...],
        Meta(min_length=1, description=("Beginnings the model goes on from; an empty one starts a new document.")),
    ] = ("",)
    tokens: Annotated[int, Meta(ge=1, le=1_000_000, description="Tokens drawn for each prompt.")] = 100
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
    seed: Annotated[int, Meta(ge=0, description="The same seed draws the same text.")] = 1


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a run builds."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
            description=("What the run is called: a-z, 0-9, dot, dash, underscore."),
        ),
    ] = "untitled"
    source: Source = Source()
    preprocess: Preprocess = Preprocess()
    tokenize: Tokenize = Tokenize()
    model: Model = Model()
    train: Train = Train()
    sample: Sample = Sample()
