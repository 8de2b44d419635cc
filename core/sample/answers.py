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
from core.sample.models import Models
from core.sample.protocol import Ended, Generate, Loaded, Questions, Replies, Text
from core.sample.writer import Piece, pieces
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
    model, passed_over = yield from models.get(Path(request.checkpoint), request.precision)
    most = seen(model.gpt, request.sampling.tokens)
    prompt, count = yield from read(model.vocabulary, request.prompt, most)
    yield Loaded(
        id=request.id,
        checkpoint=str(model.checkpoint),
        step=model.step,
        prompt_tokens=count,
        dropped_tokens=count - len(prompt),
        precision=model.precision,
        threads=torch.get_num_threads(),
        passed_over=passed_over,
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
