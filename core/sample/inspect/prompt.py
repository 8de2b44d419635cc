"""A prompt, what the model makes of it and how it goes on, seen from inside as it happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.errors import UsageError
from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample.inspect import activations, generation_steps
from core.sample.inspect.figures import guesses, number, numbers, rank, told
from core.sample.inspect.next_token import Ahead, Uncovering, visible
from core.sample.inspect.token_losses import surprises
from core.sample.inspect_protocol import TEXT, Appended, Attention, Head, Lens, Sights, View
from core.sample.logits_processors import Chain
from core.sample.stream import Written
from core.tokenize.vocabulary import Vocabulary

DIGITS = 6
"""Of a weight of attention, behind the point."""


class InspectRequestError(UsageError):
    doing = "look into the model"


def look(
    model: GPT, vocabulary: Vocabulary, prompt: Sequence[int], sampling: Sampling, view: View, *, dropped: int = 0
) -> Iterator[Sights | None]:
    """How `prompt`, at least one id, is continued by up to `sampling.tokens` tokens; None after work with no result.

    dropped: tokens that came before the prompt and have been left out already.

    Of a causal model these are the tokens that `generate` draws with the same seed. A masked model uncovers one place
    after the other, from left to right. Nothing is changed, neither the model nor torch's global random state. Raises
    InspectRequestError, SamplingSettingError, and LogitsError where what is drawn from is not finite, once the matrix
    of outputs is told.
    """
    _check(view.attention, model.config)
    ids = visible(model, prompt)
    text = ids if model.mask_token_id is None else ids[:-1]
    chain = Chain(sampling, model.vocab_size, prompt=text)
    yield generation_steps.tokens(model, vocabulary, ids, dropped + len(prompt) - len(text))
    yield generation_steps.outputs(model, vocabulary, ids, view)
    if view.surprise and text:
        yield from surprises(model, vocabulary, text)
    ahead = (Ahead if model.mask_token_id is None else Uncovering)(model, text)
    written = Written(vocabulary, sampling)
    for step in range(1, sampling.tokens + 1):
        yield generation_steps.last_row(ahead.scores, len(ahead.ids), step, view)
        draw = generation_steps.Draw(ahead.scores, chain, step)
        yield draw.probabilities(vocabulary, view)
        yield draw.choice(vocabulary)
        yield from _layers(model, vocabulary, ahead.ids, draw.token, step, view)
        characters, reason = written.take(draw.token)
        yield Appended(
            step=step,
            token=told(vocabulary, draw.token),
            text=characters[:TEXT],
            length=dropped + len(prompt) + step,
            reason=reason,
        )
        if reason is not None:
            return
        ahead.read(draw.token)


def _check(heads: Sequence[Head], shape: Model) -> None:
    for head in heads:
        if head.layer > shape.n_layer:
            raise InspectRequestError(
                f"there is no layer {head.layer}", todo=f"this model has the layers 1 to {shape.n_layer}"
            )
        if head.head is not None and head.head > shape.n_head:
            raise InspectRequestError(
                f"there is no head {head.head}", todo=f"this model has the heads 1 to {shape.n_head}"
            )


def _layers(
    model: GPT, vocabulary: Vocabulary, ids: Sequence[int], taken: int, step: int, view: View
) -> Iterator[Lens | Attention | None]:
    """What each layer would have said of the token that was taken, and what its heads looked at."""
    if not (view.lens or view.attention):
        return
    wanted: dict[int, set[int]] = {}
    for head in view.attention:
        every = range(1, model.config.n_head + 1)
        wanted.setdefault(head.layer, set()).update(every if head.head is None else (head.head,))
    deepest = model.config.n_layer if view.lens else max(wanted)
    for layer in activations.layers(model, ids):
        if view.lens:
            scores = activations.would_say(model, layer)
            yield Lens(
                step=step,
                layer=layer.number,
                guesses=tuple(guesses(vocabulary, scores, view.guesses)),
                probability=number(scores.softmax(-1)[taken]),
                rank=rank(scores, taken),
            )
        if heads := wanted.get(layer.number):
            yield from _attention(model, layer, sorted(heads), step, view)
        yield None
        if layer.number == deepest:
            return


def _attention(
    model: GPT, layer: activations.Layer, heads: Sequence[int], step: int, view: View
) -> Iterator[Attention]:
    weights = activations.attention(model, layer, view.places if step == 1 else 1)
    first = max(0, weights.shape[2] - view.places)
    for head in heads:
        found = weights[head - 1]
        yield Attention(
            step=step,
            layer=layer.number,
            head=head,
            first=first + 1,
            weights=tuple(numbers(row, DIGITS) for row in found[:, first:]),
            before=numbers(found[:, :first].sum(-1), DIGITS),
        )
