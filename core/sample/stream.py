"""From a prompt to text: tokens are generated and decoded until a stop token, a stop string or the length limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.sampling import Sampling
from core.sample import unmask_view
from core.sample.detokenizer import Detokenizer
from core.sample.diffusion import DenoisedBlock, UnmaskingOptions
from core.sample.generate import generate
from core.sample.prompts import encode_whole_prompt
from core.sample.protocol import FinishReason, Span
from core.tokenize.vocabulary import Vocabulary


class GeneratedToken(NamedTuple):
    """One more token of a text."""

    text: int
    """Index of the text."""
    token: int
    characters: str
    """Characters completed by it; may be empty."""
    logprob: float | None = None
    """Its log-probability (nats) under the model before logits processors, if requested and known."""


class DenoisingProgress(NamedTuple):
    """One denoising step of a masked model. The GeneratedTokens follow when a block is complete."""

    text: int
    spans: list[Span]
    """As in `core.sample.protocol.DenoisingState`; empty if not requested."""
    tokens: int
    """Tokens of the text unmasked so far."""
    first: int
    """Tokens of the text before the block."""
    block: DenoisedBlock


class TextEnd(NamedTuple):
    """A text is complete."""

    text: int
    characters: str
    """Characters held back until now."""
    reason: FinishReason
    tokens: int
    """Tokens generated, including the one that ended the text."""
    stop_token: int | None = None
    """The token that ended the text, for which there is no GeneratedToken."""


class TextBuilder:
    """Decodes one text token by token and detects its end."""

    def __init__(self, vocabulary: Vocabulary, sampling: Sampling) -> None:
        self.stop_tokens = {vocabulary.end_of_text, *sampling.stop_tokens}
        self.detokenizer = Detokenizer(vocabulary, sampling.stop)
        self.tokens = 0
        """Tokens added so far."""
        self._max_tokens = sampling.tokens

    def add(self, token: int) -> tuple[str, FinishReason | None]:
        """Characters completed by `token`, and why the text ends with it: then none are held back.

        Raises TokenIdError.
        """
        self.tokens += 1
        stops = token in self.stop_tokens
        characters = "" if stops else self.detokenizer.add_token(token)
        if not stops and not self.detokenizer.stopped and self.tokens < self._max_tokens:
            return characters, None
        characters += self.detokenizer.flush()  # may complete a stop string
        return characters, "stop" if self.detokenizer.stopped else "end" if stops else "length"


def stream_text(
    model: GPT,
    vocabulary: Vocabulary,
    prompt: Sequence[int],
    sampling: Sampling,
    *,
    texts: int = 1,
    unmasking: UnmaskingOptions | None = None,
    denoising_spans: bool = False,
    with_logprobs: bool = False,
) -> Iterator[GeneratedToken | DenoisingProgress | TextEnd | None]:
    """Continuations of `prompt` as they are generated; each ends with a TextEnd. None: a long prompt is being read.

    denoising_spans: whether each DenoisingProgress has spans. with_logprobs: whether the tokens have their
    log-probabilities. Raises as `generate` does.
    """
    builders = [TextBuilder(vocabulary, sampling) for _ in range(texts)]
    logprobs: dict[int, float] = {}
    generated = generate(
        model,
        prompt,
        sampling,
        texts=texts,
        unmasking=unmasking,
        logprobs=logprobs if with_logprobs else None,
    )
    ended: bool | None = None
    while True:
        try:
            item = generated.send(ended)
        except StopIteration:
            return
        ended = None
        if item is None:
            yield None
            continue
        text, token = item
        builder = builders[text]
        if isinstance(token, DenoisedBlock):
            yield DenoisingProgress(
                text,
                _spans(token, builder, vocabulary, sampling) if denoising_spans else [],
                builder.tokens + len(token.ids) - token.ids.count(None),
                builder.tokens,
                token,
            )
            continue
        characters, reason = builder.add(token)
        stop_token = token if token in builder.stop_tokens else None
        if stop_token is None:
            yield GeneratedToken(text, token, characters, logprobs.get(text))
            characters = ""
        if reason is not None:
            yield TextEnd(text, characters, reason, builder.tokens, stop_token)
        ended = reason is not None


def _spans(block: DenoisedBlock, builder: TextBuilder, vocabulary: Vocabulary, sampling: Sampling) -> list[Span]:
    return unmask_view.denoising_spans(
        block,
        vocabulary,
        stop_tokens=builder.stop_tokens,
        stop=sampling.stop,
        pending=builder.detokenizer.pending,
        last=builder.tokens + len(block.ids) == sampling.tokens,
    )


def generate_text(model: GPT, vocabulary: Vocabulary, prompt: str, sampling: Sampling) -> str:
    """The continuation of `prompt`, when it is complete. Raises as `generate` does."""
    with inference(model):
        events = stream_text(model, vocabulary, encode_whole_prompt(vocabulary, prompt), sampling)
        return "".join(event.characters for event in events if isinstance(event, GeneratedToken | TextEnd))
