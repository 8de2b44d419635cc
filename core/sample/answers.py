"""What the sampler process answers: a generator for each kind of request.

It yields replies, and None after a token that says nothing yet: between any two yields others get their turn, and it
can be closed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch

from core.sample.generate import seen
from core.sample.models import Found, Models
from core.sample.protocol import Asked, Describe, Ended, Generate, Loaded, Look, Questions, Replies, Seen, Text
from core.sample.sights import Appended
from core.sample.writer import Piece, pieces
from core.sample.xray.look import look
from core.sample.xray.picture import describe
from core.tokenize.vocabulary import Vocabulary, cut, whole

Answer = Iterator[Replies | None]


def read(vocabulary: Vocabulary, text: str, most: int) -> Generator[None, None, tuple[list[int], int]]:
    """The last `most` ids of `text`, and how many it has. Others may go on after each part of it.

    An empty text is an end-of-text mark, behind which a new document begins.
    """
    count, tail = 0, np.empty(0, np.uint32)
    for chunk in cut(whole(text)):
        ids = vocabulary.encode_chunk(chunk)
        count, tail = count + len(ids), np.concatenate([tail, ids])[-most:]
        yield
    return (tail.tolist(), count) if count else ([vocabulary.end_of_text], 1)


def generated(request: Generate, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    model, most = found.model, seen(found.model.gpt, request.sampling.tokens)
    prompt, count = yield from read(model.vocabulary, request.prompt, most)
    yield _loaded(request, found, count, count - len(prompt))
    for piece in pieces(model.gpt, model.vocabulary, prompt, request.sampling, texts=request.texts):
        if piece.characters:
            yield Text(id=request.id, index=piece.text, text=piece.characters)
        if isinstance(piece, Piece):
            yield None
        else:
            yield Ended(id=request.id, index=piece.text, reason=piece.reason, tokens=piece.tokens)


def looked(request: Look, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    model = found.model
    prompt, count = yield from read(model.vocabulary, request.prompt, max(1, seen(model.gpt, 1)))
    yield _loaded(request, found, count, count - len(prompt))
    sights = look(model.gpt, model.vocabulary, prompt, request.sampling, request.view, dropped=count - len(prompt))
    for sight in sights:
        yield None if sight is None else Seen(id=request.id, sight=sight)
        if isinstance(sight, Appended) and sight.reason is not None:
            yield Ended(id=request.id, reason=sight.reason, tokens=sight.step)


def described(request: Describe, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    yield _loaded(request, found, 0, 0)
    for sight in describe(found.model.gpt):
        yield Seen(id=request.id, sight=sight)


def _loaded(request: Asked, found: Found, tokens: int, dropped: int) -> Loaded:
    return Loaded(
        id=request.id,
        checkpoint=str(found.model.checkpoint),
        step=found.model.step,
        prompt_tokens=tokens,
        dropped_tokens=dropped,
        precision=found.model.precision,
        threads=torch.get_num_threads(),
        passed_over=found.passed_over,
    )


def answer(request: Questions, models: Models) -> Answer:
    """The replies to `request`, but for the last. Raises Trouble."""
    match request:
        case Look():
            return looked(request, models)
        case Describe():
            return described(request, models)
    return generated(request, models)
