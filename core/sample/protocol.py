"""What the sampler process and whoever asks it say to each other: JSON lines over standard input and output.

The asker may send any number of requests, each with an id of its own, and need not wait: those at work take turns,
token by token. Each is answered by any number of replies with its id and at last by Finished or Refused.

    Generate → Loaded, then Text as it comes, an Ended for each text, Finished
    Look     → Loaded, then what is seen, as `core.sample.sights` says, Ended, Finished
    Describe → Loaded, then what is seen, Finished
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from core.sample.sights import Sights, View
from core.sampling import Precision, Sampling

LONGEST = 2**26
"""Bytes of a line: a longer request is refused, a longer reply is none."""
AT_ONCE = 64
"""Requests answered at the same time; another one is refused."""


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request says."""

    id: int


class Asked(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request to a model."""

    checkpoint: str
    """The directory of a checkpoint, or one that holds them: then the newest in it that can be read."""
    precision: Precision = "auto"


class Generate(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="generate"):
    """Continue `prompt`."""

    prompt: str
    sampling: Sampling = Sampling()
    texts: Annotated[int, Meta(ge=1, le=64)] = 1
    """So many continuations, each with a seed one above the one before, all from one look at the prompt."""


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
    """The request's; 0 where a line was no request."""


class Loaded(Reply, frozen=True, kw_only=True, tag="loaded"):
    """The model is in memory and begins."""

    checkpoint: str
    """The directory it was loaded from."""
    step: int
    """The training step of the weights."""
    prompt_tokens: int
    dropped_tokens: int = 0
    """Tokens at the prompt's beginning that do not fit the context."""
    precision: str = ""
    """The numbers the weights are kept in, and why, in words."""
    threads: int = 0
    """Processor cores it computes on at most."""
    passed_over: tuple[str, ...] = ()
    """Newer checkpoints that cannot be read, each with what is wrong with it."""


class Text(Reply, frozen=True, kw_only=True, tag="text"):
    """More of one text: whole characters only."""

    text: str
    index: int = 0
    """Which of the texts that were asked for."""


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


Questions = Generate | Look | Describe
Requests = Questions | Cancel
Replies = Loaded | Text | Seen | Ended | Finished | Refused

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Requests).decode
decode_reply = msgspec.json.Decoder(Replies).decode
