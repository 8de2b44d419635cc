"""What the inference process and whoever asks it say to each other: JSON lines over standard input and output.

The asker may send any number of requests, each with an id of its own, and need not wait: those at work take turns,
token by token. Each is answered by any number of replies with its id and at last by Finished or Refused.

    Generate → Loaded, then Text as it comes, an Ended for each text, Finished
               of a masked model Text whenever a stretch is complete, where wanted a State before it for each look
    Likeliest → Loaded, then a Ranked for each text, Finished
    Score → Loaded, Scoring as it goes on, Scored, Finished
    Look → Loaded, then what is seen, as `core.sample.inspect_protocol` says, Ended, Finished
    Describe → Loaded, then what is seen, Finished
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from core.recipe.sampling import Order, Precision, Sampling
from core.sample.inspect_protocol import Sights, View

LONGEST = 2**26
"""Bytes of a line: a longer request is refused, a longer reply is none."""
AT_ONCE = 64
"""Requests answered at the same time; another one is refused."""


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request says."""

    id: int


class Question(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request to a model."""

    checkpoint: str
    """The directory of a checkpoint, or one that holds them: then the newest in it that can be read."""
    cleaning: tuple[str, ...] = ()
    """Steps by which the training text was cleaned: the text of the request is written in the same way."""


class Asked(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One to which the model may answer in other numbers than float32."""

    precision: Precision = "auto"


class Generate(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="generate"):
    """Continue `prompt`."""

    prompt: str
    sampling: Sampling = Sampling()
    texts: Annotated[int, Meta(ge=1, le=64)] = 1
    """So many continuations, each with a seed one above the one before, all from one look at the prompt."""

    # what only a masked model can do; refused with any other
    suffix: str = ""
    """What follows the texts: they fill the middle, `sampling.tokens` long, and all has to fit one context."""
    order: Order | None = None
    """Which places are uncovered first; None: at random."""
    looks: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """How often the model looks at a stretch of text that fits its context, at most once for each place; None: 64."""
    states: bool = False
    """A State after each look is wanted."""


class Likeliest(Question, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="likeliest"):
    """Continue `prompt` with the texts that the model, which is causal, finds likeliest per token, in float32.

    drawn: `texts` are drawn as Generate does and ranked; beams: so many beams look for them, for which of `sampling`
    only length, stop tokens and stop strings count (`core.sample.beams`).
    """

    prompt: str
    kind: Literal["drawn", "beams"]
    sampling: Sampling = Sampling()
    texts: Annotated[int, Meta(ge=1, le=64)] = 4


class Score(Question, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="score"):
    """Say what `text` costs under a model, in float32, from an end-of-text mark on (`core.sample.score`)."""

    text: str


class Look(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="look"):
    """Show how `prompt` is continued."""

    prompt: str
    sampling: Sampling = Sampling(tokens=1)
    view: View = View()


class Describe(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="describe"):
    """Show what the model is made of."""


class Cancel(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cancel"):
    """Stop answering `id`; it ends with Finished(cancelled)."""


class Reply(Struct, frozen=True, kw_only=True):
    """What every reply says."""

    id: int
    """The request's; 0 where a line was no request and no id was found in it."""


class Loaded(Reply, frozen=True, kw_only=True, tag="loaded"):
    """The model is in memory and begins."""

    checkpoint: str
    """The directory it was loaded from."""
    step: int
    """The training step of the weights."""
    prompt_tokens: int
    dropped_tokens: int = 0
    """Tokens at the prompt's beginning that do not fit the context."""
    suffix_tokens: int = 0
    dropped_suffix_tokens: int = 0
    """Tokens at the suffix's end that do not fit."""
    precision: str = ""
    """The numbers the weights are kept in, and why, in words."""
    threads: int = 0
    """Processor cores it computes on at most."""
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that cannot be read, each with what is wrong with it."""
    changed_by: tuple[str, ...] = ()
    """Cleaning steps that changed the text of the request."""


class Text(Reply, frozen=True, kw_only=True, tag="text"):
    """More of one text: whole characters only."""

    text: str
    index: int = 0
    """Which of the texts that were asked for."""


class Span(Struct, frozen=True, omit_defaults=True):
    """Part of a text that is being uncovered: characters, or hidden places."""

    text: str = ""
    hidden: int = 0
    """So many places; then `text` is empty. A character that is uncovered only in part is hidden."""
    new: bool = False
    """The latest look has uncovered it."""


class State(Reply, frozen=True, kw_only=True, tag="state"):
    """A masked model has looked once more at the stretch it is uncovering."""

    index: int = 0
    spans: list[Span]
    """What follows the Text so far, up to the end of the stretch, or to where the text is sure to end. The last State
    before a Text shows what it brings, but for a beginning of a stop string, which waits for the next stretch."""
    tokens: int
    """Uncovered of this text so far."""


class Seen(Reply, frozen=True, kw_only=True, tag="seen"):
    """Something of the model at work."""

    sight: Sights


class Ended(Reply, frozen=True, kw_only=True, tag="ended"):
    """One of the texts is complete."""

    index: int = 0
    reason: Literal["length", "end", "stop"]
    """It has all its tokens; an end-of-text mark or a stop token came; a stop string came."""
    tokens: int
    """Drawn for it."""


class Ranked(Reply, frozen=True, kw_only=True, tag="ranked"):
    """One of the likeliest texts; the likeliest comes first."""

    index: int
    text: str
    nats_per_token: float
    """Minus the logarithm of its probability; samplers change nothing in it."""
    tokens: int
    reason: Literal["length", "end", "stop"]


class Scoring(Reply, frozen=True, kw_only=True, tag="scoring"):
    """How far the scoring is, in tokens."""

    done: int
    total: int


class Scored(Reply, frozen=True, kw_only=True, tag="scored"):
    """What a text costs."""

    step: int
    """The training step of the weights."""
    nats: float
    tokens: int
    bytes: int
    """Of its UTF-8."""
    bits_per_byte: float
    bound: bool
    """Whether it costs at most so much: an estimate of the bound that masked models have."""
    few_before: int
    """Tokens at its beginning that were predicted from less than half a context."""


class Finished(Reply, frozen=True, kw_only=True, tag="finished"):
    """All that was asked for is there, or it was cancelled."""

    cancelled: bool = False
    tokens: int = 0
    """Drawn, in all texts."""
    seconds: float = 0.0
    """Of work on them, loading and other requests left out."""


class Refused(Reply, frozen=True, kw_only=True, tag="refused"):
    """It cannot be done; the process goes on."""

    what: str
    where: str = ""
    todo: str = ""
    usage: bool = True
    """Whether the request is at fault; otherwise the same may be answered another time."""


Questions = Generate | Likeliest | Score | Look | Describe
Requests = Questions | Cancel
Replies = Loaded | Text | State | Ended | Ranked | Scoring | Scored | Seen | Finished | Refused

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Requests).decode
decode_reply = msgspec.json.Decoder(Replies).decode
