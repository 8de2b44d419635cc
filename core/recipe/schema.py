"""What to build: a typed recipe. Every field explains itself, once, for the file, `--help` and the forms."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from core.recipe.sampling import Sampling


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the text comes from, and how much of it is taken."""

    corpus: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "'stdlib' (the standard library of this Python), 'stories' (made up from a seed), 'hf:NAME[@REVISION]' "
                "(a data set of the Hugging Face hub), an https URL, or the path of a file, a folder or a pattern."
            ),
        ),
    ] = "stdlib"
    config: Annotated[str, Meta(description="Configuration of a hub data set, where it has several.")] = ""
    split: Annotated[
        str, Meta(min_length=1, description="Split of a hub data set, or of one that was saved with several.")
    ] = "train"
    column: Annotated[
        str,
        Meta(
            description=(
                "Column or field with the text, in tables, JSON and hub data sets; empty: found. "
                "Dots lead into objects and lists: 'data.text', 'messages.content', 'turns.0'."
            )
        ),
    ] = ""
    header: Annotated[
        bool | None,
        Meta(description="Whether the first row of a CSV or TSV holds the names of its columns; left out: found."),
    ] = None
    encoding: Annotated[
        str,
        Meta(
            description=(
                "Encoding of files that have no byte order mark, such as cp1250 or utf-16; empty: found for each file."
            )
        ),
    ] = ""
    max_bytes: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Take about so many bytes of text; of 'stories', 16 MiB when not given."),
    ] = None
    max_documents: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Take so many documents.")] = None
    take: Annotated[
        Literal["first", "sample"],
        Meta(description="Which ones, where the corpus has more: the first, or a sample spread over it."),
    ] = "first"
    seed: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="Chooses the sample; of 'stories', which ones are told.")
    ] = 1
    max_broken: Annotated[
        int, Meta(ge=0, description="Records that cannot be read, such as broken JSON lines, passed over at most.")
    ] = 100


class Preprocess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the documents are cleaned and divided."""

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
    shortest: Annotated[int, Meta(ge=1, description="Characters below which too_short removes a document.")] = 100
    longest: Annotated[int, Meta(ge=1, description="Characters above which too_long removes a document.")] = 10_000_000
    text_share: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of letters, digits and spaces below which not_text removes a document."),
    ] = 0.6
    window: Annotated[
        int, Meta(ge=1, le=100, description="Lines in a row that duplicate_lines removes where they stand again.")
    ] = 5
    similarity: Annotated[
        float,
        Meta(ge=0.3, le=1, description="Share of common five-word runs from which near_duplicates removes the later."),
    ] = 0.8
    passage: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Characters after which passages begins a new document.")
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


class Tokenize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text becomes numbers."""

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
                "bpe: byte pairs learned from this corpus. characters: those of this corpus. bytes: all 256. "
                "gpt2: the 50,257 entries of GPT-2. The others: tiktoken's, by its names."
            )
        ),
    ] = "bpe"
    size: Annotated[
        int,
        Meta(
            ge=257,
            le=1_000_000,
            description=("Entries of a vocabulary learned by bpe, the end-of-text mark included."),
        ),
    ] = 4096


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the Transformer, in GPT-2's words."""

    depth: Annotated[
        Annotated[int, Meta(ge=1, le=48)] | None,
        Meta(
            description=(
                "One dial for the size: sets n_layer, n_head, n_embd, batch_size and learning rates; "
                "what is given besides counts more."
            )
        ),
    ] = None
    objective: Annotated[
        Literal["causal", "masked"],
        Meta(
            description=(
                "causal: predicts the next token from those before it. "
                "masked: predicts hidden tokens from both sides, and writes by uncovering them."
            )
        ),
    ] = "causal"
    n_layer: Annotated[int, Meta(ge=1, le=1000, description="Transformer blocks, one after the other.")] = 3
    n_head: Annotated[int, Meta(ge=1, le=1000, description="Attention heads in each block.")] = 4
    n_kv_head: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(description="Heads of keys and values, each shared by a group of query heads; left out: n_head."),
    ] = None
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
        Literal["gelu", "swiglu", "relu2"],
        Meta(
            description=(
                "What bends the feed-forward layer: GPT-2's GELU, ReLU squared, or SwiGLU, "
                "where one half of it opens and shuts the other."
            )
        ),
    ] = "relu2"
    qk_norm: Annotated[bool, Meta(description="Scale queries and keys to one length before they meet.")] = True
    zero_init: Annotated[
        bool,
        Meta(description="Start the output of every block, and an untied head, at zero, and its embedding large."),
    ] = True
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Share of activations dropped while training.")] = 0.0
    bias: Annotated[bool, Meta(description="Biases in the linear layers and norms, as in GPT-2.")] = False
    qkv_bias: Annotated[
        bool | None, Meta(description="Biases of queries, keys and values; left out: as `bias` says.")
    ] = None
    tied_head: Annotated[bool, Meta(description="Use the token embedding as the output layer too.")] = False
    vocabulary_multiple: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="Rows of embedding and head are padded to a multiple of this, for speed; nothing sees them.",
        ),
    ] = 1
    init: Annotated[
        str,
        Meta(
            max_length=4096,
            description=(
                "Weights to begin with: hf:NAME for published GPT-2 weights, run:NAME for the best of another run, "
                "or a folder; empty: random ones."
            ),
        ),
    ] = ""


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters that are trained in another way than the rest."""

    names: Annotated[
        str, Meta(min_length=1, description="Pattern of their names, such as h.*.attn.*; first match wins.")
    ]
    optimizer: Annotated[Literal["adamw", "muon"] | None, Meta(description="Left out: as for the rest.")] = None
    lr: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Peak; left out: as for the rest.")] = (
        None
    )
    weight_decay: Annotated[
        Annotated[float, Meta(ge=0, le=10)] | None, Meta(description="Left out: as for the rest.")
    ] = None


Minutes = Annotated[
    Annotated[float, Meta(ge=0, le=1e7)] | None,
    Meta(
        description=(
            "Minutes from one to the next at most, where that is sooner; 0: never by the clock. "
            "Left out: half a minute, or a quarter of the training so far."
        )
    ),
]
"""What keeps a slow machine from saying nothing for long; a quarter keeps it from costing a long training anything."""


class Train(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model learns, and for how long: the first limit reached ends it; with none given, 5 minutes."""

    steps: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many steps.")] = None
    tokens: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many tokens.")] = None
    minutes: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None,
        Meta(description=("Stop after so many minutes of training; evaluations and samples count, pauses do not.")),
    ] = None
    patience: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Stop when so many evaluations in a row were no better than the best before them."),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Sequences that make one step.")] = 8
    micro_batch: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Sequences in one forward pass at most; left out: as many as fit the memory."),
    ] = None
    mask: Annotated[
        Literal["drawn", "fixed"],
        Meta(
            description=(
                "Of a masked model: drawn: each sequence hides a share drawn for it, so that the model can write. "
                "fixed: mask_share of it, of which 80 % hidden, 10 % replaced, 10 % left, as BERT."
            )
        ),
    ] = "drawn"
    mask_share: Annotated[
        float, Meta(gt=0, le=1, description='Share of the tokens to predict with mask = "fixed".')
    ] = 0.15
    optimizer: Annotated[
        Literal["adamw", "muon"],
        Meta(description="muon: turns the blocks' matrices by orthogonal steps, AdamW does the rest."),
    ] = "muon"
    lr: Annotated[float, Meta(gt=0, le=1, description="Peak learning rate of AdamW, reached after warm-up.")] = 8e-3
    muon_lr: Annotated[float, Meta(gt=0, le=1, description="Peak learning rate of Muon, where it is used.")] = 0.02
    muon_iterations: Annotated[
        int, Meta(ge=1, le=20, description="Newton-Schulz iterations of each Muon step: 5 are exact, 3 are cheaper.")
    ] = 3
    schedule: Annotated[
        Literal["constant", "cosine", "wsd"],
        Meta(
            description=(
                "Learning rate after the warm-up. constant: stays. cosine: falls all along. "
                "wsd: stays, and falls in a straight line over the last `cooldown`."
            )
        ),
    ] = "cosine"
    lr_final: Annotated[float, Meta(ge=0, le=1, description="Share of the peak learning rate left at the end.")] = 0.1
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of the training that warms up.")] = 0.05
    cooldown: Annotated[float, Meta(ge=0, le=1, description="Share of the training in which wsd falls.")] = 0.4
    weight_decay: Annotated[float, Meta(ge=0, le=10, description="Weight decay of matrices and embeddings.")] = 0.0
    groups: Annotated[
        tuple[Group, ...],
        Meta(
            description=(
                "Parameters trained in another way: names (a pattern), and any of optimizer, lr and weight_decay."
            )
        ),
    ] = ()
    beta1: Annotated[float, Meta(ge=0, lt=1, description="AdamW's average of gradients.")] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1, description="AdamW's average of squared gradients.")] = 0.99
    clip: Annotated[float, Meta(ge=0, description="Largest gradient norm; 0 never clips.")] = 1.0
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the target spread over all tokens alike.")
    ] = 0.0
    z_loss: Annotated[
        float, Meta(ge=0, le=1, description="Weight of the squared log-sum of the scores, which keeps them small.")
    ] = 0.0
    step_back: Annotated[
        bool,
        Meta(
            description=(
                "Where loss or gradient is not finite, go back to the last checkpoint, once, at half the learning rate."
            )
        ),
    ] = False
    evaluate_every: Annotated[int, Meta(ge=1, description="Steps between evaluations at most.")] = 100
    evaluate_minutes: Minutes = None
    evaluate_tokens: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Validation tokens each evaluation looks at, always the same; the last looks at up to 64 times as many."
            ),
        ),
    ] = 16_384
    sample_every: Annotated[int, Meta(ge=1, description="Steps between samples drawn while training, at most.")] = 200
    sample_minutes: Minutes = None
    checkpoint_every: Annotated[int, Meta(ge=1, description="Steps between checkpoints at most.")] = 200
    checkpoint_minutes: Minutes = None
    keep: Annotated[int, Meta(ge=2, le=1000, description="Newest checkpoints kept; the best is kept besides.")] = 3
    seed: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="Decides initial weights, batches, masks and dropout.")
    ] = 1
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Meta(description="Where the arithmetic happens.")] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(
            description=(
                "Arithmetic of the matrix products; weights are kept in float32. auto: bfloat16 where it is fast."
            )
        ),
    ] = "auto"
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(
            description=(
                "Threads of the processor. Left out: one for each core; in a training with a limit of minutes fewer "
                "while others use the cores and that is faster. Another number rounds in another way."
            )
        ),
    ] = None
    compile: Annotated[
        Literal["auto", "on", "off"],
        Meta(
            description=(
                "Let torch.compile make one program of each block. "
                "auto: where the time it saves is longer than the time it takes."
            )
        ),
    ] = "auto"


class Sample(Sampling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model writes, and how."""

    prompts: Annotated[
        tuple[Annotated[str, Meta(max_length=100_000)], ...],
        Meta(min_length=1, description=("Beginnings the model goes on from; an empty one starts a new document.")),
    ] = ("",)

    def sampling(self) -> Sampling:
        """The settings alone."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.__struct_fields__})


class Chat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a conversation is written down for the model; empty templates are for base models, which only go on."""

    system: Annotated[
        str,
        Meta(
            max_length=500,
            description="Around what the model is told beforehand, which is {text}; empty: nothing around it.",
        ),
    ] = ""
    user: Annotated[
        str,
        Meta(
            max_length=500,
            description=(
                'Around what a person says, which is {text}, such as "User: {text}\\nAssistant:"; '
                "empty: nothing around it, the model goes on from it."
            ),
        ),
    ] = ""
    assistant: Annotated[
        str,
        Meta(
            max_length=500,
            description=(
                'Around what the model answers, which is {text}, such as " {text}\\n"; empty: nothing around it.'
            ),
        ),
    ] = ""

    @property
    def templated(self) -> bool:
        """Whether there is a conversation at all, rather than texts that are gone on with."""
        return bool(self.user or self.assistant)


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
    chat: Chat = Chat()
