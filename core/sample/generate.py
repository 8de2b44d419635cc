"""A model goes on from a prompt: a causal one token by token, a masked one as `core.sample.denoise` says."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

import torch
from msgspec import Struct

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.denoise import denoise, room
from core.sample.samplers import draw, finite
from core.tokenize.vocabulary import Vocabulary

LENGTHS = 32
"""The context is filled up to a multiple of this: oneDNN keeps a program for each length it has met, which took
400 MB of a training's memory after its first sample of 100 tokens."""


class Settings(Struct, frozen=True, kw_only=True):
    """How a token is chosen; as in `recipe.Sample`."""

    tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int


def generate(model: GPT, prompt: Sequence[int], settings: Settings, *, stop: int | None = None) -> Iterator[int]:
    """Yield up to `settings.tokens` token ids that continue `prompt`, which has at least one.

    Only what fits the context is seen, the end of the prompt: see `seen`. The same seed yields the same ids; dropout
    is off while it runs and torch's global random state is not touched. Ends before `stop`. Raises BadLogits when the
    model's output is not finite.
    """
    ids = (_one_by_one if model.mask is None else denoise)(
        model,
        prompt,
        tokens=settings.tokens,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        generator=torch.Generator().manual_seed(settings.seed),
    )
    return takewhile(lambda token: token != stop, ids)


def seen(model: GPT, tokens: int) -> int:
    """How many tokens of a prompt the model sees at the beginning when it has to write `tokens` more."""
    return model.shape.block_size if model.mask is None else room(model, tokens)


def _one_by_one(
    model: GPT,
    prompt: Sequence[int],
    *,
    tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    generator: torch.Generator,
) -> Iterator[int]:
    """Each token from those before it."""
    ids, most = list(prompt), model.shape.block_size
    for _ in range(tokens):
        context = ids[-most:]
        padding = [0] * (min(most, -(-len(context) // LENGTHS) * LENGTHS) - len(context))
        with inference(model):  # what comes behind a token changes nothing for it
            hidden = model.hidden(torch.tensor([context + padding], device=model.device))
            logits = finite(model.scores(hidden[0, len(context) - 1]).cpu())  # (V,)
        ids.append(draw(logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator))
        yield ids[-1]


def start(vocabulary: Vocabulary, prompt: str) -> list[int]:
    """The token ids to go on from: those of `prompt`, or an end-of-text mark, behind which a new document begins."""
    return vocabulary.encode(prompt) or [vocabulary.end_of_text]


def text_of(vocabulary: Vocabulary, ids: Iterable[int]) -> Iterator[str]:
    """The text of `ids` as they come, in whole characters: bytes wait until the rest of their character is there."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        yield decoder.decode(vocabulary.decode_bytes([token]))
    yield decoder.decode(b"", final=True)


def write(model: GPT, vocabulary: Vocabulary, prompt: str, settings: Settings) -> str:
    """The whole continuation of `prompt` at once."""
    with inference(model):
        ids = generate(model, start(vocabulary, prompt), settings, stop=vocabulary.end_of_text)
        return "".join(text_of(vocabulary, ids))
