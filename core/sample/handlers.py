"""What the inference process answers: a generator for each kind of request.

It yields replies, and None after a token that says nothing yet: between any two yields others get their turn, and it
can be closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace

from core.errors import UsageError
from core.model.cost import Cost
from core.preprocess.steps import clean_prompt
from core.sample.beams import ensure_causal
from core.sample.diffusion import LOOKS, Unmasking
from core.sample.generate import seen, visible
from core.sample.inspect.prompt import look
from core.sample.inspect.weights import describe
from core.sample.inspect_protocol import Appended
from core.sample.models import Found, Models, ensure_room
from core.sample.prompts import read, read_prompt
from core.sample.protocol import (
    Describe,
    Ended,
    Generate,
    Likeliest,
    Loaded,
    Look,
    Question,
    Questions,
    Ranked,
    Replies,
    Score,
    Scored,
    Scoring,
    Seen,
    State,
    Text,
)
from core.sample.rerank import best_drawn, best_of_beams
from core.sample.score import few_before, parts
from core.sample.stream import End, Uncovered, pieces
from core.tokenize.vocabulary import whole

Answer = Iterator[Replies | None]


class EmptyTextError(UsageError):
    doing = "score the text"


def generated(request: Generate, models: Models) -> Answer:
    # 16 bits are slower than float32 for several texts (`core.sample.precision`)
    several = request.precision == "auto" and request.texts > 2
    found = yield from models.get(Path(request.checkpoint), "float32" if several else request.precision)
    model = found.model
    ensure_room(model.gpt, request.texts)
    most = model.gpt.config.block_size
    text, changed = clean_prompt(whole(request.prompt), request.cleaning)
    rest, changed_too = clean_prompt(whole(request.suffix), request.cleaning)
    prompt, count = yield from read_prompt(model.vocabulary, text, most)
    suffix, behind = yield from read(model.vocabulary, rest, most, beginning=True)
    way = _unmasking(request, suffix.tolist())
    before, seen_behind = visible(model.gpt, prompt, request.sampling.tokens, way)
    changed = tuple(dict.fromkeys(changed + changed_too))
    loaded = _loaded(request, found, count, dropped=count - len(before), changed=changed)
    yield replace(loaded, suffix_tokens=behind, dropped_suffix_tokens=behind - len(seen_behind))
    made = pieces(
        model.gpt,
        model.vocabulary,
        prompt,
        request.sampling,
        texts=request.texts,
        unmasking=way,
        states=request.states,
    )
    masked, held = model.gpt.mask_token_id is not None, ""
    for piece in made:
        if piece is None:
            yield None
            continue
        done = not masked or isinstance(piece, Uncovered | End)  # of a stretch, all tokens are there at once: one Text
        held += "" if isinstance(piece, Uncovered) else piece.characters
        if held and done:
            yield Text(id=request.id, index=piece.text, text=held)
            held = ""
        match piece:
            case End():
                yield Ended(id=request.id, index=piece.text, reason=piece.reason, tokens=piece.tokens)
            case Uncovered() if request.states:
                yield State(id=request.id, index=piece.text, spans=piece.spans, tokens=piece.tokens)
            case _:
                yield None


def _unmasking(request: Generate, suffix: list[int]) -> Unmasking | None:
    """What the request says of it; None where it says nothing."""
    if not (request.suffix or request.order or request.looks or request.states):
        return None
    return Unmasking(suffix, request.order or "random", request.looks or LOOKS)


def ranked(request: Likeliest, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), "float32")
    model = found.model
    ensure_causal(model.gpt)
    ensure_room(model.gpt, request.texts)
    text, changed = clean_prompt(whole(request.prompt), request.cleaning)
    prompt, count = yield from read_prompt(model.vocabulary, text, model.gpt.config.block_size)
    yield _loaded(request, found, count, dropped=count - len(prompt), changed=changed)
    ranking = {"drawn": best_drawn, "beams": best_of_beams}[request.kind]
    texts = yield from ranking(model.gpt, model.vocabulary, prompt, request.sampling, request.texts)
    for index, (text, nats, tokens, reason) in enumerate(texts):
        yield Ranked(id=request.id, index=index, text=text, nats_per_token=nats, tokens=tokens, reason=reason)


def scored(request: Score, models: Models) -> Answer:
    if not request.text:
        raise EmptyTextError("there is nothing in it")
    found = yield from models.get(Path(request.checkpoint), "float32")
    text, changed = clean_prompt(whole(request.text), request.cleaning)
    if not text:
        raise EmptyTextError("the cleaning of the training text leaves nothing of it")
    model, size = found.model, len(text.encode())
    ids, total = yield from read(model.vocabulary, text, size)
    yield _loaded(request, found, total, changed=changed)
    nats, done = 0.0, 0
    for part in parts(model.gpt, np.concatenate([[model.vocabulary.end_of_text], ids])):
        nats, done = nats + part.nats, done + part.tokens
        yield Scoring(id=request.id, done=done, total=total)
    cost = Cost(nats, total, size, bound=model.gpt.mask_token_id is not None)
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


def looked(request: Look, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    model = found.model
    text, changed = clean_prompt(whole(request.prompt), request.cleaning)
    prompt, count = yield from read_prompt(model.vocabulary, text, max(1, seen(model.gpt, 1)))
    yield _loaded(request, found, count, count - len(prompt), changed)
    sights = look(model.gpt, model.vocabulary, prompt, request.sampling, request.view, dropped=count - len(prompt))
    for sight in sights:
        yield None if sight is None else Seen(id=request.id, sight=sight)
        if isinstance(sight, Appended) and sight.reason is not None:
            yield Ended(id=request.id, reason=sight.reason, tokens=sight.step)


def described(request: Describe, models: Models) -> Answer:
    found = yield from models.get(Path(request.checkpoint), request.precision)
    yield _loaded(request, found)
    for sight in describe(found.model.gpt):
        yield Seen(id=request.id, sight=sight)


def _loaded(
    request: Question, found: Found, tokens: int = 0, dropped: int = 0, changed: tuple[str, ...] = ()
) -> Loaded:
    return Loaded(
        id=request.id,
        checkpoint=str(found.model.checkpoint),
        step=found.model.step,
        prompt_tokens=tokens,
        dropped_tokens=dropped,
        precision=found.model.precision,
        threads=torch.get_num_threads(),
        passed_over=found.passed_over,
        changed_by=changed,
    )


def answer(request: Questions, models: Models) -> Answer:
    """The replies to `request`, but for the last. Raises LlmtuiError."""
    match request:
        case Generate():
            return generated(request, models)
        case Likeliest():
            return ranked(request, models)
        case Score():
            return scored(request, models)
        case Look():
            return looked(request, models)
        case Describe():
            return described(request, models)
