"""From a prompt to text: tokens are generated, decoded, and ended where a mark, a stop string or the length says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.sampling import Sampling
from core.sample.detokenizer import TextOf
from core.sample.diffusion import Stretch, Unmasking
from core.sample.generate import generate
from core.sample.prompts import start
from core.sample.protocol import Span
from core.sample.unmask_view import spans
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
    """A text is complete; `characters` were still waiting when a mark ended it."""

    text: int
    characters: str
    reason: Reason
    tokens: int
    """Drawn, the last one that ended it included."""
    mark: int | None = None
    """The token that ended it, which no piece shows."""


class Written:
    """One text as it grows."""

    def __init__(self, vocabulary: Vocabulary, sampling: Sampling) -> None:
        self.ends = {vocabulary.end_of_text, *sampling.stop_tokens}
        self.text = TextOf(vocabulary, sampling.stop)
        self.tokens = 0
        """Drawn for it."""
        self._most = sampling.tokens

    def take(self, token: int) -> tuple[str, Reason | None]:
        """What `token` adds that is certain by now, and why the text ends with it: then all that was waiting is there.

        Raises TokenIdError.
        """
        self.tokens += 1
        mark = token in self.ends
        characters = "" if mark else self.text.feed(token)
        if not mark and not self.text.stopped and self.tokens < self._most:
            return characters, None
        characters += self.text.rest()  # a stop string may be complete only with the last bytes
        return characters, "stop" if self.text.stopped else "end" if mark else "length"


def pieces(
    model: GPT,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    texts: int = 1,
    unmasking: Unmasking | None = None,
    states: bool = False,
) -> Iterator[Piece | Uncovered | End | None]:
    """What continues `prompt`, as it comes; of each text at last its End. None: a long text is still being read.

    Raises as `generate` does.
    """
    written = [Written(vocabulary, sampling) for _ in range(texts)]
    ids = generate(model, prompt, sampling, texts=texts, unmasking=unmasking)
    over: bool | None = None
    while True:
        try:
            drawn = ids.send(over)
        except StopIteration:
            return
        if drawn is None:
            over = None
            yield None
            continue
        text, token = drawn
        its = written[text]
        if isinstance(token, Stretch):
            last = its.tokens + len(token.ids) == sampling.tokens
            waiting = its.text.waiting
            yield Uncovered(
                text,
                spans(token, vocabulary, ends=its.ends, stop=sampling.stop, waiting=waiting, last=last)
                if states
                else [],
                its.tokens + len(token.ids) - token.ids.count(None),
            )
            over = None
            continue
        characters, reason = its.take(token)
        mark = token if token in its.ends else None
        if mark is None:
            yield Piece(text, token, characters)
            characters = ""
        if reason is not None:
            yield End(text, characters, reason, its.tokens, mark)
        over = reason is not None


def write(model: GPT, vocabulary: Vocabulary, prompt: str, sampling: Sampling) -> str:
    """The whole continuation of `prompt` at once."""
    with inference(model):
        made = pieces(model, vocabulary, start(vocabulary, prompt), sampling)
        return "".join(piece.characters for piece in made if isinstance(piece, Piece | End))
