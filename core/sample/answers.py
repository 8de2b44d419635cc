"""What the sampler process answers: a generator for each kind of request.

It yields replies, and None after a token that says nothing yet: between any two yields others get their turn, and it
can be closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from core.sample.denoise import LOOKS, Unmasking
from core.sample.generate import visible
from core.sample.models import Models
from core.sample.prompts import read, read_prompt
from core.sample.protocol import Ended, Generate, Loaded, Questions, Replies, State, Text
from core.sample.writer import End, Uncovered, pieces

Answer = Iterator[Replies | None]


def generated(request: Generate, models: Models) -> Answer:
    model, passed_over = yield from models.get(Path(request.checkpoint), request.precision)
    most = model.gpt.shape.block_size
    prompt, count = yield from read_prompt(model.vocabulary, request.prompt, most)
    suffix, behind = yield from read(model.vocabulary, request.suffix, most, beginning=True)
    way = _unmasking(request, suffix)
    seen, seen_behind = visible(model.gpt, prompt, request.sampling.tokens, way)
    yield Loaded(
        id=request.id,
        checkpoint=str(model.checkpoint),
        step=model.step,
        prompt_tokens=count,
        dropped_tokens=count - len(seen),
        suffix_tokens=behind,
        dropped_suffix_tokens=behind - len(seen_behind),
        precision=model.precision,
        threads=torch.get_num_threads(),
        passed_over=passed_over,
    )
    made = pieces(
        model.gpt,
        model.vocabulary,
        prompt,
        request.sampling,
        texts=request.texts,
        unmasking=way,
        states=request.states,
    )
    masked, held = model.gpt.mask is not None, ""
    for piece in made:
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


def answer(request: Questions, models: Models) -> Answer:
    """The replies to `request`, but for the last. Raises Trouble."""
    return generated(request, models)
