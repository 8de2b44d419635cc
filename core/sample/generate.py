"""A model goes on from a prompt, one token at a time."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence

import torch
from msgspec import Struct

from core.model.gpt import GPT
from core.sample.samplers import draw
from core.tokenize.vocabulary import Vocabulary
from core.trouble import Trouble


class BadLogits(Trouble):
    doing = "draw text"


class Settings(Struct, frozen=True, kw_only=True):
    """How a token is chosen; as in `recipe.Sample`."""

    tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int


def generate(model: GPT, prompt: Sequence[int], settings: Settings, *, stop: int | None = None) -> Iterator[int]:
    """Yield up to `settings.tokens` token ids that continue `prompt`, which has at least one.

    Only the last block_size tokens are seen. The same seed yields the same ids; dropout is off while it runs and
    torch's global random state is not touched. Ends before `stop`. Raises BadLogits when the model's output is not
    finite.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    ids = list(prompt)
    for _ in range(settings.tokens):
        context = torch.tensor([ids[-model.shape.block_size :]], device=model.device)
        training = model.training
        model.eval()
        with torch.inference_mode():
            logits = model.lm_head(model.hidden(context)[0, -1]).float().cpu()  # (V,)
        model.train(training)
        if not bool(torch.isfinite(logits).all()):
            raise BadLogits("the model's output is not finite", todo="use an earlier checkpoint")
        token = draw(
            logits,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            generator=generator,
        )
        if token == stop:
            return
        ids.append(token)
        yield token


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
    ids = generate(model, start(vocabulary, prompt), settings, stop=vocabulary.end_of_text)
    return "".join(text_of(vocabulary, ids))
