"""What the sampler process answers: a generator for each kind of request.

It yields replies, and None after a token that says nothing yet: between any two yields others get their turn, and it
can be closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.sample.denoise import LOOKS, Unmasking
from core.sample.generate import visible
from core.sample.models import Models
from core.sample.protocol import Ended, Generate, Loaded, Questions, Replies, State, Text
from core.sample.texts import start
from core.sample.writer import End, Uncovered, pieces
from core.tokenize.vocabulary import Vocabulary

Answer = Iterator[Replies | None]


def generated(request: Generate, models: Models) -> Answer:
    model = models.get(Path(request.checkpoint), request.precision)
    prompt, way = start(model.vocabulary, request.prompt), _unmasking(request, model.vocabulary)
    suffix = () if way is None else way.suffix
    before, behind = visible(model.gpt, prompt, request.sampling.tokens, way)
    yield Loaded(
        id=request.id,
        checkpoint=str(model.checkpoint),
        step=model.step,
        prompt_tokens=len(prompt),
        dropped_tokens=len(prompt) - len(before),
        suffix_tokens=len(suffix),
        dropped_suffix_tokens=len(suffix) - len(behind),
        precision=model.precision,
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


def _unmasking(request: Generate, vocabulary: Vocabulary) -> Unmasking | None:
    """What the request says of it; None where it says nothing."""
    if not (request.suffix or request.order or request.looks or request.states):
        return None
    return Unmasking(vocabulary.encode(request.suffix), request.order or "random", request.looks or LOOKS)


def answer(request: Questions, models: Models) -> Answer:
    """The replies to `request`, but for the last. Raises Trouble."""
    return generated(request, models)
