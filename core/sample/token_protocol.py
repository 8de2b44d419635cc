"""Messages about the tokens of a text and of a training batch. No torch.

    TokenizeText  TokenizedText
    ReadBatch     TrainingBatch
    ScoreBatch    RowLosses for each row, in order

Each is the result of a `core.sample.protocol.Tokens`. Ids are decoded by the table of distinct tokens in the message.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from core.parsing import Int64
from core.recipe.schema import Model, Train
from core.sample.inspect_protocol import FiniteFloat, TokenInfo

MAX_TEXT_LENGTH = 20_000
"""Characters of a TokenizeText request."""

NO_TARGET = -100
"""Target of a position without a loss: `core.model.loss.IGNORE`."""


class BatchSource(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What determines the batch of a training step."""

    tokens: str
    """Directory of the token shards."""
    model: Model
    train: Train
    step: Annotated[int, Meta(ge=1, le=2**50)]
    """As in `core.events.Metric`: the first step is 1."""


class TokenizedText(Struct, frozen=True, kw_only=True, tag="tokenized"):
    """A text encoded with one vocabulary."""

    entries: Int64
    """Number of ids of the vocabulary."""
    ids: tuple[Int64, ...]
    bytes: Int64
    """Of the text in UTF-8."""
    tokens: tuple[TokenInfo, ...]
    """Each distinct one of `ids`."""


class BatchRow(Struct, frozen=True, kw_only=True):
    """One sequence of a batch, T = block_size positions, exactly as the model is trained on it."""

    start: Int64
    """Position of its window of T + 1 tokens in the training text, in tokens."""
    inputs: tuple[Int64, ...]
    """(T,) what the model reads. The mask token of a masked model has the id after the last entry of the vocabulary."""
    targets: tuple[Int64, ...]
    """(T,) what it has to predict there; NO_TARGET where there is no loss."""
    weight: float = 1.0
    """Of the loss at each of its targets."""


class TrainingBatch(Struct, frozen=True, kw_only=True, tag="batch"):
    """The rows of a training step over all processes, in the order of the batch.

    Process r of n trains on every n-th row from row r on. The loss of the step is the weighted sum of the losses at
    all targets, divided by `count`.
    """

    step: Int64
    epoch: Int64
    """How often the text was begun, counting this time, when the first row was taken from it."""
    rows: tuple[BatchRow, ...]
    count: Int64
    end_of_text: Int64
    """Id of the token after each document."""
    masked: bool
    """Whether the model is a masked one: then a target is the token at its own position, else the next token."""
    tokens: tuple[TokenInfo, ...]
    """Each distinct one of the ids in `rows`."""


class RowLosses(Struct, frozen=True, kw_only=True, tag="row_losses"):
    """The loss of one row under the weights of a checkpoint, in float32 and without dropout."""

    row: Int64
    nats: tuple[FiniteFloat, ...]
    """(T,) unweighted cross-entropy at each position; None without a target, or if it is not finite."""


AnyTokenResult = TokenizedText | TrainingBatch | RowLosses
