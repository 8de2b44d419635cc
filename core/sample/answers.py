"""What the sampler process answers: a generator for each kind of request.

It yields replies, and None after a token that says nothing yet: between any two yields others get their turn, and it
can be closed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch

from core.model.cost import Cost
from core.sample.beams import ensure_causal
from core.sample.generate import seen
from core.sample.likeliest import best_drawn, best_of_beams
from core.sample.models import Found, Models
from core.sample.protocol import (
    Ended,
    Generate,
    Likeliest,
    Loaded,
    Questions,
    Ranked,
    Replies,
    Score,
    Scored,
    Scoring,
    Text,
)
from core.sample.score import few_before, parts
from core.sample.writer import Piece, pieces
from core.tokenize.vocabulary import Vocabulary, cut, whole
from core.trouble import Usage

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


class NoText(Usage):
    doing = "score the text"


def generated(request: Generate, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    model = found.model
    most = seen(model.gpt, request.sampling.tokens)
    prompt, count = yield from read(model.vocabulary, request.prompt, most)
    yield _loaded(request.id, found, count, dropped=count - len(prompt))
    for piece in pieces(model.gpt, model.vocabulary, prompt, request.sampling, texts=request.texts):
        if piece.characters:
            yield Text(id=request.id, index=piece.text, text=piece.characters)
        if isinstance(piece, Piece):
            yield None
        else:
            yield Ended(id=request.id, index=piece.text, reason=piece.reason, tokens=piece.tokens)


def ranked(request: Likeliest, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), "float32")
    model = found.model
    ensure_causal(model.gpt)
    prompt, count = yield from read(model.vocabulary, request.prompt, seen(model.gpt, request.sampling.tokens))
    yield _loaded(request.id, found, count, dropped=count - len(prompt))
    ranking = {"drawn": best_drawn, "beams": best_of_beams}[request.kind]
    texts = yield from ranking(model.gpt, model.vocabulary, prompt, request.sampling, request.texts)
    for index, (text, nats, tokens, reason) in enumerate(texts):
        yield Ranked(id=request.id, index=index, text=text, nats_per_token=nats, tokens=tokens, reason=reason)


def scored(request: Score, models: Models) -> Answer:
    if not request.text:
        raise NoText("there is nothing in it")
    found = yield from models.get(Path(request.checkpoint), "float32")
    model, size = found.model, len(whole(request.text).encode())
    ids, total = yield from read(model.vocabulary, request.text, size)
    yield _loaded(request.id, found, total)
    nats, done = 0.0, 0
    for part in parts(model.gpt, [model.vocabulary.end_of_text, *ids]):
        nats, done = nats + part.nats, done + part.tokens
        yield Scoring(id=request.id, done=done, total=total)
    cost = Cost(nats, total, size, bound=model.gpt.mask is not None)
    yield Scored(
        id=request.id,
        step=model.step,
        nats=nats,
        tokens=total,
        bytes=size,
        bits_per_byte=cost.bits_per_byte,
        bound=cost.bound,
        few_before=few_before(model.gpt, total),
    )


def _loaded(request: int, found: Found, tokens: int, dropped: int = 0) -> Loaded:
    return Loaded(
        id=request,
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
        case Generate():
            return generated(request, models)
        case Likeliest():
            return ranked(request, models)
        case Score():
            return scored(request, models)
