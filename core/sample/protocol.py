"""What the sampler process and whoever asks it say to each other: JSON lines over standard input and output.

The asker may send any number of `Generate`; they are answered one after the other. Each is answered by `Loaded`,
any number of `Text`, and one `Finished` or `Refused`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct


class Generate(Struct, frozen=True, kw_only=True, tag="generate"):
    """Continue `prompt` with the model in the directory `checkpoint`."""

    id: int
    checkpoint: str
    prompt: str
    tokens: Annotated[int, Meta(ge=1)] = 200
    """At most so many; the end-of-text mark ends it earlier."""
    temperature: Annotated[float, Meta(ge=0)] = 0.8
    top_k: Annotated[int, Meta(ge=0)] = 50
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    seed: int = 1


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel"):
    """Stop answering `id`; it ends with `Finished(reason="cancelled")`."""

    id: int


class Loaded(Struct, frozen=True, kw_only=True, tag="loaded"):
    id: int
    step: int
    """The training step of the weights."""
    prompt_tokens: int
    dropped_tokens: int = 0
    """Tokens at the prompt's beginning that do not fit the context."""


class Text(Struct, frozen=True, kw_only=True, tag="text"):
    """More text: whole characters only."""

    id: int
    text: str


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    id: int
    reason: Literal["length", "end", "cancelled"]
    tokens: int
    seconds: float
    """From the first token's start, loading left out."""


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """It cannot be done; the process goes on."""

    id: int
    what: str
    todo: str = ""


Request = Generate | Cancel
Reply = Loaded | Text | Finished | Refused

encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_reply = msgspec.json.Decoder(Reply).decode
