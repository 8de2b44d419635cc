"""Messages between the inference process and its client: JSON lines over standard input and output. No torch.

A client may send any number of requests, each with its own id, without waiting: concurrent requests take turns, token
by token. Each is answered by any number of replies with its id, the last of them Finished or Refused.

    Generate      → Loaded, TextDelta as text is generated, a TextEnded for each text, Finished
                    masked models: TextDeltas whenever a block is complete; DenoisingState after each denoising step, if
                    requested
    BestOfN,
    BeamSearch    → Loaded, a RankedText for each text, Finished
    Score         → Loaded, ScoreProgress repeatedly, with TokenLosses if requested, ScoreResult, Finished
    InspectPrompt → Loaded, Inspected repeatedly (see `core.sample.inspect_protocol`), TextEnded, Finished
    InspectContext,
    InspectModel  → Loaded, Inspected repeatedly, Finished
    TokenizeText,
    ReadBatch     → Tokens (see `core.sample.token_protocol`), Finished
    ScoreBatch    → Loaded, Tokens for each row, Finished
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from core.parsing import Int64
from core.recipe.sampling import Precision, Sampling, UnmaskingOrder
from core.sample.inspect_protocol import AnyInspectResult, InspectOptions, TokenInfo
from core.sample.token_protocol import MAX_TEXT_LENGTH, AnyTokenResult, BatchSource
from core.vocab.protocol import VocabularyChoice

MAX_LINE_BYTES = 2**26
"""A longer request is refused; a longer reply is a protocol error."""
MAX_CONCURRENT_REQUESTS = 64
"""Requests answered at the same time; further ones are refused."""
MAX_TEXTS = 64
"""Texts per request."""

FinishReason = Literal["length", "end", "stop"]
"""Why a text ended. length: it has `Sampling.tokens` tokens. end: the end-of-text token or one of
`Sampling.stop_tokens`. stop: one of the strings `Sampling.stop`."""


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests."""

    id: Int64


class ModelRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of requests that need a model."""

    checkpoint: str
    """Directory of a checkpoint, or of several: then the newest readable one is used."""
    cleaning: tuple[str, ...] = ()
    """Cleaning steps of the training text, applied to the text of the request."""


class Generate(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="generate"):
    """Generate continuations of `prompt`."""

    precision: Precision = "auto"
    prompt: str
    sampling: Sampling = Sampling()
    texts: Annotated[int, Meta(ge=1, le=MAX_TEXTS)] = 1
    """Continuations (`num_return_sequences` in transformers). The i-th has seed `sampling.seed` + i."""
    logprobs: bool = False
    """Whether each TextDelta has the log-probabilities of its tokens."""

    # masked models only; refused for causal ones
    suffix: str = ""
    """Text after the generated part (infilling). Prompt, `sampling.tokens` tokens and suffix must fit one context."""
    order: UnmaskingOrder | None = None
    """Which masked positions are unmasked first; None: random."""
    denoising_steps: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Forward passes per block of text, at most one per position; None: `DENOISING_STEPS`."""
    denoising_states: bool = False
    """Whether to send a DenoisingState after each denoising step."""


class RankingRequest(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of requests for `texts` continuations of `prompt`, ranked by mean log-probability per token, in float32.

    Causal models only.
    """

    prompt: str
    sampling: Sampling = Sampling()
    texts: Annotated[int, Meta(ge=1, le=MAX_TEXTS)] = 4


class BestOfN(RankingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="best_of_n"):
    """Sample `texts` continuations as Generate does and rank them."""


class BeamSearch(RankingRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="beam_search"):
    """Search with `texts` beams (`core.sample.beam_search`).

    Of `sampling` only `tokens`, `stop_tokens` and `stop` apply.
    """


class Score(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="score"):
    """Compute the loss of `text` in float32, starting from an end-of-text token (`core.sample.score`)."""

    text: str
    each_token: bool = False
    """Whether to send the loss of each token. Causal models only."""


class InspectPrompt(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="inspect_prompt"):
    """Show each step of generating a continuation of `prompt`."""

    precision: Precision = "auto"
    prompt: str
    sampling: Sampling = Sampling(tokens=1)
    options: InspectOptions = InspectOptions()
    forced: tuple[Int64, ...] = ()
    """Ids of the first tokens, taken instead of the sampled ones, which use up their random numbers all the same."""


class InspectContext(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="inspect_context"):
    """Show how the model reads `prompt` and the generated tokens after it."""

    precision: Precision = "auto"
    prompt: str
    generated: tuple[Int64, ...] = ()
    """Ids of tokens after the prompt."""
    positions: Annotated[int, Meta(ge=1)] | None = None
    """Tokens in the context, the last ones: `LastLogits.position` of the next token. None: as many as fit."""
    options: InspectOptions = InspectOptions()


class InspectModel(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="inspect_model"):
    """Show the model's configuration and weights."""

    precision: Precision = "auto"


class TokenizeText(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="tokenize"):
    """Encode `text`. Nothing is downloaded: refused if the vocabulary is not on this machine."""

    vocabulary: VocabularyChoice
    text: Annotated[str, Meta(max_length=MAX_TEXT_LENGTH)]


class ReadBatch(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="read_batch"):
    """Show what a training step is trained on."""

    batch: BatchSource


class ScoreBatch(ModelRequest, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="score_batch"):
    """Compute the loss at each target of a training step under the weights of `checkpoint`."""

    batch: BatchSource


class Cancel(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cancel"):
    """Cancel request `id`, which ends with Finished(cancelled=True)."""


class Reply(Struct, frozen=True, kw_only=True):
    """Base of all replies."""

    id: Int64
    """The request's id; 0 for an invalid line without an id."""


class Loaded(Reply, frozen=True, kw_only=True, tag="loaded"):
    """The model is in memory and generation starts."""

    checkpoint: str
    """The directory it was loaded from."""
    step: Int64
    """The training step of the weights."""
    prompt_tokens: Int64
    dropped_tokens: Int64 = 0
    """Tokens at the start of the prompt that do not fit the context."""
    suffix_tokens: Int64 = 0
    dropped_suffix_tokens: Int64 = 0
    """Tokens at the end of the suffix that do not fit the context."""
    precision: str = ""
    """The number format of the weights and why it was chosen, as a sentence."""
    threads: Int64 = 0
    """CPU threads used."""
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that cannot be read, each with the reason."""
    changed_by: tuple[str, ...] = ()
    """Cleaning steps that changed the text of the request."""


class TextDelta(Reply, frozen=True, kw_only=True, tag="text"):
    """More text of one continuation, in whole characters."""

    text: str
    index: Int64 = 0
    """Which of the requested texts."""
    logprobs: tuple[float, ...] = ()
    """Log-probabilities (nats) of the tokens that complete this text, under the model before logits processors, if
    requested: one, or more if earlier tokens end within a character or at what may become a stop string. Of a masked
    model at the denoising step that unmasked the token."""


class Span(Struct, frozen=True, omit_defaults=True, rename={"masked": "hidden"}):
    """Part of a text that is being denoised: characters, or masked positions."""

    text: str = ""
    masked: Int64 = 0
    """Number of masked positions; `text` is empty then. A character of which bytes are missing counts as masked."""
    new: bool = False
    """Unmasked by the latest denoising step."""


class UnmaskedToken(Struct, frozen=True):
    """One token that a denoising step unmasked."""

    position: Int64
    """In the generated text, from 1."""
    token: TokenInfo
    probability: float
    """Before logits processors."""


class DenoisingState(Reply, frozen=True, kw_only=True, tag="denoising_state"):
    """The block that is being denoised, after one denoising step."""

    index: Int64 = 0
    """Which of the requested texts."""
    spans: list[Span]
    """What follows the TextDeltas so far, up to the end of the block or of the text. The last DenoisingState of a block
    shows the TextDelta that follows it, except for a possible start of a stop string, which waits for the next
    block."""
    tokens: Int64
    """Tokens of this text unmasked so far."""
    unmasked: list[UnmaskedToken] = []
    """The tokens that this step unmasked, in this order."""


class Inspected(Reply, frozen=True, kw_only=True, tag="inspected"):
    """One result of InspectPrompt, InspectContext or InspectModel."""

    result: AnyInspectResult


class Tokens(Reply, frozen=True, kw_only=True, tag="tokens"):
    """One result of TokenizeText, ReadBatch or ScoreBatch."""

    result: AnyTokenResult


class TextEnded(Reply, frozen=True, kw_only=True, tag="ended"):
    """One of the texts is complete."""

    index: Int64 = 0
    reason: FinishReason
    tokens: Int64
    """Tokens generated for it."""


class RankedText(Reply, frozen=True, kw_only=True, tag="ranked"):
    """One text of BestOfN or BeamSearch; the most likely first."""

    index: Int64
    text: str
    nats_per_token: float
    """Mean negative log-likelihood under the model, before logits processors."""
    tokens: Int64
    reason: FinishReason


class ScoreProgress(Reply, frozen=True, kw_only=True, tag="scoring"):
    """Progress of Score in tokens."""

    done: Int64
    total: Int64


class TokenLosses(Reply, frozen=True, kw_only=True, tag="token_losses"):
    """The loss of the next tokens of a text."""

    tokens: tuple[TokenInfo, ...]
    nats: tuple[float, ...]


class ScoreResult(Reply, frozen=True, kw_only=True, tag="scored"):
    """The loss of a text."""

    step: Int64
    """The training step of the weights."""
    nats: float
    """Negative log-likelihood of the whole text."""
    tokens: Int64
    bytes: Int64
    """Length in UTF-8."""
    bits_per_byte: float
    bound: bool
    """Whether `nats` is an estimate of the variational upper bound (NELBO), as for masked models."""
    short_context_tokens: Int64
    """Tokens at the start that were predicted from less than half a context."""


class Finished(Reply, frozen=True, kw_only=True, tag="finished"):
    """The last reply to a request that was completed or cancelled."""

    cancelled: bool = False
    tokens: Int64 = 0
    """Tokens generated, over all texts."""
    seconds: float = 0.0
    """Compute time of the request, without loading and other requests."""


class Refused(Reply, frozen=True, kw_only=True, tag="refused"):
    """The last reply to a request that failed. The process continues."""

    what: str
    where: str = ""
    todo: str = ""
    usage: bool = True
    """Whether the request is invalid; otherwise a retry may succeed."""


AnyModelRequest = Generate | BestOfN | BeamSearch | Score | InspectPrompt | InspectContext | InspectModel | ScoreBatch
AnyTask = AnyModelRequest | TokenizeText | ReadBatch
AnyRequest = AnyTask | Cancel
AnyReply = (
    Loaded
    | TextDelta
    | DenoisingState
    | TextEnded
    | RankedText
    | ScoreProgress
    | TokenLosses
    | ScoreResult
    | Inspected
    | Tokens
    | Finished
    | Refused
)

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(AnyRequest).decode
decode_reply = msgspec.json.Decoder(AnyReply).decode
