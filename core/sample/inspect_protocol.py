"""What can be seen of a model at work, in small messages that a screen can draw. No torch.

    look       Tokens, Outputs, then for each token LastRow, Probabilities, Choice, Appended; where asked for also
               Surprises of the prompt, and for each token Attention of the heads and a Lens for each layer
    describe   Shape, then a Part for the embedding, for each block and for the output

Places, layers and heads count from 1; layer 0 is the embedding, layer n the n-th block. A number that is not finite is
None. No message has more than 500 kB as JSON, whatever the model: how much is shown of what is large is limited by
`View` and by the constants here, and how much there is is said.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from core.model_size import ParameterCounts
from core.recipe.schema import Model

TOKENS = 512
"""Of a prompt so many are told at most, the last ones."""
PIECE = 64
"""Bytes of a token that are told at most."""

TEXT = 10_000
"""Characters that one more token can be told to complete."""

Number = float | None


class Head(Struct, frozen=True):
    """One head of attention, or all of a layer."""

    layer: Annotated[int, Meta(ge=1)]
    head: Annotated[int, Meta(ge=1)] | None = None


class View(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is wanted."""

    candidates: Annotated[int, Meta(ge=1, le=100)] = 8
    """Tokens whose probabilities are told."""
    rows: Annotated[int, Meta(ge=1, le=32)] = 6
    """Of the matrix of outputs: its first and its last ones."""
    columns: Annotated[int, Meta(ge=2, le=32)] = 6
    """Of the matrix of outputs: its first ones, and the last one."""
    lens: bool = False
    """What each layer would have said."""
    guesses: Annotated[int, Meta(ge=1, le=20)] = 3
    """Tokens told of each layer."""
    attention: Annotated[tuple[Head, ...], Meta(max_length=1000)] = ()
    places: Annotated[int, Meta(ge=1, le=128)] = 32
    """Of the text whose attention is wanted: its last ones."""
    surprise: bool = False
    """How surprised the model is by each token of the prompt itself."""


class Sight(Struct, frozen=True, kw_only=True, tag=str.lower):
    """Anything that can be seen."""


class Token(Struct, frozen=True):
    id: int
    kind: Literal["text", "bytes", "mark", "gap", "hidden"]
    """text: whole characters. bytes: part of a character, or no UTF-8 at all. mark: stands for no text, such as the
    end-of-text mark. gap: an id that stands for nothing. hidden: what a masked model is to find."""
    text: str = ""
    """Of whole characters and marks; as it is, whatever a terminal may make of it."""
    bytes: str = ""
    """In hexadecimal digits."""
    cut: bool = False
    """It is longer than what is told."""


class Tokens(Sight, frozen=True, kw_only=True):
    """1. The text as token ids."""

    first: int
    """The place of the first one told, among those the model sees."""
    tokens: tuple[Token, ...]
    seen: int
    """Tokens the model sees."""
    dropped: int
    """Tokens before them, which do not fit the context."""


class OutputRow(Struct, frozen=True):
    place: int
    token: Token
    """What stands there."""
    scores: tuple[Number, ...]
    """In the columns told."""


class Outputs(Sight, frozen=True, kw_only=True):
    """2. The matrix of outputs: at each place a score for every token of the vocabulary."""

    places: int
    vocabulary: int
    columns: tuple[int, ...]
    """The ids whose scores are told."""
    rows: tuple[OutputRow, ...]


class LastRow(Sight, frozen=True, kw_only=True):
    """3. The matrix's last row: the scores of what comes next."""

    step: int
    """The first token that is drawn is step 1."""
    place: int
    """The row's, among those the model sees now: its last."""
    vocabulary: int
    columns: tuple[int, ...]
    scores: tuple[Number, ...]
    lowest: float
    highest: float
    mean: float
    deviation: float
    """Standard deviation."""


class Link(Struct, frozen=True):
    """One column of the probabilities: softmax, or what a sampler of the chain made of the one before."""

    name: str
    """softmax, or a setting of `Sampling`."""
    value: Number
    """What it is set to; None where it is no single number."""
    left: int
    """Tokens that are still in the draw."""
    entropy: Number
    """Bits."""


class Candidate(Struct, frozen=True):
    token: Token
    score: float
    probabilities: tuple[float | None, ...]
    """Behind each link; None: it is no longer in the draw."""


class Probabilities(Sight, frozen=True, kw_only=True):
    """4. Scores to probabilities, before and after each sampler."""

    step: int
    links: tuple[Link, ...]
    """The first is the softmax of the scores as they are."""
    candidates: tuple[Candidate, ...]
    """The likeliest before the samplers and the likeliest behind them, and the one that is taken; likeliest first, as
    they are behind the last link."""


class Choice(Sight, frozen=True, kw_only=True):
    """5. The token that is taken. What it won against is in `Probabilities`."""

    step: int
    token: Token
    probability: float
    """With which it was drawn."""
    before: float
    """The model's own, before any sampler."""
    surprise: float
    """Bits, by the model's own."""
    rank: int
    """By the model's own; 1 is the likeliest."""


class Appended(Sight, frozen=True, kw_only=True):
    """6. The token behind the text, and what it is decoded to."""

    step: int
    token: Token
    text: str
    """Characters that are complete by now; they may have been begun by tokens before."""
    length: int
    """Tokens of prompt and text by now."""
    reason: Literal["length", "end", "stop"] | None
    """Why the text ends here; None: it goes on."""


class Attention(Sight, frozen=True, kw_only=True):
    """How much each place takes from the others, in one head: each row of `weights`, with `before`, sums to 1.

    In step 1 a row for each place that is told, later for the newest one only.
    """

    step: int
    layer: int
    head: int
    first: int
    """The place of the first column; the last column is the last place."""
    weights: tuple[tuple[Number, ...], ...]
    """(rows, columns), in six digits; what a causal model may not see has 0."""
    before: tuple[Number, ...]
    """What each takes from the places before the first column."""


class Guess(Struct, frozen=True):
    token: Token
    probability: Number


class Lens(Sight, frozen=True, kw_only=True):
    """What one layer would have said, were it the last (nostalgebraist 2020, "interpreting GPT: the logit lens")."""

    step: int
    layer: int
    guesses: tuple[Guess, ...]
    probability: Number
    """Of the token that was taken."""
    rank: int | None
    """Of the token that was taken; None where the scores are not finite."""


class Surprise(Struct, frozen=True):
    """One token of a text, and what the model expected in its place. All None where there is nothing to go by: before
    a causal model's first token, or where scores are not finite."""

    place: int
    token: Token
    bits: Number
    rank: int | None
    """Of the token; 1: it is what the model expected most."""
    entropy: Number
    """Bits: how unsure the model was, whatever came."""
    guess: Guess | None
    """What it expected most."""


class Surprises(Sight, frozen=True, kw_only=True):
    """Some of a text's tokens, in order.

    A causal model goes by what stands before a token. A masked model goes by all the others, the token alone being
    hidden: the sum is the text's pseudo-likelihood (Salazar et al. 2020, arXiv 1910.14659), not comparable with the
    former.
    """

    tokens: tuple[Surprise, ...]


class Shape(Sight, frozen=True, kw_only=True):
    """The model as a whole."""

    model: Model
    vocabulary: int
    parameters: ParameterCounts
    forward_flops_per_token: int
    """At full context; training takes three times as much."""


class Weight(Struct, frozen=True):
    name: str
    size: tuple[int, ...]
    parameters: int
    """0 where it shares the weights of another."""
    dtype: str
    norm: Number
    """The root of the sum of squares."""
    rms: Number
    """The root of the mean of squares."""
    shares: str = ""
    """The name of the weight that it is one with."""


class Part(Sight, frozen=True, kw_only=True):
    """Some of the model's weights, in the order of the forward pass."""

    name: Literal["embedding", "block", "output"]
    layer: int
    """Which block; 0 for the embedding, one more than there are blocks for the output."""
    weights: tuple[Weight, ...]


Sights = Tokens | Outputs | LastRow | Probabilities | Choice | Appended | Attention | Lens | Surprises | Shape | Part
