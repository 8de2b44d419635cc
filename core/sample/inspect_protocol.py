"""Results of inspecting a model, as small messages that a screen can show. No torch.

    InspectPrompt  PromptTokens, LogitsMatrix, then for each generated token LastLogits, TokenProbabilities,
                   SampledToken, AppendedToken; if requested also PromptSurprisal, and for each token
                   AttentionWeights of the selected heads and a LogitLens per layer
    InspectContext PromptTokens, LogitsMatrix; if requested, for each layer a LensRow, and AttentionWeights of the
                   selected heads
    InspectModel   ModelSummary, then a ModelPart for the embedding, for each block and for the output

Positions, layers and heads count from 1; layer 0 is the embedding, layer n the n-th block. A number that is not
finite is None. No message is larger than 500 kB as JSON: `InspectOptions` and the constants here limit how much of a
large tensor is included, and each message has the full size. `llmtui xray --json` prints these messages; where a
field has another name there, it is given with `name=`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from core.model_size import ParameterCounts
from core.parsing import Int64
from core.recipe.schema import Model

MAX_PROMPT_TOKENS = 512
"""Prompt tokens in PromptTokens: the last ones."""
MAX_TOKEN_BYTES = 64
"""Bytes of one token in TokenInfo."""
MAX_TEXT_CHARACTERS = 10_000
"""Characters in AppendedToken."""

FiniteFloat = float | None
"""None: infinite or NaN, which JSON cannot represent."""


class AttentionHead(Struct, frozen=True):
    """One attention head, or all heads of a layer."""

    layer: Annotated[int, Meta(ge=1)]
    head: Annotated[int, Meta(ge=1)] | None = None


class InspectOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to include, and how much of it."""

    candidates: Annotated[int, Meta(ge=1, le=100)] = 8
    """Tokens in TokenProbabilities."""
    rows: Annotated[int, Meta(ge=1, le=32)] = 6
    """Rows of LogitsMatrix: the first and the last ones."""
    columns: Annotated[int, Meta(ge=2, le=32)] = 6
    """Columns of LogitsMatrix: the first ones and the last one."""
    logit_lens: bool = False
    """Whether to include a LogitLens per layer."""
    lens_tokens: Annotated[int, Meta(ge=1, le=20)] = 3
    """Tokens in each LogitLens."""
    attention: Annotated[tuple[AttentionHead, ...], Meta(max_length=1000)] = ()
    """Heads to include AttentionWeights of."""
    attention_positions: Annotated[int, Meta(ge=1, le=128)] = 32
    """Rows and columns of AttentionWeights, cells of a LensRow: the last positions."""
    surprisal: bool = False
    """Whether to include PromptSurprisal."""
    first_token: Annotated[int, Meta(ge=1)] = 1
    """The first generated token with results; those before it are generated without."""


class InspectResult(Struct, frozen=True, kw_only=True):
    """Base of all results."""


class TokenInfo(Struct, frozen=True):
    """A token id and what it decodes to."""

    id: Int64
    kind: Literal["text", "bytes", "mark", "gap", "hidden"]
    """text: whole characters. bytes: not valid UTF-8, such as part of a character. mark: a special token, such as the
    end-of-text token. gap: an unused id. hidden: the mask token."""
    text: str = ""
    """Decoded text of kinds text and mark; may contain control characters."""
    bytes: str = ""
    """In hexadecimal."""
    cut: bool = False
    """Whether the token is longer than MAX_TOKEN_BYTES."""


class PromptTokens(InspectResult, frozen=True, kw_only=True, tag="tokens"):
    """1. The prompt as token ids."""

    first: Int64
    """Position of `tokens[0]` in the context."""
    tokens: tuple[TokenInfo, ...]
    seen: Int64
    """Tokens in the context."""
    dropped: Int64
    """Tokens before them that do not fit the context."""


class LogitsRow(Struct, frozen=True):
    """Logits at one position."""

    position: Int64 = field(name="place")
    token: TokenInfo
    """The input token at that position."""
    logits: tuple[FiniteFloat, ...] = field(name="scores")
    """For the ids in `LogitsMatrix.columns`."""


class LogitsMatrix(InspectResult, frozen=True, kw_only=True, tag="outputs"):
    """2. The model's output (T, vocabulary): logits at each position."""

    positions: Int64 = field(name="places")
    """T."""
    vocabulary: Int64
    columns: tuple[Int64, ...]
    """The token ids whose logits are included."""
    rows: tuple[LogitsRow, ...]


class LastLogits(InspectResult, frozen=True, kw_only=True, tag="lastrow"):
    """3. The last row of the matrix: logits of the next token."""

    step: Int64
    """Number of the generated token, from 1."""
    position: Int64 = field(name="place")
    """Position of the row: the last one of the context."""
    vocabulary: Int64
    columns: tuple[Int64, ...]
    logits: tuple[FiniteFloat, ...] = field(name="scores")
    lowest: float
    highest: float
    mean: float
    deviation: float
    """Standard deviation."""


class ProcessorSummary(Struct, frozen=True):
    """One column of TokenProbabilities: softmax of the logits, or the distribution after one logits processor."""

    name: str
    """softmax, or a field of `Sampling`."""
    value: FiniteFloat
    """The setting; None if it is not a single number."""
    remaining: Int64 = field(name="left")
    """Tokens that can still be sampled."""
    entropy: FiniteFloat
    """Bits."""


class TokenCandidate(Struct, frozen=True):
    token: TokenInfo
    logit: float = field(name="score")
    probabilities: tuple[float | None, ...]
    """After each of `TokenProbabilities.processors`; None: filtered out."""
    random: float | None = None
    """The random number of this token, of an exponential distribution with mean 1: the token with the highest
    probability / random is sampled. None: filtered out, or greedy decoding."""


class TokenProbabilities(InspectResult, frozen=True, kw_only=True, tag="probabilities"):
    """4. From logits to probabilities, after each logits processor."""

    step: Int64
    processors: tuple[ProcessorSummary, ...] = field(name="links")
    """The first is softmax of the unprocessed logits."""
    candidates: tuple[TokenCandidate, ...]
    """The most likely tokens before and after all processors, and the sampled one; by final probability, highest
    first."""


class SampledToken(InspectResult, frozen=True, kw_only=True, tag="choice"):
    """5. The sampled token. Its competitors are in TokenProbabilities."""

    step: Int64
    token: TokenInfo
    probability: float
    """After all logits processors."""
    before: float
    """Probability before logits processors."""
    surprise: float
    """Surprisal in bits: -log2 of `before`."""
    rank: Int64
    """By the model's own probabilities, from 1."""
    instead_of: TokenInfo | None = None
    """The token that the seed samples here, if `InspectPrompt.forced` has another."""


class AppendedToken(InspectResult, frozen=True, kw_only=True, tag="appended"):
    """6. The token appended to the text, and its text."""

    step: Int64
    token: TokenInfo
    text: str
    """Characters completed by this token; earlier tokens may have started them."""
    length: Int64
    """Tokens of prompt and text so far."""
    reason: Literal["length", "end", "stop"] | None
    """Why the text ends here (`protocol.FinishReason`); None: it continues."""


class AttentionWeights(InspectResult, frozen=True, kw_only=True, tag="attention"):
    """Attention weights of one head. Each row of `weights`, plus its entry in `before`, sums to 1.

    Step 1, and an InspectContext, have a row for each of the last `InspectOptions.attention_positions` positions, later
    steps only for the newest.
    """

    step: Int64
    layer: Int64
    head: Int64
    first: Int64
    """Position of the first column; the last column is the last position."""
    weights: tuple[tuple[FiniteFloat, ...], ...]
    """(rows, columns), rounded to six digits; 0 where the causal mask applies."""
    before: tuple[FiniteFloat, ...]
    """(rows,) sum of the weights of positions before the first column."""


class PredictedToken(Struct, frozen=True):
    token: TokenInfo
    probability: FiniteFloat


class LogitLens(InspectResult, frozen=True, kw_only=True, tag="lens"):
    """The prediction of one layer's hidden state through the output layer.

    nostalgebraist 2020, "interpreting GPT: the logit lens".
    """

    step: Int64
    layer: Int64
    tokens: tuple[PredictedToken, ...] = field(name="guesses")
    """The most likely, highest probability first."""
    probability: FiniteFloat
    """Of the sampled token."""
    rank: Int64 | None
    """Of the sampled token; None if logits are not finite."""


class LensRow(InspectResult, frozen=True, kw_only=True, tag="lensrow"):
    """The logit lens of one layer at the last positions."""

    layer: Int64
    first: Int64
    """Position of `predictions[0]`."""
    predictions: tuple[PredictedToken | None, ...]
    """The most likely next token at each position; None: logits are not finite."""


class TokenSurprisal(Struct, frozen=True):
    """How well one token of the prompt was predicted. All None if there is no prediction: at the first position of a
    causal model, or where logits are not finite."""

    position: Int64 = field(name="place")
    token: TokenInfo
    bits: FiniteFloat
    """Surprisal: -log2 of the token's probability."""
    rank: Int64 | None
    """Of the token among all, from 1."""
    entropy: FiniteFloat
    """Of the predicted distribution, in bits."""
    predicted: PredictedToken | None = field(name="guess")
    """The most likely token."""


class PromptSurprisal(InspectResult, frozen=True, kw_only=True, tag="surprises"):
    """Surprisal of some of the prompt's tokens, in order.

    A causal model predicts each token from those before it. A masked model predicts it from all others, with that
    position masked: the sum is the pseudo-log-likelihood (Salazar et al. 2020, arXiv 1910.14659), which cannot be
    compared with the log-likelihood of a causal model.
    """

    tokens: tuple[TokenSurprisal, ...]


class ModelSummary(InspectResult, frozen=True, kw_only=True, tag="shape"):
    """Configuration, parameters and compute of the model."""

    model: Model
    vocabulary: Int64
    parameters: ParameterCounts
    forward_flops_per_token: Int64
    """At full context; training takes three times as much."""


class WeightSummary(Struct, frozen=True):
    """One weight of the model."""

    name: str
    size: tuple[Int64, ...]
    parameters: Int64
    """0 if it is tied to another weight."""
    dtype: str
    norm: FiniteFloat
    """Euclidean norm."""
    rms: FiniteFloat
    """Root mean square."""
    tied_to: str = field(name="shares", default="")
    """Name of the weight it is tied to."""


class ModelPart(InspectResult, frozen=True, kw_only=True, tag="part"):
    """Some of the model's weights, in the order of the forward pass."""

    name: Literal["embedding", "block", "output"]
    layer: Int64
    """Number of the block; 0 for the embedding, n_layer + 1 for the output."""
    weights: tuple[WeightSummary, ...]


AnyInspectResult = (
    PromptTokens
    | LogitsMatrix
    | LastLogits
    | TokenProbabilities
    | SampledToken
    | AppendedToken
    | AttentionWeights
    | LogitLens
    | LensRow
    | PromptSurprisal
    | ModelSummary
    | ModelPart
)
