"""The events of a run's journal: what stages, the trainer and the worker report.

To add one: a subclass of `Event` here, the place that yields it, and its text in `llmtui.view.event_text`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Union

import msgspec
from msgspec import Struct, field

from core.model_size import MemoryEstimate, ParameterCounts
from core.parsing import Int64, parse

STAGES = ("download", "preprocess", "tokenize", "train", "sample")
"""The stages of the pipeline, in order."""

Outcome = Literal["done", "stopped", "failed"]


class Event(Struct, frozen=True, kw_only=True, tag=True):
    """One line of a run's journal. `tag`: its `type` there, where that is not the name of the class."""

    at: float = field(default_factory=lambda: round(time.time(), 3))
    """Seconds since the epoch, for display; never used for rates."""
    tick: float = field(default_factory=lambda: round(time.monotonic(), 6))
    """The writer's monotonic clock in seconds: differences within one attempt are true durations."""


class AttemptStarted(Event, frozen=True, kw_only=True, tag="Started"):
    """A worker started on the run; all events up to the next `AttemptStarted` belong to this attempt."""

    attempt: Int64
    pid: Int64
    host: str
    device: str
    """Compute device and precision, such as "2 cores, bfloat16"."""
    version: str = ""
    commit: str = ""
    """Of the code: its commit if it runs from a checkout, see `core.git_commit`."""
    torch: str = ""
    """Version of PyTorch. Older journals have none of these three."""


class StageStarted(Event, frozen=True, kw_only=True):
    stage: str


class StageSkipped(Event, frozen=True, kw_only=True):
    """The stage's artifact existed already."""

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
    """Progress of the current stage."""

    done: float
    total: float | None
    """None: unknown; a screen shows the rate instead."""
    unit: Literal["bytes", "documents", "tokens", "steps", "seconds", "samples"]
    of: Literal["", "evaluation", "final evaluation", "sample", "checkpoint"] = ""
    """The operation within the stage that is measured; empty: the stage itself. Of the last two only their start."""


class StepEffect(Struct, frozen=True, kw_only=True):
    """What one cleaning step did to the corpus."""

    step: str
    changed: Int64
    """Documents it changed."""
    removed: Int64
    """Documents it removed."""
    bytes: Int64
    """Bytes of UTF-8 it removed (negative: added)."""


class LineCount(Struct, frozen=True, kw_only=True):
    """A line that occurs more than once in the clean text."""

    line: str
    """Its beginning if it is long."""
    count: Int64
    """Occurrences in the sample of `CleaningReport.sampled` bytes."""


class TextSize(Struct, frozen=True, kw_only=True):
    """Size of a set of documents."""

    documents: Int64 = 0
    bytes: Int64 = 0
    """Of UTF-8."""
    characters: Int64 = 0


class CleaningReport(Event, frozen=True, kw_only=True, tag="Report"):
    """Effect of each cleaning step, and statistics of the clean documents."""

    steps: tuple[StepEffect, ...] = ()
    before: TextSize = TextSize()
    after: TextSize = TextSize()
    train: TextSize = TextSize()
    validation: TextSize = TextSize()
    """Of train and validation only documents and bytes are counted."""
    split: Literal["document", "tail", ""] = ""
    lengths: tuple[Int64, ...] = ()
    """Histogram of clean documents by length: element n counts those of 2^n to 2^(n+1) − 1 characters."""
    lines: tuple[LineCount, ...] = ()
    """The most frequent lines of the training text, in a seeded sample of it."""
    sampled: Int64 = 0
    """Bytes of that sample."""
    held_out_lines: Int64 = 0
    """Distinct lines of 40 bytes or more in a sample of the validation text."""
    leaked_lines: Int64 = 0
    """How many of them occur in the training text, too."""


class Excerpt(Event, frozen=True, kw_only=True):
    """Part of a document before and after cleaning, from where they differ."""

    name: str
    before: str
    after: str
    changed_by: tuple[str, ...] = ()
    """Steps that changed it, in their order."""
    removed_by: str = ""
    """The step that removes the document; empty if none does."""
    start: Int64 = 0
    """Characters of the document before the excerpt."""
    whole: bool = True
    """Whether the excerpt is the whole document."""


class CleaningStep(Event, frozen=True, kw_only=True):
    """Description of a cleaning step."""

    name: str
    why: str
    cost: str = ""
    """What the text loses, if anything."""
    parameters: tuple[str, ...] = ()
    """Fields of [preprocess] that it reads."""
    compares: bool = False
    """Whether its result depends on other documents, so that a single one does not show it."""


class CompressionBaseline(Event, frozen=True, kw_only=True):
    """Size of the held-out text after a general-purpose compressor."""

    name: str
    """The compressor, such as "xz -9"."""
    bits_per_byte: float


class _Yardstick(CompressionBaseline, frozen=True, kw_only=True, tag="Yardstick"):
    """The tag of `CompressionBaseline` in older journals."""


class TrainingForecast(Event, frozen=True, kw_only=True, tag="Plan"):
    """Predicted time and memory of the training that starts next: computed from the recipe, timed on this machine."""

    parameters: ParameterCounts
    memory: MemoryEstimate
    micro_batch: Int64
    """Sequences per forward pass."""
    batch: Int64
    """Sequences per optimizer step."""
    step_seconds: float | None = None
    """Seconds per step; None if measuring it would have taken too large a share of the training."""
    seconds: float | None = None
    """Until the last step, including evaluations and samples; None: unknown."""
    tokens: Int64 | None = None
    """Training tokens until the last step."""


class ModelInfo(Event, frozen=True, kw_only=True, tag="Shape"):
    """Size of the model and of its training data."""

    parameters: Int64
    flops_per_token: Int64
    """Forward and backward, 6 per matrix parameter and 12·layers·width·context for attention (PaLM, appendix B)."""
    vocabulary: Int64
    tokens: Int64
    """Tokens of training data."""


class Resumed(Event, frozen=True, kw_only=True):
    """Training resumes from a checkpoint: events of earlier attempts about later steps no longer count."""

    step: Int64
    """0: no checkpoint existed, and no training event of earlier attempts counts."""
    checkpoint: str
    """Path of the checkpoint."""

    @property
    def last(self) -> int:
        """The last step whose events of earlier attempts count."""
        return self.step or -1


class Metric(Event, frozen=True, kw_only=True):
    """Metrics of one training step."""

    step: Int64
    loss: float
    """Mean cross-entropy of the batch in nats per token; of a masked model with the weights of its objective."""
    lr: float
    grad_norm: float
    """Before clipping."""
    tokens: Int64
    """Trained on since the first step."""
    seconds: float
    """Of training since the first step, without pauses."""
    progress: float
    """Share of the training done, 0 to 1, by whichever limit is nearest."""


class Evaluation(Event, frozen=True, kw_only=True):
    """Losses on fixed slices, in nats per token."""

    step: Int64
    loss: float
    """On held-out text."""
    train_loss: float | None
    """On a slice of the training text a quarter as large, measured in the same way, without dropout; the final
    evaluation repeats that of the evaluation before it. None: not measured."""
    bits_per_byte: float
    """Of the held-out text."""
    best: bool
    """The lowest loss on the slice so far."""
    final: bool = False
    """After training has finished: over all held-out text, or 64 slices of it if there is more."""
    bound: bool = False
    """Whether the three figures are upper bounds (NELBO), as those of masked models are."""


class GeneratedSample(Event, frozen=True, kw_only=True, tag="Sample"):
    """Text generated by the model during training."""

    step: Int64
    prompt: str
    text: str
    """The continuation, without the prompt."""
    temperature: float
    top_k: Int64
    top_p: float
    seed: Int64


class CheckpointSaved(Event, frozen=True, kw_only=True, tag="Saved"):
    """A complete checkpoint was written."""

    step: Int64
    path: str
    bytes: Int64
    seconds: float


class Gpu(Struct, frozen=True, kw_only=True):
    name: str
    utilisation: float
    """0 to 1."""
    memory: Int64
    memory_total: Int64
    """Bytes."""
    watts: float | None = None
    celsius: float | None = None


class LearningRateChanged(Event, frozen=True, kw_only=True):
    """The learning rate was changed on request while training, see `core.train.lr_changes`."""

    step: Int64
    """The last step at the old rate; its checkpoint is kept."""
    factor: float
    """Of every learning rate of the recipe, from the next step on."""
    before: float
    lr: float
    """The peak learning rate before and after."""


class HardwareReading(Event, frozen=True, kw_only=True, tag="Reading"):
    """Load of the machine. Shares are 0 to 1, sizes in bytes."""

    cpu: float
    """Of all cores."""
    cores: Int64
    ram: Int64
    ram_total: Int64
    process_ram: Int64
    """Resident memory of the worker."""
    process_cpu: float
    """In cores: 1.6 is 1.6 cores busy."""
    disk_free: Int64
    gpus: tuple[Gpu, ...] = ()
    peak: Int64 = 0
    """Peak memory of the worker on its device since training started; 0 before."""


class Note(Event, frozen=True, kw_only=True):
    """A message that fits no other event."""

    level: Literal["info", "warning", "error"] = "info"
    text: str


class RuleActed(Event, frozen=True, kw_only=True):
    """A rule of the recipe acted: `rules.below`, `train.patience`, or that a loss which is not finite ends the run."""

    rule: Literal["below", "patience", "not finite"]
    step: Int64
    what: str
    """What was found, a clause of numbers and fixed words."""
    action: Literal["checkpoint", "stop", "finish", "fail"]


class RungReached(Event, frozen=True, kw_only=True):
    """A trial of a study was evaluated and saved at the share of its training at which it stops, see
    `core.tune.halving`."""

    step: Int64
    share: float
    """Of the training, 0 to 1: where it was to stop. A step may be a little later."""
    bits_per_byte: float
    """Of the evaluation at this step."""
    seconds: float
    """Of training."""


class Paused(Event, frozen=True, kw_only=True):
    """The worker waits; the next event of any kind ends the pause."""


class AttemptEnded(Event, frozen=True, kw_only=True, tag="Ended"):
    """The last event of an attempt."""

    attempt: Int64
    outcome: Outcome
    cause: Literal["", "disk"] = ""
    """disk: it failed because the disk is full, read-only or failing."""
    what: str = ""
    """Why it failed, or which rule ended it; this and the next three are the fields of `LlmtuiError`."""
    where: str = ""
    kept: str = ""
    todo: str = ""
    exit_code: Int64 = 0


def _subclasses(kind: type[Event]) -> Iterator[type[Event]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


if TYPE_CHECKING:
    AnyEvent = Event
else:  # the union of all subclasses, which msgspec decodes by their tags
    AnyEvent = Union[tuple(_subclasses(Event))]  # noqa: UP007


def _to_python(value: Any) -> Any:
    """A scalar of NumPy or PyTorch as a Python number. Raises TypeError for anything else."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"an event cannot hold a {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_to_python)
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Struct) -> bytes:
    """One journal line, without its newline."""
    return _encoder.encode(event)


def decode(line: bytes) -> AnyEvent:
    """The event that `encode` wrote. Raises ParseError."""
    return parse(_decoder.decode, line)
