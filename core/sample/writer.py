"""From a prompt to text: tokens are generated, decoded, and ended where a mark, a stop string or the length says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from core.model.gpt import GPT
from core.model.inference import inference
from core.sample.denoise import Stretch, Unmasking
from core.sample.generate import generate
from core.sample.protocol import Span
from core.sample.states import spans
from core.sample.texts import TextOf, start
from core.sampling import Sampling
from core.tokenize.vocabulary import Vocabulary

Reason = Literal["length", "end", "stop"]
"""Why a text ended: it has all tokens; an end-of-text mark or a stop token came; a stop string came."""


class Piece(NamedTuple):
    """One more token of a text, and what it adds: perhaps nothing yet."""

    text: int
    token: int
    characters: str


class Uncovered(NamedTuple):
    """A masked model has looked once more; the pieces come when a stretch is complete."""

    text: int
    spans: list[Span]
    """As in `core.sample.protocol.State`; empty where no states are wanted."""
    tokens: int
    """Uncovered of the text so far."""


class End(NamedTuple):
    """A text is complete; `characters` were still waiting."""

    text: int
    characters: str
    reason: Reason
    tokens: int
    """Drawn, the last one that ended it included."""
    mark: int | None = None
    """The token that ended it, which no piece shows."""


def pieces(
    model: GPT,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    texts: int = 1,
    unmasking: Unmasking | None = None,
    states: bool = False,
) -> Iterator[Piece | Uncovered | End]:
    """What continues `prompt`, as it comes; of each text at last its End. Raises as `generate` does."""
    ends = {vocabulary.end_of_text, *sampling.stop_tokens}
    decoded = [TextOf(vocabulary, sampling.stop) for _ in range(texts)]
    counts = [0] * texts
    ids = generate(model, prompt, sampling, texts=texts, unmasking=unmasking)
    over: bool | None = None
    while True:
        try:
            text, token = ids.send(over)
        except StopIteration:
            return
        if isinstance(token, Stretch):
            last = counts[text] + len(token.ids) == sampling.tokens
            waiting = decoded[text].waiting
            yield Uncovered(
                text,
                spans(token, vocabulary, ends=ends, stop=sampling.stop, waiting=waiting, last=last) if states else [],
                counts[text] + len(token.ids) - token.ids.count(None),
            )
            over = None
            continue
        counts[text] += 1
        reason: Reason | None = None
        if token in ends:
            reason = "end"
        else:
            yield Piece(text, token, decoded[text].feed(token))
            if decoded[text].stopped:
                reason = "stop"
            elif counts[text] == sampling.tokens:
                reason = "length"
        if reason is not None:
            rest = decoded[text].rest()
            # a stop string may be complete only with the last bytes
            mark = token if reason == "end" else None
            yield End(text, rest, "stop" if decoded[text].stopped else reason, counts[text], mark)
        over = reason is not None


def write(model: GPT, vocabulary: Vocabulary, prompt: str, sampling: Sampling) -> str:
    """The whole continuation of `prompt` at once."""
    with inference(model):
        made = pieces(model, vocabulary, start(vocabulary, prompt), sampling)
        return "".join(piece.characters for piece in made if not isinstance(piece, Uncovered))
