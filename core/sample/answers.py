"""What the sampler process answers: a generator for each kind of request.

It yields replies, and None after a token that says nothing yet: between any two yields others get their turn, and it
can be closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.sample.generate import seen
from core.sample.models import Models
from core.sample.protocol import Ended, Generate, Loaded, Questions, Replies, Text
from core.sample.texts import start
from core.sample.writer import Piece, pieces

Answer = Iterator[Replies | None]


def generated(request: Generate, models: Models) -> Answer:
    model = models.get(Path(request.checkpoint), request.precision)
    prompt = start(model.vocabulary, request.prompt)
    yield Loaded(
        id=request.id,
        checkpoint=str(model.checkpoint),
        step=model.step,
        prompt_tokens=len(prompt),
        dropped_tokens=max(0, len(prompt) - seen(model.gpt, request.sampling.tokens)),
        precision=model.precision,
    )
    for piece in pieces(model.gpt, model.vocabulary, prompt, request.sampling, texts=request.texts):
        if piece.characters:
            yield Text(id=request.id, index=piece.text, text=piece.characters)
        if isinstance(piece, Piece):
            yield None
        else:
            yield Ended(id=request.id, index=piece.text, reason=piece.reason, tokens=piece.tokens)


def answer(request: Questions, models: Models) -> Answer:
    """The replies to `request`, but for the last. Raises Trouble."""
    return generated(request, models)
