"""The most likely of several texts: best of n sampled ones, or beam search."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.sample.beam_search import beam_search, ensure_causal
from core.sample.detokenizer import Detokenizer
from core.sample.generate import prompt_limit
from core.sample.protocol import FinishReason
from core.sample.score import token_losses
from core.sample.stream import DenoisingProgress, TextEnd, stream_text
from core.tokenize.vocabulary import Vocabulary


class RankedCompletion(NamedTuple):
    """A text and its loss under the model, before logits processors."""

    text: str
    nats: float
    """Mean negative log-likelihood per token."""
    tokens: int
    """Including the one that ended it."""
    reason: FinishReason


Ranking = Generator[None, None, list[RankedCompletion]]
"""Yields after each token; returns the texts, the most likely first."""


def best_of_n(model: GPT, vocabulary: Vocabulary, prompt: Sequence[int], sampling: Sampling, n: int) -> Ranking:
    """Sample `n` texts as `stream_text` does and rank them. Raises NotCausalError, and as `generate` does."""
    ensure_causal(model)
    context = prompt[-prompt_limit(model, sampling.tokens) :]
    tokens: list[list[int]] = [[] for _ in range(n)]
    texts = [""] * n
    completions = []
    for event in stream_text(model, vocabulary, context, sampling, texts=n):
        if event is None:
            yield
            continue
        assert not isinstance(event, DenoisingProgress)  # masked models only
        texts[event.text] += event.characters
        if not isinstance(event, TextEnd):
            tokens[event.text].append(event.token)
            yield
            continue
        ids = [*tokens[event.text], *([] if event.stop_token is None else [event.stop_token])]
        nats = 0.0
        for chunk in token_losses(model, [*context, *ids], known=len(context)):
            nats += chunk.nats
            yield
        completions.append(RankedCompletion(texts[event.text], nats / len(ids), len(ids), event.reason))
    return sorted(completions, key=lambda completion: completion.nats)


def beam_search_texts(
    model: GPT, vocabulary: Vocabulary, prompt: Sequence[int], sampling: Sampling, num_beams: int
) -> Ranking:
    """The texts of `beam_search`, ranked by mean log-probability per token.

    Of `sampling`, `tokens`, `stop_tokens` and `stop` apply. A stop string ends the text, but not the beam. Raises as
    `beam_search` does.
    """
    stop_tokens = {vocabulary.end_of_text, *sampling.stop_tokens}
    beams = yield from beam_search(model, prompt, num_beams=num_beams, tokens=sampling.tokens, stop_tokens=stop_tokens)
    completions = []
    for beam in beams:
        detokenizer = Detokenizer(vocabulary, sampling.stop)
        ids = beam.tokens[:-1] if beam.stopped else beam.tokens
        text = "".join(detokenizer.add_token(token) for token in ids) + detokenizer.flush()
        reason: FinishReason = "stop" if detokenizer.stopped else "end" if beam.stopped else "length"
        completions.append(RankedCompletion(text, -beam.normalised(1.0), len(beam.tokens), reason))
    return completions
