"""A model goes on from a prompt: a causal one token by token, a masked one as `core.sample.diffusion` says."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from core.errors import UsageError
from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.sample.diffusion import Stretch, Unmasking, around, denoise, room
from core.sample.kv_decoder import Reader
from core.sample.logits_processors import Chain

Ids = Generator[tuple[int, int | Stretch] | None, bool | None, None]
"""Yields (text, token); None while a long text is read; of masked models (text, Stretch) for each look at what they are
uncovering, whose tokens follow when all of it is there. True sent in says that the text of the last token has ended."""


class MaskedOnlyError(UsageError):
    """A causal model was asked for what it cannot do."""

    doing = "draw text"


def generate(
    model: GPT, prompt: Sequence[int], sampling: Sampling, *, texts: int = 1, unmasking: Unmasking | None = None
) -> Ids:
    """Yield up to `sampling.tokens` token ids for each of `texts` texts that continue `prompt`, which has at least one.

    unmasking: how a masked model does it, and with what behind the texts. What is seen of it all, and what is raised,
    is as `visible` says.

    Text number i is the one that alone would have come of the seed plus i, whatever runs beside it; dropout is off and
    torch's global random state is not touched. Raises SamplingSettingError, and LogitsError when the model's output
    is not finite.
    """
    prompt, suffix = visible(model, prompt, sampling.tokens, unmasking)
    chains = [Chain(sampling, model.vocab_size, prompt=(*prompt, *suffix), stream=text) for text in range(texts)]
    if model.mask_token_id is None:
        return _together(model, prompt, chains, sampling.tokens)
    return _in_turn(model, prompt, chains, sampling.tokens, (unmasking or Unmasking())._replace(suffix=suffix))


def seen(model: GPT, tokens: int) -> int:
    """How many tokens of a prompt the model sees at the beginning when it has to write `tokens` more."""
    return model.config.block_size if model.mask_token_id is None else room(model, tokens)


def visible(
    model: GPT, prompt: Sequence[int], tokens: int, unmasking: Unmasking | None = None
) -> tuple[Sequence[int], Sequence[int]]:
    """What the model sees of `prompt`, its end, and of the suffix, its beginning, when it has to write `tokens`.

    Raises MaskedOnlyError, and ContextLengthError when `tokens` fill a context that has to hold a suffix, too.
    """
    if model.mask_token_id is None and unmasking is not None:
        raise MaskedOnlyError(
            "this model is causal, and only a masked model can fill a middle or uncover its text in another order",
            todo="leave out suffix, order, looks and states, or train with model.objective = masked",
        )
    if unmasking is not None and unmasking.suffix:
        return around(model, prompt, unmasking.suffix, tokens)
    return prompt[max(0, len(prompt) - seen(model, tokens)) :], ()


def _together(model: GPT, prompt: Sequence[int], chains: list[Chain], tokens: int) -> Ids:
    """The prompt is read once; then each look of the model gives a token of every text that has not ended."""
    alive = list(range(len(chains)))
    reader = yield from Reader.in_pieces(model, prompt)
    reader.choose([0] * len(alive))
    for number in range(tokens):
        drawn, rows = [], []
        for row, text in enumerate(alive):
            token = chains[text].draw(reader.scores[row])
            if not (yield text, token):
                drawn.append(token)
                rows.append(row)
        if not rows or number == tokens - 1:
            return
        alive = [alive[row] for row in rows]
        reader.choose(rows)
        yield from reader.reading(drawn)


def _in_turn(model: GPT, prompt: Sequence[int], chains: list[Chain], tokens: int, way: Unmasking) -> Ids:
    for text, chain in enumerate(chains):
        over: bool | None = None
        for stretch in denoise(model, prompt, chain, tokens=tokens, way=way):
            yield text, stretch
            written = [token for token in stretch.ids if token is not None]
            if len(written) < len(stretch.ids):
                continue
            for token in written:
                if over := (yield text, token):
                    break
            if over:
                break
