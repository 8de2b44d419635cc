"""The texts that a model finds likeliest: of several drawn, or looked for by beams."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.sample.beams import beams, ensure_causal
from core.sample.detokenizer import TextOf
from core.sample.generate import seen
from core.sample.score import parts
from core.sample.stream import End, Reason, Uncovered, pieces
from core.tokenize.vocabulary import Vocabulary


class Ranked(NamedTuple):
    """A text with what its tokens cost on average under the model alone, whatever samplers drew them."""

    text: str
    nats: float
    """Minus the logarithm of its probability, per token."""
    tokens: int
    """The one that ended it included."""
    reason: Reason


Ranking = Generator[None, None, list[Ranked]]
"""Yields after each token; returns the texts, the likeliest first."""


def best_drawn(model: GPT, vocabulary: Vocabulary, prompt: Sequence[int], sampling: Sampling, texts: int) -> Ranking:
    """Draw `texts` as `writer.pieces` does and rank them. Raises NotCausalError, and what `generate` raises."""
    ensure_causal(model)
    visible = prompt[-seen(model, sampling.tokens) :]
    tokens: list[list[int]] = [[] for _ in range(texts)]
    written = [""] * texts
    ranked = []
    for piece in pieces(model, vocabulary, visible, sampling, texts=texts):
        if piece is None:
            yield
            continue
        assert not isinstance(piece, Uncovered)  # of masked models only
        written[piece.text] += piece.characters
        if not isinstance(piece, End):
            tokens[piece.text].append(piece.token)
            yield
            continue
        whole = [*tokens[piece.text], *([] if piece.mark is None else [piece.mark])]
        cost = 0.0
        for part in parts(model, [*visible, *whole], known=len(visible)):
            cost += part.nats
            yield
        ranked.append(Ranked(written[piece.text], cost / len(whole), len(whole), piece.reason))
    return sorted(ranked, key=lambda each: each.nats)


def best_of_beams(model: GPT, vocabulary: Vocabulary, prompt: Sequence[int], sampling: Sampling, width: int) -> Ranking:
    """Look for `width` texts as `beams` does, with the mean of a token as their rank.

    Of `sampling` the length, stop tokens and stop strings count. A stop string ends the text that is shown; beams do
    not see it. Raises as `beams` does.
    """
    ends = {vocabulary.end_of_text, *sampling.stop_tokens}
    found = yield from beams(model, prompt, width=width, tokens=sampling.tokens, ends=ends)
    ranked = []
    for beam in found:
        decoded = TextOf(vocabulary, sampling.stop)
        text = "".join(decoded.feed(token) for token in (beam.tokens[:-1] if beam.ended else beam.tokens))
        text += decoded.rest()
        reason: Reason = "stop" if decoded.stopped else "end" if beam.ended else "length"
        ranked.append(Ranked(text, -beam.rank(1.0), len(beam.tokens), reason))
    return ranked
