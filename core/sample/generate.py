"""A model goes on from a prompt: a causal one token by token, a masked one as `core.sample.denoise` says."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from core.model.gpt import GPT
from core.sample.chain import Chain
from core.sample.denoise import denoise, room
from core.sample.reader import Reader
from core.sampling import Sampling

Ids = Generator[tuple[int, int], bool | None, None]
"""Yields (text, token); True sent in says that this text has ended."""


def generate(model: GPT, prompt: Sequence[int], sampling: Sampling, *, texts: int = 1) -> Ids:
    """Yield up to `sampling.tokens` token ids for each of `texts` texts that continue `prompt`, which has at least one.

    Only what fits the context is seen, the end of the prompt: see `seen`. Text number i is the one that alone would
    have come of the seed plus i, whatever runs beside it; dropout is off and torch's global random state is not
    touched. Raises BadSetting, and BadLogits when the model's output is not finite.
    """
    visible = prompt[-seen(model, sampling.tokens) :]
    chains = [Chain(sampling, model.vocabulary, prompt=visible, stream=text) for text in range(texts)]
    return (_together if model.mask is None else _in_turn)(model, visible, chains, sampling.tokens)


def seen(model: GPT, tokens: int) -> int:
    """How many tokens of a prompt the model sees at the beginning when it has to write `tokens` more."""
    return model.shape.block_size if model.mask is None else room(model, tokens)


def _together(model: GPT, prompt: Sequence[int], chains: list[Chain], tokens: int) -> Ids:
    """The prompt is read once; then each look of the model gives a token of every text that has not ended."""
    alive = list(range(len(chains)))
    reader = Reader(model, prompt)
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
        reader.read(drawn)


def _in_turn(model: GPT, prompt: Sequence[int], chains: list[Chain], tokens: int) -> Ids:
    for text, chain in enumerate(chains):
        for token in denoise(model, prompt, chain, tokens=tokens):
            if (yield text, token):
                break
