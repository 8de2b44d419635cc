"""The vocabulary of the journal: everything a stage, a trainer or the worker has to say."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field, structs

from core.parsing import parse

STAGES = ("download", "preprocess", "tokenize", "train", "sample")
"""The stages of the pipeline, in order."""

Outcome = Literal["done", "stopped", "failed"]

Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number that can also be a float: more digits only come from damage."""


class Event(Struct, frozen=True, kw_only=True, tag=True):
    """One line of a run's journal."""

    at: float = field(default_factory=lambda: round(time.time(), 3))
    """Seconds since the epoch, for people; never used for rates."""
    tick: float = field(default_factory=lambda: round(time.monotonic(), 6))
    """The writer's monotonic clock in seconds: differences within one attempt are true durations."""


class Started(Event, frozen=True, kw_only=True):
    """A worker took the run; everything until the next `Started` is this attempt's."""

    attempt: Whole
    pid: Whole
    host: str
    device: str
    """What the arithmetic runs on, in words: "2 cores, bfloat16"."""


class StageStarted(Event, frozen=True, kw_only=True):
    stage: str


class StageSkipped(Event, frozen=True, kw_only=True):
    """The stage's artifact was there already."""

    stage: str
    artifact: str
    """Path of the artifact."""
    facts: dict[str, int | float | str]


class StageFinished(Event, frozen=True, kw_only=True):
    stage: str
    artifact: str
    facts: dict[str, int | float | str]
    """What the artifact holds, such as documents and bytes."""


class Progress(Event, frozen=True, kw_only=True):
    """How far the current stage is."""

    done: float
    total: float | None
    """None: nobody knows yet; a screen shows the rate instead."""
    unit: Literal["bytes", "documents", "tokens", "steps", "seconds", "samples"]
    of: Literal["", "evaluation", "final evaluation"] = ""
    """What is under way within the stage; empty: the stage itself."""


class StepCount(Struct, frozen=True, kw_only=True):
    """What one cleaning step did to the corpus."""

    step: str
    changed: Whole
    """Documents it changed."""
    removed: Whole
    """Documents it removed."""
    bytes: Whole
    """Bytes of UTF-8 it took away (negative: it added some)."""


class LineCount(Struct, frozen=True, kw_only=True):
    """A line that stands more than once in the clean text."""

    line: str
    """Its beginning, where it is long."""
    count: Whole
    """How often it stands in the sample that `Report.sampled` speaks of."""


class Extent(Struct, frozen=True, kw_only=True):
    """How much text there is."""

    documents: Whole = 0
    bytes: Whole = 0
    """Of UTF-8."""
    characters: Whole = 0


class Report(Event, frozen=True, kw_only=True):
    """What each cleaning step did, and what was skipped on the way in."""

    steps: tuple[StepCount, ...] = ()
    before: Extent = Extent()
    after: Extent = Extent()
    train: Extent = Extent()
    validation: Extent = Extent()
    """Of train and validation only documents and bytes are counted."""
    split: Literal["document", "tail", ""] = ""
    lengths: tuple[Whole, ...] = ()
    """Clean documents by length: of the place n those of at least 2^n and less than 2^(n+1) characters."""
    lines: tuple[LineCount, ...] = ()
    """The most frequent lines of the training text, in a seeded sample of it."""
    sampled: Whole = 0
    """Bytes of that sample."""
    held_out_lines: Whole = 0
    """Different lines of 40 bytes or more in a sample of the validation text."""
    leaked_lines: Whole = 0
    """How many of them stand in the training text, too."""


class Excerpt(Event, frozen=True, kw_only=True):
    """Part of a document before and after the cleaning, where they differ."""

    name: str
    before: str
    after: str
    changed_by: tuple[str, ...] = ()
    """Steps that changed it, in their order."""
    removed_by: str = ""
    """The step that removes it; empty when none does."""
    start: Whole = 0
    """Characters in front of it."""
    whole: bool = True
    """Whether it is all of the document."""


class CleaningStep(Event, frozen=True, kw_only=True):
    """A cleaning step there is, and what it is for."""

    name: str
    why: str
    cost: str = ""
    """What it destroys, where it does."""
    parameters: tuple[str, ...] = ()
    """Fields of [preprocess] that it heeds."""


class Parameters(Struct, frozen=True, kw_only=True):
    """Numbers a model learns, by part."""

    token_embedding: Whole
    """With a tied head the output layer is counted here."""
    positions: Whole
    attention: Whole
    feed_forward: Whole
    norms: Whole
    output: Whole

    @property
    def total(self) -> int:
        return sum(structs.astuple(self))


class Memory(Struct, frozen=True, kw_only=True):
    """Bytes that training takes on its device, by part."""

    process: Whole
    """Before there is a model: the program and its libraries."""
    weights: Whole
    gradients: Whole
    optimizer: Whole
    """What the optimisers remember of past gradients."""
    activations: Whole
    """What a forward pass keeps for the backward pass, and what both need for the moment, at the micro-batch's size."""
    checkpoint: Whole
    """A copy of what is being written to the disk."""
    peak: Whole
    """The most that is there at once: less than the sum, since not all of it ever is."""


class Plan(Event, frozen=True, kw_only=True):
    """What the training about to begin should take: worked out from the recipe, timed on this machine."""

    parameters: Parameters
    memory: Memory
    micro_batch: Whole
    """Sequences in one forward pass."""
    batch: Whole
    """Sequences that make one step."""
    step_seconds: float | None = None
    """Of one step; None where trying it out would have taken too large a share of the training."""
    seconds: float | None = None
    """Until the last step is done, evaluations and samples among them; None: nobody knows."""
    tokens: Whole | None = None
    """Seen until then."""


class Shape(Event, frozen=True, kw_only=True):
    """The model about to be trained."""

    parameters: Whole
    flops_per_token: Whole
    """Forward and backward, 6 per matrix parameter and 12·layers·width·context for attention (PaLM)."""
    vocabulary: Whole
    tokens: Whole
    """Training tokens there are."""


class Resumed(Event, frozen=True, kw_only=True):
    """Training goes on from a checkpoint: what earlier attempts said about later steps no longer counts."""

    step: Whole
    """0: there was no checkpoint, and nothing that earlier attempts said of the training counts."""
    checkpoint: str
    """Path of it."""

    @property
    def last(self) -> int:
        """The last step of which what was said counts."""
        return self.step or -1


class Metric(Event, frozen=True, kw_only=True):
    """One training step."""

    step: Whole
    loss: float
    """Mean cross-entropy of the step's batch in nats per token; of a masked model as its objective weighs it."""
    lr: float
    grad_norm: float
    """Before clipping."""
    tokens: Whole
    """Seen since the first step."""
    seconds: float
    """Of training since the first step, pauses left out."""
    progress: float
    """Share of the training done, 0 to 1, by whichever limit is nearest."""


class Evaluation(Event, frozen=True, kw_only=True):
    """Losses on fixed slices, in nats per token."""

    step: Whole
    loss: float
    """On held-out text."""
    train_loss: float | None
    """On a slice of the training text a quarter as large, measured in the same way, dropout off; of a last word
    that of the evaluation before it. None: not measured."""
    bits_per_byte: float
    """Of the held-out text."""
    best: bool
    """The lowest loss on the slice so far."""
    final: bool = False
    """Over all held-out text, or 64 slices of it where there is more: the last word on a finished training."""
    bound: bool = False
    """All three figures say "at most": those of a masked model, which cannot tell the cost of a text itself."""


class Sample(Event, frozen=True, kw_only=True):
    """Text the model wrote."""

    step: Whole
    prompt: str
    text: str
    """What follows the prompt."""
    temperature: float
    top_k: Whole
    top_p: float
    seed: Whole


class Saved(Event, frozen=True, kw_only=True):
    """A checkpoint is on the disk, complete."""

    step: Whole
    path: str
    bytes: Whole
    seconds: float


class Yardstick(Event, frozen=True, kw_only=True):
    """How many bits a byte of the held-out text costs something everybody knows."""

    name: str
    bits_per_byte: float


class Gpu(Struct, frozen=True, kw_only=True):
    name: str
    utilisation: float
    """0 to 1."""
    memory: Whole
    memory_total: Whole
    """Bytes."""
    watts: float | None = None
    celsius: float | None = None


class Reading(Event, frozen=True, kw_only=True):
    """What the machine is doing. Shares are 0 to 1, sizes in bytes."""

    cpu: float
    """Of all cores."""
    cores: Whole
    ram: Whole
    ram_total: Whole
    process_ram: Whole
    """Resident memory of the worker."""
    process_cpu: float
    """Of one core: 1.6 is 1.6 cores busy."""
    disk_free: Whole
    gpus: tuple[Gpu, ...] = ()
    peak: Whole = 0
    """The most memory the worker has had on the device it trains on since the training began; 0 before."""


class Note(Event, frozen=True, kw_only=True):
    """Something worth knowing that fits no other event."""

    level: Literal["info", "warning", "error"] = "info"
    text: str


class Paused(Event, frozen=True, kw_only=True):
    """The worker waits; the next event of any kind ends the pause."""


class Ended(Event, frozen=True, kw_only=True):
    """The last word of an attempt."""

    attempt: Whole
    outcome: Outcome
    what: str = ""
    """Why it failed: the parts of a `LlmtuiError`."""
    where: str = ""
    kept: str = ""
    todo: str = ""
    exit_code: Whole = 0


AnyEvent = (
    Started
    | StageStarted
    | StageSkipped
    | StageFinished
    | Progress
    | Report
    | Excerpt
    | CleaningStep
    | Plan
    | Shape
    | Resumed
    | Metric
    | Evaluation
    | Sample
    | Saved
    | Yardstick
    | Reading
    | Note
    | Paused
    | Ended
)


def _plain(value: Any) -> Any:
    """A number of numpy's or torch's as Python's, which is all that JSON knows."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"an event cannot say {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Struct) -> bytes:
    """One journal line, without its newline."""
    return _encoder.encode(event)


def decode(line: bytes) -> AnyEvent:
    """What `encode` wrote. Raises ParseError."""
    return parse(_decoder.decode, line)
