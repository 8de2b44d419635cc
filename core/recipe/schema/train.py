"""[train]: optimisation, limits, evaluation and checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter group with its own optimizer settings."""

    names: Annotated[
        str, Meta(min_length=1, description="Pattern of parameter names, such as h.*.attn.*; the first match wins.")
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
            "Minutes between two of them at most, where that is sooner than the steps; 0: no limit. "
            "Left out: half a minute, or a quarter of the training so far."
        )
    ),
]
"""Half a minute keeps a slow machine from being silent for long; a quarter keeps the overhead of long runs small."""


class Train(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model is trained, and for how long: the first limit reached ends it; without any, 5 minutes."""

    steps: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many steps.")] = None
    tokens: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many tokens.")] = None
    minutes: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None,
        Meta(description="Stop after so many minutes of training; evaluations and samples count, pauses do not."),
    ] = None
    deadline: Annotated[
        str | None,
        Meta(
            description=(
                "Save a checkpoint and stop at this local time: 2026-11-30T08:00, or 08:00 for the next one after each "
                "start."
            )
        ),
    ] = None
    patience: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Early stopping: evaluations in a row without a new best loss."),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Sequences of each step.")] = 8
    micro_batch: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Sequences of one forward pass at most; left out: as many as fit in memory."),
    ] = None
    mask: Annotated[
        Literal["drawn", "fixed"],
        Meta(
            description=(
                "Masking of a masked model. drawn: a random ratio for each sequence (masked diffusion), so that the "
                "model can generate text. fixed: mask_ratio of it, of which 80 % masked, 10 % replaced, 10 % "
                "unchanged, as BERT."
            )
        ),
    ] = "drawn"
    mask_ratio: Annotated[
        float, Meta(gt=0, le=1, description='Share of the tokens to predict with mask = "fixed".')
    ] = field(default=0.15, name="mask_share")
    optimizer: Annotated[
        Literal["adamw", "muon"],
        Meta(description="muon: orthogonalised momentum for the blocks' matrices, AdamW for the rest."),
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
                "Learning rate after warm-up. constant: stays. cosine: decays all along. "
                "wsd: stays, and decays linearly over the last `cooldown`."
            )
        ),
    ] = "cosine"
    lr_final: Annotated[float, Meta(ge=0, le=1, description="Final learning rate, as a share of the peak.")] = 0.1
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of the training for warm-up.")] = 0.05
    cooldown: Annotated[float, Meta(ge=0, le=1, description="Share of the training in which wsd decays.")] = 0.4
    weight_decay: Annotated[float, Meta(ge=0, le=10, description="Weight decay of matrices and embeddings.")] = 0.0
    groups: Annotated[
        tuple[Group, ...],
        Meta(
            description=(
                "Parameter groups with settings of their own: names (a pattern), and any of optimizer, lr and "
                "weight_decay."
            )
        ),
    ] = ()
    beta1: Annotated[float, Meta(ge=0, lt=1, description="AdamW's decay of the gradient average.")] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1, description="AdamW's decay of the squared gradient average.")] = 0.99
    grad_clip: Annotated[float, Meta(ge=0, description="Largest gradient norm; 0: no clipping.")] = field(
        default=1.0, name="clip"
    )
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the target spread evenly over all tokens.")
    ] = 0.0
    z_loss: Annotated[
        float, Meta(ge=0, le=1, description="Coefficient of the squared log-sum-exp of the logits, to keep them small.")
    ] = 0.0
    rollback_on_nan: Annotated[
        bool,
        Meta(
            description=(
                "If loss or gradient is not finite, continue from the last checkpoint, once, at half the learning rate."
            )
        ),
    ] = field(default=False, name="step_back")
    evaluate_every: Annotated[int, Meta(ge=1, description="Steps between evaluations at most.")] = 100
    evaluate_minutes: Minutes = None
    evaluate_tokens: Annotated[
        int,
        Meta(
            ge=1,
            description="Validation tokens of each evaluation, always the same; of the last up to 64 times as many.",
        ),
    ] = 16_384
    sample_every: Annotated[int, Meta(ge=1, description="Steps between samples while training, at most.")] = 200
    sample_minutes: Minutes = None
    checkpoint_every: Annotated[int, Meta(ge=1, description="Steps between checkpoints at most.")] = 200
    checkpoint_minutes: Minutes = None
    keep_checkpoints: Annotated[
        int, Meta(ge=2, le=1000, description="Newest checkpoints to keep; the best is kept besides.")
    ] = field(default=3, name="keep")
    seed: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="Random seed of initial weights, batches, masks and dropout.")
    ] = 1
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Meta(description="Device to train on.")] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(description="Number format of matrix products; weights stay float32. auto: bfloat16 where it is fast."),
    ] = "auto"
    sharding: Annotated[
        Literal["auto", "none", "full"],
        Meta(
            description=(
                "With several processes. none: each has the whole model. full: each has a part of weights, gradients "
                "and optimizer state (FSDP), which takes less memory and more communication. auto: full where a whole "
                "model does not fit."
            )
        ),
    ] = "auto"
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | None,
        Meta(
            description=(
                "Processor threads. Left out: one for each core; in a training with a limit of minutes fewer while "
                "other programs use the cores and fewer are faster. Another number changes the rounding."
            )
        ),
    ] = None
    compile: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="Compile each block with torch.compile. auto: where that saves more time than it takes."),
    ] = "auto"
